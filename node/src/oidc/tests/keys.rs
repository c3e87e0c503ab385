use super::super::keys::{KeySet, Lookup};
use super::*;

fn parse(keys: Value, allowed: &[Algorithm]) -> Result<(KeySet, Vec<String>), String> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes(), allowed)
}

fn with(jwk: &Value, name: &str, value: Value) -> Value {
    let mut jwk = jwk.clone();
    jwk[name] = value;
    jwk
}

fn found(set: &KeySet, kid: Option<&str>) -> bool {
    matches!(set.find(kid), Lookup::Found(_))
}

const ALL: [Algorithm; 4] = [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384, Algorithm::Rs256];

#[test]
fn what_cannot_verify_a_token_is_left_out() {
    let (p256, ed, rsa) = (
        Signer::new("p", "ES256").jwk(),
        Signer::new("e", "EdDSA").jwk(),
        Signer::new("r", "RS256").jwk(),
    );
    for bad in [
        json!(1),
        json!({"kid": "p"}),
        json!({"kid": "p", "kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}),
        json!({"kid": "p", "kty": "oct"}),
        with(&p256, "d", json!("AA")),
        with(&p256, "use", json!("enc")),
        with(&p256, "key_ops", json!(["sign"])),
        with(&p256, "key_ops", json!("verify")),
        with(&p256, "alg", json!("HS256")),
        with(&p256, "alg", json!("ES384")),
        with(&p256, "alg", json!(1)),
        with(&p256, "crv", json!("P-521")),
        with(&p256, "crv", json!("P-384")),
        with(&p256, "x", json!("AA")),
        with(&p256, "y", json!("not base64!")),
        with(&p256, "kid", json!(1)),
        with(&ed, "crv", json!("X25519")),
        with(&ed, "x", json!("AAAA")),
        with(&ed, "kty", json!("okp")),
        with(&rsa, "n", json!(base64url([255; 255]))),
        with(&rsa, "n", json!(base64url([[0; 10].as_slice(), &[255; 250]].concat()))),
        with(&rsa, "n", json!(base64url(vec![255; 1025]))),
        with(&rsa, "alg", json!("RSA-OAEP")),
        with(&rsa, "alg", json!("ES256")),
    ] {
        assert!(parse(json!([bad]), &ALL).is_err(), "{bad}");
        let (set, skipped) = parse(json!([bad, with(&ed, "kid", json!("good"))]), &ALL).unwrap();
        assert_eq!(skipped.len(), 1, "{bad}");
        assert!(found(&set, Some("good")) && found(&set, None) && !found(&set, Some("p")));
    }
    let unusual = with(&with(&p256, "use", json!("sig")), "key_ops", json!(["verify"]));
    assert!(parse(json!([with(&unusual, "x5u", json!("http://evil/"))]), &ALL).is_ok());
    assert!(parse(json!([with(&ed, "alg", json!("Ed25519"))]), &ALL).is_ok());
}

// R1
#[test]
fn a_key_without_algorithm_gets_the_only_one_that_fits() {
    let rsa = Signer::new("r", "RS256").jwk();
    assert!(parse(json!([rsa]), &[Algorithm::Ps256]).is_ok());
    assert!(
        parse(json!([rsa]), &[Algorithm::Rs256, Algorithm::Ps256]).is_err(),
        "two fit"
    );
    assert!(parse(json!([rsa]), &[Algorithm::Es256]).is_err(), "none fits");
    let declared = with(&rsa, "alg", json!("PS256"));
    assert!(parse(json!([declared]), &[Algorithm::Rs256, Algorithm::Ps256]).is_ok());
    assert!(
        parse(json!([declared]), &[Algorithm::Rs256]).is_err(),
        "declared, but not allowed"
    );
}

// R3
#[test]
fn a_kid_that_stands_twice_means_neither() {
    let (one, two, good) = (
        Signer::new("k", "ES256"),
        Signer::new("k", "EdDSA"),
        Signer::new("g", "ES256"),
    );
    let (set, skipped) = parse(json!([one.jwk(), two.jwk(), good.jwk()]), &ALL).unwrap();
    assert_eq!(skipped.len(), 1);
    assert!(!found(&set, Some("k")) && found(&set, Some("g")));
    assert!(parse(json!([one.jwk(), two.jwk()]), &ALL).is_err());
}

#[test]
fn documents_are_bounded_and_strict() {
    let key = Signer::new("k", "ES256").jwk();
    let many = |count: usize| {
        json!(
            (0..count)
                .map(|n| with(&key, "kid", json!(n.to_string())))
                .collect::<Vec<_>>()
        )
    };
    assert!(parse(many(100), &ALL).is_ok());
    assert!(parse(many(101), &ALL).is_err());
    for text in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[]}"#,
        r#"{"keys":[],"keys":[]}"#,
        "<html>",
    ] {
        assert!(KeySet::parse(text.as_bytes(), &ALL).is_err(), "{text}");
    }
}
