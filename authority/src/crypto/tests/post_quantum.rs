//! ML-DSA and ML-KEM: the forms of their keys, and AWS-LC against RustCrypto.

use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Encode, Tag};

use super::openssl::openssl;
use super::*;

const MESSAGE: &[u8] = b"signed with lattices";
const ALGORITHM: SigningAlgorithm = SigningAlgorithm::MlDsaShake256;

fn shake256_64(bytes: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in"), bytes).unwrap();
    openssl(dir.path(), "dgst -shake256 -xoflen 64 -binary in").unwrap()
}

/// μ of a message with an empty context (FIPS 204 algorithm 7 line 6, with M′ of algorithm 2), by openssl's SHAKE256.
pub(super) fn mu(spec: KeySpec, spki: &[u8], message: &[u8]) -> Vec<u8> {
    let tr = shake256_64(encoding::read_spki(spec, spki).unwrap());
    shake256_64(&[&tr[..], &[0, 0], message].concat())
}

#[test]
fn a_message_and_its_mu_are_signed_alike() {
    for spec in ML_DSA {
        let key = key(spec);
        let public = key.public_key().unwrap();
        let mu = mu(spec, public.spki_der(), MESSAGE);
        let of_message = key.sign(ALGORITHM, Message::Raw(MESSAGE)).unwrap();
        let of_mu = key.sign(ALGORITHM, Message::ExternalMu(&mu)).unwrap();
        for signature in [&of_message, &of_mu] {
            public.verify(ALGORITHM, Message::Raw(MESSAGE), signature).unwrap();
            public.verify(ALGORITHM, Message::ExternalMu(&mu), signature).unwrap();
        }
        assert_ne!(of_mu, key.sign(ALGORITHM, Message::ExternalMu(&mu)).unwrap(), "hedged");
        let other = Message::ExternalMu(&[0; 64]);
        assert_eq!(public.verify(ALGORITHM, other, &of_mu), Err(CryptoError::BadSignature));
        let mut altered = of_mu.clone();
        altered[40] ^= 1;
        for bad in [&altered[..], &of_mu[1..], &[]] {
            let verdict = public.verify(ALGORITHM, Message::ExternalMu(&mu), bad);
            assert_eq!(verdict, Err(CryptoError::BadSignature));
        }
    }
}

#[test]
fn capsules_open_to_their_secret_or_to_noise() {
    for (spec, len) in ML_KEM.into_iter().zip([768, 1088, 1568]) {
        let key = key(spec);
        let (secret, ciphertext) = key.public_key().unwrap().encapsulate().unwrap();
        assert_eq!((secret.len(), ciphertext.len()), (32, len));
        assert!(key.decapsulate(&ciphertext).unwrap().matches(secret.expose()));
        let others = other(spec, 8).decapsulate(&ciphertext).unwrap();
        let mut altered = ciphertext.clone();
        altered[0] ^= 1;
        let noise = key.decapsulate(&altered).unwrap();
        assert!(noise.len() == 32 && !noise.matches(secret.expose()) && !others.matches(secret.expose()));
        assert!(
            noise.matches(key.decapsulate(&altered).unwrap().expose()),
            "the same noise"
        );
        for bad in [&ciphertext[1..], &[]] {
            assert_eq!(key.decapsulate(bad).unwrap_err(), BadCiphertext.into());
        }
    }
}

/// A PKCS#8 document around the forms of RFC 9881 section 6 and RFC 9935 section 6.
fn document(spec: KeySpec, key: &[u8]) -> Vec<u8> {
    encoding::write_pkcs8(spec, key).unwrap().expose().to_vec()
}

fn both(seed: &[u8], expanded: &[u8]) -> Vec<u8> {
    let seed = OctetStringRef::new(seed).unwrap().to_der().unwrap();
    let expanded = OctetStringRef::new(expanded).unwrap().to_der().unwrap();
    let content = [seed, expanded].concat();
    AnyRef::new(Tag::Sequence, &content).unwrap().to_der().unwrap()
}

#[test]
fn private_keys_carry_their_seed() {
    for spec in ML_DSA.into_iter().chain(ML_KEM) {
        let key = key(spec);
        let document = key.private_pkcs8_der().unwrap();
        let seed = key.export().unwrap();
        let inner = encoding::read_pkcs8(spec, document.expose()).unwrap();
        let parsed = AnyRef::from_der(inner.key).unwrap();
        assert_eq!((inner.key[0], parsed.value()), (0x80, seed.expose()), "{spec}");
        // "The length of the private key is the same for all ML-KEM key pair specs" (the API's GenerateDataKeyPair).
        let expected = if ML_KEM.contains(&spec) { 86 } else { 54 };
        assert_eq!(document.len(), expected);
    }
}

#[test]
fn the_expanded_form_needs_its_seed_and_must_be_the_seeds() {
    // Expanded by the library that does not expand in production, where there is one.
    for spec in ML_DSA.into_iter().chain(ML_KEM) {
        let key = key(spec);
        let seed = key.export().unwrap();
        let (expanded, others) = (expanded(spec, 7), expanded(spec, 8));
        let good = document(spec, &both(seed.expose(), &expanded));
        let read = Material::from_pkcs8_upload(spec, &good).unwrap();
        assert_eq!(read.public_spki_der(), key.public_spki_der(), "{spec}");

        let mismatched = document(spec, &both(seed.expose(), &others));
        let reason = malformed(Material::from_pkcs8_upload(spec, &mismatched));
        assert_eq!(reason, "the expanded key is not the seed's", "{spec}");
        let alone = OctetStringRef::new(&expanded).unwrap().to_der().unwrap();
        let reason = malformed(Material::from_pkcs8_upload(spec, &document(spec, &alone)));
        assert_eq!(reason, "it has no seed: export it in the form that has", "{spec}");
        for broken in [&[0x80, 31][..], &[0x80], &[0x30, 0], &[0x05, 0], &[]] {
            malformed(Material::from_pkcs8_upload(spec, &document(spec, broken)));
        }
        let short = [&[0x80, 16][..], &[7; 16]].concat();
        malformed(Material::from_pkcs8_upload(spec, &document(spec, &short)));
    }
}

#[expect(deprecated, reason = "the expanded form is what is tested")]
fn expanded(spec: KeySpec, byte: u8) -> Vec<u8> {
    use ::ml_kem::ExpandedKeyEncoding as _;
    macro_rules! ml_dsa {
        ($set:ident) => {
            ::ml_dsa::SigningKey::<::ml_dsa::$set>::from_seed(&[byte; 32].into())
                .expanded_key()
                .to_expanded()
                .to_vec()
        };
    }
    macro_rules! ml_kem {
        ($set:ident) => {
            ::ml_kem::DecapsulationKey::<::ml_kem::$set>::from_seed([byte; 64].into())
                .to_expanded_bytes()
                .to_vec()
        };
    }
    match spec {
        KeySpec::MlDsa44 => ml_dsa!(MlDsa44),
        KeySpec::MlDsa65 => ml_dsa!(MlDsa65),
        KeySpec::MlDsa87 => ml_dsa!(MlDsa87),
        KeySpec::MlKem512 => ml_kem!(MlKem512),
        KeySpec::MlKem768 => ml_kem!(MlKem768),
        _ => ml_kem!(MlKem1024),
    }
}

/// The object identifiers of RFC 9881 section 2 and RFC 9935 section 3, with no parameters behind them.
#[test]
fn public_keys_are_encoded_as_the_rfcs_have_it() {
    for (spec, prefix, len) in [
        (KeySpec::MlDsa44, "30820532300b06096086480165030403110382052100", 1334),
        (KeySpec::MlDsa65, "308207b2300b0609608648016503040312038207a100", 1974),
        (KeySpec::MlDsa87, "30820a32300b060960864801650304031303820a2100", 2614),
        (KeySpec::MlKem512, "30820332300b06096086480165030404010382032100", 822),
        (KeySpec::MlKem768, "308204b2300b0609608648016503040402038204a100", 1206),
        (KeySpec::MlKem1024, "30820632300b06096086480165030404030382062100", 1590),
    ] {
        let prefix = unhex(prefix);
        let key = key(spec);
        let spki = key.public_spki_der().unwrap();
        assert_eq!((&spki[..prefix.len()], spki.len()), (&prefix[..], len), "{spec}");
        malformed(PublicKey::from_spki_der(
            spec,
            &encoding::write_spki(spec, &spki[23..]).unwrap(),
        ));
    }
}

// FIPS 203 section 7.2: coefficients from q up.
#[test]
fn encapsulation_keys_out_of_range_are_refused() {
    for spec in ML_KEM {
        let own = key(spec).public_spki_der().unwrap().to_vec();
        let bits = encoding::read_spki(spec, &own).unwrap();
        // q − 1 and q, each as the first (low) and the second (high) coefficient.
        for (low, high, fits) in [
            (3328, 3328, true),
            (3329, 0, false),
            (0, 3329, false),
            (4095, 4095, false),
        ] {
            let packed: u32 = low | (high << 12);
            let mut changed = bits.to_vec();
            changed[..3].copy_from_slice(&packed.to_le_bytes()[..3]);
            let read = PublicKey::from_spki_der(spec, &encoding::write_spki(spec, &changed).unwrap());
            assert_eq!(read.is_ok(), fits, "{spec} {low} {high}");
            if fits {
                read.unwrap().encapsulate().unwrap();
            } else {
                assert_eq!(malformed(read), "it is no ML-KEM public key of this set");
            }
        }
    }
}
