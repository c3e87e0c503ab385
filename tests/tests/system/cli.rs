//! The binary in the hands of a person: the load generator, mistakes, help, and pipes that end early.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
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
            (&300.into(), &json!({})),
            "{report}"
        );
        assert_eq!(report["verified"]["valid"], 30, "{report}");
        assert_eq!(report["verified"]["invalid"], json!({}), "{report}");
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
    let bundle = bundle(&dir);
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

/// A copy of the bundle of `signet dev`.
fn bundle(dir: &TempDir) -> PathBuf {
    let bundle = dir.path().join("bundle");
    let dev = system_tests::checkout().join("deploy/dev/bundle");
    run(Command::new("cp").arg("-r").arg(dev).arg(&bundle)).success();
    bundle
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn a_script_reads_what_a_check_of_a_bundle_finds() {
    let dir = TempDir::new().unwrap();
    let bundle = bundle(&dir);
    let check = |more: &[&str]| run(Command::new(signet()).args(["policy", "check"]).arg(&bundle).args(more));
    let text = check(&[]).success();
    let good = check(&["--json"]);
    let found = parsed(&good);
    assert_eq!((good.code, good.stderr.as_str()), (0, ""), "{good:?}");
    assert_eq!(
        (&found["valid"], &found["findings"]),
        (&true.into(), &json!([])),
        "{found}"
    );
    assert!(text.contains(found["digest"].as_str().unwrap()), "{text} {found}");
    let profiles = found["profiles"].as_array().unwrap();
    assert!(profiles.contains(&"api".into()), "{found}");
    let counts = format!("ok: {} profiles, {} policy file", profiles.len(), found["policy_files"]);
    assert!(text.starts_with(&counts), "{text} {found}");

    // Odd things are in the object only, and mistakes in both.
    let core = b"\0asm\x01\0\0\0";
    std::fs::write(bundle.join("plugins/other.wasm"), core).unwrap();
    let odd = check(&["--json"]);
    let found = parsed(&odd);
    assert_eq!((odd.code, odd.stderr.as_str()), (0, ""), "{odd:?}");
    let warning = &found["warnings"][0];
    assert_eq!(warning["file"], "plugins/other.wasm", "{found}");
    assert_eq!(warning["hint"], "name it in bundle.toml, or remove it", "{found}");
    let manifest = std::fs::read_to_string(bundle.join("bundle.toml")).unwrap();
    let other = "\n[[plugins]]\nname = \"other\"\nfile = \"plugins/other.wasm\"\n";
    std::fs::write(bundle.join("bundle.toml"), format!("{manifest}{other}")).unwrap();
    let wrong = check(&["--json"]);
    let found = parsed(&wrong);
    assert_eq!((wrong.code, &found["valid"]), (1, &false.into()), "{wrong:?}");
    assert_eq!(found["findings"][0]["file"], "plugins/other.wasm", "{found}");
    assert!(found["digest"].is_string(), "it holds together: {found}");
    assert_eq!(wrong.stderr, check(&[]).stderr);

    std::fs::write(bundle.join("bundle.toml"), manifest).unwrap();
    let policies = bundle.join("policies");
    std::fs::write(policies.join("more.cedar"), "permit (principal").unwrap();
    let wrong = check(&["--json"]);
    let found = parsed(&wrong);
    let one = &found["findings"][0];
    let place = (&one["file"], &one["line"], &one["column"]);
    assert_eq!(place, (&"policies/more.cedar".into(), &1.into(), &18.into()), "{found}");
    let of_bundle = (&found["valid"], &found["digest"], &found["profiles"]);
    assert_eq!(of_bundle, (&false.into(), &Value::Null, &Value::Null), "{found}");
    assert!(
        wrong.code == 1 && wrong.stderr.contains("policies/more.cedar:1:18: "),
        "{wrong:?}"
    );
}

#[test]
fn a_script_reads_what_the_cases_of_a_bundle_came_to() {
    let dir = TempDir::new().unwrap();
    let bundle = bundle(&dir);
    let test = |more: &[&str]| run(Command::new(signet()).args(["policy", "test"]).arg(&bundle).args(more));
    let good = test(&["--json"]);
    let found = parsed(&good);
    let cases = found["cases"].as_array().unwrap();
    assert_eq!((good.code, good.stderr.as_str()), (0, ""), "{good:?}");
    assert_eq!(
        (&found["passed"], &found["failed"]),
        (&cases.len().into(), &0.into()),
        "{found}"
    );
    assert!(
        cases
            .iter()
            .all(|case| case["passed"] == true && case["failure"].is_null() && case["actual"].is_object()),
        "{found}"
    );

    // One comes to something else, one has a half only.
    let [first, second, ..] = cases.as_slice() else {
        panic!("{found}")
    };
    let [first, second] = [first, second].map(|case| bundle.join("cases").join(case["name"].as_str().unwrap()));
    let expected = json!({"decision": "deny", "code": "no_such_code"});
    std::fs::write(first.join("expected.json"), expected.to_string()).unwrap();
    std::fs::remove_file(second.join("expected.json")).unwrap();
    let wrong = test(&["--json"]);
    let found = parsed(&wrong);
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert_eq!(wrong.stderr, "signet: not every case came out as expected\n");
    assert_eq!(found["failed"], 2, "{found}");
    let (one, other) = (&found["cases"][0], &found["cases"][1]);
    assert_eq!(
        (&one["passed"], &one["expected"]),
        (&false.into(), &expected),
        "{found}"
    );
    assert!(one["actual"]["decision"].is_string(), "{found}");
    assert!(
        other["actual"].is_null() && other["failure"].as_str().unwrap().contains("expected.json"),
        "{found}"
    );
    let text = test(&[]);
    let line = format!(
        "FAILED  {}: {}",
        one["name"].as_str().unwrap(),
        one["failure"].as_str().unwrap()
    );
    assert!(text.code == 1 && text.stdout.contains(&line), "{text:?} {line}");

    std::fs::remove_dir_all(bundle.join("cases")).unwrap();
    let none = test(&["--json"]);
    assert_eq!(parsed(&none), json!({"passed": 0, "failed": 0, "cases": []}));
    assert!(none.code == 1 && none.stderr.contains("has no cases"), "{none:?}");
    std::fs::remove_file(bundle.join("bundle.toml")).unwrap();
    failed(&test(&["--json"]), 1, &["bundle.toml"]);
}
