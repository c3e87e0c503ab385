use std::path::Path;
use std::process::Command;

use super::*;
use crate::algorithm::Algorithm;
use crate::key::{SigningKey, random_bytes};

const NOW: u64 = 1_800_000_000;

fn root() -> (SigningKey, Certificate) {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let validity = Validity::starting(NOW, 86_400);
    let spki = key.public().unwrap().to_spki_der();
    let prepared = prepare_node_root("Signet node root", spki, validity, random_bytes().unwrap()).unwrap();
    let certificate = prepared.sign_with(&key).unwrap();
    (key, certificate)
}

fn issue(names: &TlsNames, usage: Usage) -> Result<(Certificate, Certificate), CertificateError> {
    let (root_key, root) = root();
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let (validity, serial) = (Validity::starting(NOW, 3600), random_bytes().unwrap());
    let spki = key.public().unwrap().to_spki_der();
    Ok((
        prepare_node(names, usage, spki, validity, serial, &root)?.sign_with(&root_key)?,
        root,
    ))
}

fn node_names() -> TlsNames {
    TlsNames {
        common_name: "fra-1".into(),
        spiffe_id: Some("spiffe://example.org/edge/fra-1".into()),
        dns: vec![
            "fra-1.edge.example.org".into(),
            "*.edge.example.org".into(),
            "localhost".into(),
        ],
        ips: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
    }
}

fn openssl(dir: &Path, purpose: &str, extra: &[&str]) -> bool {
    let fixed = [
        "verify",
        "-x509_strict",
        "-attime",
        "1800000000",
        "-CAfile",
        "root.pem",
        "-purpose",
        purpose,
    ];
    let arguments = [&fixed, extra, &["leaf.pem"]].concat();
    Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("openssl is installed")
        .status
        .success()
}

#[test]
fn openssl_takes_each_certificate_for_what_it_is() {
    for (usage, server, client) in [
        (Usage::NODE, true, true),
        (Usage::SERVER, true, false),
        (Usage::CLIENT, false, true),
    ] {
        let (leaf, root) = issue(&node_names(), usage).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("leaf.pem"), leaf.to_pem()).unwrap();
        std::fs::write(dir.path().join("root.pem"), root.to_pem()).unwrap();
        assert_eq!(openssl(dir.path(), "sslserver", &[]), server);
        assert_eq!(openssl(dir.path(), "sslclient", &[]), client);
        if server {
            assert!(openssl(
                dir.path(),
                "sslserver",
                &["-verify_hostname", "a.edge.example.org"]
            ));
            assert!(openssl(dir.path(), "sslserver", &["-verify_ip", "::1"]));
            assert!(!openssl(dir.path(), "sslserver", &["-verify_hostname", "example.org"]));
        }
    }
}

#[test]
fn webpki_takes_a_servers_certificate_for_its_names_only() {
    let (leaf, root) = issue(&node_names(), Usage::SERVER).unwrap();
    let (leaf, root) = (leaf.der().to_vec().into(), root.der().to_vec().into());
    let anchor = webpki::anchor_from_trusted_cert(&root).unwrap();
    let end = webpki::EndEntityCert::try_from(&leaf).unwrap();
    let now = rustls_pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
    let verify = |usage| {
        end.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            std::slice::from_ref(&anchor),
            &[],
            now,
            usage,
            None,
            None,
        )
        .map(|_| ())
    };
    verify(webpki::KeyUsage::server_auth()).unwrap();
    assert!(verify(webpki::KeyUsage::client_auth()).is_err());
    for (name, fits) in [
        ("localhost", true),
        ("127.0.0.1", true),
        ("x.edge.example.org", true),
        ("example.org", false),
    ] {
        let name = rustls_pki_types::ServerName::try_from(name).unwrap();
        assert_eq!(end.verify_is_valid_for_subject_name(&name).is_ok(), fits, "{name:?}");
    }
}

#[test]
fn what_it_says_reads_back() {
    let (leaf, root) = issue(&node_names(), Usage::NODE).unwrap();
    assert_eq!(leaf.uris().unwrap(), ["spiffe://example.org/edge/fra-1"]);
    assert_eq!((leaf.not_before(), leaf.not_after()), (NOW - 60, NOW + 3600));
    assert!(root.is_ca() && !leaf.is_ca());
    let text = format!("{}{}", leaf.to_pem(), root.to_pem());
    assert_eq!(Certificate::from_pem_chain(&text).unwrap(), [leaf.clone(), root]);
    assert_eq!(leaf.fingerprint().len(), 64);
    assert!(Certificate::from_pem_chain("no certificate").is_err());
}

#[test]
fn names_that_are_none_are_refused() {
    let ids = [
        "signet://example.org/x",
        "spiffe://example.org",
        "spiffe:///edge",
        "spiffe://Example.org/edge",
        "spiffe://example.org/",
        "spiffe://example.org/edge/",
        "spiffe://example.org//edge",
        "spiffe://example.org/../edge",
        "spiffe://example.org/edge?x",
        "spiffe://user@example.org/edge",
        "https://example.org/edge",
    ];
    for id in ids {
        let names = TlsNames {
            spiffe_id: Some(id.into()),
            ..node_names()
        };
        assert!(
            matches!(issue(&names, Usage::NODE), Err(CertificateError::Name { .. })),
            "{id}"
        );
    }
    for dns in [
        "",
        ".",
        "a..b",
        "-a.b",
        "a-.b",
        "A.example",
        "a b",
        "*.*.a",
        "*",
        "é.example",
        &"a".repeat(64),
    ] {
        let names = TlsNames {
            dns: vec![dns.into()],
            ..node_names()
        };
        assert!(
            matches!(issue(&names, Usage::NODE), Err(CertificateError::Name { .. })),
            "{dns}"
        );
    }
    let nameless = TlsNames {
        common_name: "x".into(),
        ..TlsNames::default()
    };
    assert!(issue(&nameless, Usage::NODE).is_err());
    assert!(
        issue(
            &node_names(),
            Usage {
                server: false,
                client: false
            }
        )
        .is_err()
    );
}

#[test]
fn a_leaf_issues_nothing_and_the_root_no_cas() {
    let (leaf, root) = issue(&node_names(), Usage::NODE).unwrap();
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let spki = key.public().unwrap().to_spki_der();
    let validity = Validity::starting(NOW, 60);
    let from_leaf = prepare_node(&node_names(), Usage::NODE, spki, validity, [7; 16], &leaf);
    assert_eq!(from_leaf.unwrap_err(), CertificateError::NotAnIssuer);
    let key_name = crate::delegation::KeyName {
        trust_domain: "example.org".into(),
        tenant: "000000000001".into(),
        key: "0b54ae66-5f2f-4a0e-9d7c-2f6c1f1b8a10".into(),
    };
    let ca = crate::delegation::prepare_key_ca(&key_name, spki, validity, [7; 16], &root, false);
    assert_eq!(ca.unwrap_err(), CertificateError::NotAnIssuer);
    let long = Validity::starting(NOW, 86_401);
    let outlives = prepare_node(&node_names(), Usage::NODE, spki, long, [7; 16], &root);
    assert_eq!(outlives.unwrap_err(), CertificateError::Validity);
}
