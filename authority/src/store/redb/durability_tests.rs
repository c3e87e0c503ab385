//! R30 and R36 on the embedded store: kill -9, power cuts, failed flushes, strangers' files.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

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

/// A disk that keeps for certain only what was flushed.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<Image>>);

#[derive(Debug, Default)]
struct Image {
    now: Vec<u8>,
    flushed: Vec<u8>,
    /// Writes since the last flush: offset and bytes, or a new length.
    pending: Vec<Pending>,
    flushes_left: Option<usize>,
}

#[derive(Debug, Clone)]
enum Pending {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

fn apply(image: &mut Vec<u8>, pending: &Pending) {
    match pending {
        Pending::Length(len) => image.resize(*len, 0),
        Pending::Bytes(offset, bytes) => {
            if image.len() < offset + bytes.len() {
                image.resize(offset + bytes.len(), 0);
            }
            image[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
    }
}

impl Disk {
    /// What is found after a power cut: of the unflushed writes, any subset, each whole or cut at a sector.
    fn after_power_cut(&self, mut fate: impl FnMut() -> u8) -> Self {
        let image = self.0.lock().unwrap();
        let mut found = image.flushed.clone();
        for pending in &image.pending {
            match (pending, fate() % 4) {
                (_, 0) => {}
                (Pending::Bytes(offset, bytes), 1) => {
                    let sectors = bytes.len() / 512;
                    let kept = if sectors == 0 {
                        0
                    } else {
                        usize::from(fate()) % sectors * 512
                    };
                    apply(&mut found, &Pending::Bytes(*offset, bytes[..kept].to_vec()));
                }
                _ => apply(&mut found, pending),
            }
        }
        Self(Arc::new(Mutex::new(Image {
            now: found.clone(),
            flushed: found,
            ..Image::default()
        })))
    }

    fn fail_flush_after(&self, flushes: usize) {
        self.0.lock().unwrap().flushes_left = Some(flushes);
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.0.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        let bytes = image
            .now
            .get(offset..offset + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.record(Pending::Length(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.0.lock().unwrap();
        match &mut image.flushes_left {
            Some(0) => return Err(io::Error::from_raw_os_error(5)),
            Some(left) => *left -= 1,
            None => {}
        }
        image.pending.clear();
        image.flushed = image.now.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.record(Pending::Bytes(usize::try_from(offset).unwrap(), data.to_vec()));
        Ok(())
    }
}

impl Disk {
    fn record(&self, pending: Pending) {
        let mut image = self.0.lock().unwrap();
        apply(&mut image.now, &pending);
        image.pending.push(pending);
    }
}

fn no_hook() -> OnFailedFlush {
    Arc::new(|_| {})
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    // R36: a power cut at any write, with unflushed writes dropped or torn, loses nothing acknowledged and halves nothing.
    #[test]
    fn what_was_acknowledged_survives_a_power_cut(
        transactions in proptest::collection::vec(proptest::collection::vec((0_u8..12, 0_u16..3000), 1..5), 1..12),
        flushes in 0_usize..40,
        fates in proptest::collection::vec(any::<u8>(), 1..64),
    ) {
        let disk = Disk::default();
        let mut fate = fates.into_iter().cycle();
        let mut states = vec![BTreeMap::<String, Vec<u8>>::new()];
        let mut acknowledged = 0;
        runtime().block_on(async {
            let store = RedbStore::on_backend(disk.clone(), no_hook()).unwrap();
            disk.fail_flush_after(flushes);
            for (n, writes) in transactions.iter().enumerate() {
                let mut transaction = Transaction::new();
                let mut state = states.last().unwrap().clone();
                let distinct: BTreeMap<u8, u16> = writes.iter().copied().collect();
                for (path, len) in distinct {
                    let (path, value) = (format!("row/{path}"), vec![n as u8; usize::from(len)]);
                    if len % 5 == 0 {
                        state.remove(&path);
                        transaction = transaction.delete(path);
                    } else {
                        state.insert(path.clone(), value.clone());
                        transaction = transaction.put(path, value);
                    }
                }
                states.push(state);
                match store.commit(transaction).await {
                    Ok(_) => acknowledged = n + 1,
                    Err(_) => break,
                }
            }
            let found = disk.after_power_cut(|| fate.next().unwrap());
            drop(store);
            let store = RedbStore::on_backend(found, no_hook()).unwrap();
            let revision = usize::try_from(store.revision().await.unwrap()).unwrap();
            let rows: BTreeMap<_, _> =
                store.scan("", None, MAX_SCAN).await.unwrap().into_iter().map(|(path, row)| (path, row.value)).collect();
            assert!(revision >= acknowledged, "{acknowledged} were acknowledged, {revision} survived");
            assert!(revision < states.len());
            assert_eq!(rows, states[revision], "what survived is no state that ever was");
        });
    }
}

// R30
#[tokio::test]
async fn after_a_failed_flush_nothing_is_acknowledged_or_flushed_again() {
    let disk = Disk::default();
    let called = Arc::new(AtomicBool::new(false));
    let hook: OnFailedFlush = Arc::new({
        let called = Arc::clone(&called);
        move |detail| {
            assert!(detail.contains("os error 5"), "{detail}");
            assert!(!called.swap(true, Ordering::Relaxed), "it was flushed again");
        }
    });
    let store = RedbStore::on_backend(disk.clone(), hook).unwrap();
    let kept = store.commit(Transaction::new().put("kept", "1")).await.unwrap();
    disk.fail_flush_after(0);
    let error = store.commit(Transaction::new().put("lost", "1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(called.load(Ordering::Relaxed));
    disk.0.lock().unwrap().flushes_left = None;
    for _ in 0..3 {
        let error = store.commit(Transaction::new().put("later", "1")).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    }
    assert_eq!(*store.watch().borrow(), kept);
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
