//! Callers that show a token of a trusted OIDC issuer.
//!
//! A token names an issuer; only if a rule names the very same issuer is one of the issuer's keys looked up by its exact
//! `kid`, and that key, not the token, says which algorithm verifies (R1, R3). Nothing in a token causes a fetch: an
//! unknown `kid` can at most bring forward the refresh of a document that the operator configured (R8).

mod algorithm;
mod claims;
mod config;
mod json;
mod jwks;
mod keys;
mod source;
mod token;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::identity::{AuthCode, AuthError, Caller, ProofCache, TrustRuleError};

pub use algorithm::Algorithm;
use config::Issuer;
pub use config::{IssuerConfig, JwksSource};
use token::Token;

/// Seconds by which an issuer's clock may be ahead of ours (`nbf`, `iat`). `exp` has no leeway: a token that has
/// expired is refused in that second.
pub const LEEWAY: u64 = 10;
/// The largest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;
const CACHED_TOKENS: usize = 8192;

/// The trusted issuers, their keys, and the tokens that were verified lately.
#[derive(Debug)]
pub struct Issuers {
    table: ArcSwap<Table>,
    generations: AtomicU64,
    proofs: ProofCache<Proof>,
}

#[derive(Debug)]
struct Table {
    issuers: HashMap<String, Arc<Issuer>>,
    generation: u64,
}

/// A verified token, and what it rests on: it is believed only while none of that has changed.
#[derive(Debug, Clone)]
struct Proof {
    caller: Arc<Caller>,
    issuer: Arc<Issuer>,
    rules: u64,
    keys: u64,
}

impl Issuers {
    /// Checks the rules and compiles them. Several rules may name one issuer, as long as no token can match two.
    ///
    /// Keys behind a URL are fetched when the first token asks for them, or by [`Issuers::warm`].
    ///
    /// # Errors
    ///
    /// The first rule that is not allowed to exist (R7): without an exact issuer, an audience or a subject pin; with an
    /// unknown algorithm, tenant or attribute name; with an unusable key source; or that contradicts or overlaps an
    /// earlier rule of the same issuer.
    pub fn new(configs: Vec<IssuerConfig>) -> Result<Self, TrustRuleError> {
        let issuers = config::compile(configs, &HashMap::new())?;
        let proofs = ProofCache::new(CACHED_TOKENS)
            .map_err(|failed| TrustRuleError::new("callers.oidc", "cache", failed.to_string()))?;
        let table = ArcSwap::from_pointee(Table { issuers, generation: 0 });
        Ok(Self {
            table,
            generations: AtomicU64::new(0),
            proofs,
        })
    }

    /// Replaces all rules at once. Every verified token is forgotten; the keys of an issuer whose source stays the same
    /// are kept, so that a change of rules works while the issuer is down.
    ///
    /// # Errors
    ///
    /// As [`Issuers::new`]; then the rules stay as they are.
    pub fn replace(&self, configs: Vec<IssuerConfig>) -> Result<(), TrustRuleError> {
        let issuers = config::compile(configs, &self.table.load().issuers)?;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.table.store(Arc::new(Table { issuers, generation }));
        Ok(())
    }

    /// Fetches the keys of every issuer that has none yet, all at once, and waits. What fails is logged and tried again
    /// when a token asks. `now` is in Unix seconds.
    pub async fn warm(&self, now: u64) {
        let issuers: Vec<Arc<Issuer>> = self.table.load().issuers.values().cloned().collect();
        futures_util::future::join_all(issuers.iter().map(|issuer| issuer.keys.warm(now))).await;
    }

    /// The caller that `token` (compact JWS) proves at `now` (Unix seconds).
    ///
    /// A token that was verified before costs one SHA-256: its window of validity, the rules and the issuer's keys are
    /// asked again each time (R19). Else it costs a signature verification, and at worst a wait for the issuer's keys.
    ///
    /// # Errors
    ///
    /// See [`AuthCode`].
    pub async fn authenticate(&self, token: &str, now: u64) -> Result<Arc<Caller>, AuthError> {
        if token.is_empty() {
            return Err(AuthError::missing_credentials());
        }
        if token.len() > MAX_TOKEN {
            let detail = format!("the token is larger than {MAX_TOKEN} bytes");
            return Err(AuthError::new(AuthCode::MalformedToken, detail));
        }
        let table = self.table.load_full();
        let key = self.proofs.key([token.as_bytes()]);
        let current = |proof: &Proof| proof.rules == table.generation && proof.issuer.keys.vouches(proof.keys, now);
        if let Some(proof) = self.proofs.get(&key, now, current) {
            proof.issuer.keys.refresh_if_due(now);
            return Ok(proof.caller);
        }

        let token = Token::parse(token)?;
        let issuer = table
            .issuers
            .get(token.issuer())
            .ok_or_else(|| unknown_issuer(token.issuer()))?;
        issuer.check_algorithm(token.algorithm())?;
        let found = issuer.keys.find(token.kid(), now).await?;
        found.key.verify(&token)?;
        let (caller, window) = issuer.caller(&token, now)?;
        let caller = Arc::new(caller);
        let proof = Proof {
            caller: Arc::clone(&caller),
            issuer: Arc::clone(issuer),
            rules: table.generation,
            keys: found.generation,
        };
        self.proofs.insert(key, window, proof, now);
        Ok(caller)
    }
}

fn unknown_issuer(issuer: &str) -> AuthError {
    let detail = format!("the issuer {} is not trusted here", crate::identity::quoted(issuer));
    AuthError::new(AuthCode::UnknownIssuer, detail)
}

#[cfg(test)]
mod tests;
