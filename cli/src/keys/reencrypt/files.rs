//! The files of a run: what is in them survives a kill, and is where the next run goes on.
//!
//! For each batch of lines the errors are made durable before the results: a result line that is there is one whose error,
//! if it had one, is on record. Errors behind the last whole result line are of a batch that is done again.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::{Context, Failure};
use crate::output;

/// Where results and errors go.
pub struct Sink {
    results: Option<File>,
    errors: Option<(PathBuf, File)>,
    /// Lines that a run before this one has written.
    pub done: u64,
    /// Those of them that had failed.
    pub failed_before: u64,
}

/// A line that failed.
pub struct LineError {
    /// From 1.
    pub line: u64,
    /// The line's own `id`.
    pub id: Option<Value>,
    /// Why.
    pub error: String,
}

impl Sink {
    /// Results and errors go to standard output and standard error; or nowhere but the errors.
    pub fn standard() -> Sink {
        Sink {
            results: None,
            errors: None,
            done: 0,
            failed_before: 0,
        }
    }

    /// New files; or, to `resume`, those of a run that ended early, cut back to their last whole line.
    pub fn open(results: &Path, errors: &Path, resume: bool) -> Result<Sink, Failure> {
        let named = |path: &Path| format!("`{}`", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if !resume {
            let made = options.clone().create_new(true).open(results);
            let made = made.map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => Failure::new(format!(
                    "{} is there already; --resume goes on with it, another --out begins anew",
                    named(results)
                )),
                _ => Failure::new(format!("{}: {error}", named(results))),
            })?;
            let errors_file = options
                .create(true)
                .truncate(true)
                .open(errors)
                .context(|| named(errors))?;
            return Ok(Sink {
                results: Some(made),
                errors: Some((errors.to_owned(), errors_file)),
                ..Sink::standard()
            });
        }
        let mut made = options
            .clone()
            .create(true)
            .truncate(false)
            .open(results)
            .context(|| named(results))?;
        let done = cut(&mut made, |_| true).context(|| named(results))?;
        let mut errors_file = options
            .create(true)
            .truncate(false)
            .open(errors)
            .context(|| named(errors))?;
        let of_done = |line: &[u8]| {
            let entry: Option<Value> = serde_json::from_slice(line).ok();
            entry
                .and_then(|entry| entry.get("line")?.as_u64())
                .is_some_and(|line| line <= done)
        };
        let failed_before = cut(&mut errors_file, of_done).context(|| named(errors))?;
        Ok(Sink {
            results: Some(made),
            errors: Some((errors.to_owned(), errors_file)),
            done,
            failed_before,
        })
    }

    /// Writes a batch, durable when it answers. False: nobody reads standard output any more.
    pub fn write(&mut self, results: &[Vec<u8>], errors: &[LineError]) -> Result<bool, Failure> {
        match &mut self.errors {
            Some((path, file)) if !errors.is_empty() => {
                let text: String = errors.iter().map(|error| format!("{}\n", error.json())).collect();
                let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
                written.context(|| format!("`{}`", path.display()))?;
            }
            Some(_) => {}
            None => errors
                .iter()
                .for_each(|error| output::note(&format!("line {}: {}", error.line, error.error))),
        }
        let mut text = Vec::new();
        for result in results {
            text.extend_from_slice(result);
            text.push(b'\n');
        }
        match &mut self.results {
            Some(file) => {
                file.write_all(&text)
                    .and_then(|()| file.sync_data())
                    .context(|| "the results".to_owned())?;
                Ok(true)
            }
            None => output::bytes(&text),
        }
    }

    /// Removes the file of errors where there are none.
    pub fn close(self, failed: u64) -> Result<(), Failure> {
        match self.errors {
            Some((path, _)) if failed == 0 => std::fs::remove_file(&path).context(|| format!("`{}`", path.display())),
            _ => Ok(()),
        }
    }
}

impl LineError {
    fn json(&self) -> Value {
        serde_json::json!({ "line": self.line, "id": self.id, "error": self.error })
    }
}

/// Keeps the whole lines at a file's beginning that `wanted` takes, and what is written next goes behind them; answers how
/// many there are.
fn cut(file: &mut File, wanted: impl Fn(&[u8]) -> bool) -> std::io::Result<u64> {
    let (mut lines, mut kept) = (0_u64, 0_u64);
    let mut reader = BufReader::new(&mut *file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') || !wanted(&line) {
            break;
        }
        kept = kept.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        lines = lines.saturating_add(1);
    }
    file.set_len(kept)?;
    file.seek(SeekFrom::Start(kept))?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(line: u64) -> LineError {
        LineError {
            line,
            id: None,
            error: "no".to_owned(),
        }
    }

    #[test]
    fn a_run_that_was_cut_off_anywhere_goes_on_behind_its_last_whole_line() {
        let dir = tempfile::TempDir::new().unwrap();
        let (out, errors) = (dir.path().join("out"), dir.path().join("errors"));
        let lines = |text: &str| text.split(' ').map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>();
        let mut sink = Sink::open(&out, &errors, false).unwrap();
        sink.write(&lines("a b c"), &[failed(2)]).unwrap();
        sink.write(&lines("d e"), &[failed(5)]).unwrap();
        drop(sink);
        let (whole, error_lines) = (std::fs::read(&out).unwrap(), std::fs::read(&errors).unwrap());
        assert_eq!(whole, b"a\nb\nc\nd\ne\n");
        for end in 0..=whole.len() {
            std::fs::write(&out, &whole[..end]).unwrap();
            std::fs::write(&errors, &error_lines).unwrap();
            let mut sink = Sink::open(&out, &errors, true).unwrap();
            let done = u64::try_from(end / 2).unwrap();
            let known = u64::from(done >= 2) + u64::from(done >= 5);
            assert_eq!((sink.done, sink.failed_before), (done, known), "{end}");
            sink.write(&lines("x"), &[]).unwrap();
            let expected = [&whole[..end / 2 * 2], b"x\n"].concat();
            assert_eq!(std::fs::read(&out).unwrap(), expected);
        }
        let again = Sink::open(&out, &errors, false).err().unwrap();
        assert!(format!("{again:?}").contains("--resume"));
    }

    #[test]
    fn without_errors_there_is_no_file_of_them() {
        let dir = tempfile::TempDir::new().unwrap();
        let (out, errors) = (dir.path().join("out"), dir.path().join("errors"));
        let sink = Sink::open(&out, &errors, true).unwrap();
        assert_eq!((sink.done, sink.failed_before), (0, 0));
        sink.close(0).unwrap();
        assert!(out.exists() && !errors.exists());
    }
}
