//! Cosignatures (c2sp.org/tlog-cosignature, `cosignature/v1` with Ed25519): a witness says that at a time the checkpoint was
//! the largest that it had seen of a log, and that it grew from every one before.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signing::encoding::hex;
use signing::key::{KeyError, SigningKey};

use super::{Checkpoint, MARK, NoteError, VerifierKey};

/// The signature type of an Ed25519 cosigner in a verifier key.
const COSIGNATURE: u8 = 4;

/// A witness's name and its Ed25519 key.
pub struct Cosigner {
    key: SigningKey,
    verifier: WitnessKey,
}

/// What checks the cosignatures of one witness. Its text is `NAME+HEX(key id)+BASE64(type ‖ key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessKey(VerifierKey);

impl Cosigner {
    /// A witness. `key` must be Ed25519; the name has neither spaces nor `+`.
    ///
    /// # Errors
    /// [`NoteError::Witness`].
    pub fn new(name: &str, key: SigningKey) -> Result<Cosigner, NoteError> {
        let verifier = VerifierKey::of(COSIGNATURE, name, &key).map(WitnessKey);
        let verifier = verifier.ok_or_else(|| NoteError::Witness(name.chars().take(80).collect()))?;
        Ok(Cosigner { key, verifier })
    }

    /// What checks its cosignatures.
    pub fn verifier(&self) -> &WitnessKey {
        &self.verifier
    }

    /// The line that goes under the note with this text; `now` in Unix seconds.
    ///
    /// # Errors
    /// [`KeyError`]: nothing in a text makes this fail.
    pub fn cosign(&self, text: &str, now: u64) -> Result<String, KeyError> {
        let signature = self.key.sign(message(text, now).as_bytes())?;
        let WitnessKey(verifier) = &self.verifier;
        let signature = STANDARD.encode([verifier.id.as_slice(), &now.to_be_bytes(), &signature].concat());
        Ok(format!("{MARK}{} {signature}\n", verifier.name))
    }
}

impl fmt::Debug for Cosigner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Cosigner({} [redacted])", self.verifier)
    }
}

impl WitnessKey {
    /// The witness's name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Eight hexadecimal digits, by which cosignatures and files name the key.
    pub fn id(&self) -> String {
        hex(&self.0.id)
    }

    /// The text of a note that this witness cosigned, and when: Unix seconds.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open<'n>(&self, note: &'n str) -> Result<(&'n str, u64), NoteError> {
        let (text, signature) = self.0.own(note)?;
        let forged = || NoteError::Forged(self.0.name.clone());
        let (time, signature) = signature.split_first_chunk::<8>().ok_or_else(forged)?;
        let time = u64::from_be_bytes(*time);
        let verified = self.0.key.verify(message(text, time).as_bytes(), signature);
        verified.map_err(|_| forged())?;
        Ok((text, time))
    }

    /// The checkpoint in a note that this log signed and this witness cosigned, and when it did: Unix seconds.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn checkpoint(&self, log: &VerifierKey, note: &str) -> Result<(Checkpoint, u64), NoteError> {
        let (_, time) = self.open(note)?;
        Ok((log.checkpoint(note)?, time))
    }
}

impl FromStr for WitnessKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<WitnessKey, NoteError> {
        let key = VerifierKey::parse(COSIGNATURE, text).map(WitnessKey);
        key.ok_or_else(|| NoteError::Witness(text.chars().take(80).collect()))
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What is signed.
fn message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

#[cfg(test)]
pub(crate) mod tests {
    use signing::algorithm::Algorithm;

    use super::super::tests::key;
    use super::*;

    pub(crate) fn cosigner(name: &str) -> Cosigner {
        Cosigner::new(name, SigningKey::generate(Algorithm::EdDsa).unwrap()).unwrap()
    }

    #[test]
    fn a_cosignature_says_who_and_when_and_stands_beside_the_log_s_signature() {
        let (log, witness) = (key("example.org/audit"), cosigner("w.example/1"));
        let checkpoint = Checkpoint {
            origin: "example.org/audit".into(),
            size: 7,
            root: [3; 32],
        };
        let note = log.sign(&checkpoint.to_string()).unwrap();
        let line = witness.cosign(&checkpoint.to_string(), 1_679_315_147).unwrap();
        let cosigned = format!("{note}{line}");
        let known: WitnessKey = witness.verifier().to_string().parse().unwrap();
        assert_eq!(
            known.checkpoint(log.verifier(), &cosigned),
            Ok((checkpoint.clone(), 1_679_315_147))
        );
        assert_eq!(log.verifier().checkpoint(&cosigned), Ok(checkpoint));
        assert_eq!(known.open(&note), Err(NoteError::Unsigned("w.example/1".into())));
        let forged = cosigned.replacen("\n7\n", "\n8\n", 1);
        assert_eq!(known.open(&forged), Err(NoteError::Forged("w.example/1".into())));
        let other = cosigner("w.example/1");
        assert!(other.verifier().open(&cosigned).is_err());
    }

    #[test]
    fn the_time_is_signed_too() {
        let witness = cosigner("w");
        let line = witness.cosign("text\n", 5).unwrap();
        let signature = line.trim_end().rsplit_once(' ').unwrap().1;
        let mut bytes = STANDARD.decode(signature).unwrap();
        assert_eq!(
            (bytes.len(), &bytes[4..12]),
            (4 + 8 + 64, 5_u64.to_be_bytes().as_slice())
        );
        bytes[11] = 6;
        let moved = format!("text\n\n{MARK}w {}\n", STANDARD.encode(&bytes));
        assert_eq!(witness.verifier().open(&moved), Err(NoteError::Forged("w".into())));
        bytes.truncate(10);
        let short = format!("text\n\n{MARK}w {}\n", STANDARD.encode(&bytes));
        assert_eq!(witness.verifier().open(&short), Err(NoteError::Forged("w".into())));
    }

    #[test]
    fn a_log_s_key_is_no_witness_s_and_the_other_way_round() {
        let (log, witness) = (key("l").verifier().to_string(), cosigner("w").verifier().to_string());
        assert!(matches!(log.parse::<WitnessKey>(), Err(NoteError::Witness(_))));
        assert!(matches!(witness.parse::<VerifierKey>(), Err(NoteError::Key(_))));
        assert!(Cosigner::new("w", SigningKey::generate(Algorithm::Es256).unwrap()).is_err());
        assert!(Cosigner::new("a name", SigningKey::generate(Algorithm::EdDsa).unwrap()).is_err());
    }
}
