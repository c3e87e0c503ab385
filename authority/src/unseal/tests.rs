use std::path::PathBuf;

use audit::log::objects::Directory;
use audit::log::{Log, Shipment};
use audit::note::NoteKey;
use serde_json::json;
use signing::algorithm::Algorithm;
use signing::key::SigningKey;

use super::*;
use crate::approvals::{Approver, Domain, Safeguards};
use crate::backup::tests::{take, with_key};
use crate::keys::{KeyRecord, State};
use crate::kms::Recorder;
use crate::names::EdgeId;
use crate::testing::{self, Bench};

/// An authority with an audit spool.
struct Recorded {
    bench: Bench,
    recorder: Arc<Recorder>,
}

impl Recorded {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let recorder = bench
            .wired
            .recorder(&testing::config(bench.dir()), &Metrics::new("test"))
            .unwrap();
        Self { bench, recorder }
    }

    async fn performed(&self, operation: &str, named: &str, digest: Option<[u8; 32]>) {
        self.performed_on(operation, (named, None), digest).await;
    }

    async fn performed_on(&self, operation: &str, (named, kid): (&str, Option<&str>), digest: Option<[u8; 32]>) {
        let entry = Entry {
            operation,
            caller: "operator:root",
            account: testing::TENANT,
            decided: Decided {
                key: Some(named.to_owned()),
                kid: kid.map(str::to_owned),
                ..Decided::default()
            },
            digest,
            refused: None,
            request_id: Uuid::new_v4(),
            headers: &HeaderMap::new(),
        };
        self.recorder.record_stop(entry).await.unwrap();
    }

    /// Ends as a process does, but for the directory.
    async fn end(self) -> tempfile::TempDir {
        let Self { bench, recorder } = self;
        tokio::task::spawn_blocking(move || recorder.close()).await.unwrap();
        bench.end().await
    }
}

fn refused<T>(result: Result<T, StartError>) -> String {
    result.map(drop).unwrap_err().to_string()
}

async fn parts(dir: &tempfile::TempDir) -> Parts {
    testing::parts(dir, crate::clock::held_at(testing::START + 600).0).await
}

/// Restores a backup in the place of the store.
async fn put_back(dir: &tempfile::TempDir, file: &[u8]) {
    let config = testing::config(dir);
    std::fs::remove_file(dir.path().join("store.redb")).unwrap();
    let hsm = Arc::new(crate::hsm::Verified::new(
        crate::hsm::testing::software(dir.path()).await,
    ));
    let backup = crate::backup::format::Reader::open(file).unwrap();
    let clock = crate::clock::held_at(testing::START + 600).0;
    crate::restore::restore_into(&config, &clock, hsm, backup, &[], &mut |_, _| {})
        .await
        .unwrap();
}

fn records(dir: &Path) -> Vec<serde_json::Value> {
    let tail = audit::read::tail(&dir.join("audit"), false).unwrap();
    tail.map(|record| serde_json::from_str(&record.unwrap().to_json()).unwrap())
        .collect()
}

#[tokio::test]
async fn a_replay_stops_again_what_was_stopped_after_the_backup() {
    let site = Recorded::new().await;
    let bench = &site.bench;
    let stopped = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let narrowed = bench.raw("HMAC_256", "GENERATE_VERIFY_MAC").await;
    let untouched = bench.raw("HMAC_384", "GENERATE_VERIFY_MAC").await;
    let edge = bench.edge("edge-1").await;
    let access = bench
        .wired
        .access_keys
        .create(&bench.tenant(), None, "")
        .await
        .unwrap()
        .record
        .id;
    // Before the backup: what is restored knows it already, and a later enabling is part of it too.
    site.performed("kms:DisableKey", &untouched, None).await;
    site.performed("kms:EnableKey", &untouched, None).await;
    let file = take(&bench.wired.vault, Some(site.recorder.position())).await;
    bench.verb("DisableKey", json!({"KeyId": stopped})).await.unwrap();
    site.performed("kms:DisableKey", &stopped, None).await;
    site.performed("kms:PutKeyPolicy", &narrowed, None).await;
    site.performed("admin:RevokeEdge", edge.id().as_str(), None).await;
    site.performed("admin:DeleteAccessKey", &access, None).await;
    site.performed("kms:DisableKey", "made-after-the-backup", None).await;
    let tenant = "tenant/000000000001";
    for (operation, what) in [("admin:Stop", "all"), ("admin:Stop", tenant), ("admin:Resume", "all")] {
        site.performed(operation, what, None).await;
    }
    drop(edge);
    let dir = site.end().await;
    put_back(&dir, &file).await;
    let config = testing::config(&dir);

    let outcome = replay_on(&config, parts(&dir).await, &config.audit_dir())
        .await
        .unwrap();
    assert!(outcome.unsealed && outcome.outstanding.is_empty());
    let of = |id: &str| outcome.replayed.iter().find(|replayed| replayed.id == id).unwrap();
    assert_eq!(outcome.replayed.len(), 6, "{outcome:?}");
    assert!(of(tenant).stopped);
    assert!(of(&stopped).stopped && of(&stopped).to_do.is_none());
    assert!(of(&narrowed).stopped && of(&narrowed).to_do.is_some());
    assert!(of("edge-1").stopped && of(&access).stopped && !of("made-after-the-backup").stopped);

    let (clock, hand) = crate::clock::held_at(testing::START + 700);
    let bench = Bench::start_on(dir, clock, hand).await;
    assert!(bench.wired.seal.reason().is_none());
    let state = async |id: &str| {
        let described = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
        described["KeyMetadata"]["KeyState"].as_str().unwrap().to_owned()
    };
    let halts = bench.wired.world.halts();
    assert!(halts.has_tenant("000000000001") && !halts.has_tenant("000000000002"));
    assert_eq!(state(&stopped).await, "Disabled");
    assert_eq!(state(&narrowed).await, "Disabled");
    assert_eq!(state(&untouched).await, "Enabled");
    let edges = bench.wired.edges.list().await.unwrap();
    assert!(crate::edges::demand_active(&edges[0]).is_err());
    assert_eq!(edges[0].id, EdgeId::parse("edge-1").unwrap());
    let history = history(&bench.wired.vault).await.unwrap();
    assert_eq!((history.len(), history[0].how.as_str()), (1, "replayed"));
    let recorded = records(bench.path());
    assert!(
        recorded
            .iter()
            .any(|record| record["profile"] == "restore:Replay" && record["outcome"] == "performed")
    );
}

/// What is known of a key after a restart.
async fn known(bench: &Bench, id: &str) -> KeyRecord {
    let rows = bench.wired.vault.all::<KeyRecord>(paths::KEYS).await.unwrap();
    rows.into_iter().find(|(_, held)| held.value.id == id).unwrap().1.value
}

#[tokio::test]
async fn a_replay_marks_and_holds_keys_again_spares_them_and_takes_approvers_away() {
    let site = Recorded::new().await;
    let bench = &site.bench;
    let raw = async || bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let (marked, held, spared, waiting) = (raw().await, raw().await, raw().await, raw().await);
    for id in [&spared, &waiting] {
        let deletion = json!({"KeyId": id, "PendingWindowInDays": 7});
        bench.verb("ScheduleKeyDeletion", deletion).await.unwrap();
    }
    let domain = Domain::Tenant(bench.tenant());
    let approver = |name: &str| Approver {
        name: name.to_owned(),
        kid: name.to_owned(),
        public_key: String::new(),
        principals: [].into(),
        added_at: 0,
    };
    let safeguards = Safeguards {
        approvers: vec![approver("ada"), approver("bob")],
        ..Safeguards::default()
    };
    let vault = &bench.wired.vault;
    let change = Change::new()
        .create(paths::safeguards(&domain), &safeguards)
        .create(paths::approval_by_id(&domain, "apr-x"), &json!({"approved": true}));
    vault.commit(change).await.unwrap();
    let file = take(vault, Some(site.recorder.position())).await;
    site.performed("kms:MarkVersionCompromised", &marked, None).await;
    site.performed("kms:HoldKey", &held, None).await;
    site.performed("kms:CancelKeyDeletion", &spared, None).await;
    site.performed(crate::stops::operation::REMOVE_APPROVER, "ada", None)
        .await;
    let dir = site.end().await;
    put_back(&dir, &file).await;
    let config = testing::config(&dir);
    let outcome = replay_on(&config, parts(&dir).await, &config.audit_dir())
        .await
        .unwrap();
    assert!(outcome.unsealed, "{outcome:?}");

    // The window of what still waits has begun anew with the end of the seal.
    let (clock, hand) = crate::clock::held_at(testing::START + 7 * 86_400);
    let bench = Bench::start_on(dir, clock, hand).await;
    let marked = known(&bench, &marked).await;
    assert!(marked.state == State::Disabled && marked.protection.compromised.is_some());
    assert!(known(&bench, &held).await.protection.hold.is_some());
    assert_eq!(known(&bench, &spared).await.state, State::Disabled);
    let again = testing::START + 600 + 7 * 86_400;
    let State::PendingDeletion { at, .. } = known(&bench, &waiting).await.state else {
        panic!("its deletion was not taken back");
    };
    assert_eq!(at, again);
    let vault = &bench.wired.vault;
    let left = vault
        .get::<Safeguards>(&paths::safeguards(&domain))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(left.value.approvers, [approver("bob")]);
    let asked = vault.all::<serde_json::Value>(paths::APPROVALS).await.unwrap();
    assert!(asked.is_empty(), "an approval from before may have been used since");
}

#[tokio::test]
async fn a_replay_marks_the_version_that_was_marked_and_no_other() {
    let site = Recorded::new().await;
    let id = site.bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let kids: Vec<_> = known(&site.bench, &id).await.versions;
    let (lost, other) = (kids[0].kid.clone(), kids[1].kid.clone());
    let file = take(&site.bench.wired.vault, Some(site.recorder.position())).await;
    site.performed_on("kms:MarkVersionCompromised", (&id, Some(&lost)), None)
        .await;
    site.performed_on("kms:MarkVersionCompromised", (&id, Some("made-after-the-backup")), None)
        .await;
    let dir = site.end().await;
    put_back(&dir, &file).await;
    let config = testing::config(&dir);
    let outcome = replay_on(&config, parts(&dir).await, &config.audit_dir())
        .await
        .unwrap();
    assert!(outcome.unsealed, "{outcome:?}");
    let replayed = &outcome.replayed[0];
    assert!(replayed.stopped && replayed.to_do.is_none(), "{replayed:?}");
    let (clock, hand) = crate::clock::held_at(testing::START + 700);
    let bench = Bench::start_on(dir, clock, hand).await;
    let key = known(&bench, &id).await;
    assert!(key.state == State::Enabled && key.protection.compromised.is_none());
    let marked: Vec<_> = key.versions.iter().filter(|version| version.compromised).collect();
    assert!(matches!(&marked[..], [version] if version.kid == lost), "{marked:?}");
    assert!(key.versions.iter().any(|version| version.kid == other));
}

#[tokio::test]
async fn a_spool_that_does_not_reach_back_or_is_damaged_unseals_nothing() {
    let site = Recorded::new().await;
    let file = take(&site.bench.wired.vault, Some(site.recorder.position())).await;
    site.performed("kms:DisableKey", "a", None).await;
    let dir = site.end().await;
    put_back(&dir, &file).await;
    let config = testing::config(&dir);
    let other = Recorded::new().await;
    let other = other.end().await;
    let foreign = refused(replay_on(&config, parts(&dir).await, &other.path().join("audit")).await);
    assert!(foreign.contains("does not reach back to the backup"), "{foreign}");
    let empty = tempfile::TempDir::new().unwrap();
    let nothing = refused(replay_on(&config, parts(&dir).await, empty.path()).await);
    assert!(nothing.contains("is not an authority's"), "{nothing}");
    let copy = empty.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    let segment: PathBuf = std::fs::read_dir(config.audit_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "spool"))
        .min()
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[40] ^= 1;
    std::fs::write(copy.join(segment.file_name().unwrap()), bytes).unwrap();
    let damaged = refused(replay_on(&config, parts(&dir).await, &copy).await);
    assert!(damaged.contains("audit spool"), "{damaged}");
    let parts = parts(&dir).await;
    assert!(parts.store.get(paths::SEAL).await.unwrap().is_some());
    parts.close();
    let recorded = records(dir.path());
    let refusals = recorded.iter().filter(|record| record["profile"] == "restore:Replay");
    assert_eq!(refusals.filter(|record| record["outcome"] == "refused").count(), 3);
}

/// The log that a spool's records make, without those of one number.
fn log_of(spool: &Path, log: &Path, left_out: u64) {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let key = NoteKey::new("example.org/audit", key).unwrap();
    let objects = Directory::open(log).unwrap().unwrap();
    let mut log = Log::open(Box::new(objects), key).unwrap();
    for record in audit::read::tail(spool, false).unwrap() {
        let record = record.unwrap();
        if record.sequence != left_out {
            let shipment = Shipment {
                records: vec![record.encode().unwrap()],
                edge: record.edge,
                incarnation: record.incarnation,
            };
            log.take(vec![shipment]).unwrap().remove(0).unwrap();
        }
    }
    log.publish().unwrap();
}

#[tokio::test]
async fn the_log_alone_is_replayed_and_a_hole_in_it_unseals_nothing() {
    let site = Recorded::new().await;
    let stopped = site.bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let file = take(&site.bench.wired.vault, Some(site.recorder.position())).await;
    for id in [&stopped, "a", "b"] {
        site.performed("kms:DisableKey", id, None).await;
    }
    let dir = site.end().await;
    put_back(&dir, &file).await;
    let config = testing::config(&dir);
    let copy = tempfile::TempDir::new().unwrap();
    // Records 1 to 5: a start, three stops, an end.
    for (left_out, why) in [
        (5, "last records are missing"),
        (2, "records 2 to 2 of"),
        (4, "records 4 to 4 of"),
    ] {
        let copy = copy.path().join(left_out.to_string());
        std::fs::create_dir_all(copy.join("audit")).unwrap();
        log_of(&config.audit_dir(), &copy.join("log"), left_out);
        let hole = refused(replay_on(&config, parts(&dir).await, &copy.join("audit")).await);
        assert!(hole.contains(why) && hole.contains("--audit"), "{hole}");
    }
    // The same with the spool beside it.
    let spool = config.audit_dir();
    log_of(&spool, &dir.path().join("log"), 4);
    let hole = refused(replay_on(&config, parts(&dir).await, &spool).await);
    assert!(hole.contains("records 4 to 4 of"), "{hole}");
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();

    let whole = copy.path().join("whole");
    std::fs::create_dir_all(whole.join("audit")).unwrap();
    log_of(&spool, &whole.join("log"), 0);
    let outcome = replay_on(&config, parts(&dir).await, &whole.join("audit"))
        .await
        .unwrap();
    assert!(outcome.unsealed, "{outcome:?}");
    assert!(
        outcome
            .replayed
            .iter()
            .any(|replayed| replayed.id == stopped && replayed.stopped)
    );
}

#[tokio::test]
async fn a_bundle_that_was_published_since_has_to_be_published_again() {
    let site = Recorded::new().await;
    site.bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    site.bench
        .key("ECC_NIST_P256", "artifact", "own", "alias/release")
        .await;
    site.bench.apply(testing::DELEGATE).await;
    let file = take(&site.bench.wired.vault, Some(site.recorder.position())).await;
    let narrower = "permit (principal is Edge, action == Action::\"Delegate\", resource is Key) when { 1 == 2 };";
    site.bench.apply(narrower).await;
    let digest = site.bench.wired.bundles.in_force().published.clone().unwrap().digest;
    let digest = signing::encoding::from_hex(&digest).unwrap().try_into().unwrap();
    site.performed("admin:ApplyBundle", "", Some(digest)).await;
    let dir = site.end().await;
    put_back(&dir, &file).await;
    let config = testing::config(&dir);
    let outcome = replay_on(&config, parts(&dir).await, &config.audit_dir())
        .await
        .unwrap();
    assert!(!outcome.unsealed);
    assert!(outcome.outstanding[0].contains("signet bundle apply"), "{outcome:?}");
    let (clock, hand) = crate::clock::held_at(testing::START + 700);
    let bench = Bench::start_on(dir, clock, hand).await;
    assert!(bench.wired.seal.reason().is_some());
    bench.apply(narrower).await;
    let dir = bench.end().await;
    let outcome = replay_on(&config, parts(&dir).await, &config.audit_dir())
        .await
        .unwrap();
    assert!(outcome.unsealed, "{outcome:?}");
}

// R28
#[tokio::test]
async fn a_waiver_needs_a_quorum_of_different_shares() {
    let site = Recorded::new().await;
    let made = with_key(&site.bench).await;
    let file = take(&site.bench.wired.vault, Some(site.recorder.position())).await;
    let dir = site.end().await;
    put_back(&dir, &file).await;
    let config = testing::config(&dir);
    let again = |at: usize| made.shares[at].to_text().parse::<Share>().unwrap();
    let few = refused(waive_on(&config, parts(&dir).await, "lost", &made.shares[..2]).await);
    assert!(few.starts_with("3 different shares"), "{few}");
    let twice = [again(0), again(1), again(1)];
    let twice = refused(waive_on(&config, parts(&dir).await, "lost", &twice).await);
    assert!(twice.starts_with("share 2 was given twice"), "{twice}");
    // A backup key that was made after the backup is not the one that counts.
    let others = crate::backup::make_key(3, 2, 0).unwrap();
    let foreign = refused(waive_on(&config, parts(&dir).await, "lost", &others.shares).await);
    assert!(foreign.contains("are needed"), "{foreign}");
    let silent = waive(&config, " ", &made.shares).await;
    assert!(refused(silent).contains("the reason"));
    let lifted = waive_on(
        &config,
        parts(&dir).await,
        "the spool burnt with the rest",
        &made.shares[2..],
    )
    .await
    .unwrap();
    assert_eq!(lifted.shares, [3, 4, 5]);
    let open = refused(waive_on(&config, parts(&dir).await, "again", &made.shares[2..]).await);
    assert!(open.contains("is not sealed"), "{open}");
    let recorded = records(dir.path());
    let outcomes: Vec<_> = recorded
        .iter()
        .filter(|record| record["profile"] == "restore:Waive")
        .map(|record| (record["outcome"].as_str().unwrap(), record["code"].as_str()))
        .collect();
    let refusal = ("refused", Some("bad_share"));
    assert_eq!(outcomes, [refusal, refusal, refusal, ("performed", None)]);
}

// R29
#[tokio::test]
async fn a_store_that_was_put_back_is_found_at_start() {
    let site = Recorded::new().await;
    let made = with_key(&site.bench).await;
    let key = site.bench.raw("HMAC_256", "GENERATE_VERIFY_MAC").await;
    let used = paths::approval_by_id(&Domain::Authority, "apr-x");
    let used = Change::new().create(used, &json!({"approved": true}));
    site.bench.wired.vault.commit(used).await.unwrap();
    let before = site.bench.parts.store.revision().await.unwrap();
    let dir = site.end().await;
    let store = dir.path().join("store.redb");
    let older = std::fs::read(&store).unwrap();
    let (clock, hand) = crate::clock::held_at(testing::START + 10);
    let bench = Bench::start_on(dir, clock.clone(), hand.clone()).await;
    assert!(bench.wired.seal.reason().is_none());
    bench.verb("DisableKey", json!({"KeyId": key})).await.unwrap();
    let seen = bench.parts.store.revision().await.unwrap();
    assert!(seen > before);
    bench
        .wired
        .anchor
        .advance(&bench.wired.vault, &bench.wired.seal)
        .await
        .unwrap();
    let dir = bench.end().await;
    let newest = std::fs::read(&store).unwrap();

    std::fs::write(&store, &older).unwrap();
    let bench = Bench::start_on(dir, clock.clone(), hand.clone()).await;
    let reason = bench.wired.seal.reason().unwrap().to_string();
    for part in [format!("revision {seen}"), format!("revision {before}")] {
        assert!(reason.contains(&part), "{part}: {reason}");
    }
    assert_eq!(bench.wired.seal.demand_open(), Err(Fault::Sealed));
    // Again, and with commits made meanwhile that reach the anchor's revision: still.
    for _ in 0..10 {
        bench
            .wired
            .vault
            .commit(Change::new().overwrite_bytes("system/test", b"x"))
            .await
            .unwrap();
    }
    let bench = bench.restart().await;
    assert!(bench.wired.seal.reason().is_some());
    let dir = bench.end().await;

    // The newer store in its place again: nothing to complain about.
    std::fs::write(&store, &newest).unwrap();
    let bench = Bench::start_on(dir, clock.clone(), hand.clone()).await;
    assert!(bench.wired.seal.reason().is_none());
    let dir = bench.end().await;

    // Or the older one, on the word of a quorum: beyond all that was ever seen.
    std::fs::write(&store, &older).unwrap();
    let config = testing::config(&dir);
    waive_on(&config, parts(&dir).await, "accepted", &made.shares[..3])
        .await
        .unwrap();
    let bench = Bench::start_on(dir, clock, hand).await;
    assert!(bench.wired.seal.reason().is_none());
    assert!(bench.parts.store.revision().await.unwrap() >= next_life(seen, 0));
    // What was used since must not be there to be used again.
    for kind in [paths::TOKENS, paths::APPROVALS] {
        let left = bench.wired.vault.all::<serde_json::Value>(kind).await.unwrap();
        assert!(left.is_empty(), "{kind}");
    }
}

// R29, R36
#[tokio::test]
async fn neither_a_crash_nor_an_anchor_that_lags_is_a_false_alarm_and_its_loss_is_one() {
    let site = Recorded::new().await;
    let dir = site.end().await;
    let anchor = dir.path().join("anchor");
    let lagging = std::fs::read(&anchor).unwrap();
    let (clock, hand) = crate::clock::held_at(testing::START + 10);
    let bench = Bench::start_on(dir, clock.clone(), hand.clone()).await;
    bench.raw("HMAC_256", "GENERATE_VERIFY_MAC").await;
    bench
        .wired
        .anchor
        .advance(&bench.wired.vault, &bench.wired.seal)
        .await
        .unwrap();
    let dir = bench.end().await;
    // kill -9 between a commit and the anchor, and in the middle of writing the anchor.
    std::fs::write(&anchor, &lagging).unwrap();
    std::fs::write(anchor.with_extension("new"), b"half").unwrap();
    let bench = Bench::start_on(dir, clock.clone(), hand.clone()).await;
    assert!(bench.wired.seal.reason().is_none());
    let dir = bench.end().await;

    let store = std::fs::read(dir.path().join("store.redb")).unwrap();
    for wrong in [None, Some(b"not an anchor".to_vec()), Some(vec![0; 5000])] {
        std::fs::write(dir.path().join("store.redb"), &store).unwrap();
        match &wrong {
            None => std::fs::remove_file(&anchor).unwrap(),
            Some(bytes) => std::fs::write(&anchor, bytes).unwrap(),
        }
        let parts = parts(&dir).await;
        let vault = Vault::new(parts.store.clone(), parts.hsm.clone());
        let seal = Seal::examine(&vault, &testing::config(&dir).anchor()).await.unwrap();
        assert!(matches!(seal.reason(), Some(Reason::NoAnchor { .. })), "{wrong:?}");
        drop(vault);
        parts.close();
    }
}
