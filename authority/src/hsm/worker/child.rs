//! The worker process: reads calls from stdin, makes them on the token, writes answers to stdout.
//!
//! The main thread does nothing but read stdin, so that the worker ends when the authority does, however badly the module hangs.
//! Each session has a thread of its own. What the module prints goes to stderr.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::pkcs11::{self, Module, Token};
use super::super::protocol::{self, Answer, Hello, PREAMBLE, Request, Response, Task};
use super::super::{HsmError, HsmErrorKind, HsmInfo};

/// How long calls in progress may still take once the authority has gone.
const GRACE: Duration = Duration::from_secs(2);

/// The exit code of a worker whose token was lost: it is to be started afresh.
const LOST: u8 = 75;

type Output = Arc<Mutex<File>>;

/// The whole of `signet hsm-worker`: serves the token named in the first frame until stdin closes. Takes no arguments;
/// its stdin and stdout belong to the protocol, its stderr to the log, its environment is what the authority chose.
pub fn run_worker() -> ExitCode {
    match serve() {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(%error, "the hsm worker cannot serve");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<ExitCode> {
    // The PIN and unwrapped keys are in this process's memory. Whether swap is accepted was the authority's to decide: this
    // process has its limits.
    node::hardening::harden(true).map_err(io::Error::other)?;
    let output = claim_stdout()?;
    let mut input = BufReader::new(io::stdin());
    let Some(hello) = protocol::read::<Hello>(&mut input)? else {
        return Ok(ExitCode::SUCCESS);
    };
    // Unbounded, but the authority has no more calls in progress than this worker has sessions.
    let (calls, queue) = mpsc::channel();
    let (ended, end) = mpsc::channel();
    std::thread::Builder::new().name("token".to_owned()).spawn(move || {
        let code = run(&hello, queue, &output);
        // Nobody listens once the main thread has given up on this one.
        let _ = ended.send(code);
    })?;
    let ended = read_calls(&mut input, calls, &end);
    Ok(ended
        .or_else(|| end.recv_timeout(GRACE).ok())
        .unwrap_or(ExitCode::FAILURE))
}

/// Passes on calls until stdin ends, or until the token's threads have ended.
fn read_calls(input: &mut BufReader<io::Stdin>, calls: Sender<Request>, end: &Receiver<ExitCode>) -> Option<ExitCode> {
    loop {
        match protocol::read::<Request>(input) {
            Ok(Some(request)) => {
                if calls.send(request).is_err() {
                    return end.recv_timeout(GRACE).ok();
                }
            }
            Ok(None) => return None,
            Err(error) => {
                tracing::error!(%error, "the authority sent a bad frame");
                return Some(ExitCode::FAILURE);
            }
        }
    }
}

/// Opens the token, answers the greeting, and serves calls until their queue closes.
fn run(hello: &Hello, queue: Receiver<Request>, output: &Output) -> ExitCode {
    let (outcome, tokens) = match open(hello) {
        Ok((info, tokens)) => (Ok(Answer::Opened(info)), tokens),
        Err(error) => (Err(error), Vec::new()),
    };
    let failed = outcome.is_err();
    if answer(output, &Response { id: 0, outcome }).is_err() || failed {
        return ExitCode::FAILURE;
    }
    let queue = Arc::new(Mutex::new(queue));
    let sessions: Vec<_> = tokens
        .into_iter()
        .map(|token| {
            let (queue, output) = (Arc::clone(&queue), Arc::clone(output));
            std::thread::Builder::new().name("session".to_owned()).spawn(move || {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(token, &queue, &output)));
                if outcome.is_err() {
                    std::process::exit(i32::from(LOST));
                }
            })
        })
        .collect();
    for session in sessions {
        match session.map(std::thread::JoinHandle::join) {
            Ok(Ok(())) => {}
            _ => return ExitCode::FAILURE,
        }
    }
    ExitCode::SUCCESS
}

fn open(hello: &Hello) -> Result<(HsmInfo, Vec<Token>), HsmError> {
    match &hello.task {
        Task::Initialize { so_pin } => Ok((pkcs11::initialize(hello, so_pin)?, Vec::new())),
        Task::Serve { sessions, cached_keys } => {
            let module = Arc::new(Module::open(hello)?);
            let sessions = usize::from(*sessions).max(1);
            let cached = usize::try_from(*cached_keys)
                .unwrap_or(usize::MAX)
                .checked_div(sessions)
                .unwrap_or(1);
            let tokens: Result<Vec<_>, _> = (0..sessions)
                .map(|_| Token::connect(Arc::clone(&module), cached))
                .collect();
            Ok((module.info(), tokens?))
        }
    }
}

/// One session's thread. A token that stays lost ends the whole worker: a fresh process is the surest way to reopen it.
fn work(mut token: Token, queue: &Mutex<Receiver<Request>>, output: &Output) {
    loop {
        let request = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Request { id, call }) = request else {
            return;
        };
        let outcome = token.execute(&call);
        let lost = matches!(&outcome, Err(error) if error.kind == HsmErrorKind::Unavailable);
        if answer(output, &Response { id, outcome }).is_err() || lost {
            std::process::exit(i32::from(LOST));
        }
    }
}

fn answer(output: &Output, response: &Response) -> io::Result<()> {
    protocol::write(&mut *output.lock().unwrap_or_else(PoisonError::into_inner), response)
}

/// Keeps stdout for frames and sends everything else that is printed there, by native code too, to stderr.
fn claim_stdout() -> io::Result<Output> {
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
    output.write_all(PREAMBLE)?;
    Ok(Arc::new(Mutex::new(output)))
}
