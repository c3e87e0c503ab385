//! Every algorithm that signs, against the other family: what one makes the other verifies, and what one refuses the
//! other refuses.

use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use ed25519_dalek::{Signer as _, Verifier as _};
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use proptest::prelude::*;

use crate::algorithm::Algorithm;
use crate::digest::Digest;
use crate::key::{PublicKey, Secret, SigningKey};

/// Cases a property: 256 usually, `SIGNET_LONG_TESTS=1` for 2,000.
pub(super) fn cases() -> ProptestConfig {
    let long = std::env::var_os("SIGNET_LONG_TESTS").is_some();
    ProptestConfig::with_cases(if long { 2_000 } else { 256 })
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

macro_rules! ecdsa_cross_check {
    ($name:ident, $curve:ident, $algorithm:expr) => {
        proptest! {
            #![proptest_config(cases())]
            #[test]
            fn $name(message in messages(), flip in any::<proptest::sample::Index>()) {
                let ours = SigningKey::generate($algorithm).unwrap();
                let exported = ours.export().unwrap();
                let theirs = $curve::ecdsa::SigningKey::from_pkcs8_der(exported.expose()).unwrap();
                let public = ours.public().unwrap();
                let their_public = $curve::ecdsa::VerifyingKey::from_public_key_der(public.to_spki_der()).unwrap();
                prop_assert_eq!(their_public, *theirs.verifying_key());

                let made: $curve::ecdsa::Signature = theirs.sign(&message);
                public.verify(&message, &made.to_bytes()).unwrap();
                let signature = ours.sign(&message).unwrap();
                let parsed = $curve::ecdsa::Signature::from_slice(&signature).unwrap();
                their_public.verify(&message, &parsed).unwrap();

                let digest = Digest::of($algorithm.digest().unwrap(), &message);
                let signature = ours.sign_digest(&digest).unwrap();
                let parsed = $curve::ecdsa::Signature::from_slice(&signature).unwrap();
                their_public.verify_prehash(digest.as_bytes(), &parsed).unwrap();
                let made: $curve::ecdsa::Signature = theirs.sign_prehash(digest.as_bytes()).unwrap();
                public.verify_digest(&digest, &made.to_bytes()).unwrap();

                let mut changed = signature;
                let at = flip.index(changed.len());
                changed[at] ^= 1;
                let they_accept = $curve::ecdsa::Signature::from_slice(&changed)
                    .is_ok_and(|parsed| their_public.verify(&message, &parsed).is_ok());
                prop_assert!(!they_accept && public.verify(&message, &changed).is_err());
            }
        }
    };
}

ecdsa_cross_check!(p256_against_rustcrypto, p256, Algorithm::Es256);
ecdsa_cross_check!(p384_against_rustcrypto, p384, Algorithm::Es384);

proptest! {
    #![proptest_config(cases())]
    #[test]
    fn ed25519_against_dalek(message in messages(), flip in any::<proptest::sample::Index>()) {
        let ours = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let theirs = ed25519_dalek::SigningKey::from_pkcs8_der(ours.export().unwrap().expose()).unwrap();
        let public = ours.public().unwrap();
        let their_public = ed25519_dalek::VerifyingKey::from_public_key_der(public.to_spki_der()).unwrap();
        prop_assert_eq!(their_public, theirs.verifying_key());
        let spki = their_public.to_public_key_der().unwrap();
        prop_assert_eq!(spki.as_bytes(), public.to_spki_der());

        let signature = ours.sign(&message).unwrap();
        prop_assert_eq!(&signature[..], &theirs.sign(&message).to_bytes()[..]);
        let mut changed = signature;
        let at = flip.index(changed.len());
        changed[at] ^= 1;
        let parsed = ed25519_dalek::Signature::from_slice(&changed).unwrap();
        prop_assert!(their_public.verify(&message, &parsed).is_err());
        prop_assert!(public.verify(&message, &changed).is_err());
    }

    #[test]
    fn keys_made_by_rustcrypto_are_read(seed in any::<[u8; 32]>(), message in messages()) {
        let theirs = ed25519_dalek::SigningKey::from_bytes(&seed);
        // Version 2, with the public key inside.
        let document = theirs.to_pkcs8_der().unwrap();
        let ours = SigningKey::import(Algorithm::EdDsa, &Secret::new(document.as_bytes().to_vec())).unwrap();
        prop_assert_eq!(ours.sign(&message).unwrap(), theirs.sign(&message).to_vec());
        if let Ok(theirs) = p256::ecdsa::SigningKey::from_slice(&seed) {
            let document = theirs.to_pkcs8_der().unwrap();
            let ours = SigningKey::import(Algorithm::Es256, &Secret::new(document.as_bytes().to_vec())).unwrap();
            let spki = theirs.verifying_key().to_public_key_der().unwrap();
            prop_assert_eq!(Some(&PublicKey::from_spki_der(spki.as_bytes()).unwrap()), ours.public());
        }
    }
}
