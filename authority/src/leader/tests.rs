use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::{broadcast, watch};

use super::*;
use crate::keys::KeyRecord;
use crate::serve::Wired;
use crate::serve::upkeep::look;
use crate::store::{Committed, Row, Snapshot, Store, StoreError, Transaction};
use crate::testing::{Bench, config};

/// A store that says that others write to it too.
struct Shared(Arc<dyn Store>);

#[async_trait]
impl Store for Shared {
    async fn get(&self, path: &str) -> Result<Option<Row>, StoreError> {
        self.0.get(path).await
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Row)>, StoreError> {
        self.0.scan(prefix, after, limit).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<u64, StoreError> {
        self.0.commit(transaction).await
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.0.watch()
    }

    fn commits(&self) -> broadcast::Receiver<Committed> {
        self.0.commits()
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        self.0.revision().await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.0.snapshot().await
    }
}

fn replica(bench: &Bench, name: &str) -> (Arc<Vault>, Leadership) {
    let vault = Arc::new(Vault::new(
        Arc::new(Shared(bench.parts.store.clone())),
        bench.parts.hsm.clone(),
    ));
    (vault.clone(), Leadership::new(vault, name))
}

async fn leads(replica: &mut Leadership, now: Instant) -> bool {
    replica.lead(now, async {}).await.unwrap().is_some()
}

#[tokio::test]
async fn one_leads_until_it_is_silent() {
    let bench = Bench::new().await;
    let ((_, mut a), (_, mut b)) = (replica(&bench, "a"), replica(&bench, "b"));
    let begun = Instant::now();
    let mut now = begun;
    for _ in 0..40 {
        assert!(leads(&mut a, now).await);
        assert!(!leads(&mut b, now).await);
        now += Duration::from_secs(1);
    }
    // a is silent from here on.
    let mut waited = 0;
    while !leads(&mut b, now).await {
        now += Duration::from_secs(1);
        waited += 1;
    }
    assert!((8..=13).contains(&waited), "{waited} s");
    assert!(!leads(&mut a, now).await, "a comes back and sees that it was replaced");
    b.resign().await;
    assert!(leads(&mut a, now).await, "who resigns is not waited for");
}

/// R35: what a leader that was replaced and does not know it still tries has no effect.
#[tokio::test]
async fn who_was_replaced_commits_nothing() {
    let bench = Bench::new().await;
    let ((vault, mut a), (_, mut b)) = (replica(&bench, "a"), replica(&bench, "b"));
    let now = Instant::now();
    let path = paths::tenant(&bench.tenant());
    let effects = AtomicU32::new(0);
    let effect = || async {
        let held = vault.get::<serde_json::Value>(&path).await.unwrap().unwrap();
        let change = Change::new().replace(path.clone(), &held.value, held.stamp);
        vault
            .commit(change)
            .await
            .map(|_| effects.fetch_add(1, Ordering::SeqCst))
    };
    a.lead(now, effect()).await.unwrap().unwrap().unwrap();
    assert!(!leads(&mut b, now).await);
    // a stands still in the middle of its work while b takes over.
    let refused = a
        .lead(now, async {
            assert!(leads(&mut b, now + PATIENCE).await);
            effect().await
        })
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(refused, Err(Fault::Raced { .. })), "{refused:?}");
    assert_eq!(effects.load(Ordering::SeqCst), 1);
    b.lead(now + PATIENCE, effect()).await.unwrap().unwrap().unwrap();
    assert_eq!(effects.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn alone_on_its_store_an_authority_leads_without_a_row() {
    let bench = Bench::new().await;
    let mut alone = Leadership::new(bench.wired.vault.clone(), "");
    let before = bench.parts.store.revision().await.unwrap();
    assert!(leads(&mut alone, Instant::now()).await);
    assert_eq!(bench.parts.store.revision().await.unwrap(), before);
}

/// The fence aside: two that both believe that they lead, at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_rotate_a_key_once() {
    let bench = Bench::new().await;
    let shared = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let raw = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let enable = json!({"KeyId": raw, "RotationPeriodInDays": 90});
    bench.verb("EnableKeyRotation", enable).await.unwrap();
    let (_stop, stopped) = watch::channel(false);
    let (other, commits) = Wired::join(&config(bench.dir()), &bench.parts, stopped).await.unwrap();
    let follow = tokio::spawn(other.world.clone().follow(commits, other.on_bundle()));
    let versions = || async {
        let path = paths::key(&bench.tenant(), &shared);
        let held = bench.wired.vault.get::<KeyRecord>(&path).await.unwrap().unwrap();
        held.value
            .versions
            .iter()
            .map(|version| version.number)
            .collect::<Vec<_>>()
    };
    let before = versions().await;
    bench.pass(91 * 86_400);
    let mut grown = other.world.grown();
    let newest = bench.parts.store.revision().await.unwrap();
    grown.wait_for(|revision| *revision >= newest).await.unwrap();
    for _ in 0..3 {
        tokio::join!(
            look(&bench.wired.keys, &bench.wired.world, &bench.wired.clock),
            look(&other.keys, &other.world, &other.clock),
        );
    }
    let rotations = bench.verb("ListKeyRotations", json!({"KeyId": raw})).await.unwrap();
    assert_eq!(rotations["Rotations"].as_array().unwrap().len(), 1, "{rotations}");
    // 91 days are beyond every version: one goes on and one stands by, whoever made it, and none twice.
    let after = versions().await;
    let newest_before = before.iter().max().unwrap();
    let made: Vec<_> = after.iter().filter(|number| *number > newest_before).collect();
    let alone = 2;
    assert!(made.len() <= alone && !made.is_empty(), "{before:?} {after:?}");
    bench.settle().await;
    look(&bench.wired.keys, &bench.wired.world, &bench.wired.clock).await;
    assert_eq!(versions().await, after, "nothing is due any more");
    follow.abort();
}

/// What a start costs with very many keys, printed: `SIGNET_KEYS=100000 cargo nextest run -E 'test(many_keys)' --success-output immediate`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_do_not_hold_up_a_start() {
    let count: usize = std::env::var("SIGNET_KEYS").map_or(2000, |count| count.parse().unwrap());
    let bench = Bench::new().await;
    let first = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let tenant = bench.tenant();
    let held = bench
        .wired
        .vault
        .get::<KeyRecord>(&paths::key(&tenant, &first))
        .await
        .unwrap()
        .unwrap();
    for batch in (1..count).collect::<Vec<_>>().chunks(500) {
        let mut change = Change::new();
        for _ in batch {
            let mut record = held.value.clone();
            record.id = uuid::Uuid::new_v4().to_string();
            change = change.create(paths::key(&tenant, &record.row()), &record);
        }
        bench.wired.vault.commit(change).await.unwrap();
    }
    let (clock, hand) = (bench.clock(), bench.hand.clone());
    let dir = bench.end().await;
    let begun = Instant::now();
    let parts = crate::testing::parts(&dir, clock).await;
    let (_stop, stopped) = watch::channel(false);
    let (wired, commits) = Wired::join(&config(&dir), &parts, stopped).await.unwrap();
    let used = json!({"KeyId": first, "Plaintext": "c2VjcmV0"}).to_string();
    wired
        .keys
        .call(&tenant, &crate::testing::Open, "Encrypt", used.as_bytes())
        .await
        .unwrap();
    let serving = begun.elapsed();
    let follow = tokio::spawn(wired.world.clone().follow(commits, wired.on_bundle()));
    wired.world.grown().wait_for(|revision| *revision > 0).await.unwrap();
    println!(
        "{count} keys: a key is used {serving:?} after the start, edges are told of all after {:?}",
        begun.elapsed()
    );
    assert_eq!(wired.world.key_count(), count);
    follow.abort();
    drop(hand);
}
