//! Tokens that an attacker would send.

use super::*;
use crate::key::Secret;

// R1
#[test]
fn the_headers_algorithm_chooses_nothing() {
    for alg in [
        "none", "None", "HS256", "ES384", "RS256", "EdDSA", "es256", "", " ES256",
    ] {
        let refused = with_header(|header| header["alg"] = alg.into()).unwrap_err();
        assert_eq!(refused.code(), "bad_algorithm", "{alg}");
    }
    assert_eq!(
        with_header(|header| header["alg"] = json!(["ES256"]))
            .unwrap_err()
            .code(),
        "malformed_token"
    );
    assert_eq!(
        with_header(|header| header["alg"] = Value::Null).unwrap_err().code(),
        "malformed_token"
    );
}

// R1
#[test]
fn a_public_key_is_never_an_hmac_secret() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let public = key.public().unwrap();
    let pem = crate::certificate::pem_encode("PUBLIC KEY", public.to_spki_der());
    for secret in [
        public.to_spki_der().to_vec(),
        pem.into_bytes(),
        public.to_jwk().to_json().into_bytes(),
    ] {
        let attacker = SigningKey::import(Algorithm::Hs256, &Secret::new(secret)).unwrap();
        let attacker = attacker.with_kid(key.kid()).unwrap();
        let token = mint(&attacker, &Header::default(), &claims()).unwrap();
        assert_eq!(
            verify(&token, &keys(&key), &expect()).unwrap_err().code(),
            "bad_algorithm"
        );
    }
}

#[test]
fn a_token_without_signature_is_refused() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let token = mint(&key, &Header::default(), &claims()).unwrap();
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(
        verify(&format!("{signed}."), &keys(&key), &expect()),
        Err(TokenError::Signature)
    );
    let none = base64url(json!({"alg": "none", "kid": key.kid()}).to_string().as_bytes());
    let (_, payload) = signed.split_once('.').unwrap();
    let refused = verify(&format!("{none}.{payload}."), &keys(&key), &expect()).unwrap_err();
    assert_eq!(refused.code(), "bad_algorithm");
}

// R2
#[test]
fn malformed_claims_refuse_even_a_well_signed_token() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let header = json!({"alg": "EdDSA", "kid": key.kid()});
    let payloads = [
        format!(r#"{{"iss":"{ISSUER}","aud":"api","exp":"{}"}}"#, NOW + 300),
        format!(r#"{{"iss":"{ISSUER}","aud":"api","exp":null}}"#),
        format!(r#"{{"iss":"{ISSUER}","aud":"api","exp":-1}}"#),
        format!(r#"{{"iss":"{ISSUER}","aud":"api","exp":{},"nbf":"0"}}"#, NOW + 300),
        format!(r#"{{"iss":"{ISSUER}","aud":"api","exp":{},"iat":{{}}}}"#, NOW + 300),
        format!(r#"{{"iss":"{ISSUER}","aud":{{"api":1}},"exp":{}}}"#, NOW + 300),
        format!(r#"{{"iss":"{ISSUER}","aud":"api","exp":1,"exp":{}}}"#, NOW + 300),
        format!(r#"{{"iss":["{ISSUER}"],"aud":"api","exp":{}}}"#, NOW + 300),
        format!(r#"{{"iss":"{ISSUER}","aud":"api"}}"#),
        "[]".to_owned(),
        "not json".to_owned(),
    ];
    for payload in payloads {
        let refused = verify(&forge(&key, &header, &payload), &keys(&key), &expect()).unwrap_err();
        assert_eq!(refused.code(), "malformed_claims", "{payload}: {refused}");
    }
}

// R3
#[test]
fn the_key_id_is_matched_exactly_and_nothing_else_is_followed() {
    let long = "x".repeat(2000);
    for kid in [json!(""), json!("../../keys/1"), json!("%00"), json!(long), Value::Null] {
        let refused = with_header(|header| match &kid {
            Value::Null => drop(header.as_object_mut().unwrap().remove("kid")),
            kid => header["kid"] = kid.clone(),
        });
        assert_eq!(refused.unwrap_err().code(), "unknown_key", "{kid}");
    }
    let upper = with_header(|header| header["kid"] = header["kid"].as_str().unwrap().to_uppercase().into());
    assert_eq!(upper.unwrap_err().code(), "unknown_key");
    assert_eq!(
        with_header(|header| header["kid"] = json!(7)).unwrap_err().code(),
        "malformed_token"
    );

    let attacker = SigningKey::generate(Algorithm::Es256).unwrap();
    let own = serde_json::to_value(attacker.public().unwrap().to_jwk()).unwrap();
    assert!(with_header(|header| header["jwk"] = own.clone()).is_ok());
    assert!(with_header(|header| header["jku"] = "https://attacker.example/jwks.json".into()).is_ok());
    let mut header = json!({"alg": "ES256", "jwk": own, "jku": "https://attacker.example/", "x5u": "file:///x"});
    let payload = String::from_utf8(claims().encode().unwrap()).unwrap();
    let honest = SigningKey::generate(Algorithm::Es256).unwrap();
    let refused = verify(&forge(&attacker, &header, &payload), &keys(&honest), &expect()).unwrap_err();
    assert_eq!(refused.code(), "unknown_key");
    header["kid"] = honest.kid().into();
    let refused = verify(&forge(&attacker, &header, &payload), &keys(&honest), &expect()).unwrap_err();
    assert_eq!(refused.code(), "bad_signature");
}

// R5
#[test]
fn a_key_counts_for_its_own_issuer_tenant_purpose_and_time_only() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let token = mint(&key, &Header::default(), &claims()).unwrap();
    let good = trust(key.verifier());
    let changed = [
        TrustedKey {
            issuer: "https://other.example".into(),
            ..good.clone()
        },
        TrustedKey {
            issuer: format!("{ISSUER}/"),
            ..good.clone()
        },
        TrustedKey {
            tenant: "000000000002".into(),
            ..good.clone()
        },
        TrustedKey {
            family: Family::Artifact,
            ..good.clone()
        },
        TrustedKey {
            family: Family::Raw,
            ..good.clone()
        },
        TrustedKey {
            not_before: NOW + 1,
            ..good.clone()
        },
        TrustedKey {
            not_after: NOW - 1,
            ..good.clone()
        },
    ];
    assert!(verify_with(&token, &good, &expect()).is_ok());
    for key in changed {
        assert!(
            matches!(verify_with(&token, &key, &expect()), Err(TokenError::Key(_))),
            "{key:?}"
        );
    }
    let late = TrustedKey {
        not_after: NOW - 1,
        ..good
    };
    assert!(verify_with(&token, &late, &Expectations { leeway: 1, ..expect() }).is_ok());
}

#[test]
fn critical_extensions_are_refused() {
    for (name, value) in [("crit", json!(["exp"])), ("crit", json!([])), ("b64", json!(false))] {
        assert_eq!(
            with_header(|header| header[name] = value.clone()).unwrap_err().code(),
            "malformed_token"
        );
    }
}

#[test]
fn shapes_that_are_no_token_are_refused() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let token = mint(&key, &Header::default(), &claims()).unwrap();
    let keys = keys(&key);
    let parts: Vec<&str> = token.split('.').collect();
    let shapes = [
        String::new(),
        ".".into(),
        "..".into(),
        "a.b".into(),
        parts[..2].join("."),
        format!("{token}.{token}"),
        format!(".{token}"),
        format!("{token}."),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        token.replacen('.', "..", 1),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{{\"protected\":\"{}\"}}", parts[0]),
    ];
    for shape in shapes {
        assert_eq!(
            verify(&shape, &keys, &expect()).unwrap_err().code(),
            "malformed_token",
            "{shape}"
        );
    }
    let short = Expectations {
        max_len: token.len() - 1,
        ..expect()
    };
    assert_eq!(
        verify(&token, &keys, &short),
        Err(TokenError::Malformed("it is too long"))
    );
    let doubled = base64url(format!(r#"{{"alg":"ES256","alg":"none","kid":"{}"}}"#, key.kid()).as_bytes());
    let refused = verify(&format!("{doubled}.{}.{}", parts[1], parts[2]), &keys, &expect());
    assert_eq!(refused.unwrap_err().code(), "malformed_token");
}

#[test]
fn every_changed_character_refuses_a_token() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let token = mint(&key, &Header::default(), &claims()).unwrap();
    for at in 0..token.len() {
        for other in [b'A', b'Q', b'_', b'.'] {
            let mut changed = token.clone().into_bytes();
            if std::mem::replace(&mut changed[at], other) != other {
                let changed = String::from_utf8(changed).unwrap();
                assert!(verify(&changed, &keys(&key), &expect()).is_err(), "{changed}");
            }
        }
    }
}
