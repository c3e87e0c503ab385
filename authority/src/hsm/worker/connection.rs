//! The calls in progress on one worker: ids, answers, deadlines.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::super::protocol::{self, Answer, Call, Request, Response};
use super::super::{HsmError, HsmErrorKind};

type Outcome = Result<Answer, HsmError>;

/// One worker's calls. It fails once, for good: all its calls with it.
pub(super) struct Connection {
    process_id: Option<u32>,
    frames: mpsc::Sender<Zeroizing<Vec<u8>>>,
    calls: Mutex<Calls>,
    next_id: AtomicU64,
    progressed: AtomicBool,
    failed: Notify,
}

#[derive(Default)]
struct Calls {
    waiting: HashMap<u64, oneshot::Sender<Outcome>>,
    failure: Option<HsmError>,
}

impl Connection {
    /// A connection whose frames are written by whoever reads `frames`' other end.
    pub(super) fn new(process_id: Option<u32>, frames: mpsc::Sender<Zeroizing<Vec<u8>>>) -> Self {
        Self {
            process_id,
            frames,
            calls: Mutex::default(),
            next_id: AtomicU64::new(1),
            progressed: AtomicBool::new(false),
            failed: Notify::new(),
        }
    }

    /// The worker's.
    pub(super) fn process_id(&self) -> Option<u32> {
        self.process_id
    }

    /// Makes one call. A worker that does not answer within `deadline` has failed.
    pub(super) async fn call(&self, call: Call, deadline: Duration) -> Outcome {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = protocol::encode(&Request { id, call })
            .map_err(|error| HsmErrorKind::BadRequest.because(format!("the request is too large: {error}")))?;
        let (answered, answer) = oneshot::channel();
        {
            let mut calls = self.calls();
            if let Some(failure) = &calls.failure {
                return Err(failure.clone());
            }
            calls.waiting.insert(id, answered);
        }
        let exchange = async {
            // A closed channel means a failed connection, which has answered every waiting call.
            let _ = self.frames.send(frame).await;
            answer.await
        };
        match timeout(deadline, exchange).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(self.failure()),
            Err(_) => {
                let detail = format!("the token did not answer within {deadline:?}; its worker is being restarted");
                self.fail(HsmErrorKind::Unavailable.because(detail));
                Err(self.failure())
            }
        }
    }

    /// Gives an answer to the call that waits for it; an error when none does.
    pub(super) fn answer(&self, response: Response) -> Result<(), HsmError> {
        let Some(call) = self.calls().waiting.remove(&response.id) else {
            return Err(HsmErrorKind::Unavailable.because("the worker answered a call that was never made"));
        };
        match &response.outcome {
            // The worker ends after this answer: the next call must wait for another.
            Err(error) if error.kind == HsmErrorKind::Unavailable => self.fail(error.clone()),
            _ => self.progressed.store(true, Ordering::Relaxed),
        }
        // The caller's runtime may have ended.
        let _ = call.send(response.outcome);
        Ok(())
    }

    /// Fails every call in progress and all later ones. The first failure is the one that is told.
    pub(super) fn fail(&self, error: HsmError) {
        let mut calls = self.calls();
        let failure = calls.failure.get_or_insert(error).clone();
        for (_, call) in calls.waiting.drain() {
            let _ = call.send(Err(failure.clone()));
        }
        drop(calls);
        self.failed.notify_one();
    }

    /// Whether it has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.calls().failure.is_some()
    }

    /// Why it failed.
    pub(super) fn failure(&self) -> HsmError {
        self.calls()
            .failure
            .clone()
            .unwrap_or_else(|| HsmErrorKind::Unavailable.because("the worker is being restarted"))
    }

    /// Returns once it has failed. For one waiter, the supervisor.
    pub(super) async fn until_failed(&self) {
        self.failed.notified().await;
    }

    /// Whether any call was answered.
    pub(super) fn has_progressed(&self) -> bool {
        self.progressed.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.calls().waiting.len()
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_nobody_waits_for_is_a_protocol_error() {
        let (frames, _kept) = mpsc::channel(1);
        let connection = Connection::new(None, frames);
        let error = connection
            .answer(Response {
                id: 9,
                outcome: Ok(Answer::Done),
            })
            .unwrap_err();
        assert_eq!(error.kind, HsmErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_failed_connection_fails_calls_in_progress_and_later_ones() {
        let (frames, mut written) = mpsc::channel(1);
        let connection = Connection::new(None, frames);
        let in_progress = connection.call(Call::Healthy, Duration::from_secs(60));
        let failing = async {
            written.recv().await.unwrap();
            connection.fail(HsmErrorKind::Unavailable.because("first"));
            connection.fail(HsmErrorKind::Unavailable.because("second"));
        };
        let (outcome, ()) = tokio::join!(in_progress, failing);
        assert_eq!(outcome.unwrap_err().detail, "first");
        let later = connection.call(Call::Healthy, Duration::from_secs(60)).await;
        assert_eq!(later.unwrap_err().detail, "first");
    }

    // R27
    #[tokio::test]
    async fn a_deadline_fails_the_whole_connection() {
        let (frames, _unread) = mpsc::channel(1);
        let connection = Connection::new(None, frames);
        let error = connection
            .call(Call::Healthy, Duration::from_millis(20))
            .await
            .unwrap_err();
        assert!(error.detail.contains("did not answer within 20ms"), "{error}");
        assert!(connection.has_failed() && !connection.has_progressed());
        connection.until_failed().await;
    }
}
