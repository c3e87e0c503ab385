//! Callers' tokens, good and bad: each bad one is a 401 with its code, and the edge goes on serving.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use signing::algorithm::Algorithm;
use signing::key::SigningKey;
use system_tests::Dev;

/// The parts of the caller's own token.
fn parts(token: &str) -> (Value, Value, String) {
    let mut parts = token.split('.');
    let mut json = || serde_json::from_slice(&BASE64URL.decode(parts.next().unwrap()).unwrap()).unwrap();
    let (header, claims) = (json(), json());
    (header, claims, parts.next().unwrap().to_owned())
}

fn encode(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        BASE64URL.encode(header.to_string()),
        BASE64URL.encode(claims.to_string())
    )
}

/// A token signed by the development issuer's own key, which `signet dev` keeps in its data directory.
fn signed(dev: &Dev, header: &Value, claims: &Value) -> String {
    let pem = std::fs::read_to_string(dev.data().join("dev/caller-issuer.key.pem")).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::prelude::BASE64_STANDARD.decode(der).unwrap();
    let key = SigningKey::import(Algorithm::Es256, &signing::key::Secret::new(der)).unwrap();
    let input = encode(header, claims);
    let signature = key.sign(input.as_bytes()).unwrap();
    format!("{input}.{}", BASE64URL.encode(signature))
}

fn refused(dev: &Dev, token: &str) -> String {
    let answer = dev
        .anonymous("/v1/tokens/api")
        .bearer(token)
        .post(r#"{"subject":"alice"}"#);
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.field("www-authenticate").is_some(), "{answer:?}");
    answer.problem()
}

// R1 R2 R3: what a token says about itself is never believed before its signature, and never by halves.
#[test]
fn bad_caller_tokens_are_refused_by_name() {
    let dev = Dev::start();
    let (header, claims, signature) = parts(&dev.token());
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let now = claims["iat"].as_u64().unwrap();
    // The key really signs: its token is accepted as it is.
    let good = dev
        .anonymous("/v1/tokens/api")
        .bearer(&signed(&dev, &header, &claims))
        .post(r#"{"subject":"alice"}"#);
    assert_eq!(good.status, 201, "{good:?}");

    assert_eq!(
        refused(&dev, &signed(&dev, &header, &with("exp", json!(now - 10)))),
        "token_expired"
    );
    assert_eq!(
        refused(&dev, &signed(&dev, &header, &with("nbf", json!(now + 3600)))),
        "token_not_yet_valid"
    );
    assert_eq!(
        refused(&dev, &signed(&dev, &header, &with("aud", json!("elsewhere")))),
        "wrong_audience"
    );
    assert_eq!(
        refused(
            &dev,
            &signed(&dev, &header, &with("iss", json!("https://elsewhere.example")))
        ),
        "unknown_issuer"
    );
    assert_eq!(
        refused(&dev, &signed(&dev, &header, &with("sub", json!("prod:alice")))),
        "subject_not_allowed"
    );
    for malformed in [json!("tomorrow"), json!(null), json!([1]), json!({}), json!(-1)] {
        let code = refused(&dev, &signed(&dev, &header, &with("exp", malformed.clone())));
        assert!(
            matches!(code.as_str(), "malformed_claims" | "malformed_token"),
            "{malformed}: {code}"
        );
    }

    // Algorithm confusion: `none`, and HMAC with the public key as its secret.
    let mut none = header.clone();
    none["alg"] = json!("none");
    let code = refused(&dev, &format!("{}.", encode(&none, &claims)));
    assert!(matches!(code.as_str(), "bad_algorithm" | "malformed_token"), "{code}");
    let mut confused = header.clone();
    confused["alg"] = json!("HS256");
    let code = refused(&dev, &format!("{}.{signature}", encode(&confused, &claims)));
    assert_eq!(code, "bad_algorithm");

    let mut unknown = header.clone();
    unknown["kid"] = json!("../../etc/passwd");
    assert_eq!(refused(&dev, &signed(&dev, &unknown, &claims)), "unknown_key");
    assert_eq!(
        refused(
            &dev,
            &format!("{}.{signature}", encode(&header, &with("sub", json!("dev:eve"))))
        ),
        "bad_signature"
    );
    for garbage in ["x", "a.b.c", "..", &"A".repeat(9000)] {
        assert_eq!(refused(&dev, garbage), "malformed_token", "{garbage}");
    }
    assert_eq!(
        dev.anonymous("/v1/tokens/api").post("{}").problem(),
        "missing_credentials"
    );

    // Two credentials of one kind: nobody guesses which is meant.
    let two = dev
        .curl("/v1/tokens/api")
        .header("Authorization: Bearer x")
        .post(r#"{"subject":"alice"}"#);
    assert_eq!(
        (two.status, two.problem().as_str()),
        (401, "malformed_token"),
        "{two:?}"
    );
    // The edge is as well as ever.
    dev.mint("api", r#"{"subject":"alice"}"#);
}
