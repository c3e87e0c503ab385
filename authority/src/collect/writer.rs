//! The thread that owns the log: takes what is offered in packs, publishes checkpoints, and stops where the log is not what
//! it was.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use audit::log::{Log, LogError, MAX_PACK, Receipt, Refusal, Shipment};
use tokio::sync::oneshot;

use super::{Offer, Shared};

/// Between two checkpoints, at least.
const PUBLISH: Duration = Duration::from_millis(500);
/// How long a pack waits for more to come with it: syncs are shared.
const LINGER: Duration = Duration::from_millis(20);
/// Before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);

type Reply = oneshot::Sender<Result<Receipt, Refusal>>;

pub(super) struct Writer {
    log: Log,
    offers: Receiver<Offer>,
    shared: Arc<Shared>,
    published: Instant,
    /// Whether something was taken since.
    due: bool,
}

impl Writer {
    pub(super) fn new(log: Log, offers: Receiver<Offer>, shared: Arc<Shared>) -> Self {
        let mut writer = Self {
            log,
            offers,
            shared,
            published: Instant::now(),
            due: false,
        };
        writer.tell();
        writer
    }

    /// Until nobody can offer anything any more.
    pub(super) fn run(mut self) {
        loop {
            let wait = match self.due {
                true => PUBLISH.saturating_sub(self.published.elapsed()),
                false => Duration::from_secs(3600),
            };
            let worked = match self.offers.recv_timeout(wait) {
                Ok(offer) => self.round(offer),
                Err(RecvTimeoutError::Timeout) => self.publish(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match worked {
                Ok(()) => {}
                Err(LogError::Io(error)) => {
                    tracing::error!(%error, "the audit log cannot be written; it is tried again");
                    let since = |since: Option<Instant>| Some(since.unwrap_or_else(Instant::now));
                    self.shared
                        .tell(|told| told.unwritten_since = since(told.unwritten_since));
                    std::thread::sleep(RETRY);
                }
                Err(error) => return self.stop(error),
            }
        }
        let published = self.publish();
        if let Err(error) = published.and_then(|()| self.log.close()) {
            lost(&error);
            tracing::error!(%error, "the audit log was not closed as it should be; the next start takes up what is missing");
        }
    }

    /// One pack: what is offered first and what comes with it.
    fn round(&mut self, first: Offer) -> Result<(), LogError> {
        let begun = Instant::now();
        let (mut shipments, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
        let mut next = Some(first);
        while let Some(offer) = next {
            match offer {
                Offer::Seen { by, note } => self.compare(&by, &note)?,
                Offer::Ship { shipment, reply, _room } => {
                    let records = shipment.records.iter().map(Vec::len);
                    bytes = records.fold(bytes, usize::saturating_add);
                    shipments.push(shipment);
                    replies.push((reply, _room));
                }
            }
            let left = LINGER.saturating_sub(begun.elapsed());
            next = match bytes < MAX_PACK {
                true if shipments.is_empty() => None,
                true => self.offers.recv_timeout(left).ok(),
                false => None,
            };
        }
        if !shipments.is_empty() {
            self.take(shipments, replies)?;
        }
        match self.due && self.published.elapsed() >= PUBLISH {
            true => self.publish(),
            false => Ok(()),
        }
    }

    fn take<R>(&mut self, shipments: Vec<Shipment>, replies: Vec<(Reply, R)>) -> Result<(), LogError> {
        let counts: Vec<usize> = shipments.iter().map(|shipment| shipment.records.len()).collect();
        let answers = self.log.take(shipments)?;
        for ((answer, (reply, _room)), count) in answers.into_iter().zip(replies).zip(counts) {
            self.count(&answer, count);
            // Whoever shipped may have gone; the records are here.
            let _ = reply.send(answer);
        }
        self.due = true;
        Ok(())
    }

    fn count(&self, answer: &Result<Receipt, Refusal>, records: usize) {
        let gauges = &self.shared.gauges;
        match answer {
            Ok(receipt) => {
                gauges.records.inc_by(u64::try_from(records).unwrap_or_default());
                if let Some((first, last)) = receipt.gap {
                    self.tell_gap(first, last);
                }
            }
            Err(refusal @ Refusal::Conflict { .. }) => {
                gauges.conflicts.inc();
                tracing::error!(%refusal, "one of two audit records of the same number was made up");
                (self.shared.alarm)("audit:Conflict");
            }
            Err(refusal) => tracing::warn!(%refusal, "audit records were refused"),
        }
    }

    /// An edge that comes back from another authority does not bring again what that one has receipted, and may have removed it.
    /// Which is in no log at all only `signet audit reconcile` over all of them finds.
    fn tell_gap(&self, first: u64, last: u64) {
        self.shared.gauges.gaps.inc();
        match self.shared.is_alone {
            true => tracing::warn!("audit records {first} to {last} of a chain were passed over"),
            false => tracing::info!(
                "audit records {first} to {last} of a chain did not come here: they are in another authority's log, or \
                 `signet audit reconcile` over the logs of all misses them"
            ),
        }
    }

    fn publish(&mut self) -> Result<(), LogError> {
        self.published = Instant::now();
        if self.log.publish()? {
            self.shared.tell(|told| told.unwritten_since = None);
        }
        self.due = false;
        self.tell();
        Ok(())
    }

    fn tell(&mut self) {
        let leaves = i64::try_from(self.log.checkpoint().size).unwrap_or(i64::MAX);
        self.shared.gauges.leaves.set(leaves);
        let note = self.log.note().to_owned();
        self.shared.tell(|told| told.note = note);
        self.shared.published.send_replace(self.log.checkpoint().size);
    }

    /// A log that did not grow from what somebody has seen was put back, or forked: writing on would hide it. A checkpoint of
    /// another log, as each of several authorities has one, says nothing of this one.
    fn compare(&mut self, by: &str, note: &str) -> Result<(), LogError> {
        match self.log.grew_from(note)? {
            Some(true) => Ok(()),
            Some(false) => Err(LogError::Damaged(format!(
                "`{by}` has seen a checkpoint that it did not grow from: it was put back to an older state"
            ))),
            None if !is_of(note, self.log.verifier().name()) => {
                tracing::debug!(by, "an edge or a witness has seen the checkpoint of another audit log");
                Ok(())
            }
            None => {
                tracing::error!(
                    by,
                    "an edge or a witness has shown a checkpoint in this audit log's name that this log's key did not sign"
                );
                Ok(())
            }
        }
    }

    /// For good: whoever waits or comes later is told that the log takes nothing.
    fn stop(self, error: LogError) {
        lost(&error);
        let why = error.to_string();
        tracing::error!("{why}");
        self.shared.gauges.broken.set(1);
        self.shared.tell(|told| told.broken = Some(why));
        (self.shared.alarm)("audit:LogBroken");
    }
}

/// Whether a note says that it is of the log of this name: its first line.
fn is_of(note: &str, name: &str) -> bool {
    note.lines().next() == Some(name)
}

/// A failed sync ends the process (R30): the page cache may have dropped what it had taken.
pub(super) fn lost(error: &LogError) {
    if let LogError::Lost(_) = error {
        tracing::error!(%error, "the process ends");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_of_the_log_that_its_first_line_names() {
        let name = "example.org/audit/0a0b0c0d";
        assert!(is_of("example.org/audit/0a0b0c0d\n1\n", name));
        for other in [
            "",
            "\n",
            "example.org/audit/0a0b0c0d2\n1\n",
            "x\nexample.org/audit/0a0b0c0d\n",
        ] {
            assert!(!is_of(other, name), "{other}");
        }
    }
}
