//! The whole module from outside, and against other implementations. Data: `authority/vectors/` and `signing/vectors/`.

mod encodings;
mod envelope;
mod openssl;
mod operations;
mod post_quantum;
mod spec;
mod wycheproof;

use signing::key::Secret;

use super::*;

/// Every spec with a private key in `vectors/test-keys/`, all of them made by openssl.
pub(super) const KEY_FILES: [(KeySpec, &str); 8] = [
    (KeySpec::Rsa2048, "rsa-2048"),
    (KeySpec::Rsa3072, "rsa-3072"),
    (KeySpec::Rsa4096, "rsa-4096"),
    (KeySpec::EccNistP256, "ec-p256"),
    (KeySpec::EccNistP384, "ec-p384"),
    (KeySpec::EccNistP521, "ec-p521"),
    (KeySpec::EccSecgP256k1, "ec-secp256k1"),
    (KeySpec::EccNistEdwards25519, "ed25519"),
];

pub(super) const ML_DSA: [KeySpec; 3] = [KeySpec::MlDsa44, KeySpec::MlDsa65, KeySpec::MlDsa87];
pub(super) const ML_KEM: [KeySpec; 3] = [KeySpec::MlKem512, KeySpec::MlKem768, KeySpec::MlKem1024];

pub(super) fn read(path: &str) -> Vec<u8> {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(super) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.is_ascii(), "{text}");
    let pair = |i: usize| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
    (0..text.len() / 2).map(pair).collect()
}

pub(super) fn pkcs8(spec: KeySpec) -> Vec<u8> {
    let (_, name) = KEY_FILES.iter().find(|(known, _)| *known == spec).unwrap();
    read(&format!("vectors/test-keys/test-key-{name}.pkcs8.der"))
}

/// A key of this spec, the same one every time.
pub(super) fn key(spec: KeySpec) -> Material {
    if KEY_FILES.iter().any(|(known, _)| *known == spec) {
        return Material::from_pkcs8_upload(spec, &pkcs8(spec)).unwrap();
    }
    other(spec, 7)
}

/// A key whose secret or seed is one byte, over and over; not for RSA and curves.
pub(super) fn other(spec: KeySpec, byte: u8) -> Material {
    let len = match spec {
        KeySpec::Hmac224 => 28,
        KeySpec::Hmac384 => 48,
        KeySpec::Hmac512 | KeySpec::MlKem512 | KeySpec::MlKem768 | KeySpec::MlKem1024 => 64,
        _ => 32,
    };
    Material::import(spec, &Secret::new(vec![byte; len])).unwrap()
}

pub(super) fn malformed<T: std::fmt::Debug>(result: Result<T, CryptoError>) -> &'static str {
    match result {
        Err(CryptoError::MalformedKey { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}
