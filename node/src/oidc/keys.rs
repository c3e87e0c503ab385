//! An issuer's JWKS document (RFC 7517), as keys that are each bound to one algorithm.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::json;
use super::token::Token;
use crate::identity::{AuthCode, AuthError, quoted};

const MAX_KEYS: usize = 100;
/// RSA moduli from 2048 to 8192 bits, in bytes.
const RSA_MODULUS: std::ops::RangeInclusive<usize> = 256..=1024;

/// A public key and the one algorithm that it verifies (R1).
#[derive(Debug)]
pub(super) struct Key {
    algorithm: Algorithm,
    public: DecodingKey,
}

impl Key {
    /// Verifies the token's signature with this key's own algorithm, which the token's header must name.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), AuthError> {
        if token.algorithm().parse() != Ok(self.algorithm) {
            let detail = format!(
                "the token says {}, its key is for {}",
                quoted(token.algorithm()),
                self.algorithm
            );
            return Err(AuthError::new(AuthCode::BadAlgorithm, detail));
        }
        let verifier = self.algorithm.verifier();
        match jsonwebtoken::crypto::verify(token.signature(), token.signed(), &self.public, verifier) {
            Ok(true) => Ok(()),
            Ok(false) => Err(AuthError::new(
                AuthCode::BadSignature,
                "the token's signature does not verify",
            )),
            Err(error) => Err(
                AuthError::new(AuthCode::BadSignature, "the token's signature does not verify")
                    .with_internal(error.to_string()),
            ),
        }
    }
}

/// The usable keys of a document.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    by_kid: HashMap<String, Arc<Key>>,
    without_kid: Vec<Arc<Key>>,
}

/// Which key of the set a token means.
pub(super) enum Lookup {
    Found(Arc<Key>),
    /// A newer document might have it.
    Unknown,
    /// The token has no `kid`, and there is more than one key.
    Ambiguous,
}

impl KeySet {
    /// Reads a document and leaves out, with the reason, what cannot verify a token of this issuer: private and
    /// symmetric keys, keys for encryption, algorithms that the rule does not allow, and a `kid` that stands twice.
    ///
    /// # Errors
    ///
    /// Text for the operator: not a JWKS, more than 100 keys, or no usable key.
    pub(super) fn parse(document: &[u8], allowed: &[Algorithm]) -> Result<(Self, Vec<String>), String> {
        let document = json::object(document).map_err(|error| format!("not a JWKS: {error}"))?;
        let Some(Value::Array(members)) = document.get("keys") else {
            return Err("not a JWKS: it has no list `keys`".into());
        };
        if members.len() > MAX_KEYS {
            return Err(format!("it holds {} keys; at most {MAX_KEYS} are read", members.len()));
        }
        let mut set = Self::default();
        let mut skipped = Vec::new();
        let mut twice = Vec::new();
        for (number, member) in members.iter().enumerate() {
            match key(member, allowed) {
                Err(reason) => skipped.push(format!("key {number}: {reason}")),
                Ok((None, key)) => set.without_kid.push(Arc::new(key)),
                Ok((Some(kid), key)) => {
                    if set.by_kid.insert(kid.clone(), Arc::new(key)).is_some() {
                        skipped.push(format!("key {number}: its kid {} stands twice", quoted(&kid)));
                        twice.push(kid);
                    }
                }
            }
        }
        set.by_kid.retain(|kid, _| !twice.contains(kid));
        match set.by_kid.is_empty() && set.without_kid.is_empty() {
            true => Err(format!("it holds no usable key ({})", skipped.join("; "))),
            false => Ok((set, skipped)),
        }
    }

    /// By exact `kid` (R3). Without one only if there is a single key.
    pub(super) fn find(&self, kid: Option<&str>) -> Lookup {
        let found = match kid {
            Some(kid) => self.by_kid.get(kid),
            None => {
                let mut all = self.by_kid.values().chain(&self.without_kid);
                match (all.next(), all.next()) {
                    (Some(_), Some(_)) => return Lookup::Ambiguous,
                    (only, _) => only,
                }
            }
        };
        found.map_or(Lookup::Unknown, |key| Lookup::Found(Arc::clone(key)))
    }
}

fn key(member: &Value, allowed: &[Algorithm]) -> Result<(Option<String>, Key), String> {
    let Value::Object(jwk) = member else {
        return Err("not an object".into());
    };
    if ["d", "k", "p", "q"].iter().any(|private| jwk.contains_key(*private)) {
        return Err("it is private or symmetric; publish public keys only".into());
    }
    if text(jwk, "use")?.is_some_and(|usage| usage != "sig") {
        return Err("its `use` is not sig".into());
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {}
        Some(_) => return Err("its `key_ops` does not hold verify".into()),
    }
    let (algorithm, public) = match text(jwk, "kty")? {
        Some("EC") => elliptic(jwk)?,
        Some("OKP") => edwards(jwk)?,
        Some("RSA") => rsa(jwk, allowed)?,
        other => {
            return Err(format!(
                "its kty {} is not EC, OKP or RSA",
                quoted(other.unwrap_or_default())
            ));
        }
    };
    let declared = text(jwk, "alg")?;
    if declared.is_some_and(|name| name.parse() != Ok(algorithm)) {
        return Err("its `alg` does not suit its key".into());
    }
    if !allowed.contains(&algorithm) {
        return Err(format!("the rule does not allow {algorithm}"));
    }
    Ok((text(jwk, "kid")?.map(str::to_owned), Key { algorithm, public }))
}

fn elliptic(jwk: &Map<String, Value>) -> Result<(Algorithm, DecodingKey), String> {
    let (algorithm, size) = match text(jwk, "crv")? {
        Some("P-256") => (Algorithm::Es256, 32),
        Some("P-384") => (Algorithm::Es384, 48),
        _ => return Err("its curve is neither P-256 nor P-384".into()),
    };
    let mut point = vec![4];
    for coordinate in ["x", "y"] {
        let bytes = bytes(jwk, coordinate)?;
        if bytes.len() != size {
            return Err(format!("its `{coordinate}` is not {size} bytes"));
        }
        point.extend(bytes);
    }
    Ok((algorithm, DecodingKey::from_ec_der(&point)))
}

fn edwards(jwk: &Map<String, Value>) -> Result<(Algorithm, DecodingKey), String> {
    if text(jwk, "crv")? != Some("Ed25519") {
        return Err("its curve is not Ed25519".into());
    }
    let x = bytes(jwk, "x")?;
    if x.len() != 32 {
        return Err("its `x` is not 32 bytes".into());
    }
    Ok((Algorithm::EdDsa, DecodingKey::from_ed_der(&x)))
}

/// An RSA key fits six algorithms. If it does not say which, the rule must leave one only.
fn rsa(jwk: &Map<String, Value>, allowed: &[Algorithm]) -> Result<(Algorithm, DecodingKey), String> {
    let algorithm = match text(jwk, "alg")? {
        Some(name) => name.parse().ok().filter(|algorithm: &Algorithm| algorithm.is_rsa()),
        None => {
            let mut fitting = allowed.iter().filter(|algorithm| algorithm.is_rsa());
            match (fitting.next(), fitting.next()) {
                (Some(only), None) => Some(*only),
                (Some(_), Some(_)) => return Err("it has no `alg`, and the rule allows several for RSA".into()),
                _ => return Err("the rule allows no algorithm for RSA".into()),
            }
        }
    };
    let algorithm = algorithm.ok_or("its `alg` does not suit an RSA key")?;
    let (modulus, exponent) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = modulus.get(zeros..).unwrap_or_default();
    if !RSA_MODULUS.contains(&modulus.len()) {
        return Err("its modulus is not 2048 to 8192 bits".into());
    }
    Ok((algorithm, DecodingKey::from_rsa_raw_components(modulus, &exponent)))
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let text = text(jwk, name)?.ok_or_else(|| format!("it has no `{name}`"))?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| format!("its `{name}` is not base64url"))
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("its `{name}` is not text")),
    }
}
