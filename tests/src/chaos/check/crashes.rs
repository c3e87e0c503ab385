//! Whether processes ended that nothing made end.
//!
//! A failed sync ends a process with SIGABRT, by design (R30). One that was told to end does so with exit code 0. One that ends with
//! an exit code by itself, or with another, has a bad disk, starts with a token that fails, or finds its port taken: everything
//! else is waited for.

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
/// What a process says that ends for the port it should listen on: any connection of this machine may have it, while it is away.
const PORT_TAKEN: &str = "Address already in use";
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
    /// Ends by a signal that nobody here sent or with an exit code that nothing explains, and panics.
    pub(super) fn crashes(&self, checked: &mut Checked) {
        let ended = self.ends.iter().filter(|end| self.is_crash(end));
        let ended = ended.chain(self.exits()).map(|end| Crash::Ended(*end));
        let said = self.logs.iter().flat_map(|(machine, log)| {
            let lines = log.lines().filter(|line| line.contains(PANICKED));
            lines.map(|line| Crash::Panicked {
                machine: *machine,
                line: line.to_owned(),
            })
        });
        checked.violations.extend(ended.chain(said).map(Violation::Crashed));
    }

    fn is_crash(&self, end: &End) -> bool {
        match end.how {
            How::Killed | How::Code(_) | How::Stopped(_) => false,
            How::Signal(SIGABRT) => !self.was_harmed(end, SYNCED_WITHIN, |kind| kind == Harm::Disk(Condition::Losing)),
            How::Signal(_) | How::Stuck => true,
        }
    }

    /// Ends with an exit code that nothing explains: of each process without as many as found its port taken.
    fn exits(&self) -> impl Iterator<Item = &End> {
        let said = |machine: Machine, what: &str| -> usize {
            let logs = self.logs.iter().filter(|(of, _)| *of == machine);
            logs.map(|(_, log)| log.lines().filter(|line| line.contains(what)).count())
                .sum()
        };
        let mut machines: Vec<Machine> = Vec::new();
        self.ends
            .iter()
            .filter(|end| self.is_unexplained_exit(end))
            .filter(move |end| {
                machines.push(end.machine);
                let so_far = machines.iter().filter(|machine| **machine == end.machine).count();
                so_far > said(end.machine, PORT_TAKEN)
            })
    }

    fn is_unexplained_exit(&self, end: &End) -> bool {
        let is_wrong = match end.how {
            How::Code(_) => true,
            How::Stopped(code) => code != 0,
            How::Killed | How::Signal(_) | How::Stuck => false,
        };
        is_wrong && !self.was_harmed(end, EXPLAINED_WITHIN, |kind| kind != Harm::Frozen)
    }

    /// Whether there was such a harm when a process ended, or so shortly before.
    pub(super) fn was_harmed(&self, end: &End, within: Duration, is_such: impl Fn(Harm) -> bool) -> bool {
        self.harms.iter().any(|harm| {
            let is_near = harm.from <= end.found && end.seen <= harm.until + within;
            harm.machine == end.machine && is_such(harm.kind) && is_near
        })
    }
}
