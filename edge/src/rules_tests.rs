//! Rules that fail: who is denied, who goes on without them, and what is on record of it.

use audit::record::{BreakerChange, Event, Hash, Outcome, VerdictOutcome};
use serde_json::json;

use crate::testing::{Rig, until};

const PLUGINS: &str = r#"
[[plugins]]
name = "odd"
file = "plugins/odd.wasm"
deadline = "100ms"
on_failure = "skip"
[[plugins]]
name = "tagger"
file = "plugins/claim-guard.wasm"
deadline = "100ms"
on_failure = "skip"
[plugins.config]
editor_max_seconds = 120
plan = "dev"
"#;

const PROFILES: [(&str, &str); 3] = [
    ("strict", "plugins = [\"odd\"]"),
    (
        "lax",
        "plugins = [\"odd\", \"claim-guard\"]\nmay_skip = [\"odd\"]\nclaims = { allowed = [\"role\"], plugin = [\"plan\"] }",
    ),
    // It does not list the claim that the rule sets.
    ("greedy", "plugins = [\"tagger\"]\nmay_skip = [\"tagger\"]"),
];

/// Traps at a lifetime of 13 s, and allows everything else.
fn odd() -> Vec<u8> {
    let rule = r#"(core module $rule
      (import "host" "memory" (memory 1))
      (func (export "evaluate") (param $request i32) (result i32)
        (if (i32.eq (i32.load offset=96 (local.get $request)) (i32.const 13)) (then unreachable))
        (i32.const 1024)))"#;
    let world = include_str!("../../runtime/tests/hostile/world.wat");
    let memory = include_str!("../../runtime/tests/hostile/memory.wat");
    wat::parse_str(world.replace("{{memory}}", memory).replace("{{rule}}", rule)).unwrap()
}

async fn with_rules() -> Rig {
    let rig = Rig::ready().await;
    let mut files = crate::testing::files::bundle(&rig.caller, "");
    files[0].1.extend_from_slice(PLUGINS.as_bytes());
    files.push(("plugins/odd.wasm".into(), odd()));
    let plain = files
        .iter()
        .find(|(path, _)| path == "profiles/plain.toml")
        .unwrap()
        .1
        .clone();
    for (name, more) in PROFILES {
        let profile = [&plain, more.as_bytes(), b"\n"].concat();
        files.push((format!("profiles/{name}.toml"), profile));
    }
    rig.authority.publish(files);
    until("the rules are in use", async || {
        rig.edge.world().plugin("odd").is_some()
    })
    .await;
    rig.until_ready().await;
    rig
}

async fn metric(rig: &Rig, line: &str) -> String {
    let text = rig.get("/metrics").await.text;
    let found = text.lines().find_map(|found| found.strip_prefix(line));
    found
        .unwrap_or_else(|| panic!("{line} is not in {text}"))
        .trim()
        .to_owned()
}

fn kinds(rig: &Rig) -> Vec<(bool, Vec<VerdictOutcome<'static>>)> {
    let of = |record: &audit::record::Draft<'static>| {
        let verdicts = record.plugins.iter().map(|verdict| verdict.outcome.clone());
        (record.outcome == Outcome::Signed, verdicts.collect())
    };
    rig.records().iter().map(of).collect()
}

/// What is on record of breakers.
fn breakers(rig: &Rig) -> Vec<(String, Hash, BreakerChange)> {
    rig.edge.spool().flush().unwrap();
    let events = rig.events().into_iter().filter_map(|event| match event {
        Event::Breaker(breaker) => Some((breaker.plugin, breaker.component, breaker.change)),
        _ => None,
    });
    events.collect()
}

// R22
#[tokio::test]
async fn a_rule_that_fails_again_and_again_is_not_called_until_a_trial() {
    let rig = with_rules().await;
    let bad = json!({"lifetime": 13});
    for _ in 0..6 {
        let answer = rig.post("/v1/tokens/strict", bad.clone()).await;
        assert_eq!(
            (answer.code(), &answer.body["rule"]),
            ((503, "rule_failed"), &json!("odd"))
        );
    }
    assert_eq!(
        metric(&rig, "signet_edge_plugin_calls_total{plugin=\"odd\",outcome=\"trap\"}").await,
        "5"
    );
    assert_eq!(
        metric(&rig, "signet_edge_plugin_not_called_total{plugin=\"odd\"}").await,
        "1"
    );
    assert_eq!(
        metric(&rig, "signet_edge_plugin_openings_total{plugin=\"odd\"}").await,
        "1"
    );
    assert_eq!(metric(&rig, "signet_edge_plugin_open{plugin=\"odd\"}").await, "1");
    // It is new, and was called five times.
    assert_eq!(
        metric(&rig, "signet_edge_plugin_calls_apart_total{plugin=\"odd\"}").await,
        "5"
    );
    let failed = |kind: &'static str| (false, vec![VerdictOutcome::Failed { kind: kind.into() }]);
    let mut expected = vec![failed("trap"); 5];
    expected.push(failed("open"));
    assert_eq!(kinds(&rig), expected);
    let component = *rig.edge.world().plugin("odd").unwrap().digest();
    let change = |change| ("odd".to_owned(), component, change);
    let opened = change(BreakerChange::Opened { kind: "trap".into() });
    assert_eq!(breakers(&rig), std::slice::from_ref(&opened));
    // Nobody else's rules are concerned.
    assert_eq!(rig.post("/v1/tokens/api", json!({})).await.status, 201);
    until("a call on trial closes it", async || {
        rig.post("/v1/tokens/strict", json!({})).await.status == 201
    })
    .await;
    assert_eq!(metric(&rig, "signet_edge_plugin_open{plugin=\"odd\"}").await, "0");
    assert_eq!(breakers(&rig), [opened, change(BreakerChange::Closed)]);
    assert_eq!(
        metric(&rig, "signet_edge_plugin_memory_peak_bytes{plugin=\"odd\"}").await,
        "131072"
    );
    assert_eq!(
        metric(&rig, "signet_edge_plugin_seconds_count{plugin=\"odd\"}").await,
        "6"
    );
    let seconds = metric(&rig, "signet_edge_plugin_seconds_sum{plugin=\"odd\"}").await;
    assert!(seconds.parse::<f64>().unwrap() > 0.0, "{seconds}");
}

// R22
#[tokio::test]
async fn a_profile_that_says_so_goes_on_without_a_rule_that_fails() {
    let rig = with_rules().await;
    for _ in 0..6 {
        assert_eq!(rig.post("/v1/tokens/lax", json!({"lifetime": 13})).await.status, 201);
    }
    let skipped = |kind: &'static str| {
        let skipped = VerdictOutcome::Skipped { kind: kind.into() };
        (true, vec![skipped, VerdictOutcome::Allowed])
    };
    let mut expected = vec![skipped("trap"); 5];
    expected.push(skipped("open"));
    assert_eq!(kinds(&rig), expected);
    assert_eq!(
        metric(&rig, "signet_edge_plugin_skips_total{plugin=\"odd\"}").await,
        "6"
    );
    // The other rules of the profile judge as ever, and other profiles are denied.
    let refused = rig
        .post("/v1/tokens/lax", json!({"lifetime": 13, "claims": {"role": "admin"}}))
        .await;
    assert_eq!(refused.code(), (403, "rule_refused"));
    let verdicts = rig.records().pop().unwrap().plugins;
    let (world, names) = (rig.edge.world(), ["odd", "claim-guard"]);
    let components = names.map(|name| (name.into(), Some(*world.plugin(name).unwrap().digest())));
    let asked = verdicts
        .iter()
        .map(|verdict| (verdict.plugin.clone(), verdict.component));
    assert_eq!(
        asked.collect::<Vec<_>>(),
        components,
        "each with the version that was asked"
    );
    let no = VerdictOutcome::Refused {
        code: "role_not_allowed".into(),
    };
    assert_eq!(
        (&verdicts[0].outcome, &verdicts[1].outcome),
        (&skipped("open").1[0], &no)
    );
    assert_eq!(
        rig.post("/v1/tokens/strict", json!({})).await.code(),
        (503, "rule_failed")
    );
}

#[tokio::test]
async fn a_verdict_that_the_profile_does_not_take_is_never_skipped() {
    let rig = with_rules().await;
    for _ in 0..10 {
        let answer = rig.post("/v1/tokens/greedy", json!({})).await;
        assert_eq!(
            (answer.code(), &answer.body["rule"]),
            ((503, "rule_failed"), &json!("tagger"))
        );
    }
    let failed = VerdictOutcome::Failed {
        kind: "bad_output".into(),
    };
    assert!(
        kinds(&rig)
            .iter()
            .all(|record| *record == (false, vec![failed.clone()]))
    );
    assert_eq!(
        metric(&rig, "signet_edge_plugin_skips_total{plugin=\"tagger\"}").await,
        "0"
    );
    assert_eq!(metric(&rig, "signet_edge_plugin_open{plugin=\"tagger\"}").await, "0");
}
