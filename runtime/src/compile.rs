//! Compilations off the request path: each on a thread of its own, few at a time, none waited for longer than its time. The
//! compiler itself runs in a process of its own where the host is so set ([`helper`]).

use crate::call;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

pub(crate) mod helper;

/// Stack of a compiling thread: the compiler recurses over what the plugin's author wrote.
pub(crate) const STACK: usize = 16 << 20;

/// Bounds the compilations that go on at the same time.
#[derive(Debug)]
pub(crate) struct Compilers {
    limit: usize,
    used: Mutex<usize>,
    freed: Condvar,
}

/// Why a compilation has no outcome.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// As many were going on as may, and none ended in time.
    Busy,
    /// It was still going on after its time. A thread cannot be stopped, so it keeps its place until it ends; one that waits
    /// for a process ends with that, in time.
    TooSlow,
    /// It panicked, or its thread could not be made.
    Failed(String),
}

impl Compilers {
    pub(crate) fn new(limit: usize) -> Arc<Compilers> {
        Arc::new(Compilers {
            limit,
            used: Mutex::new(0),
            freed: Condvar::new(),
        })
    }

    /// Waits for a place, then for `work`, each for at most `time`.
    pub(crate) fn run<T: Send + 'static>(
        self: &Arc<Compilers>,
        time: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unfinished> {
        let place = self.place(time).ok_or(Unfinished::Busy)?;
        let (sender, receiver) = mpsc::channel();
        let body = move || {
            // The place is given back before the outcome is told, so that who has it may start the next.
            let outcome = {
                let _place = place;
                work()
            };
            // Nobody listens any more when it took too long.
            let _ = sender.send(outcome);
        };
        let thread = std::thread::Builder::new()
            .name("signet-compile".into())
            .stack_size(STACK)
            .spawn(body);
        let thread = thread.map_err(|error| Unfinished::Failed(error.to_string()))?;
        match receiver.recv_timeout(time) {
            Ok(outcome) => Ok(outcome),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(Unfinished::TooSlow),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let panic = thread.join().err();
                Err(Unfinished::Failed(
                    panic.map_or("it ended early".into(), |panic| call::message(&*panic)),
                ))
            }
        }
    }

    fn place(self: &Arc<Compilers>, time: Duration) -> Option<Place> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut used, _) = self
            .freed
            .wait_timeout_while(used, time, |used| *used >= self.limit)
            .unwrap_or_else(PoisonError::into_inner);
        if *used >= self.limit {
            return None;
        }
        *used = used.saturating_add(1);
        Some(Place(self.clone()))
    }
}

struct Place(Arc<Compilers>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_sub(1);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(1);

    // R20
    #[test]
    fn a_slow_one_is_given_up_and_keeps_its_place_until_it_ends() {
        let compilers = Compilers::new(1);
        let (go, wait) = mpsc::channel::<()>();
        let slow = compilers.run(SHORT, move || wait.recv().is_ok());
        assert_eq!(slow, Err(Unfinished::TooSlow));
        assert_eq!(compilers.run(SHORT, || ()), Err(Unfinished::Busy));
        go.send(()).unwrap();
        assert_eq!(compilers.run(LONG, || 7), Ok(7), "once it has ended, the next one runs");
    }

    // R20
    #[test]
    fn a_panic_of_the_compiler_is_an_error_and_frees_its_place() {
        let compilers = Compilers::new(1);
        let failed = compilers.run(LONG, || -> () { panic!("defect") });
        assert_eq!(failed, Err(Unfinished::Failed("defect".into())));
        assert_eq!(compilers.run(LONG, || 7), Ok(7));
    }

    #[test]
    fn many_wait_for_their_turn() {
        let compilers = Compilers::new(2);
        let threads: Vec<_> = (0..16)
            .map(|number| {
                let compilers = compilers.clone();
                std::thread::spawn(move || compilers.run(LONG, move || number))
            })
            .collect();
        for (number, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap(), Ok(number));
        }
    }
}
