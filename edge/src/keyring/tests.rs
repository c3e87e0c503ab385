//! Each way in which nothing is signed, and what leaves memory when.

use std::collections::BTreeMap;

use policies::engine::KeyFacts;
use policies::permit::Cleared;
use signing::algorithm::Algorithm;
use signing::key::SigningKey;

use super::*;
use crate::testing::bench::{Bench, NOW};
use crate::testing::files::{OTHER_TENANT, TENANT};

const ISSUER: Option<&str> = Some("https://edge.test/i/dev");

fn key(alias: &str, tenant: &str, pair: &SigningKey, family: Family) -> LogicalKey {
    let id = uuid::Uuid::new_v4().to_string();
    LogicalKey {
        facts: Arc::new(KeyFacts::new(id, tenant.into(), vec![alias.into()], BTreeMap::new())),
        algorithm: pair.algorithm(),
        family,
        delegation: if family == Family::Token {
            Delegation::Shared
        } else {
            Delegation::Own
        },
        state: State::Enabled,
        versions: vec![Version {
            kid: pair.kid().into(),
            public: pair.public().map(|key| key.clone().into()),
            publish_at: NOW - 100,
            sign_from: NOW - 10,
            sign_until: NOW + 100,
            retire_at: NOW + 1_000,
            compromised: false,
        }],
    }
}

/// A ring that signs for the profile `plain`, and what it is made of.
fn token_ring() -> (Keyring, LogicalKey, SigningKey) {
    let pair = SigningKey::generate(Algorithm::Es256).unwrap();
    let known = key("alias/api", TENANT, &pair, Family::Token);
    let ring = Keyring::new();
    ring.replace(vec![known.clone()]);
    let held = SigningKey::import(Algorithm::Es256, &pair.export().unwrap()).unwrap();
    ring.hold_shared(known.facts.id(), vec![SharedKey::new(held)], NOW + 50);
    (ring, known, pair)
}

fn sign(ring: &Keyring, cleared: Cleared, now: u64) -> Result<Signed, SignError> {
    ring.sign(cleared, ISSUER, "id", now)
}

#[test]
fn a_key_signs_in_its_time_and_never_outside() {
    let bench = Bench::new();
    let (ring, known, pair) = token_ring();
    let signed = sign(&ring, bench.cleared("plain", &known), NOW).unwrap();
    assert_eq!(signed.kid(), pair.kid());
    // The delegation ends first.
    assert!(sign(&ring, bench.cleared("plain", &known), NOW + 49).is_ok());
    for now in [NOW + 50, NOW + 100, NOW + 5_000, u64::MAX] {
        let refused = sign(&ring, bench.cleared("plain", &known), now).unwrap_err();
        assert!(matches!(refused, SignError::Unavailable), "{now}: {refused}");
    }
    for (now, wait) in [(NOW - 11, 1), (0, NOW - 10)] {
        let refused = sign(&ring, bench.cleared("plain", &known), now).unwrap_err();
        assert!(
            matches!(refused, SignError::NotYet(seconds) if seconds == wait),
            "{now}: {refused}"
        );
    }
}

#[test]
fn stopped_compromised_and_unannounced_keys_never_sign() {
    let bench = Bench::new();
    let changed = |change: &dyn Fn(&mut LogicalKey)| {
        let (ring, known, _) = token_ring();
        let mut changed = known.clone();
        change(&mut changed);
        ring.put(changed);
        sign(&ring, bench.cleared("plain", &known), NOW).unwrap_err()
    };
    assert!(matches!(
        changed(&|key| key.state = State::Disabled),
        SignError::Disabled("disabled")
    ));
    assert!(matches!(
        changed(&|key| key.state = State::PendingDeletion),
        SignError::Disabled("pending deletion")
    ));
    assert!(matches!(
        changed(&|key| key.versions[0].compromised = true),
        SignError::Unavailable
    ));
    assert!(matches!(
        changed(&|key| key.versions[0].sign_until = NOW),
        SignError::Unavailable
    ));
    assert!(matches!(
        changed(&|key| key.versions[0].retire_at = NOW),
        SignError::Unavailable
    ));
    // Verifiers would not know it.
    assert!(matches!(
        changed(&|key| key.versions[0].publish_at = NOW + 1),
        SignError::NotYet(1)
    ));
    assert!(matches!(changed(&|key| key.versions.clear()), SignError::Unavailable));
}

// R38
#[test]
fn profile_and_key_must_belong_together() {
    let bench = Bench::new();
    let mismatch = |change: &dyn Fn(&mut LogicalKey)| {
        let (ring, known, _) = token_ring();
        let mut changed = known.clone();
        change(&mut changed);
        ring.put(changed);
        let refused = sign(&ring, bench.cleared("plain", &known), NOW).unwrap_err();
        assert!(matches!(refused, SignError::Mismatch(_)), "{refused}");
        refused.to_string()
    };
    assert!(mismatch(&|key| key.family = Family::Artifact).contains("Artifact key"));
    assert!(mismatch(&|key| key.family = Family::Raw).contains("Raw key"));
    assert!(mismatch(&|key| key.algorithm = Algorithm::Es384).contains("the key is ES384"));
    let other = |key: &mut LogicalKey| {
        let id = key.facts.id().to_owned();
        key.facts = Arc::new(KeyFacts::new(id, OTHER_TENANT.into(), Vec::new(), BTreeMap::new()));
    };
    assert!(mismatch(&other).contains("another tenant"));
    let (ring, known, _) = token_ring();
    let refused = ring.sign(bench.cleared("plain", &known), None, "id", NOW).unwrap_err();
    assert!(refused.to_string().contains("issuer is not known"));
}

#[test]
fn an_own_key_signs_until_its_certificate_ends() {
    let bench = Bench::new();
    let pair = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let known = key("alias/package", TENANT, &pair, Family::Artifact);
    let (id, kid) = (known.facts.id(), pair.kid().to_owned());
    let ring = Keyring::new();
    ring.hold_own(
        id,
        OwnKey::new(SigningKey::generate(Algorithm::EdDsa).unwrap(), Arc::new([]), NOW + 50),
    );
    ring.replace(vec![known.clone()]);
    let refused = sign(&ring, bench.cleared("package", &known), NOW).unwrap_err();
    assert!(
        matches!(refused, SignError::Unavailable),
        "a key that was not announced is not held: {refused}"
    );
    ring.hold_own(id, OwnKey::new(pair, Arc::new(["leaf".into()]), NOW + 50));
    let signed = sign(&ring, bench.cleared("package", &known), NOW + 49).unwrap();
    assert_eq!(signed.digest(), &signing::digest::sha256(b"hi"));
    assert!(sign(&ring, bench.cleared("package", &known), NOW + 50).is_err());
    assert_eq!(ring.chain(&kid, NOW).unwrap().as_ref(), ["leaf"]);
    assert!(ring.chain(&kid, NOW + 50).is_none());
    // The one before stays readable until it ends, though it signs no more.
    ring.hold_own(
        id,
        OwnKey::new(SigningKey::generate(Algorithm::EdDsa).unwrap(), Arc::new([]), NOW + 90),
    );
    assert!(ring.chain(&kid, NOW).is_some());
    ring.expire(NOW + 60);
    assert_eq!(ring.table.load().chains.len(), 1);
    assert_eq!(ring.signs_until(id), NOW + 90);
    ring.expire(NOW + 90);
    assert_eq!((ring.signs_until(id), ring.table.load().chains.len()), (0, 0));
}

/// A delegation that arrives behind a revocation, or behind a deletion, is dropped; being taken back brings nothing back.
#[test]
fn nothing_is_taken_in_behind_a_revocation() {
    let bench = Bench::new();
    let (ring, known, pair) = token_ring();
    let id = known.facts.id();
    let again = || SharedKey::new(SigningKey::import(Algorithm::Es256, &pair.export().unwrap()).unwrap());
    ring.revoke();
    ring.hold_shared(id, vec![again()], NOW + 50);
    ring.hold_own(
        id,
        OwnKey::new(SigningKey::generate(Algorithm::Es256).unwrap(), Arc::new([]), NOW + 50),
    );
    let refused = sign(&ring, bench.cleared("plain", &known), NOW).unwrap_err();
    assert!(matches!(refused, SignError::EdgeRevoked));
    ring.replace(vec![known.clone()]);
    ring.put(known.clone());
    assert!(ring.is_revoked(), "what is announced does not end a revocation");
    ring.reinstate();
    assert_eq!(ring.signs_until(id), 0);
    assert!(matches!(
        sign(&ring, bench.cleared("plain", &known), NOW),
        Err(SignError::Unavailable)
    ));
    ring.hold_shared(id, vec![again()], NOW + 50);
    assert!(sign(&ring, bench.cleared("plain", &known), NOW).is_ok());
    ring.remove(id);
    ring.hold_shared(id, vec![again()], NOW + 50);
    ring.put(known.clone());
    assert_eq!(ring.signs_until(id), 0);
}

/// Dropped is what zeroizes: the last reference to material goes with the table that held it. R10
#[test]
fn material_is_dropped_when_it_is_forgotten() {
    type Forget = fn(&Keyring, &LogicalKey);
    let ways: [Forget; 5] = [
        |ring, _| ring.revoke(),
        |ring, _| ring.replace(Vec::new()),
        |ring, key| ring.remove(key.facts.id()),
        |ring, _| ring.expire(NOW + 50),
        |ring, key| ring.hold_shared(key.facts.id(), Vec::new(), NOW),
    ];
    for forget in ways {
        let (ring, known, _) = token_ring();
        let held = Arc::downgrade(&ring.table.load().keys[known.facts.id()].held.shared);
        assert!(held.upgrade().is_some());
        forget(&ring, &known);
        assert!(held.upgrade().is_none());
    }
}

#[test]
fn a_profile_finds_keys_of_its_tenant_only() {
    let bench = Bench::new();
    let pair = SigningKey::generate(Algorithm::Es256).unwrap();
    let (ours, theirs) = (
        key("alias/api", TENANT, &pair, Family::Token),
        key("alias/api", OTHER_TENANT, &pair, Family::Token),
    );
    let ring = Keyring::new();
    ring.replace(vec![ours.clone(), theirs.clone()]);
    let found = |profile: &Profile| ring.resolve(profile).map(|key| key.facts.id().to_owned());
    let plain = bench.profile("plain");
    assert_eq!(found(&plain).as_deref(), Some(ours.facts.id()));
    assert_eq!(found(&bench.profile("other")).as_deref(), Some(theirs.facts.id()));
    let by_id = |key: &LogicalKey| Profile {
        key: key.facts.id().into(),
        ..Profile::clone(&plain)
    };
    assert_eq!(found(&by_id(&ours)).as_deref(), Some(ours.facts.id()));
    assert_eq!(found(&by_id(&theirs)), None);
    ring.remove(ours.facts.id());
    assert_eq!(found(&plain), None);
}

#[test]
fn only_valid_token_versions_verify() {
    let (ring, known, pair) = token_ring();
    assert!(ring.verifier(pair.kid(), NOW).is_some());
    for (kid, now) in [
        ("", NOW),
        ("x", NOW),
        (pair.kid(), NOW - 101),
        (pair.kid(), NOW + 1_000),
    ] {
        assert!(ring.verifier(kid, now).is_none(), "{kid} {now}");
    }
    ring.put(LogicalKey {
        family: Family::Artifact,
        ..known.clone()
    });
    assert!(ring.verifier(pair.kid(), NOW).is_none());
    // A secret verifies only while it is held.
    let secret = SigningKey::generate(Algorithm::Hs256).unwrap();
    let known = key("alias/cdn", TENANT, &secret, Family::Token);
    let kid = secret.kid().to_owned();
    ring.put(known.clone());
    assert!(ring.verifier(&kid, NOW).is_none());
    ring.hold_shared(known.facts.id(), vec![SharedKey::new(secret)], NOW + 50);
    assert!(ring.verifier(&kid, NOW).is_some());
    assert!(ring.verifier(&kid, NOW + 50).is_none());
}
