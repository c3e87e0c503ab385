//! An operator who stops keys, waits until they are fenced, starts them again, and makes new ones, through the command line.
//!
//! A command that failed may have worked: it is given again until it succeeds, and only what succeeded counts as acknowledged.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::dice::Dice;
use super::site::KEYS;
use crate::{Output, run, signet};

/// How long a command is given again once everything is mended.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command line of an operator, who may ask any of several authorities.
#[derive(Debug, Clone)]
pub struct Cli {
    urls: Vec<String>,
    admin: PathBuf,
}

impl Cli {
    /// At authorities with these addresses, with what `signet authority init` wrote into a directory.
    pub fn new(urls: Vec<String>, admin: PathBuf) -> Cli {
        Cli { urls, admin }
    }

    /// `signet ARGUMENTS` at the first authority.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.at(0, arguments)
    }

    /// `signet ARGUMENTS` at an authority: numbers beyond the last begin anew.
    pub fn at(&self, number: usize, arguments: &[&str]) -> Output {
        self.ask(number, arguments, "--authority")
    }

    /// `signet audit ARGUMENTS` of an authority's log.
    pub fn audit(&self, number: usize, arguments: &[&str]) -> Output {
        self.ask(number, &[&["audit"], arguments].concat(), "--url")
    }

    fn ask(&self, number: usize, arguments: &[&str], address: &str) -> Output {
        let mut command = Command::new(signet());
        command.args(arguments).arg(address);
        command.arg(&self.urls[number % self.urls.len()]);
        command.arg("--admin-token-file").arg(self.admin.join("admin-token"));
        run(command.arg("--ca-file").arg(self.admin.join("node-root.pem")))
    }
}

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

    /// Starts every key, within a minute; answers which could not be.
    pub fn start_all(&mut self, cli: &Cli, begun: Instant) -> Vec<&'static str> {
        for stop in &mut self.stops {
            stop.started.get_or_insert(begun.elapsed());
        }
        let until = Instant::now() + PATIENCE;
        let keys = KEYS.iter().map(|key| key.alias);
        keys.filter(|key| {
            let ask = |turn| cli.at(turn, &["keys", "enable", key]).code == 0;
            !self.bring(key, "Enabled", until, ask)
        })
        .collect()
    }

    /// Stops one key, as the seed says, within a minute; answers which, if it could not be. What comes right before a kill of
    /// everything has to be there after it.
    pub fn stop_one(&mut self, cli: &Cli, seed: u64) -> Option<&'static str> {
        let key = KEYS[Dice::new(seed).one_of(KEYS.len())].alias;
        let ask = |turn| cli.at(turn, &["keys", "disable", key]).code == 0;
        let is_stopped = self.bring(key, "Disabled", Instant::now() + PATIENCE, ask);
        (!is_stopped).then_some(key)
    }

    /// Stops a key and waits until it is fenced, each within a minute.
    pub fn fence(&mut self, cli: &Cli, key: &'static str, begun: Instant) {
        let patience = || Instant::now() + PATIENCE;
        let disable = |turn| cli.at(turn, &["keys", "disable", key]).code == 0;
        let is_stopped = self.bring(key, "Disabled", patience(), disable);
        let until = patience();
        let mut tries = (0..).take_while(|_| is_stopped && Instant::now() < until);
        let is_fenced = tries.any(|turn| cli.at(turn, &["keys", "fence", key, "--wait"]).code == 0);
        self.stops.push(Stop {
            key,
            fenced: is_fenced.then(|| begun.elapsed()),
            started: None,
        });
    }

    /// Asks until a key's new state is acknowledged: meanwhile it is not known.
    fn bring(
        &mut self,
        key: &'static str,
        state: &'static str,
        until: Instant,
        ask: impl FnMut(usize) -> bool,
    ) -> bool {
        self.states.remove(key);
        let mut tries = (0..).take_while(|_| Instant::now() < until);
        let is_acknowledged = tries.any(ask);
        if is_acknowledged {
            self.states.insert(key, state);
        }
        is_acknowledged
    }
}

/// A working operator.
#[derive(Debug)]
pub struct Operator {
    stop: Arc<AtomicBool>,
    achieved: Arc<Achieved>,
    work: JoinHandle<History>,
}

/// What an operator has been told at least once.
#[derive(Debug, Default)]
struct Achieved {
    fence: AtomicBool,
    key: AtomicBool,
}

impl Operator {
    /// Begins to work, as the seed says.
    pub fn start(cli: Cli, seed: u64, begun: Instant) -> Operator {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let achieved = Arc::new(Achieved::default());
        let shared = achieved.clone();
        let work = std::thread::spawn(move || {
            let mut shift = Shift {
                cli,
                turn: 0,
                begun,
                stopped,
                achieved: shared,
                history: History::default(),
            };
            // Not the plan's own numbers, or the two would move in step.
            let mut dice = Dice::new(!seed);
            while !shift.is_over() {
                std::thread::sleep(dice.millis(50, 1_500));
                match dice.below(4) {
                    0 | 1 => shift.make(),
                    _ => {
                        let key = KEYS[usize::try_from(dice.below(KEYS.len() as u64)).unwrap()].alias;
                        shift.stop_and_start(key, dice.millis(50, 800));
                    }
                }
            }
            shift.history
        });
        Operator { stop, achieved, work }
    }

    /// Until a stop was acknowledged as fenced, and a key as made, or until then.
    pub fn achieve(&self, until: Instant) {
        let Achieved { fence, key } = &*self.achieved;
        while !(fence.load(Ordering::Relaxed) && key.load(Ordering::Relaxed)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the shift after what is under way.
    pub fn finish(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        self.work.join().unwrap()
    }
}

struct Shift {
    cli: Cli,
    /// Which authority is asked next: each command goes to another.
    turn: usize,
    begun: Instant,
    stopped: Arc<AtomicBool>,
    achieved: Arc<Achieved>,
    history: History,
}

impl Shift {
    fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn ask(&mut self, arguments: &[&str]) -> Output {
        self.turn += 1;
        self.cli.at(self.turn, arguments)
    }

    fn make(&mut self) {
        let made = self.ask(&["keys", "create", "--spec", "ECC_NIST_P256", "--json"]);
        if made.code == 0 {
            let made: Value = serde_json::from_str(&made.stdout).unwrap();
            let id = made["KeyMetadata"]["KeyId"].as_str().unwrap();
            self.history.made.push(id.to_owned());
            self.achieved.key.store(true, Ordering::Relaxed);
        }
    }

    /// Until it succeeds, or the shift is over.
    fn insist(&mut self, arguments: &[&str]) -> bool {
        loop {
            let output = self.ask(arguments);
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
        if fenced.is_some() {
            self.achieved.fence.store(true, Ordering::Relaxed);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_known_from_its_acknowledgement_on() {
        let mut history = History::default();
        history.states.insert("alias/api", "Enabled");
        let now = Instant::now();
        assert!(!history.bring("alias/api", "Disabled", now, |_| true));
        assert_eq!(history.states.get("alias/api"), None, "nobody was asked");
        assert!(history.bring("alias/api", "Disabled", now + PATIENCE, |turn| turn == 2));
        assert_eq!(history.states["alias/api"], "Disabled");
    }
}
