//! Mode `commit`: nobody is answered before the record is durable.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn faulty() -> (Faulty, Arc<Spool>) {
    let disk = Faulty::default();
    // Too large to be filled so far that the next one is made ready: these tests count what is done for records.
    let settings = Settings {
        segment_bytes: 256 << 20,
        ..settings()
    };
    let (spool, _) = Spool::start(Box::new(disk.clone()), "edge-1", "i1", settings).unwrap();
    (disk, Arc::new(spool))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_durable_when_its_caller_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path(), "i1");
    let begun = std::time::Instant::now();
    for sequence in 2..12 {
        assert_eq!(spool.commit(&draft()).await.unwrap().sequence(), sequence);
        assert!(spool.status().durable >= sequence);
    }
    // The settings let others linger for half a second each.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(records(directory.path()).len(), 11);
}

#[test]
fn nobody_goes_on_while_the_disk_syncs() {
    let (disk, spool) = faulty();
    disk.hold(true);
    let draft = draft();
    let mut waiting = pin!(spool.commit(&draft));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert!(spool.status().durable < 2);
    disk.hold(false);
    spool.flush().unwrap();
    assert!(matches!(waiting.as_mut().poll(&mut context), Poll::Ready(Ok(recorded)) if recorded.sequence() == 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_come_together_share_a_sync() {
    let (disk, spool) = faulty();
    disk.hold(true);
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let spool = spool.clone();
            tokio::spawn(async move { spool.commit(&draft()).await.map(|recorded| recorded.sequence()) })
        })
        .collect();
    while spool.status().appended < 200 {
        tokio::task::yield_now().await;
    }
    let before = disk.operations();
    disk.hold(false);
    let mut numbers = Vec::new();
    for task in tasks {
        numbers.push(task.await.unwrap().unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (2..202).collect::<Vec<_>>());
    assert!(
        disk.operations() - before <= 8,
        "{} operations for 200 records",
        disk.operations() - before
    );
}

// R30
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_or_synced_is_not_answered() {
    let (disk, spool) = faulty();
    disk.limit(Some(0));
    assert!(matches!(spool.commit(&draft()).await, Err(SpoolError::Disk { .. })));
    disk.limit(None);
    spool.flush().unwrap();
    disk.fail_syncs();
    assert!(matches!(spool.commit(&draft()).await, Err(SpoolError::Lost { .. })));
    let closed = spool.clone();
    tokio::task::spawn_blocking(move || closed.close()).await.unwrap();
    assert!(spool.commit(&draft()).await.is_err());
}
