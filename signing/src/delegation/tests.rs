mod chain;
mod issuing;
mod openssl;

use super::*;
use crate::algorithm::Algorithm;
use crate::certificate::{Certificate, CertificateError, Validity};
use crate::key::{SigningKey, random_bytes};

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;
const KEY: &str = "0b54ae66-5f2f-4a0e-9d7c-2f6c1f1b8a10";
const OTHER_KEY: &str = "1b54ae66-5f2f-4a0e-9d7c-2f6c1f1b8a10";

fn serial() -> [u8; 16] {
    random_bytes().unwrap()
}

fn spki(key: &SigningKey) -> &[u8] {
    key.public().unwrap().to_spki_der()
}

fn name(key: &str) -> DelegationName {
    DelegationName {
        trust_domain: "example.org".into(),
        tenant: "000000000001".into(),
        key: key.into(),
        version: 1,
        edge: "fra-1".into(),
        incarnation: "6f00d2c5b3a14f5e8d7c6b5a49382716".into(),
    }
}

fn scope() -> Scope {
    Scope {
        formats: vec!["raw".into()],
        issuer: None,
        audiences: vec![],
        max_lifetime: 3600,
    }
}

struct Ca {
    key: SigningKey,
    certificate: Certificate,
}

fn root_at(algorithm: Algorithm, validity: Validity) -> Ca {
    let key = SigningKey::generate(algorithm).unwrap();
    let prepared = prepare_root("Signet delegation root", spki(&key), validity, serial()).unwrap();
    assert_eq!(prepared.algorithm(), algorithm);
    Ca {
        certificate: prepared.sign_with(&key).unwrap(),
        key,
    }
}

fn root() -> Ca {
    root_at(Algorithm::Es384, Validity::starting(NOW, 3650 * DAY))
}

fn key_ca_of(root: &Ca, name: &KeyName, validity: Validity) -> Ca {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let prepared = prepare_key_ca(name, spki(&key), validity, serial(), &root.certificate, true).unwrap();
    Ca {
        certificate: prepared.sign_with(&root.key).unwrap(),
        key,
    }
}

fn key_ca(root: &Ca) -> Ca {
    key_ca_of(root, &name(KEY).key_name(), Validity::starting(NOW, 365 * DAY))
}

fn leaf_at(ca: &Ca, edge: &SigningKey, validity: Validity) -> Result<Certificate, CertificateError> {
    prepare_leaf(
        &name(KEY),
        &scope(),
        spki(edge),
        validity,
        serial(),
        &ca.certificate,
        true,
    )?
    .sign_with(&ca.key)
}

/// Leaf, CA and root, as an edge receives them.
fn chain_of(certificates: [&Certificate; 3]) -> Vec<Vec<u8>> {
    certificates.into_iter().map(|one| one.der().to_vec()).collect()
}
