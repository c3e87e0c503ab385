//! New versions of the rule `claim-guard` of the profile `api`, through the handler.

use std::collections::BTreeSet;
use std::sync::Arc;

use audit::record::Outcome;
use node::contract;
use policies::rollout::{Difference, Figures, Part, Stage, fingerprint};
use serde_json::json;
use signing::digest::sha256;

use crate::testing::{Answer, Rig, files, until};

const PLUGIN: &str = "claim-guard";
/// Lets everything pass, with nothing added.
const ALLOWS: &str = r#"(core module $rule (func (export "evaluate") (param i32) (result i32) (i32.const 1024)))"#;
const TRAPS: &str = r#"(core module $rule (func (export "evaluate") (param i32) (result i32) unreachable))"#;
/// Refuses everything with `no_way`.
const REFUSES: &str = r#"(core module $rule
  (import "host" "memory" (memory 1))
  (data (i32.const 64) "no_way")
  (func (export "evaluate") (param i32) (result i32)
    (i32.store (i32.const 1024) (i32.const 1))
    (i32.store (i32.const 1028) (i32.const 64))
    (i32.store (i32.const 1032) (i32.const 6))
    (i32.store (i32.const 1036) (i32.const 64))
    (i32.store (i32.const 1040) (i32.const 6))
    (i32.const 1024)))"#;

fn component(rule: &str) -> Vec<u8> {
    let world = include_str!("../../../runtime/tests/hostile/world.wat");
    let memory = include_str!("../../../runtime/tests/hostile/memory.wat");
    wat::parse_str(world.replace("{{memory}}", memory).replace("{{rule}}", rule)).unwrap()
}

struct Fleet {
    rig: Rig,
    files: Vec<(String, Vec<u8>)>,
}

impl Fleet {
    async fn new() -> Fleet {
        let rig = Rig::ready().await;
        let files = files::bundle(&rig.caller, "");
        Fleet { rig, files }
    }

    fn rollout(&self, component: Vec<u8>, percent: u32) -> contract::Rollout {
        let bundle = policies::bundle::Bundle::parse(&self.files).unwrap();
        contract::Rollout {
            id: "first".into(),
            plugin: PLUGIN.into(),
            base: fingerprint(bundle.plugin(PLUGIN).unwrap()),
            percent,
            aborted: false,
            component,
            max_failures: 100,
            // Other tests share the machine.
            max_p99_us: 1_000_000,
            min_calls: 200,
            ..contract::Rollout::default()
        }
    }

    /// Publishes a rollout, and waits until the edge has it.
    async fn at(&self, component: &[u8], percent: u32) {
        let rollout = self.rollout(component.to_vec(), percent);
        self.rig.authority.publish_with(self.files.clone(), vec![rollout]);
        let stage = Stage::at(u8::try_from(percent).unwrap());
        until("the edge has the stage", async || {
            self.rig
                .edge
                .world()
                .trial(PLUGIN)
                .is_some_and(|trial| trial.stage == stage)
        })
        .await;
    }

    async fn mint(&self, caller: u32, body: serde_json::Value) -> Answer {
        let (issuer, subject) = ("https://callers.example", format!("dev:{caller}"));
        let token = self.rig.token_of(issuer, &subject, json!({"roles": ["developer"]}));
        self.rig.post_as(&token, "/v1/tokens/api", body).await
    }

    /// The callers of some that the new version refuses.
    async fn canaries(&self) -> BTreeSet<u32> {
        let mut refused = BTreeSet::new();
        for caller in 0..40 {
            let answer = self.mint(caller, json!({})).await;
            match answer.status.as_u16() {
                201 => assert_eq!(answer.body["code"], json!(null)),
                _ => {
                    assert_eq!(answer.body["rule_code"], "no_way", "{}", answer.text);
                    refused.insert(caller);
                }
            }
        }
        refused
    }

    /// Each record names the version that judged: the one that refuses all, or the bundle's that refused none.
    fn assert_recorded(&self, refuses: &[u8]) {
        let current = *self.rig.edge.world().plugin(PLUGIN).unwrap().digest();
        for record in self.rig.records() {
            let judged = match record.outcome {
                Outcome::Signed => current,
                _ => sha256(refuses),
            };
            let named: Vec<_> = record.plugins.iter().map(|verdict| verdict.component).collect();
            assert_eq!(named, [Some(judged)], "{record:?}");
        }
    }

    /// The last that the edge told.
    fn told(&self) -> Option<Figures> {
        let state = self.rig.authority.state();
        state
            .reports
            .last()
            .map(|report| serde_json::from_slice(&report.figures).unwrap())
    }

    async fn until_told(&self, what: &str, holds: impl Fn(&Figures) -> bool) -> Figures {
        until(what, async || self.told().is_some_and(|figures| holds(&figures))).await;
        self.told().unwrap()
    }
}

#[tokio::test]
async fn a_version_in_shadow_is_compared_and_decides_nothing() {
    let fleet = Fleet::new().await;
    fleet.at(&component(REFUSES), 0).await;
    for _ in 0..5 {
        assert_eq!(
            fleet
                .mint(1, json!({"claims": {"secret": "canary-value"}}))
                .await
                .status,
            201
        );
    }
    let admin = fleet.mint(1, json!({"claims": {"role": "admin"}})).await;
    assert_eq!(
        admin.body["rule_code"], "role_not_allowed",
        "the current version decides"
    );
    let figures = fleet
        .until_told("six calls", |figures| figures.candidate.total() == 6)
        .await;
    assert_eq!((figures.current.allowed, figures.current.refused), (5, 1));
    assert_eq!(figures.candidate.refused, 6);
    assert_eq!(figures.differences[&Difference::NewlyRefused], 5);
    assert_eq!(figures.differences[&Difference::Code], 1);
    let sample = figures
        .samples
        .iter()
        .find(|sample| sample.kind == Difference::NewlyRefused)
        .unwrap();
    assert_eq!(
        (sample.profile.as_str(), sample.candidate.as_str()),
        ("api", "refuse no_way")
    );
    assert_eq!(sample.current, "allow, 1 claim");
    // R10
    assert!(!serde_json::to_string(&figures).unwrap().contains("canary-value"));
    let metrics = fleet.rig.get("/metrics").await.text;
    for line in [
        "signet_edge_rollout_calls_total{plugin=\"claim-guard\",version=\"candidate\",outcome=\"refused\"} 6",
        "signet_edge_rollout_differences_total{plugin=\"claim-guard\",kind=\"newly_refused\"} 5",
        "signet_edge_rollout_stopped{plugin=\"claim-guard\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn what_the_answers_differ_in_is_told_apart() {
    let fleet = Fleet::new().await;
    fleet.at(&component(ALLOWS), 0).await;
    assert_eq!(fleet.mint(1, json!({})).await.status, 201);
    assert_eq!(fleet.mint(1, json!({"claims": {"role": "editor"}})).await.status, 201);
    assert_eq!(fleet.mint(1, json!({"claims": {"role": "admin"}})).await.status, 403);
    let figures = fleet
        .until_told("three calls", |figures| figures.candidate.total() == 3)
        .await;
    for kind in [Difference::Claims, Difference::Lifetime, Difference::NewlyAllowed] {
        assert_eq!(figures.differences.get(&kind), Some(&1), "{kind:?} in {figures:?}");
    }
}

#[tokio::test]
async fn a_caller_keeps_its_version_and_a_larger_percentage_includes_the_smaller() {
    let fleet = Fleet::new().await;
    let refuses = component(REFUSES);
    let mut before = BTreeSet::new();
    for percent in [10, 50, 90] {
        fleet.at(&refuses, percent).await;
        let canaries = fleet.canaries().await;
        assert_eq!(canaries, fleet.canaries().await, "the same caller, the same version");
        let stage = Stage::at(u8::try_from(percent).unwrap());
        let id = |caller: &u32| format!("oidc:https://callers.example#dev:{caller}");
        let expected = (0..40).filter(|caller| stage.judges(PLUGIN, &id(caller)) == Part::Candidate);
        assert_eq!(canaries, expected.collect(), "as every other edge decides");
        fleet.assert_recorded(&refuses);
        assert!(canaries.is_superset(&before), "{before:?} {canaries:?}");
        before = canaries;
    }
    assert!((1..40).contains(&before.len()), "{before:?}");
}

#[tokio::test]
async fn a_signature_names_the_version_that_allowed_it() {
    let fleet = Fleet::new().await;
    let allows = component(ALLOWS);
    fleet.at(&allows, 50).await;
    for caller in 0..20 {
        assert_eq!(fleet.mint(caller, json!({})).await.status, 201);
    }
    let current = *fleet.rig.edge.world().plugin(PLUGIN).unwrap().digest();
    let mut seen = BTreeSet::new();
    for record in fleet.rig.records() {
        let judged = match Stage::at(50).judges(PLUGIN, &record.caller) {
            Part::Candidate => sha256(&allows),
            _ => current,
        };
        assert_eq!(record.plugins[0].component, Some(judged), "{record:?}");
        seen.insert(judged);
    }
    assert_eq!(seen, BTreeSet::from([current, sha256(&allows)]), "both have judged");
}

// R22
#[tokio::test]
async fn a_version_that_fails_is_given_up_at_once_and_denies_nothing() {
    for percent in [0, 99] {
        let fleet = Fleet::new().await;
        fleet.at(&component(TRAPS), percent).await;
        for caller in 0..20 {
            let answer = fleet.mint(caller, json!({})).await;
            assert_eq!((answer.status.as_u16(), percent), (201, percent), "{}", answer.text);
        }
        let figures = fleet
            .until_told("it was stopped", |figures| figures.stopped.is_some())
            .await;
        let why = figures.stopped.unwrap();
        let expected = "3 of 3 calls failed; of 200, at most 2 may (1%); the last one with `trap`";
        assert_eq!(why, expected);
        let last = fleet
            .until_told("all calls", |figures| figures.current.total() == 20)
            .await;
        assert_eq!(last.candidate.failed, 3, "not asked any more");
        let metrics = fleet.rig.get("/metrics").await.text;
        assert!(
            metrics.contains("signet_edge_rollouts_stopped_total{plugin=\"claim-guard\"} 1"),
            "{metrics}"
        );
        assert!(
            metrics.contains("signet_edge_rollout_stopped{plugin=\"claim-guard\"} 1"),
            "{metrics}"
        );
        // The next stage of what was given up is no second chance.
        fleet.at(&component(TRAPS), 50).await;
        fleet.mint(1, json!({})).await;
        let world = fleet.rig.edge.world();
        assert_eq!(world.trial(PLUGIN).unwrap().figures().candidate.total(), 3);
    }
}

#[tokio::test]
async fn a_version_that_is_slow_is_given_up() {
    let fleet = Fleet::new().await;
    let rollout = contract::Rollout {
        max_p99_us: 1,
        min_calls: 1,
        ..fleet.rollout(component(ALLOWS), 0)
    };
    fleet.rig.authority.publish_with(fleet.files.clone(), vec![rollout]);
    until("the edge has it", async || {
        fleet.rig.edge.world().trial(PLUGIN).is_some()
    })
    .await;
    assert_eq!(fleet.mint(1, json!({})).await.status, 201);
    let figures = fleet
        .until_told("it was stopped", |figures| figures.stopped.is_some())
        .await;
    assert!(figures.stopped.unwrap().contains("took longer than 1 us"));
}

#[tokio::test]
async fn what_the_authority_gives_up_decides_nothing_any_more() {
    let fleet = Fleet::new().await;
    fleet.at(&component(REFUSES), 99).await;
    let canary = *fleet.canaries().await.first().unwrap();
    let held = fleet.rig.edge.world();
    let aborted = contract::Rollout {
        aborted: true,
        component: Vec::new(),
        ..fleet.rollout(Vec::new(), 0)
    };
    fleet.rig.authority.publish_with(fleet.files.clone(), vec![aborted]);
    until("signs again", async || {
        fleet.mint(canary, json!({})).await.status == 201
    })
    .await;
    assert!(
        held.trial(PLUGIN).unwrap().is_stopped(),
        "also for requests that hold the bundle before"
    );
    until("it is gone", async || fleet.rig.edge.world().trial(PLUGIN).is_none()).await;
}

#[tokio::test]
async fn what_is_enforced_is_in_use_without_being_loaded_again_and_requests_end_as_they_began() {
    let mut fleet = Fleet::new().await;
    let refuses = component(REFUSES);
    fleet.at(&refuses, 50).await;
    let begun = fleet.rig.edge.world();
    let candidate = begun.trial(PLUGIN).unwrap().candidate().unwrap().plugin.clone();
    for (path, content) in &mut fleet.files {
        if path == "plugins/claim-guard.wasm" {
            content.clone_from(&refuses);
        }
    }
    fleet.rig.authority.publish(fleet.files.clone());
    until("enforced", async || fleet.rig.edge.world().trial(PLUGIN).is_none()).await;
    assert_eq!(fleet.canaries().await.len(), 40, "it judges everybody");
    let world = fleet.rig.edge.world();
    assert!(Arc::ptr_eq(world.plugin(PLUGIN).unwrap(), &candidate));
    assert!(!Arc::ptr_eq(begun.plugin(PLUGIN).unwrap(), &candidate));
    assert!(begun.trial(PLUGIN).is_some(), "whoever began before goes on with both");
}

#[tokio::test]
async fn a_version_that_does_not_load_or_is_for_another_plugin_harms_nothing() {
    let fleet = Fleet::new().await;
    fleet.at(b"\0asm\x0d\0\x01\0broken", 99).await;
    let figures = fleet
        .until_told("it was stopped", |figures| figures.stopped.is_some())
        .await;
    assert!(figures.stopped.unwrap().starts_with("it does not load: "));
    assert_eq!(fleet.mint(1, json!({})).await.status, 201);
    let other = contract::Rollout {
        id: "second".into(),
        base: "00".repeat(32),
        ..fleet.rollout(component(REFUSES), 99)
    };
    fleet.rig.authority.publish_with(fleet.files.clone(), vec![other]);
    until("it is gone", async || fleet.rig.edge.world().trial(PLUGIN).is_none()).await;
    assert_eq!(fleet.mint(1, json!({})).await.status, 201);
}
