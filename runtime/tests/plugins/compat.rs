//! Components that were built against `signet:rule@1.0.0` and are never built again: they load and answer as ever.

use crate::support::{artifact, small_host, token, word};
use runtime::{Argument, PluginSource, Value};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/compat");
    let wasm = std::fs::read(folder.join(name)).unwrap();
    let sum: String = Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect();
    let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    assert!(sums.contains(&format!("{sum}  {name}\n")), "{name} was changed");
    let import = b"signet:rule/log@1.0.0";
    assert!(
        wasm.windows(import.len()).any(|window| window == import),
        "{name} was built for another version"
    );
    wasm
}

#[tokio::test]
async fn guests_of_1_0_0_run_on_this_host() {
    let host = small_host();
    let mut guard = PluginSource::new("claim-guard", fixture("claim-guard.wasm"));
    guard.config.insert("editor_max_seconds".into(), Value::Int(60));
    guard.config.insert("plan".into(), Value::Text("free".into()));
    let guard = host.load(guard).unwrap();
    let editor = token(vec![("role", Argument::Text("editor"))], vec![]);
    assert_eq!(guard.evaluate(&editor).await.unwrap().lifetime_cap, Some(60));
    let admin = token(vec![("role", Argument::Text("admin"))], vec![]);
    assert_eq!(word(&guard.evaluate(&admin).await), "refused");

    let branch = PluginSource::new("protected-artifact", fixture("protected-artifact.wasm"));
    let branch = host.load(branch).unwrap();
    assert_eq!(word(&branch.evaluate(&artifact(vec![])).await), "refused");
}
