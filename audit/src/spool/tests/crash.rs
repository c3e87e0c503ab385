use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use super::super::recover::recover;
use super::super::writer::Writer;
use super::*;

const DIRECTORY: &str = "SIGNET_AUDIT_TEST_DIRECTORY";
const ROUND: &str = "SIGNET_AUDIT_TEST_ROUND";

/// This test binary, running one of the children below. `prelude` is shell.
fn child(test: &str, directory: &Path, prelude: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{prelude}; exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", test]);
    command
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn own_directory() -> PathBuf {
    std::env::var_os(DIRECTORY).expect("run by another test").into()
}

#[test]
#[ignore = "a child of `kill_nine_loses_nothing_that_was_acknowledged`"]
fn child_that_appends() {
    let round = std::env::var(ROUND).unwrap();
    let (spool, _) = Spool::open(
        &own_directory(),
        "edge-1",
        &round,
        Settings {
            reserve: 64,
            segment_bytes: 8 << 10,
            ..settings()
        },
    )
    .unwrap();
    loop {
        match spool.append(&draft()) {
            Ok(recorded) => println!("acknowledged {}", recorded.sequence()),
            Err(SpoolError::Behind) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

// R36: after kill -9 at any point, every acknowledged number has its record or is named as unaccounted.
#[test]
fn kill_nine_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..6_u64 {
        let name = format!("round-{round}");
        let mut process = child("spool::tests::crash::child_that_appends", directory.path(), ":")
            .env(ROUND, &name)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap);
        let mut acknowledged = Vec::new();
        let parse = |line: String| {
            line.strip_prefix("acknowledged ")
                .and_then(|text| text.parse::<u64>().ok())
        };
        let wanted = usize::try_from(round * 137 + 1).unwrap();
        while acknowledged.len() < wanted {
            acknowledged.extend(parse(lines.next().expect("the child ended early")));
        }
        process.kill().unwrap();
        assert_eq!(process.wait().unwrap().signal(), Some(9));
        // The last line may be cut short, and then it was not acknowledged to anyone.
        acknowledged.extend(lines.filter_map(parse));
        acknowledged.pop();

        let (spool, recovered) = open(directory.path(), &format!("after-{round}"));
        let before = recovered.predecessor.unwrap();
        assert_eq!(before.incarnation, name);
        let stored: Vec<u64> = records(directory.path())
            .into_iter()
            .filter(|record| record.incarnation == name && matches!(record.event, Event::Use(_)))
            .map(|record| record.sequence)
            .collect();
        let (first, last) = before.unaccounted.expect("a killed process leaves a reservation");
        for sequence in acknowledged {
            let known = stored.binary_search(&sequence).is_ok() || (first..=last).contains(&sequence);
            assert!(
                known,
                "{sequence} was acknowledged; stored to {:?}, unaccounted {first} to {last}",
                stored.last()
            );
        }
        drop(spool);
        assert_eq!(faults(directory.path()), []);
    }
}

#[test]
#[ignore = "a child of `a_real_failed_write_refuses`"]
fn child_with_a_file_size_limit() {
    let (spool, _) = Spool::open(&own_directory(), "edge-1", "i1", settings()).unwrap();
    let error = loop {
        match spool.append(&draft()).and_then(|_| spool.flush()) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    println!("refused: {error}");
    drop(spool);
}

// R30: a write that the kernel refuses stops signing. (EFBIG, since a full file system takes a mount.)
#[test]
fn a_real_failed_write_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let name = "spool::tests::crash::child_with_a_file_size_limit";
    let output = child(name, directory.path(), "trap '' XFSZ; ulimit -f 16")
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    assert!(
        stdout.contains("refused: the audit spool cannot be written: File too large"),
        "{stdout}"
    );
    let (spool, recovered) = open(directory.path(), "i2");
    assert!(recovered.torn_bytes > 0, "the kernel wrote a part");
    assert!(recovered.predecessor.unwrap().unaccounted.is_some());
    drop(spool);
    assert_eq!(faults(directory.path()), []);
}

#[test]
#[ignore = "a child of `a_failed_sync_ends_the_process`"]
fn child_whose_sync_fails() {
    let disk = Faulty::default();
    let settings = Settings {
        on_failed_sync: Settings::default().on_failed_sync,
        ..settings()
    };
    let (spool, _) = Spool::start(Box::new(disk.clone()), "edge-1", "i1", settings).unwrap();
    disk.fail_syncs();
    append(&spool, 1);
    spool.close();
}

// R30: by default a failed sync ends the process.
#[test]
fn a_failed_sync_ends_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let name = "spool::tests::crash::child_whose_sync_fails";
    let mut process = child(name, directory.path(), "ulimit -c 0").spawn().unwrap();
    let status = process.wait().unwrap();
    let mut stderr = String::new();
    process.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(status.signal(), Some(6), "{stderr}");
}

/// Everything durable up to `durable` and reserved below `reserved_end` once `operations` were done.
struct Promise {
    operations: usize,
    durable: u64,
    reserved_end: u64,
}

/// Ten batches over several segments that were made ready, and what was promised after each.
fn history(disk: &Faulty) -> Vec<Promise> {
    let settings = Settings {
        segment_bytes: 4 << 10,
        reserve: 16,
        ..settings()
    };
    let found = recover(disk).unwrap();
    let mut writer = Writer::open(Box::new(disk.clone()), "edge-1", "i1", &settings, found).unwrap();
    let event = record::encode_use(&draft()).unwrap();
    let mut queued = u32::try_from(event.len()).unwrap().to_le_bytes().to_vec();
    queued.extend(event);
    let promise = |writer: &Writer| Promise {
        operations: disk.operations(),
        durable: writer.durable(),
        reserved_end: writer.reserved_end(),
    };
    let mut promises = vec![promise(&writer)];
    for size in [0, 1, 2, 3, 9, 1, 4, 12, 1, 2] {
        let mut batch = writer.batch();
        writer.push_events(&mut batch, &queued.repeat(size)).unwrap();
        writer.store(&mut batch, writer.next() + 16).unwrap();
        promises.push(promise(&writer));
        writer.look_ahead();
        writer.wait_ahead().unwrap();
    }
    promises
}

// R36: a power cut after any operation, with unsynced writes dropped, zeroed or torn, breaks no promise; neither does
// a second one during the recovery.
#[test]
fn a_power_cut_anywhere_breaks_no_promise() {
    let disk = Faulty::default();
    let promises = history(&disk);
    for operations in 0..=disk.operations() {
        let kept = promises.iter().rev().find(|promise| promise.operations <= operations);
        for seed in 0..8 {
            let cut = disk.after_power_cut(operations, seed);
            let begun = cut.operations();
            let found = recover(&cut).unwrap();
            check_promise(kept, found.summary().predecessor);
            let (spool, _) = Spool::start(Box::new(cut.clone()), "edge-1", "i2", settings()).unwrap();
            drop(spool);
            let directory = tempfile::tempdir().unwrap();
            cut.export(directory.path());
            assert_eq!(faults(directory.path()), [], "cut after {operations}, seed {seed}");
            for again in begun..cut.operations() {
                let twice = cut.after_power_cut(again, seed);
                let found = recover(&twice).unwrap();
                let first = found.summary().predecessor;
                if first.as_ref().is_none_or(|before| before.incarnation == "i1") {
                    check_promise(kept, first);
                }
            }
        }
    }
}

fn check_promise(kept: Option<&Promise>, predecessor: Option<Predecessor>) {
    let Some(kept) = kept else { return };
    let found = predecessor.expect("a promise was made, and nothing is there");
    assert!(!found.damaged, "a torn write is no damage");
    assert!(found.sequence >= kept.durable, "{} < {}", found.sequence, kept.durable);
    let covered = found.unaccounted.map_or(found.sequence, |(_, last)| last);
    assert!(
        covered + 1 >= kept.reserved_end,
        "{covered} + 1 < {}",
        kept.reserved_end
    );
}
