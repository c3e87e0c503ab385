//! Signatures that do not verify.

use signing::algorithm::Algorithm;
use signing::certificate::{Certificate, Validity};
use signing::claims::Claims;
use signing::delegation::{DelegationName, Scope, prepare_key_ca, prepare_leaf, prepare_root};
use signing::format::jwt;
use signing::format::raw::{self, Encoding, Payload};
use signing::key::{SigningKey, random_bytes};
use signing::{Digest, DigestAlgorithm};

use super::*;
use crate::chaos::load::Signed;

// R27
#[test]
fn a_token_that_does_not_verify_is_found() {
    let (key, other) = (generate(), generate());
    let token = jwt::mint(&key, &jwt::Header::default(), &Claims::default()).unwrap();
    let mut seen = seen(vec![answer(Mode::Reserve, 1, 2, "a")]);
    let mut check = |token: &str, kid: &str, public: &SigningKey| {
        Arc::make_mut(&mut seen.answers)[0].signed = Some(Signed::Token(token.into()));
        seen.published = HashMap::from([(kid.to_owned(), public.public().unwrap().clone())]);
        let checked = seen.check();
        let Verified {
            tokens, unpublished, ..
        } = checked.verified;
        (checked.violations.len(), tokens, unpublished)
    };
    assert_eq!(check(&token, key.kid(), &key), (0, 1, 0));
    assert_eq!(check(&token, other.kid(), &other), (0, 0, 1));
    assert_eq!(check(&token, key.kid(), &other), (1, 0, 0));
    let es384 = SigningKey::generate(Algorithm::Es384).unwrap();
    assert_eq!(check(&token, key.kid(), &es384), (1, 0, 0));
    let (start, last) = token.split_at(token.len() - 8);
    let turned = if last.starts_with('A') { "B" } else { "A" };
    let turned = format!("{start}{turned}{}", &last[1..]);
    assert_eq!(check(&turned, key.kid(), &key), (1, 0, 0));
    assert_eq!(check("a.b", key.kid(), &key), (1, 0, 0));
}

fn generate() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).unwrap()
}

/// A chain as an edge has it, of a key that counts for an hour from the beginning of the run: leaf, CA and root.
fn chain(edge: &SigningKey) -> [Certificate; 3] {
    let name = DelegationName {
        trust_domain: "example.org".into(),
        tenant: "000000000001".into(),
        key: "0b54ae66-5f2f-4a0e-9d7c-2f6c1f1b8a10".into(),
        version: 1,
        edge: "edge-0".into(),
        incarnation: "1".into(),
    };
    let scope = Scope {
        formats: vec!["raw".into()],
        issuer: None,
        audiences: Vec::new(),
        max_lifetime: 3_600,
    };
    let (root_key, ca_key) = (SigningKey::generate(Algorithm::Es384).unwrap(), generate());
    let spki = |key: &SigningKey| key.public().unwrap().to_spki_der().to_vec();
    let (validity, serial) = (Validity::starting(BEGUN / 1_000, 3_600), || random_bytes().unwrap());
    let root = prepare_root("root", &spki(&root_key), validity, serial()).unwrap();
    let root = root.sign_with(&root_key).unwrap();
    let ca = prepare_key_ca(&name.key_name(), &spki(&ca_key), validity, serial(), &root, true).unwrap();
    let ca = ca.sign_with(&root_key).unwrap();
    let leaf = prepare_leaf(&name, &scope, &spki(edge), validity, serial(), &ca, true).unwrap();
    [leaf.sign_with(&ca_key).unwrap(), ca, root]
}

// R27
#[test]
fn an_artifact_whose_chain_or_signature_does_not_verify_is_found() {
    let key = generate();
    let [leaf, ca, root] = chain(&key);
    let pem = |certificates: &[&Certificate]| certificates.iter().map(|one| one.to_pem()).collect::<String>();
    let body: serde_json::Value = serde_json::from_str(PROFILES[1].body).unwrap();
    let asked: Digest = body["digest"].as_str().unwrap().parse().unwrap();
    let sign = |key: &SigningKey, digest: &Digest| raw::sign(key, Payload::Digest(digest), Encoding::Der).unwrap();
    let mut seen = seen(vec![answer(Mode::Commit, 1, 2, "a")]);
    seen.roots = vec![root.der().to_vec()];
    let check = |seen: &mut Seen, signature: &[u8], chain: &str| {
        Arc::make_mut(&mut seen.answers)[0].signed = Some(Signed::Artifact {
            signature: signature.to_vec(),
            chain: chain.into(),
        });
        let checked = seen.check();
        (checked.violations.len(), checked.verified.artifacts)
    };
    let (good, whole) = (sign(&key, &asked), pem(&[&leaf, &ca, &root]));
    assert_eq!(check(&mut seen, &good, &whole), (0, 1));
    assert_eq!(check(&mut seen, &sign(&generate(), &asked), &whole), (1, 0));
    let other = Digest::of(DigestAlgorithm::Sha256, b"something else");
    assert_eq!(check(&mut seen, &sign(&key, &other), &whole), (1, 0));
    assert_eq!(check(&mut seen, &good, &pem(&[&leaf])), (1, 0), "no path");
    assert_eq!(check(&mut seen, &good, ""), (1, 0));
    // It has expired, but by the clock of an authority that was stepped.
    seen.begun_ms += 7_200_000;
    assert_eq!(check(&mut seen, &good, &whole), (1, 0));
    seen.steps = vec![-7_200];
    assert_eq!(check(&mut seen, &good, &whole), (0, 1));
    let stranger = chain(&generate());
    seen.roots = vec![stranger[2].der().to_vec()];
    assert_eq!(check(&mut seen, &good, &whole), (1, 0), "another root");
}
