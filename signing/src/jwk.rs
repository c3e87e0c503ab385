//! JSON Web Keys, key sets and thumbprints (RFC 7517, RFC 7518 section 6, RFC 8037, RFC 7638).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::digest::sha256;
use crate::encoding::{base64url, from_base64url};
use crate::key::{Family, KeyError, PublicKey, Raw, TrustedKey};

/// The most keys a set may hold.
pub const MAX_KEYS: usize = 100;
/// The largest key set, in bytes of JSON.
pub const MAX_SET_LEN: usize = 256 * 1024;

/// A JSON Web Key as it is written; [`PublicKey::from_jwk`] decides whether it is usable.
///
/// Members not listed here are ignored when reading and never written, certificates (`x5c`, `x5u`) and URLs among
/// them: nothing in a key causes a fetch (R3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Key type: `EC`, `OKP` or `RSA`; `oct` is refused.
    pub kty: String,
    /// Curve: `P-256`, `P-384` or `Ed25519`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// Coordinate, or the Ed25519 key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Coordinate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// RSA modulus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// RSA exponent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// Algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// Key id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// `sig`.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// What the key may do; `verify` must be among them where present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_ops: Option<Vec<String>>,
    /// The private part, read only to refuse it.
    #[serde(default, skip_serializing)]
    d: Option<Private>,
}

/// Holds nothing of what was there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "serde::de::IgnoredAny")]
struct Private;

impl From<serde::de::IgnoredAny> for Private {
    fn from(_: serde::de::IgnoredAny) -> Self {
        Self
    }
}

impl Jwk {
    /// Reads one JWK, at most 16 KiB. Duplicate members are refused.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for anything that is not a JWK object.
    pub fn from_json(json: &[u8]) -> Result<Self, KeyError> {
        let malformed = KeyError::Unsupported("not a JWK: expected a JSON object with `kty` and texts");
        if json.len() > 16 * 1024 {
            return Err(malformed);
        }
        let value = crate::json::parse(json, 8).map_err(|_| malformed.clone())?;
        serde_json::from_value(value).map_err(|_| malformed)
    }

    /// The JWK as JSON, members in a fixed order.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The JWK of a public key: `kid` its thumbprint, `alg` always present, `use` = `sig`.
    pub fn from_public(key: &PublicKey) -> Self {
        let mut jwk = Self {
            alg: Some(key.algorithm().as_str().to_owned()),
            kid: Some(key.thumbprint().to_owned()),
            usage: Some("sig".to_owned()),
            ..Self::default()
        };
        for (name, value) in required_members(key.algorithm(), key.raw()) {
            match name {
                "kty" => jwk.kty = value,
                "crv" => jwk.crv = Some(value),
                "x" => jwk.x = Some(value),
                "y" => jwk.y = Some(value),
                "n" => jwk.n = Some(value),
                _ => jwk.e = Some(value),
            }
        }
        jwk
    }
}

/// A set of keys (RFC 7517 section 5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Jwks {
    /// The keys, in the order they stand.
    pub keys: Vec<Jwk>,
}

/// Why a key set was not read or not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// Not a key set at all.
    #[error("not a JSON Web Key Set: {0}")]
    Malformed(String),
    /// Too many keys or bytes.
    #[error("a key set has at most 100 keys and 262144 bytes")]
    TooLarge,
    /// Two keys with one id: a `kid` names exactly one key (R3).
    #[error("two keys share the id `{0}`")]
    DuplicateKid(String),
    /// Our fault: a key that must not stand in this issuer's set (R38).
    #[error("the key `{kid}` must not be published for `{issuer}`: {reason}")]
    NotPublishable {
        /// The key.
        kid: String,
        /// The issuer whose set it was to join.
        issuer: String,
        /// Why not.
        reason: &'static str,
    },
}

impl Jwks {
    /// The set one issuer publishes. It may hold that issuer's token keys only: whoever verifies with a key set
    /// ignores chains and scopes, so every key in it speaks for the whole issuer (R38).
    ///
    /// # Errors
    /// [`JwksError::NotPublishable`] for another issuer's key, a key that signs anything but tokens, or a secret;
    /// [`JwksError::DuplicateKid`].
    pub fn publish<'a>(issuer: &str, keys: impl IntoIterator<Item = &'a TrustedKey>) -> Result<Self, JwksError> {
        let mut set = Self::default();
        for key in keys {
            let refuse = |reason| JwksError::NotPublishable {
                kid: key.verifier.kid().to_owned(),
                issuer: issuer.to_owned(),
                reason,
            };
            if key.issuer != issuer {
                return Err(refuse("it belongs to another issuer"));
            }
            if key.family != Family::Token {
                return Err(refuse("it does not sign tokens only"));
            }
            let public = key.verifier.public_key().ok_or_else(|| refuse("it is a secret"))?;
            set.keys.push(Jwk::from_public(public));
        }
        set.check()?;
        Ok(set)
    }

    /// Reads a key set. Entries that are no JWK objects, or of unknown types, are kept out; what remains is still to
    /// be checked one by one with [`PublicKey::from_jwk`].
    ///
    /// # Errors
    /// [`JwksError`] when it is no key set, is too large, or two keys share an id.
    pub fn parse(json: &[u8]) -> Result<Self, JwksError> {
        if json.len() > MAX_SET_LEN {
            return Err(JwksError::TooLarge);
        }
        let mut members =
            crate::json::parse_object(json, 16).map_err(|error| JwksError::Malformed(error.to_string()))?;
        let Some(Value::Array(entries)) = members.remove("keys") else {
            return Err(JwksError::Malformed("the member `keys` must be a list".into()));
        };
        if entries.len() > MAX_KEYS {
            return Err(JwksError::TooLarge);
        }
        let keys = entries
            .into_iter()
            .filter_map(|entry| serde_json::from_value(entry).ok())
            .collect();
        let set = Self { keys };
        set.check()?;
        Ok(set)
    }

    /// The key with exactly this id (R3).
    pub fn find(&self, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.kid.as_deref() == Some(kid))
    }

    fn check(&self) -> Result<(), JwksError> {
        if self.keys.len() > MAX_KEYS {
            return Err(JwksError::TooLarge);
        }
        let mut seen = std::collections::BTreeSet::new();
        for kid in self.keys.iter().filter_map(|key| key.kid.as_deref()) {
            if !seen.insert(kid) {
                return Err(JwksError::DuplicateKid(kid.chars().take(128).collect()));
            }
        }
        Ok(())
    }
}

/// RFC 7638 section 3: SHA-256 over the required members, in order of their names, no white space.
pub(crate) fn thumbprint(algorithm: Algorithm, raw: &Raw) -> String {
    let members: std::collections::BTreeMap<_, _> = required_members(algorithm, raw).into_iter().collect();
    let json: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":\"{value}\""))
        .collect();
    base64url(&sha256(format!("{{{}}}", json.join(",")).as_bytes()))
}

fn required_members(algorithm: Algorithm, raw: &Raw) -> Vec<(&'static str, String)> {
    match raw {
        Raw::Ed25519(key) => vec![("kty", "OKP".into()), ("crv", "Ed25519".into()), ("x", base64url(key))],
        Raw::Point(point) => {
            let coordinates = point.get(1..).unwrap_or_default();
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            let curve = if algorithm == Algorithm::Es384 {
                "P-384"
            } else {
                "P-256"
            };
            vec![
                ("kty", "EC".into()),
                ("crv", curve.into()),
                ("x", base64url(x)),
                ("y", base64url(y)),
            ]
        }
        Raw::Rsa { n, e } => vec![("kty", "RSA".into()), ("n", base64url(n)), ("e", base64url(e))],
    }
}

pub(crate) fn to_public_key(jwk: &Jwk) -> Result<PublicKey, KeyError> {
    if jwk.d.is_some() {
        return Err(KeyError::Unsupported(
            "the JWK holds a private key, publish the public part only",
        ));
    }
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err(KeyError::Unsupported("the member `use` of the JWK must be `sig`"));
    }
    if jwk
        .key_ops
        .as_ref()
        .is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
    {
        return Err(KeyError::Unsupported(
            "the member `key_ops` of the JWK must include `verify`",
        ));
    }
    let algorithm = algorithm_of(jwk)?;
    if jwk.alg.as_deref().is_some_and(|name| !algorithm.is_named(name)) {
        return Err(KeyError::Malformed {
            algorithm,
            reason: "the member `alg` of the JWK does not fit the key",
        });
    }
    match algorithm {
        Algorithm::EdDsa => PublicKey::from_raw(algorithm, &member(algorithm, &jwk.x, Some(32))?),
        Algorithm::Es256 | Algorithm::Es384 => {
            let len = if algorithm == Algorithm::Es256 { 32 } else { 48 };
            let (x, y) = (
                member(algorithm, &jwk.x, Some(len))?,
                member(algorithm, &jwk.y, Some(len))?,
            );
            PublicKey::from_raw(algorithm, &[&[4], x.as_slice(), y.as_slice()].concat())
        }
        _ => PublicKey::from_rsa(
            algorithm,
            &member(algorithm, &jwk.n, None)?,
            &member(algorithm, &jwk.e, None)?,
        ),
    }
}

/// The key's type and curve decide; only for RSA does `alg`, and then it must be there. Never HMAC (R1).
fn algorithm_of(jwk: &Jwk) -> Result<Algorithm, KeyError> {
    match (jwk.kty.as_str(), jwk.crv.as_deref(), jwk.alg.as_deref()) {
        ("OKP", Some("Ed25519"), _) => Ok(Algorithm::EdDsa),
        ("EC", Some("P-256"), _) => Ok(Algorithm::Es256),
        ("EC", Some("P-384"), _) => Ok(Algorithm::Es384),
        ("RSA", None, Some("RS256")) => Ok(Algorithm::Rs256),
        ("RSA", None, Some("PS256")) => Ok(Algorithm::Ps256),
        ("RSA", ..) => Err(KeyError::Unsupported(
            "an RSA JWK needs the member `alg`, RS256 or PS256",
        )),
        ("oct", ..) => Err(KeyError::Unsupported(
            "a JWK of type `oct` is a secret, not a public key",
        )),
        _ => Err(KeyError::Unsupported(
            "the JWK must be of type OKP with Ed25519, EC with P-256 or P-384, or RSA",
        )),
    }
}

fn member(algorithm: Algorithm, value: &Option<String>, len: Option<usize>) -> Result<Vec<u8>, KeyError> {
    let reason = "a member of the JWK is missing, not base64url, or of the wrong length";
    let bytes = value
        .as_deref()
        .filter(|text| text.len() <= 2048)
        .and_then(from_base64url);
    let fits = |bytes: &Vec<u8>| match len {
        Some(len) => bytes.len() == len,
        None => bytes.first().is_some_and(|first| *first != 0),
    };
    bytes.filter(fits).ok_or(KeyError::Malformed { algorithm, reason })
}

#[cfg(test)]
mod tests;
