//! The witness protocol (c2sp.org/tlog-witness@v1.1.0): a log shows its new checkpoint and that it grew from the one before; the
//! witness, which keeps the last one, cosigns it or says why not. Pure; what is kept is in [`keeper`].

pub mod keeper;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::note::cosign::WitnessKey;
use crate::note::{Checkpoint, NoteError, VerifierKey};
use crate::record::Hash;
use crate::tree;

/// Where checkpoints are sent to, behind the witness's URL.
pub const PATH: &str = "/add-checkpoint";
/// The media type of the number in [`Refused::Stale`].
pub const SIZE: &str = "text/x.tlog.size";
/// Bytes of a request at most. A checkpoint with a cosignature more is still a note.
pub const MAX_REQUEST: usize = 8 << 10;
/// Hashes of a proof at most.
const MAX_PROOF: usize = 63;

/// What a log sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Leaves of the checkpoint that the witness cosigned last, as the log believes.
    pub old: u64,
    /// That the new checkpoint's tree begins with those leaves.
    pub proof: Vec<Hash>,
    /// The new checkpoint, signed.
    pub note: String,
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// 400: no request of the protocol.
    #[error("no request of the protocol: {0}")]
    Form(&'static str),
    /// 404: a log that it was not told of.
    #[error("this witness does not know the log `{0}`")]
    Unknown(String),
    /// 403: not signed by a key of that log.
    #[error("not signed by the log: {0}")]
    Unsigned(NoteError),
    /// 409: it holds a checkpoint of another size than the log believes.
    #[error("the last checkpoint here has {size} leaves, not {old}")]
    Stale {
        /// Leaves.
        size: u64,
        /// What the log believes.
        old: u64,
    },
    /// 422: it holds another checkpoint of the same size. The log signed both.
    #[error("a split view: the log signed another tree of {size} leaves")]
    Split {
        /// Leaves.
        size: u64,
    },
    /// 422: the new tree is not shown to begin with the old one.
    #[error("the proof does not show that {size} leaves begin with the {old} cosigned before")]
    Proof {
        /// Leaves cosigned before.
        old: u64,
        /// Leaves now.
        size: u64,
    },
}

impl Refused {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Refused::Form(_) => 400,
            Refused::Unsigned(_) => 403,
            Refused::Unknown(_) => 404,
            Refused::Stale { .. } => 409,
            Refused::Split { .. } | Refused::Proof { .. } => 422,
        }
    }

    /// What goes with [`SIZE`] in place of a text.
    pub fn size(&self) -> Option<u64> {
        match self {
            Refused::Stale { size, .. } => Some(*size),
            _ => None,
        }
    }

    /// Whether what the log signed may be proof that it showed different people different things.
    pub fn is_suspect(&self) -> bool {
        matches!(self, Refused::Split { .. } | Refused::Proof { .. })
    }
}

impl Request {
    /// The log's name, as the request has it.
    pub fn origin(&self) -> &str {
        self.note.lines().next().unwrap_or_default()
    }
}

/// The checkpoint to cosign, where `held` is the one that was cosigned last; none at all before the first.
///
/// # Errors
/// [`Refused`], in the order that the protocol says.
pub fn judge(logs: &[VerifierKey], held: Option<&Checkpoint>, request: &Request) -> Result<Checkpoint, Refused> {
    let origin = request.origin();
    let keys: Vec<&VerifierKey> = logs.iter().filter(|log| log.name() == origin).collect();
    let mut checked = Err(Refused::Unknown(origin.chars().take(80).collect()));
    for key in keys {
        checked = key.checkpoint(&request.note).map_err(|error| match error {
            NoteError::Note | NoteError::Checkpoint => Refused::Form("it ends in no signed checkpoint"),
            error => Refused::Unsigned(error),
        });
        if checked.is_ok() {
            break;
        }
    }
    let new = checked?;
    let old = request.old;
    if old > new.size {
        return Err(Refused::Form("the old size is larger than the new one"));
    }
    let none = Checkpoint {
        origin: new.origin.clone(),
        size: 0,
        root: tree::empty_root(),
    };
    let held = held.unwrap_or(&none);
    if old != held.size {
        return Err(Refused::Stale { size: held.size, old });
    }
    if old == new.size && held.root != new.root {
        return Err(Refused::Split { size: old });
    }
    if !tree::extends((old, &held.root), (new.size, &new.root), &request.proof) {
        return Err(Refused::Proof { old, size: new.size });
    }
    Ok(new)
}

/// The log's origin hash in the path of a request for its last cosigned checkpoint, `/ORIGIN-HASH/checkpoint`: SHA-256, in lowercase
/// hex.
pub fn monitored(path: &str) -> Option<&str> {
    let hash = path.strip_prefix('/')?.strip_suffix("/checkpoint")?;
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hash.then_some(hash)
}

/// The file beside a log in which its last checkpoint cosigned by this witness is kept: `LOG/KEY`, of the log's short name and
/// the witness's key id.
pub fn kept(log: &VerifierKey, witness: &WitnessKey) -> String {
    let short = log.name().rsplit('/').next().unwrap_or_default();
    format!("{}/{}", short.replace('.', "-"), witness.id())
}

impl FromStr for Request {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Request, Refused> {
        let (head, note) = text.split_once("\n\n").ok_or(Refused::Form("it has no empty line"))?;
        if text.len() > MAX_REQUEST {
            return Err(Refused::Form("it is too long"));
        }
        let mut lines = head.split('\n');
        let digits = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = digits.and_then(|digits| digits.parse().ok().filter(|old: &u64| old.to_string() == digits));
        let old = old.ok_or(Refused::Form("its first line is not `old SIZE`"))?;
        let hash = |line: &str| -> Option<Hash> { STANDARD.decode(line).ok()?.try_into().ok() };
        let proof: Option<Vec<Hash>> = lines.map(hash).collect();
        let proof = proof.filter(|proof| proof.len() <= MAX_PROOF);
        Ok(Request {
            old,
            proof: proof.ok_or(Refused::Form("its proof is not up to 63 hashes in base64"))?,
            note: note.to_owned(),
        })
    }
}

impl fmt::Display for Request {
    /// As it is sent.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "old {}", self.old)?;
        for hash in &self.proof {
            writeln!(out, "{}", STANDARD.encode(hash))?;
        }
        write!(out, "\n{}", self.note)
    }
}

#[cfg(test)]
mod tests;
