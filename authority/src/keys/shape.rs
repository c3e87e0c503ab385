//! How a key looks from outside: KMS's `KeyMetadata`, and the names of specs, usages and algorithms.

use serde_json::{Map, Value, json};
use signing::algorithm::Algorithm;

use super::{Delegation, KeyRecord, Keys, State};

/// KMS's `KeySpec` of an algorithm; none for those no key is made of.
pub(super) fn spec(algorithm: Algorithm) -> Option<&'static str> {
    match algorithm {
        Algorithm::EdDsa => Some("ECC_NIST_EDWARDS25519"),
        Algorithm::Es256 => Some("ECC_NIST_P256"),
        Algorithm::Es384 => Some("ECC_NIST_P384"),
        Algorithm::Hs256 => Some("HMAC_256"),
        Algorithm::Rs256 | Algorithm::Ps256 => None,
    }
}

/// The algorithm of a `KeySpec`.
pub(super) fn algorithm(spec_name: &str) -> Option<Algorithm> {
    Algorithm::ALL
        .into_iter()
        .find(|algorithm| spec(*algorithm) == Some(spec_name))
}

/// KMS's `KeyUsage`.
pub(super) fn usage(algorithm: Algorithm) -> &'static str {
    if algorithm.is_symmetric() {
        "GENERATE_VERIFY_MAC"
    } else {
        "SIGN_VERIFY"
    }
}

/// KMS's name of what the key signs with. cosign takes the first of the list, so there is only one.
pub(super) fn signing_algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::EdDsa => "ED25519_SHA_512",
        Algorithm::Es384 => "ECDSA_SHA_384",
        Algorithm::Hs256 => "HMAC_SHA_256",
        Algorithm::Es256 | Algorithm::Rs256 | Algorithm::Ps256 => "ECDSA_SHA_256",
    }
}

impl Keys {
    /// `KeyMetadata`, and under `Signet` what KMS has no words for.
    pub(super) fn metadata(&self, key: &KeyRecord) -> Value {
        let mut shape = Map::new();
        let mut set = |name: &str, value: Value| shape.insert(name.to_owned(), value);
        set("AWSAccountId", json!(key.tenant));
        set("KeyId", json!(key.id));
        set("Arn", json!(self.arn(key)));
        set("CreationDate", json!(key.created_at));
        set("Enabled", json!(key.is_enabled()));
        set("Description", json!(key.description));
        set("KeyUsage", json!(usage(key.algorithm)));
        set("Origin", json!("AWS_KMS"));
        set("KeyManager", json!("CUSTOMER"));
        set("CustomerMasterKeySpec", json!(spec(key.algorithm)));
        set("KeySpec", json!(spec(key.algorithm)));
        set("MultiRegion", json!(false));
        let algorithms = if key.algorithm.is_symmetric() {
            "MacAlgorithms"
        } else {
            "SigningAlgorithms"
        };
        set(algorithms, json!([signing_algorithm(key.algorithm)]));
        match key.state {
            State::Enabled => set("KeyState", json!("Enabled")),
            State::Disabled => set("KeyState", json!("Disabled")),
            State::PendingDeletion { at, .. } => {
                set("DeletionDate", json!(at));
                set("KeyState", json!("PendingDeletion"))
            }
        };
        set("Signet", self.extras(key));
        Value::Object(shape)
    }

    fn extras(&self, key: &KeyRecord) -> Value {
        let now = self.clock.now();
        let versions: Vec<Value> = key
            .versions
            .iter()
            .filter(|version| !version.kid.is_empty())
            .map(|version| {
                json!({
                    "Kid": version.kid,
                    "State": version_state(version, now),
                    "PublishAt": version.publish_at,
                    "SignFrom": version.sign_from,
                    "SignUntil": version.sign_until,
                    "RetireAt": version.retire_at,
                })
            })
            .collect();
        json!({
            "Algorithm": key.algorithm,
            "Family": key.family.as_str(),
            "Delegation": key.delegation.as_str(),
            "Custody": key.custody.as_str(),
            "Aliases": key.aliases,
            "Versions": versions,
            "StopsWhen": stops_when(key),
        })
    }
}

fn version_state(version: &crate::rotation::Version, now: u64) -> &'static str {
    if version.compromised {
        "Compromised"
    } else if version.signs(now) {
        "Signing"
    } else if version.is_standby(now) {
        "Standby"
    } else {
        "Retiring"
    }
}

/// What ends the trust in a stolen key, by who verifies (design, section 5).
fn stops_when(key: &KeyRecord) -> &'static str {
    match (key.delegation, key.algorithm.is_symmetric()) {
        (Delegation::None, _) => "it is disabled: only the authority holds it",
        (Delegation::Own, _) => "the edge's certificate ends, for verifiers that check the chain",
        (Delegation::Shared, false) => {
            "it leaves the JWKS and verifiers' caches of it expire; a verifier that knows the key alone must drop it"
        }
        (Delegation::Shared, true) => "every verifier that holds the secret drops it",
    }
}
