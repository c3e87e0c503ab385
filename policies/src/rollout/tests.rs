use proptest::prelude::*;

use super::*;

fn rollout(stage: Stage) -> Rollout {
    Rollout {
        id: "0".into(),
        plugin: "guard".into(),
        file: "plugins/guard.wasm".into(),
        base: "00".into(),
        current: "11".into(),
        candidate: "22".into(),
        steps: Steps::default(),
        thresholds: Thresholds::default(),
        stage,
        started_by: "operator:root".into(),
        started_at: 1,
        changed_by: "operator:root".into(),
        changed_at: 1,
    }
}

#[test]
fn steps_read_as_they_are_written_and_grow_to_all() {
    let steps = Steps::parse("shadow, 1%,10%,100%").unwrap();
    assert_eq!(steps.to_string(), "shadow,1%,10%,100%");
    assert_eq!(serde_json::to_string(&steps).unwrap(), "[0,1,10,100]");
    assert_eq!(Rollout::first_stage(&steps), Stage::Shadow);
    assert_eq!(
        Rollout::first_stage(&Steps::parse("5%,100%").unwrap()),
        Stage::Canary { percent: 5 }
    );
    for bad in [
        "",
        "shadow",
        "100%",
        "10%,1%,100%",
        "1%,1%,100%",
        "0%,100%",
        "1,100",
        "1%,101%",
        "1%,300%",
        "dark,100%",
    ] {
        assert!(Steps::parse(bad).is_err(), "{bad}");
    }
    assert!(serde_json::from_str::<Steps>("[0,200]").is_err());
}

#[test]
fn a_rollout_goes_through_its_steps_and_never_back() {
    let mut rollout = rollout(Stage::Shadow);
    let mut stages = Vec::new();
    while let Ok(next) = rollout.promoted(None) {
        rollout.stage = next;
        stages.push(rollout.stage.to_string());
    }
    assert_eq!(stages, ["canary 1%", "canary 10%", "canary 50%", "enforced"]);
    let text = rollout.promoted(None).unwrap_err().to_string();
    assert!(text.contains("is over (enforced); start another one"), "{text}");
    rollout.stage = Stage::Canary { percent: 10 };
    assert_eq!(rollout.promoted(Some(30)), Ok(Stage::Canary { percent: 30 }));
    assert_eq!(rollout.promoted(Some(100)), Ok(Stage::Enforced));
    for back in [0, 10, 9, 101] {
        assert!(
            rollout
                .promoted(Some(back))
                .unwrap_err()
                .to_string()
                .contains("no step forward")
        );
    }
    rollout.stage = Stage::Aborted { reason: "no".into() };
    assert!(rollout.promoted(Some(50)).is_err());
    let text = serde_json::to_string(&rollout).unwrap();
    assert_eq!(serde_json::from_str::<Rollout>(&text).unwrap(), rollout);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_larger_percentage_includes_the_smaller(caller in ".{0,40}", small in 1_u8..99) {
        let judged = |percent| Stage::at(percent).judges("guard", &caller);
        prop_assert_eq!(judged(small), judged(small));
        if judged(small) == Part::Candidate {
            prop_assert!((small..100).all(|percent| judged(percent) == Part::Candidate));
        }
        prop_assert_eq!(judged(0), Part::Compare);
        prop_assert_eq!(judged(100), Part::Current);
    }

    #[test]
    fn a_percentile_is_at_most_a_quarter_too_high(micros in 4_u64..1_000_000) {
        let mut took = Histogram::default();
        took.count(micros);
        let shown = took.quantile(99).unwrap();
        prop_assert!(shown >= micros && shown <= micros + micros / 4, "{micros} is shown as {shown}");
    }
}

#[test]
fn callers_are_spread_evenly_and_apart_for_each_plugin() {
    let canaries = |plugin: &str| -> Vec<u32> {
        let judged = |n: &u32| Stage::at(10).judges(plugin, &format!("oidc:https://ci.example#{n}")) == Part::Candidate;
        (0..10_000).filter(judged).collect()
    };
    let (one, other) = (canaries("guard"), canaries("other"));
    for canaries in [&one, &other] {
        assert!((900..1100).contains(&canaries.len()), "{}", canaries.len());
    }
    assert_ne!(one, other);
}

#[test]
fn too_many_failures_are_known_before_all_calls_are_made() {
    let thresholds = Thresholds {
        max_failures: 100,
        max_p99_us: 3_000,
        min_calls: 200,
    };
    let broken = |calls, failed, slow| thresholds.broken(&Counts { calls, failed, slow });
    assert_eq!(broken(2, 2, 0), None);
    let why = broken(3, 3, 0).unwrap();
    assert_eq!(why, "3 of 3 calls failed; of 200, at most 2 may (1%)");
    assert_eq!(broken(1000, 10, 0), None);
    let why = broken(1000, 11, 0).unwrap();
    assert_eq!(why, "11 of 1000 calls failed; of 1000, at most 10 may (1%)");
    assert_eq!(broken(200, 0, 2), None);
    let why = broken(10, 0, 3).unwrap();
    assert_eq!(
        why,
        "3 of 10 calls took longer than 3000 us; of 200, at most 2 may (1%)"
    );
    let none = Thresholds {
        max_failures: 0,
        ..thresholds
    };
    assert!(
        none.broken(&Counts {
            calls: 1,
            failed: 1,
            slow: 0
        })
        .is_some()
    );
    for wrong in [
        Thresholds {
            max_failures: 10_001,
            ..thresholds
        },
        Thresholds {
            max_p99_us: 0,
            ..thresholds
        },
        Thresholds {
            min_calls: 0,
            ..thresholds
        },
    ] {
        assert!(wrong.check().is_err(), "{wrong:?}");
    }
    assert_eq!(["1%", "0.5%", "0.05%"], [100, 50, 5].map(percent));
}

#[test]
fn a_version_that_was_good_for_long_is_not_forgiven_for_long() {
    let thresholds = Thresholds::default();
    let mut window = Window::default();
    for _ in 0..1_000_000 {
        assert_eq!(window.count(false, 10, &thresholds), None);
    }
    let until = (1..).find(|_| window.count(true, 10, &thresholds).is_some());
    assert!(until.unwrap() <= 11, "{until:?}");
}

fn allowed(cap: Option<u32>, claims: &[&str]) -> Answer {
    let claims = claims
        .iter()
        .map(|name| ((*name).to_owned(), serde_json::json!("value")));
    Answer::Allowed {
        cap,
        claims: claims.collect(),
    }
}

#[test]
fn answers_are_compared_by_what_follows_from_them() {
    let refused = |code: &str| Answer::Refused(code.to_owned());
    let cases = [
        (allowed(None, &[]), allowed(None, &[]), None),
        (allowed(None, &[]), refused("a"), Some(Difference::NewlyRefused)),
        (refused("a"), allowed(None, &[]), Some(Difference::NewlyAllowed)),
        (refused("a"), refused("b"), Some(Difference::Code)),
        (allowed(Some(5), &[]), allowed(None, &["x"]), Some(Difference::Lifetime)),
        (allowed(None, &["y"]), allowed(None, &["x"]), Some(Difference::Claims)),
        (allowed(None, &[]), Answer::Failed("trap"), None),
        (Answer::Failed("trap"), refused("a"), None),
    ];
    for (current, candidate, difference) in cases {
        assert_eq!(current.differs(&candidate), difference, "{current:?} {candidate:?}");
    }
    let text = allowed(Some(60), &["plan"]).describe();
    assert_eq!(text, "allow, at most 60 s, 1 claim");
    assert!(!text.contains("value") && !text.contains("plan"));
}

#[test]
fn figures_of_edges_add_up_and_stay_small() {
    let thresholds = Thresholds::default();
    let mut all = Figures::default();
    for edge in 0..3 {
        let mut figures = Figures::default();
        for n in 0..100 {
            figures.current.count(&allowed(None, &[]), 20, &thresholds);
            figures
                .candidate
                .count(&Answer::Refused("no".into()), 9_000, &thresholds);
            figures.differ(Sample {
                kind: Difference::NewlyRefused,
                time: n * 10 + edge,
                request_id: format!("{edge}-{n}"),
                profile: "api".into(),
                current: "allow".into(),
                candidate: "refuse no".into(),
            });
        }
        assert!(figures.is_bounded() && figures.samples.len() == 4);
        all.add(&figures);
    }
    assert_eq!(
        (all.current.total(), all.candidate.refused, all.candidate.slow),
        (300, 300, 300)
    );
    assert_eq!(all.differences[&Difference::NewlyRefused], 300);
    let newest: Vec<_> = all.samples.iter().map(|sample| sample.request_id.as_str()).collect();
    assert_eq!(newest, ["2-98", "0-99", "1-99", "2-99"]);
    let took = [50, 99].map(|percent| all.candidate.took.quantile(percent).unwrap());
    assert!(took.iter().all(|micros| (9_000..=11_250).contains(micros)), "{took:?}");
    let text = serde_json::to_string(&all).unwrap();
    assert!(text.len() < MAX_FIGURES);
    assert_eq!(serde_json::from_str::<Figures>(&text).unwrap(), all);
    all.samples[0].profile = "x".repeat(1000);
    assert!(!all.is_bounded());
}

#[test]
fn a_fingerprint_is_of_everything_that_decides() {
    let plugin = Plugin {
        name: "guard".into(),
        file: "plugins/guard.wasm".into(),
        wasm: std::sync::Arc::from(&b"\0asm"[..]),
        deadline: std::time::Duration::from_millis(5),
        memory: 1 << 20,
        config: [("a".to_owned(), crate::bundle::ConfigValue::Int(1))].into(),
        imports: vec!["log".into()],
        tables: std::collections::BTreeMap::new(),
        on_failure: crate::bundle::OnFailure::Deny,
        isolation: crate::bundle::Isolation::Shared,
        max_size: 4 << 20,
    };
    let base = fingerprint(&plugin);
    assert_eq!(base, fingerprint(&plugin.clone()));
    let mut other = plugin.clone();
    other.config = [("a".to_owned(), crate::bundle::ConfigValue::Int(2))].into();
    assert_ne!(base, fingerprint(&other));
    let mut other = plugin.clone();
    other.on_failure = crate::bundle::OnFailure::Skip;
    assert_ne!(base, fingerprint(&other));
    let mut other = plugin.clone();
    other.isolation = crate::bundle::Isolation::Process;
    assert_ne!(base, fingerprint(&other));
    let mut other = plugin;
    other.wasm = std::sync::Arc::from(&b"\0asm1"[..]);
    assert_ne!(base, fingerprint(&other));
}
