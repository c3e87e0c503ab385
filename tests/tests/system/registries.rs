//! A rule in a registry: pushed with a key of the authority, pulled where it is signed, and named by a bundle.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use system_tests::registry::{Asked, Fake, PASSWORD, Registry, Said, USER, log_in};
use system_tests::{Dev, Output, checkout, run, signet};
use tempfile::TempDir;

const RULE: &str = "plugins/examples/network-lifetime/network-lifetime.wasm";
const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// `signet plugin …` in `dir`, which is also where docker's configuration is.
fn plugin(dir: &Path, arguments: &[&str]) -> Output {
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(signet());
    run(command
        .arg("plugin")
        .args(arguments)
        .current_dir(dir)
        .env("DOCKER_CONFIG", dir)
        .env("PATH", path))
}

fn failed(output: &Output, words: &[&str]) {
    assert_eq!(output.code, 1, "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "`{word}` is not in {output:?}");
    }
    assert!(
        !output.stderr.contains("panicked") && !output.stderr.contains(PASSWORD),
        "{output:?}"
    );
}

fn rule() -> String {
    checkout().join(RULE).display().to_string()
}

/// A key that signs plugins, with its public half in `dir/NAME.pub`.
fn key(dev: &Dev, dir: &Path, name: &str) -> String {
    let alias = format!("alias/{name}");
    dev.cli(&["keys", "create", "--alias", &alias, "--spec", "ECC_NIST_P256"])
        .success();
    let pem = dev.cli(&["keys", "public-key", &alias]).success();
    std::fs::write(dir.join(format!("{name}.pub")), pem).unwrap();
    alias
}

#[test]
fn a_rule_goes_through_a_registry_with_a_password_into_a_bundle() {
    let (dev, registry, dir) = (Dev::start(), Registry::with_password(), TempDir::new().unwrap());
    let (here, data) = (dir.path(), dev.data().display().to_string());
    let alias = key(&dev, here, "plugins");
    key(&dev, here, "others");
    let to = format!("oci://{}/acme/network-lifetime:1.0", registry.host);
    let rule = rule();
    let push = ["push", rule.as_str(), &to, "--key", &alias, "--data", &data];
    failed(
        &plugin(here, &push),
        &["401", &format!("docker login {}", registry.host)],
    );
    log_in(here, &registry.host);
    let pinned = plugin(here, &push).success().trim().to_owned();
    assert!(
        pinned.starts_with(&format!("oci://{}/acme/network-lifetime@sha256:", registry.host)),
        "{pinned}"
    );
    assert_eq!(
        plugin(here, &push).success().trim(),
        pinned,
        "the same rule is the same artifact"
    );

    for from in [&to, &pinned] {
        let pulled = plugin(here, &["pull", from, "--key", "plugins.pub", "--out", "rule.wasm"]).success();
        assert_eq!(pulled.trim(), pinned);
        assert_eq!(
            std::fs::read(here.join("rule.wasm")).unwrap(),
            std::fs::read(&rule).unwrap()
        );
        std::fs::remove_file(here.join("rule.wasm")).unwrap();
    }
    let verified = plugin(here, &["verify", &to, "--key", "plugins.pub", "--json"]).success();
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(
        verified["signed_as"],
        format!("{}/acme/network-lifetime", registry.host),
        "{verified}"
    );
    failed(
        &plugin(here, &["pull", &to, "--key", "others.pub", "--out", "rule.wasm"]),
        &["not signed by that key"],
    );
    assert!(!here.join("rule.wasm").exists());

    names_it_in_a_bundle(&dev, here, &pinned);
}

fn names_it_in_a_bundle(dev: &Dev, here: &Path, pinned: &str) {
    let bundle = dev.data().join("bundle");
    let manifest = std::fs::read_to_string(bundle.join("bundle.toml")).unwrap();
    let apply = |key: &str| {
        std::fs::copy(here.join(key), bundle.join("trust").join(key)).unwrap();
        let source = format!("source = {{ artifact = \"{pinned}\", key = \"trust/{key}\" }}");
        let entry = format!("\n[[plugins]]\nname = \"network\"\nfile = \"plugins/network.wasm\"\n{source}\n");
        std::fs::write(bundle.join("bundle.toml"), format!("{manifest}{entry}")).unwrap();
        let mut command = Command::new(signet());
        let arguments = ["bundle", "apply", bundle.to_str().unwrap(), "--data"];
        let output = run(command.args(arguments).arg(dev.data()).env("DOCKER_CONFIG", here));
        std::fs::remove_file(bundle.join("trust").join(key)).unwrap();
        output
    };
    let refused = apply("others.pub");
    failed(&refused, &["bundle.toml: plugins[", "not signed by that key"]);
    let applied = apply("plugins.pub").success();
    assert!(applied.contains("+ plugins/network.wasm"), "{applied}");
    std::fs::write(bundle.join("plugins/network.wasm"), b"\0asm another").unwrap();
    failed(&apply("plugins.pub"), &["another component than the source"]);
}

#[test]
fn a_rule_goes_through_a_directory() {
    let (dev, dir) = (Dev::start(), TempDir::new().unwrap());
    let (here, data) = (dir.path(), dev.data().display().to_string());
    let alias = key(&dev, here, "plugins");
    let push = |key: &str, to: &str| plugin(here, &["push", &rule(), to, "--key", key, "--data", &data]);
    let pinned = push(&alias, "artifacts:1.0").success().trim().to_owned();
    let pull = |from: &str| plugin(here, &["pull", from, "--key", "plugins.pub", "--out", "rule.wasm"]);
    assert_eq!(pull("artifacts:1.0").success().trim(), pinned);
    assert_eq!(pull(&pinned).success().trim(), pinned);
    failed(&pull("artifacts:2.0"), &["there is no `2.0`"]);
    failed(&pull("artifacts"), &["add :TAG or @sha256:DIGEST"]);
    failed(&pull("nowhere:1.0"), &["no OCI image layout"]);
    failed(
        &push("alias/dev-release", "artifacts:1.0"),
        &["makes one of family `raw`"],
    );
    failed(&push("alias/nobody", "new:1.0"), &["NotFoundException"]);
    assert!(
        !here.join("new").exists(),
        "a key that is not there leaves nothing behind"
    );
    let text = here.join("notes.txt");
    std::fs::write(&text, "no rule").unwrap();
    let output = plugin(
        here,
        &["push", "notes.txt", "artifacts", "--key", &alias, "--data", &data],
    );
    failed(&output, &["is no rule"]);
}

/// Answers as a registry that has one manifest, whose blobs are at another origin.
fn registry_that_sends_to(elsewhere: String, challenge: String) -> impl Fn(&Asked) -> Said {
    move |asked| {
        if asked.authorization.is_empty() {
            return (401, vec![format!("WWW-Authenticate: {challenge}")], Vec::new());
        }
        match asked.path.contains("/manifests/") {
            true => (200, Vec::new(), manifest(8)),
            false => (307, vec![format!("Location: {elsewhere}{}", asked.path)], Vec::new()),
        }
    }
}

fn manifest(size: u64) -> Vec<u8> {
    let descriptor = |kind: &str| json!({"mediaType": kind, "digest": DIGEST, "size": size});
    let manifest = json!({
        "schemaVersion": 2, "config": descriptor("application/vnd.wasm.config.v0+json"),
        "layers": [descriptor("application/wasm")],
    });
    manifest.to_string().into_bytes()
}

fn pull_unsigned(dir: &Path, host: impl std::fmt::Display) -> Output {
    plugin(
        dir,
        &[
            "pull",
            &format!("oci://{host}/rule:1.0"),
            "--unsigned",
            "--out",
            "rule.wasm",
        ],
    )
}

#[test]
fn credentials_stay_with_the_registry_when_it_sends_elsewhere() {
    let dir = TempDir::new().unwrap();
    let storage = Fake::start(|_| (200, Vec::new(), b"\0asmnone".to_vec()));
    let basic = registry_that_sends_to(format!("http://{}", storage.address), "Basic realm=\"x\"".to_owned());
    let registry = Fake::start(basic);
    log_in(dir.path(), &registry.address.to_string());
    failed(&pull_unsigned(dir.path(), registry.address), &["is another: sha256:"]);
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
    assert_eq!(registry.asked().last().unwrap().authorization, expected);
    let there = storage.asked();
    assert!(there.len() == 1 && there[0].authorization.is_empty(), "{there:?}");
}

#[test]
fn a_token_is_asked_for_with_the_password_and_given_to_the_registry() {
    let dir = TempDir::new().unwrap();
    let tokens = Fake::start(|_| (200, Vec::new(), br#"{"token":"of-the-server"}"#.to_vec()));
    let storage = Fake::start(|_| (404, Vec::new(), Vec::new()));
    let challenge = format!(
        "Bearer realm=\"http://{}/token\",service=\"reg\",scope=\"x\"",
        tokens.address
    );
    let registry = Fake::start(registry_that_sends_to(format!("http://{}", storage.address), challenge));
    log_in(dir.path(), &registry.address.to_string());
    failed(&pull_unsigned(dir.path(), registry.address), &["404"]);
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].path, "/token?service=reg&scope=repository%3Arule%3Apull");
    assert!(asked[0].authorization.starts_with("Basic "), "{asked:?}");
    assert_eq!(registry.asked().last().unwrap().authorization, "Bearer of-the-server");
    assert!(storage.asked()[0].authorization.is_empty());
}

#[test]
fn what_a_registry_answers_is_bounded() {
    let dir = TempDir::new().unwrap();
    let large = Fake::start(|_| (200, Vec::new(), vec![b' '; (4 << 20) + 1]));
    failed(
        &pull_unsigned(dir.path(), large.address),
        &["larger than 4194304 bytes"],
    );
    let layer = Fake::start(|_| (200, Vec::new(), manifest(33 << 20)));
    failed(
        &pull_unsigned(dir.path(), layer.address),
        &["at most 33554432 are taken"],
    );
    assert_eq!(layer.asked().len(), 1);
    let image = Fake::start(|_| {
        let text = String::from_utf8(manifest(8)).unwrap();
        (
            200,
            Vec::new(),
            text.replace("application/wasm", "application/vnd.oci.image.layer.v1.tar")
                .into_bytes(),
        )
    });
    failed(&pull_unsigned(dir.path(), image.address), &["not application/wasm"]);
    let round = Fake::start(|asked| (302, vec![format!("Location: {}", asked.path)], Vec::new()));
    failed(
        &pull_unsigned(dir.path(), round.address),
        &["redirects more than 3 times"],
    );
}

#[test]
fn a_credential_helper_is_asked_and_its_failure_told() {
    let dir = TempDir::new().unwrap();
    let here = dir.path();
    let registry = Fake::start(|asked| match asked.authorization.as_str() {
        "" => (401, vec!["WWW-Authenticate: Basic realm=\"x\"".to_owned()], Vec::new()),
        _ => (404, Vec::new(), Vec::new()),
    });
    let host = registry.address.to_string();
    std::fs::write(
        here.join("config.json"),
        json!({"credHelpers": {&host: "tests"}}).to_string(),
    )
    .unwrap();
    failed(
        &pull_unsigned(here, &host),
        &["docker-credential-tests", "cannot be started"],
    );
    let helper = |script: &str| {
        let path = here.join("docker-credential-tests");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        pull_unsigned(here, &host)
    };
    failed(
        &helper("echo 'the keychain is locked'; exit 1"),
        &["the keychain is locked"],
    );
    failed(
        &helper(&format!("echo '{{\"Secret\":\"{PASSWORD}\"}}'; exit 1")),
        &["nothing to be shown"],
    );
    failed(
        &helper("echo credentials not found in native keychain; exit 1"),
        &["docker login"],
    );
    failed(&helper("echo '{}'"), &["no JSON with `Username`"]);
    let answer = format!("read host; printf '{{\"Username\":\"%s\",\"Secret\":\"{PASSWORD}\"}}' \"$host\"");
    failed(&helper(&answer), &["there is no `1.0`"]);
    let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{host}:{PASSWORD}")));
    assert_eq!(registry.asked().last().unwrap().authorization, expected);
}
