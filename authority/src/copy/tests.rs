use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::config::StoreConfig;
use crate::hsm::testing::software;
use crate::hsm::{Hsm, Verified};
use crate::store::etcd::testing::Cluster;
use crate::testing::{Bench, config};

/// Configurations of one trust domain: the embedded store in `dir`, and an etcd under a prefix.
fn embedded(dir: &TempDir) -> Config {
    config(dir)
}

fn etcd(dir: &TempDir, cluster: &Cluster, prefix: &str) -> Config {
    let mut config = config(dir);
    config.store = StoreConfig::Etcd(cluster.config(prefix, "a"));
    config
}

/// The software HSM of a directory that no authority runs in.
async fn hsm(dir: &TempDir) -> Arc<dyn Hsm> {
    Arc::new(Verified::new(software(dir.path()).await))
}

async fn run(from: &Config, to: &Config, hsm: &Arc<dyn Hsm>) -> Result<Report, StartError> {
    let original = Parts::with_hsm(from, hsm.clone()).await?;
    let target = Parts::with_hsm(to, hsm.clone()).await?;
    let mut told = Vec::new();
    let mut tell = |done, total| told.push((done, total));
    let result = copied(from, to, (&original, &target), &mut tell).await;
    let recorded = record(to, &target, &result).await;
    original.close();
    target.close();
    let report = result?;
    let (done, total) = told.last().copied().unwrap();
    assert!(done == total && total >= 2 * report.rows, "{done} of {total}");
    recorded.map(|()| report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_to_etcd_and_back_whole() {
    let cluster = Cluster::start();
    let bench = Bench::new().await;
    let key = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let (clock, hand) = (bench.clock(), bench.hand.clone());
    let dir = bench.end().await;
    let (there_dir, back_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (here, there) = (embedded(&dir), etcd(&there_dir, &cluster, "/copy"));

    let token = hsm(&dir).await;
    let first = run(&here, &there, &token).await.unwrap();
    assert!(first.rows > 5 && first.revision > first.from_revision);
    let refused = run(&here, &there, &token).await.unwrap_err().to_string();
    assert!(refused.contains("has something in it already"), "{refused}");

    let back = embedded(&back_dir);
    let second = run(&there, &back, &token).await.unwrap();
    assert_eq!(second.from_revision, first.revision);
    assert!(second.revision > first.revision);
    assert_eq!(
        (&second.sha256, second.rows),
        (&first.sha256, first.rows),
        "what came back is what went"
    );

    drop(token);
    std::fs::copy(
        dir.path().join("software-hsm.json"),
        back_dir.path().join("software-hsm.json"),
    )
    .unwrap();
    let bench = Bench::start_on(back_dir, clock, hand).await;
    assert!(bench.wired.seal.reason().is_none(), "{:?}", bench.wired.seal.reason());
    let used = serde_json::json!({"KeyId": key, "Plaintext": "c2VjcmV0"});
    bench.verb("Encrypt", used).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_use_is_not_copied() {
    let cluster = Cluster::start();
    let bench = Bench::new().await;
    let (there_dir, back_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let there = etcd(&there_dir, &cluster, "/used");
    let here = embedded(bench.dir());
    let error = run(&here, &there, &bench.parts.hsm).await.unwrap_err().to_string();
    assert!(error.contains("another process uses it"), "{error}");

    let dir = bench.end().await;
    let token = hsm(&dir).await;
    run(&embedded(&dir), &there, &token).await.unwrap();
    // A replica leads on it.
    let StoreConfig::Etcd(settings) = &there.store else {
        panic!()
    };
    let store = crate::store::EtcdStore::open(&settings.settings().unwrap())
        .await
        .unwrap();
    let vault = Arc::new(Vault::new(Arc::new(store), token.clone()));
    let mut leadership = crate::leader::Leadership::new(vault, "a");
    leadership
        .lead(std::time::Instant::now(), async {})
        .await
        .unwrap()
        .unwrap();
    let leading = tokio::spawn(async move {
        loop {
            leadership.lead(std::time::Instant::now(), async {}).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    let error = run(&there, &embedded(&back_dir), &token).await.unwrap_err().to_string();
    leading.abort();
    assert!(error.contains("an authority runs on the store"), "{error}");
    assert!(
        !crate::is_initialised(&embedded(&back_dir)).await.unwrap(),
        "half a copy is no authority"
    );
}

#[test]
fn a_copy_has_a_directory_and_an_anchor_of_its_own() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let from = embedded(&here);
    assert_eq!(demand_apart(&from, &embedded(&there)), Ok(()));
    let link = there.path().join("link");
    std::os::unix::fs::symlink(here.path(), &link).unwrap();
    for same in [here.path().to_owned(), here.path().join("."), link] {
        let mut to = embedded(&there);
        to.data_dir = same;
        let refused = demand_apart(&from, &to).unwrap_err().to_string();
        assert!(refused.contains("`--to` a data_dir of its own"), "{refused}");
    }
    let mut to = embedded(&there);
    to.anchor_file = Some(here.path().join("anchor"));
    let refused = demand_apart(&from, &to).unwrap_err().to_string();
    assert!(refused.contains("anchor_file"), "{refused}");
}

#[tokio::test]
async fn a_copy_for_another_trust_domain_is_refused_before_anything_is_written() {
    let (dir, other_dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (from, mut to) = (embedded(&dir), embedded(&other_dir));
    to.trust_domain = "other.org".into();
    let refused = copy(&from, &to, &mut |_, _| {}).await.unwrap_err().to_string();
    assert!(
        refused.contains("`trust_domain`") && refused.contains("other.org"),
        "{refused}"
    );
    assert_eq!(std::fs::read_dir(other_dir.path()).unwrap().count(), 0);
}
