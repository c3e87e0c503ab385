//! The one door through which keys leave: as signatures over what was cleared.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use policies::intent::{Intent, Payload, TokenIntent};
use policies::permit::Cleared;
use policies::profile::{ArtifactProfile, Encoding, Profile, TokenProfile};
use signing::algorithm::Algorithm;
use signing::claims::ClaimsRef;
use signing::format::jwt::{self, MintError};
use signing::format::raw;
use signing::key::{Family, KeyError};

use super::known::Held;
use super::{Keyring, LogicalKey, OwnKey, SharedKey, Slot, State, Table};

/// For whom, by which bundle and when something is signed.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The caller's id.
    pub caller: &'a str,
    /// The bundle that judged it: [`crate::world::World::serial`].
    pub bundle: u64,
    /// Unix seconds, as the request has it.
    pub now: u64,
    /// CLOCK_BOOTTIME, milliseconds, read just now: what the lease is held against.
    pub boot: u64,
}

/// What was signed, ready to be recorded and then answered. Only [`Keyring::sign`] and [`super::Forward::signed`]
/// make one.
#[derive(Debug)]
pub struct Signed {
    pub(super) statement: Statement,
    pub(super) algorithm: Algorithm,
    pub(super) kid: String,
    pub(super) digest: [u8; 32],
    pub(super) cleared: Cleared,
}

/// The signature in the form its profile gives it.
pub enum Statement {
    /// A JWT.
    Token {
        /// JWS compact serialization.
        token: String,
        /// Unix seconds.
        expires_at: u64,
    },
    /// A signature over a digest or a message.
    Artifact {
        /// Base64 with padding.
        signature: String,
        /// PEM, leaf first; none where the authority signed.
        certificates: Arc<[String]>,
        /// PEM, where no chain has it.
        public_key: Option<String>,
    },
}

/// A token is a credential: it stays out of logs even by way of `Debug`.
impl std::fmt::Debug for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Statement::Token { expires_at, .. } => write!(f, "Token([redacted], expires_at {expires_at})"),
            Statement::Artifact { certificates, .. } => write!(f, "Artifact({} certificates)", certificates.len()),
        }
    }
}

impl Signed {
    /// The signature.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The key's algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key's id in tokens and answers.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// SHA-256 of what was signed: the JWS signing input, the message, or the bytes of the digest the caller sent.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What was cleared.
    pub fn cleared(&self) -> &Cleared {
        &self.cleared
    }
}

/// Why nothing was signed. None of these is the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The authority has revoked this edge.
    #[error("this edge is revoked")]
    EdgeRevoked,
    /// The key is disabled, or waits for its deletion, or was stopped with its tenant.
    #[error("the key is {0}")]
    Disabled(&'static str),
    /// Operators have stopped the caller.
    #[error("the caller is stopped")]
    CallerStopped,
    /// The bundle that judged the request was tightened since.
    #[error("the bundle was tightened since this was judged")]
    Superseded,
    /// The authority has not renewed the lease in time.
    #[error("the lease of the key has run out")]
    NoLease,
    /// This edge has no delegation for the key that is valid now.
    #[error("no valid delegation is held for the key")]
    Unavailable,
    /// The version that is held signs later, when verifiers have had the time to learn it.
    #[error("the next version of the key signs in {0} s, when verifiers know it")]
    NotYet(u64),
    /// Profile and key do not belong together: another algorithm or family. The bundle is wrong.
    #[error("the profile and its key do not match: {0}")]
    Mismatch(String),
    /// The authority signs with this key, and cannot be reached or is busy.
    #[error("the authority signs with this key: {0}")]
    AuthorityAway(String),
    /// The authority signs with this key, and did not.
    #[error("the authority signs with this key: {0}")]
    Authority(String),
    /// The cryptographic library failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The claims cannot be written as a token.
    #[error("the token cannot be written: {0}")]
    Token(#[from] MintError),
}

impl Keyring {
    /// Signs what was cleared with the key it was cleared for. `issuer` is `iss`, `id` is `jti`.
    ///
    /// The revocation, the stops, the key's state and the material are read from one table: a key that is disabled between
    /// two of them cannot slip through.
    pub fn sign(&self, cleared: Cleared, issuer: Option<&str>, id: &str, at: &At<'_>) -> Result<Signed, SignError> {
        let table = self.table.load();
        let Slot { key, held, .. } = table.demand(&cleared, at)?;
        let (profile, now) = (cleared.profile(), at.now);
        let (statement, kid, digest) = match (cleared.intent(), profile.token(), profile.artifact()) {
            (Intent::Token(intent), Some(format), _) => {
                let signing = held.versions(key, now).filter(|(_, version)| version.signs(now));
                let newest = signing.max_by_key(|(_, version)| version.sign_from);
                let (shared, _) = newest.ok_or_else(|| not_yet(held, key, now))?;
                let issuer = issuer.ok_or_else(|| SignError::Mismatch("the profile's issuer is not known".into()))?;
                let (token, expires_at) = token(shared, format, intent, cleared.lifetime(), issuer, id, now)?;
                let input = token.rsplit_once('.').map_or(token.as_str(), |(input, _)| input);
                let digest = signing::digest::sha256(input.as_bytes());
                (Statement::Token { token, expires_at }, shared.key.kid(), digest)
            }
            (Intent::Artifact(intent), _, Some(format)) => {
                let own = held.own.as_ref().filter(|own| now < own.not_after);
                let own = own.ok_or(SignError::Unavailable)?;
                let (signature, digest) = artifact(own, format, &intent.payload)?;
                let certificates = own.certificates.clone();
                let statement = Statement::Artifact {
                    signature,
                    certificates,
                    public_key: None,
                };
                (statement, own.key.kid(), digest)
            }
            _ => return Err(SignError::Mismatch("the intent is not of the profile's kind".into())),
        };
        Ok(Signed {
            statement,
            algorithm: key.algorithm,
            kid: kid.to_owned(),
            digest,
            cleared,
        })
    }
}

impl Keyring {
    /// Whether what was cleared could still be signed, by the version `kid`: asked of each signature, recorded as it is, before
    /// it may leave. What passes here is the last that a stopped key, edge or caller gets.
    pub fn still_signs(&self, cleared: &Cleared, kid: &str, at: &At<'_>) -> Result<(), SignError> {
        let table = self.table.load();
        let slot = table.demand(cleared, at)?;
        match slot.key.version(kid) {
            Some(version) if version.compromised => Err(SignError::Unavailable),
            _ => Ok(()),
        }
    }
}

impl Table {
    /// Everything that may stop a signature, whatever was permitted.
    pub(super) fn demand(&self, cleared: &Cleared, at: &At<'_>) -> Result<&Slot, SignError> {
        if self.revoked {
            return Err(SignError::EdgeRevoked);
        }
        if at.bundle < self.oldest_bundle {
            return Err(SignError::Superseded);
        }
        let profile = cleared.profile();
        if self.stops.has_tenant(&profile.tenant) || self.stops.has_key(cleared.key_id()) {
            return Err(SignError::Disabled("stopped"));
        }
        if self.stops.has_caller(at.caller, &profile.tenant) {
            return Err(SignError::CallerStopped);
        }
        let slot = self.keys.get(cleared.key_id()).ok_or(SignError::Unavailable)?;
        check(&slot.key, profile)?;
        if !slot.lease.holds(at.boot) {
            return Err(SignError::NoLease);
        }
        Ok(slot)
    }
}

/// Why no version signs now.
fn not_yet(held: &Held, key: &LogicalKey, now: u64) -> SignError {
    match held.signs_from(key, now) {
        Some(from) if from > now => SignError::NotYet(from.saturating_sub(now)),
        _ => SignError::Unavailable,
    }
}

fn check(key: &LogicalKey, profile: &Profile) -> Result<(), SignError> {
    match key.state {
        State::Enabled => {}
        State::Disabled => return Err(SignError::Disabled("disabled")),
        State::PendingDeletion => return Err(SignError::Disabled("pending deletion")),
    }
    let family = if profile.token().is_some() {
        Family::Token
    } else {
        Family::Artifact
    };
    if key.family != family {
        return Err(SignError::Mismatch(format!(
            "a {family:?} profile names a {:?} key",
            key.family
        )));
    }
    if key.algorithm != profile.algorithm {
        let (asked, has) = (profile.algorithm, key.algorithm);
        return Err(SignError::Mismatch(format!(
            "the profile says {asked}, the key is {has}"
        )));
    }
    if key.facts.tenant() != profile.tenant {
        return Err(SignError::Mismatch("the key is another tenant's".into()));
    }
    Ok(())
}

fn token(
    shared: &SharedKey,
    format: &TokenProfile,
    intent: &TokenIntent,
    lifetime: u32,
    issuer: &str,
    id: &str,
    now: u64,
) -> Result<(String, u64), SignError> {
    let (header, claims, expires_at) = written(format, intent, lifetime, issuer, id, now)?;
    Ok((jwt::mint(&shared.key, &header, claims)?, expires_at))
}

/// A token's header, claims and end (Unix seconds), whoever signs it.
pub(super) fn written<'a>(
    format: &TokenProfile,
    intent: &'a TokenIntent,
    lifetime: u32,
    issuer: &'a str,
    id: &'a str,
    now: u64,
) -> Result<(jwt::Header, ClaimsRef<'a>, u64), SignError> {
    let expires_at = now.saturating_add(u64::from(lifetime));
    let claims = ClaimsRef {
        iss: Some(issuer),
        sub: intent.subject.as_deref(),
        aud: &intent.audience,
        exp: Some(expires_at),
        nbf: None,
        iat: Some(now),
        jti: Some(id),
        extra: &intent.claims,
    };
    let named = format.algorithm_name.as_deref().map(str::parse).transpose();
    let algorithm_name = named.map_err(SignError::Mismatch)?.unwrap_or_default();
    let header = jwt::Header {
        typ: format.typ.clone(),
        algorithm_name,
    };
    Ok((header, claims, expires_at))
}

/// The signature in base64, and the digest for the record.
fn artifact(own: &OwnKey, format: &ArtifactProfile, signed: &Payload) -> Result<(String, [u8; 32]), SignError> {
    let (payload, digest) = payload(signed);
    let signature = raw::sign(&own.key, payload, encoding(format))?;
    Ok((BASE64_STANDARD.encode(signature), digest))
}

/// What is signed, and the digest for the record: of the message, or of the digest's bytes.
pub(super) fn payload(payload: &Payload) -> (raw::Payload<'_>, [u8; 32]) {
    match payload {
        Payload::Digest(digest) => (raw::Payload::Digest(digest), signing::digest::sha256(digest.as_bytes())),
        Payload::Message(message) => (raw::Payload::Message(message), signing::digest::sha256(message)),
    }
}

pub(super) fn encoding(format: &ArtifactProfile) -> raw::Encoding {
    match format.encoding {
        Encoding::Der => raw::Encoding::Der,
        Encoding::Fixed => raw::Encoding::Fixed,
    }
}
