//! A whole log, checked offline with nothing but the key of its checkpoints.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;

use super::LogError;
use super::objects::Objects;
use super::read::{Packs, View};
use super::right::RightEdge;
use super::tiles::{self, WIDTH};
use crate::batch::{Batch, ChainError};
use crate::note::{Checkpoint, VerifierKey};
use crate::record::Hash;

/// Faults that are named; what comes behind is only counted.
const MOST: usize = 100;

/// What a log holds and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// Leaves that could be read.
    pub leaves: u64,
    /// Records under them.
    pub records: u64,
    /// Empty where everything holds.
    pub faults: Vec<Fault>,
    /// Faults beyond the ones that are listed.
    pub more: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A file is missing, too short or too long, or its content is not what its leaves make.
    Object(String),
    /// The leaves have another root than was signed: some were changed, moved, added or removed.
    Root,
    /// A leaf that is no batch.
    Leaf(u64),
    /// A batch's records are not there, or not the ones it was made of.
    Records {
        /// The leaf.
        leaf: u64,
        /// What about them.
        error: Option<ChainError>,
    },
    /// A batch does not follow from the one before it in its chain.
    Chain {
        /// The leaf.
        leaf: u64,
        /// The edge.
        edge: String,
        /// Its process.
        incarnation: String,
    },
    /// Somebody has seen more leaves than there are: the log was put back.
    RolledBack {
        /// How many.
        seen: u64,
    },
    /// Somebody has seen other leaves: the log shows different people different things.
    Forked {
        /// How many.
        seen: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Object(name) => write!(out, "`{name}` is missing, or not what belongs there"),
            Fault::Root => write!(out, "the leaves have another root than the checkpoint signs"),
            Fault::Leaf(leaf) => write!(out, "leaf {leaf} is no batch"),
            Fault::Records { leaf, error: None } => {
                write!(out, "the records of leaf {leaf} are missing or cannot be read")
            }
            Fault::Records {
                leaf,
                error: Some(error),
            } => write!(
                out,
                "the records of leaf {leaf} are not the ones it was made of: {error}"
            ),
            Fault::Chain {
                leaf,
                edge,
                incarnation,
            } => write!(
                out,
                "leaf {leaf} does not follow from the records of `{edge}` `{incarnation}` before it"
            ),
            Fault::RolledBack { seen } => write!(out, "the log was rolled back: {seen} leaves were seen"),
            Fault::Forked { seen } => write!(out, "the log was forked: other {seen} leaves were seen"),
        }
    }
}

/// Checks the log in a directory: the checkpoint's signature, every tile, leaf, pack and record, the chains, and that it grew
/// from each checkpoint in `seen`. `tell` hears of progress: leaves done, and all.
///
/// # Errors
/// [`LogError`] where there is no checkpoint, or one that the key did not sign.
pub fn directory(
    directory: &Path,
    key: &VerifierKey,
    seen: &[Checkpoint],
    tell: impl FnMut(u64, u64),
) -> Result<Report, LogError> {
    view(&View::open(directory, Some(key))?, seen, tell)
}

/// As [`directory`], of a log whose checkpoint was verified.
///
/// # Errors
/// [`LogError`]: the storage's.
pub fn view(view: &View, seen: &[Checkpoint], mut tell: impl FnMut(u64, u64)) -> Result<Report, LogError> {
    let checkpoint = view.checkpoint().clone();
    let mut check = Check::new(view.objects(), checkpoint, seen);
    let size = check.report.checkpoint.size;
    let mut bundle = 0_u64;
    while bundle.saturating_mul(WIDTH) < size {
        check.bundle(bundle)?;
        tell(check.report.leaves, size);
        bundle = bundle.saturating_add(1);
    }
    check.end()?;
    Ok(check.report)
}

struct Check<'o> {
    objects: &'o dyn Objects,
    packs: Packs<'o>,
    /// The tree as its leaves make it; none behind leaves that could not be read.
    right: Option<RightEdge>,
    seen: Vec<&'o Checkpoint>,
    chains: HashMap<(String, String), (u64, Hash)>,
    report: Report,
}

impl<'o> Check<'o> {
    fn new(objects: &'o dyn Objects, checkpoint: Checkpoint, seen: &'o [Checkpoint]) -> Check<'o> {
        let report = Report {
            checkpoint,
            leaves: 0,
            records: 0,
            faults: Vec::new(),
            more: 0,
        };
        Check {
            objects,
            packs: Packs::new(objects),
            right: Some(RightEdge::default()),
            seen: seen.iter().collect(),
            chains: HashMap::new(),
            report,
        }
    }

    fn fault(&mut self, fault: Fault) {
        if self.report.faults.len() < MOST {
            self.report.faults.push(fault);
        } else {
            self.report.more = self.report.more.saturating_add(1);
        }
    }

    fn bundle(&mut self, index: u64) -> Result<(), LogError> {
        let width = tiles::width(0, index, self.report.checkpoint.size);
        let name = tiles::entries(index, width);
        let content = tiles::get(self.objects, &name)?.unwrap_or_default();
        let Some(leaves) = tiles::read_entries(&content, width) else {
            self.fault(Fault::Object(name));
            self.right = None;
            return Ok(());
        };
        for (leaf, at) in leaves.into_iter().zip(index.saturating_mul(WIDTH)..) {
            self.leaf(at, leaf)?;
        }
        Ok(())
    }

    fn leaf(&mut self, index: u64, leaf: &[u8]) -> Result<(), LogError> {
        if let Some(right) = &mut self.right {
            let mut full = BTreeMap::new();
            right.push(leaf, &mut full);
            let (size, root) = (right.size(), right.root());
            self.compare(&full)?;
            self.compare_seen(size, root);
        }
        self.report.leaves = self.report.leaves.saturating_add(1);
        let Ok(batch) = Batch::parse(leaf) else {
            self.fault(Fault::Leaf(index));
            return Ok(());
        };
        let holds = self.packs.filled(&batch)?.map(|filled| batch.holds(&filled.records));
        match holds {
            Some(Ok(())) => self.report.records = self.report.records.saturating_add(batch.len()),
            wrong => {
                let error = wrong.and_then(Result::err);
                self.fault(Fault::Records { leaf: index, error });
            }
        }
        self.chain(index, batch);
        Ok(())
    }

    /// Numbers that were passed over are for [`super::reconcile`] to explain; what is there must follow.
    fn chain(&mut self, leaf: u64, batch: Batch) {
        let chain = (batch.edge, batch.incarnation);
        let (last, hash) = self.chains.get(&chain).copied().unwrap_or_default();
        let next = last.saturating_add(1);
        if batch.first < next || (batch.first == next && batch.previous != hash) {
            let (edge, incarnation) = chain.clone();
            self.fault(Fault::Chain {
                leaf,
                edge,
                incarnation,
            });
        }
        self.chains.insert(chain, (batch.last, batch.hash));
    }

    fn compare(&mut self, made: &BTreeMap<String, Vec<u8>>) -> Result<(), LogError> {
        for (name, content) in made {
            if tiles::get(self.objects, name)?.as_ref() != Some(content) {
                self.fault(Fault::Object(name.clone()));
            }
        }
        Ok(())
    }

    fn compare_seen(&mut self, size: u64, root: Hash) {
        let forked = self.seen.iter().any(|seen| seen.size == size && seen.root != root);
        if forked {
            self.fault(Fault::Forked { seen: size });
        }
    }

    fn end(&mut self) -> Result<(), LogError> {
        if let Some(right) = self.right.take() {
            let mut partials = BTreeMap::new();
            right.partials(&mut partials);
            self.compare(&partials)?;
            if right.root() != self.report.checkpoint.root {
                self.fault(Fault::Root);
            }
        }
        let size = self.report.checkpoint.size;
        let most = self.seen.iter().map(|seen| seen.size).max().filter(|seen| *seen > size);
        if let Some(seen) = most {
            self.fault(Fault::RolledBack { seen });
        }
        Ok(())
    }
}
