//! An operator who stops keys, waits until they are fenced, starts them again, and makes new ones, through the command line.
//!
//! A command that failed may have worked: it is given again until it succeeds, and only what succeeded counts as acknowledged.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fleet::{Cli, KEYS};
use super::plan::Dice;

/// One stop of one key. Times count from the beginning of the run.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Its alias.
    pub key: &'static str,
    /// When the fence was acknowledged.
    pub fenced: Option<Duration>,
    /// Before it was asked to be started again.
    pub started: Option<Duration>,
}

/// What the operator did and was told.
#[derive(Debug, Default)]
pub struct History {
    /// In order.
    pub stops: Vec<Stop>,
    /// Ids of keys whose making was acknowledged.
    pub made: Vec<String>,
    /// The last acknowledged state by alias, `Enabled` or `Disabled`; a key is absent while it is not known.
    pub states: HashMap<&'static str, &'static str>,
}

impl History {
    /// Stops that were acknowledged as fenced.
    pub fn fences(&self) -> usize {
        self.stops.iter().filter(|stop| stop.fenced.is_some()).count()
    }

    /// Keys whose making was acknowledged.
    pub fn made(&self) -> usize {
        self.made.len()
    }
}

/// A working operator.
#[derive(Debug)]
pub struct Operator {
    stop: Arc<AtomicBool>,
    work: JoinHandle<History>,
}

impl Operator {
    /// Begins to work, as the seed says.
    pub fn start(cli: Cli, seed: u64, begun: Instant) -> Operator {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let work = std::thread::spawn(move || {
            let mut shift = Shift {
                cli,
                begun,
                stopped,
                history: History::default(),
            };
            // Not the plan's own numbers, or the two would move in step.
            let mut dice = Dice::new(!seed);
            while !shift.is_over() {
                std::thread::sleep(dice.millis(50, 1_500));
                match dice.below(4) {
                    0 => shift.make(),
                    _ => {
                        let key = KEYS[usize::try_from(dice.below(KEYS.len() as u64)).unwrap()].alias;
                        shift.stop_and_start(key, dice.millis(50, 800));
                    }
                }
            }
            shift.history
        });
        Operator { stop, work }
    }

    /// Ends the shift after what is under way.
    pub fn finish(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        self.work.join().unwrap()
    }
}

struct Shift {
    cli: Cli,
    begun: Instant,
    stopped: Arc<AtomicBool>,
    history: History,
}

impl Shift {
    fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn make(&mut self) {
        let made = self.cli.run(&["keys", "create", "--spec", "ECC_NIST_P256", "--json"]);
        if made.code == 0 {
            let made: Value = serde_json::from_str(&made.stdout).unwrap();
            let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
            self.history.made.push(id.to_owned());
        }
    }

    /// Until it succeeds, or the shift is over.
    fn insist(&self, arguments: &[&str]) -> bool {
        loop {
            let output = self.cli.run(arguments);
            if output.code == 0 {
                return true;
            }
            if self.is_over() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn stop_and_start(&mut self, key: &'static str, pause: Duration) {
        self.history.states.remove(key);
        if !self.insist(&["keys", "disable", key]) {
            return;
        }
        self.history.states.insert(key, "Disabled");
        let fenced = self
            .insist(&["keys", "fence", key, "--wait"])
            .then(|| self.begun.elapsed());
        self.history.stops.push(Stop {
            key,
            fenced,
            started: None,
        });
        std::thread::sleep(pause);
        self.history.states.remove(key);
        let started = self.begun.elapsed();
        if let Some(stop) = self.history.stops.last_mut() {
            stop.started = Some(started);
        }
        if self.insist(&["keys", "enable", key]) {
            self.history.states.insert(key, "Enabled");
        }
    }
}
