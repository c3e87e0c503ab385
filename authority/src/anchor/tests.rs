use tempfile::TempDir;

use super::*;
use crate::clock;
use crate::hsm::Verified;
use crate::hsm::testing::software;
use crate::init;
use crate::store::EtcdStore;
use crate::store::etcd::testing::Cluster;
use crate::testing::START;

/// A vault of an authority that was initialised as replica `a`, whose anchor is in the directory.
async fn replica_a(cluster: &Cluster, prefix: &str, dir: &TempDir) -> (Arc<Vault>, Anchor) {
    let store = EtcdStore::open(&cluster.settings(prefix)).await.unwrap();
    let hsm = Arc::new(Verified::new(software(dir.path()).await));
    let vault = Arc::new(Vault::new(Arc::new(store), hsm));
    init::initialise(&vault, "example.org", &clock::held_at(START).0)
        .await
        .unwrap();
    let anchor = of(dir, "a");
    anchor.start_anew(&vault).await.unwrap();
    (vault, anchor)
}

fn of(dir: &TempDir, replica: &str) -> Anchor {
    Anchor::new(dir.path().join("anchor"), Some(replica))
}

async fn sealed(vault: &Vault) -> bool {
    vault.get::<Reason>(paths::SEAL).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_the_anchor_of_its_name_does_not_start_and_stops_nobody() {
    let cluster = Cluster::start();
    let (dir, fresh) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (vault, anchor) = replica_a(&cluster, "/anchors", &dir).await;
    let seal = Seal::examine(&vault, &anchor).await.unwrap();
    assert_eq!(seal.reason(), None);

    // The same name on an empty disk.
    let twin = of(&fresh, "a");
    let refused = Seal::examine(&vault, &twin).await.unwrap_err().to_string();
    let file = twin.file().display().to_string();
    for part in [
        "`a`",
        "another process may run",
        "a name of its own in `replica`",
        &file,
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert!(!twin.file().exists() && !sealed(&vault).await);
    seal.follow(&vault).await.unwrap();
    assert!(!seal.is_closed());
    // As the text says, and the first as ever.
    assert_eq!(Seal::examine(&vault, &of(&fresh, "b")).await.unwrap().reason(), None);
    assert_eq!(Seal::examine(&vault, &anchor).await.unwrap().reason(), None);
}

// R29
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_anchor_that_is_ahead_or_of_another_store_seals_all_replicas() {
    let cluster = Cluster::start();
    let dir = TempDir::new().unwrap();
    let (vault, anchor) = replica_a(&cluster, "/ahead", &dir).await;
    let seen = vault.store().revision().await.unwrap() + 5;
    anchor.write(&vault, seen).await.unwrap();
    let reason = Seal::examine(&vault, &anchor).await.unwrap().reason();
    assert!(
        matches!(reason, Some(Reason::RolledBack { seen: told, .. }) if told == seen),
        "{reason:?}"
    );
    assert!(sealed(&vault).await);
    // Nobody starts unsealed then, whatever the name and with or without an anchor.
    let fresh = TempDir::new().unwrap();
    for name in ["a", "b"] {
        assert!(Seal::examine(&vault, &of(&fresh, name)).await.unwrap().is_closed());
    }

    let dir = TempDir::new().unwrap();
    let (vault, anchor) = replica_a(&cluster, "/other", &dir).await;
    std::fs::write(anchor.file(), b"not an anchor").unwrap();
    let reason = Seal::examine(&vault, &anchor).await.unwrap().reason();
    assert!(matches!(reason, Some(Reason::NoAnchor { .. })), "{reason:?}");
}
