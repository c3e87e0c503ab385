//! Verifies a sample of the minted tokens, after the run: it costs more than minting did.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Method};
use node::http_client::Client;
use rustls::RootCertStore;
use signing::format::jwt::{Audience, Expectations, inspect, verify};
use signing::jwk::Jwks;
use signing::key::{Family, PublicKey, TrustedKey, Verifier};

use crate::report::Verification;
use crate::{LoadError, Options};

/// The most tokens that are kept.
pub(crate) const MAX_TOKENS: usize = 10_000;
const MAX_TOKEN: usize = 64 << 10;
const MAX_JWKS: usize = 256 << 10;
/// A key set says nothing of tenants; verification wants one on both sides.
const ANY_TENANT: &str = "000000000000";

/// Verifies `tokens`, all of one issuer, with the keys it publishes now.
pub(crate) async fn verify_all(
    options: &Options,
    roots: RootCertStore,
    tokens: &[String],
) -> Result<Verification, LoadError> {
    if tokens.is_empty() {
        return Ok(Verification::default());
    }
    let issuer = tokens.iter().find_map(|token| issuer(token));
    let issuer = issuer.ok_or_else(|| LoadError::Jwks("no answer held a token with an `iss`".to_owned()))?;
    let url = match &options.jwks_url {
        Some(url) => url.clone(),
        None => format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')),
    };
    let client = Client::new(roots).map_err(|error| LoadError::Jwks(error.to_string()))?;
    let timeout = Duration::from_secs(10);
    let fetched = client
        .request(Method::GET, &url, HeaderMap::new(), Bytes::new(), timeout, MAX_JWKS)
        .await;
    let answer = fetched.map_err(|error| LoadError::Jwks(error.to_string()))?;
    if !answer.status().is_success() {
        return Err(LoadError::Jwks(format!("`{url}` answered {}", answer.status())));
    }
    let keys = keys(answer.body(), &issuer)?;
    Ok(check(tokens, &keys, &issuer, unix_seconds()))
}

fn issuer(token: &str) -> Option<String> {
    inspect(token, MAX_TOKEN).ok()?.claims.iss
}

fn keys(body: &[u8], issuer: &str) -> Result<HashMap<String, TrustedKey>, LoadError> {
    let set = Jwks::parse(body).map_err(|error| LoadError::Jwks(error.to_string()))?;
    let trusted = set.keys.iter().filter_map(|jwk| {
        let key = PublicKey::from_jwk(jwk).ok()?;
        let trusted = TrustedKey {
            verifier: Verifier::from(key),
            family: Family::Token,
            issuer: issuer.to_owned(),
            tenant: ANY_TENANT.to_owned(),
            not_before: 0,
            not_after: u64::MAX,
        };
        Some((jwk.kid.clone()?, trusted))
    });
    Ok(trusted.collect())
}

fn check(tokens: &[String], keys: &HashMap<String, TrustedKey>, issuer: &str, now: u64) -> Verification {
    let expect = Expectations {
        issuer,
        tenant: ANY_TENANT,
        audience: Audience::Unchecked,
        now,
        leeway: 60,
        max_len: MAX_TOKEN,
    };
    let mut found = Verification::default();
    for token in tokens {
        match verify(token, keys, &expect) {
            Ok(_) => found.valid = found.valid.saturating_add(1),
            Err(error) => {
                let count = found.invalid.entry(error.to_string()).or_default();
                *count = count.saturating_add(1);
            }
        }
    }
    found
}

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
