//! The binary in the hands of a person: the load generator, mistakes, help, and pipes that end early.

use std::process::Command;

use serde_json::Value;
use system_tests::{Dev, Output, run, signet};
use tempfile::TempDir;

const COMMANDS: [&str; 25] = [
    "dev",
    "rollout",
    "mint",
    "sign",
    "verify",
    "jwks",
    "keys",
    "tenants",
    "access-keys",
    "approvals",
    "stop",
    "resume",
    "edges",
    "bundle",
    "policy",
    "plugin",
    "report",
    "audit",
    "load",
    "backup",
    "restore",
    "store",
    "witness",
    "authority",
    "edge",
];

#[test]
fn load_drives_every_protocol_and_verifies_a_sample() {
    let dev = Dev::start();
    for protocol in ["h1", "h2", "h3"] {
        let output = dev.cli(&[
            "load",
            "--protocol",
            protocol,
            "--requests",
            "300",
            "--connections",
            "4",
            "--verify-every",
            "10",
            "--json",
        ]);
        let report: Value = serde_json::from_str(&output.success()).unwrap();
        assert_eq!(report["protocol"], protocol);
        assert_eq!(
            (&report["requests"], &report["errors"]),
            (&300.into(), &serde_json::json!({})),
            "{report}"
        );
        assert_eq!(report["verified"]["valid"], 30, "{report}");
        assert_eq!(report["verified"]["invalid"], serde_json::json!({}), "{report}");
        assert!(report["p50_us"].as_u64().unwrap() > 0, "{report}");
    }
    let text = dev.cli(&["load", "--requests", "20", "--verify-every", "1"]).success();
    assert!(text.contains("tokens verified: 20"), "{text}");
    let unknown = dev.cli(&["load", "--profile", "nothing", "--requests", "5"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.stdout.contains("5 × unknown_profile"), "{unknown:?}");
}

fn failed(output: &Output, code: i32, words: &[&str]) {
    assert_eq!((output.code, output.stdout.as_str()), (code, ""), "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "`{word}` is not in {output:?}");
    }
    assert!(!output.stderr.contains('\u{1b}'), "no colour codes: {output:?}");
    assert!(!output.stderr.contains("panicked"), "{output:?}");
}

#[test]
fn mistakes_are_answered_with_what_was_wrong() {
    let dev = Dev::start();
    let data = dev.data().display().to_string();
    let cases: [(&[&str], &[&str]); 18] = [
        (&["mint", "nothing", "-s", "alice"], &["404 unknown_profile"]),
        (
            &["mint", "api", "-s", "root"],
            &["403 policy_denied", "no-root-subject"],
        ),
        (
            &["mint", "api", "-s", "alice", "--lifetime", "999999"],
            &["422 lifetime_too_long"],
        ),
        (
            &["mint", "api", "-s", "alice", "--http3", "-c", "role=admin"],
            &["403 rule_refused", "role_not_allowed"],
        ),
        (
            &["sign", "release", "no-such-file"],
            &["`no-such-file`", "No such file"],
        ),
        (&["sign", "nothing", "/dev/null"], &["404 unknown_profile"]),
        (
            &["keys", "describe", "alias/nothing"],
            &["NotFoundException", "alias/nothing"],
        ),
        (&["keys", "disable", "alias/dev-api", "--tenant", "9"], &["12 digits"]),
        (&["tenants", "create", "12"], &["12 digits"]),
        (&["edges", "token", "Not_An_Id"], &["Not_An_Id"]),
        (&["bundle", "apply", "no-such-dir"], &["no-such-dir"]),
        (&["jwks", "show", "nothing"], &["404 not_found"]),
        (&["audit", "tail", "--dir", "no-such-dir"], &["no-such-dir"]),
        (&["report", "unused", "--days", "0"], &["`days`", "1 to 3650"]),
        (
            &["report", "access", "alias/nothing"],
            &["NotFoundException", "alias/nothing"],
        ),
        (
            &["report", "usage", "--tenant", "999999999999"],
            &["404 not_found", "999999999999"],
        ),
        (
            &["keys", "reencrypt", "/dev/null", "--to", "alias/nothing"],
            &["NotFoundException", "alias/nothing"],
        ),
        (
            &["keys", "reencrypt", "/dev/null", "--to", "alias/dev-api"],
            &["ECC_NIST_P256", "symmetric"],
        ),
    ];
    for (arguments, words) in cases {
        failed(&dev.cli(arguments), 1, words);
    }
    let refused = dev.cli(&["verify", "not-a-token"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("malformed_token"), "{refused:?}");
    let twice = dev.cli(&["keys", "create", "--alias", "alias/dev-api"]);
    failed(&twice, 1, &["the key ", "was made, its alias was not"]);
    drop(dev);
    let ended = run(Command::new(signet()).args(["mint", "api", "--data", &data]));
    failed(&ended, 1, &["signet dev"]);
}

#[test]
fn wrong_usage_is_exit_code_2_and_needs_no_server() {
    let cases: [(&[&str], &[&str]); 13] = [
        (&[], &["Usage:"]),
        (&["mnit"], &["mint"]),
        (&["mint"], &["<PROFILE>"]),
        (&["mint", "api", "--claim", "scope"], &["scope", "NAME=TEXT"]),
        (&["mint", "api", "--claim", "level:=three"], &["level", "not JSON"]),
        (&["mint", "api", "--lifetime", "5m"], &["--lifetime"]),
        (&["keys", "create", "--spec", "RSA_1024"], &["ECC_NIST_P256"]),
        (&["load", "--protocol", "h4"], &["h1, h2, h3"]),
        (&["keys", "schedule-deletion", "alias/x", "--days", "3"], &["7..=30"]),
        (&["keys", "owner", "alias/x"], &["--owner"]),
        (&["keys", "reencrypt", "list"], &["--to"]),
        (
            &["keys", "reencrypt", "list", "--to", "k", "--context", "x"],
            &["KEY=VALUE"],
        ),
        (&["report", "usage", "--by", "colour"], &["tenant", "operation"]),
    ];
    for (arguments, words) in cases {
        failed(&run(Command::new(signet()).args(arguments)), 2, words);
    }
    let nowhere = run(Command::new(signet()).args(["mint", "api", "--data", "no-such-dir"]));
    failed(&nowhere, 1, &["no-such-dir", "signet dev --data no-such-dir", "--edge"]);
    let nowhere = run(Command::new(signet()).args(["keys", "list", "--data", "no-such-dir"]));
    failed(&nowhere, 1, &["no-such-dir", "--authority"]);
    let nobody = run(Command::new(signet()).env_remove("SIGNET_ADMIN_TOKEN").args([
        "keys",
        "list",
        "--authority",
        "https://localhost:1",
    ]));
    failed(&nobody, 1, &["SIGNET_ADMIN_TOKEN", "--admin-token-file"]);
    let away =
        run(Command::new(signet())
            .env("SIGNET_TOKEN", "x")
            .args(["mint", "api", "--edge", "https://localhost:1"]));
    failed(&away, 1, &["localhost:1"]);
}

#[test]
fn every_subcommand_has_help_with_examples() {
    let help = run(Command::new(signet()).arg("--help")).success();
    for command in COMMANDS {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(&format!("{command} "))),
            "{command}"
        );
        let text = run(Command::new(signet()).args([command, "--help"])).success();
        assert!(text.contains(&format!("Examples:\n  signet {command}")), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        for verb in listed(&text).filter(|verb| verb != "help") {
            let text = run(Command::new(signet()).args([command, &verb, "--help"])).success();
            assert!(
                text.contains(&format!("Examples:\n  signet {command} {verb}")),
                "{text}"
            );
        }
    }
    assert_eq!(
        listed(&help).count(),
        COMMANDS.len() + 1,
        "every command is looked at, and `help`: {help}"
    );
}

/// The commands that a help text lists.
fn listed(help: &str) -> impl Iterator<Item = String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.strip_prefix("  ")?.split_once(' '))
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, _)| name.to_owned())
}

#[test]
fn a_reader_that_goes_early_is_no_failure() {
    let dev = Dev::start();
    for _ in 0..3 {
        dev.mint("api", r#"{"subject":"alice"}"#);
    }
    let dir = TempDir::new().unwrap();
    let bash = |script: &str| {
        let script = format!("set -o pipefail; {script}");
        run(Command::new("timeout")
            .args(["20", "bash", "-c", &script])
            .current_dir(dir.path())
            .env("S", signet())
            .env("D", dev.data()))
    };
    for script in [
        "\"$S\" --help | head -1",
        "\"$S\" keys list --data \"$D\" | head -1",
        "\"$S\" jwks show dev --data \"$D\" | head -1",
        "\"$S\" keys list --data nowhere 2>&1 >/dev/null | true; true",
    ] {
        let output = bash(script);
        assert_eq!(output.code, 0, "{script}: {output:?}");
        assert!(!output.stderr.contains("panicked"), "{script}: {output:?}");
    }
    // One that follows ends once it has something to say and nobody to say it to.
    let minting = "while sleep 0.1; do \"$S\" mint api -s alice --data \"$D\" >/dev/null; done & M=$!;";
    let output = bash(&format!(
        "{minting} \"$S\" audit tail --follow --data \"$D\" | head -1; R=$?; kill $M; exit $R"
    ));
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.stdout.lines().count(), 1, "{output:?}");
}

#[test]
fn a_check_of_a_bundle_finds_what_would_keep_it_from_being_applied() {
    let dir = TempDir::new().unwrap();
    let bundle = dir.path().join("bundle");
    let dev = system_tests::checkout().join("deploy/dev/bundle");
    run(Command::new("cp").arg("-r").arg(dev).arg(&bundle)).success();
    let check = || run(Command::new(signet()).args(["policy", "check"]).arg(&bundle));
    let manifest = std::fs::read_to_string(bundle.join("bundle.toml")).unwrap();
    let with = |more: &str| std::fs::write(bundle.join("bundle.toml"), format!("{manifest}{more}")).unwrap();
    let good = check();
    assert!(good.code == 0 && !good.stderr.contains("warning"), "{good:?}");
    // A core module is no component.
    std::fs::write(bundle.join("plugins/other.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let odd = check();
    assert!(odd.code == 0 && odd.stderr.contains("plugins/other.wasm"), "{odd:?}");
    with("\n[[plugins]]\nname = \"other\"\nfile = \"plugins/other.wasm\"\n");
    failed(&check(), 1, &["plugins/other.wasm", "component"]);
    let guard = bundle.join("plugins/claim-guard.wasm");
    std::fs::copy(&guard, bundle.join("plugins/other.wasm")).unwrap();
    with("\n[[plugins]]\nname = \"other\"\nfile = \"plugins/other.wasm\"\nimports = []\n");
    failed(&check(), 1, &["plugins/other.wasm", "imports"]);
    std::fs::write(bundle.join("plugins/nets.csv"), "10.0.0.1/8,a\n").unwrap();
    with(
        "\n[[plugins]]\nname = \"other\"\nfile = \"plugins/other.wasm\"\n\
         [plugins.tables.nets]\nfile = \"plugins/nets.csv\"\nkind = \"prefix\"\n",
    );
    failed(&check(), 1, &["plugins/nets.csv"]);
}
