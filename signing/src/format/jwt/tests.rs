mod hostile;

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::claims::Claims;
use crate::encoding::{base64url, from_base64url};
use crate::key::{Family, TrustedKey, Verifier};

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
