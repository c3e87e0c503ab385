//! The list as it is read, and what a person sees meanwhile.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Counts;
use crate::failure::{Context, Failure};

/// Bytes of a line: a blob has at most 8 KiB of base64, its context as much again.
const MAX_LINE: u64 = 64 << 10;
const PROGRESS: Duration = Duration::from_millis(500);

/// The list, line by line.
pub struct Lines {
    reader: Box<dyn BufRead>,
    number: u64,
    /// What is shown meanwhile.
    pub progress: Progress,
}

impl Lines {
    /// Opens a file, or standard input for `-`.
    pub fn open(path: &Path) -> Result<Lines, Failure> {
        let (reader, size): (Box<dyn Read>, Option<u64>) = if path.as_os_str() == "-" {
            (Box::new(std::io::stdin()), None)
        } else {
            let named = || format!("`{}`", path.display());
            let file = File::open(path).context(named)?;
            let size = file.metadata().context(named)?.len();
            (Box::new(file), Some(size).filter(|size| *size > 0))
        };
        Ok(Lines {
            reader: Box::new(BufReader::new(reader)),
            number: 0,
            progress: Progress::new(size),
        })
    }

    /// Passes over the lines that a run before has done.
    pub fn skip(&mut self, done: u64) -> Result<(), Failure> {
        for _ in 0..done {
            if self.next()?.is_none() {
                return Err(Failure::new(format!(
                    "--out has {done} lines, and the list fewer: it is not the list that the run began with"
                )));
            }
        }
        Ok(())
    }

    /// The next line without its end; none behind the last.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Vec::new();
        let read = self.reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        self.progress.read = self.progress.read.saturating_add(u64::try_from(read).unwrap_or(0));
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if u64::try_from(read).unwrap_or(u64::MAX) >= MAX_LINE {
            let number = self.number;
            return Err(Failure::new(format!(
                "line {number} has more than {} KiB: it is no blob",
                MAX_LINE >> 10
            )));
        }
        Ok(Some(line))
    }
}

/// What a person sees on a terminal while it runs.
pub struct Progress {
    size: Option<u64>,
    read: u64,
    shown_at: Option<Instant>,
    wanted: bool,
}

impl Progress {
    fn new(size: Option<u64>) -> Progress {
        Progress {
            size,
            read: 0,
            shown_at: Some(Instant::now()),
            wanted: std::io::stderr().is_terminal(),
        }
    }

    /// Shows the counts, twice a second at most.
    pub fn show(&mut self, counts: &Counts) {
        if !self.wanted || self.shown_at.is_some_and(|at| at.elapsed() < PROGRESS) {
            return;
        }
        self.shown_at = Some(Instant::now());
        let percent = self
            .size
            .and_then(|size| self.read.saturating_mul(100).checked_div(size));
        let percent = percent.map(|percent| format!("{percent} %, ")).unwrap_or_default();
        let Counts {
            moved, kept, failed, ..
        } = counts;
        let text = format!("{percent}{moved} re-encrypted, {kept} current already, {failed} failed");
        let _ = write!(std::io::stderr(), "\r{text:<78}");
    }

    /// Takes its line away again.
    pub fn clear(&self) {
        if self.wanted {
            let _ = write!(std::io::stderr(), "\r{:<78}\r", "");
        }
    }
}
