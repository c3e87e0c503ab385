//! The revocation list: what verifiers are to refuse although its time has not come, signed, and good for minutes.
//!
//! A JWS in compact form. Its header has the chain of its signer (`x5c`), a delegation like any other but of a key that no
//! logical key can be, with the one format `revocations` in its scope. So whoever knows the delegation root can check the
//! list, and nobody who has another delegation can make one. `docs/reference/revocation.md` has the form.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::delegation::{DelegationError, VerifiedDelegation, verify_chain};
use crate::encoding::{base64url, from_base64url};
use crate::key::{KeyError, SigningKey};

/// The key that signers of revocation lists are named after: logical keys are version 4 UUIDs.
pub const SIGNER_KEY: &str = "00000000-0000-0000-0000-000000000000";
/// The tenant in their name: no tenant of an authority.
pub const SIGNER_TENANT: &str = "000000000000";
/// The format in their scope.
pub const FORMAT: &str = "revocations";
/// `typ`
const TYPE: &str = "signet-revocations+jwt";
/// The longest list, bytes; entries of each kind.
pub const MAX_LEN: usize = 4 << 20;
const MAX_ENTRIES: usize = 50_000;
/// The longest that a list may be good for, seconds; how far a verifier's clock may be behind.
const MAX_LIFETIME: u64 = 3_600;
const LEEWAY: u64 = 60;
/// A delegation's first second is so long before it was issued.
const BACKDATED: u64 = 60;

/// What to refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationList {
    /// The authority's name: `signet://TRUST-DOMAIN`.
    pub iss: String,
    /// When it was made, Unix seconds.
    pub iat: u64,
    /// When another must be had, Unix seconds.
    pub exp: u64,
    /// The authority's state that it shows.
    pub revision: u64,
    /// Compromised keys by `kid`: nothing that they signed counts, whenever it was.
    pub kids: Vec<String>,
    /// Delegations that count no more.
    pub delegations: Vec<Rule>,
}

/// Delegations that count no more: those that were issued up to a time, of a key, of an edge, or of a key to an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The logical key's id; absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The edge's id; absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<String>,
    /// Unix seconds.
    pub issued_until: u64,
}

/// Why a list is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// It does not read.
    #[error("the revocation list is malformed: {0}")]
    Malformed(&'static str),
    /// Its signer has no delegation that counts.
    #[error("the revocation list's signer: {0}")]
    Signer(#[from] DelegationError),
    /// Its signer has a delegation for something else.
    #[error("the revocation list was signed by a key that is not for revocation lists")]
    Purpose,
    /// Not signed by its signer.
    #[error("the revocation list's signature does not verify")]
    Signature,
    /// Made in the future, or good for too long.
    #[error("the revocation list's times cannot be")]
    Times,
    /// Another must be had.
    #[error("the revocation list has expired; fetch another")]
    Expired,
}

#[derive(Deserialize, Serialize)]
struct Header {
    alg: String,
    typ: String,
    x5c: Vec<String>,
}

impl RevocationList {
    /// Whether nothing that this key signed counts.
    pub fn refuses_kid(&self, kid: &str) -> bool {
        self.kids.iter().any(|refused| refused == kid)
    }

    /// Whether a delegation counts no more.
    pub fn refuses(&self, delegation: &VerifiedDelegation) -> bool {
        let issued = delegation.not_before.saturating_add(BACKDATED);
        let is = |named: &Option<String>, name: &str| named.as_deref().is_none_or(|named| named == name);
        self.refuses_kid(delegation.public_key.thumbprint())
            || self.delegations.iter().any(|rule| {
                is(&rule.key, &delegation.name.key)
                    && is(&rule.edge, &delegation.name.edge)
                    && issued <= rule.issued_until
            })
    }

    /// Signs the list with an ES256 key whose chain (DER, leaf first) is a delegation for that.
    ///
    /// # Errors
    /// [`KeyError`] when the key cannot sign.
    pub fn sign(&self, key: &SigningKey, chain: &[Vec<u8>]) -> Result<String, KeyError> {
        let header = Header {
            alg: key.algorithm().as_str().to_owned(),
            typ: TYPE.to_owned(),
            x5c: chain.iter().map(|der| BASE64_STANDARD.encode(der)).collect(),
        };
        let part = |value: Result<Vec<u8>, serde_json::Error>| base64url(&value.unwrap_or_default());
        let mut text = part(serde_json::to_vec(&header));
        text.push('.');
        text.push_str(&part(serde_json::to_vec(self)));
        let signature = key.sign(text.as_bytes())?;
        text.push('.');
        text.push_str(&base64url(&signature));
        Ok(text)
    }

    /// Reads a list that one of these delegation roots (DER) stands behind, as of `now` (Unix seconds).
    ///
    /// # Errors
    /// [`RevocationError`].
    pub fn verify(jws: &str, roots: &[impl AsRef<[u8]>], now: u64) -> Result<Self, RevocationError> {
        let jws = jws.trim_ascii();
        let malformed = RevocationError::Malformed;
        if jws.len() > MAX_LEN {
            return Err(malformed("it is too long"));
        }
        let three = || malformed("it must be three base64url parts with dots between");
        let (signed, signature) = jws.rsplit_once('.').ok_or_else(three)?;
        let (header, payload) = signed.split_once('.').ok_or_else(three)?;
        let read = |part: &str| from_base64url(part).ok_or_else(three);
        let header: Header = serde_json::from_slice(&read(header)?).map_err(|_| malformed("its header"))?;
        if header.typ != TYPE {
            return Err(malformed("it is of another type"));
        }
        let der = |text: &String| BASE64_STANDARD.decode(text).map_err(|_| malformed("its chain"));
        let chain = header.x5c.iter().map(der).collect::<Result<Vec<_>, _>>()?;
        let signer = verify_chain(&chain, roots, now)?;
        let is_for_lists = signer.name.key == SIGNER_KEY
            && signer.name.tenant == SIGNER_TENANT
            && signer.scope.formats.iter().any(|format| format == FORMAT);
        if !is_for_lists {
            return Err(RevocationError::Purpose);
        }
        // The key says the algorithm; what the header says must be the same (R1).
        if header.alg != signer.public_key.algorithm().as_str() {
            return Err(RevocationError::Signature);
        }
        let verified = signer.public_key.verify(signed.as_bytes(), &read(signature)?);
        verified.map_err(|_| RevocationError::Signature)?;
        let list: Self = serde_json::from_slice(&read(payload)?).map_err(|_| malformed("its content"))?;
        if list.iss != format!("signet://{}", signer.name.trust_domain) {
            return Err(malformed("it is of another authority"));
        }
        if list.kids.len() > MAX_ENTRIES || list.delegations.len() > MAX_ENTRIES {
            return Err(malformed("it has too many entries"));
        }
        if list.iat > now.saturating_add(LEEWAY) || list.exp.saturating_sub(list.iat) > MAX_LIFETIME {
            return Err(RevocationError::Times);
        }
        if list.exp <= now {
            return Err(RevocationError::Expired);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests;
