//! Checks every chain of a spool: that each record's hash is in the next one, that no sequence number is missing, and
//! that each process names how the one before it ended.
//!
//! What it cannot see from the directory alone: the newest records removed or rewritten together with everything after
//! them, and the oldest segments removed.

use std::fmt;
use std::io;
use std::path::Path;

use crate::frame::{Item, Items, filled};
use crate::read::ReadError;
use crate::record::{Event, Hash, Predecessor, Record};
use crate::volume::{list, segment_path};

/// What a directory holds and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// By age.
    pub chains: Vec<Chain>,
    /// Records that could be read.
    pub records: u64,
    /// Empty where everything holds.
    pub faults: Vec<Fault>,
}

/// The records of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The edge's id.
    pub edge: String,
    /// The process's id.
    pub incarnation: String,
    /// The first sequence number that is here: more than 1 where older segments were removed.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// The last record's hash.
    pub hash: Hash,
    /// Whether the process closed its spool.
    pub stopped: bool,
    /// Sequence numbers, first and last, that were reserved and whose use is unknown.
    pub unaccounted: Option<(u64, u64)>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The segment's number.
    pub segment: u64,
    /// What it is.
    pub kind: FaultKind,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// Bytes that are no records any more.
    Damaged {
        /// The first bad byte.
        offset: usize,
        /// How many.
        length: usize,
    },
    /// The segment is not there.
    Missing,
    /// A record does not carry the hash of the one before it.
    Hash {
        /// The record's sequence number.
        sequence: u64,
    },
    /// A sequence number is out of order.
    Sequence {
        /// What should have come.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// A process says otherwise how the one before it ended.
    Predecessor {
        /// The process that says so.
        incarnation: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "segment {}: ", self.segment)?;
        match &self.kind {
            FaultKind::Damaged { offset, length } => write!(out, "{length} bytes at offset {offset} are damaged"),
            FaultKind::Missing => write!(out, "is missing"),
            FaultKind::Hash { sequence } => {
                write!(out, "record {sequence} does not follow from the one before it")
            }
            FaultKind::Sequence { expected, found } => {
                write!(out, "record {expected} should come, and record {found} is there")
            }
            FaultKind::Predecessor { incarnation } => {
                write!(
                    out,
                    "process `{incarnation}` tells another end of the process before it"
                )
            }
        }
    }
}

impl Report {
    /// Whether nothing is wrong.
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} records, {} chains, {} faults",
            self.records,
            self.chains.len(),
            self.faults.len()
        )?;
        for chain in &self.chains {
            let state = if chain.stopped { "stopped" } else { "open" };
            write!(
                out,
                "
{} {}: {} to {}, {state}",
                chain.edge, chain.incarnation, chain.first, chain.last
            )?;
            if let Some((first, last)) = chain.unaccounted {
                write!(out, "; {first} to {last} were reserved and have no record")?;
            }
        }
        for fault in &self.faults {
            write!(
                out,
                "
fault: {fault}"
            )?;
        }
        Ok(())
    }
}

/// Checks every chain in `directory`. The torn end of a write in flight, or of a crash that nobody has recovered from
/// yet, is no fault.
///
/// # Errors
/// [`ReadError::Io`].
pub fn directory(directory: &Path) -> Result<Report, ReadError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Io { path, source }
    };
    let numbers: Vec<u64> = list(directory)
        .map_err(io(directory))?
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    let mut check = Check::default();
    for (index, number) in numbers.iter().copied().enumerate() {
        let path = segment_path(directory, number);
        let bytes = match std::fs::read(&path) {
            // The writer may have dropped the oldest, or given back what it had made ready, since they were listed.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && (index == 0 || index.saturating_add(1) == numbers.len()) =>
            {
                continue;
            }
            other => other.map_err(io(&path))?,
        };
        check.segment(number, &bytes);
    }
    Ok(check.report)
}

#[derive(Default)]
struct Check {
    report: Report,
    segment: Option<u64>,
    /// The chain's last record was read and nothing was lost since.
    linked: bool,
    /// What the segment ended with, and what is no fault where it is the last.
    torn: Option<FaultKind>,
}

impl Check {
    fn segment(&mut self, number: u64, bytes: &[u8]) {
        // Made ready and not begun, or left by a write that failed: no records, and none are missing.
        if filled(bytes) == 0 {
            return;
        }
        if let Some(torn) = self.torn.take() {
            self.lose(torn);
        }
        for missing in self.segment.map_or(number, |before| before.saturating_add(1))..number {
            self.segment = Some(missing);
            self.lose(FaultKind::Missing);
        }
        self.segment = Some(number);
        let mut items = Items::<Record>::new(bytes, 0);
        for item in items.by_ref() {
            match item {
                Item::Damage { offset, length } => self.lose(FaultKind::Damaged { offset, length }),
                Item::Record { record, hash } => self.record(&record, hash),
                Item::Head(_) | Item::Mark { .. } => {}
            }
        }
        let (offset, length) = (items.end(), filled(bytes).saturating_sub(items.end()));
        self.torn = (length > 0).then_some(FaultKind::Damaged { offset, length });
    }

    fn record(&mut self, record: &Record, hash: Hash) {
        self.report.records = self.report.records.saturating_add(1);
        let goes_on = self
            .report
            .chains
            .last()
            .is_some_and(|chain| chain.edge == record.edge && chain.incarnation == record.incarnation);
        if let Event::Started(started) = &record.event {
            self.started(record, started.predecessor.as_ref(), goes_on);
        } else if self.linked && !goes_on {
            self.fault(FaultKind::Sequence {
                expected: 1,
                found: record.sequence,
            });
        }
        if goes_on {
            self.follow(record);
        } else {
            self.report.chains.push(Chain {
                edge: record.edge.clone(),
                incarnation: record.incarnation.clone(),
                first: record.sequence,
                last: record.sequence,
                hash,
                stopped: false,
                unaccounted: None,
            });
        }
        self.linked = true;
        if let Some(chain) = self.report.chains.last_mut() {
            chain.last = record.sequence;
            chain.hash = hash;
            chain.stopped = matches!(record.event, Event::Stopped { .. });
        }
    }

    /// A process's first record against the end of the chain before it.
    fn started(&mut self, record: &Record, predecessor: Option<&Predecessor>, goes_on: bool) {
        if !goes_on && record.sequence != 1 {
            self.fault(FaultKind::Sequence {
                expected: 1,
                found: record.sequence,
            });
        }
        let Some(chain) = self.report.chains.last_mut() else {
            return;
        };
        let agrees = predecessor.is_some_and(|told| {
            chain.edge == told.edge
                && chain.incarnation == told.incarnation
                && chain.last == told.sequence
                && chain.hash == told.hash
        });
        chain.unaccounted = predecessor.and_then(|told| told.unaccounted);
        if self.linked && !agrees {
            self.fault(FaultKind::Predecessor {
                incarnation: record.incarnation.clone(),
            });
        }
    }

    fn follow(&mut self, record: &Record) {
        let Some(chain) = self.report.chains.last().filter(|_| self.linked) else {
            return;
        };
        let resumed = matches!(record.event, Event::Started(_));
        let after = chain
            .unaccounted
            .filter(|_| resumed)
            .map_or(chain.last, |(_, last)| last);
        let expected = after.saturating_add(1);
        let (sequence, follows) = (record.sequence, chain.hash == record.previous);
        if sequence != expected {
            self.fault(FaultKind::Sequence {
                expected,
                found: sequence,
            });
        } else if !follows {
            self.fault(FaultKind::Hash { sequence });
        }
    }

    fn lose(&mut self, kind: FaultKind) {
        self.fault(kind);
        self.linked = false;
    }

    fn fault(&mut self, kind: FaultKind) {
        self.report.faults.push(Fault {
            segment: self.segment.unwrap_or_default(),
            kind,
        });
    }
}
