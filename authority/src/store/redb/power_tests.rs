//! R30 and R36 on the embedded store: power cuts and failed flushes, on a disk in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;

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
    /// Everything that was done; none is a flush.
    journal: Vec<Option<Pending>>,
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

impl Image {
    fn step(&mut self, operation: Option<&Pending>) {
        match operation {
            Some(pending) => self.pending.push(pending.clone()),
            None => {
                let Self { flushed, pending, .. } = self;
                pending.drain(..).for_each(|pending| apply(flushed, &pending));
            }
        }
    }

    /// What is found after a power cut: of the unflushed writes, any subset, each whole or cut at a sector.
    fn after_power_cut(&self, mut fate: impl FnMut() -> u8) -> Disk {
        let mut found = self.flushed.clone();
        for pending in &self.pending {
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
        Disk(Arc::new(Mutex::new(Image {
            now: found.clone(),
            flushed: found,
            ..Image::default()
        })))
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap()
    }

    fn fail_flush_after(&self, flushes: usize) {
        self.lock().flushes_left = Some(flushes);
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let image = self.lock();
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
        let mut image = self.lock();
        match &mut image.flushes_left {
            Some(0) => return Err(io::Error::from_raw_os_error(5)),
            Some(left) => *left -= 1,
            None => {}
        }
        image.journal.push(None);
        image.step(None);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.record(Pending::Bytes(usize::try_from(offset).unwrap(), data.to_vec()));
        Ok(())
    }
}

impl Disk {
    fn record(&self, pending: Pending) {
        let mut image = self.lock();
        apply(&mut image.now, &pending);
        image.step(Some(&pending));
        image.journal.push(Some(pending));
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
            let found = disk.lock().after_power_cut(|| fate.next().unwrap());
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

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

// R36: as above, with a cut after each single operation of the disk, from when the file was made. One that was not made to its
// end holds nothing, and is refused as a stranger's.
#[tokio::test]
async fn a_power_cut_after_any_operation_loses_nothing_acknowledged() {
    let seed = match std::env::var("SIGNET_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs(),
    };
    eprintln!("SIGNET_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let disk = Disk::default();
    let store = RedbStore::on_backend(disk.clone(), no_hook()).unwrap();
    // States by revision, and how many operations there had been when each was acknowledged.
    let mut states = vec![BTreeMap::<String, Vec<u8>>::new()];
    let mut acknowledged = vec![disk.lock().journal.len()];
    for number in 0..12_u8 {
        let mut state = states.last().unwrap().clone();
        let mut transaction = Transaction::new();
        for path in 0..=dice.roll() % 4 {
            let path = format!("row/{}", path * 4 + dice.roll() % 4);
            if dice.roll().is_multiple_of(5) {
                state.remove(&path);
                transaction = transaction.delete(path);
            } else {
                let value = vec![number; usize::try_from(dice.roll() % 6_000).unwrap()];
                state.insert(path.clone(), value.clone());
                transaction = transaction.put(path, value);
            }
        }
        store.commit(transaction).await.unwrap();
        states.push(state);
        acknowledged.push(disk.lock().journal.len());
    }
    store.close();
    let (journal, mut image) = (disk.lock().journal.clone(), Image::default());
    journal[..acknowledged[0]]
        .iter()
        .for_each(|operation| image.step(operation.as_ref()));
    for cut in acknowledged[0]..=journal.len() {
        let least = acknowledged.iter().rposition(|at| *at <= cut).unwrap_or(0);
        for fate in 0..4 {
            // The first is a disk that kept nothing, the second one that kept everything.
            let found = image.after_power_cut(|| match fate {
                0 => 0,
                1 => 2,
                _ => (dice.roll() % 256) as u8,
            });
            let store = RedbStore::on_backend(found, no_hook());
            let store = store.unwrap_or_else(|error| panic!("seed {seed}, cut after {cut}, fate {fate}: {error}"));
            let revision = usize::try_from(store.revision().await.unwrap()).unwrap();
            let rows = store.scan("", None, MAX_SCAN).await.unwrap();
            let rows: BTreeMap<_, _> = rows.into_iter().map(|(path, row)| (path, row.value)).collect();
            assert!(revision >= least, "seed {seed}, cut after {cut}: {revision} of {least}");
            assert_eq!(
                Some(&rows),
                states.get(revision),
                "seed {seed}, cut after {cut}: no state that ever was"
            );
            store.close();
        }
        if let Some(operation) = journal.get(cut) {
            image.step(operation.as_ref());
        }
    }
    let cuts = journal.len() - acknowledged[0] + 1;
    eprintln!("{} operations, {} cuts", journal.len(), cuts * 4);
    assert!(cuts > 12);
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
    assert_eq!(store.cannot_write(), None);
    disk.fail_flush_after(0);
    let error = store.commit(Transaction::new().put("lost", "1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(called.load(Ordering::Relaxed));
    disk.lock().flushes_left = None;
    for _ in 0..3 {
        let error = store.commit(Transaction::new().put("later", "1")).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    }
    assert!(
        matches!(store.cannot_write(), Some(StoreError::Unavailable { .. })),
        "said before anyone asks"
    );
    assert_eq!(*store.watch().borrow(), kept);
}
