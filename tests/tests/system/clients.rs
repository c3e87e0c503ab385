//! Clients that other people wrote: curl, h2load, PyJWT, jose, Envoy, aioquic, openssl, pkcs11-tool.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use system_tests::{Curl, Dev, checkout, python, run, tool, within};

const AUDIENCE: &str = "https://api.example";

fn issuer(dev: &Dev) -> (String, String) {
    let profiles = dev.info["profiles"].as_array().unwrap();
    let api = profiles.iter().find(|profile| profile["name"] == "api").unwrap();
    (
        api["issuer"].as_str().unwrap().to_owned(),
        api["jwks_uri"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn curl_mints_over_http1_http2_and_cleartext() {
    let dev = Dev::start();
    let body = r#"{"subject":"alice","claims":{"scope":"read"},"lifetime":120}"#;
    let h1 = dev.curl("/v1/tokens/api").arg("--http1.1").post(body);
    assert_eq!((h1.status, h1.version.as_str()), (201, "1.1"), "{h1:?}");
    assert!(
        h1.field("alt-svc").is_some_and(|value| value.starts_with("h3=")),
        "{h1:?}"
    );
    let h2 = dev.curl("/v1/tokens/api").arg("--http2").post(body);
    assert_eq!((h2.status, h2.version.as_str()), (201, "2"), "{h2:?}");
    let plain = Curl::new(&format!("{}/v1/tokens/api", dev.text("/edge/http")))
        .bearer(&dev.token())
        .post(body);
    assert_eq!(plain.status, 201, "{plain:?}");
    let answer = h1.json();
    for member in ["token", "kid", "expires_at", "id"] {
        assert!(answer[member].is_string(), "{member} in {answer}");
    }
    // TLS 1.2 is not spoken.
    let old = dev.curl("/livez").arg("--tls-max").arg("1.2").get();
    assert_ne!(old.exit, 0, "{old:?}");
}

#[test]
fn a_client_certificate_is_a_caller_too() {
    let dev = Dev::start();
    let answer = dev
        .anonymous("/v1/tokens/session")
        .arg("--cert")
        .arg(&dev.text("/client_cert"))
        .arg("--key")
        .arg(&dev.text("/client_key"))
        .post(r#"{"subject":"bob"}"#);
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[test]
fn pyjwt_and_jose_verify_every_public_algorithm() {
    let dev = Dev::start();
    let (issuer, jwks_uri) = issuer(&dev);
    for (profile, algorithm) in [("api", "ES256"), ("session", "EdDSA")] {
        let token = dev.mint(profile, &json!({"subject": "alice", "audience": AUDIENCE}).to_string());
        let claims: Value = serde_json::from_str(&python(
            "verify_pyjwt.py",
            &[&jwks_uri, &dev.text("/ca_file"), algorithm, &issuer, AUDIENCE, &token],
        ))
        .unwrap();
        assert_eq!(claims["sub"], "alice");
        let output = run(Command::new("node")
            .env("NODE_EXTRA_CA_CERTS", dev.text("/ca_file"))
            .arg(checkout().join("tests/clients/verify_jose.mjs"))
            .arg(tool("npm"))
            .args([issuer.as_str(), algorithm, AUDIENCE, &token]));
        let verified: Value = serde_json::from_str(&output.success()).unwrap();
        assert_eq!(verified["payload"]["sub"], "alice");
    }
}

#[test]
fn envoy_lets_verified_tokens_through_and_no_others() {
    let dev = Dev::start();
    let (issuer, _) = issuer(&dev);
    let edge_port = dev.text("/edge/https").rsplit(':').next().unwrap().to_owned();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let configuration = std::fs::read_to_string(checkout().join("docs/guides/envoy.yaml"))
        .unwrap()
        .replace("https://localhost:8443/i/dev", &issuer)
        .replace("port_value: 8443", &format!("port_value: {edge_port}"))
        .replace("port_value: 10000", &format!("port_value: {port}"))
        .replace("signet-data/dev/ca.pem", &dev.text("/ca_file"));
    let file = dev.data().join("envoy.yaml");
    std::fs::write(&file, configuration).unwrap();
    let log = std::fs::File::create(dev.data().join("envoy.log")).unwrap();
    let mut envoy = Command::new(tool("clients/bin/envoy"))
        .args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "warning",
            "-c",
        ])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let token = dev.mint("api", &json!({"subject": "alice", "audience": AUDIENCE}).to_string());
    let url = format!("http://127.0.0.1:{port}/");
    let checks = std::panic::catch_unwind(|| {
        within(30, "envoy answers 200 to a good token", || {
            Curl::new(&url).bearer(&token).get().status == 200
        });
        assert_eq!(Curl::new(&url).get().status, 401);
        let mut forged = token.clone();
        forged.truncate(token.len() - 6);
        assert_eq!(Curl::new(&url).bearer(&format!("{forged}AAAAAA")).get().status, 401);
        let elsewhere = dev.mint("api", r#"{"subject":"alice","audience":"https://other.example"}"#);
        assert_eq!(Curl::new(&url).bearer(&elsewhere).get().status, 403);
    });
    envoy.kill().unwrap();
    envoy.wait().unwrap();
    if let Err(panic) = checks {
        eprintln!(
            "{}",
            std::fs::read_to_string(dev.data().join("envoy.log")).unwrap_or_default()
        );
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn aioquic_mints_over_http3() {
    let dev = Dev::start();
    let url = format!("{}/v1/tokens/api", dev.text("/edge/https"));
    let lines = python(
        "mint_http3.py",
        &[
            &url,
            &dev.text("/ca_file"),
            &dev.token(),
            r#"{"subject":"alice"}"#,
            "50",
        ],
    );
    let answers: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 50);
    assert!(answers.iter().all(|answer| answer["status"] == 201), "{answers:?}");
    let refused = python(
        "mint_http3.py",
        &[&url, &dev.text("/ca_file"), "", r#"{"subject":"alice"}"#],
    );
    let refused: Value = serde_json::from_str(&refused).unwrap();
    assert_eq!(refused["status"], 401, "{refused}");
}

#[test]
fn h2load_finds_no_error_over_http1_and_http2() {
    let dev = Dev::start();
    let body = dev.data().join("body.json");
    std::fs::write(&body, r#"{"subject":"alice"}"#).unwrap();
    let url = format!("{}/v1/tokens/load", dev.text("/edge/https"));
    for protocol in ["--npn-list=h2", "--npn-list=http/1.1"] {
        let output = run(Command::new("h2load")
            .args(["-n", "2000", "-c", "8", "-m", "4", "-t", "1", protocol])
            .arg("-d")
            .arg(&body)
            .args([
                "-H",
                "content-type: application/json",
                "-H",
                &format!("authorization: Bearer {}", dev.token()),
            ])
            .arg(&url));
        let text = output.success();
        assert!(text.contains("status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{text}");
    }
}

#[test]
fn openssl_verifies_signature_and_chain() {
    let dev = Dev::start();
    let dir = dev.data().to_owned();
    let artifact = dir.join("artifact");
    std::fs::write(&artifact, "release 1.0\n").unwrap();
    let digest = run(Command::new("openssl").args(["dgst", "-sha256", "-r"]).arg(&artifact)).success();
    let digest = digest.split(' ').next().unwrap().to_owned();
    let answer = dev
        .curl("/v1/signatures/release")
        .post(&json!({"digest": format!("sha256:{digest}")}).to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["algorithm"], "ES256");
    let certificates: Vec<_> = answer["certificates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pem| pem.as_str().unwrap())
        .collect();
    assert_eq!(certificates.len(), 3);
    let write = |name: &str, content: &[u8]| {
        std::fs::write(dir.join(name), content).unwrap();
        dir.join(name)
    };
    let leaf = write("leaf.pem", certificates[0].as_bytes());
    let ca = write("ca-of-key.pem", certificates[1].as_bytes());
    let root = write("root.pem", certificates[2].as_bytes());
    let signature = write(
        "artifact.sig",
        &BASE64_STANDARD.decode(answer["signature"].as_str().unwrap()).unwrap(),
    );
    let public = run(Command::new("openssl")
        .args(["x509", "-pubkey", "-noout", "-in"])
        .arg(&leaf))
    .success();
    let public = write("leaf.pub", public.as_bytes());
    let verified = run(Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(&public)
        .arg("-signature")
        .arg(&signature)
        .arg(&artifact));
    assert_eq!(verified.stdout.trim(), "Verified OK", "{verified:?}");
    let chain = run(Command::new("openssl")
        .args(["verify", "-x509_strict", "-CAfile"])
        .arg(&root)
        .arg("-untrusted")
        .arg(&ca)
        .arg(&leaf));
    assert_eq!(chain.code, 0, "{chain:?}");
    // The chain is there to fetch, too.
    let fetched = dev
        .anonymous(&format!("/v1/delegations/{}", answer["kid"].as_str().unwrap()))
        .get();
    assert_eq!(fetched.json()["certificates"], answer["certificates"]);
}

#[test]
fn openssl_verifies_an_ed25519_message() {
    let dev = Dev::start();
    let dir = dev.data().to_owned();
    std::fs::write(dir.join("package"), "a package").unwrap();
    let answer = dev
        .curl("/v1/signatures/package")
        .post(&json!({"message": BASE64_STANDARD.encode("a package")}).to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    let answer = answer.json();
    std::fs::write(dir.join("leaf.pem"), answer["certificates"][0].as_str().unwrap()).unwrap();
    std::fs::write(
        dir.join("package.sig"),
        BASE64_STANDARD.decode(answer["signature"].as_str().unwrap()).unwrap(),
    )
    .unwrap();
    let verified = run(Command::new("openssl").current_dir(&dir).args([
        "pkeyutl",
        "-verify",
        "-rawin",
        "-certin",
        "-inkey",
        "leaf.pem",
        "-in",
        "package",
        "-sigfile",
        "package.sig",
    ]));
    assert_eq!(verified.code, 0, "{verified:?}");
    let digest = dev
        .curl("/v1/signatures/package")
        .post(&json!({"digest": format!("sha256:{}", "0".repeat(64))}).to_string());
    assert_eq!(digest.status, 422, "{digest:?}");
}

#[test]
fn pkcs11_tool_sees_roots_and_masters_that_cannot_be_extracted() {
    let dev = Dev::start();
    let hsm = dev.data().join("hsm");
    let output = run(Command::new("pkcs11-tool")
        .env("SOFTHSM2_CONF", hsm.join("softhsm2.conf"))
        .args(["--module", "/usr/lib/softhsm/libsofthsm2.so", "--login", "--pin"])
        .arg(std::fs::read_to_string(hsm.join("pin")).unwrap().trim())
        .arg("--list-objects"));
    let text = output.success();
    let private = text.matches("Private Key Object").count();
    let secret = text.matches("Secret Key Object").count();
    assert!(private >= 2 && secret >= 1, "{text}");
    assert_eq!(text.matches("never extractable").count(), private + secret, "{text}");
}
