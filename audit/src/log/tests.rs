mod detection;
mod memory;
mod writers;

use std::collections::BTreeMap;

use self::memory::Memory;
use super::read::View;
use super::*;
use crate::batch::tests::chain;
use crate::note::tests::key;
use crate::note::{NoteKey, VerifierKey};
use crate::record::hash_encoded;

const NAME: &str = "example.org/audit";

fn pair() -> (NoteKey, VerifierKey) {
    let pair = key(NAME);
    let verifier = pair.verifier().clone();
    (pair, verifier)
}

/// A key again, from the same secret.
fn again(of: &signing::key::SigningKey) -> NoteKey {
    let secret = of.export().unwrap();
    NoteKey::new(
        NAME,
        signing::key::SigningKey::import(signing::algorithm::Algorithm::EdDsa, &secret).unwrap(),
    )
    .unwrap()
}

fn secret() -> signing::key::SigningKey {
    signing::key::SigningKey::generate(signing::algorithm::Algorithm::EdDsa).unwrap()
}

/// Edges that ship: each has a chain that goes on.
#[derive(Default)]
struct Edges(BTreeMap<&'static str, (u64, Hash)>);

impl Edges {
    fn ship(&mut self, edge: &'static str, count: u64) -> Shipment {
        let (last, hash) = self.0.entry(edge).or_default();
        let records = chain(edge, "i1", (*last + 1, *last + count), *hash);
        (*last, *hash) = (*last + count, hash_encoded(records.last().unwrap()));
        Shipment {
            edge: edge.into(),
            incarnation: "i1".into(),
            records,
        }
    }
}

fn next(answers: &[Result<Receipt, Refusal>]) -> Vec<u64> {
    answers.iter().map(|answer| answer.as_ref().unwrap().next).collect()
}

fn verified(memory: &Memory, key: &VerifierKey, seen: &[Checkpoint]) -> verify::Report {
    let view = View::of(Box::new(memory.clone()), Some(key)).unwrap();
    verify::view(&view, seen, |_, _| {}).unwrap()
}

#[test]
fn what_is_taken_is_under_the_next_checkpoint() {
    let (pair, verifier) = pair();
    let memory = Memory::default();
    let mut log = Log::open(Box::new(memory.clone()), pair).unwrap();
    assert_eq!(log.checkpoint().size, 0);
    let mut edges = Edges::default();
    let shipments = vec![edges.ship("a", 3), edges.ship("b", 2), edges.ship("a", 4)];
    let ask = Shipment {
        edge: "a".into(),
        incarnation: "i1".into(),
        records: vec![],
    };
    assert_eq!(next(&log.take(vec![ask.clone()]).unwrap()), [1]);
    assert_eq!(next(&log.take(shipments).unwrap()), [4, 3, 8]);
    assert_eq!(next(&log.take(vec![ask]).unwrap()), [8]);
    assert!(log.publish().unwrap());
    assert!(!log.publish().unwrap(), "nothing new");
    assert_eq!(log.checkpoint().size, 2, "what follows on goes into one batch");
    let report = verified(&memory, &verifier, &[]);
    assert_eq!((report.leaves, report.records, report.faults.len()), (2, 9, 0));
}

#[test]
fn what_was_just_shipped_is_proven_from_the_newest_leaves() {
    let (pair, verifier) = pair();
    let memory = Memory::default();
    let mut log = Log::open(Box::new(memory.clone()), pair).unwrap();
    let mut edges = Edges::default();
    // Beyond one tile of leaves, and each record in a leaf of its own.
    for _ in 0..150 {
        log.take(vec![edges.ship("a", 1), edges.ship("b", 1)]).unwrap();
    }
    log.publish().unwrap();
    let view = View::of(Box::new(memory.clone()), Some(&verifier)).unwrap();
    let asked = |sequences: &[u64], since| {
        let proofs = view.prove_newest(("a", "i1"), sequences, since).unwrap();
        let records = proofs.iter().map(|proof| proof.check(&verifier).unwrap().record);
        let mut sequences: Vec<u64> = records
            .map(|record| {
                assert_eq!(record.edge, "a");
                record.sequence
            })
            .collect();
        sequences.sort_unstable();
        sequences
    };
    assert_eq!(asked(&[150, 1, 77, 151], 0), [1, 77, 150]);
    assert_eq!(asked(&[150, 1, 77], 200), [150], "the others are in leaves before");
    assert_eq!(asked(&[1], view.checkpoint().size), [0; 0]);
    assert!(view.prove_newest(("a", "i2"), &[1], 0).unwrap().is_empty());
    let proof = &view.prove_newest(("b", "i1"), &[9], 0).unwrap()[0];
    assert_eq!(Some(proof), view.prove("b", "i1", 9).unwrap().as_ref());
    assert_eq!(proof.check_unsigned(), proof.check(&verifier));
    assert!(serde_json::to_vec(proof).unwrap().len() < proof::MAX_PROOF);
}

#[test]
fn records_that_come_again_are_taken_once_and_other_ones_raise_an_alarm() {
    let (pair, verifier) = pair();
    let memory = Memory::default();
    let mut log = Log::open(Box::new(memory.clone()), pair).unwrap();
    let first = Edges::default().ship("a", 6);
    let part = |range: std::ops::Range<usize>| Shipment {
        records: first.records[range].to_vec(),
        ..first.clone()
    };
    assert_eq!(
        next(&log.take(vec![part(0..4), part(0..4), part(1..3), part(2..6)]).unwrap()),
        [5, 5, 5, 7]
    );
    assert_eq!(next(&log.take(vec![part(0..6), part(2..4)]).unwrap()), [7, 7]);
    let forged = |range: (u64, u64), previous| Shipment {
        records: chain("a", "i1", range, previous),
        ..first.clone()
    };
    for (shipment, at) in [
        (forged((1, 6), [1; 32]), 6),
        (forged((3, 4), [1; 32]), 4),
        (forged((7, 7), [1; 32]), 6),
        (forged((2, 9), [1; 32]), 6),
    ] {
        let answers = log.take(vec![shipment]).unwrap();
        assert!(
            matches!(&answers[0], Err(Refusal::Conflict { sequence, .. }) if *sequence == at),
            "{answers:?}"
        );
    }
    let stranger = Shipment {
        edge: "b".into(),
        ..first.clone()
    };
    assert!(
        matches!(log.take(vec![stranger]).unwrap()[0], Err(Refusal::Chain(_))),
        "another edge's"
    );
    // Passed over numbers are taken note of, and are not forgiven later.
    let later = log.take(vec![forged((9, 10), [2; 32])]).unwrap();
    assert_eq!(later[0].as_ref().unwrap().gap, Some((7, 8)));
    let late = log.take(vec![forged((7, 8), [2; 32])]).unwrap();
    assert_eq!(late[0], Err(Refusal::Old(8)));
    log.close().unwrap();
    let report = verified(&memory, &verifier, &[]);
    assert_eq!((report.records, report.faults.len()), (8, 0));
}

#[test]
fn what_the_log_could_not_read_again_is_not_taken() {
    let (pair, verifier) = pair();
    let memory = Memory::default();
    let mut log = Log::open(Box::new(memory.clone()), pair).unwrap();
    let good = Edges::default().ship("a", 1);
    let named = |incarnation: &str| Shipment {
        incarnation: incarnation.to_owned(),
        records: chain("a", incarnation, (1, 1), [0; 32]),
        ..good.clone()
    };
    let mut long = good.clone();
    let mut record = crate::record::Record::decode(&long.records[0]).unwrap();
    if let crate::record::Event::Use(draft) = &mut record.event {
        draft.caller = "x".repeat(crate::record::MAX_BYTES).into();
    }
    long.records = vec![crate::batch::tests::encoded(&record)];
    for shipment in [long, named(&"i".repeat(1_000)), named("i\u{1b}[2J"), named("")] {
        let answers = log.take(vec![shipment]).unwrap();
        assert!(matches!(answers[0], Err(Refusal::Chain(_))), "{answers:?}");
    }
    log.take(vec![good]).unwrap();
    log.publish().unwrap();
    assert_eq!(verified(&memory, &verifier, &[]).faults, []);
}

#[test]
fn an_edge_has_so_many_processes_and_no_more() {
    let (pair, _) = pair();
    let mut log = Log::open(Box::new(Memory::default()), pair).unwrap();
    let named = |edge: &str, number: usize| Shipment {
        edge: edge.to_owned(),
        incarnation: format!("i{number}"),
        records: chain(edge, &format!("i{number}"), (1, 1), [0; 32]),
    };
    let first: Vec<_> = (0..chains::MOST_PROCESSES).map(|number| named("a", number)).collect();
    assert!(log.take(first).unwrap().iter().all(Result::is_ok));
    let answers = log
        .take(vec![named("a", chains::MOST_PROCESSES), named("a", 0), named("b", 0)])
        .unwrap();
    assert!(matches!(answers[0], Err(Refusal::Processes { .. })), "{answers:?}");
    assert!(answers[1].is_ok() && answers[2].is_ok(), "{answers:?}");
}

#[test]
fn an_error_with_one_shipment_loses_none_that_came_with_it() {
    let (pair, verifier) = pair();
    let memory = Memory::default();
    let mut log = Log::open(Box::new(memory.clone()), pair).unwrap();
    let mut edges = Edges::default();
    let held = edges.ship("b", 2);
    log.take(vec![held.clone()]).unwrap();
    log.publish().unwrap();
    let pack = tiles::pack(1);
    let kept = memory.get(&pack).unwrap().unwrap();
    memory.erase(&pack);
    // What `b` ships again cannot be compared; what `a` shipped is in the log all the same.
    log.take(vec![edges.ship("a", 3), held]).unwrap_err();
    memory.clone().put(&pack, &kept).unwrap();
    let ask = Shipment {
        edge: "a".into(),
        incarnation: "i1".into(),
        records: vec![],
    };
    assert_eq!(next(&log.take(vec![ask]).unwrap()), [4]);
    log.publish().unwrap();
    assert_eq!(verified(&memory, &verifier, &[]).records, 5);
}

#[test]
fn a_log_whose_own_tiles_are_altered_is_broken_and_not_only_busy() {
    let (pair, _) = pair();
    let memory = Memory::default();
    let mut log = Log::open(Box::new(memory.clone()), pair).unwrap();
    let mut edges = Edges::default();
    log.take(vec![edges.ship("a", 1)]).unwrap();
    log.publish().unwrap();
    let note = log.note().to_owned();
    memory.erase(&tiles::tile(0, 0, 1));
    assert!(matches!(log.grew_from(&note), Err(LogError::Damaged(_))));
}

#[test]
fn many_leaves_fill_tiles_and_a_log_is_opened_where_it_ended() {
    let secret = secret();
    let verifier = again(&secret).verifier().clone();
    let memory = Memory::default();
    let mut edges = Edges::default();
    let mut seen = Vec::new();
    let mut total = 0;
    for round in 0..6 {
        let mut log = Log::open(Box::new(memory.clone()), again(&secret)).unwrap();
        for step in 0..(60 + round * 11) {
            // Two edges by turns, so that each shipment is a leaf.
            let shipments = vec![edges.ship("a", 1), edges.ship("b", 1), edges.ship("c", 2)];
            total += 4;
            log.take(shipments).unwrap();
            if step % 7 == 0 {
                log.publish().unwrap();
                seen.push(log.checkpoint().clone());
            }
        }
        for seen in &seen {
            let note = again(&secret).sign(&seen.to_string()).unwrap();
            assert_eq!(log.grew_from(&note).unwrap(), Some(true));
        }
        if round % 2 == 0 {
            log.close().unwrap();
        }
    }
    Log::open(Box::new(memory.clone()), again(&secret))
        .unwrap()
        .close()
        .unwrap();
    let report = verified(&memory, &verifier, &seen);
    assert_eq!((report.records, report.faults), (total, vec![]));
    assert!(report.leaves > 1000);
    // Somebody who holds an older checkpoint reads on, in what took the place of the tiles that it names.
    let last = memory.content(CHECKPOINT).unwrap();
    for seen in seen.iter().step_by(5) {
        memory.set(CHECKPOINT, again(&secret).sign(&seen.to_string()).unwrap().as_bytes());
        let report = verified(&memory, &verifier, &[]);
        assert_eq!((report.leaves, report.faults), (seen.size, vec![]));
    }
    memory.set(CHECKPOINT, &last);
    let leftovers = memory
        .names()
        .into_iter()
        .filter(|name| name.starts_with("tile/0/000.p/"));
    assert_eq!(leftovers.count(), 0, "partial tiles go when the full one is there");
}

#[test]
fn every_record_is_proven_without_another_one() {
    let (pair, verifier) = pair();
    let memory = Memory::default();
    let mut log = Log::open(Box::new(memory.clone()), pair).unwrap();
    let mut edges = Edges::default();
    for _ in 0..3 {
        log.take(vec![edges.ship("a", 5), edges.ship("b", 3)]).unwrap();
        log.publish().unwrap();
    }
    let view = View::of(Box::new(memory.clone()), Some(&verifier)).unwrap();
    let mut made = Vec::new();
    view.batches(0, |index, filled| {
        made.push((index, filled.clone()));
        true
    })
    .unwrap();
    let mut proofs = 0;
    for (index, filled) in &made {
        for (sequence, record) in (filled.batch.first..).zip(&filled.records) {
            let proof = proof::Proof::make(&view, *index, filled, sequence).unwrap();
            let proven = proof.check(&verifier).unwrap();
            assert_eq!((proven.record.sequence, proven.leaf_index), (sequence, *index));
            let text = serde_json::to_string(&proof).unwrap();
            assert_eq!(serde_json::from_str::<proof::Proof>(&text).unwrap(), proof);
            // Nothing of the others: neither as bytes nor as text.
            for (_, other) in &made {
                for other in other.records.iter().filter(|other| *other != record) {
                    use base64::Engine as _;
                    let encoded = base64::engine::general_purpose::STANDARD.encode(other);
                    assert!(!text.contains(&encoded[..64.min(encoded.len())]) || other[..48] == record[..48]);
                    assert!(!text.contains(&encoded));
                }
            }
            assert!(proof.check(key(NAME).verifier()).is_err(), "another log's key");
            proofs += 1;
        }
    }
    assert_eq!(proofs, 24);
    let forged = |from: &str, to: &str| {
        let (index, filled) = &made[0];
        let proof = proof::Proof::make(&view, *index, filled, 2).unwrap();
        let text = serde_json::to_string(&proof).unwrap().replacen(from, to, 1);
        serde_json::from_str::<proof::Proof>(&text).map(|proof| proof.check(&verifier))
    };
    assert!(forged("\"leaf_index\":0", "\"leaf_index\":1").unwrap().is_err());
    assert!(forged("proof-v1", "proof-v2").unwrap().is_err());
    assert!(forged("\"format\"", "\"formaty\"").is_err());
}

/// Steps 1 to 4 of the crash page: the process ends after each write in turn, and what was promised is there.
#[test]
fn a_crash_after_any_write_loses_nothing_that_was_receipted() {
    let secret = secret();
    let verifier = again(&secret).verifier().clone();
    let run = |memory: &Memory| -> (u64, Option<Checkpoint>) {
        let (mut receipted, mut signed) = (0, None);
        let mut edges = Edges::default();
        let Ok(mut log) = Log::open(Box::new(memory.clone()), again(&secret)) else {
            return (receipted, signed);
        };
        for _ in 0..4 {
            let shipments = vec![edges.ship("a", 2), edges.ship("b", 1)];
            let Ok(answers) = log.take(shipments) else { break };
            receipted = next(&answers)[0] - 1;
            if log.publish().is_err() {
                break;
            }
            signed = Some(log.checkpoint().clone());
        }
        (receipted, signed)
    };
    let whole = Memory::default();
    run(&whole);
    let writes = whole.writes();
    assert!(writes > 12);
    for crash in 0..writes {
        for torn in [false, true] {
            let memory = Memory::default();
            memory.crash_after(crash, torn);
            let (receipted, signed) = run(&memory);
            memory.restart();
            let mut log = Log::open(Box::new(memory.clone()), again(&secret)).unwrap();
            let ask = Shipment {
                edge: "a".into(),
                incarnation: "i1".into(),
                records: vec![],
            };
            let held = next(&log.take(vec![ask]).unwrap())[0] - 1;
            assert!(held >= receipted, "after write {crash}: {held} of {receipted}");
            let mut edges = Edges::default();
            let again = edges.ship("a", held + 5);
            assert_eq!(next(&log.take(vec![again]).unwrap()), [held + 6], "after write {crash}");
            log.close().unwrap();
            let report = verified(&memory, &verifier, signed.as_slice());
            assert_eq!(report.faults, [], "after write {crash}");
        }
    }
}

// R30
#[test]
fn a_full_disk_is_waited_for_and_a_failed_sync_is_final() {
    let (pair, verifier) = pair();
    let memory = Memory::default();
    let mut log = Log::open(Box::new(memory.clone()), pair).unwrap();
    let mut edges = Edges::default();
    memory.fail(memory::Failure::Write);
    let shipment = edges.ship("a", 3);
    assert!(matches!(log.take(vec![shipment.clone()]), Err(LogError::Io(_))));
    assert!(matches!(log.take(vec![shipment.clone()]), Err(LogError::Io(_))));
    memory.fail(memory::Failure::None);
    assert_eq!(
        next(&log.take(vec![shipment]).unwrap()),
        [4],
        "once, though it was brought three times"
    );
    memory.fail(memory::Failure::Write);
    assert!(matches!(log.publish(), Err(LogError::Io(_))));
    memory.fail(memory::Failure::None);
    assert!(log.publish().unwrap());
    assert_eq!(verified(&memory, &verifier, &[]).records, 3);
    memory.fail(memory::Failure::Sync);
    assert!(matches!(log.take(vec![edges.ship("a", 1)]), Err(LogError::Lost(_))));
}

// R32
#[test]
fn leaves_are_read_back_and_hashed_before_a_checkpoint_is_signed() {
    for victim in ["tile/entries/", "tile/0/", "pack/"] {
        let (pair, _) = pair();
        let memory = Memory::default();
        let mut log = Log::open(Box::new(memory.clone()), pair).unwrap();
        let mut edges = Edges::default();
        log.take(vec![edges.ship("a", 3)]).unwrap();
        log.publish().unwrap();
        let signed = log.note().to_owned();
        // The storage keeps another bit than it was given.
        memory.corrupt(victim);
        let published = log.take(vec![edges.ship("a", 3)]).and_then(|_| log.publish());
        assert!(published.is_err(), "{victim}");
        assert_eq!(
            memory.content(CHECKPOINT).unwrap(),
            signed.as_bytes(),
            "{victim}: nothing was signed"
        );
    }
}

#[test]
fn a_log_whose_checkpoint_is_gone_or_foreign_is_not_written_on() {
    let secret = secret();
    let memory = Memory::default();
    let mut log = Log::open(Box::new(memory.clone()), again(&secret)).unwrap();
    log.take(vec![Edges::default().ship("a", 2)]).unwrap();
    log.close().unwrap();
    let old = memory.content(CHECKPOINT).unwrap();
    assert!(matches!(
        Log::open(Box::new(memory.clone()), key(NAME)),
        Err(LogError::Note(_))
    ));
    memory.erase(CHECKPOINT);
    assert!(matches!(
        Log::open(Box::new(memory.clone()), again(&secret)),
        Err(LogError::Damaged(_))
    ));
    memory.set(CHECKPOINT, &old);
    Log::open(Box::new(memory), again(&secret)).unwrap();
}
