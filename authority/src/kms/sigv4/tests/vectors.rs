//! Requests that other implementations of the signature made, in files a person can read.
//!
//! Each is signed with the key pair of the service's documentation (`AKIDEXAMPLE`). Of what the documentation prints,
//! `get-vanilla` and `iam-list-users` have the printed signatures; the rest were made by one SDK's own signer, and another
//! SDK's agrees on every one that has an `X-Amz-Date`.

use std::path::PathBuf;

use super::*;

struct Vector {
    name: String,
    parts: Parts,
    body: Vec<u8>,
    canonical: String,
}

fn vectors() -> Vec<Vector> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/kms/sigv4/vectors");
    let mut vectors: Vec<Vector> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            parse(path.file_stem().unwrap().to_str().unwrap(), &text)
        })
        .collect();
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    vectors
}

/// Comments, request line, fields, an empty line, the body, and after a separator the canonical request.
fn parse(name: &str, text: &str) -> Vector {
    let (request, canonical) = text.split_once("\n=== canonical request\n").expect(name);
    let (fields, body) = request.split_once("\n\n").expect(name);
    let mut lines = fields.lines().filter(|line| !line.starts_with('#'));
    let mut first = lines.next().expect(name).split(' ');
    let (method, target) = (first.next().expect(name), first.next().expect(name));
    let mut uri = target.to_owned();
    let mut headers = Vec::new();
    for line in lines {
        match line.strip_prefix(":authority: ") {
            Some(authority) => uri = format!("https://{authority}{target}"),
            None => {
                let (name, value) = line.split_once(':').expect(name);
                // One space belongs to the form; more is the value's, and for the canonical request to trim.
                headers.push((name, value.strip_prefix(' ').unwrap_or(value)));
            }
        }
    }
    Vector {
        name: name.to_owned(),
        parts: head(method, &uri, &headers),
        body: body.as_bytes().to_vec(),
        canonical: canonical.strip_suffix('\n').expect(name).to_owned(),
    }
}

fn canonical_of(vector: &Vector) -> String {
    let claim = Claim::read(&vector.parts, NOW).expect(&vector.name);
    let payload = hex(&sha256(&vector.body));
    let mut text = Vec::new();
    canonical::write(
        &vector.parts,
        &claim.query,
        &claim.authorization.signed,
        &payload,
        &mut |bytes| text.extend_from_slice(bytes),
    );
    String::from_utf8(text).unwrap()
}

#[test]
fn every_vector_has_its_canonical_request_and_verifies() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 29);
    for vector in vectors {
        assert_eq!(canonical_of(&vector), vector.canonical, "{}", vector.name);
        let verified = verify(&vector.parts, &vector.body).expect(&vector.name);
        assert_eq!(verified.access_key_id(), "AKIDEXAMPLE");
    }
}

#[test]
fn the_documented_signatures_are_among_them() {
    let documented = [
        (
            "get-vanilla",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "iam-list-users",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
    ];
    let vectors = vectors();
    for (name, signature) in documented {
        let vector = vectors.iter().find(|vector| vector.name == name).unwrap();
        let claim = Claim::read(&vector.parts, NOW).unwrap();
        assert_eq!(hex(&claim.authorization.signature), signature, "{name}");
    }
}

#[test]
fn no_vector_verifies_with_another_secret_or_body() {
    let other = Secret::new(b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEZ".to_vec());
    for vector in vectors() {
        let claim = || Claim::read(&vector.parts, NOW).unwrap();
        assert!(claim().verify(&other, &vector.body).is_err(), "{}", vector.name);
        assert!(
            claim().verify(&Secret::new(Vec::new()), &vector.body).is_err(),
            "{}",
            vector.name
        );
        let mut body = vector.body.clone();
        body.push(b' ');
        assert!(claim().verify(&secret(), &body).is_err(), "{}", vector.name);
    }
}

#[test]
fn the_signer_for_tests_makes_what_the_vectors_have() {
    for vector in vectors() {
        let claim = Claim::read(&vector.parts, NOW).unwrap();
        let signer = Signer {
            region: claim.region(),
            service: claim.service(),
            ..SIGNER
        };
        let mut parts = vector.parts.clone();
        signer
            .sign_only(&mut parts, &vector.body, &claim.authorization.signed)
            .unwrap();
        let field = |parts: &Parts| parts.headers[AUTHORIZATION].to_str().unwrap().to_owned();
        assert_eq!(field(&parts), field(&vector.parts), "{}", vector.name);
    }
}

#[test]
fn paths_are_normalised_as_the_service_does() {
    for (path, normal) in [
        ("/", "/"),
        ("//", "/"),
        ("/.", "/"),
        ("/..", "/"),
        ("/../a", "/a"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/b/../..", "/"),
        ("/a/b/..", "/a"),
        ("/a/b/../", "/a/"),
        ("/./a", "/a"),
        ("//a//", "/a/"),
        ("/a/...", "/a/..."),
        ("/%2E%2e/a", "/%252E%252e/a"),
        ("/a%2fb", "/a%252fb"),
        ("/a+b*", "/a%2Bb%2A"),
    ] {
        let mut parts = head("GET", path, &[("host", "h")]);
        parts.headers.insert("host", HeaderValue::from_static("h"));
        let mut text = Vec::new();
        canonical::write(&parts, &Vec::new(), &["host"], "", &mut |bytes| {
            text.extend_from_slice(bytes)
        });
        assert_eq!(
            String::from_utf8(text).unwrap(),
            format!("GET\n{normal}\n\nhost:h\n\nhost\n")
        );
    }
}
