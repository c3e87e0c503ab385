use super::*;

#[test]
fn names_are_the_models_and_exact() {
    assert_eq!(KeySpec::ALL.len(), 19);
    for spec in KeySpec::ALL {
        assert_eq!(KeySpec::parse(spec.as_str()), Ok(*spec));
        assert_eq!(serde_json::to_value(spec).unwrap(), spec.as_str());
        assert_eq!(serde_json::from_value::<KeySpec>(spec.as_str().into()).unwrap(), *spec);
    }
    for bad in ["", "rsa_2048", "RSA_2048 ", "RSA_1024", "ECC_NIST_P256K1"] {
        assert_eq!(KeySpec::parse(bad), Err(NameError::Unknown), "{bad}");
    }
    assert_eq!(
        SigningAlgorithm::parse("ED25519_PH_SHA_512"),
        Ok(SigningAlgorithm::Ed25519PhSha512)
    );
    assert_eq!(MessageType::parse("EXTERNAL_MU"), Ok(MessageType::ExternalMu));
    assert_eq!(
        EncapsulationAlgorithm::parse("ML_KEM"),
        Ok(EncapsulationAlgorithm::MlKem)
    );
    assert_eq!(KeyAgreementAlgorithm::parse("ECDH"), Ok(KeyAgreementAlgorithm::Ecdh));
    assert_eq!(MacAlgorithm::parse("HMAC_SHA_224"), Ok(MacAlgorithm::HmacSha224));
    assert_eq!(KeyUsage::parse("SIGN_VERIFY"), Ok(KeyUsage::SignVerify));
}

#[test]
fn what_kms_has_and_this_service_has_not_is_told_apart() {
    assert_eq!(KeySpec::parse("SM2"), Err(NameError::Unsupported("SM2")));
    assert_eq!(SigningAlgorithm::parse("SM2DSA"), Err(NameError::Unsupported("SM2DSA")));
    assert_eq!(
        EncryptionAlgorithm::parse("SM2PKE"),
        Err(NameError::Unsupported("SM2PKE"))
    );
    assert_eq!(WrappingKeySpec::parse("SM2"), Err(NameError::Unsupported("SM2")));
    for wrapping in ["RSAES_PKCS1_V1_5", "SM2PKE"] {
        assert!(matches!(WrappingAlgorithm::parse(wrapping), Err(NameError::Unsupported(name)) if name == wrapping));
    }
}

/// Spec, usages, and for each usage the algorithms as `DescribeKey` lists them.
const TABLE: &str = "\
RSA_2048 ENCRYPT_DECRYPT RSAES_OAEP_SHA_1 RSAES_OAEP_SHA_256
RSA_2048 SIGN_VERIFY RSASSA_PKCS1_V1_5_SHA_256 RSASSA_PKCS1_V1_5_SHA_384 RSASSA_PKCS1_V1_5_SHA_512 \
RSASSA_PSS_SHA_256 RSASSA_PSS_SHA_384 RSASSA_PSS_SHA_512
RSA_3072 ENCRYPT_DECRYPT RSAES_OAEP_SHA_1 RSAES_OAEP_SHA_256
RSA_3072 SIGN_VERIFY RSASSA_PKCS1_V1_5_SHA_256 RSASSA_PKCS1_V1_5_SHA_384 RSASSA_PKCS1_V1_5_SHA_512 \
RSASSA_PSS_SHA_256 RSASSA_PSS_SHA_384 RSASSA_PSS_SHA_512
RSA_4096 ENCRYPT_DECRYPT RSAES_OAEP_SHA_1 RSAES_OAEP_SHA_256
RSA_4096 SIGN_VERIFY RSASSA_PKCS1_V1_5_SHA_256 RSASSA_PKCS1_V1_5_SHA_384 RSASSA_PKCS1_V1_5_SHA_512 \
RSASSA_PSS_SHA_256 RSASSA_PSS_SHA_384 RSASSA_PSS_SHA_512
ECC_NIST_P256 SIGN_VERIFY ECDSA_SHA_256
ECC_NIST_P256 KEY_AGREEMENT ECDH
ECC_NIST_P384 SIGN_VERIFY ECDSA_SHA_384
ECC_NIST_P384 KEY_AGREEMENT ECDH
ECC_NIST_P521 SIGN_VERIFY ECDSA_SHA_512
ECC_NIST_P521 KEY_AGREEMENT ECDH
ECC_SECG_P256K1 SIGN_VERIFY ECDSA_SHA_256
SYMMETRIC_DEFAULT ENCRYPT_DECRYPT SYMMETRIC_DEFAULT
HMAC_224 GENERATE_VERIFY_MAC HMAC_SHA_224
HMAC_256 GENERATE_VERIFY_MAC HMAC_SHA_256
HMAC_384 GENERATE_VERIFY_MAC HMAC_SHA_384
HMAC_512 GENERATE_VERIFY_MAC HMAC_SHA_512
ML_DSA_44 SIGN_VERIFY ML_DSA_SHAKE_256
ML_DSA_65 SIGN_VERIFY ML_DSA_SHAKE_256
ML_DSA_87 SIGN_VERIFY ML_DSA_SHAKE_256
ECC_NIST_EDWARDS25519 SIGN_VERIFY ED25519_SHA_512 ED25519_PH_SHA_512
ML_KEM_512 ENCAPSULATE_DECAPSULATE ML_KEM
ML_KEM_768 ENCAPSULATE_DECAPSULATE ML_KEM
ML_KEM_1024 ENCAPSULATE_DECAPSULATE ML_KEM
";

fn algorithms(spec: KeySpec, usage: KeyUsage) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    names.extend(spec.signing_algorithms(usage).iter().map(|a| a.as_str()));
    names.extend(spec.encryption_algorithms(usage).iter().map(|a| a.as_str()));
    names.extend(spec.mac_algorithms(usage).iter().map(|a| a.as_str()));
    names.extend(spec.key_agreement_algorithms(usage).iter().map(|a| a.as_str()));
    names.extend(spec.encapsulation_algorithms(usage).iter().map(|a| a.as_str()));
    names
}

#[test]
fn usages_and_algorithms_are_those_of_the_service() {
    let mut table = String::new();
    for spec in KeySpec::ALL {
        for usage in spec.usages() {
            table += &format!("{spec} {usage} {}\n", algorithms(*spec, *usage).join(" "));
        }
        for usage in KeyUsage::ALL.iter().filter(|usage| !spec.allows(**usage)) {
            assert!(algorithms(*spec, *usage).is_empty(), "{spec} {usage}");
        }
        let default = (*spec == KeySpec::SymmetricDefault).then_some(KeyUsage::EncryptDecrypt);
        assert_eq!(spec.default_usage(), default);
    }
    assert_eq!(table, TABLE);
}

#[test]
fn data_key_pairs_are_the_models() {
    let pairs: Vec<_> = KeySpec::ALL.iter().filter(|spec| spec.is_data_key_pair()).collect();
    let expected = [
        "RSA_2048",
        "RSA_3072",
        "RSA_4096",
        "ECC_NIST_P256",
        "ECC_NIST_P384",
        "ECC_NIST_P521",
        "ECC_SECG_P256K1",
        "ECC_NIST_EDWARDS25519",
        "ML_KEM_512",
        "ML_KEM_768",
        "ML_KEM_1024",
    ];
    assert_eq!(pairs.iter().map(|spec| spec.as_str()).collect::<Vec<_>>(), expected);
}

// The numbers of the API's `Encrypt`.
#[test]
fn plaintexts_are_bounded_as_documented() {
    use EncryptionAlgorithm::{RsaesOaepSha1, RsaesOaepSha256, SymmetricDefault};
    for (spec, sha_1, sha_256) in [
        (KeySpec::Rsa2048, 214, 190),
        (KeySpec::Rsa3072, 342, 318),
        (KeySpec::Rsa4096, 470, 446),
    ] {
        assert_eq!(spec.max_plaintext(RsaesOaepSha1), Some(sha_1));
        assert_eq!(spec.max_plaintext(RsaesOaepSha256), Some(sha_256));
        assert_eq!(spec.max_plaintext(SymmetricDefault), None);
    }
    assert_eq!(KeySpec::SymmetricDefault.max_plaintext(SymmetricDefault), Some(4096));
    assert_eq!(KeySpec::SymmetricDefault.max_plaintext(RsaesOaepSha1), None);
}

#[test]
fn each_algorithm_takes_its_forms_of_message() {
    for algorithm in SigningAlgorithm::ALL {
        let taken = |message_type| algorithm.takes(message_type);
        let expected = match algorithm.as_str() {
            "ED25519_SHA_512" => (true, false, false),
            "ED25519_PH_SHA_512" => (false, true, false),
            "ML_DSA_SHAKE_256" => (true, false, true),
            _ => (true, true, false),
        };
        let found = (
            taken(MessageType::Raw),
            taken(MessageType::Digest),
            taken(MessageType::ExternalMu),
        );
        assert_eq!(found, expected, "{algorithm}");
        let suffix = algorithm.as_str().rsplit('_').next().unwrap();
        if let Some(len) = algorithm.digest_len() {
            assert_eq!(len * 8, suffix.parse::<usize>().unwrap(), "{algorithm}");
        }
    }
}

#[test]
fn messages_of_another_length_or_form_are_refused() {
    let long = vec![0; algorithm::MAX_MESSAGE + 1];
    let check = |algorithm: SigningAlgorithm, message| algorithm.check(&message).unwrap_err();
    assert_eq!(
        check(SigningAlgorithm::EcdsaSha256, Message::Raw(&long)),
        CryptoError::MessageLength {
            min: 0,
            max: 4096,
            actual: 4097
        }
    );
    assert_eq!(
        check(SigningAlgorithm::EcdsaSha384, Message::Digest(&[0; 32])),
        CryptoError::DigestLength {
            expected: 48,
            actual: 32
        }
    );
    assert_eq!(
        check(SigningAlgorithm::MlDsaShake256, Message::ExternalMu(&[0; 63])),
        CryptoError::DigestLength {
            expected: 64,
            actual: 63
        }
    );
    assert_eq!(
        check(SigningAlgorithm::Ed25519Sha512, Message::Digest(&[0; 64])),
        CryptoError::MessageType {
            algorithm: SigningAlgorithm::Ed25519Sha512,
            message_type: MessageType::Digest
        }
    );
    let debugged = format!("{:?}", Message::new(MessageType::Raw, b"canary"));
    assert_eq!(debugged, "RAW of 6 bytes");
}
