use super::keeper::{Failed, Witness};
use super::*;
use crate::log::objects::{Directory, Objects, PutError};
use crate::note::NoteKey;
use crate::note::cosign::tests::cosigner;
use crate::note::cosign::{Cosigner, WitnessKey};
use crate::note::tests::key;
use crate::tree::{consistency, leaf_hash, root};

const NAME: &str = "example.org/audit/1";

/// A log of numbered leaves; another salt, another history.
struct Tree {
    key: NoteKey,
    leaves: Vec<Hash>,
}

impl Tree {
    fn new() -> Tree {
        Tree {
            key: key(NAME),
            leaves: (0..40_u8).map(|leaf| leaf_hash(&[leaf])).collect(),
        }
    }

    /// The same signer with other leaves from `from` on.
    fn fork(&mut self, from: usize) {
        for leaf in &mut self.leaves[from..] {
            *leaf = leaf_hash(leaf);
        }
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint {
            origin: NAME.into(),
            size,
            root: root(&mut self.leaves.as_slice(), size).unwrap(),
        }
    }

    fn request(&self, old: u64, size: u64) -> Request {
        Request {
            old,
            proof: consistency(&mut self.leaves.as_slice(), old.min(size), size).unwrap(),
            note: self.key.sign(&self.checkpoint(size).to_string()).unwrap(),
        }
    }
}

fn open(path: &std::path::Path, name: &str, logs: Vec<VerifierKey>) -> (Witness, WitnessKey) {
    let key = cosigner(name);
    let known = key.verifier().clone();
    (with(path, key, logs).unwrap(), known)
}

fn with(path: &std::path::Path, key: Cosigner, logs: Vec<VerifierKey>) -> Result<Witness, Failed> {
    Witness::open(Box::new(Directory::open(path).unwrap().unwrap()), key, logs)
}

fn status(answer: Result<String, Failed>) -> (u16, Option<u64>) {
    match answer {
        Err(Failed::Refused(refused)) => (refused.status(), refused.size()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_written_and_read_as_the_protocol_says() {
    let request = Request {
        old: 20,
        proof: vec![[1; 32], [2; 32]],
        note: "o\n21\nAAAA\n\n\u{2014} o AAAAAAAA\n".into(),
    };
    let text = request.to_string();
    assert!(text.starts_with("old 20\nAQEBAQ"), "{text}");
    assert!(text.contains("ICAgI=\n\no\n21\n"), "{text}");
    assert_eq!(text.parse(), Ok(request.clone()));
    let first = Request {
        old: 0,
        proof: Vec::new(),
        ..request.clone()
    };
    assert!(first.to_string().starts_with("old 0\n\no\n"));
    assert_eq!(first.to_string().parse(), Ok(first));
    let many = Request {
        proof: vec![[0; 32]; 64],
        ..request.clone()
    };
    for bad in [
        "",
        "old 20",
        &text.replace("old 20", "old 020"),
        &text.replace("old 20", "old +20"),
        &text.replace("old 20", "old  20"),
        &text.replace("old 20", "new 20"),
        &text.replace("AQEBAQ", "AQE"),
        &many.to_string(),
        &format!("{text}{}", "x".repeat(MAX_REQUEST)),
    ] {
        assert!(matches!(bad.parse::<Request>(), Err(Refused::Form(_))), "{bad}");
    }
}

#[test]
fn growth_is_cosigned_and_anything_else_is_refused_with_its_status() {
    let log = Tree::new();
    let logs = [log.key.verifier().clone()];
    let held = log.checkpoint(7);
    let judged = |held: Option<&Checkpoint>, request: &Request| judge(&logs, held, request).map_err(|no| no.status());
    assert_eq!(judged(None, &log.request(0, 7)), Ok(held.clone()));
    assert_eq!(judged(Some(&held), &log.request(7, 33)), Ok(log.checkpoint(33)));
    assert_eq!(judged(Some(&held), &log.request(7, 7)), Ok(held.clone()), "again");
    assert_eq!(judged(None, &log.request(3, 7)), Err(409), "nothing is held");
    assert_eq!(judged(Some(&held), &log.request(0, 33)), Err(409));
    assert_eq!(judged(Some(&held), &log.request(7, 5)), Err(400), "smaller");
    let no_proof = Request {
        proof: Vec::new(),
        ..log.request(7, 33)
    };
    assert_eq!(judged(Some(&held), &no_proof), Err(422));
    let too_much = Request {
        proof: vec![[0; 32]],
        ..log.request(0, 7)
    };
    assert_eq!(
        judged(None, &too_much),
        Err(422),
        "nothing is to be proven from nothing"
    );
    let other = Tree::new();
    assert_eq!(judged(None, &other.request(0, 7)), Err(403), "another key");
    // Nothing has no other root than nothing's.
    let full = Checkpoint {
        size: 0,
        ..log.checkpoint(7)
    };
    let empty = Request {
        note: log.key.sign(&full.to_string()).unwrap(),
        ..log.request(0, 0)
    };
    assert_eq!(judged(None, &empty), Err(422));
    assert_eq!(judged(None, &log.request(0, 0)), Ok(log.checkpoint(0)));
    assert_eq!(judge(&[], None, &log.request(0, 7)), Err(Refused::Unknown(NAME.into())));
    let unsigned = Request {
        note: "example.org/audit/1\n7\n".into(),
        ..log.request(0, 7)
    };
    assert_eq!(judged(None, &unsigned), Err(400));
    let both = [other.key.verifier().clone(), logs[0].clone()];
    assert!(judge(&both, None, &log.request(0, 7)).is_ok(), "one of its keys");
}

// R29
#[test]
fn a_split_view_is_refused_and_the_size_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Tree::new();
    let (mut witness, known) = open(dir.path(), "w.example/1", vec![log.key.verifier().clone()]);
    let line = witness.add(&log.request(0, 20).to_string(), 100).unwrap();
    let cosigned = format!("{}{line}", log.request(0, 20).note);
    assert_eq!(
        known.checkpoint(log.key.verifier(), &cosigned),
        Ok((log.checkpoint(20), 100))
    );
    log.fork(10);
    assert_eq!(status(witness.add(&log.request(20, 20).to_string(), 101)), (422, None));
    assert_eq!(status(witness.add(&log.request(20, 30).to_string(), 101)), (422, None));
    assert_eq!(
        status(witness.add(&log.request(0, 30).to_string(), 101)),
        (409, Some(20))
    );
    assert_eq!(
        status(witness.add(&log.request(10, 30).to_string(), 101)),
        (409, Some(20))
    );
    assert_eq!(status(witness.add(&log.request(20, 15).to_string(), 101)), (400, None));
    log = Tree {
        key: log.key,
        ..Tree::new()
    };
    assert!(
        witness.add(&log.request(20, 30).to_string(), 102).is_ok(),
        "the first history goes on"
    );
}

#[test]
fn what_was_cosigned_is_known_after_a_restart_and_only_under_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let log = Tree::new();
    let logs = vec![log.key.verifier().clone()];
    let secret = signing::key::SigningKey::generate(signing::algorithm::Algorithm::EdDsa).unwrap();
    let again = || {
        let secret = secret.export().unwrap();
        let key = signing::key::SigningKey::import(signing::algorithm::Algorithm::EdDsa, &secret);
        Cosigner::new("w", key.unwrap()).unwrap()
    };
    let mut witness = with(dir.path(), again(), logs.clone()).unwrap();
    // A line in the witness's name that is not its own does no harm.
    let mut request = log.request(0, 20);
    let forged = witness.add(&request.to_string(), 1).unwrap();
    request = log.request(20, 30);
    request.note.push_str(&forged);
    let line = witness.add(&request.to_string(), 2).unwrap();
    let hash = signing::encoding::hex(&signing::digest::sha256(NAME.as_bytes()));
    let (text, by_log) = log
        .request(20, 30)
        .note
        .rsplit_once("\n\n")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(
        witness.checkpoint(&hash).unwrap(),
        Some(format!("{text}\n\n{line}{by_log}"))
    );
    assert_eq!(witness.checkpoint(&"0".repeat(64)).unwrap(), None);
    assert_eq!(witness.checkpoint("").unwrap(), None);
    assert!(Directory::open(dir.path()).unwrap().is_none(), "one process at a time");
    drop(witness);
    let mut witness = with(dir.path(), again(), logs.clone()).unwrap();
    assert_eq!(status(witness.add(&log.request(0, 20).to_string(), 3)), (409, Some(30)));
    assert!(witness.add(&log.request(30, 31).to_string(), 3).is_ok());
    drop(witness);
    let other = with(dir.path(), cosigner("w"), logs);
    assert!(matches!(other, Err(Failed::Io(_))), "{other:?}");
}

#[test]
fn nothing_is_cosigned_that_was_not_made_durable() {
    struct Full(Directory);
    impl Objects for Full {
        fn get(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
            self.0.get(name)
        }
        fn put(&mut self, name: &str, _: &[u8]) -> Result<(), PutError> {
            assert!(name.starts_with("logs/"));
            Err(PutError::Write(std::io::ErrorKind::StorageFull.into()))
        }
        fn remove(&mut self, names: &[String]) -> std::io::Result<()> {
            self.0.remove(names)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let log = Tree::new();
    let logs = vec![log.key.verifier().clone()];
    let full = Full(Directory::open(dir.path()).unwrap().unwrap());
    let mut witness = Witness::open(Box::new(full), cosigner("w"), logs).unwrap();
    let answer = witness.add(&log.request(0, 20).to_string(), 1);
    assert!(matches!(answer, Err(Failed::Io(_))), "{answer:?}");
    // As if it was never asked.
    assert_eq!(status(witness.add(&log.request(20, 30).to_string(), 1)), (409, Some(0)));
}

#[test]
fn a_monitor_names_a_log_by_the_hash_of_its_origin() {
    let hash = "0a".repeat(32);
    assert_eq!(monitored(&format!("/{hash}/checkpoint")), Some(hash.as_str()));
    for other in [
        "/checkpoint".to_owned(),
        format!("/{hash}/checkpoint/"),
        format!("{hash}/checkpoint"),
        format!("/{}/checkpoint", hash.to_uppercase()),
        format!("/..{}/checkpoint", &hash[2..]),
        format!("/{hash}0/checkpoint"),
    ] {
        assert_eq!(monitored(&other), None, "{other}");
    }
}
