//! Who operates: the admin token makes an [`Operator`], and nothing else does (R9); Cedar decides what it may.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use http::HeaderMap;
use node::identity::bearer_token;
use policies::engine::{AdminAction, AdminResource, OperatorFacts};
use signing::digest::sha256;
use signing::encoding::from_hex;
use subtle::ConstantTimeEq;

use crate::bundle::{Bundles, InForce};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::keys::{Asked, Caller, Gate};
use crate::kms::Decided;

/// An operator who has shown the admin token with this request. Made by [`AdminToken::verify`] only.
#[derive(Clone, Debug)]
pub struct Operator(OperatorFacts);

/// Verifies the admin token against its stored hash. Clones are the same.
#[derive(Clone)]
pub struct AdminToken {
    sha256: Arc<ArcSwap<Vec<u8>>>,
}

impl AdminToken {
    /// Takes the hash, hex.
    pub fn new(sha256_hex: &str) -> Result<Self, Fault> {
        let sha256 = Arc::new(ArcSwap::from_pointee(read_hash(sha256_hex)?));
        Ok(Self { sha256 })
    }

    /// Takes another token's hash in its place: one was made while this process runs.
    pub(crate) fn replace(&self, sha256_hex: &str) -> Result<(), Fault> {
        self.sha256.store(Arc::new(read_hash(sha256_hex)?));
        Ok(())
    }

    /// The operator that a request's `Authorization: Bearer` proves. The comparison takes the same time for every wrong token.
    pub fn verify(&self, headers: &HeaderMap) -> Result<Operator, Fault> {
        let refuse =
            || Fault::unauthenticated("the admin token is missing or wrong; send `Authorization: Bearer TOKEN`");
        let token = bearer_token(headers).map_err(|_| refuse())?.ok_or_else(refuse)?;
        if bool::from(sha256(token.as_bytes()).ct_eq(self.sha256.load().as_slice())) {
            Ok(Operator(OperatorFacts {
                id: "root".to_owned(),
                role: "admin".to_owned(),
                tenant: None,
            }))
        } else {
            Err(refuse())
        }
    }
}

fn read_hash(sha256_hex: &str) -> Result<Vec<u8>, Fault> {
    from_hex(sha256_hex)
        .filter(|bytes| bytes.len() == 32)
        .ok_or_else(|| Fault::Corrupt {
            detail: "the admin token's hash is no SHA-256".into(),
        })
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// One request's decisions: all by the policies that were in force when it began.
pub struct Decisions {
    operator: Operator,
    in_force: Arc<InForce>,
    now: u64,
    decided: Mutex<Decided>,
}

impl Decisions {
    /// For one request of an operator.
    pub fn new(operator: Operator, bundles: &Bundles, clock: &Clock) -> Self {
        Self {
            operator,
            in_force: bundles.in_force(),
            now: clock.now(),
            decided: Mutex::default(),
        }
    }

    /// What was decided so far.
    pub(crate) fn decided(&self) -> Decided {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Decided> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whether the operator may.
    ///
    /// # Errors
    /// [`Fault::Denied`] when no policy permits `action` on `resource`.
    pub fn allow(&self, action: AdminAction, resource: AdminResource<'_>) -> Result<(), Fault> {
        match self
            .in_force
            .engine
            .authorize_admin(&self.operator.0, action, resource, self.now)
        {
            Ok(allowed) => {
                self.lock().note(resource, allowed.policies().iter());
                Ok(())
            }
            Err(denial) => {
                self.lock().note(resource, denial.policies.iter());
                tracing::warn!(
                    operator = self.operator.0.id,
                    action = action.as_str(),
                    detail = denial.detail,
                    "operator denied: {denial}"
                );
                Err(Fault::Denied {
                    code: denial.code.as_str(),
                    message: denial.to_string(),
                    policies: denial.policies.iter().map(ToString::to_string).collect(),
                })
            }
        }
    }
}

impl Gate for Decisions {
    fn caller(&self) -> Option<&Caller> {
        None
    }

    fn requester(&self) -> String {
        format!("operator:{}", self.operator.0.id)
    }

    fn note(&self, what: &str) {
        self.lock().policies.insert(what.to_owned());
    }

    fn note_version(&self, kid: &str) {
        self.lock().kid = Some(kid.to_owned());
    }

    fn note_digest(&self, digest: [u8; 32]) {
        self.lock().digest = Some(digest);
    }

    fn allow(&self, asked: &Asked<'_>) -> Result<(), Fault> {
        self.allow(asked.action, asked.resource)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::AUTHORIZATION;
    use signing::encoding::hex;

    use super::*;

    // R9, R10
    #[test]
    fn only_the_token_makes_an_operator() {
        let token = AdminToken::new(&hex(&sha256(b"signet-admin-canary"))).unwrap();
        let with = |value: &'static str| HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
        assert!(token.verify(&with("Bearer signet-admin-canary")).is_ok());
        for bad in [
            "Bearer signet-admin-canarx",
            "Bearer signet-admin-",
            "signet-admin-canary",
            "Basic signet-admin-canary",
            "Bearer ",
        ] {
            let fault = token.verify(&with(bad)).unwrap_err();
            assert!(matches!(&fault, Fault::Unauthenticated { .. }), "{bad}");
            assert!(!fault.to_string().contains("canar"));
        }
        assert!(token.verify(&HeaderMap::new()).is_err());
        let mut twice = with("Bearer signet-admin-canary");
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer signet-admin-canary"));
        assert!(token.verify(&twice).is_err());
        assert_eq!(format!("{token:?}"), "[redacted]");
        assert!(AdminToken::new("00").is_err());
    }
}
