//! What the contract does not say, because only etcd has it: members that die, long values, history that is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::MAX_VALUE_LEN;
use super::super::contract_tests::keeps_the_contract;
use super::testing::{Cluster, MEMBERS};
use super::*;

async fn open(cluster: &Cluster, prefix: &str) -> Arc<EtcdStore> {
    Arc::new(EtcdStore::open(&cluster.settings(prefix)).await.unwrap())
}

// R36
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_keeps_the_contract() {
    let cluster = Cluster::start();
    let store = open(&cluster, "/contract").await;
    keeps_the_contract(store.clone()).await;
    let (revision, rows) = (
        store.revision().await.unwrap(),
        store.scan("", None, MAX_SCAN).await.unwrap(),
    );
    drop(store);
    let reopened = open(&cluster, "/contract").await;
    assert_eq!(reopened.revision().await.unwrap(), revision);
    assert_eq!(*reopened.watch().borrow(), revision);
    assert_eq!(reopened.scan("", None, MAX_SCAN).await.unwrap(), rows);
    // Nothing but rows and the head is left behind, and what another prefix has is another store's.
    let keys = cluster.etcdctl(&["get", "", "--prefix", "--keys-only"]);
    let keys = keys.lines().filter(|key| !key.is_empty());
    for key in keys {
        assert!(key.starts_with("/contract/rows/") || key == "/contract/head", "{key}");
    }
    assert_eq!(open(&cluster, "/contract2").await.revision().await.unwrap(), 0);
    is_seen_by_all_at_once(&cluster).await;
    keeps_long_values(&cluster).await;
    tells_a_gap(&cluster).await;
}

/// A commit that returned at one authority is read, and compared with, at another.
async fn is_seen_by_all_at_once(cluster: &Cluster) {
    let (a, b) = (open(cluster, "/two").await, open(cluster, "/two").await);
    let mut told = b.commits();
    for number in 0..50_u64 {
        let (from, to) = if number % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let revision = from
            .commit(Transaction::new().put("n", number.to_string()))
            .await
            .unwrap();
        assert_eq!(revision, number + 1, "revisions are dense, whoever commits");
        let row = to.get("n").await.unwrap().unwrap();
        assert_eq!((row.value, row.revision), (number.to_string().into_bytes(), revision));
        to.commit(Transaction::new().unchanged("n", revision)).await.unwrap();
        let committed = told.recv().await.unwrap();
        assert_eq!((committed.before, committed.revision), (number, number + 1));
        assert_eq!(&*committed.paths, ["n".to_owned()]);
    }
    // Both at once: each counts on, none is lost.
    let add = |store: Arc<EtcdStore>| async move {
        for _ in 0..25 {
            loop {
                let row = store.get("n").await.unwrap().unwrap();
                let next = String::from_utf8(row.value).unwrap().parse::<u64>().unwrap() + 1;
                let add = Transaction::new()
                    .unchanged("n", row.revision)
                    .put("n", next.to_string());
                match store.commit(add).await {
                    Ok(_) => break,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    tokio::join!(tokio::spawn(add(a.clone())), tokio::spawn(add(b.clone())))
        .0
        .unwrap();
    assert_eq!(a.get("n").await.unwrap().unwrap().value, b"99");
}

/// Values far beyond what one request of etcd may have, and what becomes of their pieces.
async fn keeps_long_values(cluster: &Cluster) {
    let store = open(cluster, "/long").await;
    let value = |seed: u8, len: usize| -> Vec<u8> { (0..len).map(|n| (n as u8).wrapping_mul(31) ^ seed).collect() };
    let longest = value(1, MAX_VALUE_LEN);
    let many = (0..40).fold(Transaction::new().put("longest", longest.clone()), |all, n| {
        all.put(format!("many/{n:02}"), value(n, 60 << 10))
    });
    let revision = store.commit(many).await.unwrap();
    let read = store.get("longest").await.unwrap().unwrap();
    assert!(read.value == longest && read.revision == revision);
    let page = store.scan("many/", None, MAX_SCAN).await.unwrap();
    assert_eq!(page.len(), 40);
    for (n, (_, row)) in (0..40_u8).zip(&page) {
        assert!(row.value == value(n, 60 << 10), "{n}");
    }
    let snapshot = store.snapshot().await.unwrap();
    // Replaced by a short value, by a long one, deleted, and refused: what nobody reads goes.
    store.commit(Transaction::new().put("longest", "short")).await.unwrap();
    store
        .commit(Transaction::new().put("many/00", value(9, 1 << 20)).delete("many/01"))
        .await
        .unwrap();
    let refused = Transaction::new().absent("longest").put("x", longest.clone());
    assert!(matches!(store.commit(refused).await, Err(StoreError::Conflict { .. })));
    let old = snapshot.page(None, 1).await.unwrap();
    assert!(old[0].1.value == longest, "an older state is whole");
    let left = |prefix: &str| {
        cluster
            .etcdctl(&["get", prefix, "--prefix", "--keys-only"])
            .matches("/long/")
            .count()
    };
    let staged_before = page.iter().filter(|(path, _)| path.as_str() > "many/01").count();
    assert_eq!(left("/long/staged/"), 0);
    assert!(left("/long/chunk/") <= staged_before + 2, "{}", left("/long/chunk/"));
    let mut delete = Transaction::new().delete("longest");
    for n in 0..40 {
        delete = delete.delete(format!("many/{n:02}"));
    }
    store.commit(delete).await.unwrap();
    assert_eq!(left("/long/chunk/"), 0);
}

/// Who follows learns of a gap where etcd has forgotten what lies between, and goes on from there.
async fn tells_a_gap(cluster: &Cluster) {
    let store = open(cluster, "/gap").await;
    for number in 0..10 {
        store
            .commit(Transaction::new().put("n", number.to_string()))
            .await
            .unwrap();
    }
    let at = follow::position(&store.reader.client, &store.reader.layout)
        .await
        .unwrap();
    cluster.etcdctl(&["compact", &at.etcd.to_string()]);
    let announced = Announced {
        revisions: watch::channel(0).0,
        commits: broadcast::channel(16).0,
    };
    let mut told = announced.commits.subscribe();
    let behind = follow::Position { etcd: 1, store: 0 };
    let following = follow::follow(
        store.reader.client.clone(),
        store.reader.layout.clone(),
        announced,
        behind,
    );
    let following = tokio::spawn(following);
    let gap = told.recv().await.unwrap();
    assert_eq!((gap.before, gap.revision, gap.paths.len()), (10, 10, 0));
    store.commit(Transaction::new().put("n", "after")).await.unwrap();
    let next = told.recv().await.unwrap();
    assert_eq!((next.before, next.revision, next.paths.len()), (10, 11, 1));
    following.abort();
}

// R36, R35
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_die_one_after_the_other_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::start();
    let store = open(&cluster, "/kill").await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (writing, stopped) = (store.clone(), stop.clone());
    // Counts on, and never twice: a commit in doubt that was retried wrongly would break the chain.
    let writer = tokio::spawn(async move {
        let (mut acknowledged, mut longest, mut last) = (0_u64, Duration::ZERO, 0_u64);
        let mut row = writing.commit(Transaction::new().put("n", "0")).await.unwrap();
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let begun = Instant::now();
            let next = acknowledged + 1;
            let step = Transaction::new()
                .unchanged("n", row)
                .put("n", next.to_string())
                .put(format!("seen/{next}"), vec![]);
            row = match writing.commit(step).await {
                Ok(revision) => revision,
                // It may have happened: who wants to know reads.
                Err(StoreError::Unavailable { .. }) => match writing.get("n").await {
                    Ok(Some(held)) if held.value == next.to_string().into_bytes() => held.revision,
                    _ => continue,
                },
                Err(error) => panic!("after {:?}: {error}", begun.elapsed()),
            };
            assert_eq!(row, last.max(1) + 1, "nobody else writes");
            (acknowledged, last, longest) = (next, row, longest.max(begun.elapsed()));
        }
        (acknowledged, longest)
    });
    for round in 0..MEMBERS {
        let leader = leader(&cluster);
        let before = *store.watch().borrow();
        cluster.kill(leader);
        let mut watch = store.watch();
        let grows = watch.wait_for(|revision| *revision > before + 20);
        tokio::time::timeout(Duration::from_secs(60), grows)
            .await
            .unwrap()
            .unwrap();
        cluster.begin(leader);
        eprintln!("round {round}: member m{leader} led and was killed");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (acknowledged, longest) = writer.await.unwrap();
    eprintln!("{acknowledged} commits through {MEMBERS} killed leaders; the slowest took {longest:?}");
    let other = open(&cluster, "/kill").await;
    assert_eq!(
        other.get("n").await.unwrap().unwrap().value,
        acknowledged.to_string().into_bytes()
    );
    for number in 1..=acknowledged {
        assert!(
            other.get(&format!("seen/{number}")).await.unwrap().is_some(),
            "{number}"
        );
    }
}

/// Which member leads.
fn leader(cluster: &Cluster) -> usize {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let status = cluster.etcdctl(&["endpoint", "status", "--command-timeout=2s"]);
        let led = status.lines().position(|line| line.split(", ").nth(4) == Some("true"));
        if let Some(line) = led {
            let named = status.lines().nth(line).unwrap_or_default();
            if let Some(index) = cluster.index_of(named) {
                return index;
            }
        }
        assert!(Instant::now() < end, "no leader: {status}");
    }
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_said_so() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", held.local_addr().unwrap());
    drop(held);
    let settings = EtcdSettings {
        members: vec![Peer::parse(&url).unwrap()],
        tls: Arc::new(node::channel::tls([], None).unwrap()),
        prefix: "/x".to_owned(),
    };
    let error = EtcdStore::open(&settings).await.err().unwrap().to_string();
    assert!(
        error.contains(&format!("etcd at `{url}` cannot be reached: Connection refused")),
        "{error}"
    );
}
