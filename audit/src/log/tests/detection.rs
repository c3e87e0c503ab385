//! What a log that was tampered with looks like to `verify`.

use super::super::verify::Fault;
use super::memory::Memory;
use super::*;

struct Site {
    memory: Memory,
    verifier: VerifierKey,
    secret: signing::key::SigningKey,
    edges: Edges,
}

impl Site {
    /// 300 leaves: a full tile and a partial one; two a pack.
    fn new() -> Site {
        let secret = secret();
        let mut site = Site {
            memory: Memory::default(),
            verifier: again(&secret).verifier().clone(),
            secret,
            edges: Edges::default(),
        };
        site.grow(150);
        site
    }

    fn grow(&mut self, rounds: u64) -> Checkpoint {
        let mut log = self.log();
        for _ in 0..rounds {
            log.take(vec![self.edges.ship("a", 2), self.edges.ship("b", 1)])
                .unwrap();
        }
        log.publish().unwrap();
        log.checkpoint().clone()
    }

    fn log(&self) -> Log {
        Log::open(Box::new(self.memory.clone()), again(&self.secret)).unwrap()
    }

    fn faults(&self, seen: &[Checkpoint]) -> Vec<Fault> {
        verified(&self.memory, &self.verifier, seen).faults
    }
}

// R32
#[test]
fn any_changed_byte_is_found() {
    let site = Site::new();
    assert_eq!(site.faults(&[]), []);
    // Of 150 packs some: one is as another.
    let every = |name: &String| name != CHAINS && (!name.starts_with("pack/") || name.ends_with("1"));
    for name in site.memory.names().into_iter().filter(every) {
        let whole = site.memory.content(&name).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bad = whole.clone();
            bad[at] ^= 4;
            site.memory.set(&name, &bad);
            let opened = View::of(Box::new(site.memory.clone()), Some(&site.verifier));
            let found = opened.is_err() || !site.faults(&[]).is_empty();
            assert!(found, "byte {at} of `{name}`");
        }
        site.memory.set(&name, &whole);
        site.memory.erase(&name);
        let opened = View::of(Box::new(site.memory.clone()), Some(&site.verifier));
        assert!(opened.is_err() || !site.faults(&[]).is_empty(), "without `{name}`");
        site.memory.set(&name, &whole);
    }
    assert_eq!(site.faults(&[]), []);
}

#[test]
fn a_log_made_anew_in_another_order_or_without_some_is_found() {
    let mut site = Site::new();
    let signed = site.memory.content(CHECKPOINT).unwrap();
    // Whoever can write the directory, and has not the key, makes every tile anew from other leaves.
    for order in [[1, 0], [0, 0]] {
        let other = Memory::default();
        let mut log = Log::open(Box::new(other.clone()), again(&site.secret)).unwrap();
        let mut edges = Edges::default();
        for _ in 0..150 {
            let both = [edges.ship("a", 2), edges.ship("b", 1)];
            log.take(order.map(|at: usize| both[at].clone()).to_vec()).unwrap();
        }
        log.publish().unwrap();
        other.set(CHECKPOINT, &signed);
        let report = View::of(Box::new(other.clone()), Some(&site.verifier)).unwrap();
        let report = verify::view(&report, &[], |_, _| {}).unwrap();
        assert!(!report.faults.is_empty());
        if order == [1, 0] {
            assert_eq!(report.faults, [Fault::Root], "every tile, pack and chain is whole");
        }
    }
    // Truncated: the newest leaves are gone with their tiles.
    let short = site.memory.snapshot();
    site.grow(20);
    short.set(CHECKPOINT, &site.memory.content(CHECKPOINT).unwrap());
    let report = verified(&short, &site.verifier, &[]);
    assert!(
        report.faults.iter().any(|fault| matches!(fault, Fault::Object(_))),
        "{:?}",
        report.faults
    );
}

#[test]
fn a_rollback_is_found_by_whoever_saw_more_and_a_fork_by_whoever_saw_other_leaves() {
    let mut site = Site::new();
    let before = site.memory.snapshot();
    let seen = site.grow(10);
    assert_eq!(site.faults(std::slice::from_ref(&seen)), []);
    // Put back whole, with the checkpoint it had then: by itself it is in order.
    assert_eq!(verified(&before, &site.verifier, &[]).faults, []);
    let faults = verified(&before, &site.verifier, std::slice::from_ref(&seen)).faults;
    assert_eq!(faults, [Fault::RolledBack { seen: seen.size }]);
    let note = again(&site.secret).sign(&seen.to_string()).unwrap();
    let mut log = Log::open(Box::new(before.clone()), again(&site.secret)).unwrap();
    assert_eq!(log.grew_from(&note).unwrap(), Some(false));
    // And it grows past what was seen, with other records.
    let mut edges = Edges::default();
    edges.ship("c", 1);
    for _ in 0..40 {
        log.take(vec![edges.ship("c", 1)]).unwrap();
        log.publish().unwrap();
    }
    let faults = verified(&before, &site.verifier, std::slice::from_ref(&seen)).faults;
    assert!(faults.contains(&Fault::Forked { seen: seen.size }), "{faults:?}");
    assert_eq!(log.grew_from(&note).unwrap(), Some(false));
    assert_eq!(log.grew_from("no note").unwrap(), None);
}

#[test]
fn the_chains_written_down_show_a_rollback_that_forgot_them() {
    let mut site = Site::new();
    let before = site.memory.content(CHECKPOINT).unwrap();
    site.grow(600);
    site.log().close().unwrap();
    site.memory.set(CHECKPOINT, &before);
    assert!(matches!(
        Log::open(Box::new(site.memory.clone()), again(&site.secret)),
        Err(LogError::Damaged(_))
    ));
}
