use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
const START: u64 = 1_000_000;

fn schedule() -> Schedule {
    Schedule {
        publish_lead: 900,
        sign_period: Some(DAY),
        lifetime_cap: DAY,
    }
}

/// Does what a plan says, as the authority would.
fn apply(versions: &mut Vec<Version>, next: &mut u32, now: u64, schedule: &Schedule) {
    let plan = plan(versions, now, schedule);
    *versions = plan.keep;
    for slot in plan.make {
        versions.push(Version {
            number: *next,
            kid: format!("v{next}"),
            public_jwk: String::new(),
            public_spki: String::new(),
            publish_at: slot.publish_at,
            sign_from: slot.sign_from,
            sign_until: slot.sign_until,
            retire_at: slot.retire_at,
            compromised: false,
        });
        *next += 1;
    }
}

fn signer(versions: &[Version], now: u64) -> Vec<&str> {
    versions
        .iter()
        .filter(|version| version.signs(now))
        .map(|version| version.kid.as_str())
        .collect()
}

#[test]
fn a_new_key_waits_for_the_lead_and_has_a_standby_from_the_first_moment() {
    let (mut versions, mut next) = (Vec::new(), 1);
    apply(&mut versions, &mut next, START, &schedule());
    assert_eq!(versions.len(), 2);
    assert!(versions.iter().all(|version| version.publish_at == START));
    assert!(signer(&versions, START + 899).is_empty());
    assert_eq!(signer(&versions, START + 900), ["v1"]);
    assert_eq!(versions[1].sign_from, versions[0].sign_until);
}

#[test]
fn the_timeline_of_three_days() {
    let (mut versions, mut next) = (Vec::new(), 1);
    apply(&mut versions, &mut next, START, &schedule());
    let first = versions[0].clone();
    assert_eq!(next_due(&versions, START), first.sign_from);
    // At the switch the standby signs and a third is published a whole day ahead.
    apply(&mut versions, &mut next, first.sign_until, &schedule());
    assert_eq!(signer(&versions, first.sign_until), ["v2"]);
    assert_eq!(versions.len(), 3);
    assert_eq!(versions[2].publish_at, first.sign_until);
    assert_eq!(versions[2].sign_from, first.sign_until + DAY);
    // The first verifies until the last token it signed has expired, and a margin.
    assert!(versions[0].verifies(first.sign_until + DAY));
    assert_eq!(first.retire_at, first.sign_until + DAY + 300);
    let plan = plan(&versions, first.retire_at, &schedule());
    assert_eq!(plan.retire, [1]);
}

#[test]
fn a_plan_that_was_followed_has_nothing_more_to_do() {
    let (mut versions, mut next) = (Vec::new(), 1);
    apply(&mut versions, &mut next, START, &schedule());
    assert!(plan(&versions, START, &schedule()).is_done(&versions));
    assert!(plan(&versions, START + 1000, &schedule()).is_done(&versions));
}

#[test]
fn a_compromised_signer_is_replaced_at_once_by_the_standby() {
    let (mut versions, mut next) = (Vec::new(), 1);
    apply(&mut versions, &mut next, START, &schedule());
    let now = START + HOUR;
    assert!(compromise(&mut versions, "v1", now));
    apply(&mut versions, &mut next, now, &schedule());
    assert_eq!(signer(&versions, now), ["v2"]);
    assert!(!versions[0].verifies(now), "it left the JWKS");
    assert_eq!(versions.iter().filter(|version| version.is_standby(now)).count(), 1);
    assert!(!compromise(&mut versions, "unknown", now));
}

#[test]
fn a_compromise_before_the_lead_is_over_still_waits_for_verifiers() {
    let (mut versions, mut next) = (Vec::new(), 1);
    apply(&mut versions, &mut next, START, &schedule());
    compromise(&mut versions, "v1", START + 60);
    apply(&mut versions, &mut next, START + 60, &schedule());
    assert!(signer(&versions, START + 899).is_empty());
    assert_eq!(signer(&versions, START + 900), ["v2"]);
}

#[test]
fn rotating_by_hand_switches_when_verifiers_know_the_standby() {
    let (mut versions, mut next) = (Vec::new(), 1);
    apply(&mut versions, &mut next, START, &schedule());
    assert!(!rotate_now(&mut [], START, &schedule()));
    let now = START + HOUR;
    assert!(rotate_now(&mut versions, now, &schedule()));
    apply(&mut versions, &mut next, now, &schedule());
    assert_eq!(signer(&versions, now), ["v2"]);
    assert!(versions[0].verifies(now), "its tokens are good until they expire");
}

#[test]
fn after_a_long_absence_the_newest_published_version_goes_on_signing() {
    let (mut versions, mut next) = (Vec::new(), 1);
    apply(&mut versions, &mut next, START, &schedule());
    let now = versions[1].sign_until + HOUR;
    assert!(signer(&versions, now).is_empty());
    apply(&mut versions, &mut next, now, &schedule());
    assert_eq!(signer(&versions, now), ["v2"]);
    // After so long that all have retired, a new one waits for the lead as the first one did.
    let late = now + 10 * DAY;
    apply(&mut versions, &mut next, late, &schedule());
    assert!(signer(&versions, late).is_empty());
    assert_eq!(signer(&versions, late + 900).len(), 1);
}

#[test]
fn artifact_keys_have_one_version_for_ever() {
    let for_ever = Schedule {
        publish_lead: 0,
        sign_period: None,
        lifetime_cap: DAY,
    };
    let (mut versions, mut next) = (Vec::new(), 1);
    apply(&mut versions, &mut next, START, &for_ever);
    assert_eq!(versions.len(), 1);
    assert_eq!((versions[0].sign_until, versions[0].retire_at), (NEVER, NEVER));
    assert!(plan(&versions, START + 1000 * DAY, &for_ever).is_done(&versions));
}

proptest! {
    // Whatever the lead, the period and the moments at which the authority looks: at most one version signs, never one
    // that verifiers were not told of for the lead, and looking often enough leaves no gap.
    #[test]
    fn one_signer_known_to_verifiers(lead in 0u64..500, period in 1u64..1000, cap in 0u64..500, steps in proptest::collection::vec((1u64..400, 0u8..10), 1..60)) {
        let schedule = Schedule { publish_lead: lead, sign_period: Some(period), lifetime_cap: cap };
        let (mut versions, mut next, mut now) = (Vec::new(), 1, START);
        apply(&mut versions, &mut next, now, &schedule);
        for (step, event) in steps {
            let until = now + step;
            while now < until {
                now = next_due(&versions, now).min(until);
                apply(&mut versions, &mut next, now, &schedule);
                let signing = signer(&versions, now);
                prop_assert!(signing.len() <= 1, "{versions:?} at {now}");
                for version in versions.iter().filter(|version| version.signs(now)) {
                    prop_assert!(now >= version.publish_at + lead);
                    prop_assert!(version.retire_at >= version.sign_until + cap);
                }
                prop_assert!(versions.len() < 2000);
            }
            let kid = signer(&versions, now).first().map(|kid| (*kid).to_owned());
            match (event, kid) {
                (0, Some(kid)) => { compromise(&mut versions, &kid, now); }
                (1, _) => { rotate_now(&mut versions, now, &schedule); }
                _ => {}
            }
            apply(&mut versions, &mut next, now, &schedule);
        }
    }
}
