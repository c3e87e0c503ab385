//! Faults under load: a fleet of real processes, callers that never stop, and seeded actors ([`plan`]) that kill, freeze and cut off,
//! step clocks and make disks, tokens and datagrams fail, while an operator stops keys and starts them again. Afterwards checkers
//! decide ([`check`]):
//!
//! 1. no signature was made after the fence of a stopped key and before the key was started again;
//! 2. every signature that a caller received is on record, as its audit mode promises, and none whose record must be durable was
//!    received while nothing could be;
//! 3. everything that was acknowledged to the operator is still there after a last kill of everything;
//! 4. a token's time is an authority's, whatever the edge's own clock says;
//! 5. once everything is mended every edge signs again, over every protocol;
//! 6. every signature that a caller received verifies;
//! 7. nothing crashes but by a fault that is to end it, and what is told to end does so with exit code 0.
//!
//! One seed makes one plan of faults and of the operator's actions; how they meet the processes, and which have to come again, is
//! up to the machine.

pub mod act;
mod caught;
pub mod check;
pub mod datagrams;
pub mod dice;
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
pub mod published;
pub mod shim;
pub mod site;
pub mod token;
mod trail;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use signing::certificate::pem_decode;
use signing::key::PublicKey;

use self::act::{Done, OVERTIME, Stage};
use self::check::{Seen, Verified, Violation};
use self::fleet::{Fleet, Store};
use self::load::{Answer, Load};
use self::operator::{History, Operator};
use self::plan::Plan;

/// Long enough for a fence where nothing goes wrong any more.
const FENCED_WITHIN: Duration = Duration::from_secs(20);

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
    /// Signatures that were under way when a fence closed and that their records judge.
    pub under_way: usize,
    /// What of the signatures verifies.
    pub verified: Verified,
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
            ("tokens verified", self.verified.tokens),
            ("artifacts verified", self.verified.artifacts),
            ("tokens of keys that nobody published", self.verified.unpublished),
            ("under way at a fence and judged", self.under_way),
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
    begun: Instant,
    /// The same, milliseconds since 1970.
    begun_ms: u64,
    lasted: Duration,
    done: Done,
    history: History,
    answers: Vec<Answer>,
    /// Keys of tokens that edges published.
    published: HashMap<String, PublicKey>,
    /// What did not work once everything was mended.
    violations: Vec<Violation>,
}

/// Plays one plan for so long, and until every kind of fault was met once; mends everything, lets the operator have a fence and a
/// key if there was none before, and has everything work again.
fn play(fleet: &Fleet, store: Store, seed: u64, lasts: Duration) -> Played {
    let (begun, begun_ms) = (Instant::now(), SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis());
    let load = Load::start(fleet, begun);
    let operator = Operator::start(fleet.operator(), seed, begun);
    let stage = Stage::new(fleet, begun);
    let over = AtomicBool::new(false);
    let (lasted, history, answers, published, violations) = std::thread::scope(|scope| {
        let (stage, is_over) = (&stage, &over);
        let over = Over(&over);
        scope.spawn(move || stage.revive(is_over));
        scope.spawn(move || stage.watch(is_over));
        let published = scope.spawn(move || published::collect(fleet, is_over));
        let plans = Plan::all(store, seed).into_iter();
        let actors: Vec<_> = plans.map(|plan| scope.spawn(move || stage.play(plan, lasts))).collect();
        actors.into_iter().for_each(|actor| actor.join().unwrap());
        fleet.heal();
        operator.achieve((begun + lasts + OVERTIME).max(Instant::now() + FENCED_WITHIN));
        let (mut history, lasted) = (operator.finish(), begun.elapsed());
        let mut stuck = history.start_all(&fleet.operator(), begun);
        let mut answers = load.finish();
        let (last, mut violations) = load::recover(fleet, begun);
        answers.extend(last);
        answers.extend(caught::play(fleet, stage, &mut history, begun));
        stuck.extend(history.start_all(&fleet.operator(), begun));
        violations.extend(stuck.into_iter().map(|key| Violation::NotStarted { key }));
        drop(over);
        (lasted, history, answers, published.join().unwrap(), violations)
    });
    Played {
        begun,
        begun_ms: u64::try_from(begun_ms).unwrap(),
        lasted,
        done: stage.leave(),
        history,
        answers,
        published,
        violations,
    }
}

impl Played {
    /// With what is left of it after the last kill.
    fn seen(&mut self, fleet: &Fleet) -> Seen {
        let root = std::fs::read_to_string(fleet.path("admin/delegation-root.pem")).unwrap();
        Seen {
            begun_ms: self.begun_ms,
            answers: Arc::new(std::mem::take(&mut self.answers)),
            history: std::mem::take(&mut self.history),
            records: fleet.records(),
            keys: fleet.keys(),
            outages: std::mem::take(&mut self.done.outages),
            harms: std::mem::take(&mut self.done.harms),
            starved: std::mem::take(&mut self.done.starved),
            ends: fleet.ends(self.begun),
            logs: fleet.said(),
            published: std::mem::take(&mut self.published),
            roots: pem_decode("CERTIFICATE", &root).unwrap(),
            steps: std::mem::take(&mut self.done.steps),
        }
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
    let mut played = play(&fleet, store, seed, lasts);
    // What was acknowledged must be on disk, not in a process: at once.
    let stuck = played.history.stop_one(&fleet.operator(), seed);
    let last_kills = fleet.kill_everything();
    fleet.start_everything();
    let seen = played.seen(&fleet);
    let checked = seen.check();
    let mut violations = checked.violations;
    violations.extend(played.violations);
    violations.extend(stuck.map(|key| Violation::NotStopped { key }));
    violations.extend(fleet.broken_chains());
    let mut signatures = BTreeMap::new();
    for (answer, _) in seen.signatures() {
        let what = format!("signatures of {} over {}", answer.profile.path, answer.protocol);
        *signatures.entry(what).or_default() += 1;
    }
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
        under_way: checked.under_way,
        verified: checked.verified,
        fences: seen.history.fences(),
        keys: seen.history.made(),
        violations,
    }
}
