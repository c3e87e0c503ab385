//! `POST /v1/verify`: whether a token or an artifact's signature is good, for callers that policy lets ask.
//!
//! A bad token is an answer (200, `"valid": false`, why), not an error.

use bytes::Bytes;
use http::{Response, StatusCode};
use node::problem::Problem;
use policies::intent::{Intent, Payload, VerifyIntent, VerifyRequest};
use policies::profile::{Encoding, Profile};
use serde_json::{Value, json};
use signing::certificate::Certificate;
use signing::delegation::verify_chain;
use signing::format::jwt::{self, Audience, Expectations, TokenError};
use signing::format::raw;
use std::sync::Arc;

use crate::answer;
use crate::discovery::trusted;
use crate::pipeline::Session;
use crate::receive::Received;
use crate::record::Refusal;
use crate::state::Edge;
use crate::world::{Served, World};

/// Seconds by which a verifier's clock may differ from the signer's.
const LEEWAY: u64 = 5;

/// Why something does not verify, for the caller.
struct Invalid {
    code: &'static str,
    detail: String,
}

impl Invalid {
    fn new(code: &'static str, detail: impl Into<String>) -> Invalid {
        Invalid {
            code,
            detail: detail.into(),
        }
    }
}

impl From<TokenError> for Invalid {
    fn from(error: TokenError) -> Invalid {
        Invalid::new(error.code(), error.to_string())
    }
}

/// Answers one request.
pub async fn verify(edge: &Edge, received: &Received) -> Result<Response<Bytes>, Problem> {
    let session = Session::open(edge, received).await?;
    let request = VerifyRequest::parse(received.body()).map_err(|error| Refusal::from(error).into_problem())?;
    let checked = match profile(edge, &session, &request)? {
        Ok(served) => check(edge, &session, received, &served, request)?,
        Err(invalid) => Err(invalid),
    };
    let document =
        checked.unwrap_or_else(|Invalid { code, detail }| json!({"valid": false, "code": code, "detail": detail}));
    Ok(answer::json(StatusCode::OK, &document))
}

/// The profile that was named, or the one whose key the token or the chain names. Neither is believed yet.
fn profile(
    edge: &Edge,
    session: &Session<'_>,
    request: &VerifyRequest,
) -> Result<Result<Arc<Served>, Invalid>, Problem> {
    let world = session.world();
    let of_tenant = |served: &&Arc<Served>| served.profile.tenant == session.tenant();
    if let Some(name) = request.profile() {
        let found = world.profile(name).filter(of_tenant);
        let unknown = || Problem::new("unknown_profile", "this caller's tenant has no such profile");
        return found.cloned().map(Ok).ok_or_else(unknown);
    }
    let key = match (request.token(), request.certificates()) {
        (Some(token), _) => jwt::inspect(token, jwt::DEFAULT_MAX_LEN)
            .map_err(Invalid::from)
            .and_then(|seen| key_of_kid(edge, seen.header.kid.as_deref().unwrap_or_default())),
        (None, Some(chain)) => chain_der(chain).and_then(|chain| key_of_chain(edge, &chain)),
        (None, None) => {
            let detail = "send `token`, or `signature` with its `certificates`";
            return Err(Problem::new("invalid_request", detail));
        }
    };
    let named_by = |key: &String| {
        let profiles = world.served().filter(of_tenant);
        let signing = profiles.filter(|served| is_key_of(edge, &served.profile, key));
        // Several may: which one is asked must not change from one request to the next.
        let first = signing.min_by(|a, b| a.profile.name.cmp(&b.profile.name));
        first.cloned().ok_or_else(unknown_key)
    };
    Ok(key.and_then(|key| named_by(&key)))
}

fn is_key_of(edge: &Edge, profile: &Profile, key: &str) -> bool {
    edge.keyring()
        .resolve(profile)
        .is_some_and(|resolved| resolved.facts.id() == key)
}

fn unknown_key() -> Invalid {
    Invalid::new("unknown_key", "no profile of this caller's tenant has a key of that id")
}

fn key_of_kid(edge: &Edge, kid: &str) -> Result<String, Invalid> {
    let (key, ..) = edge
        .keyring()
        .verifier(kid, edge.now())
        .ok_or_else(|| no_verifier(edge, kid))?;
    Ok(key.facts.id().to_owned())
}

/// Why no key of that id verifies anything.
fn no_verifier(edge: &Edge, kid: &str) -> Invalid {
    match edge.keyring().is_compromised(kid) {
        true => Invalid::new("revoked", "the token's key is marked as compromised"),
        false => unknown_key(),
    }
}

fn chain_der(pem: &[String]) -> Result<Vec<Vec<u8>>, Invalid> {
    let read = |text: &String| Certificate::from_pem_chain(text);
    let chain = pem.iter().map(read).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| Invalid::new("bad_chain", error.to_string()))?;
    Ok(chain.into_iter().flatten().map(Certificate::into_der).collect())
}

fn key_of_chain(edge: &Edge, chain: &[Vec<u8>]) -> Result<String, Invalid> {
    let verified = verify_chain(chain, &edge.delegation_roots(), edge.now());
    Ok(verified
        .map_err(|error| Invalid::new("bad_chain", error.to_string()))?
        .name
        .key)
}

/// Asks policy, then looks.
fn check(
    edge: &Edge,
    session: &Session<'_>,
    received: &Received,
    served: &Arc<Served>,
    request: VerifyRequest,
) -> Result<Result<Value, Invalid>, Problem> {
    let profile = &served.profile;
    let certificates = request.certificates().map(<[String]>::to_vec).unwrap_or_default();
    let needs_chain = profile.artifact().is_some() && !session.is_forwarded(profile);
    if request.token().is_none() && needs_chain && certificates.is_empty() {
        let detail = "send the `certificates` that came with the signature";
        return Err(Problem::new("invalid_request", detail).with("pointer", "/certificates"));
    }
    let intent = request
        .against(profile)
        .map_err(|error| Refusal::from(error).into_problem())?;
    let subject = session.subject(served, received.id());
    let permit = session
        .authorize(profile.clone(), intent)
        .map_err(|refusal| edge.refuse(refusal, &subject))?;
    let Intent::Verify(intent) = permit.intent() else {
        return Err(Problem::internal("a verify request became another intent"));
    };
    Ok(match intent {
        VerifyIntent::Token { token, audience } => {
            check_token(edge, session.world(), profile, token, audience.as_deref())
        }
        VerifyIntent::Signature { signature, payload } => {
            if certificates.is_empty() {
                check_kept(edge, profile, signature, payload)
            } else {
                check_signature(edge, profile, signature, payload, certificates)
            }
        }
    })
}

fn check_token(
    edge: &Edge,
    world: &World,
    profile: &Profile,
    token: &str,
    audience: Option<&str>,
) -> Result<Value, Invalid> {
    let now = edge.now();
    let issuer = profile
        .issuer()
        .and_then(|name| world.issuer(name))
        .ok_or_else(unknown_key)?;
    let kid = jwt::inspect(token, jwt::DEFAULT_MAX_LEN)?
        .header
        .kid
        .unwrap_or_default();
    let (key, version, verifier) = edge
        .keyring()
        .verifier(&kid, now)
        .ok_or_else(|| no_verifier(edge, &kid))?;
    if !is_key_of(edge, profile, key.facts.id()) {
        return Err(Invalid::new("unknown_key", "the token's key is not the profile's"));
    }
    let audiences: Vec<&str> = audience.into_iter().collect();
    let expectations = Expectations {
        issuer: &issuer.url,
        tenant: &profile.tenant,
        audience: if audiences.is_empty() {
            Audience::Unchecked
        } else {
            Audience::AnyOf(&audiences)
        },
        now,
        leeway: LEEWAY,
        max_len: jwt::DEFAULT_MAX_LEN,
    };
    let key = trusted(&key, &version, verifier, &issuer.url);
    let verified = jwt::verify_with(token, &key, &expectations)?;
    let claims = verified
        .claims()
        .encode()
        .ok()
        .and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    Ok(json!({
        "valid": true,
        "kid": kid,
        "algorithm": key.verifier.algorithm().as_str(),
        "profile": profile.name,
        "claims": claims,
    }))
}

fn check_signature(
    edge: &Edge,
    profile: &Profile,
    signature: &[u8],
    payload: &Payload,
    certificates: Vec<String>,
) -> Result<Value, Invalid> {
    let chain = chain_der(&certificates)?;
    let verified = verify_chain(&chain, &edge.delegation_roots(), edge.now());
    let verified = verified.map_err(|error| Invalid::new("bad_chain", error.to_string()))?;
    if edge.revocations().list.refuses(&verified) {
        return Err(Invalid::new("revoked", "the delegation was revoked"));
    }
    if verified.name.tenant != profile.tenant || !is_key_of(edge, profile, &verified.name.key) {
        return Err(Invalid::new("unknown_key", "the chain is not of the profile's key"));
    }
    raw::verify(&verified.public_key, signed(payload), signature, encoding(profile))
        .map_err(|error| Invalid::new("bad_signature", error.to_string()))?;
    Ok(json!({
        "valid": true,
        "kid": verified.public_key.thumbprint(),
        "algorithm": verified.public_key.algorithm().as_str(),
        "profile": profile.name,
        "delegation": verified.name.to_string(),
        "expires_at": answer::rfc3339(verified.not_after),
    }))
}

/// A signature that the authority made with the profile's own key: there is no chain, and this edge knows the key.
fn check_kept(edge: &Edge, profile: &Profile, signature: &[u8], payload: &Payload) -> Result<Value, Invalid> {
    let key = edge.keyring().resolve(profile).ok_or_else(unknown_key)?;
    let now = edge.now();
    let valid = key.versions.iter().filter(|version| version.is_valid(now));
    let mut publics = valid.filter_map(|version| version.public.as_ref()?.public_key());
    let public = publics.find(|public| raw::verify(public, signed(payload), signature, encoding(profile)).is_ok());
    let public = public.ok_or_else(|| Invalid::new("bad_signature", "no version of the profile's key made this"))?;
    Ok(json!({
        "valid": true,
        "kid": public.thumbprint(),
        "algorithm": public.algorithm().as_str(),
        "profile": profile.name,
    }))
}

fn signed(payload: &Payload) -> raw::Payload<'_> {
    match payload {
        Payload::Digest(digest) => raw::Payload::Digest(digest),
        Payload::Message(message) => raw::Payload::Message(message),
    }
}

fn encoding(profile: &Profile) -> raw::Encoding {
    match profile.artifact().map(|artifact| artifact.encoding) {
        Some(Encoding::Fixed) => raw::Encoding::Fixed,
        _ => raw::Encoding::Der,
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
