//! The stages before signing, for tests of what comes after them.

use std::collections::BTreeMap;
use std::sync::Arc;

use policies::bundle::Bundle;
use policies::engine::{Attribute, CallerFacts, Engine, Principal, RequestFacts};
use policies::intent::Intent;
use policies::permit::Cleared;
use policies::profile::Profile;
use signing::algorithm::Algorithm;
use signing::key::SigningKey;

use super::files::{self, TENANT};
use crate::keyring::LogicalKey;
use crate::throttle::Throttle;

pub const NOW: u64 = 1_800_000_000;

pub struct Bench {
    bundle: Bundle,
    engine: Engine,
}

impl Bench {
    pub fn new() -> Bench {
        let caller = SigningKey::generate(Algorithm::Es256).unwrap();
        let bundle = Bundle::parse(&files::bundle(&caller, "")).unwrap();
        Bench {
            engine: Engine::new(&bundle).unwrap(),
            bundle,
        }
    }

    pub fn profile(&self, name: &str) -> Arc<Profile> {
        self.bundle.profile(name).unwrap().clone()
    }

    /// What the stages before signing make of an empty request, or of a message for an artifact.
    pub fn cleared(&self, profile: &str, key: &LogicalKey) -> Cleared {
        let profile = self.profile(profile);
        let intent = match profile.token() {
            Some(_) => Intent::parse_token(&profile, b"{}"),
            None => Intent::parse_artifact(&profile, br#"{"message":"aGk="}"#),
        };
        let principal = Principal::new(CallerFacts {
            id: "oidc:https://callers.example#dev:alice".into(),
            kind: "oidc".into(),
            tenant: TENANT.into(),
            issuer: "https://callers.example".into(),
            subject: "dev:alice".into(),
            attributes: BTreeMap::from([("roles".into(), Attribute::Texts(vec!["developer".into()]))]),
        });
        let facts = RequestFacts {
            now: NOW,
            source_ip: "192.0.2.1".parse().unwrap(),
            protocol: "http2",
        };
        let permit = self
            .engine
            .authorize(&principal, &facts, profile, &key.facts, intent.unwrap());
        permit
            .unwrap()
            .meter(&Throttle::default())
            .unwrap()
            .clear(Vec::new())
            .unwrap()
    }
}
