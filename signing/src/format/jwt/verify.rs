use std::collections::{BTreeMap, HashMap};

use super::TokenError;
use super::parts::{Parts, ReceivedHeader, split};
use crate::claims::Claims;
use crate::key::{Family, TrustedKey, Verifier};

/// The most clock difference that is ever allowed for, in seconds.
const MAX_LEEWAY: u64 = 3600;

/// What a token must be to count. Every field is checked each time.
#[derive(Clone, Copy, Debug)]
pub struct Expectations<'a> {
    /// The only acceptable `iss`; the key must be bound to it too (R5).
    pub issuer: &'a str,
    /// The tenant the key must belong to (R5).
    pub tenant: &'a str,
    /// Whom the token must be for.
    pub audience: Audience<'a>,
    /// Now, Unix seconds.
    pub now: u64,
    /// Seconds by which clocks may differ; 60 is usual, 3,600 the most that counts.
    pub leeway: u64,
    /// The longest token looked at, in bytes.
    pub max_len: usize,
}

/// Whom a token must be for.
#[derive(Clone, Copy, Debug)]
pub enum Audience<'a> {
    /// One of these must be in `aud`; an empty list matches nothing.
    AnyOf(&'a [&'a str]),
    /// The caller of [`verify`] looks at `aud` itself.
    Unchecked,
}

/// Finds a trusted key by its id, compared byte by byte (R3).
pub trait KeyLookup {
    /// The key with exactly this id. Must not fetch, and must not fall back to any other key.
    fn find(&self, kid: &str) -> Option<&TrustedKey>;
}

impl KeyLookup for BTreeMap<String, TrustedKey> {
    fn find(&self, kid: &str) -> Option<&TrustedKey> {
        self.get(kid)
    }
}

impl KeyLookup for HashMap<String, TrustedKey> {
    fn find(&self, kid: &str) -> Option<&TrustedKey> {
        self.get(kid)
    }
}

/// A token whose signature, key, issuer, audience and times were all checked. Only verifying makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    header: ReceivedHeader,
    claims: Claims,
    kid: String,
    expires_at: u64,
}

impl Verified {
    /// The claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The claims, owned.
    pub fn into_claims(self) -> Claims {
        self.claims
    }

    /// The header.
    pub fn header(&self) -> &ReceivedHeader {
        &self.header
    }

    /// The id of the key that signed it.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// `exp`, Unix seconds. Whoever keeps this longer than a moment checks it again (R19).
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

/// Verifies a token with the key its `kid` names.
///
/// The algorithm is the key's (R1); a header without `kid` names no key; `exp` is required.
///
/// # Errors
/// [`TokenError`], the caller's fault. Nothing about claims is told before the signature verifies.
pub fn verify(token: &str, keys: &dyn KeyLookup, expect: &Expectations<'_>) -> Result<Verified, TokenError> {
    let parts = split(token, expect.max_len)?;
    let kid = parts.header.kid.as_deref().unwrap_or_default();
    let key = keys
        .find(kid)
        .ok_or_else(|| TokenError::UnknownKey(kid.chars().take(64).collect()))?;
    verify_parts(parts, key, expect)
}

/// Verifies a token with one known key. A header without `kid` is accepted here; another `kid` is not.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(token: &str, key: &TrustedKey, expect: &Expectations<'_>) -> Result<Verified, TokenError> {
    let parts = split(token, expect.max_len)?;
    if let Some(kid) = parts.header.kid.as_deref().filter(|kid| *kid != key.verifier.kid()) {
        return Err(TokenError::UnknownKey(kid.chars().take(64).collect()));
    }
    verify_parts(parts, key, expect)
}

/// Checks a token's form, algorithm and signature and nothing else: not its claims, not whom the key speaks for.
#[cfg(test)]
pub(crate) fn check_jws(token: &str, verifier: &Verifier) -> Result<(), TokenError> {
    let parts = split(token, super::DEFAULT_MAX_LEN)?;
    parts.payload()?;
    check_signature(&parts, verifier)
}

fn verify_parts(parts: Parts<'_>, key: &TrustedKey, expect: &Expectations<'_>) -> Result<Verified, TokenError> {
    check_signature(&parts, &key.verifier)?;
    check_key(key, expect)?;
    let claims = parts.claims()?;
    let expires_at = check_claims(&claims, expect)?;
    Ok(Verified {
        header: parts.header,
        claims,
        kid: key.verifier.kid().to_owned(),
        expires_at,
    })
}

/// R1: the header's `alg` is compared with the key's algorithm and chooses nothing.
fn check_signature(parts: &Parts<'_>, verifier: &Verifier) -> Result<(), TokenError> {
    let expected = verifier.algorithm();
    if !expected.is_named(&parts.header.alg) {
        let actual = parts.header.alg.chars().take(16).collect();
        return Err(TokenError::Algorithm { expected, actual });
    }
    verifier
        .verify(parts.signed, &parts.signature)
        .map_err(|_| TokenError::Signature)
}

/// R5: the key's binding and its own validity, at every verification.
fn check_key(key: &TrustedKey, expect: &Expectations<'_>) -> Result<(), TokenError> {
    if key.family != Family::Token {
        return Err(TokenError::Key("it does not sign tokens"));
    }
    if key.issuer != expect.issuer {
        return Err(TokenError::Key("it belongs to another issuer"));
    }
    if key.tenant != expect.tenant {
        return Err(TokenError::Key("it belongs to another tenant"));
    }
    if !key.is_valid_at(expect.now, leeway(expect)) {
        return Err(TokenError::Key("it is not valid now"));
    }
    Ok(())
}

fn check_claims(claims: &Claims, expect: &Expectations<'_>) -> Result<u64, TokenError> {
    if claims.iss.as_deref() != Some(expect.issuer) {
        return Err(TokenError::Issuer);
    }
    if let Audience::AnyOf(audiences) = expect.audience
        && !audiences.iter().any(|audience| claims.is_for(audience))
    {
        return Err(TokenError::Audience);
    }
    let exp = claims
        .exp
        .ok_or_else(|| TokenError::Claims("the claim `exp` is missing".into()))?;
    let leeway = leeway(expect);
    if exp.saturating_add(leeway) <= expect.now {
        return Err(TokenError::Expired);
    }
    let latest_start = expect.now.saturating_add(leeway);
    if claims.nbf.is_some_and(|nbf| nbf > latest_start) || claims.iat.is_some_and(|iat| iat > latest_start) {
        return Err(TokenError::NotYetValid);
    }
    Ok(exp)
}

fn leeway(expect: &Expectations<'_>) -> u64 {
    expect.leeway.min(MAX_LEEWAY)
}
