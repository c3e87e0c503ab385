//! Which fault comes when: a function of the seed.
//!
//! Several actors work at the same time, each with a deck of its own kinds of fault: it deals them all in a random order, and then
//! again in another, so that a short run has every kind.

use std::time::Duration;

use super::datagrams::Sea;
use super::dice::Dice;
use super::fleet::{EDGES, Store};
use super::proxy::Weather;
use super::shim::Condition;
use crate::etcd::MEMBERS;

/// Something that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// An edge.
    Edge(usize),
    /// An authority.
    Authority(usize),
}

/// One thing that goes wrong, most of them for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9, and a new start.
    Kill(Machine),
    /// SIGTERM, and a new start after the end.
    Stop(Machine),
    /// kill -9 of a member of etcd, and a new start after that time.
    KillMember(usize, Duration),
    /// SIGSTOP, and SIGCONT after that time.
    Freeze(Machine, Duration),
    /// The connections of an edge to every authority, or to one, are like this.
    Link(usize, Option<usize>, Weather, Duration),
    /// The connections of an edge to the authorities end at once.
    Cut(usize),
    /// An authority is out of reach of every edge and of its store.
    Island(usize, Duration),
    /// An authority does not reach its store, and edges reach it.
    StoreAway(usize, Weather, Duration),
    /// The way of callers over QUIC to an edge is like this.
    Datagrams(usize, Sea, Duration),
    /// Callers over QUIC come from other addresses, now and after that time again.
    Rebind(usize, Duration),
    /// The wall clock is so many seconds off.
    Clock(Machine, i64, Duration),
    /// The disk is full.
    FullDisk(Machine, Duration),
    /// The disk can only be read; the process is started on it.
    ReadOnlyDisk(Machine, Duration),
    /// What lies under that name in the process's directory is on a disk like this.
    Disk(Machine, &'static str, Condition, Duration),
    /// The authorities' token does this instead of signing.
    Token(&'static str, Duration),
}

/// A kind of fault by its name in a report, and one of that kind.
type Kind = (&'static str, fn(&mut Dice, &Store) -> Fault);

fn edge(dice: &mut Dice) -> usize {
    dice.one_of(EDGES)
}

fn an_edge(dice: &mut Dice) -> Machine {
    Machine::Edge(edge(dice))
}

fn an_authority(dice: &mut Dice, store: &Store) -> Machine {
    Machine::Authority(dice.one_of(store.authorities()))
}

/// Where an authority writes.
fn a_part(dice: &mut Dice, store: &Store) -> &'static str {
    match store {
        Store::File => ["store.redb", "audit", "log"][dice.one_of(3)],
        Store::Etcd => ["audit", "log"][dice.one_of(2)],
    }
}

fn stalled(up: bool, down: bool) -> Weather {
    Weather {
        up_stalled: up,
        down_stalled: down,
        ..Weather::default()
    }
}

const MACHINES: &[Kind] = &[
    ("kills of an edge", |dice, _| Fault::Kill(an_edge(dice))),
    ("kills of an authority", |dice, store| {
        Fault::Kill(an_authority(dice, store))
    }),
    ("orderly stops of an edge", |dice, _| Fault::Stop(an_edge(dice))),
    ("orderly stops of an authority", |dice, store| {
        Fault::Stop(an_authority(dice, store))
    }),
    ("freezes of an edge", |dice, _| {
        Fault::Freeze(an_edge(dice), dice.millis(100, 2_000))
    }),
    ("freezes of an edge past its leases", |dice, _| {
        Fault::Freeze(an_edge(dice), dice.millis(5_500, 7_500))
    }),
    ("freezes of an authority", |dice, store| {
        Fault::Freeze(an_authority(dice, store), dice.millis(100, 3_000))
    }),
];

const MEMBERS_OF_ETCD: &[Kind] = &[("kills of a member of etcd", |dice, _| {
    Fault::KillMember(dice.one_of(MEMBERS), dice.millis(10, 4_000))
})];

const DISKS_OF_EDGES: &[Kind] = &[
    ("full disks of an edge", |dice, _| {
        Fault::FullDisk(an_edge(dice), dice.millis(500, 2_000))
    }),
    ("read-only disks of an edge", |dice, _| {
        Fault::ReadOnlyDisk(an_edge(dice), dice.millis(500, 1_500))
    }),
    ("disks of an edge that fail to write", |dice, _| {
        failing(an_edge(dice), "", Condition::Failing, dice)
    }),
    ("disks of an edge that turn read-only", |dice, _| {
        failing(an_edge(dice), "", Condition::ReadOnly, dice)
    }),
    ("disks of an edge that write short", |dice, _| {
        failing(an_edge(dice), "", Condition::Short, dice)
    }),
    ("disks of an edge that lose writes and fail to sync", |dice, _| {
        failing(an_edge(dice), "", Condition::Losing, dice)
    }),
];

const DISKS_OF_AUTHORITIES: &[Kind] = &[
    ("full disks of an authority", |dice, store| {
        Fault::FullDisk(an_authority(dice, store), dice.millis(500, 2_000))
    }),
    ("read-only disks of an authority", |dice, store| {
        Fault::ReadOnlyDisk(an_authority(dice, store), dice.millis(500, 1_500))
    }),
    ("disks of an authority that fail to write", |dice, store| {
        failing(an_authority(dice, store), a_part(dice, store), Condition::Failing, dice)
    }),
    ("disks of an authority that turn read-only", |dice, store| {
        failing(
            an_authority(dice, store),
            a_part(dice, store),
            Condition::ReadOnly,
            dice,
        )
    }),
    ("disks of an authority that write short", |dice, store| {
        failing(an_authority(dice, store), a_part(dice, store), Condition::Short, dice)
    }),
    (
        "disks of an authority that lose writes and fail to sync",
        |dice, store| failing(an_authority(dice, store), a_part(dice, store), Condition::Losing, dice),
    ),
];

fn failing(machine: Machine, under: &'static str, condition: Condition, dice: &mut Dice) -> Fault {
    Fault::Disk(machine, under, condition, dice.millis(400, 1_500))
}

const NETWORK: &[Kind] = &[
    ("partitions of an edge", |dice, _| {
        Fault::Link(edge(dice), None, stalled(true, true), dice.millis(200, 7_000))
    }),
    ("partitions of an edge, one way up", |dice, _| {
        Fault::Link(edge(dice), None, stalled(true, false), dice.millis(200, 6_500))
    }),
    ("partitions of an edge, one way down", |dice, _| {
        Fault::Link(edge(dice), None, stalled(false, true), dice.millis(200, 6_500))
    }),
    ("slow links", |dice, _| {
        let weather = Weather {
            delay: dice.millis(20, 900),
            ..Weather::default()
        };
        Fault::Link(edge(dice), None, weather, dice.millis(500, 3_000))
    }),
    ("cut links", |dice, _| Fault::Cut(edge(dice))),
];

const CLUSTER: &[Kind] = &[
    ("authorities out of reach of one edge", |dice, store| {
        let authority = dice.one_of(store.authorities());
        Fault::Link(
            edge(dice),
            Some(authority),
            stalled(true, true),
            dice.millis(500, 6_500),
        )
    }),
    ("authorities out of reach of edges and store", |dice, store| {
        Fault::Island(dice.one_of(store.authorities()), dice.millis(500, 6_500))
    }),
    ("authorities out of reach of their store", |dice, store| {
        Fault::StoreAway(
            dice.one_of(store.authorities()),
            stalled(true, true),
            dice.millis(500, 6_500),
        )
    }),
    ("authorities that hear nothing of their store", |dice, store| {
        Fault::StoreAway(
            dice.one_of(store.authorities()),
            stalled(false, true),
            dice.millis(500, 6_500),
        )
    }),
];

const DATAGRAMS: &[Kind] = &[
    ("lost datagrams", |dice, _| {
        sea(dice, |sea, dice| sea.lost = 50 + dice.below(350))
    }),
    ("doubled datagrams", |dice, _| {
        sea(dice, |sea, dice| sea.doubled = 100 + dice.below(900))
    }),
    ("reordered datagrams", |dice, _| {
        sea(dice, |sea, dice| sea.overtaken = 100 + dice.below(500))
    }),
    ("late datagrams", |dice, _| {
        sea(dice, |sea, dice| sea.delay = dice.millis(20, 400))
    }),
    ("datagrams of all ills", |dice, _| {
        sea(dice, |sea, dice| {
            (sea.lost, sea.doubled, sea.overtaken) = (dice.below(200), dice.below(500), dice.below(500));
            sea.delay = dice.millis(0, 100);
        })
    }),
    ("partitions of callers over QUIC", |dice, _| {
        sea(dice, |sea, _| (sea.up_stopped, sea.down_stopped) = (true, true))
    }),
    ("partitions of callers over QUIC, one way up", |dice, _| {
        sea(dice, |sea, _| sea.up_stopped = true)
    }),
    ("partitions of callers over QUIC, one way down", |dice, _| {
        sea(dice, |sea, _| sea.down_stopped = true)
    }),
    ("new addresses of callers over QUIC", |dice, _| {
        Fault::Rebind(edge(dice), dice.millis(100, 1_000))
    }),
];

fn sea(dice: &mut Dice, change: impl FnOnce(&mut Sea, &mut Dice)) -> Fault {
    let mut sea = Sea::default();
    change(&mut sea, dice);
    Fault::Datagrams(edge(dice), sea, dice.millis(500, 3_000))
}

/// Seconds. Not the same of edges and authorities: whose step a time shows can be told.
const MINUTES: i64 = 7 * 60;
const YEARS: i64 = 2 * 365 * 86_400;
const OTHER_MINUTES: i64 = 3 * 60;
const OTHER_YEARS: i64 = 3 * 365 * 86_400;

/// No authority is years ahead: it rotates keys that are due by then, for good, and edges have nothing to sign with once its clock
/// is put right (docs/guides/faults.md).
const CLOCKS: &[Kind] = &[
    ("clocks of an edge minutes ahead", |dice, _| {
        clock(an_edge(dice), MINUTES, dice)
    }),
    ("clocks of an edge minutes behind", |dice, _| {
        clock(an_edge(dice), -MINUTES, dice)
    }),
    ("clocks of an edge years ahead", |dice, _| {
        clock(an_edge(dice), YEARS, dice)
    }),
    ("clocks of an edge years behind", |dice, _| {
        clock(an_edge(dice), -YEARS, dice)
    }),
    ("clocks of an authority minutes ahead", |dice, store| {
        clock(an_authority(dice, store), OTHER_MINUTES, dice)
    }),
    ("clocks of an authority minutes behind", |dice, store| {
        clock(an_authority(dice, store), -OTHER_MINUTES, dice)
    }),
    ("clocks of an authority years behind", |dice, store| {
        clock(an_authority(dice, store), -OTHER_YEARS, dice)
    }),
];

fn clock(machine: Machine, step: i64, dice: &mut Dice) -> Fault {
    Fault::Clock(machine, step, dice.millis(1_000, 3_000))
}

const TOKEN: &[Kind] = &[
    ("tokens that err", |dice, _| {
        Fault::Token("error", dice.millis(500, 2_000))
    }),
    ("tokens that lose sessions", |dice, _| {
        Fault::Token("session", dice.millis(500, 2_000))
    }),
    ("tokens that hang", |dice, _| {
        Fault::Token("hang", dice.millis(500, 2_000))
    }),
    ("tokens that crash", |dice, _| {
        Fault::Token("crash", dice.millis(500, 2_000))
    }),
    ("tokens that sign wrongly", |dice, _| {
        Fault::Token("wrong", dice.millis(500, 2_000))
    }),
    ("tokens that say they signed", |dice, _| {
        Fault::Token("silent", dice.millis(500, 2_000))
    }),
];

/// Faults of one actor, without end.
#[derive(Debug)]
pub struct Plan {
    dice: Dice,
    store: Store,
    kinds: Vec<Kind>,
    /// What of the deck is not dealt yet.
    left: Vec<Kind>,
}

impl Plan {
    /// The plans of a seed: one of each actor.
    pub fn all(store: Store, seed: u64) -> Vec<Plan> {
        let mut decks = vec![
            MACHINES.to_vec(),
            DISKS_OF_EDGES.to_vec(),
            DISKS_OF_AUTHORITIES.to_vec(),
            NETWORK.to_vec(),
            DATAGRAMS.to_vec(),
            CLOCKS.to_vec(),
        ];
        if store == Store::Etcd {
            decks[0].extend(MEMBERS_OF_ETCD);
            decks[3].extend(CLUSTER);
            decks.push(TOKEN.to_vec());
        }
        let mut seeds = Dice::new(seed);
        let plans = decks.into_iter().map(|kinds| Plan {
            dice: Dice::new(seeds.roll()),
            store,
            kinds,
            left: Vec::new(),
        });
        plans.collect()
    }

    /// The names of the kinds of fault in the deck.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().map(|(name, _)| *name)
    }

    /// The next is one of these, and so are all until they are dealt once.
    pub fn leave(&mut self, names: &[&'static str]) {
        self.left.retain(|(name, _)| names.contains(name));
        if self.left.is_empty() {
            let again = self.kinds.iter().filter(|(name, _)| names.contains(name));
            self.left.extend(again);
        }
    }
}

/// How long it goes well, then what goes wrong, and that kind's name.
impl Iterator for Plan {
    type Item = (Duration, &'static str, Fault);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
        }
        let pause = self.dice.millis(50, 700);
        let (name, make) = self.left.swap_remove(self.dice.one_of(self.left.len()));
        Some((pause, name, make(&mut self.dice, &self.store)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        let faults = |seed| {
            let plans = Plan::all(Store::Etcd, seed).into_iter();
            plans.flat_map(|plan| plan.take(100)).collect::<Vec<_>>()
        };
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
    }

    #[test]
    fn every_kind_is_dealt_before_any_is_dealt_again() {
        for store in [Store::File, Store::Etcd] {
            for mut plan in Plan::all(store, 7) {
                for _ in 0..3 {
                    let kinds = plan.kinds().count();
                    let names: HashSet<_> = plan.by_ref().take(kinds).map(|(_, name, _)| name).collect();
                    assert_eq!(names.len(), kinds);
                }
            }
        }
    }

    #[test]
    fn what_was_missed_is_dealt_again_and_nothing_else_is() {
        let mut plan = Plan::all(Store::File, 7).swap_remove(0);
        let missed: Vec<_> = plan.kinds().take(2).collect();
        let count = plan.kinds().count();
        plan.by_ref().take(count - 1).for_each(drop);
        let mut dealt = HashSet::new();
        while dealt.len() < missed.len() {
            plan.leave(&missed);
            let (_, name, _) = plan.next().unwrap();
            assert!(missed.contains(&name), "{name}");
            dealt.insert(name);
        }
    }
}
