//! The compiler in a process of its own: `signet plugin-compiler`, this end of it and the other.
//!
//! A compiler is a large program that reads what a plugin's author wrote. In a child it can be bounded: in address space and
//! processor time by the kernel, in wall-clock time by its parent, which kills it. It has no keys, no environment and no file
//! but its three pipes, and what it uses is given back when it ends, whatever it did.
//!
//! To the child: seconds of a processor, bytes of memory and the level of x86-64, each as 8 bytes, big-endian, then the component.
//! From it: [`PREAMBLE`], a byte that says what follows, its length, and the machine code or the reason why there is none.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

pub use self::child::run_compiler;
use crate::artifact::MAX_ARTIFACT;
use crate::target::Level;

mod child;

/// Begins the answer: what a program writes before it is no part of it.
const PREAMBLE: &[u8] = b"\nsignet-artifact/1\n";
/// What follows the preamble: machine code …
const MADE: u8 = 1;
/// … or what is wrong with the component.
const REFUSED: u8 = 2;
/// Most bytes of what a failing child says.
const MAX_SAID: u64 = 8 << 10;
/// Address space that a compilation may have, and what more for each byte of the component.
const MEMORY: u64 = 3 << 30;
const MEMORY_EACH: u64 = 64;

/// Where components are compiled.
#[derive(Debug, Clone, Default)]
pub enum Compiler {
    /// On a thread of this process: nothing bounds its memory, and nothing ends it. For tools and tests.
    #[default]
    Thread,
    /// In a child process, which is this program: it calls [`run_compiler`] when it is started like this.
    Process {
        /// The executable.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<OsString>,
    },
    /// Nowhere: only what is compiled already is loaded.
    Never,
}

impl Compiler {
    /// This executable as `plugin-compiler`: the running one, even when an upgrade has replaced its file, because the artifact
    /// must be of this very version.
    pub fn this_program() -> Compiler {
        Compiler::Process {
            program: PathBuf::from("/proc/self/exe"),
            arguments: vec!["plugin-compiler".into()],
        }
    }
}

/// The bounds of one compilation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// On the wall.
    pub(crate) time: Duration,
    /// Seconds of a processor.
    pub(crate) processor: u64,
    /// Bytes of address space.
    pub(crate) memory: u64,
    /// Bytes of machine code.
    pub(crate) artifact: usize,
}

impl Bounds {
    /// Of a component of so many bytes.
    pub(crate) fn new(time: Duration, bytes: usize) -> Bounds {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Bounds {
            time,
            processor: time.as_secs().saturating_add(1),
            memory: MEMORY.saturating_add(bytes.saturating_mul(MEMORY_EACH)),
            artifact: MAX_ARTIFACT,
        }
    }

    fn head(&self, level: Level) -> [u8; 24] {
        let mut head = [0; 24];
        let numbers = [self.processor, self.memory, level.number()];
        for (part, number) in head.chunks_exact_mut(8).zip(numbers) {
            part.copy_from_slice(&number.to_be_bytes());
        }
        head
    }
}

/// Why a child made nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unmade {
    /// The component is at fault.
    Refused(String),
    /// It took all its time, on the wall or on the processor, and was killed.
    TooSlow,
    /// The child could not be started, died, or answered nonsense.
    Failed(String),
}

/// Compiles in a child, which has ended when this returns with the machine code.
pub(crate) fn compile(
    (program, arguments): (&PathBuf, &[OsString]),
    (wasm, level): (&[u8], Level),
    bounds: Bounds,
) -> Result<Vec<u8>, Unmade> {
    let failed = |error: io::Error| Unmade::Failed(format!("`{}`: {error}", program.display()));
    let mut child = Command::new(program)
        .arg0("signet")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C in a terminal is for us; what we wait for goes on.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let answer = exchange(&mut child, (wasm, level), bounds);
    // It has answered or it will not any more.
    let _ = child.kill();
    let status = child.wait().map_err(failed)?;
    let (output, said) = answer.ok_or(Unmade::TooSlow)?;
    read(&output, bounds).unwrap_or_else(|| Err(how_it_ended(status, &said, bounds)))
}

/// Writes the component and reads all that the child says, at the same time; none where that takes too long.
fn exchange(child: &mut Child, (wasm, level): (&[u8], Level), bounds: Bounds) -> Option<(Vec<u8>, Vec<u8>)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let most = u64::try_from(bounds.artifact)
        .unwrap_or(u64::MAX)
        .saturating_add(MAX_SAID);
    std::thread::scope(|scope| {
        let (sender, answer) = mpsc::channel();
        scope.spawn(move || {
            // A child that has died does not read: what it said before is what counts.
            let written = stdin.map(|mut stdin| {
                stdin
                    .write_all(&bounds.head(level))
                    .and_then(|()| stdin.write_all(wasm))
            });
            drop(written);
        });
        let said = scope.spawn(move || all(stderr, MAX_SAID));
        scope.spawn(move || sender.send(all(stdout, most)));
        let output = answer.recv_timeout(bounds.time);
        // Its pipes end with it, and with them the threads of this scope.
        let _ = child.kill();
        Some((output.ok()?, said.join().unwrap_or_default()))
    })
}

fn all(pipe: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(most).read_to_end(&mut bytes);
    }
    bytes
}

/// What a whole answer says; none where it is no whole answer.
fn read(output: &[u8], bounds: Bounds) -> Option<Result<Vec<u8>, Unmade>> {
    let begin = output.windows(PREAMBLE.len()).position(|window| window == PREAMBLE)?;
    let (kind, rest) = output.get(begin.checked_add(PREAMBLE.len())?..)?.split_first()?;
    let (length, content) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
    if length > bounds.artifact {
        let most = bounds.artifact;
        return Some(Err(Unmade::Failed(format!(
            "it made {length} bytes of machine code, more than {most}"
        ))));
    }
    let content = content.get(..length)?;
    match *kind {
        MADE => Some(Ok(content.to_vec())),
        REFUSED => Some(Err(Unmade::Refused(String::from_utf8_lossy(content).into_owned()))),
        _ => None,
    }
}

/// SIGXCPU, signal(7).
const SIGXCPU: i32 = 24;

fn how_it_ended(status: ExitStatus, said: &[u8], bounds: Bounds) -> Unmade {
    if status.signal() == Some(SIGXCPU) {
        return Unmade::TooSlow;
    }
    let said = String::from_utf8_lossy(said);
    let last = said
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it said nothing");
    let mebibytes = bounds.memory >> 20;
    Unmade::Failed(format!(
        "its process, which may have {mebibytes} MiB, ended ({status}): {last:.300}"
    ))
}

#[cfg(test)]
mod tests;
