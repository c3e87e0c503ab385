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

/// Whoever took the checkpoint away, or named the wrong directory, is not told that all is well.
#[test]
fn what_is_neither_a_log_nor_a_spool_is_not_in_order() {
    let dir = tempfile::TempDir::new().unwrap();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let data = dir.path().join("data");
    assert!(Dev::start_in(&data, &[]).stop().success());
    std::fs::remove_file(data.join("authority/log/checkpoint")).unwrap();
    for place in [empty, data.join("authority/log"), data.join("authority")] {
        let place = place.display().to_string();
        for command in ["verify", "tail"] {
            let found = cli(&["audit", command, "--dir", &place]);
            assert_eq!(
                (found.code, found.stdout.as_str()),
                (1, ""),
                "{command} {place}: {found:?}"
            );
            assert!(found.stderr.contains("neither"), "{command} {place}: {found:?}");
        }
    }
}

#[test]
fn what_verify_finds_is_json_for_scripts() {
    let dev = Dev::start();
    let id = sign(&dev)["id"].as_str().unwrap().to_owned();
    search(&dev, &["--request", &id]);
    let json = |arguments: &[&str]| {
        let found = dev.cli(&[&["audit", "verify", "--json"], arguments].concat());
        let report: Value = serde_json::from_str(&found.stdout).unwrap_or_else(|error| panic!("{error}: {found:?}"));
        (found.code, report)
    };
    let (code, whole) = json(&["--log"]);
    assert_eq!((code, &whole["faults"]), (0, &json!([])), "{whole}");
    assert!(
        whole["records"].as_u64() > Some(1) && whole["origin"].as_str().is_some(),
        "{whole}"
    );
    let (code, spool) = json(&[]);
    assert_eq!((code, &spool["faults"]), (0, &json!([])), "{spool}");
    assert_eq!(spool["chains"][0]["edge"], "edge-dev", "{spool}");
    let proof = dev.data().join("proof.json").display().to_string();
    dev.cli(&["audit", "prove", "--request", &id.to_ascii_uppercase(), "--out", &proof])
        .success();
    let (code, proven) = json(&["--proof", &proof]);
    assert_eq!((code, &proven["record"]["request_id"]), (0, &json!(id)), "{proven}");

    // A copy is not strewn among other files.
    let (edge, before) = (dev.data().join("edge"), log(&dev));
    let refused = dev.cli(&["audit", "copy", &before, &edge.display().to_string()]);
    assert!(refused.code == 1 && refused.stderr.contains("identity"), "{refused:?}");
    assert!(!edge.join("checkpoint").exists(), "nothing was written");

    let pack = Path::new(&before).join("pack/001");
    let mut bad = std::fs::read(&pack).unwrap();
    bad.pop();
    std::fs::write(&pack, bad).unwrap();
    let (code, damaged) = json(&["--log"]);
    assert_eq!(code, 1, "{damaged}");
    assert!(damaged["faults"][0].as_str().unwrap().contains("leaf 0"), "{damaged}");
}

#[test]
fn an_option_that_means_nothing_is_refused_and_a_mistake_is_named() {
    let dev = Dev::start();
    let minted = dev.cli(&["mint", "api", "--json"]).success();
    let answer = dev.data().join("answer.json").display().to_string();
    std::fs::write(&answer, &minted).unwrap();
    let id = serde_json::from_str::<Value>(&minted).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    search(&dev, &["--request", &id]);
    let says = |arguments: &[&str], code: i32, text: &str| {
        let found = dev.cli(&[&["audit"], arguments].concat());
        assert_eq!(found.code, code, "{arguments:?}: {found:?}");
        assert!(found.stderr.contains(text), "{arguments:?}: {found:?}");
    };
    let log = log(&dev);
    for command in [&["reconcile"][..], &["prove", "--request", &id], &["key"]] {
        says(&[command, &["--authority"]].concat(), 1, "--authority names a spool");
    }
    says(&["key", "--dir", &log], 1, "no directory tells it");
    says(
        &["verify", "--log", "--key", "vkey.txt"],
        1,
        "there is no file of that name",
    );
    says(&["prove", "--request", "nonsense"], 2, "UUID");
    says(&["verify", "--proof", &answer], 1, "carries no proof");
    // A pipe is a file too.
    let shell = format!(
        "{} audit verify --log --data {} --key <(echo {})",
        signet(),
        dev.data().display(),
        key(&dev)
    );
    let piped = system_tests::run(std::process::Command::new("bash").args(["-c", &shell]));
    assert_eq!(piped.code, 0, "{piped:?}");
    // Who has only an edge's disk searches its spool.
    let spool = dev.data().join("edge/audit").display().to_string();
    let found = cli(&["audit", "search", "--dir", &spool, "--request", &id, "--json"]).success();
    assert!(found.lines().count() == 1 && found.contains(&id), "{found}");
    let own = dev
        .cli(&["audit", "search", "--authority", "--profile", "kms:CreateKey"])
        .success();
    assert!(own.lines().all(|line| line.contains("\"edge\":\"authority\"")), "{own}");
}

fn signet() -> String {
    system_tests::signet().display().to_string()
}

/// A process that is ended when dropped.
struct Follower(std::process::Child);

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_follows_an_authority_goes_on_after_its_restart() {
    let dir = tempfile::TempDir::new().unwrap();
    let data = dir.path().join("data");
    let (out, errors) = (dir.path().join("out"), dir.path().join("errors"));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let dev = Dev::start_in(&data, &[]);
    let url = dev.text("/authority/admin");
    let mut follow = std::process::Command::new(signet());
    follow
        .args([
            "audit",
            "tail",
            "--follow",
            "--url",
            &url,
            "--ca-file",
            &dev.text("/ca_file"),
        ])
        .env("SIGNET_ADMIN_TOKEN", dev.text("/admin_token"))
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(std::fs::File::create(&errors).unwrap());
    let mut follower = Follower(follow.spawn().unwrap());
    within(10, "what is there is told", || !read(&out).is_empty());
    assert!(dev.stop().success());
    within(10, "it says what is wrong, and goes on", || {
        assert_eq!(follower.0.try_wait().unwrap(), None, "{}", read(&errors));
        read(&errors).contains("is tried again")
    });
    let port = url.rsplit(':').next().unwrap();
    let dev = Dev::start_in(&data, &["--authority-port", port]);
    let id = sign(&dev)["id"].as_str().unwrap().to_owned();
    within(20, "what came later is told", || read(&out).contains(&id));
    let told = read(&out);
    let lines: std::collections::HashSet<_> = told.lines().collect();
    assert_eq!(lines.len(), told.lines().count(), "nothing is told twice");
    assert_eq!(read(&errors).lines().count(), 1, "once: {}", read(&errors));
}
