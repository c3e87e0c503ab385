//! Bundles whose plugins come by digest and whose machine code the authority makes, from one that gets it wrong, too.

use serde_json::json;

use super::*;
use crate::testing::objects::Wrong;
use crate::testing::{Rig, files, until};

/// The count of plugins by where their code came from.
async fn artifacts(rig: &Rig, source: &str) -> u64 {
    let text = rig.get("/metrics").await.text;
    let name = format!("signet_edge_plugin_artifacts_total{{source=\"{source}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

/// A custom section with a name of one letter: with it, a component is another file and does the same.
const MORE: [u8; 4] = [0, 2, 1, b'x'];

fn wrong(rig: &Rig, wrong: Option<Wrong>) {
    rig.authority.state().objects.wrong = wrong;
}

async fn mint(rig: &Rig) -> u16 {
    rig.post("/v1/tokens/api", json!({})).await.status.as_u16()
}

// R31
#[tokio::test]
async fn what_a_bundle_names_is_fetched_once() {
    let mut rig = Rig::compiling(Compile::Local);
    rig.run();
    rig.until_ready().await;
    assert_eq!(mint(&rig).await, 201);
    assert_eq!(rig.authority.state().objects.files(), 2);
    let first = rig.edge.bundle_digest();
    rig.authority
        .publish_named(files::bundle(&rig.caller, "[limits]\nper_caller = \"1000000/s\""));
    until("the next bundle", async || rig.edge.bundle_digest() != first).await;
    assert_eq!(rig.authority.state().objects.files(), 2, "the edge has both plugins");
    assert_eq!(rig.authority.state().objects.compilations(), 0);
    assert_eq!(artifacts(&rig, "local").await, 2, "and both are loaded");
}

// R31
#[tokio::test]
async fn a_file_that_is_not_what_was_named_is_not_used() {
    use Wrong::*;
    for kind in [Absent, OtherBytes, Truncated, Endless, Empty] {
        let mut rig = Rig::compiling(Compile::Local);
        wrong(&rig, Some(kind));
        rig.run();
        until("asks again", async || rig.authority.state().objects.files() >= 3).await;
        assert_eq!(rig.edge.bundle_digest(), "", "{kind:?}");
        let ready = rig.get("/readyz").await;
        assert!(
            ready.status == 503
                && ready
                    .text
                    .contains("plugins/claim-guard.wasm of the bundle, 20698 bytes"),
            "{kind:?}: {}",
            ready.text
        );
        wrong(&rig, None);
        rig.until_ready().await;
        assert_eq!(mint(&rig).await, 201, "{kind:?}");
    }
}

// R31
#[tokio::test]
async fn the_old_bundle_serves_while_the_next_is_fetched_and_a_newer_one_overtakes_it() {
    let rig = Rig::ready().await;
    let first = rig.edge.bundle_digest();
    wrong(&rig, Some(Wrong::Absent));
    let mut next = files::bundle(&rig.caller, "[limits]\nper_caller = \"1000000/s\"");
    for (path, content) in &mut next {
        if path == "plugins/claim-guard.wasm" {
            content.extend_from_slice(&MORE);
        }
    }
    rig.authority.publish_named(next);
    until("asks", async || rig.authority.state().objects.files() >= 2).await;
    assert_eq!((mint(&rig).await, rig.edge.bundle_digest()), (201, first.clone()));
    assert_eq!(rig.get("/readyz").await.status, 200);
    rig.authority
        .publish(files::bundle(&rig.caller, "[limits]\nper_caller = \"2000000/s\""));
    until("the newest bundle", async || rig.edge.bundle_digest() != first).await;
    assert_eq!(mint(&rig).await, 201);
}

#[tokio::test]
async fn a_bundle_that_names_more_than_there_can_be_is_refused_without_asking() {
    let mut rig = Rig::new("");
    let mut bundle = rig.authority.state().bundle.clone().unwrap();
    rig.run();
    rig.until_ready().await;
    bundle.digest.push('x');
    for (digest, size) in [(vec![7; 32], MAX_FILE + 1), (vec![7; 31], 1000)] {
        bundle.files[0].digest = digest;
        bundle.files[0].size = size;
        bundle.digest.push('x');
        rig.edge.offer_bundle(bundle.clone());
        until("refused", async || rig.edge.offered_digest().is_empty()).await;
    }
    assert_eq!(rig.authority.state().objects.files(), 0);
    assert_eq!(mint(&rig).await, 201);
}

// R20
#[tokio::test]
async fn an_edge_that_compiles_nothing_runs_what_its_authority_compiled() {
    let mut rig = Rig::compiling(Compile::Authority);
    // It waits for the authority to have compiled it.
    wrong(&rig, Some(Wrong::Busy(2)));
    rig.run();
    rig.until_ready().await;
    assert_eq!(mint(&rig).await, 201);
    assert_eq!(
        (artifacts(&rig, "authority").await, artifacts(&rig, "local").await),
        (2, 0)
    );
    let told = rig.authority.state().watched[0].compile_target.clone().unwrap();
    assert_eq!(told.name, rig.edge.host().target().name());
    assert_eq!(told.compatibility, rig.edge.host().target().compatibility());
}

#[tokio::test]
async fn a_new_version_of_a_plugin_comes_in_the_same_way() {
    let mut rig = Rig::compiling(Compile::Authority);
    rig.run();
    rig.until_ready().await;
    let files = files::bundle(&rig.caller, "");
    let bundle = policies::bundle::Bundle::parse(&files).unwrap();
    let current = bundle.plugin("claim-guard").unwrap();
    let component = [&*current.wasm, &MORE].concat();
    let digest = signing::digest::sha256(&component);
    let rollout = contract::Rollout {
        id: "first".into(),
        plugin: current.name.clone(),
        base: policies::rollout::fingerprint(current),
        percent: 50,
        component_digest: digest.to_vec(),
        component_size: u64::try_from(component.len()).unwrap(),
        max_failures: 100,
        max_p99_us: 1_000_000,
        min_calls: 200,
        ..contract::Rollout::default()
    };
    rig.authority.state().objects.held.insert(digest, component);
    rig.authority.publish_with(files, vec![rollout]);
    until("it is tried", async || {
        let world = rig.edge.world();
        let trial = world.trial("claim-guard");
        trial.is_some_and(|trial| {
            trial
                .candidate()
                .is_some_and(|version| *version.plugin.digest() == digest)
        })
    })
    .await;
    assert_eq!(artifacts(&rig, "authority").await, 3);
}

/// Every way in which machine code can be another than the authority's own for this component and this engine.
const WRONG_CODE: [Wrong; 9] = [
    Wrong::OtherBytes,
    Wrong::Truncated,
    Wrong::Endless,
    Wrong::Unendorsed,
    Wrong::BadSignature,
    Wrong::Stranger,
    Wrong::OtherComponent,
    Wrong::OtherEngine,
    Wrong::Giant,
];

// R20
#[tokio::test]
async fn machine_code_that_is_not_the_authority_s_own_is_never_loaded() {
    for kind in WRONG_CODE {
        let mut rig = Rig::compiling(Compile::Authority);
        // The files come with the bundle.
        rig.authority.publish(files::bundle(&rig.caller, ""));
        wrong(&rig, Some(kind));
        rig.run();
        until("refused twice", async || artifacts(&rig, "refused").await >= 2).await;
        assert_eq!(rig.edge.bundle_digest(), "", "{kind:?}");
        assert_eq!(artifacts(&rig, "authority").await + artifacts(&rig, "local").await, 0);
        let ready = rig.get("/readyz").await;
        assert!(
            ready.text.contains("machine code of plugin `claim-guard`"),
            "{}",
            ready.text
        );
        wrong(&rig, None);
        rig.until_ready().await;
        assert_eq!(mint(&rig).await, 201, "{kind:?}");
    }
}

// R20
#[tokio::test]
async fn an_edge_that_may_compile_does_so_where_the_authority_cannot_or_is_not_believed() {
    for (kind, refused) in [
        (Wrong::Refuses, 0),
        (Wrong::Absent, 0),
        (Wrong::Stranger, 6),
        (Wrong::OtherEngine, 6),
    ] {
        let mut rig = Rig::compiling(Compile::Any);
        rig.authority.publish(files::bundle(&rig.caller, ""));
        wrong(&rig, Some(kind));
        rig.run();
        rig.until_ready().await;
        assert_eq!(mint(&rig).await, 201, "{kind:?}");
        let counts = (artifacts(&rig, "local").await, artifacts(&rig, "refused").await);
        assert_eq!(counts, (2, refused), "{kind:?}");
        assert_eq!(artifacts(&rig, "authority").await, 0);
    }
    let mut rig = Rig::compiling(Compile::Any);
    rig.run();
    rig.until_ready().await;
    assert_eq!(
        (artifacts(&rig, "authority").await, artifacts(&rig, "local").await),
        (2, 0)
    );
}
