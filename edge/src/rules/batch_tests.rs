//! A rule that hears of several elements of a batch at once, among others that do not, through the handler.

use std::sync::atomic::Ordering;

use audit::record::{Outcome, VerdictOutcome};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use node::contract;
use policies::rollout::fingerprint;
use serde_json::{Value, json};

use crate::testing::{Rig, files, until};

const NAME: &str = "counted";
const PLUGINS: &str = r#"
[[plugins]]
name = "counted"
file = "plugins/counted.wasm"
deadline = "100ms"
"#;

/// Its cap is as many seconds as it has judged requests in one instance. It traps at 13 s, and refuses 600 s.
fn counted() -> Vec<u8> {
    let rule = include_str!("../../../runtime/tests/world/batch-rule.wat");
    let rule = rule.replace("{{more}}", "").replace("{{answer}}", "(i32.const 1024)");
    let world = include_str!("../../../runtime/tests/hostile/world.wat");
    let memory = include_str!("../../../runtime/tests/hostile/memory.wat");
    let world = world.replace("{{memory}}", memory).replace("{{rule}}", &rule);
    let (world, end) = world.trim_end().rsplit_once(')').unwrap();
    let export = include_str!("../../../runtime/tests/world/batch.wat");
    wat::parse_str(format!("{world}{export}{end})")).unwrap()
}

struct Batches {
    rig: Rig,
    files: Vec<(String, Vec<u8>)>,
}

impl Batches {
    async fn new() -> Batches {
        let rig = Rig::ready().await;
        let mut files = files::bundle(&rig.caller, "");
        files[0].1.extend_from_slice(PLUGINS.as_bytes());
        files.push(("plugins/counted.wasm".into(), counted()));
        let plain = files.iter().find(|(path, _)| path == "profiles/plain.toml").unwrap();
        let rules =
            "plugins = [\"counted\", \"claim-guard\"]\nclaims = { allowed = [\"role\"], plugin = [\"plan\"] }\n";
        let profile = [&plain.1, rules.as_bytes()].concat();
        files.push(("profiles/judged.toml".into(), profile));
        rig.authority.publish(files.clone());
        until("the rule is in use", async || rig.edge.world().plugin(NAME).is_some()).await;
        rig.until_ready().await;
        Batches { rig, files }
    }

    /// The code of each element that was refused, and the lifetime of each that was signed.
    async fn post(&self, requests: &[Value]) -> Vec<Value> {
        let answer = self
            .rig
            .post("/v1/tokens/judged/batch", json!({"requests": requests}))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let results = answer.body["results"].as_array().unwrap();
        results.iter().map(outcome).collect()
    }

    fn calls(&self) -> [u64; 3] {
        let world = self.rig.edge.world();
        let metrics = world.plugin(NAME).unwrap().metrics();
        [&metrics.batches, &metrics.batches_failed, &metrics.started].map(|counter| counter.load(Ordering::Relaxed))
    }
}

fn outcome(result: &Value) -> Value {
    if !result["code"].is_null() {
        return result["code"].clone();
    }
    let claims = result["token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(&claims).unwrap()).unwrap();
    json!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap())
}

// R21
#[tokio::test]
async fn a_turn_of_a_batch_is_one_call_and_each_element_has_its_own_verdict_and_record() {
    let batches = Batches::new().await;
    let outcomes = batches.post(&vec![json!({"lifetime": 60}); 20]).await;
    let expected: Vec<_> = (1..=16).chain(1..=4).map(|cap| json!(cap)).collect();
    assert_eq!(outcomes, expected);
    assert_eq!(batches.calls(), [2, 0, 20]);
    let records = batches.rig.records();
    let seen = |record: &audit::record::Draft<'static>| {
        let verdicts = record
            .plugins
            .iter()
            .map(|verdict| (verdict.plugin.to_string(), verdict.outcome.clone()));
        (record.outcome == Outcome::Signed, verdicts.collect::<Vec<_>>())
    };
    let allowed = [NAME, "claim-guard"].map(|name| (name.to_owned(), VerdictOutcome::Allowed));
    assert_eq!(
        records.iter().map(seen).collect::<Vec<_>>(),
        vec![(true, allowed.to_vec()); 20]
    );
    // A single request, and a batch of one, are asked about by themselves.
    assert_eq!(batches.post(&[json!({"lifetime": 60})]).await, [json!(1)]);
    let single = batches.rig.post("/v1/tokens/judged", json!({"lifetime": 60})).await;
    assert_eq!(outcome(&single.body), json!(1));
    assert_eq!(batches.calls(), [2, 0, 22]);
}

/// Who is refused before is not asked about, who is refused by one rule is not asked about by the next, and places stay.
#[tokio::test]
async fn what_is_refused_on_the_way_leaves_the_others_in_their_places() {
    let batches = Batches::new().await;
    let requests = [
        json!({"lifetime": 60, "subject": "root"}),
        json!({"lifetime": 60}),
        json!({"lifetime": 600}),
        json!({"lifetime": 60, "claims": {"role": "admin"}}),
        json!({"lifetime": "long"}),
        json!({"lifetime": 60}),
    ];
    let outcomes = batches.post(&requests).await;
    let expected = [
        json!("policy_denied"),
        json!(1),
        json!("rule_refused"),
        json!("rule_refused"),
        json!("bad_request"),
        json!(4),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(batches.calls(), [1, 0, 4]);
    let world = batches.rig.edge.world();
    let guard = world.plugin("claim-guard").unwrap().metrics();
    assert_eq!(
        guard.started.load(Ordering::Relaxed),
        3,
        "the one that was refused before is not asked about"
    );
}

// R21, R22
#[tokio::test]
async fn an_element_that_breaks_the_rule_fails_alone() {
    let batches = Batches::new().await;
    let lifetimes = [60, 13, 60].map(|lifetime| json!({"lifetime": lifetime}));
    assert_eq!(
        batches.post(&lifetimes).await,
        [json!(1), json!("rule_failed"), json!(1)]
    );
    assert_eq!(batches.calls(), [0, 1, 3]);
    let metrics = batches.rig.get("/metrics").await.text;
    for line in [
        "signet_edge_plugin_batches_total{plugin=\"counted\"} 0",
        "signet_edge_plugin_batches_failed_total{plugin=\"counted\"} 1",
        "signet_edge_plugin_calls_total{plugin=\"counted\",outcome=\"trap\"} 1",
        "signet_edge_plugin_calls_total{plugin=\"counted\",outcome=\"allowed\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

/// Two versions are compared request by request.
#[tokio::test]
async fn a_rule_under_rollout_is_asked_about_each_element() {
    let batches = Batches::new().await;
    let bundle = policies::bundle::Bundle::parse(&batches.files).unwrap();
    let rollout = contract::Rollout {
        id: "first".into(),
        plugin: NAME.into(),
        base: fingerprint(bundle.plugin(NAME).unwrap()),
        percent: 0,
        component: counted(),
        max_failures: 100,
        max_p99_us: 1_000_000,
        min_calls: 200,
        ..contract::Rollout::default()
    };
    batches.rig.authority.publish_with(batches.files.clone(), vec![rollout]);
    until("the edge has the rollout", async || {
        batches.rig.edge.world().trial(NAME).is_some()
    })
    .await;
    assert_eq!(batches.post(&vec![json!({"lifetime": 60}); 5]).await, vec![json!(1); 5]);
    let figures = batches.rig.edge.world().trial(NAME).unwrap().figures();
    assert_eq!((figures.current.allowed, figures.candidate.allowed), (5, 5));
    assert_eq!(batches.calls()[0], 0);
}
