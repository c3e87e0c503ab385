//! A real process that is killed, frozen and started again, with a [`Control`] between it and its disk and clock.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::shim::Control;
use crate::{signal, signet};

/// `signet ROLE run`, ended when dropped.
#[derive(Debug)]
pub struct Process {
    role: &'static str,
    config: PathBuf,
    library: PathBuf,
    /// What it is told of its disk and clock.
    pub control: Control,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// When it was last seen to run.
    seen: Instant,
    has_ended: bool,
    /// Of this one and of those before it.
    ends: Vec<Ended>,
}

/// One end of a process: it came between two times.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// When it still ran.
    pub seen: Instant,
    /// When it was found ended.
    pub found: Instant,
    /// How.
    pub how: How,
}

/// How long a process may take to end in order: less than a service manager waits before it kills.
const STOPS_WITHIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Somebody here killed it.
    Killed,
    /// By itself, by a signal.
    Signal(i32),
    /// By itself, with an exit code.
    Code(i32),
    /// In order, with an exit code, because it was told to.
    Stopped(i32),
    /// It was told to end, and had not after [`STOPS_WITHIN`].
    Stuck,
}

/// A process that nobody else kills or starts meanwhile.
#[derive(Debug)]
pub struct Held<'a> {
    process: &'a Process,
    running: MutexGuard<'a, Running>,
}

impl Process {
    /// Starts it. Its log and its control are beside the configuration; the library is as [`super::shim::build`] made it.
    pub fn start(role: &'static str, config: PathBuf, library: &Path) -> Process {
        let control = Control::new(config.with_extension("control"));
        let child = spawn(role, &config, library, &control);
        Process {
            role,
            config,
            library: library.to_owned(),
            control,
            running: Mutex::new(Running {
                child,
                seen: Instant::now(),
                has_ended: false,
                ends: Vec::new(),
            }),
        }
    }

    /// Notes whether it has ended by itself; whoever holds it does so, if somebody does.
    pub fn look(&self) {
        if let Some(mut held) = self.try_hold() {
            held.has_ended();
        }
    }

    /// Starts it if it has ended by itself, as a service manager does; true then. Whoever holds it answers for it.
    pub fn revive(&self) -> bool {
        let Some(mut held) = self.try_hold() else { return false };
        let has_ended = held.has_ended();
        if has_ended {
            held.start();
        }
        has_ended
    }

    /// Waits for whoever holds it.
    pub fn hold(&self) -> Held<'_> {
        Held {
            process: self,
            running: self.running.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn try_hold(&self) -> Option<Held<'_>> {
        let running = self.running.try_lock().ok()?;
        Some(Held { process: self, running })
    }

    /// Every end so far, in order.
    pub fn ends(&self) -> Vec<Ended> {
        let mut held = self.hold();
        held.has_ended();
        held.running.ends.clone()
    }

    /// What it wrote to stderr so far, in all its lives.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.config.with_extension("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Held<'_> {
    /// kill -9; false where it had ended by itself before.
    pub fn kill(&mut self) -> bool {
        if self.has_ended() {
            return false;
        }
        self.running.child.kill().unwrap();
        let status = self.running.child.wait().unwrap();
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        self.running
            .note(if killed { How::Killed } else { How::by_itself(status) });
        killed
    }

    /// SIGTERM, and waits for the end; how it ended, or none where it had ended by itself before. Who is told before it listens for
    /// that signal ends as one that is killed.
    pub fn stop(&mut self) -> Option<How> {
        if self.has_ended() {
            return None;
        }
        signal(self.running.child.id(), Signal::TERM);
        let until = Instant::now() + STOPS_WITHIN;
        let how = loop {
            let now = Instant::now();
            match self.running.child.try_wait().unwrap().map(How::by_itself) {
                Some(How::Code(code)) => break How::Stopped(code),
                Some(How::Signal(signal)) if signal == Signal::TERM.as_raw() => break How::Killed,
                Some(how) => break how,
                None if now >= until => {
                    self.running.child.kill().unwrap();
                    self.running.child.wait().unwrap();
                    break How::Stuck;
                }
                None => self.running.seen = now,
            }
            std::thread::sleep(LOOK);
        };
        self.running.note(how);
        Some(how)
    }

    /// Starts what was killed or stopped, or ended by itself.
    pub fn start(&mut self) {
        let Process {
            role,
            config,
            library,
            control,
            ..
        } = self.process;
        self.running.child = spawn(role, config, library, control);
        self.running.seen = Instant::now();
        self.running.has_ended = false;
    }

    /// Whether it was killed, or ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let now = Instant::now();
        if self.running.has_ended {
            return true;
        }
        match self.running.child.try_wait().unwrap() {
            Some(status) => self.running.note(How::by_itself(status)),
            None => self.running.seen = now,
        }
        self.running.has_ended
    }

    /// SIGSTOP, and SIGCONT after `meanwhile`, whose answer it is; none where it has ended.
    pub fn freeze<T>(&mut self, meanwhile: impl FnOnce() -> T) -> Option<T> {
        if self.has_ended() {
            return None;
        }
        signal(self.running.child.id(), Signal::STOP);
        let answer = meanwhile();
        signal(self.running.child.id(), Signal::CONT);
        Some(answer)
    }
}

impl Running {
    fn note(&mut self, how: How) {
        self.has_ended = true;
        self.ends.push(Ended {
            seen: self.seen,
            found: Instant::now(),
            how,
        });
    }
}

impl How {
    fn by_itself(status: ExitStatus) -> How {
        match status.signal() {
            Some(signal) => How::Signal(signal),
            None => How::Code(status.code().unwrap_or(-1)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.hold().kill();
    }
}

fn spawn(role: &str, config: &Path, library: &Path, control: &Control) -> Child {
    let log = config.with_extension("log");
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(signet());
    command.args([role, "run", "--config"]).arg(config);
    control.apply(library, &mut command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
