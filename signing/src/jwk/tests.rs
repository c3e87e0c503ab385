use serde_json::json;

use super::*;
use crate::key::SigningKey;

fn trusted(algorithm: Algorithm) -> TrustedKey {
    TrustedKey {
        verifier: SigningKey::generate(algorithm).unwrap().verifier().clone(),
        family: Family::Token,
        issuer: "https://a".into(),
        tenant: "000000000001".into(),
        not_before: 0,
        not_after: u64::MAX,
    }
}

fn read(value: Value) -> Result<PublicKey, KeyError> {
    PublicKey::from_jwk(&serde_json::from_value(value).unwrap())
}

fn es256() -> Value {
    serde_json::to_value(
        SigningKey::generate(Algorithm::Es256)
            .unwrap()
            .public()
            .unwrap()
            .to_jwk(),
    )
    .unwrap()
}

#[test]
fn a_jwk_round_trips_and_says_what_it_is_for() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384] {
        let key = SigningKey::generate(algorithm).unwrap();
        let jwk = key.public().unwrap().to_jwk();
        assert_eq!(
            (jwk.alg.as_deref(), jwk.usage.as_deref()),
            (Some(algorithm.as_str()), Some("sig"))
        );
        assert_eq!(jwk.kid.as_deref(), Some(key.kid()));
        let again = Jwk::from_json(jwk.to_json().as_bytes()).unwrap();
        assert_eq!(&PublicKey::from_jwk(&again).unwrap(), key.public().unwrap());
        assert!(!jwk.to_json().contains("x5c"));
    }
}

// R1
#[test]
fn without_alg_the_key_decides_and_never_hmac() {
    let mut jwk = es256();
    jwk.as_object_mut().unwrap().remove("alg");
    assert_eq!(read(jwk).unwrap().algorithm(), Algorithm::Es256);
    let secret = json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T"});
    assert!(matches!(read(secret.clone()), Err(KeyError::Unsupported(_))));
    for alg in ["HS256", "RS256", "ES256", "none"] {
        let mut named = secret.clone();
        named["alg"] = alg.into();
        assert!(read(named).is_err());
    }
    let modulus = base64url(&[&[0xc1; 255][..], &[1]].concat());
    let rsa = json!({"kty": "RSA", "n": modulus, "e": "AQAB"});
    assert!(matches!(read(rsa.clone()), Err(KeyError::Unsupported(_))));
    for (alg, usable) in [
        ("RS256", true),
        ("PS256", true),
        ("HS256", false),
        ("RS512", false),
        ("ES256", false),
    ] {
        let mut named = rsa.clone();
        named["alg"] = alg.into();
        assert_eq!(read(named).is_ok(), usable, "{alg}");
    }
}

#[test]
fn each_bad_member_is_refused() {
    let changes = [
        ("alg", json!("HS256")),
        ("alg", json!("ES384")),
        ("alg", json!("none")),
        ("use", json!("enc")),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!([])),
        ("crv", json!("P-384")),
        ("crv", json!("P-521")),
        ("crv", json!("secp256k1")),
        ("kty", json!("OKP")),
        ("kty", json!("RSA")),
        ("kty", json!("")),
        ("x", json!("")),
        ("x", json!("AA")),
        ("x", json!("not base64url!")),
        ("y", Value::Null),
        ("d", json!("private")),
        ("d", json!({"hidden": true})),
    ];
    for (member, value) in changes {
        let mut jwk = es256();
        jwk[member] = value.clone();
        assert!(read(jwk).is_err(), "{member} = {value}");
    }
    let mut fine = es256();
    fine["key_ops"] = json!(["verify"]);
    fine["x5u"] = json!("https://never.fetched.example/");
    assert!(read(fine).is_ok());
}

#[test]
fn texts_that_are_no_jwk_are_refused() {
    for text in ["", "[]", "{}", "\"x\"", r#"{"kty":1}"#, r#"{"kty":"EC","kty":"oct"}"#] {
        assert!(Jwk::from_json(text.as_bytes()).is_err(), "{text}");
    }
}

// R38
#[test]
fn a_set_holds_one_issuers_token_keys_only() {
    let (one, two) = (trusted(Algorithm::EdDsa), trusted(Algorithm::Es256));
    let set = Jwks::publish("https://a", [&one, &two]).unwrap();
    assert_eq!(set.keys.len(), 2);
    assert!(set.find(two.verifier.kid()).is_some());

    let other = TrustedKey {
        issuer: "https://b".into(),
        ..trusted(Algorithm::EdDsa)
    };
    let lookalike = TrustedKey {
        issuer: "https://a/".into(),
        ..trusted(Algorithm::EdDsa)
    };
    let artifact = TrustedKey {
        family: Family::Artifact,
        ..trusted(Algorithm::Es256)
    };
    let raw = TrustedKey {
        family: Family::Raw,
        ..trusted(Algorithm::Es256)
    };
    let secret = trusted(Algorithm::Hs256);
    for refused in [&other, &lookalike, &artifact, &raw, &secret] {
        let result = Jwks::publish("https://a", [&one, refused]);
        assert!(matches!(result, Err(JwksError::NotPublishable { .. })), "{refused:?}");
    }
    assert!(matches!(
        Jwks::publish("https://a", [&one, &one]),
        Err(JwksError::DuplicateKid(_))
    ));
}

// R3
#[test]
fn a_received_set_is_bounded_and_its_ids_are_unique() {
    let key = es256();
    let parse = |value: Value| Jwks::parse(value.to_string().as_bytes());
    let mixed = json!({"keys": [key, {"kty": "oct", "k": "AA"}, 7, {"no": "kty"}]});
    let set = parse(mixed).unwrap();
    assert_eq!(set.keys.len(), 2);
    assert!(set.find(key["kid"].as_str().unwrap()).is_some());
    assert!(set.find(&key["kid"].as_str().unwrap().to_uppercase()).is_none());
    assert!(matches!(
        parse(json!({"keys": [key, key]})),
        Err(JwksError::DuplicateKid(_))
    ));
    assert!(matches!(
        parse(json!({"keys": vec![json!({}); 101]})),
        Err(JwksError::TooLarge)
    ));
    assert!(matches!(
        Jwks::parse(&vec![b' '; MAX_SET_LEN + 1]),
        Err(JwksError::TooLarge)
    ));
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert!(
            matches!(Jwks::parse(bad.as_bytes()), Err(JwksError::Malformed(_))),
            "{bad}"
        );
    }
}
