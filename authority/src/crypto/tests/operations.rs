use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};

use super::*;
use crate::crypto::algorithm::MAX_MESSAGE;

const MESSAGE: &[u8] = b"what is signed here";

/// The digest that a caller computes for this algorithm.
fn digest_of(algorithm: SigningAlgorithm, message: &[u8]) -> Vec<u8> {
    let hash = match algorithm.digest_len().unwrap() {
        32 => &SHA256,
        48 => &SHA384,
        _ => &SHA512,
    };
    digest(hash, message).as_ref().to_vec()
}

fn signing(spec: KeySpec) -> &'static [SigningAlgorithm] {
    spec.signing_algorithms(KeyUsage::SignVerify)
}

#[test]
fn a_digest_signs_like_its_message() {
    for (spec, _) in KEY_FILES
        .into_iter()
        .filter(|(spec, _)| *spec != KeySpec::EccNistEdwards25519)
    {
        let key = key(spec);
        let public = key.public_key().unwrap();
        for algorithm in signing(spec) {
            let digest = digest_of(*algorithm, MESSAGE);
            let of_message = key.sign(*algorithm, Message::Raw(MESSAGE)).unwrap();
            let of_digest = key.sign(*algorithm, Message::Digest(&digest)).unwrap();
            for message in [Message::Raw(MESSAGE), Message::Digest(&digest)] {
                public.verify(*algorithm, message, &of_message).unwrap();
                public.verify(*algorithm, message, &of_digest).unwrap();
            }
            assert_eq!(
                public.verify(*algorithm, Message::Raw(&digest), &of_digest),
                Err(CryptoError::BadSignature)
            );
        }
    }
}

#[test]
fn altered_signatures_and_messages_do_not_verify() {
    for spec in KeySpec::ALL.iter().filter(|spec| !signing(**spec).is_empty()) {
        let key = key(*spec);
        let public = key.public_key().unwrap();
        for algorithm in signing(*spec) {
            let zeros = vec![0; algorithm.digest_len().unwrap_or_default()];
            let ones = vec![1; zeros.len()];
            let (message, another) = match algorithm {
                SigningAlgorithm::Ed25519PhSha512 => (Message::Digest(&zeros), Message::Digest(&ones)),
                _ => (Message::Raw(MESSAGE), Message::Raw(b"what was not")),
            };
            let bad = |message, signature: &[u8]| {
                let verdict = public.verify(*algorithm, message, signature);
                assert_eq!(verdict, Err(CryptoError::BadSignature), "{spec} {algorithm}");
            };
            let signature = key.sign(*algorithm, message).unwrap();
            public.verify(*algorithm, message, &signature).unwrap();
            bad(another, &signature);
            for at in [0, signature.len() / 2, signature.len() - 1] {
                let mut altered = signature.clone();
                altered[at] ^= 1;
                bad(message, &altered);
            }
            bad(message, &signature[1..]);
            bad(message, &[&signature[..], &[0]].concat());
            bad(message, &[]);
        }
    }
}

// R1
#[test]
fn an_algorithm_of_another_spec_is_refused() {
    for spec in KeySpec::ALL {
        let key = key(*spec);
        for algorithm in SigningAlgorithm::ALL
            .iter()
            .filter(|known| !signing(*spec).contains(known))
        {
            let message = vec![0; algorithm.digest_len().unwrap_or_default()];
            let message = match algorithm {
                SigningAlgorithm::Ed25519PhSha512 => Message::Digest(&message),
                _ => Message::Raw(&message),
            };
            let refused = CryptoError::Algorithm {
                spec: *spec,
                algorithm: algorithm.as_str(),
            };
            assert_eq!(key.sign(*algorithm, message), Err(refused.clone()));
            if let Ok(public) = key.public_key() {
                assert_eq!(public.verify(*algorithm, message, &[]), Err(refused));
            }
        }
    }
}

#[test]
fn keys_do_what_their_spec_does_and_nothing_else() {
    let refused = |result: Result<(), CryptoError>| matches!(result, Err(CryptoError::Operation { .. }));
    for spec in KeySpec::ALL {
        let key = key(*spec);
        let oaep = EncryptionAlgorithm::RsaesOaepSha256;
        let rsa = matches!(spec, KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096);
        let may = |usage| spec.allows(usage);
        assert_eq!(!refused(key.decrypt(oaep, &[]).map(drop)), rsa, "{spec}");
        let mac = key.mac(MacAlgorithm::HmacSha256, MESSAGE);
        assert_eq!(!refused(mac.map(drop)), may(KeyUsage::GenerateVerifyMac), "{spec}");
        let verified = key.verify_mac(MacAlgorithm::HmacSha256, MESSAGE, &[]);
        assert_eq!(!refused(verified), may(KeyUsage::GenerateVerifyMac), "{spec}");
        let derived = key.derive_shared_secret(&[]);
        assert_eq!(!refused(derived.map(drop)), may(KeyUsage::KeyAgreement), "{spec}");
        let decapsulated = key.decapsulate(&[]);
        assert_eq!(
            !refused(decapsulated.map(drop)),
            may(KeyUsage::EncapsulateDecapsulate),
            "{spec}"
        );
        assert_eq!(key.public_spki_der().is_some(), spec.is_asymmetric());
        let Ok(public) = key.public_key() else {
            assert!(!spec.is_asymmetric());
            assert!(refused(PublicKey::from_spki_der(*spec, &[]).map(drop)));
            continue;
        };
        assert_eq!(!refused(public.encrypt(oaep, b"x").map(drop)), rsa, "{spec}");
        let encapsulated = public.encapsulate();
        assert_eq!(
            !refused(encapsulated.map(drop)),
            may(KeyUsage::EncapsulateDecapsulate),
            "{spec}"
        );
    }
}

#[test]
fn oaep_takes_what_fits_and_fails_alike() {
    use EncryptionAlgorithm::{RsaesOaepSha1, RsaesOaepSha256};
    for spec in [KeySpec::Rsa2048, KeySpec::Rsa3072, KeySpec::Rsa4096] {
        let key = key(spec);
        let public = key.public_key().unwrap();
        for (algorithm, other) in [(RsaesOaepSha1, RsaesOaepSha256), (RsaesOaepSha256, RsaesOaepSha1)] {
            let max = spec.max_plaintext(algorithm).unwrap();
            for len in [0, 1, max] {
                let plaintext = vec![0xa5; len];
                let ciphertext = public.encrypt(algorithm, &plaintext).unwrap();
                assert_eq!(*key.decrypt(algorithm, &ciphertext).unwrap(), plaintext);
            }
            let (min, actual) = (0, max + 1);
            assert_eq!(
                public.encrypt(algorithm, &vec![0; actual]),
                Err(CryptoError::MessageLength { min, max, actual })
            );
            let ciphertext = public.encrypt(algorithm, MESSAGE).unwrap();
            let bad = Err(CryptoError::BadCiphertext(BadCiphertext));
            assert_eq!(key.decrypt(other, &ciphertext), bad);
            assert_eq!(key.decrypt(algorithm, &ciphertext[1..]), bad);
            assert_eq!(key.decrypt(algorithm, &[]), bad);
            let mut altered = ciphertext;
            altered[100] ^= 1;
            assert_eq!(key.decrypt(algorithm, &altered), bad);
        }
        let symmetric = EncryptionAlgorithm::SymmetricDefault;
        let algorithm = symmetric.as_str();
        let refused = CryptoError::Algorithm { spec, algorithm };
        assert_eq!(public.encrypt(symmetric, b"x"), Err(refused.clone()));
        assert_eq!(key.decrypt(symmetric, &[]), Err(refused));
    }
}

#[test]
fn macs_are_whole_and_of_the_keys_own_hash() {
    for spec in [KeySpec::Hmac224, KeySpec::Hmac256, KeySpec::Hmac384, KeySpec::Hmac512] {
        let own = spec.mac_algorithms(KeyUsage::GenerateVerifyMac)[0];
        let key = key(spec);
        let mac = key.mac(own, MESSAGE).unwrap();
        assert_eq!(mac.len(), own.tag_len());
        key.verify_mac(own, MESSAGE, &mac).unwrap();
        let bad = |message, mac: &[u8]| assert_eq!(key.verify_mac(own, message, mac), Err(CryptoError::BadMac));
        bad(b"another", &mac);
        bad(MESSAGE, &mac[..16]);
        bad(MESSAGE, &[&mac[..], &[0]].concat());
        assert_eq!(other(spec, 8).verify_mac(own, MESSAGE, &mac), Err(CryptoError::BadMac));
        for algorithm in MacAlgorithm::ALL.iter().filter(|algorithm| **algorithm != own) {
            assert!(matches!(
                key.mac(*algorithm, MESSAGE),
                Err(CryptoError::Algorithm { .. })
            ));
        }
        assert!(matches!(
            key.mac(own, &vec![0; MAX_MESSAGE + 1]),
            Err(CryptoError::MessageLength { .. })
        ));
    }
}

#[test]
fn both_sides_agree_on_a_secret() {
    for (spec, len) in [
        (KeySpec::EccNistP256, 32),
        (KeySpec::EccNistP384, 48),
        (KeySpec::EccNistP521, 66),
    ] {
        let (ours, theirs) = (key(spec), Material::generate(spec).unwrap());
        let secret = ours.derive_shared_secret(theirs.public_spki_der().unwrap()).unwrap();
        let same = theirs.derive_shared_secret(ours.public_spki_der().unwrap()).unwrap();
        assert!(secret.matches(same.expose()) && secret.len() == len);
    }
}

#[test]
fn peers_of_another_curve_or_off_the_curve_are_refused() {
    let ours = key(KeySpec::EccNistP256);
    let other_curve = key(KeySpec::EccNistP384);
    let reason = malformed(ours.derive_shared_secret(other_curve.public_spki_der().unwrap()));
    assert_eq!(reason, "it is of another algorithm, size or curve");
    let same_length = key(KeySpec::EccSecgP256k1);
    let reason = malformed(ours.derive_shared_secret(same_length.public_spki_der().unwrap()));
    assert_eq!(reason, "it is of another algorithm, size or curve");

    let own = ours.public_spki_der().unwrap();
    let point = own.len() - 65;
    let mut off = own.to_vec();
    *off.last_mut().unwrap() ^= 1;
    let mut relabelled = own[..point].to_vec();
    relabelled.extend(&same_length.public_spki_der().unwrap()[same_length.public_spki_der().unwrap().len() - 65..]);
    let mut infinity = own.to_vec();
    infinity[point + 1..].fill(0);
    for spki in [off, relabelled, infinity] {
        assert_eq!(
            malformed(ours.derive_shared_secret(&spki)),
            "the point is not on the curve"
        );
        assert_eq!(
            malformed(PublicKey::from_spki_der(KeySpec::EccNistP256, &spki)),
            "the point is not on the curve"
        );
    }
    let mut hybrid = own.to_vec();
    hybrid[point] = 6;
    assert_eq!(
        malformed(ours.derive_shared_secret(&hybrid)),
        "it must be an uncompressed point"
    );
}

// R24
#[test]
fn new_keys_work_and_differ() {
    for spec in KeySpec::ALL
        .iter()
        .filter(|spec| !matches!(spec, KeySpec::Rsa3072 | KeySpec::Rsa4096))
    {
        let (one, two) = (Material::generate(*spec).unwrap(), Material::generate(*spec).unwrap());
        assert_eq!(one.spec(), *spec);
        assert!(!one.export().unwrap().matches(two.export().unwrap().expose()));
        assert!(spec.is_asymmetric() == (one.public_spki_der() != two.public_spki_der()));
        assert_eq!(format!("{one:?}"), format!("Material({spec} [redacted])"));
    }
}

// R24
#[test]
fn a_pair_that_does_not_match_fails_its_self_test() {
    for spec in KeySpec::ALL.iter().filter(|spec| spec.is_asymmetric()) {
        if matches!(spec, KeySpec::Rsa3072 | KeySpec::Rsa4096) {
            continue;
        }
        let one = key(*spec);
        assert!(one.works_with(&one.public_key().unwrap()).unwrap(), "{spec}");
        let two = Material::generate(*spec).unwrap().public_key().unwrap();
        assert!(!one.works_with(&two).unwrap_or(false), "{spec}");
    }
}
