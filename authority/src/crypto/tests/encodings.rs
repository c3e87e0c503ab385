use ed25519_dalek::pkcs8::PrivateKeyInfoRef;
use proptest::prelude::*;

use super::*;

const ED25519: KeySpec = KeySpec::EccNistEdwards25519;

#[test]
fn stored_keys_read_back_as_themselves() {
    for spec in KeySpec::ALL {
        let key = key(*spec);
        let stored = key.export().unwrap();
        let again = Material::import(*spec, &stored).unwrap();
        assert_eq!(again.public_spki_der(), key.public_spki_der());
        assert!(again.export().unwrap().matches(stored.expose()), "{spec}");
        if let Ok(public) = key.public_key() {
            assert!(again.works_with(&public).unwrap(), "{spec}");
            assert_eq!(Some(public.spki_der()), key.public_spki_der());
            let uploaded = Material::from_pkcs8_upload(*spec, key.private_pkcs8_der().unwrap().expose()).unwrap();
            assert_eq!(uploaded.public_spki_der(), key.public_spki_der());
        }
    }
}

#[test]
fn keys_are_of_one_spec() {
    for (spec, _) in KEY_FILES {
        let stored = Secret::new(pkcs8(spec));
        let public = key(spec).public_spki_der().unwrap().to_vec();
        // A secret is any bytes of its length, so only asymmetric specs can tell.
        let others = KeySpec::ALL
            .iter()
            .filter(|other| **other != spec && other.is_asymmetric());
        for other in others {
            assert!(Material::import(*other, &stored).is_err(), "{spec} as {other}");
            assert!(
                Material::from_pkcs8_upload(*other, stored.expose()).is_err(),
                "{spec} as {other}"
            );
            assert!(PublicKey::from_spki_der(*other, &public).is_err(), "{spec} as {other}");
        }
    }
}

#[test]
fn secrets_of_another_length_are_refused() {
    let lengths = [
        (KeySpec::SymmetricDefault, 32),
        (KeySpec::Hmac224, 28),
        (KeySpec::Hmac256, 32),
        (KeySpec::Hmac384, 48),
        (KeySpec::Hmac512, 64),
    ];
    for (spec, right) in lengths {
        for len in [0, 16, right - 1, right, right + 1, 128] {
            let read = Material::from_pkcs8_upload(spec, &vec![1; len]);
            assert_eq!(read.is_ok(), len == right, "{spec} {len}");
        }
    }
}

#[test]
fn nothing_may_stand_behind_a_key_or_be_missing() {
    for (spec, _) in KEY_FILES {
        let whole = pkcs8(spec);
        let public = key(spec).public_spki_der().unwrap().to_vec();
        for (private, public) in [
            ([&whole[..], &[0]].concat(), [&public[..], &[0]].concat()),
            (whole[..whole.len() - 1].to_vec(), public[..public.len() - 1].to_vec()),
            (Vec::new(), Vec::new()),
            (vec![0x30; 7000], vec![0x30; 7000]),
        ] {
            malformed(Material::from_pkcs8_upload(spec, &private));
            malformed(PublicKey::from_spki_der(spec, &public));
        }
    }
}

/// A bit flipped in the document is no key, or (RSA's redundant parts aside) another key: never this one, working.
#[test]
fn altered_documents_are_not_this_key() {
    for spec in [KeySpec::Rsa2048, KeySpec::EccNistP256, KeySpec::EccSecgP256k1, ED25519] {
        let whole = pkcs8(spec);
        let step = whole.len() / 48 + 1;
        for at in (0..whole.len()).step_by(step) {
            let mut altered = whole.clone();
            altered[at] ^= 0x10;
            if let Ok(read) = Material::from_pkcs8_upload(spec, &altered) {
                assert_ne!(read.public_spki_der(), key(spec).public_spki_der(), "{spec} at {at}");
            }
        }
    }
}

// R26
#[test]
fn a_document_with_another_public_key_is_refused() {
    for (spec, _) in KEY_FILES {
        let whole = pkcs8(spec);
        let spki = key(spec).public_spki_der().unwrap().to_vec();
        let bits = encoding::read_spki(spec, &spki).unwrap();
        let with = |bits: &[u8]| {
            let mut info = PrivateKeyInfoRef::try_from(&whole[..]).unwrap();
            info.public_key = Some(der::asn1::BitStringRef::from_bytes(bits).unwrap());
            der::Encode::to_der(&info).unwrap()
        };
        let version_2 = Material::from_pkcs8_upload(spec, &with(bits));
        assert_eq!(version_2.unwrap().public_spki_der(), Some(&spki[..]));
        let mut another = bits.to_vec();
        *another.last_mut().unwrap() ^= 1;
        let reason = malformed(Material::from_pkcs8_upload(spec, &with(&another)));
        assert_eq!(reason, "the public key in it is another key's", "{spec}");
    }
}

#[test]
fn scalars_out_of_range_are_refused() {
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    for scalar in [vec![0; 32], unhex(order), vec![0xff; 32]] {
        let sec1 = [&[0x30, 0x25, 2, 1, 1, 4, 0x20], &scalar[..]].concat();
        let document = encoding::write_pkcs8(KeySpec::EccNistP256, &sec1).unwrap();
        let reason = malformed(Material::from_pkcs8_upload(KeySpec::EccNistP256, document.expose()));
        assert_eq!(reason, "it is no private key of this curve");
    }
}

#[test]
fn points_of_small_order_are_no_public_keys() {
    let identity = [&[1][..], &[0; 31]].concat();
    let order_8 = unhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
    for point in [identity, order_8] {
        let spki = encoding::write_spki(ED25519, &point).unwrap();
        assert_eq!(
            malformed(PublicKey::from_spki_der(ED25519, &spki)),
            "it is a point of small order"
        );
    }
}

// RFC 8410 sections 4 and 10.1.
#[test]
fn ed25519_is_encoded_as_the_rfc_has_it() {
    let spki = unhex("302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
    assert_eq!(PublicKey::from_spki_der(ED25519, &spki).unwrap().spki_der(), spki);
    assert_eq!(encoding::write_spki(ED25519, &spki[12..]).unwrap(), spki);
}

fn is_shared_between_threads<T: Send + Sync>() {}

#[test]
fn keys_are_shared_between_threads() {
    is_shared_between_threads::<Material>();
    is_shared_between_threads::<PublicKey>();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes behind the right identifiers, which is as far as noise alone would never get.
    #[test]
    fn noise_is_no_key_and_no_panic(noise in prop::collection::vec(any::<u8>(), 0..120)) {
        for spec in KeySpec::ALL.iter().filter(|spec| spec.is_asymmetric()) {
            prop_assert!(Material::from_pkcs8_upload(*spec, &noise).is_err());
            prop_assert!(PublicKey::from_spki_der(*spec, &noise).is_err());
            let document = encoding::write_pkcs8(*spec, &noise).unwrap();
            prop_assert!(Material::from_pkcs8_upload(*spec, document.expose()).is_err());
            let spki = encoding::write_spki(*spec, &noise).unwrap();
            prop_assert!(*spec == ED25519 && noise.len() == 32 || PublicKey::from_spki_der(*spec, &spki).is_err());
        }
    }
}
