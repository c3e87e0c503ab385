//! Faults under load: a fleet of real processes, callers that never stop, and a seeded actor that kills, freezes and cuts
//! off, while an operator stops keys and starts them again. Afterwards three checkers decide ([`check`]):
//!
//! 1. no signature was asked for after the fence of a stopped key and made before the key was started again;
//! 2. every signature that a caller received is on record, as its audit mode promises;
//! 3. everything that was acknowledged to the operator is still there after a last kill of everything.
//!
//! One seed makes one plan of faults and of the operator's actions; how they meet the processes is up to the machine.

pub mod check;
pub mod disk;
pub mod fleet;
pub mod http;
pub mod load;
pub mod operator;
pub mod plan;
pub mod proxy;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::check::Violation;
use self::fleet::{Fleet, Store};
use self::load::Load;
use self::operator::Operator;
use self::plan::{Fault, Plan};

/// What happened, in numbers.
#[derive(Debug, Default)]
pub struct Report {
    /// The plan's seed.
    pub seed: u64,
    /// How long there was load.
    pub lasted: Duration,
    /// kill -9 of an edge, of the authority or of a member of etcd, with the last one of everything.
    pub kills: usize,
    /// SIGSTOP to SIGCONT.
    pub freezes: usize,
    /// Connections between edges and authority that stalled in one or both directions, or were slow or cut.
    pub partitions: usize,
    /// Wall clocks that were an hour off for a time.
    pub clocks: usize,
    /// Disks that were full for a time.
    pub disks: usize,
    /// Signatures that callers received.
    pub signatures: usize,
    /// Answers that were refusals, and calls without an answer.
    pub refused: usize,
    /// Signatures without a record of their own that a durable reservation covers.
    pub reserved: usize,
    /// Stops that the operator saw fenced.
    pub fences: usize,
    /// Keys whose making was acknowledged.
    pub keys: usize,
    /// What no fault may bring about.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "seed {}, {:.1} s of load", self.seed, self.lasted.as_secs_f64())?;
        let counts = [
            ("kills", self.kills),
            ("freezes", self.freezes),
            ("partitions", self.partitions),
            ("clock steps", self.clocks),
            ("full disks", self.disks),
            ("signatures", self.signatures),
            ("refused or lost", self.refused),
            ("covered by a reservation", self.reserved),
            ("fenced stops", self.fences),
            ("keys made", self.keys),
            ("violations", self.violations.len()),
        ];
        for (what, count) in counts {
            writeln!(out, "{count:>8}  {what}")?;
        }
        // One cause has many signatures: the first show it.
        for violation in self.violations.iter().take(10) {
            writeln!(out, "  {violation}")?;
        }
        Ok(())
    }
}

/// Runs one plan for so long, over such a store, and checks what came of it. The directory of the fleet is removed unless something was violated.
pub fn run(store: Store, seed: u64, lasts: Duration) -> Report {
    let mut fleet = Fleet::start(store);
    let begun = Instant::now();
    let load = Load::start(&fleet, begun);
    let operator = Operator::start(fleet.operator(), seed, begun);
    let mut report = Report {
        seed,
        ..Report::default()
    };
    for (pause, fault) in Plan::new(seed) {
        if begun.elapsed() >= lasts {
            break;
        }
        std::thread::sleep(pause.min(lasts.saturating_sub(begun.elapsed())));
        apply(&mut fleet, fault, &mut report);
    }
    fleet.heal();
    let history = operator.finish();
    let answers = load.finish();
    report.lasted = begun.elapsed();
    // What was acknowledged must be on disk, not in a process.
    report.kills += fleet.kill_everything();
    fleet.start_everything();
    let seen = check::Seen {
        answers: Arc::new(answers),
        history,
        records: fleet.records(),
        keys: fleet.keys(),
    };
    let checked = seen.check();
    report.signatures = seen.signatures().count();
    report.refused = seen.answers.len() - report.signatures;
    report.reserved = checked.reserved;
    report.fences = seen.history.fences();
    report.keys = seen.history.made();
    report.violations = checked.violations;
    report.violations.extend(fleet.broken_chains());
    if !report.violations.is_empty() {
        fleet.keep();
    }
    report
}

fn apply(fleet: &mut Fleet, fault: Fault, report: &mut Report) {
    match fault {
        Fault::KillEdge(edge) => {
            fleet.kill_edge(edge);
            report.kills += 1;
        }
        Fault::KillAuthority => {
            fleet.kill_authority();
            report.kills += 1;
        }
        // A store in a file has no members.
        Fault::KillMember(member, time) => {
            if let Some(etcd) = &mut fleet.etcd {
                etcd.kill(member);
                std::thread::sleep(time);
                etcd.begin(member);
                report.kills += 1;
            }
        }
        Fault::FreezeEdge(edge, time) => {
            fleet.freeze(Some(edge), time);
            report.freezes += 1;
        }
        Fault::FreezeAuthority(time) => {
            fleet.freeze(None, time);
            report.freezes += 1;
        }
        Fault::Link(edge, weather, time) => {
            fleet.links[edge].set(weather);
            std::thread::sleep(time);
            fleet.links[edge].set(proxy::Weather::default());
            report.partitions += 1;
        }
        Fault::Cut(edge) => {
            fleet.links[edge].cut();
            report.partitions += 1;
        }
        Fault::Clock(edge, off, time) => {
            fleet.edges[edge].set_clock(off);
            std::thread::sleep(time);
            fleet.edges[edge].set_clock(0);
            report.clocks += 1;
        }
        // Who may mount nothing has no disk of its own to fill.
        Fault::FullDisk(edge, time) => {
            if let Some(disk) = &fleet.disks[edge] {
                let _full = disk.fill();
                std::thread::sleep(time);
                report.disks += 1;
            }
        }
    }
}
