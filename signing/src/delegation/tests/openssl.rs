//! What others make of our certificates: Debian's `openssl`, which knows neither the extension nor the purpose.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::digest::Digest;
use crate::format::raw::{self, Encoding, Payload};

/// Runs openssl and gives whether it succeeded, and all it printed.
fn openssl(dir: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("openssl is installed");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn write(dir: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// A directory with `root.pem`, `ca.pem` and `leaf.pem`, and the leaf's key.
fn chain_on_disk(algorithm: Algorithm) -> (TempDir, SigningKey, Certificate) {
    let root = root();
    let ca = key_ca(&root);
    let edge = SigningKey::generate(algorithm).unwrap();
    let leaf = leaf_at(&ca, &edge, Validity::starting(NOW, DAY)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, certificate) in [
        ("root.pem", &root.certificate),
        ("ca.pem", &ca.certificate),
        ("leaf.pem", &leaf),
    ] {
        write(&dir, name, certificate.to_pem());
    }
    (dir, edge, leaf)
}

#[test]
fn openssl_verifies_the_chain_even_strictly() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384] {
        let (dir, ..) = chain_on_disk(algorithm);
        let now = NOW.to_string();
        let verify = |extra: &[&str]| {
            let fixed = [
                "verify",
                "-x509_strict",
                "-check_ss_sig",
                "-CAfile",
                "root.pem",
                "-untrusted",
                "ca.pem",
            ];
            openssl(dir.path(), &[&fixed, extra, &["leaf.pem"]].concat())
        };
        let (fine, text) = verify(&["-attime", &now]);
        assert!(fine && text.contains("leaf.pem: OK"), "{algorithm}: {text}");
        let late = (NOW + DAY + 1).to_string();
        let (fine, text) = verify(&["-attime", &late]);
        assert!(!fine && text.contains("expired"), "{text}");
        // Not to be mistaken for a node's or a server's certificate.
        for purpose in ["sslclient", "sslserver", "smimesign"] {
            let (fine, text) = verify(&["-attime", &now, "-purpose", purpose]);
            assert!(!fine, "{purpose}: {text}");
        }
    }
}

#[test]
fn openssl_refuses_the_chain_under_another_root() {
    let (dir, ..) = chain_on_disk(Algorithm::Es256);
    write(&dir, "other.pem", root().certificate.to_pem());
    let now = NOW.to_string();
    let arguments = [
        "verify",
        "-attime",
        &now,
        "-CAfile",
        "other.pem",
        "-untrusted",
        "ca.pem",
        "leaf.pem",
    ];
    assert!(!openssl(dir.path(), &arguments).0);
}

#[test]
fn openssl_shows_what_the_reference_page_says() {
    let (dir, _, leaf) = chain_on_disk(Algorithm::Es256);
    let (fine, text) = openssl(dir.path(), &["x509", "-in", "leaf.pem", "-noout", "-text"]);
    assert!(fine, "{text}");
    let expected = [
        "URI:signet://example.org/000000000001/key/0b54ae66-5f2f-4a0e-9d7c-2f6c1f1b8a10/1/edge/fra-1/6f00d2c5b3a14f5e8d7c6b5a49382716",
        "1.3.6.1.4.1.32473.1.2",
        "Code Signing",
        "1.3.6.1.4.1.32473.1.1",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "CA:FALSE",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
    ];
    for part in expected {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    let scope = super::super::Scope::to_der(&scope()).unwrap();
    write(&dir, "leaf.der", leaf.der());
    let (fine, text) = openssl(dir.path(), &["asn1parse", "-inform", "DER", "-in", "leaf.der"]);
    let dump: String = crate::encoding::hex(&scope).to_uppercase();
    assert!(fine && text.contains(&format!("[HEX DUMP]:{dump}")), "{text}");
}

#[test]
fn openssl_verifies_an_artifact_with_the_leaf() {
    let (dir, edge, _) = chain_on_disk(Algorithm::Es256);
    write(&dir, "firmware.bin", b"firmware");
    let digest = Digest::of(crate::DigestAlgorithm::Sha256, b"firmware");
    let signature = raw::sign(&edge, Payload::Digest(&digest), Encoding::Der).unwrap();
    write(&dir, "firmware.sig", &signature);
    let (fine, text) = openssl(
        dir.path(),
        &["x509", "-in", "leaf.pem", "-pubkey", "-noout", "-out", "leaf.pub"],
    );
    assert!(fine, "{text}");
    let verify = [
        "dgst",
        "-sha256",
        "-verify",
        "leaf.pub",
        "-signature",
        "firmware.sig",
        "firmware.bin",
    ];
    assert!(openssl(dir.path(), &verify).0);
    write(&dir, "firmware.bin", b"firmwarf");
    assert!(!openssl(dir.path(), &verify).0);
}

#[test]
fn openssl_verifies_an_ed25519_message_with_the_leaf() {
    let (dir, edge, _) = chain_on_disk(Algorithm::EdDsa);
    write(&dir, "message", b"message");
    write(
        &dir,
        "message.sig",
        raw::sign(&edge, Payload::Message(b"message"), Encoding::Der).unwrap(),
    );
    openssl(
        dir.path(),
        &["x509", "-in", "leaf.pem", "-pubkey", "-noout", "-out", "leaf.pub"],
    );
    let verify = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "leaf.pub",
        "-rawin",
        "-in",
        "message",
        "-sigfile",
        "message.sig",
    ];
    let (fine, text) = openssl(dir.path(), &verify);
    assert!(fine, "{text}");
}

#[test]
fn keys_and_requests_go_between_openssl_and_here() {
    let dir = tempfile::tempdir().unwrap();
    for (algorithm, options) in [
        (Algorithm::EdDsa, &["-algorithm", "ED25519"][..]),
        (
            Algorithm::Es256,
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        ),
        (
            Algorithm::Es384,
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        ),
    ] {
        let (fine, text) = openssl(dir.path(), &[&["genpkey", "-out", "key.pem"], options].concat());
        assert!(fine, "{text}");
        let convert = [
            "pkcs8", "-topk8", "-nocrypt", "-in", "key.pem", "-outform", "DER", "-out", "key.der",
        ];
        let (fine, text) = openssl(dir.path(), &convert);
        assert!(fine, "{text}");
        let document = std::fs::read(dir.path().join("key.der")).unwrap();
        let theirs = SigningKey::import(algorithm, &crate::key::Secret::new(document)).unwrap();
        let request = [
            "req", "-new", "-inform", "DER", "-key", "key.der", "-keyform", "DER", "-subj", "/CN=x",
        ];
        let hash = if algorithm == Algorithm::Es384 {
            "-sha384"
        } else {
            "-sha256"
        };
        let (fine, text) = openssl(
            dir.path(),
            &[&request[..], &[hash, "-outform", "DER", "-out", "csr.der"]].concat(),
        );
        assert!(fine, "{text}");
        let received = crate::csr::verify(&std::fs::read(dir.path().join("csr.der")).unwrap());
        assert_eq!(received.as_ref(), Ok(theirs.public().unwrap()), "{algorithm}");

        let ours = SigningKey::generate(algorithm).unwrap();
        write(&dir, "our.csr", crate::csr::create(&ours).unwrap());
        let (fine, text) = openssl(
            dir.path(),
            &["req", "-inform", "DER", "-in", "our.csr", "-verify", "-noout"],
        );
        assert!(fine && text.contains("OK"), "{text}");
        write(&dir, "our.key", ours.export().unwrap().expose());
        let (fine, text) = openssl(
            dir.path(),
            &["pkey", "-inform", "DER", "-in", "our.key", "-check", "-noout"],
        );
        assert!(fine || algorithm == Algorithm::EdDsa, "{text}");
    }
}
