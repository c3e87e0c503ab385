//! Actors: each brings about the faults of one [`Plan`] and mends them, while the others do theirs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::check::{Harm, Harmed, Outage};
use super::datagrams::Sea;
use super::fleet::{EDGES, Fleet};
use super::plan::{Fault, Machine, Plan};
use super::process::{How, Process};
use super::proxy::Weather;
use super::shim::Condition;
use super::site;

/// How much longer a fault lasts that nothing has come across yet.
const MORE: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(20);
/// A pause that is longer by this than it should be: the machine runs nothing of this.
const STARVED: Duration = Duration::from_millis(100);
/// How much longer than it should a play lasts at most until all that has to come was there.
pub(super) const OVERTIME: Duration = Duration::from_secs(60);
/// As the units in `deploy/systemd` say.
const RESTART: Duration = Duration::from_secs(1);

/// What the actors did.
#[derive(Debug, Default)]
pub struct Done {
    /// How often each kind of fault was brought about and met something.
    pub faults: BTreeMap<&'static str, usize>,
    /// Kinds that cannot be had on this machine, and why.
    pub impossible: BTreeMap<&'static str, &'static str>,
    /// When nothing of an edge's could be made durable.
    pub outages: Vec<Outage>,
    /// What was done that keeps processes from writing.
    pub harms: Vec<Harmed>,
    /// When the machine ran nothing of this.
    pub starved: Vec<(Duration, Duration)>,
    /// How far authorities' clocks were off at times, seconds.
    pub steps: Vec<i64>,
}

/// What came of a fault.
enum Outcome {
    Met,
    /// Nothing came across it.
    Missed,
    Impossible(&'static str),
}

impl Outcome {
    fn of(met: bool) -> Outcome {
        if met { Outcome::Met } else { Outcome::Missed }
    }
}

/// The stage on which all actors are.
#[derive(Debug)]
pub struct Stage<'a> {
    fleet: &'a Fleet,
    begun: Instant,
    done: Mutex<Done>,
}

impl<'a> Stage<'a> {
    /// For a fleet; times count from `begun`.
    pub fn new(fleet: &'a Fleet, begun: Instant) -> Stage<'a> {
        Stage {
            fleet,
            begun,
            done: Mutex::default(),
        }
    }

    /// What was done.
    pub fn leave(self) -> Done {
        self.done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays for so long, and until every kind was met once that can be had: those that were missed are dealt again. Not for ever:
    /// a report has what was never met with a count of 0.
    pub fn play(&self, mut plan: Plan, lasts: Duration) {
        loop {
            let (elapsed, unmet) = (self.begun.elapsed(), self.unmet(&plan));
            if elapsed >= lasts {
                if unmet.is_empty() || elapsed >= lasts + OVERTIME {
                    break;
                }
                plan.leave(&unmet);
            }
            let Some((pause, name, fault)) = plan.next() else { break };
            std::thread::sleep(pause);
            let outcome = self.strike(fault);
            let mut done = self.done();
            match outcome {
                Outcome::Met => *done.faults.entry(name).or_default() += 1,
                Outcome::Missed => {
                    done.faults.entry(name).or_default();
                }
                Outcome::Impossible(why) => drop(done.impossible.insert(name, why)),
            }
        }
        for name in self.unmet(&plan) {
            self.done().faults.entry(name).or_default();
        }
    }

    /// What no plan has was brought about, and met something.
    pub fn note(&self, name: &'static str, met: bool) {
        *self.done().faults.entry(name).or_default() += usize::from(met);
    }

    /// Kinds of fault that met nothing yet and can be had.
    fn unmet(&self, plan: &Plan) -> Vec<&'static str> {
        let done = self.done();
        let is_met = |name: &&str| done.faults.get(name).is_some_and(|met| *met > 0);
        let kinds = plan.kinds().filter(|name| !is_met(name));
        kinds.filter(|name| !done.impossible.contains_key(name)).collect()
    }

    /// Starts what ended by itself, every second, until the actors have left.
    pub fn revive(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let revived = self.fleet.processes().filter(|(_, process)| process.revive()).count();
            *self
                .done()
                .faults
                .entry("processes that ended by themselves")
                .or_default() += revived;
            std::thread::sleep(RESTART);
        }
    }

    /// Notes when processes end, and when nothing gets a turn, until it is over.
    pub fn watch(&self, over: &AtomicBool) {
        let mut last = self.begun.elapsed();
        while !over.load(Ordering::Relaxed) {
            self.fleet.processes().for_each(|(_, process)| process.look());
            std::thread::sleep(LOOK);
            let now = self.begun.elapsed();
            if now > last + LOOK + STARVED {
                self.done().starved.push((last, now));
            }
            last = now;
        }
    }

    fn done(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self, machine: Machine) -> &Process {
        match machine {
            Machine::Edge(number) => &self.fleet.edges[number],
            Machine::Authority(number) => &self.fleet.authorities[number],
        }
    }

    fn strike(&self, fault: Fault) -> Outcome {
        match fault {
            Fault::Kill(machine) => {
                let mut held = self.process(machine).hold();
                let was_running = held.kill();
                held.start();
                return Outcome::of(was_running);
            }
            Fault::Stop(machine) => {
                let mut held = self.process(machine).hold();
                let how = held.stop();
                held.start();
                return Outcome::of(matches!(how, Some(How::Stopped(_))));
            }
            Fault::KillMember(member, time) => {
                let Some(mut etcd) = self.fleet.etcd() else {
                    return Outcome::Missed;
                };
                etcd.kill(member);
                std::thread::sleep(time);
                etcd.begin(member);
            }
            Fault::Freeze(machine, time) => {
                return Outcome::of(self.freeze(machine, || std::thread::sleep(time)).is_some());
            }
            Fault::Link(edge, authority, weather, time) => {
                let links = &self.fleet.links[edge];
                let links = authority.map_or(&links[..], |one| std::slice::from_ref(&links[one]));
                for weather in [weather, Weather::default()] {
                    links.iter().for_each(|link| link.set(weather));
                    std::thread::sleep(if weather == Weather::default() { LOOK } else { time });
                }
            }
            Fault::Cut(edge) => self.fleet.links[edge].iter().for_each(|link| link.cut()),
            Fault::Island(authority, time) => self.isolate(authority, time),
            Fault::StoreAway(authority, weather, time) => {
                let ways = &self.fleet.stores[authority];
                ways.iter().for_each(|way| way.set(weather));
                std::thread::sleep(time);
                ways.iter().for_each(|way| way.set(Weather::default()));
            }
            Fault::Datagrams(edge, sea, time) => {
                self.fleet.seas[edge].set(sea);
                std::thread::sleep(time);
                self.fleet.seas[edge].set(Sea::default());
            }
            Fault::Rebind(edge, time) => {
                self.fleet.seas[edge].rebind();
                std::thread::sleep(time);
                self.fleet.seas[edge].rebind();
            }
            Fault::Clock(machine, step, time) => return self.step_clock(machine, step, time),
            Fault::FullDisk(machine, time) => return self.fill_disk(machine, time),
            Fault::ReadOnlyDisk(machine, time) => return self.start_read_only(machine, time),
            Fault::Disk(machine, under, condition, time) => return self.fail_disk(machine, under, condition, time),
            Fault::Token(mode, time) => {
                let Some(token) = &self.fleet.token else {
                    return Outcome::Missed;
                };
                let from = self.begun.elapsed();
                token.set(mode);
                std::thread::sleep(time);
                token.set("ok");
                let until = self.begun.elapsed();
                let authorities = (0..self.fleet.authorities.len()).map(Machine::Authority);
                self.done().harms.extend(authorities.map(|machine| Harmed {
                    machine,
                    kind: Harm::Token,
                    from,
                    until,
                }));
            }
        }
        Outcome::Met
    }

    /// SIGSTOP, and SIGCONT after `meanwhile`, whose answer it is; none where it has ended.
    pub fn freeze<T>(&self, machine: Machine, meanwhile: impl FnOnce() -> T) -> Option<T> {
        let mut held = self.process(machine).hold();
        self.harm(machine, Harm::Frozen, || held.freeze(meanwhile))
    }

    fn isolate(&self, authority: usize, time: Duration) {
        let stalled = Weather {
            up_stalled: true,
            down_stalled: true,
            ..Weather::default()
        };
        let links = (0..EDGES).map(|edge| &self.fleet.links[edge][authority]);
        let ways: Vec<_> = links.chain(&self.fleet.stores[authority]).collect();
        ways.iter().for_each(|way| way.set(stalled));
        std::thread::sleep(time);
        ways.iter().for_each(|way| way.set(Weather::default()));
    }

    /// Nobody starts an authority anew meanwhile: what it makes for itself then would be of a time that is not.
    fn step_clock(&self, machine: Machine, step: i64, time: Duration) -> Outcome {
        let process = self.process(machine);
        let _held = match machine {
            Machine::Authority(_) => {
                self.done().steps.push(step);
                Some(process.hold())
            }
            Machine::Edge(_) => None,
        };
        let before = process.control.misled();
        process.control.step(step);
        let met = meets(time, || process.control.misled() > before);
        process.control.step(0);
        met
    }

    fn fill_disk(&self, machine: Machine, time: Duration) -> Outcome {
        let Some(disk) = self.fleet.disk(&name(machine)) else {
            return Outcome::Impossible(UNMOUNTED);
        };
        self.harm(machine, Harm::FullDisk, || {
            let full = disk.fill();
            std::thread::sleep(time);
            drop(full);
        });
        self.mend(machine);
        Outcome::Met
    }

    /// A process is started on a disk that it can only read, as after a crash that the file system did not survive.
    fn start_read_only(&self, machine: Machine, time: Duration) -> Outcome {
        let Some(disk) = self.fleet.disk(&name(machine)) else {
            return Outcome::Impossible(UNMOUNTED);
        };
        let mut held = self.process(machine).hold();
        self.harm(machine, Harm::ReadOnlyDisk, || {
            held.kill();
            disk.set_read_only(true);
            held.start();
            let from = self.begun.elapsed();
            std::thread::sleep(time);
            self.note_outage(machine, from);
            held.kill();
            disk.set_read_only(false);
        });
        held.start();
        Outcome::Met
    }

    fn fail_disk(&self, machine: Machine, under: &str, condition: Condition, time: Duration) -> Outcome {
        let process = self.process(machine);
        let before = process.control.struck();
        let at = self.fleet.path(&name(machine)).join(under);
        let met = self.harm(machine, Harm::Disk(condition), || {
            process.control.set_disk(condition, &at);
            let from = self.begun.elapsed();
            let met = meets(time, || process.control.struck() > before);
            if condition != Condition::Short {
                self.note_outage(machine, from);
            }
            process.control.set_disk(Condition::Good, &at);
            met
        });
        self.mend(machine);
        met
    }

    /// Does it, and notes when.
    fn harm<T>(&self, machine: Machine, kind: Harm, harm: impl FnOnce() -> T) -> T {
        let from = self.begun.elapsed();
        let outcome = harm();
        let until = self.begun.elapsed();
        self.done().harms.push(Harmed {
            machine,
            kind,
            from,
            until,
        });
        outcome
    }

    /// Until now.
    fn note_outage(&self, machine: Machine, from: Duration) {
        if let Machine::Edge(edge) = machine {
            let until = self.begun.elapsed();
            self.done().outages.push(Outage { edge, from, until });
        }
    }

    /// An edge goes on by itself once its disk is good again. An authority is started anew by its operator, since its store
    /// refuses to write from the first failure on.
    fn mend(&self, machine: Machine) {
        if matches!(machine, Machine::Authority(_)) {
            let mut held = self.process(machine).hold();
            held.kill();
            held.start();
        }
    }
}

const UNMOUNTED: &str = "nothing can be mounted here: run it as root, or allow user namespaces";

fn name(machine: Machine) -> String {
    match machine {
        Machine::Edge(number) => site::edge(number),
        Machine::Authority(number) => site::authority(number),
    }
}

/// Lets a fault last for `time`, and for some more until it was met.
fn meets(time: Duration, met: impl Fn() -> bool) -> Outcome {
    std::thread::sleep(time);
    let until = Instant::now() + MORE;
    while !met() {
        if Instant::now() >= until {
            return Outcome::Missed;
        }
        std::thread::sleep(LOOK);
    }
    Outcome::Met
}
