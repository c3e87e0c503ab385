//! One worker process, as its parent has it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::protocol::{self, Hello, Unready};
use crate::artifact::Artifact;
use crate::component::{LoadFailure, PluginSource};
use crate::engine::Settings;

/// The longest that a worker may neither read nor say anything until it is ready: many times what it takes.
const START: Duration = Duration::from_secs(20);
/// Most bytes of what a dying worker said.
const MAX_SAID: usize = 4 << 10;

/// All that a worker of one plugin is started with.
#[derive(Debug)]
pub(super) struct Start {
    program: PathBuf,
    arguments: Vec<OsString>,
    hello: Vec<u8>,
    tables: Vec<Arc<[u8]>>,
    /// Sealed, and open for reading only.
    artifact: File,
}

/// A worker that runs, with the thread that waits for its end.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    stderr: Option<ChildStderr>,
    handle: Arc<Handle>,
}

/// A worker as those have it who call it.
#[derive(Debug)]
pub(super) struct Handle {
    pidfd: OwnedFd,
    answered: AtomicBool,
}

impl Handle {
    /// Ends it, unless it has ended: the descriptor is of that process, whoever has its number by now.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    pub(super) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Stops it, and waits until it has stopped: a signal takes a moment, in which it may answer.
    #[cfg(test)]
    pub(super) fn stop(&self) {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        use std::os::fd::AsFd;
        self.signal(Signal::STOP);
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(self.pidfd.as_fd()), stopped).unwrap();
    }

    /// It has answered a call.
    pub(super) fn answers(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Start {
    pub(super) fn new(settings: &Settings, source: &PluginSource, artifact: &Artifact) -> Result<Start, LoadFailure> {
        let failed = |error: io::Error| LoadFailure::Worker(error.to_string());
        let tables = source.tables.iter();
        let hello = Hello {
            name: source.name.clone(),
            config: source.config.clone(),
            imports: source.imports.clone(),
            tables: tables
                .map(|(name, table)| (name.clone(), table.file.clone(), table.kind))
                .collect(),
            deadline: source.deadline,
            memory: source.memory,
            max_memory: settings.max_memory,
            max_deadline: settings.max_deadline,
            keep_resident: settings.keep_resident,
        };
        Ok(Start {
            program: settings.workers.program.clone(),
            arguments: settings.workers.arguments.clone(),
            hello: protocol::encode(&hello).map_err(failed)?,
            tables: source.tables.values().map(|table| table.text.clone()).collect(),
            artifact: sealed(artifact.code()).map_err(failed)?,
        })
    }

    /// Starts one and waits until it is ready. It ends with the thread that calls this.
    pub(super) fn process(&self) -> Result<(Process, UnixStream), LoadFailure> {
        let failed = |error: io::Error| LoadFailure::Worker(format!("`{}`: {error}", self.program.display()));
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let artifact = self.artifact.try_clone().map_err(failed)?;
        let mut child = Command::new(&self.program)
            .arg0("signet")
            .args(&self.arguments)
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(artifact)
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal is for us; what we ask it goes on.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let stderr = child.stderr.take();
        // It was not waited for yet, so its number is its own.
        let pidfd = Pid::from_child(&child);
        let pidfd = match pidfd_open(pidfd, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(error.into()));
            }
        };
        let answered = AtomicBool::new(false);
        let handle = Arc::new(Handle { pidfd, answered });
        let process = Process { child, stderr, handle };
        match self.greet(&socket) {
            Ok(Ok(())) => Ok((process, socket)),
            Ok(Err(unready)) => {
                process.end();
                Err(unready.into())
            }
            Err(error) => Err(LoadFailure::Worker(format!("{error}; it ended with {}", process.end()))),
        }
    }

    fn greet(&self, mut socket: &UnixStream) -> io::Result<Result<(), Unready>> {
        socket.set_read_timeout(Some(START))?;
        socket.set_write_timeout(Some(START))?;
        socket.write_all(&self.hello)?;
        for table in &self.tables {
            protocol::write_raw(socket, table)?;
        }
        let ready = protocol::read_said(socket)?;
        // From here on it is waited for without a thread.
        socket.set_nonblocking(true)?;
        Ok(ready)
    }
}

impl Process {
    pub(super) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Kills it, and says how it ended.
    fn end(self) -> String {
        self.handle.kill();
        self.wait()
    }

    /// Waits until it has ended, and says how, with the last of what it said.
    pub(super) fn wait(mut self) -> String {
        let mut said = Vec::new();
        if let Some(mut stderr) = self.stderr.take() {
            let mut piece = [0; 1024];
            // Read all the time, or it would wait for us in the end.
            while let Ok(length) = stderr.read(&mut piece) {
                let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else {
                    break;
                };
                said.extend_from_slice(read);
                let surplus = said.len().saturating_sub(MAX_SAID);
                said.drain(..surplus);
            }
        }
        let status = self.child.wait();
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let said = String::from_utf8_lossy(&said);
        let tells = |line: &&str| !line.trim().is_empty() && !line.starts_with("note: ");
        match said.lines().rfind(tells) {
            Some(last) => crate::failure::one_line(&format!("{status}: {last:.300}")),
            None => status,
        }
    }
}

/// A file in memory that nobody can change any more.
fn sealed(artifact: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("signet-plugin", flags)?);
    file.write_all(artifact)?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    // The same file again, for reading only.
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
