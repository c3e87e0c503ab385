use proptest::prelude::*;
use serde_json::Value;
use signing::key::Secret;

use super::*;
use crate::crypto::KeySpec;

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let pair = |i: usize| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
    (0..text.len() / 2).map(pair).collect()
}

fn material(bytes: Vec<u8>) -> Material {
    Material::import(KeySpec::SymmetricDefault, &Secret::new(bytes)).unwrap()
}

fn header() -> Header {
    Header {
        key_id: KeyId::parse("1234abcd-12ab-34cd-56ef-1234567890ab").unwrap(),
        version: 1,
        tenant: Tenant::parse("111122223333").unwrap(),
    }
}

fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    let owned = |(key, value): &(&str, &str)| (String::from(*key), String::from(*value));
    pairs.iter().map(owned).collect()
}

/// The form is on disk at callers for as long as they like: these must open for ever.
#[test]
fn the_form_does_not_drift() {
    let path = format!("{}/vectors/ciphertext-blobs.json", env!("CARGO_MANIFEST_DIR"));
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let material = material(unhex(&vector["material"]));
        let (header, context, plaintext) = parts(vector);
        let salt: [u8; SALT_LEN] = unhex(&vector["salt"]).try_into().unwrap();
        let blob = seal(&material, &header, &context, &plaintext, &salt).unwrap();
        assert_eq!(blob, unhex(&vector["blob"]), "{}", vector["name"]);
        assert_eq!(Header::parse(&blob), Ok(header));
        assert_eq!(*open(&material, &blob, &context).unwrap(), plaintext);
    }
    for vector in file["in_token"].as_array().unwrap() {
        let (data_key, wrapped) = (Secret::new(unhex(&vector["data_key"])), unhex(&vector["wrapped"]));
        let (header, context, plaintext) = parts(vector);
        let blob = seal_with(&data_key, &wrapped, &header, &context, &plaintext).unwrap();
        assert_eq!(blob, unhex(&vector["blob"]), "{}", vector["name"]);
        assert_eq!(Header::parse(&blob), Ok(header));
        assert_eq!(wrapped_data_key(&blob), Ok(&wrapped[..]));
        assert_eq!(*open_with(&data_key, &blob, &context).unwrap(), plaintext);
    }
}

/// What a vector says beside its keys.
fn parts(vector: &Value) -> (Header, EncryptionContext, Vec<u8>) {
    let header = Header {
        key_id: KeyId::parse(vector["key_id"].as_str().unwrap()).unwrap(),
        version: u32::try_from(vector["version"].as_u64().unwrap()).unwrap(),
        tenant: Tenant::parse(vector["tenant"].as_str().unwrap()).unwrap(),
    };
    let context = serde_json::from_value(vector["context"].clone()).unwrap();
    (header, context, unhex(&vector["plaintext"]))
}

/// Whatever the HSM would say to the wrapped data key: the blob is bound to all of its bytes.
#[test]
fn a_blob_under_a_data_key_is_bound_to_every_bit_of_itself() {
    let (data_key, context) = (Secret::new(vec![7; 32]), context(&[("a", "b")]));
    let blob = seal_with(&data_key, &[9; 40], &header(), &context, b"plain").unwrap();
    for at in 0..blob.len() * 8 {
        let mut altered = blob.clone();
        altered[at / 8] ^= 1 << (at % 8);
        assert_eq!(open_with(&data_key, &altered, &context), Err(BadCiphertext), "bit {at}");
    }
    for len in 0..blob.len() {
        assert_eq!(
            open_with(&data_key, &blob[..len], &context),
            Err(BadCiphertext),
            "{len}"
        );
    }
    let other = Secret::new(vec![8; 32]);
    assert_eq!(open_with(&other, &blob, &context), Err(BadCiphertext));
    assert_eq!(
        open_with(&data_key, &blob, &EncryptionContext::new()),
        Err(BadCiphertext)
    );
    let longest = seal_with(&data_key, &[9; 255], &header(), &context, &[5; MAX_PLAINTEXT]).unwrap();
    assert!(longest.len() <= MAX_BLOB);
    assert_eq!(*open_with(&data_key, &longest, &context).unwrap(), [5; MAX_PLAINTEXT]);
    for wrapped in [0, 256] {
        assert!(
            seal_with(&data_key, &vec![9; wrapped], &header(), &context, b"p").is_err(),
            "{wrapped}"
        );
    }
}

#[test]
fn a_blob_of_one_form_is_none_of_the_other() {
    let (bytes, none) = ([7; 32], context(&[]));
    let (own, data_key) = (material(bytes.to_vec()), Secret::new(bytes.to_vec()));
    let stored = seal(&own, &header(), &none, b"plain", &[31; SALT_LEN]).unwrap();
    let in_token = seal_with(&data_key, &[9; 31], &header(), &none, b"plain").unwrap();
    assert_eq!(open(&own, &in_token, &none), Err(BadCiphertext));
    assert_eq!(open_with(&data_key, &stored, &none), Err(BadCiphertext));
    assert_eq!(wrapped_data_key(&stored), Err(BadCiphertext));
    // Nor with its first byte changed: it is among what is authenticated.
    for (mut blob, form) in [(stored, IN_TOKEN), (in_token, STORED)] {
        blob[0] = form;
        assert!(open(&own, &blob, &none).is_err() && open_with(&data_key, &blob, &none).is_err());
    }
}

#[test]
fn any_bit_flipped_and_any_cut_is_the_same_error() {
    let (material, context) = (material(vec![7; 32]), context(&[("a", "b")]));
    let blob = seal(&material, &header(), &context, b"plain", &[9; SALT_LEN]).unwrap();
    assert_eq!(blob.len(), OVERHEAD + 5);
    for at in 0..blob.len() * 8 {
        let mut altered = blob.clone();
        altered[at / 8] ^= 1 << (at % 8);
        assert_eq!(open(&material, &altered, &context), Err(BadCiphertext), "bit {at}");
    }
    for len in 0..blob.len() {
        assert_eq!(open(&material, &blob[..len], &context), Err(BadCiphertext), "{len}");
    }
    for more in [1, 16, MAX_BLOB] {
        let extended = [&blob[..], &vec![0; more]].concat();
        assert_eq!(open(&material, &extended, &context), Err(BadCiphertext), "{more}");
    }
}

#[test]
fn another_key_context_or_material_opens_nothing() {
    let own = material(vec![7; 32]);
    let sealed_with = context(&[("ab", "c"), ("d", "e")]);
    let blob = seal(&own, &header(), &sealed_with, b"plain", &[9; SALT_LEN]).unwrap();
    for other in [
        context(&[]),
        context(&[("ab", "c")]),
        context(&[("a", "bc"), ("d", "e")]),
        context(&[("ab", "cd"), ("", "e")]),
        context(&[("ab", "c"), ("d", "E")]),
        context(&[("ab", "c"), ("d", "e"), ("", "")]),
    ] {
        assert_eq!(open(&own, &blob, &other), Err(BadCiphertext), "{other:?}");
    }
    assert_eq!(open(&material(vec![8; 32]), &blob, &sealed_with), Err(BadCiphertext));
    let hmac = Material::generate(KeySpec::Hmac256).unwrap();
    assert_eq!(open(&hmac, &blob, &sealed_with), Err(BadCiphertext));
    assert!(matches!(
        seal(&hmac, &header(), &sealed_with, b"plain", &[9; SALT_LEN]),
        Err(CryptoError::Operation { .. })
    ));
}

/// A ciphertext whose AES-GCM is right but whose commitment is another's must not get as far as AES-GCM's verdict.
#[test]
fn a_commitment_of_another_blob_is_refused() {
    let own = material(vec![7; 32]);
    let none = context(&[]);
    let one = seal(&own, &header(), &none, b"plain", &[1; SALT_LEN]).unwrap();
    let two = seal(&own, &header(), &none, b"plain", &[2; SALT_LEN]).unwrap();
    let at = HEADER_LEN + SALT_LEN..HEADER_LEN + SALT_LEN + COMMITMENT_LEN;
    let mut mixed = one.clone();
    mixed[at.clone()].copy_from_slice(&two[at]);
    assert_eq!(open(&own, &mixed, &none), Err(BadCiphertext));
    assert_eq!(*open(&own, &one, &none).unwrap(), b"plain");
}

#[test]
fn plaintexts_are_bounded() {
    let (own, none) = (material(vec![7; 32]), context(&[]));
    for len in [0, MAX_PLAINTEXT + 1] {
        let refused = CryptoError::MessageLength {
            min: 1,
            max: MAX_PLAINTEXT,
            actual: len,
        };
        assert_eq!(seal(&own, &header(), &none, &vec![0; len], &[9; 32]), Err(refused));
    }
    let longest = seal(&own, &header(), &none, &[5; MAX_PLAINTEXT], &[9; 32]).unwrap();
    assert!(longest.len() <= MAX_BLOB && OVERHEAD == 114, "{}", longest.len());
    assert_eq!(*open(&own, &longest, &none).unwrap(), [5; MAX_PLAINTEXT]);
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let blob = seal(&material(vec![7; 32]), &header(), &context(&[]), b"p", &[9; 32]).unwrap();
    let with = |at: usize, byte: u8| {
        let mut altered = blob.clone();
        altered[at] = byte;
        Header::parse(&altered)
    };
    assert_eq!(with(0, 0x55), Err(BadCiphertext), "form");
    assert_eq!(with(1, 2), Err(BadCiphertext), "kind of id");
    assert_eq!(with(21, 0), Err(BadCiphertext), "version 0");
    assert_eq!(with(22, b'a'), Err(BadCiphertext), "tenant");
    assert!(with(1, 1).unwrap().key_id.is_multi_region());
    assert_eq!(Header::parse(&blob[..OVERHEAD]), Err(BadCiphertext));
    assert_eq!(Header::parse(&[]), Err(BadCiphertext));
}

#[test]
fn key_ids_are_read_as_written() {
    for text in [
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        "mrk-1234abcd12ab34cd56ef1234567890ab",
    ] {
        let id = KeyId::parse(text).unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(KeyId::from_bytes(&id.to_bytes()), Some(id));
        assert_eq!(serde_json::to_value(id).unwrap(), text);
        assert_eq!(id.is_multi_region(), text.starts_with("mrk-"));
    }
    for bad in [
        "",
        "mrk-",
        "1234ABCD-12ab-34cd-56ef-1234567890ab",
        "1234abcd12ab34cd56ef1234567890ab",
        "{1234abcd-12ab-34cd-56ef-1234567890ab}",
        "urn:uuid:1234abcd-12ab-34cd-56ef-1234567890ab",
        "mrk-1234abcd-12ab-34cd-56ef-1234567890ab",
        "mrk-1234abcd12ab34cd56ef1234567890a",
        "MRK-1234abcd12ab34cd56ef1234567890ab",
    ] {
        assert_eq!(KeyId::parse(bad), None, "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sealed_opens(
        secret in prop::collection::vec(any::<u8>(), 32),
        salt in any::<[u8; SALT_LEN]>(),
        id in any::<u128>(),
        multi in any::<bool>(),
        version in 1_u32..,
        tenant in "[0-9]{12}",
        context in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..6),
        plaintext in prop::collection::vec(any::<u8>(), 1..300),
    ) {
        let id = uuid::Uuid::from_u128(id);
        let key_id = if multi { KeyId::MultiRegion(id) } else { KeyId::SingleRegion(id) };
        let header = Header { key_id, version, tenant: Tenant::parse(&tenant).unwrap() };
        let material = material(secret);
        let blob = seal(&material, &header, &context, &plaintext, &salt).unwrap();
        prop_assert_eq!(blob.len(), plaintext.len() + OVERHEAD);
        prop_assert_eq!(Header::parse(&blob), Ok(header));
        let opened = open(&material, &blob, &context).unwrap();
        prop_assert_eq!(&*opened, &plaintext);
    }

    #[test]
    fn different_contexts_are_associated_differently(
        one in prop::collection::btree_map("[ab\u{0}]{0,3}", "[ab\u{0}]{0,3}", 0..4),
        two in prop::collection::btree_map("[ab\u{0}]{0,3}", "[ab\u{0}]{0,3}", 0..4),
    ) {
        let header = [0; HEADER_LEN];
        prop_assert_eq!(one == two, associated(&header, &one) == associated(&header, &two));
    }

    #[test]
    fn foreign_bytes_open_nothing(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(&material(vec![7; 32]), &bytes, &context(&[])).is_err());
    }
}
