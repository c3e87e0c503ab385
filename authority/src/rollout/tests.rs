use std::collections::BTreeSet;

use bytes::Bytes;
use http::Request;
use node::contract::RolloutReport;
use policies::rollout::{Answer, Counts};
use serde_json::{Value, json};

use super::*;
use crate::admin::Admin;
use crate::bundle::Outcome;
use crate::testing::{self, Bench, DELEGATE, bundle};

mod reported;

use self::reported::{figures, report};

const GUARD: &[u8] = include_bytes!("../../../deploy/dev/bundle/plugins/claim-guard.wasm");
const OTHER: &[u8] = include_bytes!("../../../deploy/dev/bundle/plugins/protected-artifact.wasm");
const TWO: &str = "[[plugins]]\nname = \"guard\"\nfile = \"plugins/guard.wasm\"\n\
                   [[plugins]]\nname = \"branch\"\nfile = \"plugins/branch.wasm\"\n";

/// A bundle with two plugins, one of which the profile `api` lists.
fn files(guard: &[u8], more: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = bundle(DELEGATE);
    for (path, content) in &mut files {
        match path.as_str() {
            "bundle.toml" => content.extend_from_slice(format!("{TWO}{more}").as_bytes()),
            "profiles/api.toml" => content.extend_from_slice(b"plugins = [\"guard\"]\n"),
            _ => {}
        }
    }
    files.push(("plugins/guard.wasm".into(), guard.to_vec()));
    files.push(("plugins/branch.wasm".into(), OTHER.to_vec()));
    files
}

async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.publish(files(GUARD, ""), false).await.unwrap();
    bench.settle().await;
    bench
}

fn guard(component: &[u8]) -> Start<'_> {
    Start {
        plugin: "guard",
        component: component.to_vec(),
        steps: Steps::default(),
        thresholds: Thresholds::default(),
        by: "operator:test",
    }
}

async fn started(bench: &Bench) -> Rollout {
    let plan = bench.wired.rollouts.start(guard(OTHER), false).await.unwrap().unwrap();
    bench.settle().await;
    plan.rollout
}

/// To the next step, or to a percentage, whether it was tried or not.
fn to(percent: Option<u8>) -> Promotion {
    let untried = true;
    Promotion { percent, untried }
}

/// What edges are told.
fn told(bench: &Bench) -> node::contract::Bundle {
    let update = bench.wired.world.since(0).unwrap();
    node::contract::Bundle::clone(&update.bundle.unwrap())
}

async fn apply(bench: &Bench, files: Vec<(String, Vec<u8>)>, dry_run: bool) -> Result<Outcome, Fault> {
    let applicant = crate::bundle::Applicant {
        approvals: bench.wired.keys.approvals(),
        requester: "operator:test",
        reason: None,
        fence: false,
        take_back: false,
    };
    let applied = bench.wired.bundles.apply(files, dry_run, &applicant).await?;
    Ok(applied.unwrap())
}

fn conflict(fault: &Fault, words: &str) {
    assert_eq!(fault.code(), "conflict", "{fault:?}");
    assert!(fault.to_string().contains(words), "`{words}` is not in `{fault}`");
}

#[tokio::test]
async fn what_one_row_does_not_hold_is_not_rolled_out_in_steps() {
    let bench = Bench::new().await;
    let large = files(GUARD, "max_size = \"32MiB\"\n");
    bench.publish(large, false).await.unwrap();
    bench.settle().await;
    // A custom section (id 0, its size in LEB128, an empty name) harms no component.
    let mut component = OTHER.to_vec();
    component.extend([0, 0x80, 0x80, 0x80, 0x08]);
    component.resize(component.len() + (16 << 20), 0);
    let branch = Start {
        plugin: "branch",
        ..guard(&component)
    };
    let refused = bench.wired.rollouts.start(branch, true).await.unwrap_err();
    assert!(refused.to_string().contains("put it into the bundle"), "{refused}");
}

#[tokio::test]
async fn a_rollout_goes_from_shadow_to_the_bundle_and_edges_are_told_each_step() {
    let bench = bench().await;
    let rollouts = &bench.wired.rollouts;
    let before = told(&bench);
    let plan = rollouts.start(guard(OTHER), true).await.unwrap().unwrap();
    assert_eq!((plan.profiles, plan.bytes), (vec!["api".to_owned()], OTHER.len()));
    assert!(rollouts.list().await.unwrap().is_empty(), "a plan changes nothing");
    let rollout = started(&bench).await;
    let mut digests = BTreeSet::from([before.digest.clone()]);
    for percent in [0, 1, 10, 30] {
        if percent > 0 {
            let wanted = (percent == 30).then_some(30);
            let promoted = rollouts
                .promote("guard", to(wanted), "operator:test")
                .await
                .unwrap()
                .unwrap();
            assert_eq!(promoted.stage, Stage::Canary { percent });
        }
        bench.settle().await;
        let bundle = told(&bench);
        let [one] = bundle.rollouts.as_slice() else {
            panic!("{:?}", bundle.rollouts.len())
        };
        assert_eq!(
            (&one.id, one.percent, one.aborted),
            (&rollout.id, u32::from(percent), false)
        );
        assert_eq!((one.component.as_slice(), &one.base), (OTHER, &rollout.base));
        assert_eq!(bundle.files, before.files, "the bundle is as it was");
        assert!(digests.insert(bundle.digest), "edges see another bundle");
    }
    let enforced = rollouts
        .promote("guard", to(Some(100)), "operator:test")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(enforced.stage, Stage::Enforced);
    bench.settle().await;
    let bundle = told(&bench);
    assert!(bundle.rollouts.is_empty());
    let file = bundle
        .files
        .iter()
        .find(|file| file.path == "plugins/guard.wasm")
        .unwrap();
    assert_eq!(file.content, OTHER);
    assert_eq!(
        bench.wired.bundles.in_force().published.as_ref().unwrap().digest,
        bundle.digest
    );
    let component = bench
        .wired
        .vault
        .get_secret(&paths::rollout_component(&rollout.id))
        .await
        .unwrap();
    assert!(component.is_none(), "nothing is left beside the bundle");
    let over = rollouts.promote("guard", to(None), "operator:test").await.unwrap_err();
    assert!(over.to_string().contains("is over (enforced)"), "{over}");
    conflict(
        &rollouts.abort("guard", "", "operator:test").await.unwrap_err(),
        "apply the bundle with the old one",
    );
    // A directory that has the old version still is applied for something else: that would undo it without a word.
    let other = files(GUARD, "[limits]\nper_caller = \"7/s\"\n");
    for dry_run in [true, false] {
        let refused = apply(&bench, other.clone(), dry_run).await.unwrap_err();
        conflict(&refused, "brings back the version of the plugin `guard`");
        conflict(&refused, "plugins/guard.wasm");
    }
    assert!(rollouts.list().await.unwrap()[0].in_force);
    // With the new one, or a third, it is none of the rollout's business.
    assert!(apply(&bench, files(OTHER, ""), false).await.is_ok());
    let applicant = crate::bundle::Applicant {
        approvals: bench.wired.keys.approvals(),
        requester: "operator:test",
        reason: None,
        fence: false,
        take_back: true,
    };
    let taken = bench.wired.bundles.apply(other, false, &applicant).await.unwrap();
    assert!(taken.unwrap().applied, "to go back is said, and done");
    assert!(!rollouts.list().await.unwrap()[0].in_force, "as the status says");
    assert!(apply(&bench, files(OTHER, ""), false).await.unwrap().applied);
    // The way back is a rollout, too.
    rollouts.start(guard(GUARD), false).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_rolled_out_is_refused_with_what_to_do() {
    let bench = bench().await;
    let rollouts = &bench.wired.rollouts;
    let revision = bench.parts.store.revision().await.unwrap();
    let refused = async |start: Start<'_>| rollouts.start(start, false).await.unwrap_err().to_string();
    let unknown = refused(Start {
        plugin: "nobody",
        ..guard(OTHER)
    })
    .await;
    assert!(
        unknown.contains("no plugin `nobody`; it has guard, branch"),
        "{unknown}"
    );
    assert!(refused(guard(GUARD)).await.contains("in force"));
    let odd = Thresholds {
        min_calls: 0,
        ..Thresholds::default()
    };
    assert!(
        refused(Start {
            thresholds: odd,
            ..guard(OTHER)
        })
        .await
        .contains("fewest calls")
    );
    let invalid = rollouts
        .start(guard(b"\0asm\x01\0\0\0"), false)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(invalid.findings[0].file, "plugins/guard.wasm");
    assert!(invalid.findings[0].message.contains("core module"), "{invalid:?}");
    assert!(matches!(
        rollouts.promote("guard", to(None), "x").await,
        Err(Fault::NotFound { .. })
    ));
    assert!(matches!(
        rollouts.abort("guard", "", "x").await,
        Err(Fault::NotFound { .. })
    ));
    assert_eq!(
        bench.parts.store.revision().await.unwrap(),
        revision,
        "nothing was written"
    );
    started(&bench).await;
    conflict(
        &rollouts.start(guard(OTHER), false).await.unwrap_err(),
        "is running (shadow)",
    );
    let shared = "[[plugins]]\nname = \"twin\"\nfile = \"plugins/branch.wasm\"\n";
    apply(&bench, files(GUARD, shared), false).await.unwrap();
    let twin = refused(Start {
        plugin: "branch",
        ..guard(GUARD)
    })
    .await;
    assert!(twin.contains("the file of `twin` too"), "{twin}");
}

// R31
#[tokio::test]
async fn a_bundle_that_changes_the_plugin_waits_for_the_end_and_others_do_not() {
    let bench = bench().await;
    let rollout = started(&bench).await;
    let settings = "[plugins.config]\nprotected_refs = [\"refs/heads/main\"]\n";
    let bounds = files(GUARD, "");
    let bounds = bounds.into_iter().map(|(path, content)| match path.as_str() {
        "bundle.toml" => {
            let text = String::from_utf8(content).unwrap();
            (
                path,
                text.replace("guard.wasm\"\n", "guard.wasm\"\ndeadline = \"9ms\"\n")
                    .into_bytes(),
            )
        }
        _ => (path, content),
    });
    let changed = [files(OTHER, ""), bounds.collect(), bundle(DELEGATE)];
    for changed in &changed {
        for dry_run in [true, false] {
            let refused = apply(&bench, changed.clone(), dry_run).await.unwrap_err();
            conflict(&refused, "plugin `guard`, which is being rolled out (shadow)");
        }
    }
    // `settings` are of the other plugin, the last of the file.
    assert!(apply(&bench, files(GUARD, settings), false).await.unwrap().applied);
    bench.settle().await;
    assert_eq!(told(&bench).rollouts[0].id, rollout.id, "it goes on");
    bench
        .wired
        .rollouts
        .abort("guard", "no", "operator:test")
        .await
        .unwrap();
    for changed in changed {
        assert!(apply(&bench, changed, false).await.unwrap().applied);
    }
}

/// Operators' operations on record, of those about rollouts.
fn records(bench: &Bench) -> Vec<Value> {
    let tail = audit::read::tail(&testing::config(bench.dir()).audit_dir(), false).unwrap();
    let records = tail.map(|record| serde_json::from_str::<Value>(&record.unwrap().to_json()).unwrap());
    let about = |record: &Value| record["profile"].as_str().is_some_and(|name| name.ends_with("Rollout"));
    records.filter(about).collect()
}

async fn close(admin: &Admin) {
    let recorder = admin.recorder.clone();
    tokio::task::spawn_blocking(move || recorder.close()).await.unwrap();
}

#[tokio::test]
async fn a_rollout_survives_a_restart_and_so_does_its_end() {
    let bench = bench().await;
    let rollout = started(&bench).await;
    bench
        .wired
        .rollouts
        .promote("guard", to(None), "operator:test")
        .await
        .unwrap()
        .unwrap();
    let bench = bench.restart().await;
    let bundle = told(&bench);
    assert_eq!(
        (bundle.rollouts[0].percent, bundle.rollouts[0].component.as_slice()),
        (1, OTHER)
    );
    report(&bench.wired.rollouts, ("a", "1"), &rollout.id, &figures(7, 0, None));
    bench
        .wired
        .rollouts
        .abort("guard", "not now", "operator:test")
        .await
        .unwrap();
    let bench = bench.restart().await;
    let seen = &bench.wired.rollouts.list().await.unwrap()[0];
    assert_eq!(
        seen.rollout.stage,
        Stage::Aborted {
            reason: "not now".into()
        }
    );
    assert_eq!(seen.figures.candidate.total(), 7);
    assert!(told(&bench).rollouts[0].aborted);
}

// R36
#[tokio::test]
async fn of_two_authorities_that_promote_at_the_same_time_one_is_told_so() {
    let bench = bench().await;
    started(&bench).await;
    let admin = bench.admin().await;
    let (one, other) = tokio::join!(
        bench.wired.rollouts.promote("guard", to(None), "operator:one"),
        admin.rollouts.promote("guard", to(None), "operator:other")
    );
    let raced = [&one, &other]
        .iter()
        .filter(|result| matches!(result, Err(Fault::Raced { .. })))
        .count();
    let stage = bench.wired.rollouts.list().await.unwrap()[0].rollout.stage.percent();
    // Each that was answered went one step.
    assert_eq!(stage, if raced == 1 { 1 } else { 10 }, "{one:?} {other:?}");
}

#[tokio::test]
async fn a_replay_gives_up_what_was_given_up_after_the_backup() {
    let bench = bench().await;
    started(&bench).await;
    assert!(end_again(&bench.wired.vault, "guard", 7).await.unwrap());
    assert!(
        !end_again(&bench.wired.vault, "guard", 7).await.unwrap(),
        "twice changes nothing"
    );
    let seen = &bench.wired.rollouts.list().await.unwrap()[0];
    assert!(matches!(&seen.rollout.stage, Stage::Aborted { reason } if reason.contains("backup")));
}

#[tokio::test]
async fn each_step_needs_the_token_and_is_on_record() {
    let bench = bench().await;
    let mut admin = bench.admin().await;
    admin.token = crate::admin::AdminToken::new(&hex(&sha256(b"token"))).unwrap();
    let component = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, OTHER);
    let start = json!({"component_base64": component, "steps": [0, 100]});
    let calls = [
        ("PUT", "/v1/rollouts/guard?dry_run=true", start.clone(), 200),
        ("PUT", "/v1/rollouts/guard", start.clone(), 200),
        ("PUT", "/v1/rollouts/guard", start.clone(), 409),
        ("GET", "/v1/rollouts", Value::Null, 200),
        ("POST", "/v1/rollouts/guard/promote", json!({"percent": 200}), 400),
        ("POST", "/v1/rollouts/guard/promote", json!({"percent": 5}), 200),
        ("POST", "/v1/rollouts/guard/abort", json!({"reason": "x\n"}), 400),
        ("POST", "/v1/rollouts/guard/abort", json!({"reason": "enough"}), 200),
        ("POST", "/v1/rollouts/guard/abort", json!({"reason": "again"}), 200),
        (
            "PUT",
            "/v1/rollouts/guard",
            json!({"component_base64": component, "steps": [100]}),
            400,
        ),
        ("PUT", "/v1/rollouts/guard", start, 200),
        ("POST", "/v1/rollouts/guard/promote", json!({}), 409),
        ("POST", "/v1/rollouts/guard/promote", json!({"untried": true}), 200),
    ];
    for (method, path, body, status) in calls {
        for (token, expected) in [("wrong", 401), ("token", status)] {
            let request = Request::builder().method(method).uri(path);
            let request = request
                .header("authorization", format!("Bearer {token}"))
                .body(Bytes::new())
                .unwrap();
            let (head, _) = request.into_parts();
            let answered = admin.status(&head, body.to_string().as_bytes()).await;
            assert_eq!(answered, expected, "{method} {path} {}", body["steps"]);
        }
    }
    let in_force = admin.bundles.in_force().published.as_ref().unwrap().digest.clone();
    close(&admin).await;
    let told: Vec<_> = records(&bench)
        .iter()
        .map(|record| {
            assert_eq!(
                (&record["caller"], &record["key"]),
                (&json!("operator:root"), &json!("guard"))
            );
            let name = record["profile"].as_str().unwrap().strip_prefix("admin:").unwrap();
            format!("{name} {}", record["outcome"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            "StartRollout performed",
            "StartRollout refused",
            "PromoteRollout refused",
            "PromoteRollout performed",
            "AbortRollout refused",
            "AbortRollout performed",
            "AbortRollout performed",
            "StartRollout refused",
            "StartRollout performed",
            "PromoteRollout refused",
            "PromoteRollout performed",
        ]
    );
    let last = records(&bench).pop().unwrap();
    assert!(
        last["digest"].as_str().unwrap().contains(&in_force),
        "{last} names the bundle {in_force}"
    );
}
