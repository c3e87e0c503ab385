//! R36 on the embedded store: kill -9, a second process, strangers' files. Power cuts: `power_tests`.

use std::io::{self, BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::*;

const VARIABLE: &str = "SIGNET_TEST_STORE_WRITER";

/// What the child of the next test runs: commits for ever and says so after each; nothing when run as a test.
#[test]
fn writer_process() {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let store = Arc::new(RedbStore::open(PathBuf::from(path)).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for n in 0_u64.. {
                        let both = Transaction::new()
                            .put(format!("w/{writer}/{n:08}"), n.to_string())
                            .put(format!("last/{writer}"), n.to_string());
                        let revision = store.commit(both).await.unwrap();
                        let line = format!("acknowledged {writer} {n} {revision}\n");
                        io::stdout().write_all(line.as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

// R36
#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let this_module = module_path!().split_once("::").unwrap().1;
    let mut newest = 0;
    for round in 1..=4_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([&format!("{this_module}::writer_process"), "--exact", "--nocapture"])
            .env(VARIABLE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut take = |line: String| {
            if let Some((_, rest)) = line.split_once("acknowledged ") {
                let fields: Vec<u64> = rest.split(' ').map(|field| field.parse().unwrap()).collect();
                acknowledged.push((fields[0], fields[1], fields[2]));
            }
            acknowledged.len()
        };
        while take(lines.next().expect("the writer ended by itself")) < 20 * round {}
        child.kill().unwrap();
        child.wait().unwrap();
        // The last line may be cut.
        let rest: Vec<_> = lines.collect();
        for line in rest.iter().take(rest.len().saturating_sub(1)) {
            take(line.clone());
        }

        let store = RedbStore::open(&path).unwrap();
        for (writer, n, revision) in &acknowledged {
            let row = store
                .get(&format!("w/{writer}/{n:08}"))
                .await
                .unwrap()
                .expect("an acknowledged row is gone");
            assert_eq!(row.value, n.to_string().as_bytes());
            assert!(row.revision >= *revision);
            newest = newest.max(*revision);
        }
        for writer in 0..4 {
            let Some(last) = store.get(&format!("last/{writer}")).await.unwrap() else {
                continue;
            };
            let last: u64 = String::from_utf8(last.value).unwrap().parse().unwrap();
            let pair = store.get(&format!("w/{writer}/{last:08}")).await.unwrap();
            assert!(pair.is_some(), "half a transaction survived");
        }
        assert!(store.revision().await.unwrap() >= newest, "the revision went back");
        store.close();
    }
}

#[tokio::test]
async fn a_second_process_is_refused_and_a_strangers_file_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    assert!(RedbStore::open(&path).is_err());
    store.close();
    RedbStore::open(&path).unwrap().close();

    let stranger = directory.path().join("notes.txt");
    std::fs::write(&stranger, "not a store\n".repeat(2000)).unwrap();
    assert!(RedbStore::open(&stranger).is_err());
    assert!(
        std::fs::read_to_string(&stranger).unwrap().starts_with("not a store"),
        "it was overwritten"
    );
    assert!(RedbStore::open(directory.path()).is_err());
    assert!(RedbStore::open(directory.path().join("nowhere/store.redb")).is_err());
}

#[test]
fn a_store_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    RedbStore::open(&path).unwrap().close();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
