//! Faults under load: a fleet of real processes, callers that never stop, and seeded actors ([`plan`]) that kill, freeze and cut off,
//! step clocks and make disks, tokens and datagrams fail, while an operator stops keys and starts them again. Afterwards checkers
//! decide ([`check`]):
//!
//! 1. no signature was asked for after the fence of a stopped key and made before the key was started again;
//! 2. every signature that a caller received is on record, as its audit mode promises, and none whose record must be durable was
//!    received while nothing could be;
//! 3. everything that was acknowledged to the operator is still there after a last kill of everything;
//! 4. a token's time is an authority's, whatever the edge's own clock says;
//! 5. once everything is mended every edge signs again, over every protocol.
//!
//! One seed makes one plan of faults and of the operator's actions; how they meet the processes is up to the machine.

pub mod act;
pub mod check;
pub mod datagrams;
pub mod disk;
pub mod fleet;
pub mod http;
pub mod http3;
pub mod load;
pub mod namespace;
pub mod operator;
pub mod plan;
pub mod process;
pub mod proxy;
pub mod shim;
pub mod site;
pub mod token;
mod trail;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use self::act::{Done, Stage};
use self::check::Violation;
use self::fleet::{Fleet, Store};
use self::load::{Answer, Load};
use self::operator::{History, Operator};
use self::plan::Plan;

/// What happened, in numbers.
#[derive(Debug, Default)]
pub struct Report {
    /// The plan's seed.
    pub seed: u64,
    /// How long there was load.
    pub lasted: Duration,
    /// What the actors did.
    pub done: Done,
    /// kill -9 of everything, at the end.
    pub last_kills: usize,
    /// Signatures that callers received, by how and for what.
    pub signatures: BTreeMap<String, usize>,
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
        for (what, count) in &self.done.faults {
            writeln!(out, "{count:>8}  {what}")?;
        }
        for (what, why) in &self.done.impossible {
            writeln!(out, "not done  {what}: {why}")?;
        }
        for (what, count) in &self.signatures {
            writeln!(out, "{count:>8}  {what}")?;
        }
        let counts = [
            ("kills at the end", self.last_kills),
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
        if !self.violations.is_empty() {
            let seconds = self.lasted.as_secs();
            writeln!(out, "again with: make chaos SECONDS={seconds} SEED={}", self.seed)?;
        }
        Ok(())
    }
}

/// What came of a plan, before the last kill of everything.
struct Played {
    lasted: Duration,
    done: Done,
    history: History,
    answers: Vec<Answer>,
    /// What did not work once everything was mended.
    violations: Vec<Violation>,
}

/// Plays one plan for so long, and until every kind of fault was there once; mends everything, and has everything work again.
fn play(fleet: &Fleet, store: Store, seed: u64, lasts: Duration) -> Played {
    let begun = Instant::now();
    let load = Load::start(fleet, begun);
    let operator = Operator::start(fleet.operator(), seed, begun);
    let stage = Stage::new(fleet, begun);
    let over = AtomicBool::new(false);
    let (lasted, history, answers, violations) = std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| stage.revive(&over));
        let plans = Plan::all(store, seed).into_iter();
        let stage = &stage;
        let actors: Vec<_> = plans.map(|plan| scope.spawn(move || stage.play(plan, lasts))).collect();
        actors.into_iter().for_each(|actor| actor.join().unwrap());
        fleet.heal();
        let (mut history, lasted) = (operator.finish(), begun.elapsed());
        let stuck = history.start_all(&fleet.operator());
        let mut answers = load.finish();
        let (last, mut violations) = load::recover(fleet, begun);
        answers.extend(last);
        violations.extend(stuck.into_iter().map(|key| Violation::NotStarted { key }));
        (lasted, history, answers, violations)
    });
    Played {
        lasted,
        done: stage.leave(),
        history,
        answers,
        violations,
    }
}

/// Says that it is over when dropped, after a panic too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Plays a plan over such a store and checks what came of it. The directory of the fleet is removed unless something was violated.
pub fn run(store: Store, seed: u64, lasts: Duration) -> Report {
    let mut fleet = Fleet::start(store, seed);
    let played = play(&fleet, store, seed, lasts);
    // What was acknowledged must be on disk, not in a process.
    let last_kills = fleet.kill_everything();
    fleet.start_everything();
    let seen = check::Seen {
        answers: Arc::new(played.answers),
        history: played.history,
        records: fleet.records(),
        keys: fleet.keys(),
        outages: played.done.outages.clone(),
        steps: played.done.steps.clone(),
    };
    let checked = seen.check();
    let mut signatures = BTreeMap::new();
    for (answer, _) in seen.signatures() {
        let what = format!("signatures of {} over {}", answer.profile.path, answer.protocol);
        *signatures.entry(what).or_default() += 1;
    }
    let mut violations = checked.violations;
    violations.extend(played.violations);
    violations.extend(fleet.broken_chains());
    if !violations.is_empty() {
        fleet.keep();
    }
    Report {
        seed,
        lasted: played.lasted,
        done: played.done,
        last_kills,
        refused: seen.answers.len() - signatures.values().sum::<usize>(),
        signatures,
        reserved: checked.reserved,
        fences: seen.history.fences(),
        keys: seen.history.made(),
        violations,
    }
}
