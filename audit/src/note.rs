//! Signed notes (c2sp.org/signed-note) with Ed25519 keys, and the checkpoints (c2sp.org/tlog-checkpoint) in them.
//!
//! A note is a text, an empty line and signatures, each `— NAME BASE64(key id ‖ signature)`. Those of witnesses are in
//! [`cosign`].

pub mod cosign;

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use signing::algorithm::Algorithm;
use signing::encoding::{from_hex, hex};
use signing::key::{KeyError, PublicKey, SigningKey};

use crate::record::Hash;

/// The signature type of an Ed25519 key in a verifier key.
const ED25519: u8 = 1;
/// What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The longest note that is read, bytes.
pub const MAX_NOTE: usize = 16 << 10;
const MARK: &str = "\u{2014} ";

/// Why a note, a key or a checkpoint is not one, or not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not the form of a signed note.
    #[error("it is no signed note")]
    Note,
    /// Not the form of a checkpoint.
    #[error("it is no checkpoint of a log")]
    Checkpoint,
    /// Not the form of a verifier key.
    #[error("`{0}` is no verifier key; it looks as NAME+HEX+BASE64, and `signet audit key` prints it")]
    Key(String),
    /// Not the form of a witness's verifier key.
    #[error("`{0}` is no witness's verifier key; it looks as NAME+HEX+BASE64, and `signet witness init` prints it")]
    Witness(String),
    /// No signature by the key.
    #[error("it is not signed by `{0}`")]
    Unsigned(String),
    /// A signature in the key's name does not verify.
    #[error("the signature of `{0}` does not verify")]
    Forged(String),
    /// The note is of another log.
    #[error("it is a checkpoint of `{found}`, not of `{expected}`")]
    Origin {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
}

/// Who signs: a name and an Ed25519 key.
pub struct NoteKey {
    key: SigningKey,
    verifier: VerifierKey,
}

/// What checks the notes of one signer. Its text is `NAME+HEX(key id)+BASE64(type ‖ key)`.
#[derive(Debug, Clone)]
pub struct VerifierKey {
    name: String,
    /// The signature type.
    kind: u8,
    id: [u8; 4],
    raw: [u8; 32],
    key: PublicKey,
}

/// What a log said it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// Their root.
    pub root: Hash,
}

impl NoteKey {
    /// A signer. `key` must be Ed25519; the name has neither spaces nor `+`.
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn new(name: &str, key: SigningKey) -> Result<NoteKey, NoteError> {
        let bad = || NoteError::Key(name.chars().take(80).collect());
        let verifier = VerifierKey::of(ED25519, name, &key).ok_or_else(bad)?;
        Ok(NoteKey { key, verifier })
    }

    /// What checks its notes.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The note of a text, which ends with a line end.
    ///
    /// # Errors
    /// [`KeyError`]: nothing in a text makes this fail.
    pub fn sign(&self, text: &str) -> Result<String, KeyError> {
        let signature = self.key.sign(text.as_bytes())?;
        let signature = STANDARD.encode([self.verifier.id.as_slice(), &signature].concat());
        Ok(format!("{text}\n{MARK}{} {signature}\n", self.verifier.name))
    }
}

impl fmt::Debug for NoteKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NoteKey({} [redacted])", self.verifier)
    }
}

impl VerifierKey {
    fn of(kind: u8, name: &str, key: &SigningKey) -> Option<VerifierKey> {
        let public = key.public().filter(|key| key.algorithm() == Algorithm::EdDsa)?;
        let raw = public.to_spki_der().strip_prefix(&SPKI)?;
        VerifierKey::new(kind, name, raw.try_into().ok()?)
    }

    fn new(kind: u8, name: &str, raw: [u8; 32]) -> Option<VerifierKey> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        if name.is_empty() || name.len() > 255 || !name.chars().all(plain) {
            return None;
        }
        let key = PublicKey::from_spki_der_as(Algorithm::EdDsa, &[SPKI.as_slice(), &raw].concat()).ok()?;
        let digest = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', kind])
            .chain_update(raw)
            .finalize();
        let id = digest.first_chunk().copied()?;
        Some(VerifierKey {
            name: name.to_owned(),
            kind,
            id,
            raw,
            key,
        })
    }

    /// The signer's name; of a log its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of a note that this key signed.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, NoteError> {
        let (text, signature) = self.own(note)?;
        let verified = self.key.verify(text.as_bytes(), &signature);
        verified.map_err(|_| NoteError::Forged(self.name.clone()))?;
        Ok(text)
    }

    /// A note's text, and what stands behind the key's id in its signature, which is not verified.
    fn own<'n>(&self, note: &'n str) -> Result<(&'n str, Vec<u8>), NoteError> {
        let (text, signatures) = split(note)?;
        let mut own = signatures.filter(|(name, signature)| *name == self.name && signature.starts_with(&self.id));
        let (_, mut signature) = own.next().ok_or_else(|| NoteError::Unsigned(self.name.clone()))?;
        Ok((text, signature.split_off(self.id.len())))
    }

    fn parse(kind: u8, text: &str) -> Option<VerifierKey> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let key = STANDARD.decode(key).ok()?;
        let raw = key.strip_prefix(&[kind])?.try_into().ok()?;
        let verifier = VerifierKey::new(kind, name, raw)?;
        (from_hex(id)? == verifier.id).then_some(verifier)
    }

    /// The checkpoint in a note of this log.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn checkpoint(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let checkpoint: Checkpoint = self.open(note)?.parse()?;
        if checkpoint.origin == self.name {
            Ok(checkpoint)
        } else {
            Err(NoteError::Origin {
                found: checkpoint.origin,
                expected: self.name.clone(),
            })
        }
    }
}

impl PartialEq for VerifierKey {
    fn eq(&self, other: &VerifierKey) -> bool {
        (&self.name, self.kind, self.raw) == (&other.name, other.kind, other.raw)
    }
}

impl Eq for VerifierKey {}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<VerifierKey, NoteError> {
        VerifierKey::parse(ED25519, text).ok_or_else(|| NoteError::Key(text.chars().take(80).collect()))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([[self.kind].as_slice(), &self.raw].concat());
        write!(out, "{}+{}+{key}", self.name, hex(&self.id))
    }
}

impl FromStr for Checkpoint {
    type Err = NoteError;

    /// Of a note's text. Lines behind the third are extensions, which say nothing here.
    fn from_str(text: &str) -> Result<Checkpoint, NoteError> {
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or(NoteError::Checkpoint);
        let (origin, size, root) = (line()?, line()?, line()?);
        let number: u64 = size.parse().map_err(|_| NoteError::Checkpoint)?;
        let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok());
        // One text a number: no sign, no zeros in front.
        if origin.is_empty() || number.to_string() != size {
            return Err(NoteError::Checkpoint);
        }
        Ok(Checkpoint {
            origin: origin.to_owned(),
            size: number,
            root: root.ok_or(NoteError::Checkpoint)?,
        })
    }
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}\n{}\n{}", self.origin, self.size, STANDARD.encode(self.root))
    }
}

/// Adds the signatures that another note of the same text has more, while there is room. Verifies nothing.
pub fn merge(note: &mut String, other: &str) {
    let (Some((text, _)), Some((same, signatures))) = (note.rsplit_once("\n\n"), other.rsplit_once("\n\n")) else {
        return;
    };
    if text != same {
        return;
    }
    for line in signatures.lines() {
        let room = note.len().saturating_add(line.len()) < MAX_NOTE;
        if room && note.lines().all(|known| known != line) {
            note.push_str(line);
            note.push('\n');
        }
    }
}

/// A note's text, and its signatures by name; key id and signature together.
fn split(note: &str) -> Result<(&str, impl Iterator<Item = (&str, Vec<u8>)>), NoteError> {
    let at = note.rfind("\n\n").ok_or(NoteError::Note)?;
    let (text, signatures) = note.split_at(at.saturating_add(1));
    let signatures = signatures.strip_prefix('\n').ok_or(NoteError::Note)?;
    let controls = note.chars().any(|c| c.is_control() && c != '\n');
    if note.len() > MAX_NOTE || controls || !signatures.ends_with('\n') {
        return Err(NoteError::Note);
    }
    let parse = |line| -> Option<(&str, Vec<u8>)> {
        let (name, signature) = str::strip_prefix(line, MARK)?.split_once(' ')?;
        let signature = STANDARD.decode(signature).ok()?;
        (!name.is_empty() && signature.len() > 4).then_some((name, signature))
    };
    let signatures: Option<Vec<_>> = signatures.lines().map(parse).collect();
    Ok((text, signatures.ok_or(NoteError::Note)?.into_iter()))
}

#[cfg(test)]
pub(crate) mod tests {
    use signing::key::Secret;

    use super::*;

    pub(crate) fn key(name: &str) -> NoteKey {
        NoteKey::new(name, SigningKey::generate(Algorithm::EdDsa).unwrap()).unwrap()
    }

    /// The example of the note format's first implementation (golang.org/x/mod/sumdb/note).
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn another_implementation_s_note_verifies() {
        let peter: VerifierKey = PETER.parse().unwrap();
        assert_eq!(peter.to_string(), PETER);
        assert!(peter.open(NOTE).unwrap().starts_with("If you think"));
        let forged = NOTE.replace("answer", "cause");
        assert_eq!(peter.open(&forged), Err(NoteError::Forged("PeterNeumann".into())));
    }

    #[test]
    fn a_checkpoint_is_signed_and_read() {
        let log = key("example.org/audit");
        let checkpoint = Checkpoint {
            origin: "example.org/audit".into(),
            size: 7,
            root: [3; 32],
        };
        let note = log.sign(&checkpoint.to_string()).unwrap();
        assert_eq!(log.verifier().checkpoint(&note), Ok(checkpoint.clone()));
        let vkey: VerifierKey = log.verifier().to_string().parse().unwrap();
        assert_eq!(vkey.checkpoint(&note), Ok(checkpoint.clone()));
        let other = key("example.org/audit");
        assert_eq!(
            other.verifier().checkpoint(&note),
            Err(NoteError::Unsigned("example.org/audit".into()))
        );
        let foreign = key("other.org/audit").sign(&checkpoint.to_string()).unwrap();
        let both = format!("{note}{}", foreign.rsplit_once("\n\n").unwrap().1);
        assert_eq!(
            vkey.checkpoint(&both),
            Ok(checkpoint.clone()),
            "further signatures do no harm"
        );
        let mut merged = note.clone();
        for other in [
            both.as_str(),
            &both,
            &key("other.org/audit").sign("another\n").unwrap(),
            "no note",
        ] {
            merge(&mut merged, other);
        }
        assert_eq!(merged, both, "each signature once, and of the same text alone");
    }

    #[test]
    fn what_is_no_note_no_key_or_no_checkpoint_is_refused() {
        let log = key("l");
        for text in [
            "l\n07\nAAAA\n",
            "l\n+7\nAAAA\n",
            "l\n7\n",
            "l\n7\nAAAA\n",
            "\n7\nAAAA\n",
        ] {
            let note = log.sign(text).unwrap();
            assert_eq!(log.verifier().checkpoint(&note), Err(NoteError::Checkpoint), "{text}");
        }
        let note = log.sign("text\n").unwrap();
        for bad in [
            note.trim_end(),
            "text\n",
            "",
            &note.replace("text", "te\u{7}t"),
            &note.replace('\u{2014}', "-"),
        ] {
            assert_eq!(log.verifier().open(bad), Err(NoteError::Note), "{bad}");
        }
        let long = log.sign(&format!("{}\n", "x".repeat(MAX_NOTE))).unwrap();
        assert_eq!(log.verifier().open(&long), Err(NoteError::Note));
        for bad in [
            "",
            "a+b",
            "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "l+00+AA==",
        ] {
            assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
        }
        let p256 = SigningKey::generate(Algorithm::Es256).unwrap();
        assert!(NoteKey::new("l", p256).is_err());
        let pair = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let again = SigningKey::import(Algorithm::EdDsa, &Secret::new(pair.export().unwrap().expose().to_vec()));
        assert!(NoteKey::new("a name", again.unwrap()).is_err());
    }
}
