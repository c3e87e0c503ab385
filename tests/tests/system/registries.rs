//! A rule in a registry: pushed with a key of the authority, pulled where it is signed, and named by a bundle.

use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use system_tests::pki::Pki;
use system_tests::registry::{PASSWORD, Registry, log_in, token_server};
use system_tests::{Dev, Output, checkout, run, signet};
use tempfile::TempDir;

const RULE: &str = "plugins/examples/network-lifetime/network-lifetime.wasm";

/// `signet plugin …` in `dir`, which is also where docker's configuration and its helpers are.
pub(crate) fn plugin(dir: &Path, arguments: &[&str]) -> Output {
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(signet());
    run(command
        .arg("plugin")
        .args(arguments)
        .current_dir(dir)
        .env("DOCKER_CONFIG", dir)
        .env("PATH", path))
}

/// That a command refused, in these words, and showed no password.
pub(crate) fn failed(output: &Output, words: &[&str]) {
    assert_eq!(output.code, 1, "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "`{word}` is not in {output:?}");
    }
    assert!(
        !output.stderr.contains("panicked") && !output.stderr.contains(PASSWORD),
        "{output:?}"
    );
}

/// A component to push.
pub(crate) fn rule() -> String {
    checkout().join(RULE).display().to_string()
}

/// A key that signs plugins, with its public half in `dir/NAME.pub`.
pub(crate) fn key(dev: &Dev, dir: &Path, name: &str) -> String {
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
    names_it_in_a_rollout(&dev, here, &pinned);
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

fn names_it_in_a_rollout(dev: &Dev, here: &Path, pinned: &str) {
    let plan = |key: &str| {
        let mut command = Command::new(signet());
        let arguments = [
            "rollout",
            "plan",
            "claim-guard",
            "--from",
            pinned,
            "--key",
            key,
            "--data",
        ];
        run(command
            .args(arguments)
            .arg(dev.data())
            .current_dir(here)
            .env("DOCKER_CONFIG", here))
    };
    failed(&plan("others.pub"), &["not signed by that key"]);
    let planned = plan("plugins.pub").success();
    assert!(planned.contains("plugin    claim-guard"), "{planned}");
}

#[test]
fn a_registry_over_tls_is_believed_under_the_ca_that_is_named() {
    let (dev, dir, pki) = (Dev::start(), TempDir::new().unwrap(), Pki::new());
    let registry = Registry::with_tls(&pki);
    let (here, data) = (dir.path(), dev.data().display().to_string());
    let alias = key(&dev, here, "plugins");
    let to = format!("oci://{}/rule:1.0", registry.host);
    let push = |ca: &Path| {
        let rule = rule();
        let ca = ca.to_str().unwrap();
        let arguments = [
            "push",
            &rule,
            &to,
            "--key",
            &alias,
            "--data",
            &data,
            "--registry-ca-file",
            ca,
        ];
        plugin(here, &arguments)
    };
    let other = Pki::new();
    failed(
        &push(&other.file("ca.pem")),
        &["cannot connect to `localhost:", "--registry-ca-file"],
    );
    let pinned = push(&pki.file("ca.pem")).success();
    let mut verify = Command::new(signet());
    let arguments = ["plugin", "verify", &to, "--key", "plugins.pub"];
    verify.args(arguments).current_dir(here).env("DOCKER_CONFIG", here);
    verify.env("SIGNET_REGISTRY_CA_FILE", pki.file("ca.pem"));
    assert_eq!(run(&mut verify).success(), pinned);
    let plain = plugin(here, &["verify", &to, "--key", "plugins.pub", "--plain-http"]);
    failed(&plain, &["400"]);
}

#[test]
fn a_registry_takes_the_token_of_its_token_server() {
    let (dev, dir, pki) = (Dev::start(), TempDir::new().unwrap(), Pki::new());
    let tokens = token_server(&pki);
    let registry = Registry::with_tokens(&pki, &format!("http://{}/token", tokens.address));
    let (here, data) = (dir.path(), dev.data().display().to_string());
    let alias = key(&dev, here, "plugins");
    let to = format!("oci://{}/acme/rule:1.0", registry.host);
    let push = || plugin(here, &["push", &rule(), &to, "--key", &alias, "--data", &data]);
    failed(&push(), &["a token server that refused: 401", "it wants credentials"]);
    log_in(here, &registry.host);
    let pinned = push().success();
    assert_eq!(plugin(here, &["verify", &to, "--key", "plugins.pub"]).success(), pinned);
    let scopes: Vec<_> = tokens.asked().iter().map(|asked| asked.path.clone()).collect();
    assert!(scopes[1].ends_with("%3Apull%2Cpush"), "{scopes:?}");
    assert!(
        scopes.last().unwrap().ends_with("%3Apull"),
        "who reads asks for no more: {scopes:?}"
    );
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
    openssl_takes_the_signature(here, &pinned);
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

/// The signature where cosign keeps it and in its form, checked by somebody else.
fn openssl_takes_the_signature(here: &Path, pinned: &str) {
    let digest = pinned.split_once("@sha256:").unwrap().1;
    let read = |path: &Path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let blob = |digest: &Value| {
        let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        here.join("artifacts/blobs/sha256").join(hex)
    };
    let index = read(&here.join("artifacts/index.json"));
    let tag = format!("sha256-{digest}.sig");
    let is_tagged = |entry: &&Value| entry["annotations"]["org.opencontainers.image.ref.name"] == tag.as_str();
    let entry = index["manifests"].as_array().unwrap().iter().find(is_tagged).unwrap();
    let layer = &read(&blob(&entry["digest"]))["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
    let payload = blob(&layer["digest"]);
    let critical = &read(&payload)["critical"];
    assert_eq!(critical["image"]["docker-manifest-digest"], format!("sha256:{digest}"));
    assert_eq!(critical["type"], "cosign container image signature");
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"]
        .as_str()
        .unwrap();
    std::fs::write(here.join("signature"), BASE64_STANDARD.decode(signature).unwrap()).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-verify", "plugins.pub", "-signature", "signature"]);
    run(openssl.arg(payload).current_dir(here)).success();
}
