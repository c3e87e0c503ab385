//! Two processes that write one log where neither can keep the other out.

use super::super::copy::copy;
use super::memory::{Failure, Memory};
use super::*;

struct Site {
    memory: Memory,
    secret: signing::key::SigningKey,
    edges: Edges,
}

impl Site {
    fn new() -> Site {
        Site {
            memory: Memory::default(),
            secret: secret(),
            edges: Edges::default(),
        }
    }

    fn open(&self, writer: &str) -> Log {
        Log::open(Box::new(self.memory.shared_by(writer)), again(&self.secret)).unwrap()
    }

    fn check(&self, records: u64) {
        let report = verified(&self.memory, again(&self.secret).verifier(), &[]);
        assert_eq!((report.faults, report.records), (vec![], records));
    }
}

fn taken<T: std::fmt::Debug>(result: Result<T, LogError>) -> String {
    match result {
        Err(LogError::Taken(by)) => by,
        other => panic!("{other:?}"),
    }
}

#[test]
fn whoever_opens_the_log_shuts_out_whoever_had_it() {
    let mut site = Site::new();
    let mut old = site.open("old");
    old.take(vec![site.edges.ship("a", 3)]).unwrap();
    // What the old one receipted and did not publish is in the log all the same.
    let mut new = site.open("new");
    let shipment = site.edges.ship("a", 2);
    let by = taken(old.take(vec![shipment.clone()]));
    assert!(by.contains("`new` took it over"), "{by}");
    assert_eq!(next(&new.take(vec![shipment]).unwrap()), [6]);
    new.publish().unwrap();
    // It knows of less than was published.
    taken(old.publish());
    site.check(5);
    drop((old, new));
    // Claims are passed over, as often as there were some.
    for writer in ["c", "d", "e"] {
        site.open(writer);
    }
    let mut last = site.open("f");
    assert_eq!(next(&last.take(vec![site.edges.ship("a", 1)]).unwrap()), [7]);
    last.close().unwrap();
    site.check(6);
}

#[test]
fn every_interleaving_of_two_writers_makes_one_log() {
    // Bits say whose turn it is: the first ship before the second has opened, and both go on until one is refused.
    for schedule in 0_u32..256 {
        let mut site = Site::new();
        let mut logs = [Some(site.open("a")), None];
        let mut receipted = 0;
        for turn in 0..8 {
            let who = usize::try_from(schedule >> turn & 1).unwrap();
            if who == 1 && turn == 0 {
                continue;
            }
            if who == 1 && logs[1].is_none() {
                logs[1] = Some(site.open("b"));
            }
            let Some(log) = &mut logs[who] else { continue };
            let (last, hash) = *site.edges.0.entry("e").or_default();
            let shipment = site.edges.ship("e", 1);
            match log.take(vec![shipment]) {
                Ok(answers) => receipted = next(&answers)[0] - 1,
                // It comes again, to the other one.
                Err(_) => drop(site.edges.0.insert("e", (last, hash))),
            }
            if turn % 3 == who {
                let _ = log.publish();
            }
        }
        drop(logs);
        site.open("c").close().unwrap();
        site.check(receipted);
    }
}

#[test]
fn a_checkpoint_whose_writing_was_not_acknowledged_is_known_again() {
    let mut site = Site::new();
    let mut log = site.open("a");
    log.take(vec![site.edges.ship("a", 3)]).unwrap();
    // A tile, a bundle, and the checkpoint, which is written and not answered.
    let signed = site.memory.content(CHECKPOINT);
    site.memory.crash_after(site.memory.writes() + 2, true);
    assert!(matches!(log.publish(), Err(LogError::Io(_))));
    assert_ne!(site.memory.content(CHECKPOINT), signed);
    site.memory.restart();
    log.take(vec![site.edges.ship("a", 1)]).unwrap();
    assert!(log.publish().unwrap());
    site.check(4);
    // A checkpoint that this log did not grow from is nobody's to replace.
    let old = site.memory.content(CHECKPOINT).unwrap();
    log.take(vec![site.edges.ship("a", 1)]).unwrap();
    log.publish().unwrap();
    site.memory.set(CHECKPOINT, &old);
    log.take(vec![site.edges.ship("a", 1)]).unwrap();
    assert!(matches!(log.publish(), Err(LogError::Damaged(_))));
}

#[test]
fn a_log_is_copied_completed_and_written_on_and_no_other_one_is_touched() {
    let mut site = Site::new();
    let mut log = site.open("a");
    for _ in 0..300 {
        log.take(vec![site.edges.ship("a", 1)]).unwrap();
    }
    log.publish().unwrap();
    let other = Memory::default();
    let verifier = again(&site.secret).verifier().clone();
    let view = |memory: &Memory| View::of(Box::new(memory.clone()), Some(&verifier)).unwrap();
    other.fail(Failure::Write);
    assert!(copy(&view(&site.memory), &mut other.clone(), |_, _| {}).is_err());
    other.fail(Failure::None);
    copy(&view(&site.memory), &mut other.clone(), |_, _| {}).unwrap();
    assert_eq!(verified(&other, &verifier, &[]).records, 300);
    log.take(vec![site.edges.ship("a", 1)]).unwrap();
    log.publish().unwrap();
    log.take(vec![site.edges.ship("a", 1)]).unwrap();
    copy(&view(&site.memory), &mut other.clone(), |_, _| {}).unwrap();
    let report = verified(&other, &verifier, &[log.checkpoint().clone()]);
    assert_eq!((report.records, report.faults), (301, vec![]));
    // The pack that no checkpoint covers came with it.
    let mut moved = Log::open(Box::new(other.clone()), again(&site.secret)).unwrap();
    assert_eq!(
        moved.take(vec![site.edges.ship("a", 1)]).unwrap()[0]
            .as_ref()
            .unwrap()
            .next,
        304
    );
    moved.close().unwrap();
    assert_eq!(verified(&other, &verifier, &[]).records, 303);
    let back = copy(&view(&site.memory), &mut other.clone(), |_, _| {});
    assert!(matches!(back, Err(LogError::Io(error)) if error.kind() == std::io::ErrorKind::AlreadyExists));
}
