//! What each check finds, and what it lets pass.

mod signatures;

use super::*;
use crate::chaos::load::Protocol;
use crate::chaos::operator::Stop;
use crate::chaos::site::PROFILES;

/// When the run began: milliseconds since 1970.
const BEGUN: u64 = 1_900_000_000_000;
const EDGE: Machine = Machine::Edge(0);

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn answer(mode: Mode, asked: u64, answered: u64, id: &str) -> Answer {
    Answer {
        edge: 0,
        protocol: Protocol::Http1,
        profile: PROFILES.iter().find(|profile| profile.mode == mode).unwrap(),
        asked: at(asked),
        answered: at(answered),
        signature: Some(id.into()),
        signed: None,
        ahead: None,
    }
}

/// Each signature has a record of when it was received, and nothing was done to anything.
fn seen(answers: Vec<Answer>) -> Seen {
    let recorded = answers.iter().filter_map(|answer| {
        let time = millis(BEGUN) + answer.answered;
        Some((answer.signature.clone()?, u64::try_from(time.as_millis()).unwrap()))
    });
    let records = Records {
        signed: recorded.collect(),
        reserved: 0,
    };
    Seen {
        begun_ms: BEGUN,
        answers: Arc::new(answers),
        history: History::default(),
        records: vec![records],
        keys: HashMap::new(),
        outages: Vec::new(),
        harms: Vec::new(),
        starved: Vec::new(),
        ends: Vec::new(),
        logs: Vec::new(),
        published: HashMap::new(),
        roots: Vec::new(),
        steps: Vec::new(),
    }
}

/// Seen to run at one time, and found ended 20 ms later.
fn end(seen: Duration, how: How) -> End {
    End {
        machine: EDGE,
        seen,
        found: seen + millis(20),
        how,
    }
}

fn harmed(kind: Harm, from: Duration, until: Duration) -> Harmed {
    Harmed {
        machine: EDGE,
        kind,
        from,
        until,
    }
}

// R35
#[test]
fn a_signature_within_a_fence_is_found_and_those_around_it_are_not() {
    let key = answer(Mode::Reserve, 0, 0, "").profile.key;
    let around = [(8, 9), (9, 11), (19, 21), (21, 22)];
    let mut seen = seen(
        around
            .map(|(asked, answered)| answer(Mode::Reserve, asked, answered, "a"))
            .into(),
    );
    seen.records[0].signed.insert("a".into(), BEGUN + 9_500);
    seen.history.stops.push(Stop {
        key,
        fenced: Some(at(10)),
        started: Some(at(20)),
    });
    assert_eq!(seen.check().violations, []);
    Arc::make_mut(&mut seen.answers).push(answer(Mode::Reserve, 11, 12, "a"));
    assert!(matches!(seen.check().violations[..], [Violation::AfterFence { .. }]));
    seen.history.stops[0].fenced = None;
    assert_eq!(seen.check().violations, [], "what was not fenced promises nothing");
}

// R35
#[test]
fn of_what_was_under_way_at_a_fence_the_record_decides() {
    let key = answer(Mode::Commit, 0, 0, "").profile.key;
    let mut seen = seen(vec![answer(Mode::Commit, 9, 12, "a")]);
    seen.history.stops.push(Stop {
        key,
        fenced: Some(at(10)),
        started: Some(at(20)),
    });
    let made = |seen: &mut Seen, at: u64| {
        seen.records[0].signed.insert("a".into(), BEGUN + at);
        let checked = seen.check();
        (checked.violations, checked.under_way)
    };
    let late = |at: u64| Violation::MadeAfterFence {
        key,
        signature: "a".into(),
        at: (Duration::from_secs(10), millis(at)),
    };
    assert_eq!(made(&mut seen, 9_900), (vec![], 1));
    assert_eq!(made(&mut seen, 10_250), (vec![], 1), "clocks differ by so much");
    assert_eq!(made(&mut seen, 10_251), (vec![late(10_251)], 1));
    assert_eq!(made(&mut seen, 12_040), (vec![late(12_040)], 1));
    // By an authority's clock that was stepped.
    for elsewhere in [8_900, 12_100, 190_000] {
        assert_eq!(made(&mut seen, elsewhere), (vec![], 0), "{elsewhere}");
    }
    // Its last check may have been after the start.
    Arc::make_mut(&mut seen.answers)[0].answered = at(21);
    assert_eq!(made(&mut seen, 12_000), (vec![], 0));
}

#[test]
fn each_mode_promises_its_own() {
    let mut seen = seen(vec![answer(Mode::Reserve, 1, 2, "a"), answer(Mode::Commit, 1, 2, "b")]);
    seen.records[0].signed.clear();
    seen.records[0].reserved = 1;
    seen.ends.push(end(at(2), How::Killed));
    let no_record = Violation::NoRecord {
        edge: 0,
        signature: "b".into(),
    };
    assert_eq!(seen.check().violations, std::slice::from_ref(&no_record));
    seen.records[0].reserved = 0;
    let violations = seen.check().violations;
    assert_eq!(violations[0], no_record);
    assert!(matches!(
        violations[1],
        Violation::BeyondReservations { missing: 1, .. }
    ));
}

/// What is found of a signature without a record that was asked for at 1 s and received at 2 s.
fn overdue(ends: &[End], harms: &[Harmed], starved: &[(Duration, Duration)]) -> bool {
    let mut seen = seen(vec![answer(Mode::Reserve, 1, 2, "a")]);
    seen.records[0].signed.clear();
    seen.records[0].reserved = 4_096;
    (seen.ends, seen.harms, seen.starved) = (ends.into(), harms.into(), starved.into());
    // How processes ended is judged elsewhere.
    let violations = seen.check().violations;
    violations.iter().any(|found| matches!(found, Violation::Overdue(_)))
}

#[test]
fn a_record_follows_unless_its_edge_crashes_shortly_after() {
    let is_found = |ends: &[End]| overdue(ends, &[], &[]);
    assert!(is_found(&[]), "it had the time to write it");
    for how in [How::Killed, How::Signal(6)] {
        assert!(is_found(&[end(millis(900), how)]), "it was another process");
        for lost in [1_000, 1_500, 2_000, 3_500] {
            assert!(!is_found(&[end(millis(lost), how)]), "{lost}");
        }
        assert!(is_found(&[end(millis(3_501), how)]));
        let first = [end(millis(3_000), How::Killed), end(at(60), How::Killed)];
        assert!(!is_found(&first), "the first counts");
    }
    assert!(
        is_found(&[end(at(2), How::Code(1))]),
        "a spool that is closed is written"
    );
    let other = End {
        machine: Machine::Edge(1),
        ..end(at(2), How::Killed)
    };
    assert!(is_found(&[other]));
    for how in [How::Stopped(0), How::Stopped(1), How::Code(1)] {
        assert!(is_found(&[end(at(3), how)]), "{how:?}");
        let full = harmed(Harm::FullDisk, at(1), at(4));
        assert!(
            !overdue(&[end(at(3), how)], &[full], &[]),
            "{how:?}: it could not be closed"
        );
        let frozen = harmed(Harm::Frozen, at(1), at(4));
        assert!(overdue(&[end(at(3), how)], &[frozen], &[]), "{how:?}");
    }
}

#[test]
fn a_record_waits_as_long_as_its_edge_cannot_write() {
    let kill = [end(at(10), How::Killed)];
    let is_found = |harms: &[Harmed]| overdue(&kill, harms, &[]);
    // Until 10 s there are 8 s, 1.5 of which are the record's.
    assert!(is_found(&[harmed(Harm::Frozen, at(2), millis(8_499))]));
    assert!(!is_found(&[harmed(Harm::Frozen, at(2), millis(8_500))]));
    for disk in [
        Harm::FullDisk,
        Harm::ReadOnlyDisk,
        Harm::Disk(Condition::Failing),
        Harm::Disk(Condition::ReadOnly),
        Harm::Disk(Condition::Losing),
    ] {
        assert!(is_found(&[harmed(disk, at(2), millis(7_499))]), "{disk:?}");
        assert!(
            !is_found(&[harmed(disk, at(2), millis(7_500))]),
            "{disk:?}: tried again after 1 s"
        );
    }
    assert!(is_found(&[harmed(Harm::Disk(Condition::Short), at(2), at(10))]));
    let twice = harmed(Harm::Frozen, at(3), at(7));
    assert!(
        is_found(&[twice, twice, harmed(Harm::Frozen, at(4), at(8))]),
        "no time counts twice"
    );
    assert!(is_found(&[
        harmed(Harm::Frozen, at(0), at(2)),
        harmed(Harm::Frozen, at(10), at(20))
    ]));
    let elsewhere = Harmed {
        machine: Machine::Edge(1),
        ..harmed(Harm::Frozen, at(2), at(10))
    };
    assert!(is_found(&[elsewhere]));
    assert!(!overdue(&kill, &[], &[(at(1), at(5)), (at(5), at(9))]));
    assert!(overdue(&[], &[], &[(at(1), at(5)), (at(5), at(9))]));
}

#[test]
fn an_end_by_a_signal_that_nobody_sent_is_found() {
    let mut seen = seen(Vec::new());
    let mut crashes = |how: How, harms: &[Harmed]| {
        seen.ends = vec![end(at(20), how)];
        seen.harms = harms.to_vec();
        seen.check().violations.len()
    };
    let losing = |from, until| harmed(Harm::Disk(Condition::Losing), from, until);
    for fine in [How::Killed, How::Stopped(0)] {
        assert_eq!(crashes(fine, &[]), 0, "{fine:?}");
    }
    for signal in [4, 9, 11] {
        assert_eq!(crashes(How::Signal(signal), &[losing(at(1), at(30))]), 1, "{signal}");
    }
    assert_eq!(crashes(How::Stuck, &[losing(at(1), at(30))]), 1, "told to end");
    assert_eq!(crashes(How::Signal(6), &[]), 1);
    assert_eq!(crashes(How::Signal(6), &[losing(at(5), at(10))]), 0);
    assert_eq!(
        crashes(How::Signal(6), &[losing(at(5), millis(9_999))]),
        1,
        "long before"
    );
    assert_eq!(crashes(How::Signal(6), &[losing(at(21), at(22))]), 1, "later");
    let elsewhere = Harmed {
        machine: Machine::Authority(0),
        ..losing(at(5), at(10))
    };
    assert_eq!(crashes(How::Signal(6), &[elsewhere]), 1);
    let failing = harmed(Harm::Disk(Condition::Failing), at(5), at(30));
    assert_eq!(crashes(How::Signal(6), &[failing]), 1);
}

#[test]
fn an_exit_that_nothing_explains_is_found() {
    let mut seen = seen(Vec::new());
    let mut exits = |how: How, harms: &[Harmed]| {
        seen.ends = vec![end(at(20), how)];
        seen.harms = harms.to_vec();
        seen.check().violations.len()
    };
    for wrong in [How::Code(1), How::Code(0), How::Stopped(1)] {
        assert_eq!(exits(wrong, &[]), 1, "{wrong:?}");
        assert_eq!(exits(wrong, &[harmed(Harm::ReadOnlyDisk, at(1), at(5))]), 0);
        assert_eq!(exits(wrong, &[harmed(Harm::Token, at(1), at(5))]), 0);
        assert_eq!(exits(wrong, &[harmed(Harm::FullDisk, at(1), at(4))]), 1, "long before");
        assert_eq!(exits(wrong, &[harmed(Harm::Frozen, at(1), at(20))]), 1);
    }
    for fine in [How::Killed, How::Stopped(0)] {
        assert_eq!(exits(fine, &[]), 0, "{fine:?}");
    }
}

#[test]
fn an_exit_for_a_port_that_was_taken_is_no_crash_and_the_next_is() {
    let mut seen = seen(Vec::new());
    seen.ends = vec![end(at(20), How::Code(1)), end(at(21), How::Code(1))];
    seen.logs = vec![(
        EDGE,
        "signet: it cannot listen: Address already in use (os error 98)\n".into(),
    )];
    let crash = Crash::Ended(seen.ends[1]);
    assert_eq!(seen.check().violations, [Violation::Crashed(crash)]);
    seen.logs[0].0 = Machine::Edge(1);
    assert_eq!(seen.check().violations.len(), 2);
}

#[test]
fn a_panic_is_found_in_a_log() {
    let mut seen = seen(Vec::new());
    let line = "thread 'tokio-rt-worker' panicked at edge/src/pipeline.rs:1:1:";
    seen.logs.push((EDGE, "INFO ready\n".into()));
    assert_eq!(seen.check().violations, []);
    seen.logs
        .push((Machine::Authority(1), format!("INFO ready\n{line}\nno\n")));
    let crash = Crash::Panicked {
        machine: Machine::Authority(1),
        line: line.into(),
    };
    assert_eq!(seen.check().violations, [Violation::Crashed(crash)]);
}

// R36
#[test]
fn what_was_acknowledged_and_is_gone_or_undone_is_found() {
    let mut seen = seen(Vec::new());
    seen.history.made.push("one".into());
    seen.history.states.insert("alias/api", "Disabled");
    seen.keys.insert("alias/api".into(), "Enabled".into());
    assert_eq!(seen.check().violations.len(), 2);
    seen.keys.insert("one".into(), "Enabled".into());
    seen.keys.insert("alias/api".into(), "Disabled".into());
    assert_eq!(seen.check().violations, []);
}

// R30
#[test]
fn a_signature_that_needed_a_disk_which_had_failed_is_found() {
    let outage = Outage {
        edge: 0,
        from: at(10),
        until: at(20),
    };
    let around = [(8, 9), (9, 11), (19, 21), (21, 22)];
    let mut seen = seen(
        around
            .map(|(asked, answered)| answer(Mode::Commit, asked, answered, "a"))
            .into(),
    );
    seen.outages.push(outage);
    Arc::make_mut(&mut seen.answers).push(answer(Mode::Reserve, 11, 12, "a"));
    assert_eq!(seen.check().violations, []);
    Arc::make_mut(&mut seen.answers).push(answer(Mode::Commit, 11, 12, "a"));
    assert!(matches!(seen.check().violations[..], [Violation::WithoutDisk { .. }]));
    seen.outages[0].edge = 1;
    assert_eq!(seen.check().violations, []);
}

// R34
#[test]
fn a_time_that_was_never_an_authoritys_is_found() {
    let mut seen = seen(vec![answer(Mode::Reserve, 1, 2, "a")]);
    let step = 31_536_000;
    let mut wrong = |ahead: Option<(i64, i64)>, steps: &[i64]| {
        Arc::make_mut(&mut seen.answers)[0].ahead = ahead;
        seen.steps = steps.to_vec();
        seen.check().violations.len()
    };
    assert_eq!(wrong(Some((-3, 2)), &[]), 0);
    assert_eq!(wrong(Some((-30, -25)), &[]), 1);
    assert_eq!(wrong(Some((step - 3, step + 2)), &[]), 1);
    assert_eq!(wrong(Some((step - 3, step + 2)), &[180, step]), 0);
    assert_eq!(wrong(Some((-180, -178)), &[180]), 1);
}
