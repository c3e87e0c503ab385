//! What verifiers read: JWKS and discovery document of each issuer, and the chains of this edge's own keys.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderValue, Response, StatusCode};
use node::problem::Problem;
use serde_json::json;
use signing::jwk::Jwks;
use signing::key::{Family, TrustedKey, Verifier};

use crate::answer;
use crate::keyring::{LogicalKey, Version};
use crate::state::Edge;
use crate::world::World;

/// `GET /i/{issuer}/.well-known/jwks.json`: that issuer's token keys and no others (R38), current, standby and retired.
pub fn jwks(edge: &Edge, issuer: &str, if_none_match: Option<&str>) -> Result<Response<Bytes>, Problem> {
    let world = edge.world();
    let own = world.issuer(issuer).ok_or_else(unknown)?;
    let keys = Jwks::publish(&own.url, &published(edge, &world, issuer, &own.url));
    let keys = keys.map_err(|error| Problem::internal(error.to_string()))?;
    let seconds = own.jwks_cache;
    let mut response = answer::json(StatusCode::OK, &keys);
    let digest = signing::digest::sha256(response.body());
    let etag = format!(
        "\"{}\"",
        signing::encoding::base64url(digest.get(..16).unwrap_or(&digest))
    );
    if if_none_match.is_some_and(|seen| is_match(seen, &etag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Bytes::new();
    }
    let headers = response.headers_mut();
    if let (Ok(etag), Ok(cache)) = (
        HeaderValue::from_str(&etag),
        HeaderValue::from_str(&format!("public, max-age={seconds}")),
    ) {
        headers.insert(ETAG, etag);
        headers.insert(CACHE_CONTROL, cache);
    }
    Ok(response)
}

/// RFC 9110, section 13.1.2: compared weakly, since caches mark what they compressed as weak.
fn is_match(if_none_match: &str, etag: &str) -> bool {
    let mut tags = if_none_match.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// `GET /i/{issuer}/.well-known/openid-configuration` (OpenID Connect Discovery 1.0, the members a verifier needs).
pub fn configuration(edge: &Edge, issuer: &str) -> Result<Response<Bytes>, Problem> {
    let world = edge.world();
    let url = &world.issuer(issuer).ok_or_else(unknown)?.url;
    let mut algorithms: Vec<_> = world
        .profiles()
        .filter(|profile| profile.issuer() == Some(issuer))
        .filter(|profile| !profile.algorithm.is_symmetric())
        .map(|profile| {
            let named = profile.token().and_then(|token| token.algorithm_name.as_deref());
            named.unwrap_or(profile.algorithm.as_str())
        })
        .collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    let document = json!({
        "issuer": url,
        "jwks_uri": format!("{url}/.well-known/jwks.json"),
        "id_token_signing_alg_values_supported": algorithms,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
    });
    let mut response = answer::json(StatusCode::OK, &document);
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Ok(response)
}

/// `GET /v1/revocations`: what offline verifiers are to refuse, signed (docs/reference/revocation.md).
pub fn revocations(edge: &Edge) -> Result<Response<Bytes>, Problem> {
    let jws = edge.revocations().jws.clone();
    if jws.is_empty() {
        return Err(Problem::new(
            "not_ready",
            "the authority has sent no revocation list yet",
        ));
    }
    let mut response = Response::new(Bytes::from(jws));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwt"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=30"));
    Ok(response)
}

/// `GET /v1/delegations/{kid}`: the chain of a key that this edge made, until it expires or is revoked, and whether the key
/// signs; or the public half of one that is shared or signs at the authority, which has no chain.
pub fn delegation(edge: &Edge, kid: &str) -> Result<Response<Bytes>, Problem> {
    if let Some((public_key, signs)) = edge.keyring().published(kid, edge.now()) {
        let document = json!({"kid": kid, "state": state(signs), "certificates": [], "public_key": public_key});
        return Ok(answer::json(StatusCode::OK, &document));
    }
    let chain = edge.keyring().chain(kid, edge.now());
    let (chain, signs) = chain.ok_or_else(|| {
        Problem::new(
            "unknown_delegation",
            "this edge has no such key, or it has expired or was revoked",
        )
    })?;
    Ok(answer::json(
        StatusCode::OK,
        &json!({"kid": kid, "state": state(signs), "certificates": &chain[..]}),
    ))
}

fn state(signs: bool) -> &'static str {
    if signs { "active" } else { "stopped" }
}

/// The versions that an issuer's verifiers are to accept now.
fn published(edge: &Edge, world: &World, issuer: &str, url: &str) -> Vec<TrustedKey> {
    let now = edge.now();
    let profiles = world.profiles().filter(|profile| profile.issuer() == Some(issuer));
    let mut keys: Vec<_> = profiles.filter_map(|profile| edge.keyring().resolve(profile)).collect();
    keys.sort_by(|a, b| a.facts.id().cmp(b.facts.id()));
    keys.dedup_by(|a, b| a.facts.id() == b.facts.id());
    let mut published = Vec::new();
    for key in keys.iter().filter(|key| key.family == Family::Token) {
        for version in key.versions.iter().filter(|version| version.is_valid(now)) {
            let Some(verifier) = version.public.clone() else {
                continue;
            };
            published.push(trusted(key, version, verifier, url));
        }
    }
    published
}

/// A version bound to its issuer, tenant and times.
pub fn trusted(key: &LogicalKey, version: &Version, verifier: Verifier, issuer: &str) -> TrustedKey {
    TrustedKey {
        verifier,
        family: key.family,
        issuer: issuer.to_owned(),
        tenant: key.facts.tenant().to_owned(),
        not_before: version.publish_at,
        not_after: version.retire_at,
    }
}

fn unknown() -> Problem {
    Problem::new("not_found", "no such issuer")
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
