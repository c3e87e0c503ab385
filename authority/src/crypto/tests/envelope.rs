use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};

use super::*;
use crate::crypto::envelope::{MAX_WRAPPED, unwrap};

fn wrap(wrapping: &Material, algorithm: WrappingAlgorithm, material: &[u8]) -> Vec<u8> {
    let public = wrapping.public_key().unwrap();
    let (oaep, key_wrap) = match algorithm {
        WrappingAlgorithm::RsaesOaepSha1 => (EncryptionAlgorithm::RsaesOaepSha1, false),
        WrappingAlgorithm::RsaesOaepSha256 => (EncryptionAlgorithm::RsaesOaepSha256, false),
        WrappingAlgorithm::RsaAesKeyWrapSha1 => (EncryptionAlgorithm::RsaesOaepSha1, true),
        WrappingAlgorithm::RsaAesKeyWrapSha256 => (EncryptionAlgorithm::RsaesOaepSha256, true),
    };
    if !key_wrap {
        return public.encrypt(oaep, material).unwrap();
    }
    let aes_key = [0x42; 32];
    let mut buffer = vec![0; material.len() + 15];
    let kek = AesKek::new(&AES_256, &aes_key).unwrap();
    let wrapped = kek.wrap_with_padding(material, &mut buffer).unwrap();
    [&public.encrypt(oaep, &aes_key).unwrap(), &*wrapped].concat()
}

#[test]
fn material_of_every_spec_is_brought_in_every_way_that_fits() {
    for wrapping in WrappingKeySpec::ALL {
        let wrapping_key = key(wrapping.key_spec());
        for algorithm in WrappingAlgorithm::ALL {
            for spec in KeySpec::ALL.iter().filter(|spec| algorithm.fits(*wrapping, **spec)) {
                let own = key(*spec);
                let plaintext = match own.private_pkcs8_der() {
                    Ok(document) => document,
                    Err(_) => own.export().unwrap(),
                };
                let wrapped = wrap(&wrapping_key, *algorithm, plaintext.expose());
                let unwrapped = unwrap(&wrapping_key, *algorithm, &wrapped).unwrap();
                let read = Material::from_pkcs8_upload(*spec, unwrapped.expose()).unwrap();
                assert!(read.export().unwrap().matches(own.export().unwrap().expose()), "{spec}");
            }
        }
    }
}

#[test]
fn what_fits_is_as_documented() {
    use WrappingKeySpec::{Rsa2048, Rsa4096};
    let oaep = WrappingAlgorithm::RsaesOaepSha256;
    let key_wrap = WrappingAlgorithm::RsaAesKeyWrapSha256;
    for (algorithm, wrapping, spec, fits) in [
        (oaep, Rsa2048, KeySpec::SymmetricDefault, true),
        (oaep, Rsa2048, KeySpec::Hmac512, true),
        (oaep, Rsa4096, KeySpec::Rsa2048, false),
        (oaep, Rsa2048, KeySpec::EccNistP521, false),
        (oaep, Rsa4096, KeySpec::EccNistP521, true),
        (oaep, Rsa2048, KeySpec::EccNistP384, true),
        (key_wrap, Rsa2048, KeySpec::EccNistP521, true),
        (key_wrap, Rsa2048, KeySpec::Rsa4096, true),
        (key_wrap, Rsa2048, KeySpec::SymmetricDefault, false),
        (key_wrap, Rsa2048, KeySpec::Hmac256, false),
    ] {
        assert_eq!(algorithm.fits(wrapping, spec), fits, "{algorithm} {wrapping} {spec}");
    }
}

#[test]
fn whatever_is_wrong_the_answer_is_the_same() {
    let bad = CryptoError::BadCiphertext(BadCiphertext);
    let (wrapping, another) = (key(KeySpec::Rsa2048), Material::generate(KeySpec::Rsa2048).unwrap());
    for algorithm in WrappingAlgorithm::ALL {
        let wrapped = wrap(&wrapping, *algorithm, &[5; 32]);
        assert!(unwrap(&wrapping, *algorithm, &wrapped).unwrap().matches(&[5; 32]));
        assert_eq!(unwrap(&another, *algorithm, &wrapped).unwrap_err(), bad);
        for other in WrappingAlgorithm::ALL.iter().filter(|other| *other != algorithm) {
            assert_eq!(
                unwrap(&wrapping, *other, &wrapped).unwrap_err(),
                bad,
                "{algorithm} as {other}"
            );
        }
        for at in [0, 255, wrapped.len() - 1] {
            let mut altered = wrapped.clone();
            altered[at] ^= 1;
            assert_eq!(unwrap(&wrapping, *algorithm, &altered).unwrap_err(), bad);
        }
        for len in [0, 1, 255, 256, wrapped.len() - 1] {
            let cut = &wrapped[..len.min(wrapped.len() - 1)];
            assert_eq!(unwrap(&wrapping, *algorithm, cut).unwrap_err(), bad, "{len}");
        }
        let long = vec![0; MAX_WRAPPED + 1];
        assert_eq!(unwrap(&wrapping, *algorithm, &long).unwrap_err(), bad);
        assert!(matches!(
            unwrap(&key(KeySpec::EccNistP256), *algorithm, &wrapped),
            Err(CryptoError::Operation { .. })
        ));
    }
}
