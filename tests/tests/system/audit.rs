//! Who signed what: records of edge and authority in one log, proven, verified, reconciled, by the commands that people type.

use std::path::Path;

use serde_json::{Value, json};
use system_tests::{Dev, within};

/// The records of a search, once there is one.
fn search(dev: &Dev, filter: &[&str]) -> Vec<Value> {
    let arguments = [&["audit", "search"], filter].concat();
    let mut lines = String::new();
    within(10, "the record is in the log", || {
        lines = dev.cli(&arguments).success();
        !lines.is_empty()
    });
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sign(dev: &Dev) -> Value {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let answer = dev
        .curl("/v1/signatures/release")
        .post(&json!({"digest": digest}).to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn key(dev: &Dev) -> String {
    dev.cli(&["audit", "key"]).success().trim().to_owned()
}

fn log(dev: &Dev) -> String {
    dev.data().join("authority/log").display().to_string()
}

// R32
#[test]
fn a_signature_is_found_and_proven_and_the_log_verifies_offline() {
    let dir = tempfile::TempDir::new().unwrap();
    let data = dir.path().join("data");
    let dev = Dev::start_in(&data, &[]);
    dev.mint("api", r#"{"subject":"alice"}"#);
    let id = sign(&dev)["id"].as_str().unwrap().to_owned();
    let found = search(&dev, &["--request", &id]);
    assert_eq!(
        (found.len(), &found[0]["outcome"], &found[0]["profile"]),
        (1, &json!("signed"), &json!("release"))
    );
    // What the authority did is in the same log, and so are refusals.
    assert!(!search(&dev, &["--edge", "authority", "--profile", "admin:CreateJoinToken"]).is_empty());
    dev.cli(&["keys", "describe", "alias/nothing"]);
    let refused = search(&dev, &["--edge", "authority", "--outcome", "refused"]);
    assert_eq!(refused[0]["code"], "NotFoundException", "{refused:?}");

    let (key, proof) = (key(&dev), dir.path().join("proof.json"));
    let place = proof.display().to_string();
    dev.cli(&["audit", "prove", "--request", &id, "--out", &place])
        .success();
    let vkey = dir.path().join("vkey.txt");
    std::fs::write(&vkey, format!("{key}\n")).unwrap();
    let shown = dev
        .cli(&[
            "audit",
            "verify",
            "--proof",
            &place,
            "--key",
            &vkey.display().to_string(),
        ])
        .success();
    assert!(
        shown.contains(&id) && shown.contains("the record is in the log"),
        "{shown}"
    );
    let asked = dev.cli(&[
        "audit",
        "prove",
        "--request",
        &id,
        "--url",
        &dev.text("/authority/admin"),
    ]);
    assert_ne!(asked.code, 0, "another address needs a token");

    let seen = dev.data().join("edge/audit-checkpoint").display().to_string();
    dev.mint("api", r#"{"subject":"bob"}"#);
    within(10, "the edge keeps a checkpoint", || Path::new(&seen).is_file());
    assert!(dev.stop().success());
    // Started again: what was left in the spools follows.
    let dev = Dev::start_in(&data, &[]);
    assert_eq!(self::key(&dev), key);
    search(&dev, &["--edge", "edge-dev", "--from", "0"]);
    within(10, "the end of the first process is in the log", || {
        let accounts = dev.cli(&["audit", "reconcile", "--json"]).success();
        let accounts: Value = serde_json::from_str(&accounts).unwrap();
        let ended = accounts["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|account| account["end"] == "stopped");
        ended.count() >= 2
    });
    assert!(dev.stop().success());
    let verified = cli(&[
        "audit",
        "verify",
        "--dir",
        &in_data(&data),
        "--key",
        &key,
        "--seen",
        &seen,
    ])
    .success();
    assert!(verified.contains("it grew from the checkpoints seen (1)"), "{verified}");
    let whole = cli(&["audit", "tail", "--dir", &in_data(&data)]).success();
    assert!(whole.contains(&id), "{whole}");
}

fn in_data(data: &Path) -> String {
    data.join("authority/log").display().to_string()
}

fn cli(arguments: &[&str]) -> system_tests::Output {
    system_tests::run(std::process::Command::new(system_tests::signet()).args(arguments))
}

/// What `verify` and `reconcile` say of logs that somebody changed.
#[test]
fn a_log_that_was_changed_is_found_out() {
    let dev = Dev::start();
    let id = sign(&dev)["id"].as_str().unwrap().to_owned();
    search(&dev, &["--request", &id]);
    let (key, log) = (key(&dev), log(&dev));
    assert!(
        dev.cli(&["audit", "verify", "--log"])
            .success()
            .contains("every signature, hash and chain holds")
    );
    let pack = Path::new(&log).join("pack/001");
    let whole = std::fs::read(&pack).unwrap();
    let mut bad = whole.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&pack, bad).unwrap();
    let found = dev.cli(&["audit", "verify", "--log", "--key", &key]);
    assert_eq!(found.code, 1, "{found:?}");
    assert!(found.stdout.contains("fault: the records of leaf"), "{found:?}");
    std::fs::write(&pack, whole).unwrap();
    let stranger = "example.org/audit/00000000+00000000+AAAA";
    let found = dev.cli(&["audit", "verify", "--log", "--key", stranger]);
    assert!(
        found.code == 1 && found.stderr.contains("is no verifier key"),
        "{found:?}"
    );
    let nothing = dev.cli(&["audit", "search", "--from", "yesterday"]);
    assert!(nothing.code == 2 && nothing.stderr.contains("2026-"), "{nothing:?}");
    let nothing = dev.cli(&["audit", "prove", "--request", "00000000-0000-0000-0000-000000000000"]);
    assert!(
        nothing.code == 1 && nothing.stderr.contains("no such record"),
        "{nothing:?}"
    );
}
