//! A witness's state: the last checkpoint of each log, with its own cosignature under it.

use std::io;

use signing::digest::sha256;
use signing::encoding::hex;

use super::{Refused, Request, judge};
use crate::log::objects::{Objects, PutError};
use crate::note::cosign::Cosigner;
use crate::note::{Checkpoint, VerifierKey};

/// What the names of the logs' objects begin with.
const FOLDER: &str = "logs/";

/// A witness of some logs. One process has its storage at a time.
pub struct Witness {
    objects: Box<dyn Objects>,
    key: Cosigner,
    logs: Vec<VerifierKey>,
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The log's doing.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The storage failed, or does not hold what was written; nothing was cosigned.
    #[error("the witness's state: {0}")]
    Io(#[from] io::Error),
    /// A sync failed: the process has to end (R30).
    #[error("the witness's state could not be made durable: {0}")]
    Lost(io::Error),
    /// The key cannot sign.
    #[error("the witness's key: {0}")]
    Key(#[from] signing::key::KeyError),
}

impl Witness {
    /// A witness of the logs with these keys. Reads what it cosigned of them.
    ///
    /// # Errors
    /// [`Failed::Io`]: a state that cannot be read, or that this key did not sign.
    pub fn open(objects: Box<dyn Objects>, key: Cosigner, logs: Vec<VerifierKey>) -> Result<Witness, Failed> {
        let witness = Witness { objects, key, logs };
        for log in &witness.logs {
            witness.held(log.name())?;
        }
        Ok(witness)
    }

    /// Answers a request of [`super::PATH`] with the line to put under the checkpoint, which is durable here by then; `now` in
    /// Unix seconds. Exclusive, so that no smaller checkpoint takes the place of a larger one.
    ///
    /// # Errors
    /// [`Failed`]. After [`Failed::Io`] the same may be asked again.
    pub fn add(&mut self, body: &str, now: u64) -> Result<String, Failed> {
        let request: Request = body.parse()?;
        let known = self.logs.iter().any(|log| log.name() == request.origin());
        let held = match known {
            true => self.held(request.origin())?,
            false => None,
        };
        let checkpoint = judge(&self.logs, held.as_ref(), &request)?;
        let (text, signatures) = request.note.rsplit_once("\n\n").unwrap_or_default();
        let line = self.key.cosign(&format!("{text}\n"), now)?;
        // Anybody who has seen a checkpoint can bring it again: that costs no write.
        if held.as_ref() == Some(&checkpoint) {
            return Ok(line);
        }
        // Nobody else's lines, which may be in this witness's name: this is what monitors are shown.
        let by_log = |line: &&str| {
            let note = format!("{text}\n\n{line}\n");
            self.logs.iter().any(|log| log.checkpoint(&note).is_ok())
        };
        let by_log: String = signatures
            .lines()
            .filter(by_log)
            .map(|line| format!("{line}\n"))
            .collect();
        let cosigned = format!("{text}\n\n{line}{by_log}");
        match self.objects.put(&name(&checkpoint.origin), cosigned.as_bytes()) {
            Ok(()) => Ok(line),
            Err(PutError::Write(error)) => Err(Failed::Io(error)),
            Err(PutError::Sync(error)) => Err(Failed::Lost(error)),
            Err(PutError::Taken) => Err(Failed::Io(io::Error::other("another process writes here"))),
        }
    }

    /// The last checkpoint cosigned of the log whose origin has this SHA-256 (lowercase hex), with the log's signatures and this
    /// witness's; none before the first, and of a log that is not known.
    ///
    /// # Errors
    /// The storage's.
    pub fn checkpoint(&self, origin_hash: &str) -> io::Result<Option<String>> {
        let mut known = self.logs.iter().map(|log| name(log.name()));
        match known.find(|name| name.strip_prefix(FOLDER) == Some(origin_hash)) {
            Some(name) => Ok(self.objects.get(&name)?.and_then(|note| String::from_utf8(note).ok())),
            None => Ok(None),
        }
    }

    fn held(&self, origin: &str) -> io::Result<Option<Checkpoint>> {
        let name = name(origin);
        let Some(bytes) = self.objects.get(&name)? else {
            return Ok(None);
        };
        let note = String::from_utf8_lossy(&bytes);
        let opened = self.key.verifier().open(&note);
        let held = opened.and_then(|(text, _)| text.parse::<Checkpoint>());
        let held = held.map_err(|error| io::Error::other(format!("`{name}` is not what was written: {error}")))?;
        Ok(Some(held))
    }
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Witness")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The object with the last checkpoint of a log.
fn name(origin: &str) -> String {
    format!("{FOLDER}{}", hex(&sha256(origin.as_bytes())))
}
