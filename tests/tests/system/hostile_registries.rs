//! Registries and credential helpers that do what no honest one does: each is a clear refusal, and no credential goes astray.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use system_tests::registry::{Asked, Fake, PASSWORD, Said, USER, basic, log_in};
use system_tests::{Dev, Output};
use tempfile::TempDir;

use crate::registries::{failed, key, plugin, rule};

const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

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

// R10
#[test]
fn credentials_stay_with_the_registry_when_it_sends_elsewhere() {
    let dir = TempDir::new().unwrap();
    let storage = Fake::start(|_| (200, Vec::new(), b"\0asmnone".to_vec()));
    let sends = registry_that_sends_to(format!("http://{}", storage.address), "Basic realm=\"x\"".to_owned());
    let registry = Fake::start(sends);
    log_in(dir.path(), &registry.address.to_string());
    failed(&pull_unsigned(dir.path(), registry.address), &["is another: sha256:"]);
    assert_eq!(registry.asked().last().unwrap().authorization, basic(USER, PASSWORD));
    let there = storage.asked();
    assert!(there.len() == 1 && there[0].authorization.is_empty(), "{there:?}");
}

// R10
#[test]
fn credentials_do_not_go_where_an_upload_is_sent() {
    let (dev, dir) = (Dev::start(), TempDir::new().unwrap());
    let (here, data) = (dir.path(), dev.data().display().to_string());
    let alias = key(&dev, here, "plugins");
    let storage = Fake::start(|_| (201, Vec::new(), Vec::new()));
    let elsewhere = format!("Location: http://{}/upload?state=x", storage.address);
    let registry = Fake::start(
        move |asked| match (asked.authorization.as_str(), asked.method.as_str()) {
            ("", _) => (401, vec!["WWW-Authenticate: Basic realm=\"x\"".to_owned()], Vec::new()),
            (_, "POST") => (202, vec![elsewhere.clone()], Vec::new()),
            (_, "PUT") => (201, Vec::new(), Vec::new()),
            _ => (404, Vec::new(), Vec::new()),
        },
    );
    log_in(here, &registry.address.to_string());
    let to = format!("oci://{}/rule:1.0", registry.address);
    plugin(here, &["push", &rule(), &to, "--key", &alias, "--data", &data]).success();
    let there = storage.asked();
    assert_eq!(
        there.len(),
        4,
        "what is signed, its config, the rule's config, the rule: {there:?}"
    );
    for upload in there {
        assert!(upload.path.starts_with("/upload?state=x&digest=sha256:"), "{upload:?}");
        assert!(upload.method == "PUT" && upload.authorization.is_empty(), "{upload:?}");
    }
}

#[test]
fn a_token_server_is_bounded_and_not_followed() {
    let dir = TempDir::new().unwrap();
    let pull_with = |tokens: &Fake, path: &str| {
        let challenge = format!("Bearer realm=\"http://{}{path}\"", tokens.address);
        let registry = Fake::start(registry_that_sends_to(String::new(), challenge));
        log_in(dir.path(), &registry.address.to_string());
        pull_unsigned(dir.path(), registry.address)
    };
    let tokens = Fake::start(|asked| match asked.path.split('?').next().unwrap() {
        "/large" => (200, Vec::new(), vec![b' '; (256 << 10) + 1]),
        "/empty" => (200, Vec::new(), b"{}".to_vec()),
        "/wrong" => (
            401,
            Vec::new(),
            br#"{"errors":[{"code":"DENIED","message":"no such user"}]}"#.to_vec(),
        ),
        _ => (
            307,
            vec!["Location: http://127.0.0.1:1/elsewhere".to_owned()],
            Vec::new(),
        ),
    });
    failed(&pull_with(&tokens, "/large"), &["larger than 262144 bytes"]);
    failed(&pull_with(&tokens, "/empty"), &["has no token"]);
    failed(
        &pull_with(&tokens, "/wrong"),
        &["no such user (DENIED)", "do not suffice"],
    );
    failed(&pull_with(&tokens, "/on"), &["token server that refused: 307"]);
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
fn another_manifest_than_the_one_asked_for_is_refused() {
    let dir = TempDir::new().unwrap();
    let registry = Fake::start(|asked| match asked.path.as_str() {
        "/v2/many/manifests/1.0" => (200, Vec::new(), br#"{"schemaVersion":2,"manifests":[]}"#.to_vec()),
        _ => (200, Vec::new(), manifest(8)),
    });
    let pull = |name: &str| {
        let from = format!("oci://{}/{name}", registry.address);
        plugin(dir.path(), &["pull", &from, "--unsigned", "--out", "rule.wasm"])
    };
    failed(
        &pull(&format!("rule@{DIGEST}")),
        &[
            "the manifest that came has the digest sha256:",
            &format!("not {DIGEST}"),
        ],
    );
    failed(&pull("many:1.0"), &["index of several manifests"]);
    assert_eq!(registry.asked().len(), 2, "no blob of what was not asked for");
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
    failed(&helper("head -c 100000 /dev/zero"), &["docker-credential-tests"]);
    let answer = format!("read host; printf '{{\"Username\":\"%s\",\"Secret\":\"{PASSWORD}\"}}' \"$host\"");
    failed(&helper(&answer), &["there is no `1.0`"]);
    assert_eq!(registry.asked().last().unwrap().authorization, basic(&host, PASSWORD));
}
