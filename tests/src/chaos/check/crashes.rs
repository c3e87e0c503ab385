//! Whether processes ended that nothing made end.
//!
//! A failed sync ends a process with SIGABRT, by design (R30). Ends with an exit code are only counted where no bad disk explains
//! them: an authority may end so when its store or its HSM is away as it starts.

use std::fmt;
use std::time::Duration;

use super::{Checked, End, Harm, Seen, Violation};
use crate::chaos::plan::Machine;
use crate::chaos::process::How;
use crate::chaos::shim::Condition;

/// How long after a disk lost writes a sync may be the first to say so.
const SYNCED_WITHIN: Duration = Duration::from_secs(10);
/// How long after its disk was bad a process may end because of that: it is started again, and is busy.
const EXPLAINED_WITHIN: Duration = Duration::from_secs(15);
const SIGABRT: i32 = 6;
/// What Rust writes to stderr.
const PANICKED: &str = "panicked at";

/// A process that went wrong by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Crash {
    /// It ended.
    Ended(End),
    /// Its log says that it panicked.
    Panicked {
        /// Which.
        machine: Machine,
        /// What it said.
        line: String,
    },
}

impl fmt::Display for Crash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Crash::Ended(End {
                machine,
                seen,
                found,
                how,
            }) => write!(
                out,
                "{machine:?} ended by itself between {seen:?} and {found:?}: {how:?}"
            ),
            Crash::Panicked { machine, line } => write!(out, "{machine:?}: {line}"),
        }
    }
}

impl Seen {
    /// Ends by a signal that nobody here sent, and panics.
    pub(super) fn crashes(&self, checked: &mut Checked) {
        let ended = self.ends.iter().filter(|end| self.is_crash(end));
        let ended = ended.map(|end| Crash::Ended(*end));
        let said = self.logs.iter().flat_map(|(machine, log)| {
            let lines = log.lines().filter(|line| line.contains(PANICKED));
            lines.map(|line| Crash::Panicked {
                machine: *machine,
                line: line.to_owned(),
            })
        });
        checked.violations.extend(ended.chain(said).map(Violation::Crashed));
        checked.exits = self.ends.iter().filter(|end| self.is_unexplained_exit(end)).count();
    }

    fn is_crash(&self, end: &End) -> bool {
        match end.how {
            How::Killed | How::Code(_) => false,
            How::Signal(SIGABRT) => !self.was_harmed(end, SYNCED_WITHIN, |kind| kind == Harm::Disk(Condition::Losing)),
            How::Signal(_) => true,
        }
    }

    fn is_unexplained_exit(&self, end: &End) -> bool {
        matches!(end.how, How::Code(_)) && !self.was_harmed(end, EXPLAINED_WITHIN, |kind| kind != Harm::Frozen)
    }

    /// Whether there was such a harm when a process ended, or so shortly before.
    fn was_harmed(&self, end: &End, within: Duration, is_such: impl Fn(Harm) -> bool) -> bool {
        self.harms.iter().any(|harm| {
            let is_near = harm.from <= end.found && end.seen <= harm.until + within;
            harm.machine == end.machine && is_such(harm.kind) && is_near
        })
    }
}
