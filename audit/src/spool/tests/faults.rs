use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn start(disk: &Faulty, settings: Settings) -> Spool {
    Spool::start(Box::new(disk.clone()), "edge-1", "i1", settings)
        .unwrap()
        .0
}

fn exported(disk: &Faulty) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    disk.export(directory.path());
    directory
}

// R30: a full disk stops signing with a clear error, nothing acknowledged is lost, and room starts it again.
#[test]
fn a_full_disk_refuses_until_there_is_room() {
    let disk = Faulty::default();
    let spool = start(&disk, settings());
    append(&spool, 10);
    spool.flush().unwrap();
    disk.limit(Some(5_000));
    append(&spool, 20);
    let error = spool.flush().unwrap_err();
    assert!(
        matches!(&error, SpoolError::Disk { detail } if detail.contains("No space left")),
        "{error}"
    );
    assert_eq!(spool.append(&draft()), Err(error.clone()));
    assert_eq!(spool.status().refusing, Some(error));

    disk.limit(None);
    spool.flush().unwrap();
    assert_eq!(append(&spool, 1), [32]);
    spool.close();
    let directory = exported(&disk);
    assert_eq!(faults(directory.path()), []);
    assert_eq!(records(directory.path()).len(), 33);
}

#[test]
fn a_disk_that_stays_full_does_not_hang_the_close() {
    let disk = Faulty::default();
    let spool = start(&disk, settings());
    disk.limit(Some(600));
    append(&spool, 5);
    spool.close();
    assert_eq!(faults(exported(&disk).path()), []);
}

#[test]
fn a_spool_that_cannot_be_begun_is_not_opened() {
    let disk = Faulty::default();
    disk.limit(Some(10));
    let opened = Spool::start(Box::new(disk.clone()), "edge-1", "i1", settings());
    assert_eq!(opened.err().map(|(what, _)| what), Some("write the first record"));
    disk.limit(None);
    start(&disk, settings()).close();
    assert_eq!(faults(exported(&disk).path()), []);
}

// R30: a failed sync is never retried and never acknowledged; the disk itself asserts that nothing is written after it.
#[test]
fn a_failed_sync_calls_for_the_end() {
    let disk = Faulty::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let hook: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(move |detail| {
        assert!(detail.contains("os error 5"), "{detail}");
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let spool = start(
        &disk,
        Settings {
            on_failed_sync: hook,
            ..settings()
        },
    );
    disk.fail_syncs();
    append(&spool, 1);
    assert!(matches!(spool.flush(), Err(SpoolError::Lost { .. })));
    assert!(matches!(spool.append(&draft()), Err(SpoolError::Lost { .. })));
    spool.close();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(spool.status().durable, 1);
    assert!(matches!(spool.append(&draft()), Err(SpoolError::Lost { .. })));
}

// The reservation ends before its use is durable anywhere: nothing is signed beyond it.
#[test]
fn a_slow_disk_refuses_at_the_end_of_the_reservation() {
    let disk = Faulty::default();
    let spool = start(
        &disk,
        Settings {
            reserve: 50,
            ..settings()
        },
    );
    disk.hold(true);
    let results: Vec<_> = (0..51).map(|_| spool.append(&draft())).collect();
    disk.hold(false);
    assert!(results[..50].iter().all(Result::is_ok));
    assert_eq!(results[50], Err(SpoolError::Behind));
    spool.flush().unwrap();
    assert_eq!(append(&spool, 1), [52]);
    spool.close();
    assert_eq!(faults(exported(&disk).path()), []);
}

#[test]
fn who_waits_for_progress_has_room_when_the_disk_has_caught_up() {
    let disk = Faulty::default();
    let spool = start(
        &disk,
        Settings {
            reserve: 50,
            ..settings()
        },
    );
    disk.hold(true);
    let full = (0..60).find_map(|_| spool.append(&draft()).err());
    assert_eq!(full, Some(SpoolError::Behind));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let appended = runtime.block_on(async {
        let mut release = Some(&disk);
        loop {
            let progress = spool.progress();
            match spool.append(&draft()) {
                Err(SpoolError::Behind) => {
                    release.take().into_iter().for_each(|disk| disk.hold(false));
                    progress.await;
                }
                appended => return appended,
            }
        }
    });
    assert_eq!(appended.unwrap().sequence(), 52);
    spool.close();
}

#[test]
fn the_queue_is_bounded() {
    let disk = Faulty::default();
    let bound = 64 << 10;
    let spool = start(
        &disk,
        Settings {
            reserve: 1 << 20,
            queue_bytes: bound,
            ..settings()
        },
    );
    disk.hold(true);
    let accepted = (0..10_000).take_while(|_| spool.append(&draft()).is_ok()).count();
    let (refused, waiting) = (spool.append(&draft()), spool.status().waiting_bytes);
    disk.hold(false);
    assert_eq!(refused, Err(SpoolError::Behind));
    assert!(
        accepted < 10_000 && waiting <= bound,
        "{accepted} accepted, {waiting} bytes wait"
    );
    spool.flush().unwrap();
    spool.close();
    assert_eq!(records(exported(&disk).path()).len(), accepted + 2);
}

fn written(batch: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path(), "i1");
    for _ in 0..3 {
        append(&spool, batch);
        spool.flush().unwrap();
    }
    drop(spool);
    directory
}

#[test]
fn every_flipped_byte_is_found_by_verification() {
    let directory = written(1);
    let path = segment_path(directory.path(), 1);
    let good = std::fs::read(&path).unwrap();
    let count = verify::directory(directory.path()).unwrap().records;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let report = verify::directory(directory.path()).unwrap();
        // In the last batch a flip looks like a torn write: the records are missed, and the next process says so.
        let missed = report.records < count && !report.chains.last().is_some_and(|chain| chain.stopped);
        assert!(
            !report.faults.is_empty() || missed,
            "byte {at} was flipped and nobody noticed"
        );
    }
}

#[test]
fn damage_is_reported_by_readers_and_by_the_next_process() {
    let directory = written(4);
    let path = segment_path(directory.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();

    let mut bad = read::tail(directory.path(), false).unwrap().filter_map(Result::err);
    assert!(matches!(bad.next(), Some(ReadError::Damaged { offset, length, .. })
        if offset <= middle as u64 && middle as u64 <= offset + length));
    assert!(bad.next().is_none());
    let (spool, recovered) = open(directory.path(), "i2");
    let before = recovered.predecessor.unwrap();
    assert!(before.damaged);
    assert_eq!(before.sequence, 14, "the records behind the damage count");
    drop(spool);
    assert!(matches!(faults(directory.path())[..], [FaultKind::Damaged { .. }]));
}

#[test]
fn removed_and_rewritten_records_break_the_chain() {
    let directory = written(4);
    let path = segment_path(directory.path(), 1);
    let all = records(directory.path());
    let rewrite = |change: &dyn Fn(&mut Vec<Record>)| {
        let mut changed = all.clone();
        change(&mut changed);
        let mut bytes = crate::frame::mark(0, 1);
        for record in changed {
            crate::frame::push_record(&mut bytes, &record.encode().unwrap());
        }
        std::fs::write(&path, bytes).unwrap();
        faults(directory.path())
    };
    assert_eq!(rewrite(&|_| {}), []);
    assert_eq!(
        rewrite(&|all| drop(all.remove(4))),
        [FaultKind::Sequence { expected: 5, found: 6 }]
    );
    assert_eq!(
        rewrite(&|all| all[4].event = Event::Stopped { time_ms: 0 }),
        [FaultKind::Hash { sequence: 6 }]
    );
    assert_eq!(rewrite(&|all| all.swap(4, 5)).len(), 3);
    drop(open(directory.path(), "i2"));
    std::fs::write(&path, crate::frame::mark(0, 1)).unwrap();
    assert_eq!(
        faults(directory.path()),
        [],
        "the oldest records may have been shipped and removed"
    );
}

#[test]
fn a_report_reads_as_text() {
    let directory = written(4);
    let report = verify::directory(directory.path()).unwrap();
    assert!(report.holds());
    assert_eq!(
        report.to_string(),
        "14 records, 1 chains, 0 faults\nedge-1 i1: 1 to 14, stopped"
    );
    let path = segment_path(directory.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = verify::directory(directory.path()).unwrap();
    assert!(!report.holds());
    assert!(report.to_string().contains("fault: segment 1: "), "{report}");
}

#[test]
fn a_record_that_follows_another_at_once_makes_no_reservation_wider() {
    let disk = Faulty::default();
    let spool = start(&disk, settings());
    for sequence in 2..=21 {
        assert_eq!(append(&spool, 1), [sequence]);
        spool.flush().unwrap();
    }
    let status = spool.status();
    assert!(
        status.reserved_end <= 22 + settings().reserve,
        "one reservation, of a second's worth: {status:?}"
    );
}
