//! A real process that is killed, frozen and started again, with a [`Control`] between it and its disk and clock.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    child: Mutex<Child>,
}

/// A process that nobody else kills or starts meanwhile.
#[derive(Debug)]
pub struct Held<'a> {
    process: &'a Process,
    child: MutexGuard<'a, Child>,
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
            child: Mutex::new(child),
        }
    }

    /// Starts it if it has ended by itself, as a service manager does; true then. Whoever holds it answers for it.
    pub fn revive(&self) -> bool {
        let Ok(child) = self.child.try_lock() else { return false };
        let mut held = Held { process: self, child };
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
            child: self.child.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Held<'_> {
    /// kill -9
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts what was killed, or ended by itself.
    pub fn start(&mut self) {
        let Process {
            role,
            config,
            library,
            control,
            ..
        } = self.process;
        *self.child = spawn(role, config, library, control);
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGSTOP, and SIGCONT after that time.
    pub fn freeze(&mut self, time: Duration) {
        if self.has_ended() {
            return;
        }
        signal(self.child.id(), Signal::STOP);
        std::thread::sleep(time);
        signal(self.child.id(), Signal::CONT);
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
