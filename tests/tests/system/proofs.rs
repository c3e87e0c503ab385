//! Audit mode `witness`: what an edge answers is proven to be on record, and nothing leaves that is not.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use system_tests::{Dev, Output, run, signet, within};

use crate::production::site::{Hsm, Site};

/// `signet` somewhere without an authority.
fn offline(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(signet());
    run(command.args(arguments).current_dir(directory))
}

/// Copies of two profiles in mode `witness`, in use.
fn witnessed(dev: &Dev) {
    let profiles = dev.data().join("bundle/profiles");
    for name in ["session", "release"] {
        let text = std::fs::read_to_string(profiles.join(format!("{name}.toml"))).unwrap();
        let text = format!("audit = \"witness\"\n{text}");
        std::fs::write(profiles.join(format!("proven-{name}.toml")), text).unwrap();
    }
    let bundle = dev.data().join("bundle").display().to_string();
    dev.cli(&["bundle", "apply", &bundle]).success();
    within(20, "the edge has the profiles", || {
        dev.curl("/v1/tokens/proven-session").post("{}").status != 404
    });
}

// R32
#[test]
fn an_answer_in_mode_witness_is_verified_offline_with_the_logs_key_alone() {
    let dev = Dev::start();
    witnessed(&dev);
    let away = tempfile::TempDir::new().unwrap();
    let write = |name: &str, answer: &Value| std::fs::write(away.path().join(name), answer.to_string()).unwrap();
    let key = dev.cli(&["audit", "key"]).success();
    std::fs::write(away.path().join("vkey.txt"), &key).unwrap();
    let verify = |name: &str| {
        let arguments = ["audit", "verify", "--proof", name, "--key", "vkey.txt"];
        offline(away.path(), &arguments)
    };

    let minted = dev.cli(&["mint", "proven-session", "--subject", "alice", "--json"]);
    let token: Value = serde_json::from_str(&minted.success()).unwrap();
    let digest = format!("sha256:{}", "ab".repeat(32));
    let signed = dev
        .curl("/v1/signatures/proven-release")
        .post(&json!({"digest": digest}).to_string());
    assert_eq!(signed.status, 201, "{signed:?}");
    for (name, answer) in [("token.json", &token), ("signature.json", &signed.json())] {
        write(name, answer);
        let shown = verify(name).success();
        let id = answer["id"].as_str().unwrap();
        assert!(
            shown.contains(id) && shown.contains("the record is in the log"),
            "{shown}"
        );
        assert!(answer["proof"].to_string().len() < 64 << 10);
        write(name, &answer["proof"]);
        verify(name).success();
    }

    // The other modes' answers have none, and other people's records are in no proof.
    let other = dev
        .curl("/v1/tokens/session")
        .post(r#"{"subject":"canary-bob"}"#)
        .json();
    let plain = dev
        .curl("/v1/signatures/release")
        .post(&json!({"digest": digest}).to_string())
        .json();
    assert_eq!((other.get("proof"), plain.get("proof")), (None, None));
    let again = dev.curl("/v1/tokens/proven-session").post("{}").json();
    let bytes = again["proof"]["record"].as_str().unwrap();
    let record = again["proof"].to_string();
    assert!(!bytes.is_empty() && !record.contains(other["id"].as_str().unwrap()));
    write("again.json", &again);
    assert_eq!(
        verify("again.json").success().lines().count(),
        2,
        "one record and what it is under"
    );

    let (input, signature) = token["token"].as_str().unwrap().rsplit_once('.').unwrap();
    for (name, bytes, code) in [("input", input, 0), ("signature", signature, 1), ("nothing", "", 1)] {
        std::fs::write(away.path().join(name), bytes).unwrap();
        let arguments = [
            "audit",
            "verify",
            "--proof",
            "token.json",
            "--key",
            "vkey.txt",
            "--signed",
            name,
        ];
        let found = offline(away.path(), &arguments);
        assert_eq!(found.code, code, "{name}: {found:?}");
        assert_eq!(found.stderr.contains("is not what was signed"), code == 1, "{found:?}");
    }

    for (what, at, to) in [
        ("another answer's", "/proof", again["proof"].clone()),
        ("another token", "/token", again["token"].clone()),
        ("another id", "/id", again["id"].clone()),
        ("another record", "/proof/record", again["proof"]["record"].clone()),
        ("another leaf", "/proof/leaf", again["proof"]["leaf"].clone()),
        ("another place", "/proof/leaf_index", json!(0)),
        ("a shorter path", "/proof/leaf_path", json!([])),
        (
            "another log",
            "/proof/checkpoint",
            json!("example.org/audit\n1\nAAAA\n\n"),
        ),
    ] {
        let mut tampered = token.clone();
        *tampered.pointer_mut(at).unwrap() = to;
        assert_ne!(tampered, token, "{what}");
        write("tampered.json", &tampered);
        let found = verify("tampered.json");
        assert!(found.code == 1 && found.stdout.is_empty(), "{what}: {found:?}");
    }
    let none = Dev::start();
    let stranger = none.cli(&["audit", "key"]).success();
    std::fs::write(away.path().join("vkey.txt"), stranger).unwrap();
    let found = verify("again.json");
    assert!(
        found.code == 1 && found.stderr.contains("is not signed by"),
        "{found:?}"
    );
}

#[test]
fn without_the_authority_nothing_that_needs_a_proof_leaves() {
    let mut site = Site::walk(Hsm::Software);
    site.bash(
        "echo 'audit = \"witness\"' >> bundle/profiles/api.toml
        signet bundle apply ./bundle",
    )
    .success();
    within(20, "the edge has the profile", || {
        let answer = site.mint();
        answer.status == 201 && answer.json().get("proof").is_some()
    });
    site.authority.take().unwrap().stop();
    let begun = Instant::now();
    let refused = site.mint();
    let took = begun.elapsed();
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (503, "audit_unavailable"),
        "{refused:?}"
    );
    assert_eq!(refused.field("retry-after").as_deref(), Some("1"));
    assert!(refused.json().get("token").is_none());
    assert!(took < Duration::from_secs(15), "{took:?}");
    site.start_authority();
    within(30, "it signs again", || site.mint().status == 201);
}
