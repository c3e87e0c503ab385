//! The records behind a backup, in their order, each once and none missing: what is not there may have stopped something. Pure.

use std::collections::BTreeMap;

use audit::record::{Event, Hash, Predecessor, Record};

use crate::backup::format::AuditPosition;
use crate::stops::Stops;

/// Reads records from a position on, or from the first that an authority ever wrote.
pub(super) struct History<'a> {
    from: Option<&'a AuditPosition>,
    /// What comes now is behind `from`.
    behind: bool,
    /// The last number of each process.
    seen: BTreeMap<String, u64>,
    /// The last record, once they are behind `from`.
    last: Option<Last>,
    stops: Stops,
}

struct Last {
    edge: String,
    incarnation: String,
    sequence: u64,
    hash: Hash,
    /// Its process ended with it.
    stopped: bool,
}

impl<'a> History<'a> {
    pub(super) fn new(from: Option<&'a AuditPosition>) -> Self {
        Self {
            from,
            behind: from.is_none(),
            seen: BTreeMap::new(),
            last: None,
            stops: Stops::default(),
        }
    }

    /// Takes the next record; one that was taken before changes nothing. The error says which records are missing before it.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), String> {
        let seen = self.seen.entry(record.incarnation.clone()).or_default();
        if record.sequence <= *seen {
            return Ok(());
        }
        if self.behind {
            match &self.last {
                Some(last) => last.demand_next(record)?,
                None => demand_first(record)?,
            }
            self.stops.take(record);
        }
        *seen = record.sequence;
        self.behind |= self.from.is_some_and(|at| is_at(record, at));
        if self.behind {
            self.last = Some(Last::of(record)?);
        }
        Ok(())
    }

    /// After a source that may not reach back to the position: the next one is read as if it were the only one.
    pub(super) fn next_source(&mut self) {
        if !self.behind {
            self.seen.clear();
        }
    }

    /// Whether the last process went on behind the last record, or may have.
    pub(super) fn is_open(&self) -> bool {
        self.last.as_ref().is_some_and(|last| !last.stopped)
    }

    /// What is stopped at the end; none where the position was not found.
    pub(super) fn stops(self) -> Option<Stops> {
        self.behind.then_some(self.stops)
    }
}

fn is_at(record: &Record, at: &AuditPosition) -> bool {
    record.incarnation == at.incarnation && record.sequence == at.sequence
}

fn missing(first: u64, last: u64, incarnation: &str) -> String {
    format!("records {first} to {last} of the process `{incarnation}` are missing")
}

/// How an earlier process ended, if the record begins one.
fn predecessor(record: &Record) -> Option<&Predecessor> {
    match &record.event {
        Event::Started(started) => started.predecessor.as_ref(),
        Event::Use(_) | Event::Dropped(_) | Event::Stopped { .. } | Event::Breaker(_) => None,
    }
}

/// Where all of the record is wanted, it begins with the first record of a process that had none before it.
fn demand_first(record: &Record) -> Result<(), String> {
    match predecessor(record) {
        _ if record.sequence != 1 => Err(missing(1, record.sequence.saturating_sub(1), &record.incarnation)),
        Some(before) => Err(missing(1, before.sequence, &before.incarnation)),
        None => Ok(()),
    }
}

impl Last {
    fn of(record: &Record) -> Result<Self, String> {
        Ok(Self {
            edge: record.edge.clone(),
            incarnation: record.incarnation.clone(),
            sequence: record.sequence,
            hash: record.hash().map_err(|error| error.to_string())?,
            stopped: matches!(record.event, Event::Stopped { .. }),
        })
    }

    /// The record must be the one that follows.
    fn demand_next(&self, record: &Record) -> Result<(), String> {
        if (&record.edge, &record.incarnation) == (&self.edge, &self.incarnation) {
            self.demand_following(record)
        } else if record.sequence != 1 {
            Err(missing(1, record.sequence.saturating_sub(1), &record.incarnation))
        } else {
            self.demand_successor(record)
        }
    }

    /// Of the same process. Where that opened its spool again, it passes over the numbers that it says were reserved.
    fn demand_following(&self, record: &Record) -> Result<(), String> {
        let reserved = predecessor(record).and_then(|before| before.unaccounted);
        let next = reserved.map_or(self.sequence, |(_, last)| last).saturating_add(1);
        if record.sequence > next {
            return Err(missing(next, record.sequence.saturating_sub(1), &record.incarnation));
        }
        if reserved.is_none() && record.previous != self.hash {
            return Err(self.other_history());
        }
        Ok(())
    }

    /// Of the next process, which says how this one ended.
    fn demand_successor(&self, record: &Record) -> Result<(), String> {
        let Some(before) = predecessor(record) else {
            // It began with an empty spool: nothing is lost if the one before it had ended.
            return if self.stopped {
                Ok(())
            } else {
                Err(format!(
                    "the records of the process `{}` from {} on are missing",
                    self.incarnation,
                    self.sequence.saturating_add(1)
                ))
            };
        };
        if (&before.edge, &before.incarnation) != (&self.edge, &self.incarnation) {
            return Err(missing(1, before.sequence, &before.incarnation));
        }
        let reserved = before.unaccounted.is_some_and(|(_, last)| self.sequence <= last);
        match before.sequence.cmp(&self.sequence) {
            std::cmp::Ordering::Greater => Err(missing(
                self.sequence.saturating_add(1),
                before.sequence,
                &self.incarnation,
            )),
            std::cmp::Ordering::Equal if before.hash == self.hash => Ok(()),
            // The log has what the spool lost in a crash.
            std::cmp::Ordering::Less if reserved => Ok(()),
            _ => Err(self.other_history()),
        }
    }

    fn other_history(&self) -> String {
        format!(
            "what follows record {} of the process `{}` was written after another record of that number",
            self.sequence, self.incarnation
        )
    }
}

#[cfg(test)]
mod tests {
    use audit::record::{Dropped, Started};

    use super::*;

    /// Chains of an authority's records, as its spool makes them.
    #[derive(Default)]
    struct Spool {
        all: Vec<Record>,
    }

    impl Spool {
        fn push(&mut self, incarnation: &str, sequence: u64, event: Event) {
            let before = self.all.last().filter(|before| before.incarnation == incarnation);
            let record = Record {
                version: audit::record::VERSION,
                edge: "authority".into(),
                incarnation: incarnation.into(),
                sequence,
                previous: before.map_or([0; 32], |before| before.hash().unwrap()),
                event,
            };
            self.all.push(record);
        }

        /// A process with records 1 to `last`; what its predecessor had reserved beyond its end.
        fn process(&mut self, incarnation: &str, last: u64, reserved: u64) {
            let predecessor = self.all.last().map(|before| Predecessor {
                edge: before.edge.clone(),
                incarnation: before.incarnation.clone(),
                sequence: before.sequence,
                hash: before.hash().unwrap(),
                unaccounted: (reserved > 0).then(|| (before.sequence + 1, before.sequence + reserved)),
                damaged: false,
            });
            let started = Started {
                time_ms: 1,
                predecessor,
            };
            self.push(incarnation, 1, Event::Started(started));
            for sequence in 2..=last {
                self.push(incarnation, sequence, Event::Stopped { time_ms: sequence });
            }
        }

        fn without(&self, left_out: &[usize]) -> Vec<Record> {
            let kept = self.all.iter().enumerate();
            kept.filter(|(at, _)| !left_out.contains(at))
                .map(|(_, record)| record.clone())
                .collect()
        }
    }

    fn spool() -> Spool {
        let mut spool = Spool::default();
        spool.process("a", 4, 0);
        spool.process("b", 3, 10);
        spool.process("c", 2, 0);
        spool
    }

    fn read(records: &[Record], from: Option<(&str, u64)>) -> Result<bool, String> {
        let from = from.map(|(incarnation, sequence)| AuditPosition {
            incarnation: incarnation.into(),
            sequence,
        });
        let mut history = History::new(from.as_ref());
        records.iter().try_for_each(|record| history.take(record))?;
        Ok(history.stops().is_some())
    }

    #[test]
    fn what_follows_is_taken_from_anywhere_on() {
        let spool = spool();
        assert_eq!(read(&spool.all, None), Ok(true));
        assert_eq!(read(&spool.all, Some(("a", 2))), Ok(true));
        // It begins before the position, in the middle of a process, with a hole before the position.
        assert_eq!(read(&spool.without(&[0, 2]), Some(("a", 4))), Ok(true));
        assert_eq!(read(&spool.all, Some(("d", 4))), Ok(false));
        // Twice, from the log and from the spool.
        assert_eq!(
            read(&[&spool.all[..], &spool.all[3..]].concat(), Some(("a", 2))),
            Ok(true)
        );
        // The log has a number that the disk lost, within what was reserved.
        let mut more = spool.without(&[]);
        let mut shipped = more[3].clone();
        (shipped.sequence, shipped.previous) = (5, more[3].hash().unwrap());
        more.insert(4, shipped);
        assert_eq!(read(&more, Some(("a", 2))), Ok(true));
    }

    #[test]
    fn what_is_missing_behind_the_position_is_named() {
        let spool = spool();
        for (left_out, from, named) in [
            (&[2][..], Some(("a", 2)), "records 3 to 3 of the process `a`"),
            (&[3], Some(("a", 2)), "records 4 to 4 of the process `a`"),
            (&[2, 3], Some(("a", 2)), "records 3 to 4 of the process `a`"),
            (&[4], Some(("a", 2)), "records 1 to 1 of the process `b`"),
            (&[4, 5, 6], Some(("a", 2)), "records 1 to 3 of the process `b`"),
            (&[6], Some(("a", 4)), "records 3 to 3 of the process `b`"),
            (&[0], None, "records 1 to 1 of the process `a`"),
            (&[0, 1, 2, 3], None, "records 1 to 4 of the process `a`"),
        ] {
            let refused = read(&spool.without(left_out), from).unwrap_err();
            assert!(refused.contains(named), "{left_out:?}: {refused}");
        }
    }

    #[test]
    fn another_history_and_an_empty_spool_are_refused() {
        let mut records = spool().all;
        let Event::Started(started) = &mut records[4].event else {
            panic!("the second process begins here");
        };
        started.predecessor.as_mut().unwrap().hash = [1; 32];
        assert!(read(&records, Some(("a", 2))).unwrap_err().contains("another record"));
        let mut records = spool().all;
        records[3].previous = [1; 32];
        assert!(read(&records, Some(("a", 2))).unwrap_err().contains("another record"));
        // A spool that began anew behind a process that had not ended.
        let mut records = spool().all;
        records[3].event = Event::Dropped(Dropped {
            time_ms: 1,
            incarnation: "a".into(),
            range: (1, 1),
            hash: [0; 32],
        });
        records[4].event = Event::Started(Started {
            time_ms: 1,
            predecessor: None,
        });
        let refused = read(&records[..5], Some(("a", 2))).unwrap_err();
        assert!(refused.contains("`a` from 5 on"), "{refused}");
    }
}
