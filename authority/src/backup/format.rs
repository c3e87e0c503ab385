//! The file of a backup, as docs/reference/backup.md says: a head that everyone may read, and encrypted chunks of rows.
//!
//! ```text
//! "signet backup v1\n" ‖ length of the header (u32, big-endian) ‖ header (JSON)
//! then chunks: length (u32, big-endian) ‖ AES-256-GCM of rows (postcard)
//! ```
//!
//! A chunk's nonce is its number and whether it is the last, its associated data the SHA-256 of the whole head. So one that is
//! altered, moved, left out or of another backup does not open, and a file that ends early has no last chunk.

use std::io::Read;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use signing::digest::sha256;
use signing::key::Secret;
use zeroize::Zeroizing;

use super::key::{BackupKey, Delivered};
use crate::fault::Fault;
use crate::store::{MAX_VALUE_LEN, SNAPSHOT_PAGE};

/// How a backup begins: what it is, and the version of its form.
pub const MAGIC: &[u8] = b"signet backup v1\n";
/// Most bytes of a header.
const MAX_HEADER: usize = 256 << 10;
/// Most bytes of a chunk: a page of rows and what is around it.
const MAX_CHUNK: usize = SNAPSHOT_PAGE + MAX_VALUE_LEN + (1 << 20);

/// What may be known of a backup without any key. None of it is to be believed before the first chunk has opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The backup's id, random.
    pub id: String,
    /// Whose state it is.
    pub trust_domain: String,
    /// Unix seconds, before the first row was read.
    pub taken_at: u64,
    /// The store's revision.
    pub revision: u64,
    /// How many rows follow.
    pub rows: u64,
    /// The version of signet that wrote it.
    pub signet: String,
    /// The HSM that the authority stood on.
    pub hsm: Origin,
    /// Where the audit spool was: what was stopped afterwards is recorded behind it.
    pub audit: Option<AuditPosition>,
    /// Under which it can be restored into another HSM.
    pub backup_key: Option<BackupKey>,
    /// For the same HSM: the rows' key, sealed by it, in hexadecimal digits.
    pub(super) for_hsm: String,
    /// For the shareholders.
    pub(super) for_backup_key: Option<Delivered>,
}

/// The HSM of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// `pkcs11` or `software`.
    pub kind: String,
    /// The token's label, or the software HSM's file.
    pub label: String,
    /// SHA-256 of the root of nodes' public key (DER), in hexadecimal digits.
    pub node_root: String,
    /// The same of the root of delegations.
    pub delegation_root: String,
}

/// A place in an audit spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditPosition {
    /// The process whose chain it was.
    pub incarnation: String,
    /// Its last record, durable.
    pub sequence: u64,
}

/// One row. Values are sealed already; they may be long, so nothing prints them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) value: Vec<u8>,
    /// The key-encryption key that `value` holds under the old HSM, under the backup key.
    pub(crate) exported: Option<Vec<u8>>,
}

/// The head's bytes, and what chunks are bound to.
pub(super) fn head(header: &Header) -> Result<(Vec<u8>, [u8; 32]), Fault> {
    let json = serde_json::to_vec(header).map_err(|error| Fault::internal(format!("a backup's header: {error}")))?;
    let len = u32::try_from(json.len()).map_err(|_| Fault::internal("a backup's header is too long"))?;
    let head = [MAGIC, &len.to_be_bytes(), &json].concat();
    let digest = sha256(&head);
    Ok((head, digest))
}

/// The cipher of a backup's chunks, which come in order.
pub(super) struct Chunks {
    key: LessSafeKey,
    head: [u8; 32],
    next: u64,
}

impl Chunks {
    /// With a key that is this backup's alone.
    pub(super) fn new(key: &Secret, head: [u8; 32]) -> Result<Self, Fault> {
        Ok(Self {
            key: cipher(key)?,
            head,
            next: 0,
        })
    }

    /// The next chunk, with its length before it.
    pub(super) fn seal(&mut self, rows: &[Entry], last: bool) -> Result<Vec<u8>, Fault> {
        let failed = |error: &dyn std::fmt::Display| Fault::internal(format!("a chunk of a backup: {error}"));
        let mut body = postcard::to_stdvec(rows).map_err(|error| failed(&error))?;
        let (nonce, aad) = (self.nonce(last), Aad::from(self.head));
        self.key
            .seal_in_place_append_tag(nonce, aad, &mut body)
            .map_err(|error| failed(&error))?;
        self.next = self.next.saturating_add(1);
        let len = u32::try_from(body.len()).map_err(|error| failed(&error))?;
        Ok([len.to_be_bytes().as_slice(), &body].concat())
    }

    fn open(&mut self, mut body: Vec<u8>, last: bool) -> Option<Vec<Entry>> {
        let (nonce, aad) = (self.nonce(last), Aad::from(self.head));
        let plain = self.key.open_in_place(nonce, aad, &mut body).ok()?;
        self.next = self.next.saturating_add(1);
        postcard::from_bytes(plain).ok()
    }

    fn nonce(&self, last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        if let Some((end, number)) = nonce.split_last_mut() {
            *end = u8::from(last);
            for (to, from) in number.iter_mut().rev().zip(self.next.to_be_bytes().iter().rev()) {
                *to = *from;
            }
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Reads a backup from its beginning.
pub struct Reader<R> {
    from: R,
    head: [u8; 32],
    /// As the file says; see [`Header`].
    pub header: Header,
}

impl<R: Read> Reader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// `Invalid` for what is no backup, or one of a later version.
    pub fn open(mut from: R) -> Result<Self, Fault> {
        let mut magic = [0; MAGIC.len()];
        let is_ours = from.read_exact(&mut magic).is_ok() && magic == MAGIC;
        if !is_ours {
            let later = magic.starts_with(b"signet backup v");
            return Err(Fault::invalid(
                "bad_backup",
                if later {
                    "this backup was made by a later version of signet; restore it with that version"
                } else {
                    "this is not a backup of signet"
                },
            ));
        }
        let json = read_block(&mut from, MAX_HEADER)?.ok_or_else(|| altered("it ends within its head"))?;
        let header = serde_json::from_slice(&json).map_err(|error| altered(&format!("its header: {error}")))?;
        let len = u32::try_from(json.len()).unwrap_or_default();
        let head = sha256(&[MAGIC, &len.to_be_bytes(), &json].concat());
        Ok(Self { from, head, header })
    }

    /// The rows, with the rows' key.
    pub(crate) fn rows(self, key: &Secret) -> Result<Rows<R>, Fault> {
        Ok(Rows {
            chunks: Chunks::new(key, self.head)?,
            from: self.from,
            ended: false,
        })
    }
}

/// The rows of a backup, chunk by chunk, each authenticated before it is seen. What was read counts only once the last was.
pub(crate) struct Rows<R> {
    from: R,
    chunks: Chunks,
    ended: bool,
}

impl<R: Read> Rows<R> {
    /// The next rows; none after the last, which nothing follows.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Entry>>, Fault> {
        let body = read_block(&mut self.from, MAX_CHUNK)?;
        match (body, self.ended) {
            (None, true) => Ok(None),
            (None, false) => Err(altered("its end is missing")),
            (Some(_), true) => Err(altered("something follows its end")),
            (Some(body), false) => {
                if let Some(rows) = self.chunks.open(body.clone(), false) {
                    return Ok(Some(rows));
                }
                self.ended = true;
                let last = self.chunks.open(body, true);
                last.map(Some)
                    .ok_or_else(|| altered(&format!("chunk {} does not open", self.chunks.next)))
            }
        }
    }
}

/// A length and as many bytes; none at the end.
fn read_block(from: &mut impl Read, most: usize) -> Result<Option<Vec<u8>>, Fault> {
    let io = |error: std::io::Error| Fault::invalid("bad_backup", format!("the backup cannot be read: {error}"));
    let mut len = Vec::with_capacity(4);
    from.take(4).read_to_end(&mut len).map_err(io)?;
    if len.is_empty() {
        return Ok(None);
    }
    let cut = || altered("it is cut off");
    let len = u32::from_be_bytes(len.as_slice().try_into().map_err(|_| cut())?);
    let wanted = usize::try_from(len).ok().filter(|len| *len <= most);
    let wanted = wanted.ok_or_else(|| altered("it names a length that no backup has"))?;
    let mut body = Vec::new();
    from.take(u64::from(len)).read_to_end(&mut body).map_err(io)?;
    if body.len() == wanted {
        Ok(Some(body))
    } else {
        Err(cut())
    }
}

/// Seals one key-encryption key: a random nonce, ciphertext, tag. `key` seals no more than one backup's.
pub(super) fn seal_kek(key: &Secret, path: &str, kek: &Secret) -> Result<Vec<u8>, Fault> {
    let nonce: [u8; NONCE_LEN] = signing::key::random_bytes()?;
    let mut body = Zeroizing::new(kek.expose().to_vec());
    let tag = cipher(key)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(path.as_bytes()),
            body.as_mut_slice(),
        )
        .map_err(|_| Fault::internal("a key-encryption key could not be sealed"))?;
    Ok([&nonce, body.as_slice(), tag.as_ref()].concat())
}

/// Opens what [`seal_kek`] made for the path.
pub(super) fn open_kek(key: &Secret, path: &str, sealed: &[u8]) -> Result<Secret, Fault> {
    let refuse = || altered(&format!("the key of `{path}` does not open"));
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or_else(refuse)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refuse())?;
    let mut body = Zeroizing::new(body.to_vec());
    let opened = cipher(key)?.open_in_place(nonce, Aad::from(path.as_bytes()), body.as_mut_slice());
    let len = opened.map_err(|_| refuse())?.len();
    body.truncate(len);
    Ok(Secret::new(std::mem::take(&mut *body)))
}

fn cipher(key: &Secret) -> Result<LessSafeKey, Fault> {
    let key =
        UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| Fault::internal("a backup's key has not 32 bytes"))?;
    Ok(LessSafeKey::new(key))
}

/// Of a file that is not as it was written.
pub(crate) fn altered(what: &str) -> Fault {
    Fault::invalid(
        "bad_backup",
        format!("this backup was altered or is incomplete: {what}; take another copy"),
    )
}
