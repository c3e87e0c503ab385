//! What the reserved tags say about a new key.

use std::collections::BTreeMap;

use crate::crypto::{KeySpec, KeyUsage};
use crate::keys::tag::{CONTACT, LEASE, OWNER, RESERVED};
use crate::keys::{Custody, Delegation, Family, KmsError, KmsErrorType};
use crate::names::shown;

const CUSTODY: &str = "signet:custody";

/// A combination that makes sense.
pub(super) struct Choice {
    pub(super) family: Family,
    pub(super) delegation: Delegation,
    pub(super) custody: Custody,
}

impl Choice {
    /// `default` is the tenant's custody for keys that say nothing of it.
    pub(super) fn read(
        tags: &BTreeMap<String, String>,
        spec: KeySpec,
        usage: KeyUsage,
        default: Custody,
    ) -> Result<Self, KmsError> {
        let known = ["signet:family", "signet:delegation", CUSTODY, LEASE, OWNER, CONTACT];
        if let Some(name) = tags
            .keys()
            .find(|name| name.starts_with(RESERVED) && !known.contains(&name.as_str()))
        {
            return Err(KmsErrorType::Tag.because(format!("unknown reserved tag `{}`", shown(name))));
        }
        let families = [Family::Raw, Family::Token, Family::Artifact];
        let delegations = [Delegation::None, Delegation::Own, Delegation::Shared];
        let custodies = [Custody::Wrapped, Custody::Token];
        let delegation = pick(tags, "signet:delegation", &delegations, Delegation::as_str)?;
        let choice = Self {
            family: pick(tags, "signet:family", &families, Family::as_str)?,
            delegation,
            custody: match delegation {
                Delegation::None if !tags.contains_key(CUSTODY) => default,
                _ => pick(tags, CUSTODY, &custodies, Custody::as_str)?,
            },
        };
        if let Some(lease) = tags.get(LEASE) {
            if choice.family == Family::Raw {
                let why = "a key of family `raw` is not leased: leave `signet:lease` out";
                return Err(KmsErrorType::Validation.because(why));
            }
            if crate::keys::lease::parse(lease).is_none() {
                let why = format!(
                    "the tag `{LEASE}` is a whole number and s, m or h, from 5s to 1h, not `{}`",
                    shown(lease)
                );
                return Err(KmsErrorType::Validation.because(why));
            }
        }
        if choice.family != Family::Raw && !tags.contains_key("signet:delegation") {
            let why = "say who signs with a key of family `token` or `artifact`: set `signet:delegation` to `own` or `shared` \
                       (edges), or `none` (the authority)";
            return Err(KmsErrorType::Validation.because(why));
        }
        match choice.refusal(spec, usage) {
            Some(why) => Err(KmsErrorType::Validation.because(why)),
            None => Ok(choice),
        }
    }

    /// Why this combination cannot be; none when it can.
    fn refusal(&self, spec: KeySpec, usage: KeyUsage) -> Option<&'static str> {
        match (self.family, self.delegation) {
            (Family::Raw, Delegation::Own | Delegation::Shared) => {
                return Some(
                    "a key of family `raw` signs at the authority only: leave `signet:delegation` out, or choose another family",
                );
            }
            (Family::Token | Family::Artifact, _) if !signs_at_edges(spec, usage) => {
                return Some(
                    "edges sign with ECC_NIST_P256, ECC_NIST_P384, ECC_NIST_EDWARDS25519 and HMAC_256: choose one, or family `raw`",
                );
            }
            _ => {}
        }
        if self.delegation == Delegation::Own && !spec.is_asymmetric() {
            return Some("a secret has no certificate: set `signet:delegation` to `shared`");
        }
        if self.family != Family::Raw && self.delegation == Delegation::None && !spec.is_asymmetric() {
            return Some("who verifies with a secret holds it, edges among them: set `signet:delegation` to `shared`");
        }
        match (self.custody, self.delegation) {
            (Custody::Token, Delegation::Shared) => Some(
                "a shared key is handed to edges, so it cannot stay in the HSM: leave `signet:custody` out, or delegate `own`",
            ),
            (Custody::Token, Delegation::None) if !stays_in_hsm(spec, usage) => Some(
                "the HSM keeps SYMMETRIC_DEFAULT and HMAC keys, and ECC_NIST_P256 and ECC_NIST_P384 keys that sign: set `signet:custody` to `wrapped`",
            ),
            // With `own`, what has custody `token` is the key's CA: always.
            _ => None,
        }
    }
}

fn signs_at_edges(spec: KeySpec, usage: KeyUsage) -> bool {
    match spec {
        KeySpec::EccNistP256 | KeySpec::EccNistP384 | KeySpec::EccNistEdwards25519 => usage == KeyUsage::SignVerify,
        KeySpec::Hmac256 => true,
        _ => false,
    }
}

fn stays_in_hsm(spec: KeySpec, usage: KeyUsage) -> bool {
    match spec {
        KeySpec::SymmetricDefault | KeySpec::Hmac224 | KeySpec::Hmac256 | KeySpec::Hmac384 | KeySpec::Hmac512 => true,
        KeySpec::EccNistP256 | KeySpec::EccNistP384 => usage == KeyUsage::SignVerify,
        _ => false,
    }
}

/// The tag's value among `choices`, of which the first is the default.
fn pick<T: Copy>(
    tags: &BTreeMap<String, String>,
    name: &str,
    choices: &[T],
    word: fn(T) -> &'static str,
) -> Result<T, KmsError> {
    let wanted = tags.get(name).map(String::as_str);
    let found = choices
        .iter()
        .copied()
        .find(|choice| wanted.is_none_or(|wanted| word(*choice) == wanted));
    found.ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|choice| word(*choice)).collect();
        KmsErrorType::Validation.because(format!("the tag `{name}` is one of {}", words.join(", ")))
    })
}
