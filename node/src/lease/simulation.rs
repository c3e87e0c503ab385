//! The protocol under a simulated clock and network: both machines as they are, everything around them at its worst within
//! the model (delay, loss, duplicates, other order, partitions, frozen and restarted processes on both sides, two
//! authorities on one store, clocks that drift as far as ρ allows). The same seed makes the same schedule.
//!
//! What must hold (R35): after a stop was answered as fenced, and until the key is started again, no process of any edge
//! passes a lease check.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::{Deadline, Grants, Holder, Renewals, Scope};
use random::Random;

mod random;

const KEYS: [(&str, u64); 2] = [("k0", 5_000), ("k1", 9_000)];
const EDGES: [&str; 2] = ["a", "b"];
/// Of one schedule, milliseconds.
const LENGTH: u64 = 30_000;

/// Stands for a nonce where [`Mistake::NotedLate`] notes what it has answered; nonces have their highest bit clear.
const LATE_NOTE: u64 = u64::MAX;

/// Mistakes that the checker must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// The edge counts a lease from when the answer came.
    FromReceipt,
    /// The authority notes a lease only when it has read that the key may sign.
    NotedLate,
    /// An authority that was started anew forgets that others granted before.
    Amnesia,
    /// The edge acknowledges before it acts.
    EarlyWord,
    /// The authority takes the clocks for equally fast: a lease that it notes is over when its length has passed here.
    NoDrift,
}

#[derive(Clone, Debug)]
enum Event {
    Tick(usize),
    Check(usize),
    /// As `Check`, once: at the very end of a lease.
    Last(usize),
    Push(usize, [bool; 2], u64),
    Grant(usize, u64, [bool; 2]),
    Renewal(usize, usize, u64, u64, [bool; 2]),
    Read(usize, u64, usize, u64, [bool; 2]),
    Answer(usize, u64, usize, u64, [bool; 2]),
    Word(usize, usize, u64),
    Change,
    Ask(usize, usize, u64),
    Trouble,
}

#[derive(Clone, Copy)]
struct Clock {
    offset: u64,
    /// Thousandths of real time: 990 to 1,010.
    rate: u64,
}

impl Clock {
    fn any(random: &mut Random) -> Clock {
        Clock {
            offset: random.below(1_000_000),
            rate: match random.below(3) {
                0 => 990,
                1 => 1_010,
                _ => 990 + random.below(21),
            },
        }
    }

    fn at(self, real: u64) -> u64 {
        self.offset + real * self.rate / 1_000
    }

    /// The first moment at which it shows this.
    fn shows(self, time: u64) -> u64 {
        (time.saturating_sub(self.offset) * 1_000).div_ceil(self.rate)
    }
}

struct Process {
    holder: Holder,
    clock: Clock,
    renewals: Renewals,
    deadlines: [Deadline; 2],
    enabled: [bool; 2],
    applied: u64,
    authority: usize,
    frozen_until: u64,
    cut_until: u64,
    dead: bool,
}

struct Authority {
    clock: Clock,
    grants: Grants,
    epoch: u64,
    frozen_until: u64,
}

struct World {
    random: Random,
    mistake: Mistake,
    now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: Vec<Option<Event>>,
    revision: u64,
    enabled: [bool; 2],
    changed: [u64; 2],
    fenced: [bool; 2],
    processes: Vec<Process>,
    authorities: Vec<Authority>,
    fences: u64,
    passed: u64,
}

/// What a schedule did: fences answered, checks passed.
fn run(seed: u64, mistake: Mistake) -> Result<(u64, u64), String> {
    let mut world = World::new(seed, mistake);
    while let Some(Reverse((at, index))) = world.queue.pop() {
        if at > LENGTH {
            break;
        }
        world.now = at;
        let event = world.events[usize::try_from(index).unwrap()].take().unwrap();
        world.step(event)?;
    }
    Ok((world.fences, world.passed))
}

impl World {
    fn new(seed: u64, mistake: Mistake) -> World {
        let mut random = Random::new(seed);
        let authorities = 1 + usize::try_from(random.below(2)).unwrap();
        let mut world = World {
            mistake,
            now: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            revision: 1,
            enabled: [true; 2],
            changed: [1; 2],
            fenced: [false; 2],
            processes: Vec::new(),
            authorities: Vec::new(),
            fences: 0,
            passed: 0,
            random,
        };
        for _ in 0..authorities {
            let clock = Clock::any(&mut world.random);
            let grants = Grants::new(clock.at(0), BTreeSet::new(), authorities > 1);
            world.authorities.push(Authority {
                clock,
                grants,
                epoch: 0,
                frozen_until: 0,
            });
        }
        for edge in EDGES {
            world.start(edge);
        }
        world.later(500, 4_000, Event::Change);
        world.later(200, 3_000, Event::Trouble);
        world
    }

    fn later(&mut self, least: u64, most: u64, event: Event) {
        let at = self.now + least + self.random.below(most - least + 1);
        self.at(at, event);
    }

    fn at(&mut self, at: u64, event: Event) {
        self.queue.push(Reverse((at, self.events.len() as u64)));
        self.events.push(Some(event));
    }

    fn start(&mut self, edge: &str) {
        let incarnation = self.processes.len();
        let authority = usize::try_from(self.random.below(self.authorities.len() as u64)).unwrap();
        self.processes.push(Process {
            holder: Holder {
                edge: edge.into(),
                incarnation: incarnation.to_string().into(),
            },
            clock: Clock::any(&mut self.random),
            renewals: Renewals::default(),
            deadlines: Default::default(),
            enabled: self.enabled,
            applied: self.revision,
            authority,
            frozen_until: 0,
            cut_until: 0,
            dead: false,
        });
        self.later(0, 50, Event::Tick(incarnation));
        self.later(0, 50, Event::Check(incarnation));
    }

    /// Over the network between a process and its authority: late, twice, or never.
    fn send(&mut self, process: usize, event: Event) {
        if self.now < self.processes[process].cut_until || self.random.below(100) < 8 {
            return;
        }
        let slow = if self.random.below(10) == 0 { 6_000 } else { 300 };
        if self.random.below(100) < 5 {
            self.later(0, slow, event.clone());
        }
        self.later(0, slow, event);
    }

    fn step(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Tick(at) if self.acts(at, &event) => self.tick(at),
            Event::Check(at) if self.acts(at, &event) => {
                self.later(20, 500, event);
                return self.check(at);
            }
            Event::Last(at) if self.acts(at, &event) => return self.check(at),
            Event::Push(at, enabled, revision) if self.acts(at, &event) => self.push(at, enabled, revision),
            Event::Grant(at, nonce, granted) if self.acts(at, &event) => self.grant(at, nonce, granted),
            Event::Renewal(by, from, nonce, acknowledged, keys) if self.serves(by, &event) => {
                if self.mistake != Mistake::NotedLate {
                    self.note(by, from, acknowledged, keys);
                }
                let epoch = self.authorities[by].epoch;
                self.later(0, 400, Event::Read(by, epoch, from, nonce, keys));
            }
            Event::Read(by, epoch, from, nonce, keys) if self.serves(by, &event) => {
                let granted = [0, 1].map(|key| keys[key] && self.enabled[key]);
                if self.mistake == Mistake::NotedLate {
                    self.later(0, 400, Event::Answer(by, epoch, from, LATE_NOTE, granted));
                }
                self.later(0, 400, Event::Answer(by, epoch, from, nonce, granted));
            }
            Event::Answer(by, epoch, from, nonce, granted) if self.serves(by, &event) => {
                if nonce == LATE_NOTE {
                    self.note(by, from, 0, granted);
                } else if self.authorities[by].epoch == epoch {
                    self.send(from, Event::Grant(from, nonce, granted));
                }
            }
            Event::Word(by, from, revision) if self.serves(by, &event) => {
                let holder = self.processes[from].holder.clone();
                self.authorities[by].grants.acknowledge(&holder, revision);
            }
            Event::Change => self.change(),
            Event::Ask(by, key, revision) if self.serves(by, &event) => self.ask(by, key, revision),
            Event::Trouble => self.trouble(),
            _ => {}
        }
        Ok(())
    }

    /// Whether a process runs; one that is frozen does it when it runs again.
    fn acts(&mut self, at: usize, event: &Event) -> bool {
        let process = &self.processes[at];
        let (dead, until) = (process.dead, process.frozen_until);
        if !dead && until > self.now {
            self.at(until, event.clone());
        }
        !dead && until <= self.now
    }

    fn serves(&mut self, by: usize, event: &Event) -> bool {
        let until = self.authorities[by].frozen_until;
        if until > self.now {
            self.at(until, event.clone());
        }
        until <= self.now
    }

    fn tick(&mut self, at: usize) {
        let jitter = self.random.below(101);
        let nonce = self.random.next() >> 1;
        let process = &mut self.processes[at];
        let now = process.clock.at(self.now);
        if process.renewals.due_in(now, jitter) == 0 {
            process.renewals.sent(nonce, now);
            let renewal = Event::Renewal(process.authority, at, nonce, process.applied, process.enabled);
            self.send(at, renewal);
        }
        self.later(100, 700, Event::Tick(at));
    }

    fn check(&mut self, at: usize) -> Result<(), String> {
        let process = &self.processes[at];
        let now = process.clock.at(self.now);
        for key in [0, 1] {
            if process.enabled[key] && process.deadlines[key].holds(now) {
                self.passed += 1;
                if self.fenced[key] {
                    let Holder { edge, incarnation } = &process.holder;
                    let key = KEYS[key].0;
                    return Err(format!(
                        "{key} passes at {} in {edge}/{incarnation} after its fence",
                        self.now
                    ));
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, at: usize, enabled: [bool; 2], revision: u64) {
        let process = &mut self.processes[at];
        if self.mistake == Mistake::EarlyWord {
            let word = Event::Word(process.authority, at, revision);
            if revision > process.applied {
                process.applied = revision;
                self.send(at, word);
                self.later(1_000, 4_000, Event::Push(at, enabled, revision));
                return;
            }
            process.enabled = enabled;
            return;
        }
        if revision > process.applied {
            (process.enabled, process.applied) = (enabled, revision);
        }
        let word = Event::Word(process.authority, at, process.applied);
        self.send(at, word);
    }

    fn grant(&mut self, at: usize, nonce: u64, granted: [bool; 2]) {
        let process = &mut self.processes[at];
        let now = process.clock.at(self.now);
        let Some(sent) = process.renewals.answered(nonce) else {
            return;
        };
        let from = if self.mistake == Mistake::FromReceipt {
            now
        } else {
            sent
        };
        let clock = process.clock;
        let (mut shortest, mut ends) = (None, Vec::new());
        for (key, (_, lease)) in KEYS.iter().enumerate() {
            let until = if granted[key] { from + lease } else { 0 };
            process.deadlines[key].set(until);
            ends.push(until);
            if granted[key] {
                shortest = shortest.into_iter().chain([*lease]).min();
            }
        }
        process.renewals.granted(sent, shortest);
        for end in ends.into_iter().filter(|end| *end > now) {
            self.at(clock.shows(end) - 1, Event::Last(at));
        }
    }

    fn note(&mut self, by: usize, from: usize, acknowledged: u64, keys: [bool; 2]) {
        let no_drift = self.mistake == Mistake::NoDrift;
        let authority = &mut self.authorities[by];
        let now = authority.clock.at(self.now);
        let named = KEYS.iter().enumerate().filter(|(key, _)| keys[*key]);
        // What `bound` makes of this is the lease's own length.
        let noted = |lease: u64| if no_drift { (lease - 250) * 99 / 101 } else { lease };
        let named: Vec<_> = named.map(|(_, (id, lease))| ((*id).into(), noted(*lease))).collect();
        let _ = authority
            .grants
            .begin(&self.processes[from].holder, acknowledged, &named, now);
    }

    /// Stops a key or starts it again, and tells every process.
    fn change(&mut self) {
        let key = usize::try_from(self.random.below(2)).unwrap();
        self.revision += 1;
        self.enabled[key] = !self.enabled[key];
        self.changed[key] = self.revision;
        self.fenced[key] = false;
        if !self.enabled[key] {
            for _ in 0..8 {
                let by = usize::try_from(self.random.below(self.authorities.len() as u64)).unwrap();
                self.later(0, 12_000, Event::Ask(by, key, self.revision));
            }
        }
        for at in 0..self.processes.len() {
            // A stream that broke is made again: what was lost is told anew.
            for _ in 0..2 {
                let push = Event::Push(at, self.enabled, self.revision);
                self.send(at, push);
            }
        }
        self.later(500, 9_000, Event::Change);
    }

    fn ask(&mut self, by: usize, key: usize, revision: u64) {
        if self.enabled[key] || self.changed[key] != revision {
            return;
        }
        let scope = Scope {
            keys: Some(BTreeSet::from([KEYS[key].0.to_owned()])),
            edge: None,
            longest_ms: KEYS[key].1,
        };
        let authority = &mut self.authorities[by];
        let now = authority.clock.at(self.now);
        let awaited = authority.grants.awaited(&scope, revision, now);
        authority.grants.sweep(now);
        let clock = authority.clock;
        match awaited.iter().map(|one| one.until).max() {
            None => {
                self.fenced[key] = true;
                self.fences += 1;
            }
            // Whoever waits asks again as soon as nobody may be left.
            Some(until) => {
                let then = clock.shows(until).max(self.now) + 1;
                self.at(then, Event::Ask(by, key, revision));
            }
        }
    }

    fn trouble(&mut self) {
        let until = self.now + 500 + self.random.below(9_000);
        let at = usize::try_from(self.random.below(self.processes.len() as u64)).unwrap();
        let by = usize::try_from(self.random.below(self.authorities.len() as u64)).unwrap();
        match self.random.below(6) {
            0 => self.processes[at].frozen_until = until,
            1 => self.processes[at].cut_until = until,
            2 => {
                self.processes[at].authority = by;
                self.processes[at].renewals.forget();
                let push = Event::Push(at, self.enabled, self.revision);
                self.send(at, push);
            }
            // Started anew: the one before is dead, or frozen somewhere and cut off.
            3 => {
                let before = &mut self.processes[at];
                if before.dead {
                    return self.later(200, 3_000, Event::Trouble);
                }
                before.cut_until = u64::MAX;
                let edge = before.holder.edge.clone();
                before.dead = self.random.below(3) > 0;
                self.start(&edge);
            }
            4 => {
                let earlier = match self.mistake {
                    Mistake::Amnesia => BTreeSet::new(),
                    _ => EDGES.map(str::to_owned).into(),
                };
                let shared = self.authorities.len() > 1;
                let now = self.authorities[by].clock.at(self.now);
                self.authorities[by].epoch += 1;
                self.authorities[by].grants = Grants::new(now, earlier, shared);
            }
            _ => self.authorities[by].frozen_until = self.now + 200 + self.random.below(4_000),
        }
        self.later(200, 3_000, Event::Trouble);
    }
}

fn first_seed() -> u64 {
    let given = std::env::var("SIGNET_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or(1)
}

/// The first schedule that shows a mistake, among `most`.
fn find(mistake: Mistake, most: u64) -> Option<(u64, String)> {
    (1..=most).find_map(|seed| run(seed, mistake).err().map(|what| (seed, what)))
}

// R34, R35
#[test]
fn after_a_fence_no_edge_passes_a_lease_check_in_any_schedule() {
    let schedules = match std::env::var("SIGNET_LONG_TESTS").as_deref() {
        Ok("1") => 100_000,
        _ => 10_000,
    };
    let first = first_seed();
    let (mut fences, mut passed) = (0, 0);
    for seed in first..first + schedules {
        match run(seed, Mistake::None) {
            Ok((fenced, checks)) => (fences, passed) = (fences + fenced, passed + checks),
            Err(what) => panic!("SIGNET_SEED={seed}: {what}"),
        }
    }
    println!("{schedules} schedules from seed {first}: {fences} fences, {passed} checks passed");
    assert!(
        fences > schedules && passed > schedules * 20,
        "the schedules do something"
    );
}

#[test]
fn the_same_seed_makes_the_same_schedule() {
    for seed in 1..20 {
        assert_eq!(run(seed, Mistake::None), run(seed, Mistake::None));
    }
}

#[test]
fn the_checker_finds_each_mistake() {
    for mistake in [
        Mistake::FromReceipt,
        Mistake::NotedLate,
        Mistake::Amnesia,
        Mistake::EarlyWord,
        Mistake::NoDrift,
    ] {
        let (seed, what) = find(mistake, 20_000).unwrap_or_else(|| panic!("{mistake:?} was not found"));
        println!("{mistake:?}: seed {seed}: {what}");
    }
}
