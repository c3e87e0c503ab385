//! Secrets sealed under the token's sealing master: AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D section 8.2.2).
//!
//! A blob is a format byte, the nonce, the ciphertext and the 128-bit tag.

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;

use super::super::protocol::Sensitive;
use super::super::{HsmErrorKind, MAX_ASSOCIATED_LEN, MAX_SECRET_LEN};
use super::Connected;
use super::failure::Failure;
use super::objects::Master;

const FORMAT: u8 = 1;
const NONCE_LEN: usize = 12;
const TAG_BITS: u64 = 128;
const PROBE: &[u8] = b"signet sealing probe";

impl Connected {
    /// Seals `plaintext` with `associated`.
    pub(super) fn seal(&mut self, plaintext: &[u8], associated: &[u8]) -> Result<Vec<u8>, Failure> {
        if plaintext.is_empty() || plaintext.len() > MAX_SECRET_LEN || associated.len() > MAX_ASSOCIATED_LEN {
            let detail =
                format!("sealing takes 1 to {MAX_SECRET_LEN} bytes with at most {MAX_ASSOCIATED_LEN} associated");
            return Err(HsmErrorKind::BadRequest.because(detail).into());
        }
        let master = self.master(Master::Sealing)?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce)
            .map_err(|_| HsmErrorKind::Token.because("this machine's random source failed"))?;
        let mut blob = vec![FORMAT];
        blob.extend_from_slice(&nonce);
        let params = GcmParams::new(&mut nonce, associated, TAG_BITS.into())?;
        blob.extend(self.session.encrypt(&Mechanism::AesGcm(params), master, plaintext)?);
        Ok(blob)
    }

    /// Opens a blob; `Tampered` when it, or `associated`, is not what was sealed.
    pub(super) fn unseal(&mut self, blob: &[u8], associated: &[u8]) -> Result<Sensitive, Failure> {
        let tampered = || Failure::from(HsmErrorKind::Tampered.because("it was not sealed here, or for another row"));
        let (format, rest) = blob.split_first().ok_or_else(tampered)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(tampered)?;
        if *format != FORMAT
            || ciphertext.len() > MAX_SECRET_LEN.saturating_add(16)
            || associated.len() > MAX_ASSOCIATED_LEN
        {
            return Err(tampered());
        }
        match self.decrypt(*nonce, ciphertext, associated) {
            Ok(plaintext) => Ok(Sensitive(plaintext)),
            Err(Failure::Code(Error::Pkcs11(code, _))) if self.blames_blob(code) => Err(tampered()),
            Err(failure) => Err(failure),
        }
    }

    /// Whether a failed decryption or unwrapping is the blob's fault. SoftHSM2 answers CKR_GENERAL_ERROR for a wrong tag, which
    /// also means a broken token: then a sealing that must succeed decides.
    pub(super) fn blames_blob(&mut self, code: RvError) -> bool {
        match code {
            RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::WrappedKeyInvalid
            | RvError::WrappedKeyLenRange
            | RvError::DataInvalid
            | RvError::DataLenRange
            | RvError::ArgumentsBad
            | RvError::SignatureInvalid => true,
            RvError::GeneralError | RvError::FunctionFailed | RvError::DeviceError => {
                self.sealing_works().unwrap_or(false)
            }
            _ => false,
        }
    }

    fn sealing_works(&mut self) -> Result<bool, Failure> {
        let blob = self.seal(PROBE, b"")?;
        let Some((nonce, ciphertext)) = blob.get(1..).unwrap_or_default().split_first_chunk::<NONCE_LEN>() else {
            return Ok(false);
        };
        self.decrypt(*nonce, ciphertext, b"").map(|opened| opened == PROBE)
    }

    fn decrypt(
        &mut self,
        mut nonce: [u8; NONCE_LEN],
        ciphertext: &[u8],
        associated: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        let master = self.master(Master::Sealing)?;
        let params = GcmParams::new(&mut nonce, associated, TAG_BITS.into())?;
        Ok(self.session.decrypt(&Mechanism::AesGcm(params), master, ciphertext)?)
    }
}
