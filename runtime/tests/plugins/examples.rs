//! The committed example plugins do what their sources say.

use crate::support::{artifact, example, small_host, token, word};
use runtime::{Argument, Plugin, PluginSource, RuleError, Value, Verdict};
use serde_json::json;

fn claim_guard(config: &[(&str, Value)]) -> Plugin {
    let mut source = PluginSource::new("claim-guard", example("claim-guard"));
    source.config = config
        .iter()
        .map(|(name, value)| (name.to_string(), value.clone()))
        .collect();
    small_host().load(source).unwrap()
}

fn protected_artifact(config: &[(&str, Value)]) -> Plugin {
    let mut source = PluginSource::new("protected-artifact", example("protected-artifact"));
    source.config = config
        .iter()
        .map(|(name, value)| (name.to_string(), value.clone()))
        .collect();
    small_host().load(source).unwrap()
}

fn code(outcome: Result<Verdict, RuleError>) -> String {
    match outcome {
        Err(RuleError::Refused { code, .. }) => code,
        outcome => format!("{} {outcome:?}", word(&outcome)),
    }
}

#[tokio::test]
async fn claim_guard_refuses_caps_and_adds() {
    let plugin = claim_guard(&[
        ("editor_max_seconds", Value::Int(60)),
        ("plan", Value::Text("free".into())),
    ]);
    let role = |role| vec![("role", Argument::Text(role))];
    let roles = vec![("roles", Argument::Texts(vec!["reader", "admin"]))];
    assert_eq!(
        code(plugin.evaluate(&token(role("admin"), vec![])).await),
        "role_not_allowed"
    );
    let plan = vec![("plan".to_owned(), json!("free"))];
    let admin = plugin.evaluate(&token(role("admin"), roles)).await;
    assert_eq!(
        admin,
        Ok(Verdict {
            lifetime_cap: None,
            claims: plan.clone()
        })
    );
    let editor = plugin.evaluate(&token(role("editor"), vec![])).await;
    assert_eq!(
        editor,
        Ok(Verdict {
            lifetime_cap: Some(60),
            claims: plan
        })
    );
    let smuggled = vec![("role", Argument::Json("[\"admin\",1]".into()))];
    assert_eq!(code(plugin.evaluate(&token(smuggled, vec![])).await), "role_not_text");
    assert_eq!(code(plugin.evaluate(&artifact(vec![])).await), "tokens_only");
}

#[tokio::test]
async fn claim_guard_with_wrong_settings_refuses_everything() {
    let plugin = claim_guard(&[("editor_max_seconds", Value::Text("60".into()))]);
    assert_eq!(
        code(plugin.evaluate(&token(vec![], vec![])).await),
        "rule_misconfigured"
    );
    let lines = plugin.metrics().log_lines.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(lines, 1, "and says why in the log");
}

#[tokio::test]
async fn protected_artifact_signs_for_protected_refs() {
    let refs = Value::Texts(vec!["refs/heads/main".into(), "refs/tags/v*".into()]);
    let plugin = protected_artifact(&[("protected_refs", refs.clone())]);
    let by = |name| artifact(vec![("ref", Argument::Text(name))]);
    assert_eq!(plugin.evaluate(&by("refs/heads/main")).await, Ok(Verdict::default()));
    assert_eq!(plugin.evaluate(&by("refs/tags/v1.0")).await, Ok(Verdict::default()));
    assert_eq!(
        code(plugin.evaluate(&by("refs/heads/topic")).await),
        "ref_not_protected"
    );
    assert_eq!(code(plugin.evaluate(&artifact(vec![])).await), "ref_missing");
    assert_eq!(code(plugin.evaluate(&token(vec![], vec![])).await), "artifacts_only");
    let lenient = protected_artifact(&[("protected_refs", refs), ("enforce", Value::Bool(false))]);
    assert_eq!(lenient.evaluate(&by("refs/heads/topic")).await, Ok(Verdict::default()));
}

/// All cases of `value`, the options and the largest lists get to a guest and back.
#[tokio::test]
async fn a_large_request_is_handed_over_whole() {
    let plugin = claim_guard(&[("plan", Value::Text("p".repeat(5_000)))]);
    let names: Vec<String> = (0..64).map(|number| format!("claim{number:02}")).collect();
    let value = "v".repeat(1_000);
    let mut claims: Vec<(&str, Argument)> = names
        .iter()
        .map(|name| (name.as_str(), Argument::Text(&value)))
        .collect();
    claims.push(("role", Argument::Text("admin")));
    let attributes = vec![
        ("a", Argument::Int(i64::MIN)),
        ("b", Argument::Float(-0.5)),
        ("c", Argument::Bool(true)),
        ("d", Argument::Json("{}".into())),
        ("roles", Argument::Texts(vec!["x"; 500])),
    ];
    assert_eq!(
        code(plugin.evaluate(&token(claims.clone(), attributes)).await),
        "role_not_allowed"
    );
    let verdict = plugin
        .evaluate(&token(claims, vec![("roles", Argument::Text("admin"))]))
        .await
        .unwrap();
    assert_eq!(verdict.claims, [("plan".to_owned(), json!("p".repeat(5_000)))]);
}

#[test]
fn the_committed_components_are_those_of_the_sums() {
    use sha2::{Digest, Sha256};
    let sums = include_str!("../../../plugins/examples/SHA256SUMS");
    let listed: Vec<(&str, &str)> = sums.lines().filter_map(|line| line.split_once("  ")).collect();
    assert_eq!(listed.len(), 11, "{sums}");
    for (sum, file) in listed {
        let path = format!("{}/../plugins/examples/{file}", env!("CARGO_MANIFEST_DIR"));
        let wasm = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let digest: String = Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, sum, "{file}: run plugins/build.sh --update");
        let name = file
            .rsplit('/')
            .next()
            .and_then(|name| name.strip_suffix(".wasm"))
            .unwrap();
        if ["claim-guard", "protected-artifact"].contains(&name) {
            assert_eq!(example(name), wasm, "{name} of the bundle of `signet dev`");
        }
        let mut source = PluginSource::new(name, wasm);
        source.imports = ["log", "config", "counter", "lookup", "digest"]
            .map(str::to_owned)
            .to_vec();
        let plugin = small_host().load(source).unwrap();
        assert_eq!(
            plugin
                .digest()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>(),
            sum
        );
    }
}
