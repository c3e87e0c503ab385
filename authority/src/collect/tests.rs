use std::time::Duration;

use audit::log::verify::Report;
use audit::note::VerifierKey;
use audit::record::{Draft, Outcome};
use audit::spool::{Settings, Spool};
use uuid::Uuid;

use std::path::{Path, PathBuf};

use super::*;
use crate::hsm::Verified;
use crate::hsm::testing::software;
use crate::init;
use crate::kms::Chain;
use crate::store::EtcdStore;
use crate::store::etcd::testing::Cluster;
use crate::testing::{Bench, START};

type Alarms = Arc<Mutex<Vec<&'static str>>>;

pub(crate) struct Site {
    bench: Bench,
    metrics: Metrics,
    alarms: Alarms,
}

impl Site {
    pub(crate) async fn new() -> Site {
        Site {
            bench: Bench::new().await,
            metrics: Metrics::new("test"),
            alarms: Alarms::default(),
        }
    }

    fn directory(&self) -> PathBuf {
        self.bench.path().join("log")
    }

    pub(crate) async fn open(&self) -> Result<Arc<Collector>, StartError> {
        let alarms = self.alarms.clone();
        let alarm: Alarm = Box::new(move |what| alarms.lock().unwrap().push(what));
        Collector::open(
            &self.bench.wired.vault,
            (LogPlace::Directory(self.directory()), "", "example.org"),
            &self.metrics,
            alarm,
        )
        .await
    }

    fn alarms(&self) -> Vec<&'static str> {
        self.alarms.lock().unwrap().clone()
    }

    fn verified(&self, key: &str) -> Report {
        let key: VerifierKey = key.parse().unwrap();
        audit::log::verify::directory(&self.directory(), &key, &[], |_, _| {}).unwrap()
    }
}

fn draft(request: u128) -> Draft<'static> {
    Draft {
        outcome: Outcome::Performed,
        caller: "arn:aws:iam::000000000001:root".into(),
        tenant: "000000000001".into(),
        profile: Some("kms:Sign".into()),
        key: None,
        kid: None,
        digest: None,
        policies: Vec::new().into(),
        plugins: Vec::new(),
        request_id: Uuid::from_u128(request),
        trace_id: None,
        time_ms: 1,
    }
}

/// The chunks of a spool with so many uses, as an edge ships them.
pub(crate) fn shipped(edge: &str, uses: u128) -> Vec<Shipment> {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(directory.path(), edge, "i1", Settings::default()).unwrap();
    for request in 0..uses {
        let _recorded = spool.append(&draft(request)).unwrap();
    }
    spool.close();
    let mut outbox = audit::ship::Outbox::open(directory.path(), 0).unwrap();
    let chunks = std::iter::from_fn(|| outbox.chunk(("", 0), "i1", 0).unwrap());
    let shipments = chunks.map(|chunk| Shipment {
        edge: edge.into(),
        incarnation: chunk.incarnation,
        records: chunk.records,
    });
    shipments.collect()
}

pub(crate) async fn bring(log: &Collector, shipments: Vec<Shipment>) -> Vec<Result<Receipt, Unshipped>> {
    let mut waiting = Vec::new();
    for shipment in shipments {
        waiting.push(log.offer(shipment).await.unwrap());
    }
    let mut receipts = Vec::new();
    for receipt in waiting {
        receipts.push(receipt.await);
    }
    receipts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_many_edges_are_in_one_log_that_goes_on_after_a_restart() {
    let site = Site::new().await;
    let log = site.open().await.unwrap();
    assert_eq!(site.alarms(), ["audit:BeginLog"]);
    let vkey = log.vkey();
    let first = shipped("edge-1", 500);
    let receipts = bring(&log, [first.clone(), shipped("edge-2", 3)].concat()).await;
    assert!(receipts.iter().all(Result::is_ok));
    assert_eq!(receipts.last().unwrap().as_ref().unwrap().next, 6);
    log.close();
    assert!(matches!(
        log.offer(shipped("edge-3", 1).remove(0)).await.map(drop),
        Err(Unshipped::Unavailable(_))
    ));
    let again = site.open().await.unwrap();
    assert_eq!((again.vkey(), site.alarms().len()), (vkey.clone(), 1));
    assert!(
        bring(&again, first).await.iter().all(Result::is_ok),
        "again, and nothing twice"
    );
    again.close();
    let report = site.verified(&vkey);
    assert_eq!((report.records, report.faults.len()), (507, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_record_of_a_number_raises_an_alarm() {
    let site = Site::new().await;
    let log = site.open().await.unwrap();
    assert!(bring(&log, shipped("edge-1", 5)).await.iter().all(Result::is_ok));
    // The same edge, process and numbers; another start time or not, other uses.
    let mut forged = shipped("edge-1", 3);
    forged.extend(shipped("edge-1", 4));
    let refused = bring(&log, forged).await;
    assert!(
        refused
            .iter()
            .any(|receipt| matches!(receipt, Err(Unshipped::Refused(Refusal::Conflict { .. })))),
        "{refused:?}"
    );
    assert!(site.alarms().contains(&"audit:Conflict"));
    assert_eq!(log.broken(), None, "one edge's lie does not stop the others");
}

// R29
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_put_back_is_not_written_on_when_an_edge_has_seen_more() {
    let site = Site::new().await;
    let log = site.open().await.unwrap();
    assert!(bring(&log, shipped("edge-1", 5)).await.iter().all(Result::is_ok));
    log.close();
    let before = site.bench.path().join("before");
    copy(&site.directory(), &before);
    let log = site.open().await.unwrap();
    assert!(bring(&log, shipped("edge-2", 5)).await.iter().all(Result::is_ok));
    log.close();
    let seen = log.note();
    std::fs::remove_dir_all(site.directory()).unwrap();
    copy(&before, &site.directory());
    let log = site.open().await.unwrap();
    log.seen("edge-2", &seen).unwrap();
    let receipts = bring_what_can(&log, shipped("edge-3", 5)).await;
    assert!(receipts.iter().all(Result::is_err), "{receipts:?}");
    assert!(log.broken().unwrap().contains("edge-2") && site.alarms().contains(&"audit:LogBroken"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_gone_is_followed_by_another_one_under_another_name() {
    let site = Site::new().await;
    let log = site.open().await.unwrap();
    log.close();
    let (vkey, seen) = (log.vkey(), log.note());
    let away = site.bench.path().join("away");
    std::fs::rename(site.directory(), &away).unwrap();
    let log = site.open().await.unwrap();
    assert_ne!(log.vkey(), vkey);
    assert_eq!(site.alarms(), ["audit:BeginLog", "audit:BeginLog"]);
    log.seen("edge-1", &seen).unwrap();
    assert!(bring(&log, shipped("edge-1", 1)).await.iter().all(Result::is_ok));
    log.close();
    // Back again, as a volume that was not mounted: it is written on under its own key.
    std::fs::remove_dir_all(site.directory()).unwrap();
    std::fs::rename(&away, site.directory()).unwrap();
    let log = site.open().await.unwrap();
    assert_eq!(log.vkey(), vkey);
    assert!(bring(&log, shipped("edge-1", 1)).await.iter().all(Result::is_ok));
    assert_eq!(site.alarms().len(), 2, "and none begins");
}

/// Of another authority, several of which share an etcd.
async fn another(cluster: &Cluster, dir: &Path) -> Arc<Vault> {
    let store = EtcdStore::open(&cluster.settings("/log")).await.unwrap();
    let hsm = Arc::new(Verified::new(software(dir).await));
    let vault = Arc::new(Vault::new(Arc::new(store), hsm));
    let clock = crate::clock::held_at(START).0;
    init::initialise(&vault, "example.org", &clock).await.unwrap();
    vault
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_another_authority_may_have_are_no_gap_and_its_log_is_not_opened() {
    let (cluster, site) = (Cluster::start(), Site::new().await);
    let alone = site.open().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let vault = another(&cluster, dir.path()).await;
    let shared = Metrics::new("test");
    let open = async |place: PathBuf, metrics: &Metrics| {
        let place = (LogPlace::Directory(place), "b", "example.org");
        Collector::open(&vault, place, metrics, Box::new(|_| {})).await
    };
    let log = open(dir.path().join("log"), &shared).await.unwrap();
    let mut chunks = shipped("edge-1", 1_000);
    assert!(chunks.len() > 2);
    chunks.remove(1);
    for log in [&alone, &log] {
        assert!(bring(log, chunks.clone()).await.iter().all(Result::is_ok));
    }
    let text = shared.render().unwrap();
    assert!(
        text.contains("audit_gaps_here_total 1") && !text.contains("audit_gaps_total"),
        "{text}"
    );
    let text = site.metrics.render().unwrap();
    assert!(text.contains("audit_gaps_total 1"), "{text}");

    log.close();
    alone.close();
    let refused = open(site.directory(), &Metrics::new("test"))
        .await
        .map(drop)
        .unwrap_err()
        .to_string();
    let directory = site.directory().display().to_string();
    for part in [&directory, "is not signed by", "a place of its own (`data_dir`"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_s_own_spool_is_drained_and_does_not_fill_up() {
    let site = Site::new().await;
    let log = site.open().await.unwrap();
    let directory = site.bench.path().join("own");
    let settings = Settings {
        segment_bytes: 16 << 10,
        max_bytes: 128 << 10,
        keep_shipped: 32 << 10,
        ..Settings::default()
    };
    let (spool, _) = Spool::open(&directory, "authority", "i1", settings).unwrap();
    let spool = Arc::new(spool);
    let own = Chain {
        edge: "authority".into(),
        incarnation: "i1".into(),
    };
    let drain = Drain::start(log.clone(), spool.clone(), directory, own);
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut written = 0_u128;
    // Five times what the directory may hold: it comes to a halt when the log does not take it.
    while written < 3_000 {
        assert!(
            tokio::time::Instant::now() < patience,
            "stuck at {written}: {:?}",
            spool.status()
        );
        match spool.append(&draft(written)) {
            Ok(_recorded) => written += 1,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    let closing = spool.clone();
    tokio::task::spawn_blocking(move || closing.close()).await.unwrap();
    drain.finish().await;
    log.close();
    let report = site.verified(&log.vkey());
    assert_eq!((report.records, report.faults.len()), (3_002, 0));
}

/// As [`bring`], of a log that may close its ears.
async fn bring_what_can(log: &Collector, shipments: Vec<Shipment>) -> Vec<Result<Receipt, Unshipped>> {
    let mut receipts = Vec::new();
    for shipment in shipments {
        match log.offer(shipment).await {
            Ok(receipt) => receipts.push(receipt.await),
            Err(error) => receipts.push(Err(error)),
        }
    }
    receipts
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
