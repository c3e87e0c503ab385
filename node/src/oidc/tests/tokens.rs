use super::*;
use crate::identity::{Attribute, CallerKind};

#[tokio::test]
async fn a_good_token_of_each_algorithm_is_a_caller() {
    for (key, algorithm) in [
        ("EdDSA", "EdDSA"),
        ("EdDSA", "Ed25519"),
        ("ES256", "ES256"),
        ("ES384", "ES384"),
        ("RS256", "RS256"),
        ("PS256", "PS256"),
    ] {
        let signer = Signer::new("k", key);
        let issuers = issuers(&[algorithm], &[&signer]);
        let caller = issuers
            .authenticate(&signer.token(algorithm, &claims()), NOW)
            .await
            .unwrap();
        assert_eq!(caller.id(), "oidc:https://ci.example#repo:acme/app", "{algorithm}");
        assert_eq!((caller.kind(), caller.tenant()), (CallerKind::Oidc, TENANT));
        assert_eq!((caller.issuer(), caller.subject()), (ISSUER, "repo:acme/app"));
        assert_eq!(caller.attributes()["roles"], Attribute::Texts(vec!["dev".into()]));
        assert_eq!(caller.expires_at(), NOW + 300);
    }
}

// R1
#[tokio::test]
async fn the_key_says_which_algorithm_verifies() {
    let (p256, rsa) = (Signer::new("p", "ES256"), Signer::new("r", "RS256"));
    let issuers = issuers(&["ES256", "RS256"], &[&p256, &rsa]);
    assert_eq!(code(&issuers, &rsa.token("RS256", &claims()), NOW).await, "");
    for algorithm in [
        "none", "None", "NONE", "", "HS256", "HS384", "HS512", "PS256", "ES384", "EdDSA", "Ed25519", "es256",
    ] {
        assert_eq!(
            code(&issuers, &p256.token(algorithm, &claims()), NOW).await,
            "bad_algorithm",
            "{algorithm}"
        );
    }
    assert_eq!(
        code(&issuers, &p256.token("RS256", &claims()), NOW).await,
        "bad_algorithm",
        "allowed, but not its key's"
    );
    let borrowed = p256.token_with(&json!({"alg": "ES256", "kid": "r"}), &claims());
    assert_eq!(code(&issuers, &borrowed, NOW).await, "bad_algorithm");
}

// R1
#[tokio::test]
async fn a_public_key_is_never_a_secret() {
    let rsa = Signer::new("k", "RS256");
    let issuers = issuers(&["RS256"], &[&rsa]);
    let public = URL_SAFE_NO_PAD.decode(rsa.jwk()["n"].as_str().unwrap()).unwrap();
    let signed = format!(
        "{}.{}",
        base64url(r#"{"alg":"HS256","kid":"k"}"#),
        base64url(claims().to_string())
    );
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    let token = format!(
        "{signed}.{}",
        base64url(aws_lc_rs::hmac::sign(&secret, signed.as_bytes()))
    );
    assert_eq!(code(&issuers, &token, NOW).await, "bad_algorithm");
    let unsigned = format!(
        "{}.{}.",
        base64url(r#"{"alg":"none"}"#),
        base64url(claims().to_string())
    );
    assert_eq!(code(&issuers, &unsigned, NOW).await, "bad_algorithm");
}

#[tokio::test]
async fn a_signature_must_be_by_the_key_over_the_very_bytes() {
    let (signer, other) = (Signer::new("k", "ES256"), Signer::new("k", "ES256"));
    let issuers = issuers(&["ES256"], &[&signer]);
    let token = signer.token("ES256", &claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged = signer.token("ES256", &claims_with("sub", json!("repo:acme/other")));
    let (forged_signed, _) = forged.rsplit_once('.').unwrap();
    let zeros = base64url([0; 64]);
    for bad in [
        other.token("ES256", &claims()),
        format!("{forged_signed}.{signature}"),
        format!("{signed}."),
        format!("{signed}.{zeros}"),
        format!("{signed}.{}", &signature[..signature.len() - 2]),
        format!("{signed}.{signature}="),
        format!("{signed}.{signature}AA"),
        format!("{signed}.!!!!"),
    ] {
        assert_eq!(code(&issuers, &bad, NOW).await, "bad_signature", "{bad}");
    }
}

// R3
#[tokio::test]
async fn keys_that_a_token_brings_along_are_not_used() {
    let (signer, attacker) = (Signer::new("k", "ES256"), Signer::new("k", "ES256"));
    let server = Server::start(jwks(&[&attacker])).await;
    let issuers = issuers(&["ES256"], &[&signer]);
    let url = format!("http://{}/keys", server.address);
    let header = json!({"alg": "ES256", "kid": "k", "jku": url, "x5u": url, "jwk": attacker.jwk(), "x5c": ["AAAA"]});
    assert_eq!(
        code(&issuers, &attacker.token_with(&header, &claims()), NOW).await,
        "bad_signature"
    );
    assert_eq!(code(&issuers, &signer.token_with(&header, &claims()), NOW).await, "");
    assert_eq!(server.fetches(), 0);
}

// R3
#[tokio::test]
async fn a_kid_is_exact_and_needed_where_there_is_a_choice() {
    let (one, two) = (Signer::new("one", "ES256"), Signer::new("two", "ES256"));
    let without = json!({"alg": "ES256"});
    let both = issuers(&["ES256"], &[&one, &two]);
    assert_eq!(code(&both, &two.token("ES256", &claims()), NOW).await, "");
    assert_eq!(
        code(&both, &one.token_with(&without, &claims()), NOW).await,
        "unknown_key"
    );
    for kid in ["One", "one ", "", "three", "../one"] {
        let token = one.token_with(&json!({"alg": "ES256", "kid": kid}), &claims());
        assert_eq!(code(&both, &token, NOW).await, "unknown_key", "{kid}");
    }
    let single = issuers(&["ES256"], &[&one]);
    assert_eq!(code(&single, &one.token_with(&without, &claims()), NOW).await, "");
}

// R2
#[tokio::test]
async fn claims_are_checked_after_the_signature() {
    let signer = Signer::new("k", "EdDSA");
    let issuers = issuers(&["EdDSA"], &[&signer]);
    for (name, value, expected) in [
        ("exp", json!(NOW), "token_expired"),
        ("exp", json!(NOW - 1), "token_expired"),
        ("exp", json!((NOW + 300).to_string()), "malformed_claims"),
        ("exp", json!(null), "malformed_claims"),
        ("nbf", json!(NOW + LEEWAY), ""),
        ("nbf", json!(NOW + LEEWAY + 1), "token_not_yet_valid"),
        ("nbf", json!("soon"), "malformed_claims"),
        ("iat", json!(NOW + 3600), "token_not_yet_valid"),
        ("iat", json!([NOW]), "malformed_claims"),
        ("aud", json!("other"), "wrong_audience"),
        ("aud", json!(["other", "signet"]), ""),
        ("aud", json!("signet "), "wrong_audience"),
        ("aud", json!(["other", 1]), "malformed_claims"),
        ("sub", json!("repo:evil/app"), "subject_not_allowed"),
        ("sub", json!("repo:acme"), "subject_not_allowed"),
        ("sub", json!(7), "malformed_claims"),
        ("iss", json!("https://ci.example/"), "unknown_issuer"),
        ("iss", json!("HTTPS://ci.example"), "unknown_issuer"),
        ("iss", json!([ISSUER]), "malformed_claims"),
        ("roles", json!({"admin": true}), "malformed_claims"),
    ] {
        let claims = claims_with(name, value);
        assert_eq!(
            code(&issuers, &signer.token("EdDSA", &claims), NOW).await,
            expected,
            "{claims}"
        );
    }
    let mut without = claims();
    without.as_object_mut().unwrap().remove("exp");
    assert_eq!(
        code(&issuers, &signer.token("EdDSA", &without), NOW).await,
        "malformed_claims"
    );
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let signer = Signer::new("k", "ES256");
    let issuers = issuers(&["ES256"], &[&signer]);
    assert_eq!(code(&issuers, "", NOW).await, "missing_credentials");
    let header = json!({"alg": "ES256", "kid": "k", "crit": ["b64"], "b64": false});
    assert_eq!(
        code(&issuers, &signer.token_with(&header, &claims()), NOW).await,
        "malformed_token"
    );
    let large = claims_with("padding", json!("x".repeat(MAX_TOKEN)));
    assert_eq!(
        code(&issuers, &signer.token("ES256", &large), NOW).await,
        "malformed_token"
    );
    for text in ["a", "a.b.c", "a.b.c.d.e", "Bearer x", &".".repeat(MAX_TOKEN)] {
        assert_eq!(code(&issuers, text, NOW).await, "malformed_token", "{text:.40}");
    }
}

// R19
#[tokio::test]
async fn a_verified_token_is_asked_for_its_time_at_each_use() {
    let signer = Signer::new("k", "ES256");
    let issuers = issuers(&["ES256"], &[&signer]);
    let token = signer.token("ES256", &claims());
    let first = issuers.authenticate(&token, NOW).await.unwrap();
    let second = issuers.authenticate(&token, NOW + 299).await.unwrap();
    assert!(Arc::ptr_eq(&first, &second), "verified once");
    assert_eq!(code(&issuers, &token, NOW + 300).await, "token_expired");
    assert_eq!(code(&issuers, &token, NOW - LEEWAY - 1).await, "token_not_yet_valid");
}

// R5
#[tokio::test]
async fn a_verified_token_is_forgotten_when_the_rules_change() {
    let signer = Signer::new("k", "ES256");
    let source = || JwksSource::Inline(jwks(&[&signer]));
    let issuers = Issuers::new(vec![config(&["ES256"], source())]).unwrap();
    let token = signer.token("ES256", &claims());
    assert_eq!(code(&issuers, &token, NOW).await, "");
    let moved = IssuerConfig {
        tenant: "000000000002".into(),
        ..config(&["ES256"], source())
    };
    issuers.replace(vec![moved]).unwrap();
    assert_eq!(
        issuers.authenticate(&token, NOW).await.unwrap().tenant(),
        "000000000002"
    );
    let bad = IssuerConfig {
        audiences: Vec::new(),
        ..config(&["ES256"], source())
    };
    issuers.replace(vec![bad]).unwrap_err();
    assert_eq!(
        code(&issuers, &token, NOW).await,
        "",
        "a refused change changes nothing"
    );
    issuers.replace(Vec::new()).unwrap();
    assert_eq!(code(&issuers, &token, NOW).await, "unknown_issuer");
}

// R10
#[tokio::test]
async fn no_error_repeats_the_token() {
    let (signer, other) = (Signer::new("k", "ES256"), Signer::new("k", "ES256"));
    let issuers = issuers(&["ES256"], &[&signer]);
    for token in [other.token("ES256", &claims()), "canary.canary.canary".into()] {
        let error = issuers.authenticate(&token, NOW).await.unwrap_err();
        let signature = token.rsplit_once('.').unwrap().1;
        let text = format!("{error} {error:?} {issuers:?}");
        assert!(!text.contains(signature) && !text.contains("canary"), "{text}");
    }
}
