//! Which fault comes when: a function of the seed.

use std::time::Duration;

use super::fleet::EDGES;
use super::proxy::Weather;
use crate::etcd::MEMBERS;

/// Numbers from a seed (SplitMix64): the same everywhere and for ever, which no generator of a library promises.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall as the seed says.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// A time between two, in milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of an edge, and a new start.
    KillEdge(usize),
    /// kill -9 of the authority, and a new start.
    KillAuthority,
    /// kill -9 of a member of etcd, and a new start after that time.
    KillMember(usize, Duration),
    /// SIGSTOP, and SIGCONT after that time.
    FreezeEdge(usize, Duration),
    /// The same of the authority.
    FreezeAuthority(Duration),
    /// The connection of an edge to the authority is like this for a time.
    Link(usize, Weather, Duration),
    /// The connections of an edge to the authority end at once.
    Cut(usize),
    /// The wall clock of an edge is so many seconds off for a time.
    Clock(usize, i64, Duration),
    /// The disk of an edge is full for a time.
    FullDisk(usize, Duration),
}

/// Faults without end.
#[derive(Debug)]
pub struct Plan(Dice);

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Plan {
        Plan(Dice::new(seed))
    }
}

/// How long it goes well, and what goes wrong then.
impl Iterator for Plan {
    type Item = (Duration, Fault);

    fn next(&mut self) -> Option<(Duration, Fault)> {
        let dice = &mut self.0;
        let pause = dice.millis(50, 700);
        let edge = usize::try_from(dice.below(EDGES as u64)).unwrap_or(0);
        let stalled = |up, down| Weather {
            up_stalled: up,
            down_stalled: down,
            ..Weather::default()
        };
        let fault = match dice.below(13) {
            0 | 1 => Fault::KillEdge(edge),
            2 => Fault::KillAuthority,
            // Some longer than the shortest lease, most shorter.
            3 => Fault::FreezeEdge(edge, dice.millis(100, 7_000)),
            4 => Fault::FreezeAuthority(dice.millis(100, 3_000)),
            5 => Fault::Link(edge, stalled(true, true), dice.millis(200, 8_000)),
            6 => Fault::Link(edge, stalled(true, false), dice.millis(200, 7_000)),
            7 => Fault::Link(edge, stalled(false, true), dice.millis(200, 7_000)),
            8 => {
                let weather = Weather {
                    delay: dice.millis(20, 900),
                    ..Weather::default()
                };
                Fault::Link(edge, weather, dice.millis(500, 3_000))
            }
            9 => {
                let off = if dice.below(2) == 0 { 3_600 } else { -3_600 };
                Fault::Clock(edge, off, dice.millis(1_500, 4_000))
            }
            10 => Fault::FullDisk(edge, dice.millis(500, 3_000)),
            11 => {
                let member = usize::try_from(dice.below(MEMBERS as u64)).unwrap_or(0);
                Fault::KillMember(member, dice.millis(10, 4_000))
            }
            _ => Fault::Cut(edge),
        };
        Some((pause, fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan() {
        let faults = |seed| Plan::new(seed).take(100).collect::<Vec<_>>();
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
    }
}
