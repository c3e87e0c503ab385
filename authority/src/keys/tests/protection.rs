//! Holds, the deletion guard and the mark of a compromise.

use super::import::{external, import, parameters};
use super::*;
use crate::approvals::{Domain, SafeguardChange};

const DAY: u64 = 86_400;

async fn guard(bench: &Bench, days: u32) {
    let domain = Domain::Tenant(bench.tenant());
    let change = SafeguardChange::DeletionGuard(days);
    let approvals = bench.wired.keys.approvals();
    approvals.change(&domain, &change, "operator:root").await.unwrap();
}

async fn encrypt(bench: &Bench, key: &str) -> Result<Value, KmsError> {
    let body = json!({"KeyId": key, "Plaintext": STANDARD.encode("x")});
    bench.verb("Encrypt", body).await
}

async fn metadata(bench: &Bench, key: &str) -> Value {
    let described = bench.verb("DescribeKey", json!({"KeyId": key})).await.unwrap();
    described["KeyMetadata"].clone()
}

#[tokio::test]
async fn nothing_of_a_held_key_is_deleted_by_anybody_or_by_time() {
    let bench = Bench::new().await;
    let key = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let schedule = json!({"KeyId": key, "PendingWindowInDays": 7});
    bench.verb("ScheduleKeyDeletion", schedule.clone()).await.unwrap();
    for bad in ["", " ", "a\nb", &"x".repeat(257)] {
        let refused = bench.verb("HoldKey", json!({"KeyId": key, "Reason": bad})).await;
        assert_eq!(refused.unwrap_err().kind, KmsErrorType::Validation, "{bad}");
    }
    let held = bench
        .verb("HoldKey", json!({"KeyId": key, "Reason": "case 17"}))
        .await
        .unwrap();
    assert_eq!(held["KeyMetadata"]["Signet"]["LegalHold"]["Reason"], "case 17");
    bench.pass(8 * DAY);
    bench.upkeep().await;
    assert_eq!(
        metadata(&bench, &key).await["KeyState"],
        "PendingDeletion",
        "its window is over, it is there"
    );
    bench.verb("CancelKeyDeletion", json!({"KeyId": key})).await.unwrap();
    let overriding = json!({"KeyId": key, "Override": "I want to"});
    for body in [schedule.clone(), overriding] {
        let refused = bench.verb("ScheduleKeyDeletion", body).await.unwrap_err();
        assert_eq!(refused.kind, KmsErrorType::InvalidState);
        assert!(
            refused.message.contains("case 17") && refused.message.contains("unhold"),
            "{refused}"
        );
    }
    bench.verb("ReleaseKey", json!({"KeyId": key})).await.unwrap();
    let again = bench.verb("ReleaseKey", json!({"KeyId": key})).await.unwrap_err();
    assert_eq!(again.kind, KmsErrorType::InvalidState);
    bench.verb("ScheduleKeyDeletion", schedule).await.unwrap();
    bench.pass(8 * DAY);
    bench.upkeep().await;
    let gone = bench.verb("DescribeKey", json!({"KeyId": key})).await.unwrap_err();
    assert_eq!(gone.kind, KmsErrorType::NotFound);
}

#[tokio::test]
async fn with_a_guard_a_key_that_was_lately_used_needs_a_reason() {
    let bench = Bench::new().await;
    let key = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    encrypt(&bench, &key).await.unwrap();
    // Off until somebody asks for it: KMS has no such thing.
    bench.verb("ScheduleKeyDeletion", json!({"KeyId": key})).await.unwrap();
    bench.verb("CancelKeyDeletion", json!({"KeyId": key})).await.unwrap();
    guard(&bench, 30).await;
    let refused = bench
        .verb("ScheduleKeyDeletion", json!({"KeyId": key}))
        .await
        .unwrap_err();
    assert_eq!(refused.kind, KmsErrorType::InvalidState);
    assert!(refused.message.contains("was used for Encrypt"), "{refused}");
    // What was written down counts as what is remembered.
    bench.wired.keys.write_uses().await.unwrap();
    assert!(bench.verb("ScheduleKeyDeletion", json!({"KeyId": key})).await.is_err());
    let forged = bench
        .verb_as("root", "ScheduleKeyDeletion", json!({"KeyId": key, "Override": "mine"}))
        .await;
    assert_eq!(forged.unwrap_err().kind, KmsErrorType::Validation);
    let body = json!({"KeyId": key, "Override": "replaced"});
    bench.verb("ScheduleKeyDeletion", body).await.unwrap();
    let shown = metadata(&bench, &key).await;
    assert_eq!(shown["Signet"]["Override"]["Reason"], "replaced");
    assert_eq!(shown["Signet"]["Override"]["By"], "operator:root");
    bench.verb("CancelKeyDeletion", json!({"KeyId": key})).await.unwrap();
    bench.pass(30 * DAY + 1);
    bench.verb("ScheduleKeyDeletion", json!({"KeyId": key})).await.unwrap();
    let unused = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    bench
        .verb("ScheduleKeyDeletion", json!({"KeyId": unused}))
        .await
        .unwrap();
    let edges = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let refused = bench
        .verb("ScheduleKeyDeletion", json!({"KeyId": edges}))
        .await
        .unwrap_err();
    assert!(refused.message.contains("edges"), "{refused}");
}

#[tokio::test]
async fn a_compromised_key_is_disabled_everywhere_and_not_enabled_by_the_way() {
    let bench = Bench::new().await;
    let body = json!({"MultiRegion": true});
    let made = bench.verb("CreateKey", body).await.unwrap();
    let key = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let there = json!({"KeyId": key, "ReplicaRegion": "eu-north-1"});
    bench.verb("ReplicateKey", there).await.unwrap();
    let marked = bench.verb("MarkKeyCompromised", json!({"KeyId": key})).await.unwrap();
    assert_eq!(marked["KeyMetadata"]["KeyState"], "Disabled");
    let replica = bench
        .verb_in("eu-north-1", "DescribeKey", json!({"KeyId": key}))
        .await
        .unwrap();
    assert_eq!(replica["KeyMetadata"]["KeyState"], "Disabled");
    let enable = json!({"KeyId": key});
    for refused in [
        bench.verb("EnableKey", enable.clone()).await,
        bench.verb_as("root", "EnableKey", enable.clone()).await,
        bench.verb_in("eu-north-1", "EnableKey", enable.clone()).await,
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind, KmsErrorType::InvalidState);
        assert!(refused.message.contains("marked as compromised"), "{refused}");
    }
    // Through a deletion and back it is still what it was.
    bench
        .verb_in("eu-north-1", "ScheduleKeyDeletion", enable.clone())
        .await
        .unwrap();
    bench
        .verb_in("eu-north-1", "CancelKeyDeletion", enable.clone())
        .await
        .unwrap();
    assert!(bench.verb_in("eu-north-1", "EnableKey", enable.clone()).await.is_err());
    let why = json!({"KeyId": key, "Override": "false alarm"});
    bench.verb("EnableKey", why).await.unwrap();
    encrypt(&bench, &key).await.unwrap();
    // The mark stays.
    bench.verb("DisableKey", enable.clone()).await.unwrap();
    assert!(bench.verb("EnableKey", enable).await.is_err());
}

#[tokio::test]
async fn a_compromised_shared_key_leaves_the_jwks_and_comes_back_with_fresh_versions() {
    let bench = Bench::new().await;
    let key = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let kids = async || -> Vec<(String, String)> {
        let shown = metadata(&bench, &key).await;
        let versions = shown["Signet"]["Versions"].as_array().unwrap().iter();
        let text = |version: &Value, name: &str| version[name].as_str().unwrap().to_owned();
        versions
            .map(|version| (text(version, "Kid"), text(version, "State")))
            .collect()
    };
    let before = kids().await;
    bench
        .verb("MarkKeyCompromised", json!({"KeyId": key, "Reason": "lost"}))
        .await
        .unwrap();
    assert!(kids().await.iter().all(|(_, state)| state == "Compromised"));
    bench.upkeep().await;
    bench
        .verb("EnableKey", json!({"KeyId": key, "Override": "new versions"}))
        .await
        .unwrap();
    let after = kids().await;
    let old: Vec<_> = after
        .iter()
        .filter(|(kid, _)| before.iter().any(|(old, _)| old == kid))
        .collect();
    assert!(old.iter().all(|(_, state)| state == "Compromised"), "{after:?}");
    assert!(after.len() > old.len(), "{after:?}");
}

/// A held key rotates as ever, and each version's material stays; once it is released, what was due goes.
#[tokio::test]
async fn versions_of_a_held_key_outlive_their_retirement_and_their_compromise() {
    let bench = Bench::new().await;
    let key = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let versions = async || {
        metadata(&bench, &key).await["Signet"]["Versions"]
            .as_array()
            .unwrap()
            .clone()
    };
    let material = async || bench.parts.store.scan("material/", None, 100).await.unwrap().len();
    let revision = async || bench.parts.store.revision().await.unwrap();
    let hold = json!({"KeyId": key, "Reason": "case 17"});
    bench.verb("HoldKey", hold).await.unwrap();
    let first = versions().await[0].clone();
    let lost = versions().await[1]["Kid"].clone();
    let body = json!({"KeyId": key, "Kid": lost});
    bench.verb("MarkVersionCompromised", body).await.unwrap();
    for _ in 0..3 {
        bench.pass(365 * DAY);
        bench.upkeep().await;
        bench.verb("RotateKeyOnDemand", json!({"KeyId": key})).await.unwrap();
    }
    let all = versions().await;
    assert!(all[0]["RetireAt"].as_u64().unwrap() < bench.now(), "{all:?}");
    let numbers: Vec<_> = all.iter().map(|version| version["Number"].as_u64().unwrap()).collect();
    let expected: Vec<_> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "all there are, in their order");
    assert_eq!(all[0]["Kid"], first["Kid"]);
    assert_eq!(material().await, all.len());
    // Nothing is due all the same: no look changes anything.
    bench.upkeep().await;
    let before = revision().await;
    bench.upkeep().await;
    assert_eq!(revision().await, before);
    // And no row is read for it, each second until the hold is lifted.
    let (world, keys) = (&bench.wired.world, &bench.wired.keys);
    let due = world.keys_due(bench.now(), |key| keys.rotation_is_due(key));
    assert!(due.is_empty(), "{due:?}");
    // At its release the compromised versions' material goes, and what has retired at the next look.
    let last = all.last().unwrap()["Kid"].clone();
    let body = json!({"KeyId": key, "Kid": last});
    bench.verb("MarkVersionCompromised", body).await.unwrap();
    let kept = material().await;
    bench.verb("ReleaseKey", json!({"KeyId": key})).await.unwrap();
    assert_eq!(material().await, kept - 2);
    bench.upkeep().await;
    let left = versions().await;
    let is_due = |version: &&Value| version["RetireAt"].as_u64().unwrap() <= bench.now();
    assert_eq!(left.iter().filter(is_due).count(), 0, "{left:?}");
    assert_eq!(left.iter().filter(|version| version["Kid"] == last).count(), 1);
    assert_eq!(material().await, left.len() - 1);
}

#[tokio::test]
async fn held_material_outlives_its_time_unusable_and_a_compromise_its_return() {
    let bench = Bench::new().await;
    let id = external(&bench).await;
    let given = parameters(&bench, &id).await;
    let mut brought = import(&id, &given, &[7; 32]);
    brought["ExpirationModel"] = json!("KEY_MATERIAL_EXPIRES");
    brought["ValidTo"] = json!(bench.now() + 60);
    bench.verb("ImportKeyMaterial", brought).await.unwrap();
    bench
        .verb("HoldKey", json!({"KeyId": id, "Reason": "case 17"}))
        .await
        .unwrap();
    let delete = json!({"KeyId": id});
    assert_eq!(
        refused(&bench, "DeleteImportedKeyMaterial", delete.clone()).await,
        "KMSInvalidStateException"
    );
    bench.pass(61);
    bench.upkeep().await;
    let there = async || bench.parts.store.scan("material/", None, 10).await.unwrap().len();
    assert_eq!(there().await, 1);
    let encrypt = json!({"KeyId": id, "Plaintext": "AAAA"});
    assert_eq!(refused(&bench, "Encrypt", encrypt).await, "KMSInvalidStateException");
    bench.verb("ReleaseKey", json!({"KeyId": id})).await.unwrap();
    bench.settle().await;
    bench.upkeep().await;
    assert_eq!(there().await, 0);
    bench.verb("MarkKeyCompromised", json!({"KeyId": id})).await.unwrap();
    bench
        .verb("ImportKeyMaterial", import(&id, &given, &[7; 32]))
        .await
        .unwrap();
    let described = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
    assert_eq!(described["KeyMetadata"]["KeyState"], "Disabled");
}

#[tokio::test]
async fn material_in_use_or_under_hold_is_not_made_to_expire_sooner() {
    let bench = Bench::new().await;
    let id = external(&bench).await;
    let given = parameters(&bench, &id).await;
    let until = |at: u64| {
        let mut request = import(&id, &given, &[7; 32]);
        request["ExpirationModel"] = json!("KEY_MATERIAL_EXPIRES");
        request["ValidTo"] = json!(at);
        request
    };
    let end = bench.now() + 100 * DAY;
    bench.verb("ImportKeyMaterial", until(end)).await.unwrap();
    guard(&bench, 30).await;
    // Unused: its end is its owner's business.
    bench.verb("ImportKeyMaterial", until(end - 1)).await.unwrap();
    encrypt(&bench, &id).await.unwrap();
    let sooner = bench.verb("ImportKeyMaterial", until(end - 2)).await.unwrap_err();
    assert_eq!(sooner.kind, KmsErrorType::InvalidState);
    assert!(sooner.message.contains("was used for Encrypt"), "{sooner}");
    bench.verb("ImportKeyMaterial", until(end)).await.unwrap();
    guard(&bench, 0).await;
    bench
        .verb("HoldKey", json!({"KeyId": id, "Reason": "case 17"}))
        .await
        .unwrap();
    let held = bench.verb("ImportKeyMaterial", until(end - 1)).await.unwrap_err();
    assert!(held.message.contains("case 17"), "{held}");
    bench.verb("ReleaseKey", json!({"KeyId": id})).await.unwrap();
    bench.verb("ImportKeyMaterial", until(end - 1)).await.unwrap();
}

// R28: what time would delete sooner is deleted all the same.
#[tokio::test]
async fn material_is_not_made_to_expire_sooner_without_the_quorum() {
    let bench = Bench::new().await;
    let id = external(&bench).await;
    let given = parameters(&bench, &id).await;
    let until = |seconds: u64| {
        let mut request = import(&id, &given, &[7; 32]);
        request["ExpirationModel"] = json!("KEY_MATERIAL_EXPIRES");
        request["ValidTo"] = json!(bench.now() + seconds);
        request
    };
    bench.verb("ImportKeyMaterial", until(1000)).await.unwrap();
    let key = signing::key::SigningKey::generate(signing::Algorithm::EdDsa).unwrap();
    let pem = signing::certificate::pem_encode("PUBLIC KEY", key.public().unwrap().to_spki_der());
    let quorum = SafeguardChange::Quorum {
        required: 1,
        lifetime: 60,
    };
    for change in [SafeguardChange::add("ada", &pem, Vec::new(), 0).unwrap(), quorum] {
        let domain = Domain::Tenant(bench.tenant());
        let approvals = bench.wired.keys.approvals();
        approvals.change(&domain, &change, "operator:root").await.unwrap();
    }
    assert_eq!(
        refused(&bench, "ImportKeyMaterial", until(999)).await,
        "AccessDeniedException"
    );
    bench.verb("ImportKeyMaterial", until(1001)).await.unwrap();
    bench
        .verb("ImportKeyMaterial", import(&id, &given, &[7; 32]))
        .await
        .unwrap();
    assert_eq!(
        refused(&bench, "ImportKeyMaterial", until(1000)).await,
        "AccessDeniedException"
    );
}
