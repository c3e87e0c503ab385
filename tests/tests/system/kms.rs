//! The key API with the clients that people have, unchanged, over HTTPS: boto3, the AWS CLI, the SDK for JavaScript, the
//! encryption SDKs, tink, securesystemslib's signer and sops.

use std::process::Command;

use serde_json::Value;
use system_tests::{Curl, Dev, Output, checkout, run, tool, within};
use tempfile::TempDir;

/// A client program of `.tools/clients`, in that environment.
pub(crate) fn client(dev: &Dev, program: &str) -> Command {
    environment(dev, Command::new(tool("clients/bin").join(program)))
}

/// With the environment that `signet dev` prints and nothing else of AWS's.
fn environment(dev: &Dev, mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("AWS_ENDPOINT_URL_KMS", dev.text("/kms"))
        .env("AWS_ENDPOINT_URL_STS", dev.text("/kms"))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_CA_BUNDLE", dev.text("/ca_file"))
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

pub(crate) fn with_root(dev: &Dev, mut command: Command) -> Command {
    let credential = |name: &str| dev.text(&format!("/kms_credentials/{name}"));
    command
        .env("AWS_ACCESS_KEY_ID", credential("access_key_id"))
        .env("AWS_SECRET_ACCESS_KEY", credential("secret_access_key"));
    command
}

/// A script of `tests/clients/`.
pub(crate) fn script(mut program: Command, name: &str) -> Command {
    program.arg(checkout().join("tests/clients").join(name));
    program
}

fn lines(output: Output) -> Vec<String> {
    output.success().lines().map(str::to_owned).collect()
}

#[test]
fn boto3_uses_keys_with_static_credentials() {
    let dev = Dev::start();
    let python = with_root(&dev, client(&dev, "python"));
    let shown = lines(run(&mut script(python, "kms_keys.py")));
    let expected = [
        "create", "describe", "alias", "tags", "sign", "verify", "mac", "pages", "states", "errors",
    ];
    assert_eq!(shown, expected);
    // R6: all of it is on record, refusals too, and nothing else knows the secret.
    let on_record = |operation: &str, outcome: &str| {
        let records = dev.cli(&["audit", "tail", "--authority"]).success();
        let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records
            .filter(|record| {
                record["caller"]
                    .as_str()
                    .is_some_and(|caller| caller.starts_with("arn:"))
            })
            .filter(|record| record["profile"] == operation && record["outcome"] == outcome)
            .count()
    };
    within(2, "the last operation's record is written", || {
        on_record("kms:DescribeCustomKeyStores", "refused") == 1
    });
    assert_eq!(on_record("kms:CreateKey", "performed"), 7);
    assert!(on_record("kms:Sign", "performed") >= 2 && on_record("kms:Sign", "refused") >= 2);
    let verified = dev.cli(&["audit", "verify", "--authority"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

// Success, state and refusal of each operation that the installed client knows: a new one fails until it has all three.
#[test]
fn every_operation_of_the_model_succeeds_looks_at_the_state_and_refuses() {
    let dev = Dev::start();
    let made = dev
        .cli(&["access-keys", "create", "--user", "stranger", "--json"])
        .success();
    let made: Value = serde_json::from_str(&made).unwrap();
    let mut python = script(with_root(&dev, client(&dev, "python")), "kms_matrix.py");
    for (variable, name) in [
        ("STRANGER_ACCESS_KEY_ID", "access_key_id"),
        ("STRANGER_SECRET_ACCESS_KEY", "secret_access_key"),
    ] {
        python.env(variable, made[name].as_str().unwrap());
    }
    let shown = lines(run(&mut python));
    assert!(shown.len() >= 56, "{shown:?}");
}

// R9
#[test]
fn what_no_client_may_send_is_refused_and_changes_nothing() {
    let dev = Dev::start();
    let python = with_root(&dev, client(&dev, "python"));
    let shown = lines(run(&mut script(python, "kms_refusals.py")));
    let expected = [
        "wrong secret",
        "unknown access key",
        "unsigned",
        "stray session token",
        "clock -6",
        "clock +6",
        "presigned",
        "two signatures",
        "unsigned payload",
        "altered body",
        "another service",
        "unknown operation",
        "no operation",
        "another protocol",
        "not JSON",
        "wrong type",
        "wrong value",
        "nothing was made",
        "unknown members are ignored",
    ];
    assert_eq!(shown, expected);
    // A body larger than any request is cut off by the listener.
    let answer = Curl::new(&dev.text("/kms"))
        .arg("--cacert")
        .arg(&dev.text("/ca_file"))
        .header("Content-Type: application/x-amz-json-1.1")
        .send_body("POST", &"x".repeat(600 << 10));
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(answer.json()["__type"], "RequestEntityTooLargeException");
    assert!(
        answer.head.to_ascii_lowercase().contains("x-amzn-requestid: "),
        "{answer:?}"
    );
}

// R7
#[test]
fn boto3_assumes_a_role_with_a_token_of_a_trusted_issuer() {
    let dev = Dev::start();
    let token = dev.data().join("token");
    std::fs::write(&token, dev.token()).unwrap();
    let foreign = dev.mint("api", r#"{"subject":"alice","audience":"https://api.example"}"#);
    let mut python = script(client(&dev, "python"), "kms_web_identity.py");
    python
        .arg(foreign)
        .env("AWS_ROLE_ARN", "arn:aws:iam::000000000001:role/developer")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token);
    let expected = [
        "credentials of a role",
        "caller identity",
        "no more than policies say",
        "assume role",
        "refusals",
    ];
    assert_eq!(lines(run(&mut python)), expected);
}

#[test]
fn encryption_clients_and_signers_work_as_they_are() {
    let dev = Dev::start();
    let shown = |name: &str| {
        let mut python = with_root(&dev, client(&dev, "python"));
        // sops is Go, whose own trust store the SDK's variable does not reach.
        python.env("SSL_CERT_FILE", dev.text("/ca_file"));
        lines(run(&mut script(python, name)))
    };
    assert_eq!(
        shown("kms_encryption_sdk.py"),
        ["round trip", "another key does not open it"]
    );
    assert_eq!(
        shown("kms_securesystemslib.py"),
        ["ECC_NIST_P256", "ECC_NIST_P384", "RSA_2048"]
    );
    assert_eq!(shown("kms_sops.py"), ["round trip"]);
    assert_eq!(shown("kms_tink.py"), ["under the key", "by envelope"]);
}

#[test]
fn the_sdk_for_javascript_and_the_encryption_sdk_on_it_work_as_they_are() {
    let dev = Dev::start();
    let mut node = with_root(&dev, environment(&dev, Command::new("node")));
    // Node's own trust store is what the SDK goes by.
    node.env("NODE_EXTRA_CA_CERTS", dev.text("/ca_file"));
    let mut node = script(node, "kms_javascript.mjs");
    let shown = lines(run(node.arg(tool("npm"))));
    assert_eq!(shown, ["round trip", "pages", "errors", "encryption SDK"]);
}

#[test]
fn the_aws_cli_works_with_another_account_after_a_restart_and_in_the_clear() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let account = ["--account", "123456789012"];
    let dev = Dev::start_in(&data, &account);
    assert_eq!(dev.text("/kms_credentials/account"), "123456789012");
    assert_eq!(dev.text("/authority/kms"), dev.text("/kms"));
    let aws = |dev: &Dev, arguments: &[&str]| -> Value {
        let output = run(with_root(dev, client(dev, "aws")).args(arguments));
        serde_json::from_str(&output.success()).unwrap()
    };
    let made = aws(
        &dev,
        &[
            "kms",
            "create-key",
            "--key-spec",
            "ECC_NIST_P384",
            "--key-usage",
            "SIGN_VERIFY",
        ],
    );
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    assert_eq!(
        made["KeyMetadata"]["Arn"],
        format!("arn:aws:kms:us-east-1:123456789012:key/{id}")
    );
    let kept = dev.info["kms_credentials"].clone();
    drop(dev);
    let dev = Dev::start_in(&data, &account);
    assert_eq!(dev.info["kms_credentials"], kept, "credentials survive a restart");
    let listed = aws(&dev, &["kms", "list-keys"]);
    assert_eq!(listed["Keys"][0]["KeyId"], id);
    // Any region's name does, and each has keys of its own.
    let elsewhere = ["--region", "eu-central-1"];
    let none = aws(&dev, &[&["kms", "list-keys"][..], &elsewhere].concat());
    assert_eq!(none["Keys"], serde_json::json!([]));
    let other = aws(&dev, &[&["kms", "create-key"][..], &elsewhere].concat());
    let arn = other["KeyMetadata"]["Arn"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:kms:eu-central-1:123456789012:key/"), "{arn}");
    let http = dev.text("/kms_http");
    assert!(http.starts_with("http://127.0.0.1:"), "{http}");
    let clear = aws(&dev, &["kms", "describe-key", "--key-id", &id, "--endpoint-url", &http]);
    assert_eq!(clear["KeyMetadata"]["KeyState"], "Enabled");
    let who = aws(&dev, &["sts", "get-caller-identity"]);
    assert_eq!(who["Arn"], "arn:aws:iam::123456789012:root");
}

// R19
#[test]
fn an_access_key_is_issued_and_stopped_by_the_cli_at_once() {
    let dev = Dev::start();
    let made = dev
        .cli(&["access-keys", "create", "--user", "ada", "--role", "admin", "--json"])
        .success();
    let made: Value = serde_json::from_str(&made).unwrap();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let id = text(&made, "access_key_id");
    let ask = |key: &Value| {
        let mut python = script(client(&dev, "python"), "kms_access_key.py");
        python
            .env("AWS_ACCESS_KEY_ID", text(key, "access_key_id"))
            .env("AWS_SECRET_ACCESS_KEY", text(key, "secret_access_key"));
        run(&mut python).success().trim().to_owned()
    };
    let good = ask(&made);
    assert!(good.parse::<u32>().is_ok(), "{good}");
    dev.cli(&["access-keys", "deactivate", &id]).success();
    assert_eq!(ask(&made), "UnrecognizedClientException");
    dev.cli(&["access-keys", "activate", &id]).success();
    assert_eq!(ask(&made), good);
    let next = dev
        .cli(&["access-keys", "rotate", &id, "--deactivate-old", "--json"])
        .success();
    let next: Value = serde_json::from_str(&next).unwrap();
    assert_eq!(
        (ask(&next), ask(&made)),
        (good, "UnrecognizedClientException".to_owned())
    );
    let listed = dev.cli(&["access-keys", "list"]).success();
    assert!(listed.contains(&id) && listed.contains("Inactive"), "{listed}");
    // R10: a secret is shown when it is made, and never again.
    for secret in [text(&made, "secret_access_key"), text(&next, "secret_access_key")] {
        assert!(!listed.contains(&secret) && !dev.log().contains(&secret));
    }
    dev.cli(&["access-keys", "delete", &text(&next, "access_key_id")])
        .success();
    assert_eq!(ask(&next), "UnrecognizedClientException");
    let gone = dev.cli(&["access-keys", "activate", &text(&next, "access_key_id")]);
    assert_eq!(gone.code, 1, "{gone:?}");
    within(5, "the refusals are counted", || {
        let metrics = dev.admin("/metrics").get();
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        text.contains("signet_authority_kms_requests_total{operation=\"kms:ListKeys\"} 3")
    });
}

// The model that requests are checked against is the one that the client has.
#[test]
fn the_model_is_that_of_the_installed_client() {
    let python = tool("clients/bin/python");
    let path = run(Command::new(&python).arg(checkout().join("tests/clients/kms_model_path.py"))).success();
    let made = run(Command::new(&python)
        .arg(checkout().join("scripts/kms-model"))
        .arg(path.trim()))
    .success();
    let kept = std::fs::read_to_string(checkout().join("authority/src/kms/model.json")).unwrap();
    assert!(
        made == kept,
        "make authority/src/kms/model.json anew: scripts/kms-model {}",
        path.trim()
    );
}
