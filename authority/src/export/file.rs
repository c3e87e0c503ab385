//! Lines at the end of a file.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use async_trait::async_trait;
use audit::record::Record;

use super::Sink;
use crate::config::FileExport;

pub(super) struct File(FileExport);

impl File {
    pub(super) fn new(config: &FileExport) -> Self {
        Self(config.clone())
    }
}

#[async_trait]
impl Sink for File {
    /// Opened anew, because it may have been renamed away since; durable before it counts as taken. A batch that broke off in
    /// the middle of a line comes again whole, after an end of line.
    async fn send(&mut self, records: &[Record]) -> Result<usize, String> {
        let mut lines = String::new();
        for record in records {
            lines.push_str(&self.0.body.line(record));
            lines.push('\n');
        }
        let path = self.0.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .read(true)
                .mode(0o600)
                .open(&path)?;
            if !ends_with_a_line(&mut file)? {
                lines.insert(0, '\n');
            }
            file.write_all(lines.as_bytes())?;
            file.sync_data()
        });
        let failed = |error: &dyn std::fmt::Display| format!("`{}`: {error}", self.0.path.display());
        written
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        Ok(0)
    }
}

fn ends_with_a_line(file: &mut std::fs::File) -> std::io::Result<bool> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
