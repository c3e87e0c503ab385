//! What is not issued, and what makes no certificate.

use super::*;
use crate::format::raw::{self, Encoding, Payload};

#[test]
fn a_key_ca_makes_no_cas() {
    let root = root();
    let ca = key_ca(&root);
    let below = SigningKey::generate(Algorithm::Es256).unwrap();
    let made = prepare_key_ca(
        &name(KEY).key_name(),
        spki(&below),
        Validity::starting(NOW, DAY),
        serial(),
        &ca.certificate,
        true,
    );
    assert_eq!(made.unwrap_err(), CertificateError::NotAnIssuer);
    let edge = SigningKey::generate(Algorithm::Es256).unwrap();
    let leaf = leaf_at(&ca, &edge, Validity::starting(NOW, DAY)).unwrap();
    let from_leaf = prepare_leaf(
        &name(KEY),
        &scope(),
        spki(&edge),
        Validity::starting(NOW, 1),
        serial(),
        &leaf,
        true,
    );
    assert_eq!(from_leaf.unwrap_err(), CertificateError::NotAnIssuer);
    let ed25519 = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let validity = Validity::starting(NOW, DAY);
    let made = prepare_key_ca(
        &name(KEY).key_name(),
        spki(&ed25519),
        validity,
        serial(),
        &root.certificate,
        true,
    );
    assert_eq!(made.unwrap_err(), CertificateError::NotAnIssuer);
}

// R27
#[test]
fn a_wrong_signature_makes_no_certificate() {
    let root = root();
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let prepare = || {
        let validity = Validity::starting(NOW, DAY);
        prepare_key_ca(
            &name(KEY).key_name(),
            spki(&key),
            validity,
            serial(),
            &root.certificate,
            true,
        )
        .unwrap()
    };
    let stranger = SigningKey::generate(Algorithm::Es384).unwrap();
    assert_eq!(prepare().sign_with(&stranger), Err(CertificateError::Signature));
    assert_eq!(prepare().sign_with(&key), Err(CertificateError::Signature));
    assert_eq!(prepare().finish(b""), Err(CertificateError::Signature));
    let other = raw::sign(&root.key, Payload::Message(prepare().tbs()), Encoding::Der).unwrap();
    // The right key over another certificate: serial numbers differ.
    assert_eq!(prepare().finish(&other), Err(CertificateError::Signature));
}

#[test]
fn what_cannot_be_issued_says_why() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let validity = Validity::starting(NOW, DAY);
    let root = |name: &str, validity, serial| prepare_root(name, spki(&key), validity, serial);
    assert_eq!(root("r", validity, [0; 16]).unwrap_err(), CertificateError::Serial);
    let empty = Validity {
        not_before: NOW,
        not_after: NOW,
    };
    assert_eq!(root("r", empty, serial()).unwrap_err(), CertificateError::Validity);
    let endless = Validity {
        not_before: NOW,
        not_after: u64::MAX,
    };
    assert_eq!(root("r", endless, serial()).unwrap_err(), CertificateError::Validity);
    for bad in ["", "a\nb", "é", &"x".repeat(65)] {
        assert!(
            matches!(root(bad, validity, serial()), Err(CertificateError::Name { .. })),
            "{bad}"
        );
    }
    assert!(matches!(
        prepare_root("r", b"not a key", validity, serial()),
        Err(CertificateError::Key(_))
    ));
    let secret_root = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let made = prepare_root("r", spki(&secret_root), validity, serial());
    assert_eq!(made.unwrap_err(), CertificateError::NotAnIssuer);
}

#[test]
fn possession_messages_never_coincide() {
    let message = possession_message("example.org", "fra-1", "1", KEY, b"spki");
    assert!(message.starts_with(b"\0\0\0\x14signet delegation v1\0\0\0\x0bexample.org\0\0\0\x05fra-1"));
    let moved = possession_message("example.org", "fra-11", "", KEY, b"spki");
    assert_ne!(message, moved);
    assert_ne!(
        possession_message("a", "bc", "", "", b""),
        possession_message("ab", "c", "", "", b"")
    );
}
