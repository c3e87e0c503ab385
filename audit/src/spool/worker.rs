//! The writer thread: takes what is queued, stores it, keeps the reservation ahead and the directory inside its size.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::Queue;
use super::settings::MAX_RESERVE;
use super::writer::{Batch, WriteError, Writer, now_ms};
use super::{Retention, Settings, SpoolError};
use crate::record::{Dropped, Event};

/// What a rate is measured over, at least.
const MEASURED: Duration = Duration::from_millis(100);

pub(super) struct Worker {
    writer: Writer,
    queue: Arc<Queue>,
    settings: Settings,
    /// How many numbers to reserve ahead: a second's worth at the present rate.
    range: u64,
    /// Records since then, of which the rate is made.
    counted: u64,
    since: Instant,
}

/// Whether the thread goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    End,
}

impl Worker {
    pub(super) fn new(writer: Writer, queue: Arc<Queue>, settings: Settings) -> Worker {
        let range = settings.reserve;
        Worker {
            writer,
            queue,
            settings,
            range,
            counted: 0,
            since: Instant::now(),
        }
    }

    pub(super) fn run(mut self) {
        let mut spare = Vec::new();
        loop {
            let mut taken = self.queue.take(spare);
            self.measure(taken.count);
            let own = taken.closing.then(|| Event::Stopped { time_ms: now_ms() });
            if self.chain(&taken.events, own) == Next::End {
                return;
            }
            if taken.closing {
                if let Err(error) = self.writer.close() {
                    tracing::warn!(%error, "the audit spool could not give back what it had made ready; the next start does");
                }
                return;
            }
            if self.make_room() == Next::End {
                return;
            }
            taken.events.clear();
            spare = taken.events;
        }
    }

    /// A record that follows another at once is no rate: what came in a while is.
    fn measure(&mut self, count: u64) {
        self.counted = self.counted.saturating_add(count);
        let passed = self.since.elapsed();
        if passed >= MEASURED {
            self.range = range(self.settings.reserve, self.counted, passed.as_micros());
            (self.counted, self.since) = (0, Instant::now());
        }
    }

    /// Chains and stores queued events, then one of the spool's own, in batches of a segment at most.
    fn chain(&mut self, mut events: &[u8], mut own: Option<Event>) -> Next {
        while !events.is_empty() || own.is_some() {
            let mut batch = self.writer.batch();
            let mut pushed = self.writer.push_events(&mut batch, events).map(|left| events = left);
            if events.is_empty()
                && pushed.is_ok()
                && let Some(own) = own.take()
            {
                pushed = self.writer.push_own(&mut batch, own);
            }
            if self.chained(pushed) == Next::End || self.store(&mut batch) == Next::End {
                return Next::End;
            }
            self.writer.done_with(batch);
        }
        Next::Go
    }

    /// Stores a batch, however often writing fails first; appending is refused meanwhile.
    fn store(&mut self, batch: &mut Batch) -> Next {
        loop {
            let reserve_to = self.queue.next().saturating_add(self.range);
            match self.writer.store(batch, reserve_to) {
                Ok(()) => {
                    self.queue.published(&self.writer, self.range);
                    return Next::Go;
                }
                Err(WriteError::Sync(error)) => return self.lost(&error.to_string()),
                Err(WriteError::Write(error)) => {
                    self.queue.refuse(SpoolError::Disk {
                        detail: error.to_string(),
                    });
                    if self.queue.pause() {
                        tracing::error!(%error, "the audit spool closes with records that it could not write");
                        return Next::End;
                    }
                }
            }
        }
    }

    fn lost(&self, detail: &str) -> Next {
        self.queue.refuse(SpoolError::Lost {
            detail: detail.to_owned(),
        });
        (self.settings.on_failed_sync)(detail);
        Next::End
    }

    /// An event that cannot be chained would break every later one: as grave as lost records.
    fn chained(&self, pushed: Result<(), WriteError>) -> Next {
        match pushed {
            Ok(()) => Next::Go,
            Err(error) => self.lost(&error.into_source().to_string()),
        }
    }

    /// Holds the directory inside its size, with room for one segment more, and removes what was shipped beyond what is kept. Where
    /// there is room, that segment is made ready.
    fn make_room(&mut self) -> Next {
        let (keep, most) = (self.settings.keep_shipped, self.settings.max_bytes);
        if let Err(error) = self.writer.remove_shipped(self.queue.shipped_below(), keep, most) {
            tracing::warn!(%error, "a shipped segment of the audit spool could not be removed; it is tried again");
        }
        loop {
            let (bytes, needed) = (self.writer.disk_bytes(), self.writer.bytes_with_next());
            if needed <= most {
                self.queue.has_room(bytes);
                self.writer.look_ahead();
                return Next::Go;
            }
            let freed = match self.settings.retention {
                Retention::Stop => self.writer.measure().map(|()| self.writer.bytes_with_next() < needed),
                Retention::DropOldest => match self.drop_oldest() {
                    Ok((Next::End, _)) => return Next::End,
                    Ok((Next::Go, dropped)) => Ok(dropped),
                    Err(error) => Err(error),
                },
            };
            match freed {
                Ok(true) => {}
                Ok(false) => {
                    self.queue.refuse(SpoolError::Full { bytes, limit: most });
                    return Next::Go;
                }
                Err(error) => {
                    self.queue.refuse(SpoolError::Disk {
                        detail: error.to_string(),
                    });
                    return Next::Go;
                }
            }
        }
    }

    /// A record says what is gone before it is. Answers whether anything is: that record may have begun a segment in its place.
    fn drop_oldest(&mut self) -> std::io::Result<(Next, bool)> {
        let Some(content) = self.writer.oldest()? else {
            return Ok((Next::Go, false));
        };
        let taken = self.queue.take_with_own();
        let (incarnation, range, hash) = (content.incarnation, content.range, content.hash);
        let event = Event::Dropped(Dropped {
            time_ms: now_ms(),
            incarnation,
            range,
            hash,
        });
        if self.chain(&taken.events, Some(event)) == Next::End {
            return Ok((Next::End, false));
        }
        self.writer.remove_oldest()?;
        Ok((Next::Go, true))
    }
}

/// A second's worth of sequence numbers at the rate of the last `micros`, and never fewer than `least`.
fn range(least: u64, count: u64, micros: u128) -> u64 {
    let rate = u128::from(count)
        .saturating_mul(1_000_000)
        .checked_div(micros)
        .unwrap_or(0);
    u64::try_from(rate).unwrap_or(u64::MAX).clamp(least, MAX_RESERVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_a_second_s_worth() {
        assert_eq!(range(4096, 0, 0), 4096);
        assert_eq!(range(4096, 10, 250_000), 4096);
        assert_eq!(range(4096, 5_000, 250_000), 20_000);
        assert_eq!(range(4096, u64::MAX, 1), MAX_RESERVE);
    }
}
