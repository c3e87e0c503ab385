use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::encoding::{base64url, from_base64url};
use crate::key::{Family, Secret, TrustedKey, Verifier};

const NOW: u64 = 1_800_000_000;
const TENANT: &str = "000000000001";
const ISSUER: &str = "https://edge.example/i/dev";

fn trust(verifier: &Verifier) -> TrustedKey {
    TrustedKey {
        verifier: verifier.clone(),
        family: Family::Token,
        issuer: ISSUER.into(),
        tenant: TENANT.into(),
        not_before: NOW - 1000,
        not_after: NOW + 1000,
    }
}

fn keys(key: &SigningKey) -> BTreeMap<String, TrustedKey> {
    BTreeMap::from([(key.kid().to_owned(), trust(key.verifier()))])
}

fn expect() -> Expectations<'static> {
    Expectations {
        issuer: ISSUER,
        tenant: TENANT,
        audience: Audience::AnyOf(&["api"]),
        now: NOW,
        leeway: 0,
        max_len: DEFAULT_MAX_LEN,
    }
}

fn claims() -> Claims {
    Claims {
        iss: Some(ISSUER.into()),
        sub: Some("user-1".into()),
        aud: vec!["api".into()],
        exp: Some(NOW + 300),
        nbf: Some(NOW),
        iat: Some(NOW),
        jti: Some("id-1".into()),
        extra: BTreeMap::from([("role".to_owned(), Value::from("editor"))]),
    }
}

/// A token with any header and payload, honestly signed.
fn forge(key: &SigningKey, header: &Value, payload: &str) -> String {
    let signed = format!(
        "{}.{}",
        base64url(header.to_string().as_bytes()),
        base64url(payload.as_bytes())
    );
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64url(&signature))
}

fn with_claims(change: impl FnOnce(&mut Claims)) -> Result<Verified, TokenError> {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let mut claims = claims();
    change(&mut claims);
    verify(
        &mint(&key, &Header::default(), &claims).unwrap(),
        &keys(&key),
        &expect(),
    )
}

fn with_header(change: impl FnOnce(&mut Value)) -> Result<Verified, TokenError> {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let mut header = json!({"alg": "ES256", "kid": key.kid()});
    change(&mut header);
    let payload = String::from_utf8(claims().encode().unwrap()).unwrap();
    verify(&forge(&key, &header, &payload), &keys(&key), &expect())
}

#[test]
fn what_is_minted_verifies() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384, Algorithm::Hs256] {
        let key = SigningKey::generate(algorithm).unwrap();
        let token = mint(&key, &Header::default(), &claims()).unwrap();
        let verified = verify(&token, &keys(&key), &expect()).unwrap();
        assert_eq!(verified.claims(), &claims());
        assert_eq!((verified.kid(), verified.expires_at()), (key.kid(), NOW + 300));
        assert_eq!(verified.header().alg, algorithm.as_str());
        assert_eq!(verified.header().typ.as_deref(), Some("JWT"));
        let looked_up: HashMap<_, _> = keys(&key).into_iter().collect();
        assert!(verify(&token, &looked_up, &expect()).is_ok());
        assert_eq!(inspect(&token, DEFAULT_MAX_LEN).unwrap().claims, claims());
    }
}

#[test]
fn ed25519_goes_by_either_name() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    for (algorithm_name, written) in [(AlgorithmName::EdDsa, "EdDSA"), (AlgorithmName::Ed25519, "Ed25519")] {
        let header = Header {
            typ: "at+jwt".into(),
            algorithm_name,
        };
        let verified = verify(&mint(&key, &header, &claims()).unwrap(), &keys(&key), &expect()).unwrap();
        assert_eq!(verified.header().alg, written);
        assert_eq!(written.parse(), Ok(algorithm_name));
    }
    assert!("ES256".parse::<AlgorithmName>().is_err());
    assert_eq!(AlgorithmName::Ed25519.name(Algorithm::Es256), "ES256");
}

#[test]
fn types_that_do_not_fit_a_header_are_refused() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    for typ in ["", "a\"b", "a b", "é", &"x".repeat(65)] {
        let header = Header {
            typ: typ.into(),
            ..Header::default()
        };
        assert_eq!(mint(&key, &header, &claims()), Err(MintError::Type), "{typ}");
    }
}

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
fn issuer_audience_and_times_are_checked() {
    let refused = |change: fn(&mut Claims)| with_claims(change).unwrap_err();
    assert_eq!(refused(|c| c.iss = Some("https://other".into())), TokenError::Issuer);
    assert_eq!(refused(|c| c.iss = None), TokenError::Issuer);
    assert_eq!(refused(|c| c.aud = vec!["other".into()]), TokenError::Audience);
    assert_eq!(refused(|c| c.aud = vec![]), TokenError::Audience);
    assert_eq!(refused(|c| c.exp = Some(NOW)), TokenError::Expired);
    assert_eq!(refused(|c| c.exp = Some(0)), TokenError::Expired);
    assert_eq!(refused(|c| c.nbf = Some(NOW + 1)), TokenError::NotYetValid);
    assert_eq!(refused(|c| c.iat = Some(NOW + 1)), TokenError::NotYetValid);
    assert!(with_claims(|c| c.aud = vec!["other".into(), "api".into()]).is_ok());
    assert!(with_claims(|c| c.exp = Some(NOW + 1)).is_ok());
}

#[test]
fn leeway_widens_times_within_its_bound() {
    let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let token = mint(
        &key,
        &Header::default(),
        &Claims {
            exp: Some(NOW - 10),
            ..claims()
        },
    )
    .unwrap();
    let at = |leeway| verify(&token, &keys(&key), &Expectations { leeway, ..expect() });
    assert_eq!(at(10), Err(TokenError::Expired));
    assert!(at(11).is_ok());
    let old = mint(
        &key,
        &Header::default(),
        &Claims {
            exp: Some(NOW - 4000),
            ..claims()
        },
    )
    .unwrap();
    let refused = verify(
        &old,
        &keys(&key),
        &Expectations {
            leeway: u64::MAX,
            ..expect()
        },
    );
    assert_eq!(refused, Err(TokenError::Expired));
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

#[test]
fn a_known_key_needs_no_id_but_takes_no_other() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let payload = String::from_utf8(claims().encode().unwrap()).unwrap();
    let nameless = forge(&key, &json!({"alg": "ES256"}), &payload);
    assert!(verify_with(&nameless, &trust(key.verifier()), &expect()).is_ok());
    let misnamed = forge(&key, &json!({"alg": "ES256", "kid": "other"}), &payload);
    assert_eq!(
        verify_with(&misnamed, &trust(key.verifier()), &expect()),
        Err(TokenError::UnknownKey("other".into()))
    );
}

proptest! {
    #[test]
    fn no_text_makes_verifying_panic(header in ".{0,40}", payload in ".{0,40}", rest in "[A-Za-z0-9_.-]{0,60}") {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let keys = keys(&key);
        let token = format!("{}.{}.{rest}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
        prop_assert!(verify(&token, &keys, &expect()).is_err());
        prop_assert!(verify(&header, &keys, &expect()).is_err());
        let _ = inspect(&token, DEFAULT_MAX_LEN);
    }

    #[test]
    fn any_claims_survive_the_way(
        sub in proptest::option::of(".{0,30}"),
        aud in proptest::collection::vec(".{0,12}", 0..4),
        extra in proptest::collection::btree_map("[a-z]{4,9}", any::<i64>().prop_map(Value::from), 0..5),
    ) {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let claims = Claims { sub, aud, extra, ..claims() };
        let token = mint(&key, &Header::default(), &claims).unwrap();
        let expect = Expectations { audience: Audience::Unchecked, ..expect() };
        let verified = verify(&token, &keys(&key), &expect).unwrap();
        prop_assert_eq!(verified.claims(), &claims);
        let header = from_base64url(token.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        prop_assert_eq!(header["kid"].as_str(), Some(key.kid()));
    }
}
