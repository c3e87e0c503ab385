//! What each check finds, and what it lets pass.

use super::*;
use crate::chaos::operator::Stop;
use crate::chaos::site::PROFILES;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn answer(mode: Mode, asked: u64, answered: u64, id: &str) -> Answer {
    Answer {
        edge: 0,
        protocol: Protocol::Http1,
        profile: PROFILES.iter().find(|profile| profile.mode == mode).unwrap(),
        asked: at(asked),
        answered: at(answered),
        signature: Some(id.into()),
        ahead: None,
    }
}

fn seen(answers: Vec<Answer>) -> Seen {
    let signed = answers.iter().filter_map(|answer| answer.signature.clone()).collect();
    Seen {
        answers: Arc::new(answers),
        history: History::default(),
        records: vec![Records { signed, reserved: 0 }],
        keys: HashMap::new(),
        outages: Vec::new(),
        steps: Vec::new(),
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

#[test]
fn each_mode_promises_its_own() {
    let mut seen = seen(vec![answer(Mode::Reserve, 1, 2, "a"), answer(Mode::Commit, 1, 2, "b")]);
    seen.records[0].signed.clear();
    seen.records[0].reserved = 1;
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
