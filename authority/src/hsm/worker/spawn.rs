//! Starting a worker process, greeting it, and moving frames until it fails.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::super::protocol::{self, Answer, Hello, Response, Sensitive, Task};
use super::super::{HsmError, HsmErrorKind, HsmInfo};
use super::WorkerConfig;
use super::connection::Connection;
use crate::secret_file;

/// Variables of the authority's own that a worker may see.
const PASSED_ON: [&str; 2] = ["RUST_LOG", "RUST_BACKTRACE"];

/// How long a worker that has closed its stdout may take to end, so that its exit status can be told.
const EXIT_GRACE: Duration = Duration::from_millis(500);

/// Where a PIN is. It is read at each start of a worker and passed through a pipe, never through arguments or environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// A file, whose line end is not part of the PIN.
    File(PathBuf),
    /// A variable of the authority's environment.
    Environment(String),
}

impl PinSource {
    fn read(&self) -> Result<Sensitive, HsmError> {
        let misconfigured = |detail: String| HsmErrorKind::Misconfigured.because(detail);
        let bytes = match self {
            Self::File(path) => {
                let read = secret_file::read(path);
                read.map_err(|error| misconfigured(format!("pin file `{}`: {error}", path.display())))?
            }
            Self::Environment(name) => {
                let value = std::env::var(name);
                Zeroizing::new(
                    value
                        .map_err(|_| misconfigured(format!("the variable `{name}` with the pin is not set")))?
                        .into_bytes(),
                )
            }
        };
        let pin = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        if pin.is_empty() {
            return Err(misconfigured("the pin is empty".to_owned()));
        }
        Ok(Sensitive(pin.to_vec()))
    }
}

/// A worker that has opened its token.
pub(super) struct Running {
    process: Process,
    frames: mpsc::Receiver<Zeroizing<Vec<u8>>>,
    connection: Arc<Connection>,
    info: HsmInfo,
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// Starts a worker that serves the configured token.
pub(super) async fn serve(config: &WorkerConfig) -> Result<Running, HsmError> {
    let task = Task::Serve {
        sessions: config.sessions,
        cached_keys: config.cached_keys,
    };
    let (process, info) = start(config, task).await?;
    let (sender, frames) = mpsc::channel(usize::from(config.sessions));
    let connection = Arc::new(Connection::new(process.child.id(), sender));
    Ok(Running {
        process,
        frames,
        connection,
        info,
    })
}

/// Makes the configured token and its PINs, unless they exist, in a worker that then ends.
pub(crate) async fn initialize_token(config: &WorkerConfig, so_pin: &PinSource) -> Result<HsmInfo, HsmError> {
    let (mut process, info) = start(config, Task::Initialize { so_pin: so_pin.read()? }).await?;
    drop(process.stdin);
    if !matches!(timeout(config.start_deadline, process.child.wait()).await, Ok(Ok(_))) {
        return Err(HsmErrorKind::Unavailable.because("the worker made the token and did not end; it is killed"));
    }
    Ok(info)
}

impl Running {
    /// What the token said about itself.
    pub(super) fn info(&self) -> &HsmInfo {
        &self.info
    }

    /// Its calls.
    pub(super) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }

    /// Moves frames until the worker fails; kills it, fails its calls and answers why.
    pub(super) async fn drive(mut self) -> HsmError {
        let reason = {
            let Process { stdin, stdout, .. } = &mut self.process;
            tokio::select! {
                reason = write_frames(stdin, &mut self.frames) => reason,
                reason = read_answers(stdout, &self.connection) => reason,
                () = self.connection.until_failed() => None,
            }
        };
        let reason = match reason {
            Some(reason) => reason,
            None if self.connection.has_failed() => self.connection.failure(),
            None => HsmErrorKind::Unavailable.because(how_it_ended(&mut self.process.child).await),
        };
        self.connection.fail(reason);
        // SIGKILL needs no cooperation; a process that survives it is in the kernel, and dropping it reaps it later.
        let _ = timeout(EXIT_GRACE, self.process.child.kill()).await;
        self.connection.failure()
    }
}

/// `None`: the worker has closed its end.
async fn write_frames(stdin: &mut ChildStdin, frames: &mut mpsc::Receiver<Zeroizing<Vec<u8>>>) -> Option<HsmError> {
    while let Some(frame) = frames.recv().await {
        protocol::write_async(stdin, &frame).await.ok()?;
    }
    None
}

/// `None`: the worker has closed its end.
async fn read_answers(stdout: &mut BufReader<ChildStdout>, connection: &Connection) -> Option<HsmError> {
    loop {
        match protocol::read_async::<Response>(stdout).await {
            Ok(response) => {
                if let Err(error) = connection.answer(response) {
                    return Some(error);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            Err(error) => {
                return Some(HsmErrorKind::Unavailable.because(format!("the worker broke the protocol: {error}")));
            }
        }
    }
}

async fn start(config: &WorkerConfig, task: Task) -> Result<(Process, HsmInfo), HsmError> {
    let hello = Hello {
        module: config.module.to_string_lossy().into_owned(),
        label: config.label.clone(),
        pin: config.pin.read()?,
        task,
    };
    let mut process = spawn(config)?;
    let greeted = timeout(config.start_deadline, greet(&mut process, &hello)).await;
    let failure = match greeted {
        Ok(Ok(Response {
            id: 0,
            outcome: Ok(Answer::Opened(info)),
        })) => return Ok((process, info)),
        Ok(Ok(Response {
            id: 0,
            outcome: Err(error),
        })) => error,
        Ok(Ok(_)) => HsmErrorKind::Unavailable.because("the worker answered another question than was asked"),
        Ok(Err(error))
            if error.kind() == std::io::ErrorKind::UnexpectedEof || error.kind() == std::io::ErrorKind::BrokenPipe =>
        {
            HsmErrorKind::Unavailable.because(how_it_ended(&mut process.child).await)
        }
        Ok(Err(error)) => HsmErrorKind::Unavailable.because(format!("cannot talk to the worker: {error}")),
        Err(_) => HsmErrorKind::Unavailable.because(format!(
            "the worker did not open the token within {:?}",
            config.start_deadline
        )),
    };
    let _ = timeout(EXIT_GRACE, process.child.kill()).await;
    Err(failure)
}

async fn greet(process: &mut Process, hello: &Hello) -> std::io::Result<Response> {
    protocol::write_async(&mut process.stdin, &protocol::encode(hello)?).await?;
    protocol::read_preamble(&mut process.stdout).await?;
    protocol::read_async(&mut process.stdout).await
}

fn spawn(config: &WorkerConfig) -> Result<Process, HsmError> {
    let program = config.program.clone().unwrap_or_else(this_executable);
    let name = config.program.as_deref().unwrap_or(Path::new("signet"));
    let failed = |error: std::io::Error| {
        HsmErrorKind::Misconfigured.because(format!("cannot start the worker `{}`: {error}", program.display()))
    };
    let passed_on = PASSED_ON
        .iter()
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let mut child = Command::new(&program)
        .arg0(name)
        .args(&config.arguments)
        .env_clear()
        .envs(passed_on)
        .envs(config.environment.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        // Out of the terminal's group: Ctrl-C is for the authority, which needs its HSM until it has drained. The worker
        // ends when its standard input closes.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(stdin), Some(stdout)) => Ok(Process {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        }),
        _ => Err(failed(std::io::Error::other("it has no pipes"))),
    }
}

/// The running executable itself, even when an upgrade has replaced its file: both ends must speak one protocol.
fn this_executable() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        running
    } else {
        std::env::current_exe().unwrap_or(running)
    }
}

async fn how_it_ended(child: &mut Child) -> String {
    match timeout(EXIT_GRACE, child.wait()).await {
        Ok(Ok(status)) => format!("the worker ended ({status})"),
        _ => "the worker closed its output".to_owned(),
    }
}
