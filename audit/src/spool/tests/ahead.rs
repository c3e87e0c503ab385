//! The segment that is made ready: what it changes for a record, for recovery, for readers and for a disk that is full.

use super::super::recover::recover;
use super::super::writer::{WriteError, Writer};
use super::*;
use crate::volume::Volume;

const SEGMENT: u64 = 4 << 10;

fn small() -> Settings {
    Settings {
        segment_bytes: SEGMENT,
        max_bytes: 64 << 10,
        ..settings()
    }
}

fn writer(disk: &Faulty) -> Writer {
    Writer::open(Box::new(disk.clone()), "edge-1", "i1", &small(), recover(disk).unwrap()).unwrap()
}

fn events(count: usize) -> Vec<u8> {
    let event = record::encode_use(&draft()).unwrap();
    let mut one = u32::try_from(event.len()).unwrap().to_le_bytes().to_vec();
    one.extend(event);
    one.repeat(count)
}

fn store(writer: &mut Writer, count: usize) -> Result<(), WriteError> {
    let mut batch = writer.batch();
    writer.push_events(&mut batch, &events(count)).unwrap();
    writer.store(&mut batch, writer.next() + 16)
}

fn lengths(disk: &Faulty) -> Vec<u64> {
    disk.list().unwrap().into_iter().map(|(_, length)| length).collect()
}

/// A writer whose open segment was made ready, with some records in it.
fn begun(disk: &Faulty) -> Writer {
    let mut writer = writer(disk);
    writer.look_ahead();
    writer.wait_ahead().unwrap();
    store(&mut writer, 3).unwrap();
    writer
}

#[test]
fn records_overwrite_zeros_and_only_they_are_synced() {
    let disk = Faulty::default();
    let mut writer = begun(&disk);
    assert_eq!(lengths(&disk)[1..], [SEGMENT]);
    writer.look_ahead();
    writer.wait_ahead().unwrap();
    assert_eq!(lengths(&disk)[1..], [SEGMENT, SEGMENT]);
    let mut rotated = 0;
    for _ in 0..100 {
        let (before, segments) = (disk.operations(), lengths(&disk));
        store(&mut writer, 1).unwrap();
        // One write and one sync, and as much for the head of a new segment: no file grew and none was made.
        let done = disk.operations() - before;
        rotated += u32::from(done == 4);
        assert!(matches!(done, 2 | 4), "{done} operations");
        assert_eq!(lengths(&disk), segments);
        writer.look_ahead();
        writer.wait_ahead().unwrap();
    }
    assert!(rotated > 5, "{rotated}");
    assert!(lengths(&disk)[1..].iter().all(|length| *length == SEGMENT));
}

// R36: every prefix of a write over zeros.
#[test]
fn recovery_tells_the_end_of_the_records_from_the_zeros_behind() {
    let disk = Faulty::default();
    let mut writer = begun(&disk);
    let (before, durable) = (disk.read(2).unwrap(), writer.durable());
    let end = crate::frame::filled(&before);
    store(&mut writer, 2).unwrap();
    let after = disk.read(2).unwrap();
    assert_eq!((before.len(), after.len()), (SEGMENT as usize, SEGMENT as usize));
    let written = crate::frame::filled(&after);
    for cut in end..=written {
        let mut torn = after.clone();
        torn[cut..].fill(0);
        let disk = Faulty::holding(2, &torn);
        let found = recover(&disk).unwrap();
        let before = found.summary().predecessor.unwrap();
        assert!(
            !before.damaged && before.sequence >= durable,
            "cut at {cut}: {before:?}"
        );
        assert!(before.unaccounted.is_some(), "cut at {cut}");
        let kept = disk.read(2).unwrap();
        assert!(
            kept.len() <= cut.max(end) + 8 && after.starts_with(&kept),
            "cut at {cut}"
        );
        assert_eq!(found.summary().bytes, kept.len() as u64);
        assert!(found.summary().torn_bytes <= (cut - end) as u64, "cut at {cut}");
        if cut == end || cut == written {
            assert_eq!(found.summary().torn_bytes, 0, "cut at {cut}");
        }
        let again = recover(&disk).unwrap();
        assert_eq!(again.tip, found.tip, "cut at {cut}");
        assert_eq!(again.summary().torn_bytes, 0);
    }
}

#[test]
fn what_was_made_ready_for_a_process_that_is_gone_is_removed_and_was_not_torn() {
    let disk = Faulty::default();
    let mut before = begun(&disk);
    before.look_ahead();
    before.wait_ahead().unwrap();
    drop(before);
    assert_eq!(disk.list().unwrap().len(), 3);
    let found = recover(&disk).unwrap();
    assert_eq!((found.next_number, found.summary().torn_bytes), (3, 0));
    assert_eq!(lengths(&disk).len(), 2);
    assert!(lengths(&disk)[1] < SEGMENT, "the room behind the records is given back");
    // As is a segment that got its head and nothing else.
    let mut head = disk.read(2).unwrap();
    head.truncate(60);
    head.resize(4096, 0);
    let disk = Faulty::holding(7, &head);
    assert_eq!(recover(&disk).unwrap().next_number, 7);
    assert!(lengths(&disk).is_empty());
}

#[test]
fn a_spool_that_was_closed_holds_records_only() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(directory.path(), "edge-1", "i1", small()).unwrap();
    for _ in 0..30 {
        append(&spool, 1);
        spool.flush().unwrap();
    }
    spool.close();
    let (number, length) = crate::volume::list(directory.path()).unwrap().pop().unwrap();
    let bytes = std::fs::read(segment_path(directory.path(), number)).unwrap();
    let mut items = crate::frame::Items::<Record>::new(&bytes, 0);
    assert!(items.by_ref().count() > 1);
    assert_eq!(items.end() as u64, length, "nothing behind the last record");
    let (_spool, recovered) = open(directory.path(), "i2");
    assert_eq!(recovered.torn_bytes, 0);
    assert_eq!(recovered.predecessor.unwrap().unaccounted, None);
}

#[test]
fn a_spool_that_takes_little_stays_small() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(directory.path(), "i1");
    append(&spool, 20);
    spool.flush().unwrap();
    assert!(spool.status().disk_bytes < 64 << 10);
    assert_eq!(crate::volume::list(directory.path()).unwrap().len(), 1);
}

// R30: where there is no room to make a segment ready, the next one grows, as far as there is.
#[test]
fn a_full_disk_grows_segments_until_it_is_full_and_is_used_again_when_there_is_room() {
    let disk = Faulty::default();
    let mut writer = writer(&disk);
    disk.limit(Some(2 * SEGMENT as usize));
    for _ in 0..3 {
        writer.look_ahead();
        writer.wait_ahead().unwrap();
        store(&mut writer, 1).unwrap();
    }
    let [used] = lengths(&disk)[..] else {
        panic!("more than one segment");
    };
    disk.limit(Some(used as usize + 100));
    let mut batch = writer.batch();
    writer.push_events(&mut batch, &events(1)).unwrap();
    let full = writer.store(&mut batch, 0);
    assert!(
        matches!(&full, Err(WriteError::Write(error)) if error.raw_os_error() == Some(28)),
        "{full:?}"
    );
    disk.limit(None);
    writer.look_ahead();
    writer.wait_ahead().unwrap();
    // Also where another segment is ready by now: a part of it is in this one.
    writer.store(&mut batch, 0).unwrap();
    assert_eq!(faults(exported(&disk).path()), []);
    for _ in 0..20 {
        store(&mut writer, 1).unwrap();
        writer.look_ahead();
        writer.wait_ahead().unwrap();
    }
    assert_eq!(lengths(&disk).last(), Some(&SEGMENT));
    assert_eq!(faults(exported(&disk).path()), []);
}

#[test]
fn what_could_not_be_made_ready_gives_its_room_back_to_records() {
    let disk = Faulty::default();
    let mut writer = writer(&disk);
    disk.limit_untold(SEGMENT as usize);
    writer.look_ahead();
    writer.wait_ahead().unwrap();
    assert_eq!(lengths(&disk).len(), 1);
    store(&mut writer, 5).unwrap();
    disk.limit(None);
    store(&mut writer, 5).unwrap();
    writer.look_ahead();
    writer.wait_ahead().unwrap();
    assert_eq!(lengths(&disk).last(), Some(&SEGMENT));
    assert_eq!(faults(exported(&disk).path()), []);
}

// R30
#[test]
fn a_failed_sync_of_what_is_made_ready_is_final() {
    let disk = Faulty::default();
    let mut writer = writer(&disk);
    disk.fail_syncs();
    writer.look_ahead();
    assert!(matches!(writer.wait_ahead(), Err(WriteError::Sync(_))));
}

fn exported(disk: &Faulty) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    disk.export(directory.path());
    directory
}

/// The records that are read, and how many times damage is met.
fn read_all(directory: &Path) -> (usize, usize) {
    let read: Vec<_> = read::tail(directory, false).unwrap().collect();
    let good = read.iter().filter(|read| read.is_ok()).count();
    (good, read.len() - good)
}

#[test]
fn the_room_behind_closed_records_is_looked_at_too() {
    let disk = Faulty::default();
    let mut writer = begun(&disk);
    for _ in 0..3 {
        store(&mut writer, 4).unwrap();
        writer.look_ahead();
        writer.wait_ahead().unwrap();
    }
    let directory = exported(&disk);
    let all = writer.durable() as usize;
    assert_eq!(
        (read_all(directory.path()), faults(directory.path())),
        ((all, 0), vec![])
    );
    let path = segment_path(directory.path(), 2);
    let good = std::fs::read(&path).unwrap();
    assert_eq!(good.len() as u64, SEGMENT);
    let end = crate::frame::filled(&good);
    assert!(end + 100 < good.len(), "room is left");
    // In the room, in the last record, and a hole before the last mark.
    for (range, with) in [
        (end + 50..end + 51, 1),
        (end - 1..end, good[end - 1] ^ 0x55),
        (200..400, 0),
    ] {
        let mut bad = good.clone();
        bad[range.clone()].fill(with);
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(read_all(directory.path()).1, 1, "{range:?}");
        assert!(
            matches!(faults(directory.path())[..], [FaultKind::Damaged { .. }, ..]),
            "{range:?}"
        );
    }
}

// The segment behind is there before it is begun: its zeros must not be taken for the end of this one.
#[test]
fn a_reader_waits_at_the_end_of_the_segment_that_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let mut writer = begun(&disk);
    writer.look_ahead();
    writer.wait_ahead().unwrap();
    disk.export(directory.path());
    let mut tail = read::tail(directory.path(), false).unwrap();
    let mut seen = tail.by_ref().map(Result::unwrap).count() as u64;
    for _ in 0..30 {
        assert_eq!(seen, writer.durable());
        store(&mut writer, 1).unwrap();
        // A part of a batch, as a reader may meet it beside the writer.
        let number = *crate::volume::begun(exported(&disk).path()).unwrap().last().unwrap();
        let (whole, path) = (disk.read(number).unwrap(), segment_path(directory.path(), number));
        let end = crate::frame::filled(&whole);
        let mut part = whole.clone();
        part[end - 100..].fill(0);
        std::fs::write(&path, &part).unwrap();
        assert!(tail.poll().is_none());
        disk.export(directory.path());
        seen += tail.by_ref().map(Result::unwrap).count() as u64;
        writer.look_ahead();
        writer.wait_ahead().unwrap();
    }
}

#[test]
fn a_directory_without_room_ahead_is_read_as_ever() {
    let disk = Faulty::default();
    let mut writer = writer(&disk);
    for _ in 0..20 {
        store(&mut writer, 2).unwrap();
    }
    let directory = exported(&disk);
    assert!(lengths(&disk).len() > 3);
    assert_eq!(
        (read_all(directory.path()), faults(directory.path())),
        ((41, 0), vec![])
    );
    let found = recover(&disk).unwrap().summary();
    assert_eq!((found.torn_bytes, found.predecessor.unwrap().sequence), (0, 41));
}

#[test]
fn segments_are_a_part_of_their_directory() {
    for (directory, segment) in [
        (16 << 20, 1 << 20),
        (64 << 20, 4 << 20),
        (1 << 30, 16 << 20),
        (1 << 40, 16 << 20),
    ] {
        let settings = Settings::within(directory);
        assert_eq!((settings.max_bytes, settings.segment_bytes), (directory, segment));
        settings.check().unwrap();
    }
    assert!(Settings::within(1 << 20).check().is_err());
}
