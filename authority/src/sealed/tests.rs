//! A single row that is put back in the store's file, its revision and all else as it was (R29).

use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::clock::{self, Clock};
use crate::names::Tenant;
use crate::seal::{Reason, Seal};
use crate::serve::Authority;
use crate::store::redb::testing::{put_revision, put_row, put_sums, row_of, sums_of};
use crate::testing::{self, Bench};

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join("store.redb")
}

fn at() -> Clock {
    clock::held_at(testing::START).0
}

/// What an authority that starts on the directory says.
async fn reason(dir: &TempDir) -> Option<Reason> {
    let parts = testing::parts(dir, at()).await;
    let vault = Vault::new(parts.store.clone(), parts.hsm.clone());
    let seal = Seal::examine(&vault, &testing::config(dir).anchor()).await.unwrap();
    let reason = seal.reason();
    drop(vault);
    parts.close();
    reason
}

fn replayed(kinds: &[&str]) -> Option<Reason> {
    let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
    Some(Reason::Replayed { kinds })
}

/// An authority with a key that was enabled and is disabled, and an access key that is gone: the directory, and the rows of
/// both as they were.
async fn stopped() -> (TempDir, (String, Row), (String, Row)) {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let access = bench.wired.access_keys.create(&bench.tenant(), None, "").await.unwrap();
    let (key, access_key) = (paths::key(&bench.tenant(), &id), paths::access_key(&access.record.id));
    let row = async |path: &str| bench.parts.store.get(path).await.unwrap().unwrap();
    let (enabled, issued) = (row(&key).await, row(&access_key).await);
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    bench.wired.access_keys.delete(&access.record.id).await.unwrap();
    (bench.end().await, (key, enabled), (access_key, issued))
}

// R29
#[tokio::test]
async fn a_single_old_row_seals_the_authority() {
    let (dir, (key, enabled), (access_key, issued)) = stopped().await;
    let whole = std::fs::read(file(&dir)).unwrap();
    assert_eq!(reason(&dir).await, None);
    let disabled = row_of(&file(&dir), &key).unwrap();
    assert!(enabled.revision < disabled.revision && row_of(&file(&dir), &access_key).is_none());
    let relabelled = Row {
        revision: disabled.revision,
        ..enabled.clone()
    };
    for (path, row, kind) in [
        (&key, Some(&enabled), "keys"),
        (&key, Some(&relabelled), "keys"),
        (&key, None, "keys"),
        (&access_key, Some(&issued), "access-keys"),
        (&paths::AUTHORITY.to_owned(), None, "system"),
    ] {
        std::fs::write(file(&dir), &whole).unwrap();
        put_row(&file(&dir), path, row);
        if path == paths::AUTHORITY {
            // Nothing starts without it; the sums tell all the same.
            assert_eq!(reason(&dir).await, replayed(&["system"]));
            continue;
        }
        assert_eq!(reason(&dir).await, replayed(&[kind]), "{path}");
        // It stays so: nothing that is committed since makes it whole.
        assert_eq!(reason(&dir).await, replayed(&[kind]), "{path}, the second start");
    }
    std::fs::write(file(&dir), &whole).unwrap();
    assert_eq!(reason(&dir).await, None, "the file as it was");
}

// R29
#[tokio::test]
async fn sums_that_were_altered_put_back_or_taken_away_seal_the_authority() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let key = paths::key(&bench.tenant(), &id);
    let anchor = (bench.wired.anchor.clone(), bench.wired.vault.clone());
    anchor.0.advance(&anchor.1, &bench.wired.seal).await.unwrap();
    let (clock, hand) = (
        bench.clock(),
        std::sync::Arc::new(std::sync::atomic::AtomicU64::new(bench.now())),
    );
    drop(anchor);
    let dir = bench.end().await;
    let (older, enabled) = (sums_of(&file(&dir)).unwrap(), row_of(&file(&dir), &key).unwrap());
    let bench = Bench::start_on(dir, clock, hand).await;
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    let revision = bench.parts.store.revision().await.unwrap();
    let dir = bench.end().await;
    let whole = std::fs::read(file(&dir)).unwrap();
    // The row with the sums of its time; the sums of its time under another revision; none.
    put_row(&file(&dir), &key, Some(&enabled));
    put_sums(&file(&dir), Some(&older));
    assert_eq!(reason(&dir).await, replayed(&[]));
    std::fs::write(file(&dir), &whole).unwrap();
    put_row(&file(&dir), &key, Some(&enabled));
    put_sums(&file(&dir), None);
    assert_eq!(reason(&dir).await, replayed(&[]), "the anchor knows of them");
    std::fs::write(file(&dir), &whole).unwrap();
    put_revision(&file(&dir), revision + 1);
    assert_eq!(reason(&dir).await, replayed(&[]), "another revision");
    std::fs::write(file(&dir), &whole).unwrap();
    assert_eq!(reason(&dir).await, None);
}

// R29
#[tokio::test]
async fn a_row_put_back_stops_an_authority_until_a_quorum_has_decided() {
    let (dir, (key, enabled), _) = stopped().await;
    put_row(&file(&dir), &key, Some(&enabled));
    let config = testing::config(&dir);
    let started = async || {
        Authority::start_with(config.clone(), testing::parts(&dir, at()).await, testing::pool())
            .await
            .unwrap()
    };
    let running = started().await;
    let text = running.sealed().unwrap().to_string();
    for part in ["of the kinds `keys`", "restore a backup", "signet restore waive"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    running.stop().await;
    // The audit spool does not say that the key was disabled, so an operator's replay takes the rows as they are. That is on record.
    let outcome = crate::unseal::replay_on(&config, testing::parts(&dir, at()).await, &dir.path().join("audit"))
        .await
        .unwrap();
    assert!(outcome.unsealed);
    let running = started().await;
    assert_eq!(running.sealed(), None);
    running.stop().await;
    assert_eq!(reason(&dir).await, None);
    let parts = testing::parts(&dir, at()).await;
    let vault = Vault::new(parts.store.clone(), parts.hsm.clone());
    let lifted = crate::unseal::history(&vault).await.unwrap();
    assert_eq!(lifted.last().map(|lifted| &lifted.why), replayed(&["keys"]).as_ref());
    drop(vault);
    parts.close();
}

/// A store of an authority that kept no sums: its anchor does not know of any either.
#[tokio::test]
async fn an_older_store_is_taken_as_it_is_once_and_that_is_on_record() {
    let bench = Bench::new().await;
    let (vault, anchor) = (bench.wired.vault.clone(), bench.wired.anchor.clone());
    let revision = bench.parts.store.revision().await.unwrap();
    let old = vault.seal_for(paths::ANCHOR, &revision.to_be_bytes()).await.unwrap();
    drop(vault);
    let dir = bench.end().await;
    put_sums(&file(&dir), None);
    put_row(&file(&dir), paths::SUMS, None);
    std::fs::write(anchor.file(), &old).unwrap();
    assert_eq!(reason(&dir).await, None);
    let since = row_of(&file(&dir), paths::SUMS).unwrap();
    assert!(since.revision > revision && sums_of(&file(&dir)).is_some());
    assert_eq!(reason(&dir).await, None);
    assert_eq!(row_of(&file(&dir), paths::SUMS), Some(since), "once");
    // What is lost with the next start is found: the anchor knows of the sums when the authority has run.
    let parts = testing::parts(&dir, at()).await;
    let vault = Vault::new(parts.store.clone(), parts.hsm.clone());
    anchor.advance(&vault, &Seal::open()).await.unwrap();
    drop(vault);
    parts.close();
    put_sums(&file(&dir), None);
    assert_eq!(reason(&dir).await, replayed(&[]));
}

// R29
#[tokio::test]
async fn a_running_authority_adds_up_its_rows_and_reads_no_row_that_went_back() {
    let bench = Bench::new().await;
    let vault = &bench.wired.vault;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    assert_eq!(vault.is_whole().await.unwrap(), Whole::Yes);
    bench.wired.seal.add_up(vault).await.unwrap();
    assert_eq!(bench.wired.seal.reason(), None);
    // Something that is not the authority writes: whatever it wrote, the sums do not open any more.
    let other = bench.parts.store.clone();
    other.commit(Transaction::new().put("keys/x", "y")).await.unwrap();
    assert_eq!(vault.is_whole().await.unwrap(), Whole::No(Vec::new()));
    bench.verb("DisableKey", json!({"KeyId": id})).await.unwrap();
    assert_eq!(
        vault.is_whole().await.unwrap(),
        Whole::No(Vec::new()),
        "no commit heals it"
    );
    bench.wired.seal.add_up(vault).await.unwrap();
    assert_eq!(bench.wired.seal.reason(), replayed(&[]));
    bench.end().await;
}

/// Many commits at once, of which some are refused, with rows deleted and made anew.
#[tokio::test]
async fn every_commit_keeps_the_sums() {
    let bench = Bench::new().await;
    let vault = bench.wired.vault.clone();
    let tenant = Tenant::parse(testing::TENANT).unwrap();
    async fn change(vault: Arc<Vault>, tenant: Tenant, number: u32) -> Result<(), Fault> {
        let path = paths::key(&tenant, &format!("row-{}", number % 7));
        let seen = vault.get::<u32>(&path).await.unwrap();
        let change = match (number % 3, seen) {
            (0, Some(seen)) => Change::new().unchanged(path.clone(), seen.stamp).delete(path),
            (_, seen) => Change::new().set(path, &number, seen.map(|seen| seen.stamp)),
        };
        vault.commit(change).await.map(drop)
    }
    let mut raced = 0;
    for round in 0..20 {
        let mut all = tokio::task::JoinSet::new();
        for number in 0..16 {
            all.spawn(change(vault.clone(), tenant.clone(), round * 16 + number));
        }
        raced += all.join_all().await.iter().filter(|done| done.is_err()).count();
    }
    assert!(raced > 0, "some overtook others");
    assert_eq!(vault.is_whole().await.unwrap(), Whole::Yes);
    drop(vault);
    bench.end().await;
}
