//! A disk in memory that fails on command, remembers every operation, and can lose its power after any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::{SegmentFile, Volume};

/// Shared: clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct Faulty {
    disk: Arc<(Mutex<Disk>, Condvar)>,
}

#[derive(Default)]
struct Disk {
    journal: Vec<Operation>,
    files: BTreeMap<u64, Vec<u8>>,
    /// Writing more than this many bytes fails with ENOSPC, with half of the write done.
    capacity: Option<usize>,
    /// As with a quota: nobody is told before the write.
    tells_no_room: bool,
    failing_sync: bool,
    /// Syncing waits.
    held: bool,
    /// Of which segments a sync failed.
    broken: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
enum Operation {
    Create(u64),
    Write(u64, usize, Vec<u8>),
    Sync(u64),
    SyncNames,
    Truncate(u64, usize),
    Remove(u64),
}

struct Open {
    disk: Faulty,
    number: u64,
}

impl Disk {
    fn used(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }
}

impl Faulty {
    /// A disk on which one segment is durable.
    pub(crate) fn holding(number: u64, bytes: &[u8]) -> Faulty {
        let disk = Faulty::default();
        let mut file = disk.create(number).unwrap();
        file.write_at(bytes, 0).unwrap();
        file.sync().unwrap();
        disk.sync_names().unwrap();
        disk
    }

    pub(crate) fn limit(&self, capacity: Option<usize>) {
        self.lock().capacity = capacity;
    }

    /// As [`Faulty::limit`], and says that there is room.
    pub(crate) fn limit_untold(&self, capacity: usize) {
        let mut disk = self.lock();
        (disk.capacity, disk.tells_no_room) = (Some(capacity), true);
    }

    pub(crate) fn fail_syncs(&self) {
        self.lock().failing_sync = true;
    }

    /// Makes syncs wait, or lets them go on.
    pub(crate) fn hold(&self, held: bool) {
        self.lock().held = held;
        self.disk.1.notify_all();
    }

    pub(crate) fn operations(&self) -> usize {
        self.lock().journal.len()
    }

    pub(crate) fn export(&self, directory: &std::path::Path) {
        for (number, bytes) in &self.lock().files {
            std::fs::write(super::segment_path(directory, *number), bytes).unwrap();
        }
    }

    /// The disk as a power cut after `operations` may leave it: what was synced is there, and of everything else
    /// `seed` decides block by block what is written, missing or zero.
    pub(crate) fn after_power_cut(&self, operations: usize, seed: u64) -> Faulty {
        let mut random = Random(seed);
        let mut files: BTreeMap<u64, Image> = BTreeMap::new();
        let mut gone: Vec<(u64, Image)> = Vec::new();
        for operation in self.lock().journal.iter().take(operations) {
            match operation.clone() {
                Operation::Create(number) => {
                    let named = files.get(&number).is_some_and(|image| image.named);
                    files.insert(
                        number,
                        Image {
                            named,
                            ..Image::default()
                        },
                    );
                }
                Operation::Write(number, offset, bytes) => {
                    files.get_mut(&number).unwrap().unsynced.push((offset, bytes));
                }
                Operation::Sync(number) => files.get_mut(&number).unwrap().sync(),
                Operation::SyncNames => {
                    files.values_mut().for_each(|image| image.named = true);
                    gone.clear();
                }
                Operation::Truncate(number, length) => {
                    let image = files.get_mut(&number).unwrap();
                    image.sync();
                    image.durable.truncate(length);
                }
                Operation::Remove(number) => gone.extend(files.remove(&number).map(|image| (number, image))),
            }
        }
        for (number, image) in gone {
            if random.next().is_multiple_of(2) {
                files.entry(number).or_insert(image);
            }
        }
        let cut = Faulty::default();
        for (number, image) in files {
            if image.named || random.next().is_multiple_of(2) {
                cut.lock()
                    .journal
                    .extend([Operation::Create(number), Operation::SyncNames]);
                let bytes = image.torn(&mut random);
                cut.lock().journal.push(Operation::Write(number, 0, bytes.clone()));
                cut.lock().journal.push(Operation::Sync(number));
                cut.lock().files.insert(number, bytes);
            }
        }
        cut
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.0.lock().unwrap()
    }
}

#[derive(Default)]
struct Image {
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    named: bool,
}

impl Image {
    fn sync(&mut self) {
        for (offset, bytes) in self.unsynced.drain(..) {
            write(&mut self.durable, offset, &bytes);
        }
    }

    fn torn(mut self, random: &mut Random) -> Vec<u8> {
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            for (index, block) in bytes.chunks(64).enumerate() {
                match random.next() % 4 {
                    0 => {}
                    1 => write(&mut self.durable, offset + index * 64, &vec![0; block.len()]),
                    _ => write(&mut self.durable, offset + index * 64, block),
                }
            }
        }
        self.durable
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn write(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    file.resize(file.len().max(end), 0);
    file[offset..end].copy_from_slice(bytes);
}

impl Volume for Faulty {
    fn list(&self) -> io::Result<Vec<(u64, u64)>> {
        Ok(self
            .lock()
            .files
            .iter()
            .map(|(number, bytes)| (*number, bytes.len() as u64))
            .collect())
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        self.lock()
            .files
            .get(&number)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, number: u64) -> io::Result<Box<dyn SegmentFile>> {
        let mut disk = self.lock();
        disk.journal.push(Operation::Create(number));
        disk.files.insert(number, Vec::new());
        Ok(Box::new(Open {
            disk: self.clone(),
            number,
        }))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.lock().journal.push(Operation::SyncNames);
        Ok(())
    }

    fn truncate(&self, number: u64, length: u64) -> io::Result<()> {
        let mut disk = self.lock();
        disk.journal.push(Operation::Truncate(number, length as usize));
        disk.files.get_mut(&number).unwrap().truncate(length as usize);
        Ok(())
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        let mut disk = self.lock();
        disk.journal.push(Operation::Remove(number));
        disk.files.remove(&number);
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let disk = self.lock();
        let capacity = disk.capacity.filter(|_| !disk.tells_no_room);
        let left = capacity.map(|capacity| capacity.saturating_sub(disk.used()));
        Ok(left.map_or(u64::MAX, |left| left as u64))
    }
}

impl SegmentFile for Open {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        assert!(!disk.broken.contains(&self.number), "written again after a failed sync");
        let offset = offset as usize;
        let more = (offset + bytes.len()).saturating_sub(disk.files[&self.number].len());
        let full = more > 0 && disk.capacity.is_some_and(|capacity| disk.used() + more > capacity);
        let written = if full { &bytes[..bytes.len() / 2] } else { bytes };
        disk.journal
            .push(Operation::Write(self.number, offset, written.to_vec()));
        let number = self.number;
        write(disk.files.get_mut(&number).unwrap(), offset, written);
        if full {
            Err(io::Error::from_raw_os_error(28))
        } else {
            Ok(())
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        assert!(!disk.broken.contains(&self.number), "synced again after a failed sync");
        while disk.held {
            disk = self.disk.disk.1.wait(disk).unwrap();
        }
        if disk.failing_sync {
            disk.broken.insert(self.number);
            return Err(io::Error::from_raw_os_error(5));
        }
        disk.journal.push(Operation::Sync(self.number));
        Ok(())
    }
}
