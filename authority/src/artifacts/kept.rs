//! The directory: a file for each component and target, its first line the endorsement, the machine code behind it. It may be lost.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use runtime::{Artifact, MAX_ARTIFACT, Target};
use signing::compiled::{Endorsed, Endorsement, EndorsementError, MAX_ENDORSEMENT};
use signing::encoding::hex;

use super::Compiled;
use crate::files;

/// Most files, and most bytes of all: what was used longest ago goes first.
const MAX_FILES: usize = 2_000;
const MAX_BYTES: u64 = 2 << 30;

/// Where the files are.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn path(&self, component: &[u8; 32], target: &Target) -> PathBuf {
        let engine: String = target.compatibility().chars().take(16).collect();
        self.0.join(format!("{}.{target}.{engine}", hex(component)))
    }

    /// What is there and believed, and until when (Unix seconds). A file that is not what it should be is removed.
    pub(super) fn read(
        &self,
        component: &[u8; 32],
        target: &Target,
        believe: impl FnOnce(&Endorsement) -> Result<Endorsed, EndorsementError>,
    ) -> Option<(Compiled, u64)> {
        let path = self.path(component, target);
        match read(&path, component, target, believe) {
            Ok(read) => Some(read),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a compiled plugin is not used, and made again");
                // What cannot be removed is written over.
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps it; where that fails, it is made again one day.
    pub(super) fn write(&self, compiled: &Compiled) {
        let statement = &compiled.endorsement.statement;
        let Some(target) = Target::find(&statement.target, &statement.compatibility) else {
            return;
        };
        let path = self.path(&statement.component, &target);
        if let Err(error) = self.try_write(&path, compiled) {
            tracing::warn!(file = %path.display(), %error, "a compiled plugin was not kept");
        }
    }

    fn try_write(&self, path: &Path, compiled: &Compiled) -> io::Result<()> {
        self.make_room(compiled.endorsement.statement.size)?;
        files::write(path, &[&compiled.endorsement.encode(), b"\n", compiled.artifact.code()])
    }

    /// Removes what was used longest ago, until `bytes` more fit.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let listed = match fs::read_dir(&self.0) {
            // It is made with its first file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed?,
        };
        let mut files = Vec::new();
        for entry in listed {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_file() {
                let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push((used, about.len(), entry.path()));
            }
        }
        files.sort();
        let total = files.iter().fold(bytes, |sum, (_, size, _)| sum.saturating_add(*size));
        let (mut total, mut count) = (total, files.len());
        for (_, size, path) in files {
            if total <= MAX_BYTES && count < MAX_FILES {
                break;
            }
            fs::remove_file(path)?;
            total = total.saturating_sub(size);
            count = count.saturating_sub(1);
        }
        Ok(())
    }
}

fn read(
    path: &Path,
    component: &[u8; 32],
    target: &Target,
    believe: impl FnOnce(&Endorsement) -> Result<Endorsed, EndorsementError>,
) -> io::Result<(Compiled, u64)> {
    let file = File::open(path)?;
    let mut reader = BufReader::new(&file);
    let mut line = Vec::new();
    let most = u64::try_from(MAX_ENDORSEMENT).unwrap_or(u64::MAX);
    reader.by_ref().take(most).read_until(b'\n', &mut line)?;
    let endorsement = Endorsement::decode(&line).map_err(io::Error::other)?;
    let believed = believe(&endorsement).map_err(io::Error::other)?;
    let most = u64::try_from(MAX_ARTIFACT).unwrap_or(u64::MAX);
    let mut code = Vec::new();
    reader.take(most.saturating_add(1)).read_to_end(&mut code)?;
    let artifact = Artifact::endorsed(code, &believed, component, target).map_err(io::Error::other)?;
    // Its time of use; a directory that cannot be written is of use all the same.
    let _ = file.set_modified(SystemTime::now());
    Ok((Compiled { endorsement, artifact }, believed.not_after()))
}
