use serde::Deserialize;

use super::*;

fn small(retention: Retention) -> Settings {
    Settings {
        segment_bytes: 4 << 10,
        max_bytes: 32 << 10,
        retention,
        ..settings()
    }
}

fn numbers(directory: &Path) -> Vec<u64> {
    crate::volume::list(directory)
        .unwrap()
        .into_iter()
        .map(|(number, _)| number)
        .collect()
}

fn size(directory: &Path) -> u64 {
    crate::volume::list(directory)
        .unwrap()
        .into_iter()
        .map(|(_, bytes)| bytes)
        .sum()
}

#[test]
fn at_the_cap_signing_stops_until_segments_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(directory.path(), "edge-1", "i1", small(Retention::Stop)).unwrap();
    let mut accepted = 0;
    let error = loop {
        match spool.append(&draft()) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        let _ = spool.flush();
        assert!(accepted < 1000, "no cap");
    };
    assert!(matches!(error, SpoolError::Full { limit: 32_768, .. }), "{error}");
    assert!(error.to_string().contains("`drop_oldest`"), "{error}");
    assert!(size(directory.path()) <= 32 << 10);
    assert_eq!(spool.flush(), Err(error), "looking again changes nothing");

    for number in numbers(directory.path()).into_iter().take(3) {
        std::fs::remove_file(segment_path(directory.path(), number)).unwrap();
    }
    spool.flush().unwrap();
    append(&spool, 1);
    drop(spool);
    assert_eq!(faults(directory.path()), []);
    assert!(records(directory.path()).len() < accepted);
}

// What one flush writes may be more than the directory may hold; all of it can be removed once it was shipped.
#[test]
fn a_burst_larger_than_the_directory_does_not_fill_it_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(directory.path(), "edge-1", "i1", small(Retention::Stop)).unwrap();
    append(&spool, 200);
    // The look at the directory comes after the last write, before or after this has ended.
    let _ = spool.flush();
    let begun = std::time::Instant::now();
    while !matches!(spool.status().refusing, Some(SpoolError::Full { .. })) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", spool.status());
        std::thread::yield_now();
    }
    assert_eq!(spool.status().durable, 201);
    assert!(size(directory.path()) > 32 << 10, "the burst is on disk");
    let open = *numbers(directory.path()).last().unwrap();
    spool.shipped(open);
    spool.flush().unwrap();
    append(&spool, 1);
    drop(spool);
    assert_eq!(faults(directory.path()), []);
}

#[test]
fn the_oldest_are_dropped_where_that_is_allowed_and_it_is_on_record() {
    let directory = tempfile::tempdir().unwrap();
    let (before, _) = Spool::open(directory.path(), "edge-1", "i0", small(Retention::DropOldest)).unwrap();
    append(&before, 10);
    drop(before);
    let (spool, _) = Spool::open(directory.path(), "edge-1", "i1", small(Retention::DropOldest)).unwrap();
    for _ in 0..300 {
        append(&spool, 1);
        spool.flush().unwrap();
    }
    drop(spool);
    assert!(size(directory.path()) <= 32 << 10);
    assert!(numbers(directory.path())[0] > 2);
    assert_eq!(faults(directory.path()), []);
    let all = records(directory.path());
    let dropped: Vec<_> = all
        .iter()
        .filter_map(|record| {
            if let Event::Dropped(dropped) = &record.event {
                Some(dropped.clone())
            } else {
                None
            }
        })
        .collect();
    let last = dropped.last().unwrap();
    assert_eq!(
        last.range.1 + 1,
        all[0].sequence,
        "the newest drop ends where the records begin"
    );
    assert_eq!(last.hash, all[0].previous);
    assert!(dropped.windows(2).all(|pair| pair[0].range.1 + 1 == pair[1].range.0));
}

#[test]
fn a_segment_missing_from_the_middle_is_a_fault() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(directory.path(), "edge-1", "i1", small(Retention::Stop)).unwrap();
    for _ in 0..5 {
        append(&spool, 8);
        spool.flush().unwrap();
    }
    drop(spool);
    assert!(numbers(directory.path()).len() > 3);
    std::fs::remove_file(segment_path(directory.path(), 2)).unwrap();
    assert_eq!(faults(directory.path()), [FaultKind::Missing]);
}

#[test]
fn retention_is_written_in_kebab_case() {
    #[derive(Deserialize)]
    struct File {
        retention: Retention,
    }
    let parse = |text: &str| serde_json::from_str::<File>(text).map(|file| file.retention);
    assert_eq!(parse(r#"{"retention":"drop-oldest"}"#).unwrap(), Retention::DropOldest);
    assert_eq!(parse(r#"{"retention":"stop"}"#).unwrap(), Retention::Stop);
    assert!(parse(r#"{"retention":"forget"}"#).is_err());
}
