//! Each way in which nothing is signed, and what leaves memory when.

use std::collections::BTreeMap;

use policies::engine::KeyFacts;
use policies::permit::Cleared;
use signing::algorithm::Algorithm;
use signing::key::SigningKey;

use super::*;
use crate::testing::bench::{Bench, NOW};
use crate::testing::files::{OTHER_TENANT, TENANT};

/// When leases end here, on CLOCK_BOOTTIME.
const LEASED: u64 = 1_000;
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
    ring.lease([(known.facts.id().to_owned(), LEASED)]);
    (ring, known, pair)
}

fn at(now: u64, boot: u64) -> At<'static> {
    At {
        caller: "oidc:https://callers.example#dev:alice",
        bundle: 7,
        now,
        boot,
    }
}

fn sign(ring: &Keyring, cleared: Cleared, now: u64) -> Result<Signed, SignError> {
    ring.sign(cleared, ISSUER, "id", &at(now, 0))
}

// R19, R34, R35
#[test]
fn nothing_is_signed_or_leaves_without_a_lease() {
    let bench = Bench::new();
    let (ring, known, _) = token_ring();
    let id = known.facts.id().to_owned();
    let refused = |boot: u64| {
        let signed = ring.sign(bench.cleared("plain", &known), ISSUER, "id", &at(NOW, boot));
        let left = ring.still_signs(&bench.cleared("plain", &known), "", &at(NOW, boot));
        match (signed, left) {
            (Ok(_), Ok(())) => false,
            (Err(SignError::NoLease), Err(SignError::NoLease)) => true,
            other => panic!("{other:?}"),
        }
    };
    assert!(!refused(LEASED - 1) && refused(LEASED) && refused(u64::MAX));
    ring.put(known.clone());
    assert!(!refused(0), "a change of the key leaves the lease");
    ring.lease([(id.clone(), 0)]);
    assert!(refused(0), "the authority said no");
    ring.lease([(id.clone(), LEASED)]);
    ring.replace(vec![]);
    ring.replace(vec![known.clone()]);
    assert_eq!(ring.lease_left(&id, 0), 0, "a key that was gone begins anew");
    ring.lease([(id.clone(), LEASED)]);
    let kid = known.versions[0].kid.clone();
    assert!(
        ring.still_signs(&bench.cleared("plain", &known), &kid, &at(NOW, 0))
            .is_ok()
    );
    let mut stolen = known.clone();
    stolen.versions[0].compromised = true;
    ring.put(stolen);
    assert!(
        ring.still_signs(&bench.cleared("plain", &known), &kid, &at(NOW, 0))
            .is_err(),
        "it was signed by a version that is compromised since"
    );
    ring.revoke();
    assert_eq!(ring.lease_left(&id, 0), 0);
    let (ring, known, _) = token_ring();
    ring.put(LogicalKey {
        state: State::Disabled,
        ..known.clone()
    });
    let refused = sign(&ring, bench.cleared("plain", &known), NOW).unwrap_err();
    assert!(matches!(refused, SignError::Disabled(_)), "a lease is no excuse");
}

// R6, R35
#[test]
fn stops_of_tenants_callers_and_delegations_hold_before_and_after_signing() {
    let bench = Bench::new();
    let stopped = |change: &dyn Fn(&mut node::contract::Stops, &LogicalKey)| {
        let (ring, known, _) = token_ring();
        let mut stops = node::contract::Stops::default();
        change(&mut stops, &known);
        ring.stop(stops.into());
        let left = ring.still_signs(&bench.cleared("plain", &known), "", &at(NOW, 0));
        let signed = sign(&ring, bench.cleared("plain", &known), NOW).unwrap_err();
        assert_eq!(left.unwrap_err().to_string(), signed.to_string());
        (signed, ring, known)
    };
    assert!(matches!(
        stopped(&|all, _| all.everything = true).0,
        SignError::Disabled("stopped")
    ));
    let tenant = stopped(&|all, key| all.tenants.push(key.facts.tenant().to_owned()));
    assert!(matches!(tenant.0, SignError::Disabled("stopped")));
    let caller = stopped(&|all, _| all.callers.push("oidc:https://callers.example#dev:alice".into()));
    assert!(matches!(caller.0, SignError::CallerStopped));
    assert!(!caller.1.admits("oidc:https://callers.example#dev:alice", TENANT));
    let (refused, ring, known) = stopped(&|all, key| all.key_ids.push(key.facts.id().to_owned()));
    assert!(matches!(refused, SignError::Disabled("stopped")));
    assert_eq!(ring.signs_until(known.facts.id()), 0, "its material is forgotten");
    ring.stop(Stops::default());
    let refused = sign(&ring, bench.cleared("plain", &known), NOW).unwrap_err();
    assert!(
        matches!(refused, SignError::NoLease),
        "it needs a new lease and a new delegation"
    );
}

// R35
#[test]
fn what_an_older_bundle_judged_is_not_signed_once_it_was_tightened() {
    let bench = Bench::new();
    let (ring, known, _) = token_ring();
    ring.demand_bundle(7);
    assert!(sign(&ring, bench.cleared("plain", &known), NOW).is_ok());
    ring.demand_bundle(8);
    ring.demand_bundle(3);
    assert!(ring.takes_bundle(8) && !ring.takes_bundle(7));
    let refused = sign(&ring, bench.cleared("plain", &known), NOW).unwrap_err();
    assert!(matches!(refused, SignError::Superseded));
    assert!(
        ring.still_signs(&bench.cleared("plain", &known), "", &at(NOW, 0))
            .is_err()
    );
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
    let refused = ring
        .sign(bench.cleared("plain", &known), None, "id", &at(NOW, 0))
        .unwrap_err();
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
    ring.lease([(id.to_owned(), LEASED)]);
    let refused = sign(&ring, bench.cleared("package", &known), NOW).unwrap_err();
    assert!(
        matches!(refused, SignError::Unavailable),
        "a key that was not announced is not held: {refused}"
    );
    ring.hold_own(id, OwnKey::new(pair, Arc::new(["leaf".into()]), NOW + 50));
    ring.lease([(id.to_owned(), LEASED)]);
    let signed = sign(&ring, bench.cleared("package", &known), NOW + 49).unwrap();
    assert_eq!(signed.digest(), &signing::digest::sha256(b"hi"));
    assert!(sign(&ring, bench.cleared("package", &known), NOW + 50).is_err());
    let (chain, signs) = ring.chain(&kid, NOW).unwrap();
    assert!(chain.as_ref() == ["leaf"] && signs);
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

/// A delegation that arrives behind a revocation is dropped.
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
    ring.lease([(id.to_owned(), LEASED)]);
    ring.hold_shared(id, vec![again()], NOW + 50);
    assert_eq!(ring.signs_until(id), 0);
    let refused = sign(&ring, bench.cleared("plain", &known), NOW).unwrap_err();
    assert!(matches!(refused, SignError::EdgeRevoked));
}

/// A delegation that arrives behind a deletion is dropped.
#[test]
fn nothing_is_taken_in_behind_a_deletion() {
    let (ring, known, pair) = token_ring();
    let id = known.facts.id();
    let again = SharedKey::new(SigningKey::import(Algorithm::Es256, &pair.export().unwrap()).unwrap());
    assert!(ring.signs_until(id) > 0);
    ring.remove(id);
    ring.hold_shared(id, vec![again], NOW + 50);
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
