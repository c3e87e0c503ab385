//! Server processes: where they run, when they are ready, what they cost.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

use crate::LoadError;

/// How long a server may take to be ready.
const READY: Duration = Duration::from_secs(120);
/// How long it may take to end.
const END: Duration = Duration::from_secs(10);

/// The first two cores that this process may use.
pub(super) struct Cores {
    server: Option<usize>,
    client: Option<usize>,
}

impl Cores {
    pub(super) fn available() -> Cores {
        let allowed = sched_getaffinity(None).ok();
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_some_and(|set| set.is_set(*core)));
        Cores {
            server: cores.next(),
            client: cores.next(),
        }
    }

    pub(super) fn are_two(&self) -> bool {
        self.client.is_some()
    }

    /// From now on this thread, and every process it starts, has the server's core.
    pub(super) fn server(&self) -> Result<(), LoadError> {
        pin(self.server.filter(|_| self.are_two()))
    }

    /// From now on this thread has the client's core.
    pub(super) fn client(&self) -> Result<(), LoadError> {
        pin(self.client)
    }
}

fn pin(core: Option<usize>) -> Result<(), LoadError> {
    let Some(core) = core else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| LoadError::Bench(format!("core {core} cannot be had: {error}")))
}

/// A child process; ends when dropped.
pub(super) struct Server {
    child: Child,
    name: &'static str,
    log: File,
}

impl Server {
    /// Starts it and waits for the JSON value that it prints when it is ready.
    pub(super) fn start(command: &mut Command, name: &'static str) -> Result<(Server, Value), LoadError> {
        let mut server = Server::spawn(command.stdout(Stdio::piped()), name)?;
        let mut stdout = server.child.stdout.take();
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            if let Some(stdout) = &mut stdout {
                let first = serde_json::Deserializer::from_reader(&mut *stdout)
                    .into_iter::<Value>()
                    .next();
                let _ = send.send(first.and_then(Result::ok));
                let _ = std::io::copy(&mut stdout.by_ref(), &mut std::io::sink());
            }
        });
        match receive.recv_timeout(READY) {
            Ok(Some(ready)) => Ok((server, ready)),
            Ok(None) => Err(server.ended()),
            Err(_) => Err(LoadError::Bench(format!("{name} was not ready within {READY:?}"))),
        }
    }

    /// Starts one that says nothing when it is ready: whoever needs it has to ask.
    pub(super) fn spawn(command: &mut Command, name: &'static str) -> Result<Server, LoadError> {
        let failed = |error: std::io::Error| LoadError::Bench(format!("{name} cannot be started: {error}"));
        let log = tempfile::tempfile().map_err(failed)?;
        let stderr = log.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
        let child = command.stdin(Stdio::null()).stderr(stderr).spawn().map_err(failed)?;
        Ok(Server { child, name, log })
    }

    /// An error once the process is gone.
    pub(super) fn is_running(&mut self) -> Result<(), LoadError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(self.ended()),
        }
    }

    /// What it wrote last, once it was not ready: it is ended first, so that nothing is missing.
    fn ended(&mut self) -> LoadError {
        self.end();
        let said = last_lines(&mut self.log);
        LoadError::Bench(format!("{} ended before it was ready\n{said}", self.name))
    }

    /// SIGSTOP, SIGCONT and the like.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), LoadError> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let sent = pid.map(|pid| kill_process(pid, signal));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(LoadError::Bench(format!("{} cannot be signalled", self.name))),
        }
    }

    /// kill -9, and nothing of it is left.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Bytes of its memory that are in RAM.
    pub(super) fn resident_bytes(&self) -> Result<u64, LoadError> {
        let path = format!("/proc/{}/status", self.child.id());
        let status =
            std::fs::read_to_string(path).map_err(|error| LoadError::Bench(format!("{}: {error}", self.name)))?;
        resident(&status).ok_or_else(|| LoadError::Bench(format!("{} has no memory", self.name)))
    }

    /// User and system time of all its threads so far, in microseconds; the kernel counts in ticks of 10 ms.
    pub(super) fn cpu_micros(&self) -> Result<u64, LoadError> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat =
            std::fs::read_to_string(path).map_err(|error| LoadError::Bench(format!("{}: {error}", self.name)))?;
        let ticks = cpu_ticks(&stat).ok_or_else(|| LoadError::Bench(format!("{} has no CPU times", self.name)))?;
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(ticks.saturating_mul(1_000_000).checked_div(per_second).unwrap_or(0))
    }
}

/// The end of what a process wrote to standard error.
fn last_lines(log: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = log.seek(SeekFrom::Start(0)).and_then(|_| log.read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(10)..)
        .unwrap_or_default()
        .join("\n")
}

/// Fields 14 and 15 of `/proc/PID/stat` (proc(5)); the second is in parentheses and may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// `VmRSS` of `/proc/PID/status` (proc(5)), whose kB are 1,024 bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

impl Server {
    fn end(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // One that is stopped ends only when it goes on.
        let _ = self.signal(Signal::TERM).and_then(|()| self.signal(Signal::CONT));
        let begun = Instant::now();
        while begun.elapsed() < END {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_times_are_found_behind_any_name() {
        let stat = "77 (a ) b) S 1 77 77 0 -1 4194560 1 2 3 4 120 34 5 6 20 0 9 0 100 1 1";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("77 (a) S 1"), None);
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tVmRSS\nVmHWM:\t   99 kB\nVmRSS:\t    12 kB\n";
        assert_eq!(resident(status), Some(12_288));
        assert_eq!(resident("VmHWM:\t 99 kB"), None);
    }

    #[test]
    fn a_process_that_is_stopped_ends_all_the_same() {
        let mut server = Server::spawn(Command::new("sleep").arg("60"), "a sleeper").unwrap();
        server.is_running().unwrap();
        assert!(server.resident_bytes().unwrap() > 0);
        server.signal(Signal::STOP).unwrap();
        let stat = format!("/proc/{}/stat", server.child.id());
        drop(server);
        assert!(std::fs::read_to_string(stat).is_err());
    }

    #[test]
    fn a_process_is_ready_measured_and_ended() {
        let script = r#"echo '{"http":'; echo '"x"}'; while :; do :; done"#;
        let (server, ready) = Server::start(Command::new("sh").args(["-c", script]), "a script").unwrap();
        assert_eq!(ready["http"], "x");
        while server.cpu_micros().unwrap() == 0 {
            std::thread::yield_now();
        }
        let stat = format!("/proc/{}/stat", server.child.id());
        drop(server);
        assert!(std::fs::read_to_string(stat).is_err());
    }
}
