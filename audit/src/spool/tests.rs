mod ahead;
mod commit;
mod crash;
mod faults;
mod retention;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::record::{Event, Record, tests::draft};
use crate::verify::{self, FaultKind};
use crate::volume::faulty::Faulty;
use crate::volume::segment_path;
use crate::{read, read::ReadError};

/// Flushes only when asked to, so that tests decide when.
fn settings() -> Settings {
    Settings {
        flush_every: Duration::from_millis(500),
        on_failed_sync: Arc::new(|_| {}),
        ..Settings::default()
    }
}

fn open(directory: &Path, incarnation: &str) -> (Spool, Recovered) {
    Spool::open(directory, "edge-1", incarnation, settings()).unwrap()
}

fn append(spool: &Spool, count: u64) -> Vec<u64> {
    (0..count).map(|_| spool.append(&draft()).unwrap().sequence()).collect()
}

fn records(directory: &Path) -> Vec<Record> {
    read::tail(directory, false).unwrap().map(Result::unwrap).collect()
}

fn faults(directory: &Path) -> Vec<FaultKind> {
    verify::directory(directory)
        .unwrap()
        .faults
        .into_iter()
        .map(|fault| fault.kind)
        .collect()
}

#[test]
fn a_process_starts_uses_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, recovered) = open(directory.path(), "i1");
    assert_eq!(recovered, Recovered::default());
    assert_eq!(append(&spool, 3), [2, 3, 4]);
    spool.flush().unwrap();
    assert_eq!(spool.status().durable, 4);
    spool.close();
    assert_eq!(spool.append(&draft()), Err(SpoolError::Closed));
    spool.close();

    let all = records(directory.path());
    assert_eq!(
        all.iter().map(|record| record.sequence).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    assert!(matches!(&all[0].event, Event::Started(started) if started.predecessor.is_none()));
    assert_eq!(all[1].event, Event::Use(draft()));
    assert!(matches!(all[4].event, Event::Stopped { .. }));
    assert!(all.windows(2).all(|pair| pair[1].previous == pair[0].hash().unwrap()));
    let report = verify::directory(directory.path()).unwrap();
    assert_eq!((report.records, report.faults.len()), (5, 0));
    assert!(report.chains[0].stopped);
}

#[test]
fn the_next_process_names_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path(), "i1"));
    let (spool, recovered) = open(directory.path(), "i2");
    let before = recovered.predecessor.clone().unwrap();
    assert_eq!(
        (before.incarnation.as_str(), before.sequence, before.unaccounted),
        ("i1", 2, None)
    );
    assert_eq!((recovered.torn_bytes, recovered.segments), (0, 1));
    assert_eq!(append(&spool, 1), [2]);
    drop(spool);
    assert_eq!(records(directory.path())[2].event, {
        let Event::Started(started) = &records(directory.path())[2].event else {
            panic!()
        };
        assert_eq!(started.predecessor, recovered.predecessor);
        Event::Started(started.clone())
    });
    assert_eq!(faults(directory.path()), []);
}

#[test]
fn the_same_incarnation_goes_on_with_its_chain() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path(), "i1"));
    let (spool, _) = open(directory.path(), "i1");
    assert_eq!(append(&spool, 1), [4]);
    drop(spool);
    let report = verify::directory(directory.path()).unwrap();
    assert_eq!((report.chains.len(), report.faults.len()), (1, 0));
    assert_eq!(report.chains[0].last, 5);
}

#[test]
fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path(), "i1");
    let second = Spool::open(directory.path(), "edge-1", "i2", settings());
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    drop(spool);
    drop(open(directory.path(), "i2"));
}

#[test]
fn names_and_settings_have_bounds() {
    let directory = tempfile::tempdir().unwrap();
    for (edge, incarnation) in [
        ("", "i"),
        ("Edge", "i"),
        ("e/..", "i"),
        ("e", ""),
        ("e", "i i"),
        (&"e".repeat(64), "i"),
    ] {
        let opened = Spool::open(directory.path(), edge, incarnation, settings());
        assert!(matches!(opened, Err(OpenError::Name { .. })), "{edge} {incarnation}");
    }
    let wrong = [
        (
            "flush_every",
            Settings {
                flush_every: Duration::from_secs(2),
                ..settings()
            },
        ),
        (
            "reserve",
            Settings {
                reserve: 1,
                ..settings()
            },
        ),
        (
            "queue_bytes",
            Settings {
                queue_bytes: 1,
                ..settings()
            },
        ),
        (
            "segment_bytes",
            Settings {
                segment_bytes: 100,
                ..settings()
            },
        ),
        (
            "max_bytes",
            Settings {
                max_bytes: 16 << 20,
                ..settings()
            },
        ),
    ];
    for (expected, settings) in wrong {
        let opened = Spool::open(directory.path(), "e", "i", settings);
        assert!(
            matches!(opened, Err(OpenError::Setting { field, .. }) if field == expected),
            "{expected}"
        );
    }
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Spool::open(&file, "e", "i", settings()).unwrap_err().to_string();
    assert!(error.contains("file") && error.contains("open"), "{error}");
}

#[test]
fn a_draft_that_does_not_fit_is_refused_and_takes_no_number() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path(), "i1");
    let mut long = draft();
    long.caller = "x".repeat(record::MAX_BYTES).into();
    assert_eq!(spool.append(&long), Err(SpoolError::TooLong));
    assert_eq!(append(&spool, 1), [2]);
}

#[test]
fn many_threads_get_each_number_once() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path(), "i1");
    let mut all: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| append(&spool, 500))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    all.sort_unstable();
    assert_eq!(all, (2..2002).collect::<Vec<u64>>());
    drop(spool);
    assert_eq!(faults(directory.path()), []);
    assert_eq!(records(directory.path()).len(), 2002);
}

#[test]
fn a_follower_sees_records_across_segments() {
    let directory = tempfile::tempdir().unwrap();
    let small = Settings {
        segment_bytes: 4 << 10,
        ..settings()
    };
    let (spool, _) = Spool::open(directory.path(), "edge-1", "i1", small).unwrap();
    let mut tail = read::tail(directory.path(), true).unwrap();
    assert_eq!(tail.next().unwrap().unwrap().sequence, 1);
    for round in 0..5 {
        append(&spool, 10);
        spool.flush().unwrap();
        let seen: Vec<u64> = tail.by_ref().take(10).map(|record| record.unwrap().sequence).collect();
        assert_eq!(seen, (round * 10 + 2..round * 10 + 12).collect::<Vec<u64>>());
        assert!(tail.poll().is_none());
    }
    assert!(crate::volume::list(directory.path()).unwrap().len() > 3);
}

#[test]
fn a_missing_directory_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none");
    assert!(matches!(read::tail(&missing, false), Err(ReadError::Io { .. })));
    assert!(matches!(verify::directory(&missing), Err(ReadError::Io { .. })));
}

/// What an append costs the request. Run it with `--run-ignored only --no-capture`; it proves nothing.
#[test]
#[ignore = "a measurement"]
fn measure_append() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(directory.path(), "edge-1", "i1", Settings::default()).unwrap();
    for _ in 0..5 {
        let begun = std::time::Instant::now();
        let done = (0..2000).filter(|_| spool.append(&draft()).is_ok()).count();
        println!("{:?} an append, {done} of 2000", begun.elapsed() / 2000);
        spool.flush().unwrap();
    }
}
