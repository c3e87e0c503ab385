use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};

use super::*;
use crate::store::{Committed, Row, Snapshot, Store, StoreError, Transaction};
use crate::testing::Bench;

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

// R35: what a leader that was replaced and does not know it still tries has no effect.
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
