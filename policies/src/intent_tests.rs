//! Requests that are taken, and every way to be refused.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use signing::{Digest, DigestAlgorithm};

use super::*;
use crate::bundle::{Bundle, dir};

fn profile(name: &str) -> Arc<Profile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/bundle");
    let bundle = Bundle::parse(&dir::read(&root).unwrap()).unwrap();
    Arc::clone(bundle.profile(name).unwrap())
}

fn parse(profile: &Profile, body: &[u8]) -> Result<Intent, IntentError> {
    match profile.token() {
        Some(_) => Intent::parse_token(profile, body),
        None => Intent::parse_artifact(profile, body),
    }
}

fn refused(profile: &Profile, body: &str) -> (u16, &'static str, Option<String>) {
    let error = parse(profile, body.as_bytes()).expect_err(body);
    assert!(
        !error.detail.is_empty() && error.detail.len() < 300,
        "{body}: {}",
        error.detail
    );
    (error.status, error.code, error.pointer)
}

#[test]
fn a_token_request_is_filled_up_from_the_profile() {
    let session = profile("session");
    let Intent::Token(intent) = parse(&session, b"{}").unwrap() else {
        panic!("no token")
    };
    assert_eq!(intent.audience, ["https://shop.example"]);
    assert_eq!((intent.subject, intent.lifetime, intent.claims.len()), (None, 300, 0));
    let body = json!({
        "subject": "u-1",
        "audience": ["https://api.example", "https://shop.example"],
        "claims": {"role": ["a", {"b": null}]},
        "lifetime": 3600
    });
    let Intent::Token(intent) = parse(&session, body.to_string().as_bytes()).unwrap() else {
        panic!("no token")
    };
    assert_eq!(intent.subject.as_deref(), Some("u-1"));
    assert_eq!((intent.audience.len(), intent.lifetime), (2, 3600));
    assert_eq!(intent.claims["role"], json!(["a", {"b": null}]));
}

#[test]
fn what_is_not_json_is_malformed() {
    let session = profile("session");
    for body in [
        "",
        " ",
        "{",
        "{}{}",
        "{\"a\"}",
        "nul",
        "{'a':1}",
        "\u{feff}{}",
        "[",
        "{\"a\":\"\u{1}\"}",
    ] {
        assert_eq!(refused(&session, body), (400, "malformed_json", None), "{body}");
    }
    for body in [&b"\xff\xfe"[..], b"{\"subject\":\"\xff\"}", &[b'['; 100_000]] {
        assert_eq!(parse(&session, body).unwrap_err().code, "malformed_json");
    }
}

#[test]
fn json_of_the_wrong_shape_names_the_member() {
    let session = profile("session");
    let cases = [
        ("[]", ""),
        ("\"x\"", ""),
        ("null", ""),
        (r#"{"subject":5}"#, "/subject"),
        (r#"{"subject":null}"#, "/subject"),
        (r#"{"audience":5}"#, "/audience"),
        (r#"{"audience":{"a":1}}"#, "/audience"),
        (r#"{"audience":["https://api.example",5]}"#, "/audience/1"),
        (r#"{"claims":[]}"#, "/claims"),
        (r#"{"claims":null}"#, "/claims"),
        (r#"{"lifetime":"60"}"#, "/lifetime"),
        (r#"{"lifetime":60.5}"#, "/lifetime"),
        (r#"{"lifetime":true}"#, "/lifetime"),
        (r#"{"extra":1}"#, "/extra"),
        (r#"{"a/b~c":1}"#, "/a~1b~0c"),
        (r#"{"lifetime":1e999}"#, ""),
        (r#"{"subject":"\ud800"}"#, ""),
        (r#"{"subject":"a","subject":"b"}"#, ""),
        (r#"{"claims":{"role":"a","role":"b"}}"#, ""),
        (r#"{"claims":{"role":{"x":1,"x":2}}}"#, ""),
    ];
    for (body, pointer) in cases {
        assert_eq!(
            refused(&session, body),
            (400, "bad_request", Some(pointer.to_owned())),
            "{body}"
        );
    }
}

#[test]
fn what_the_profile_does_not_take_has_a_code_of_its_own() {
    let session = profile("session");
    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    let deep = format!("{}1{}", "[".repeat(9), "]".repeat(9));
    let cases = [
        (r#"{"subject":""}"#.to_owned(), "invalid_request", "/subject"),
        (format!(r#"{{"subject":"{long}"}}"#), "invalid_request", "/subject"),
        (r#"{"subject":"a\nb"}"#.to_owned(), "invalid_request", "/subject"),
        (r#"{"audience":[]}"#.to_owned(), "invalid_request", "/audience"),
        (
            r#"{"audience":"https://evil.example"}"#.to_owned(),
            "audience_not_allowed",
            "/audience",
        ),
        (
            r#"{"audience":["https://api.example","https://evil.example"]}"#.to_owned(),
            "audience_not_allowed",
            "/audience",
        ),
        (
            r#"{"audience":["https://api.example","https://api.example"]}"#.to_owned(),
            "invalid_request",
            "/audience",
        ),
        (r#"{"lifetime":0}"#.to_owned(), "invalid_request", "/lifetime"),
        (r#"{"lifetime":-1}"#.to_owned(), "invalid_request", "/lifetime"),
        (r#"{"lifetime":3601}"#.to_owned(), "lifetime_too_long", "/lifetime"),
        (
            r#"{"lifetime":18446744073709551615}"#.to_owned(),
            "lifetime_too_long",
            "/lifetime",
        ),
        (
            r#"{"claims":{"unknown":1}}"#.to_owned(),
            "claim_not_allowed",
            "/claims/unknown",
        ),
        (
            r#"{"claims":{"plan":"gold"}}"#.to_owned(),
            "claim_not_allowed",
            "/claims/plan",
        ),
        (
            format!(r#"{{"claims":{{"role":{deep}}}}}"#),
            "invalid_claims",
            "/claims",
        ),
        (
            format!(r#"{{"claims":{{"role":"{}"}}}}"#, "x".repeat(MAX_CLAIMS_BYTES)),
            "invalid_claims",
            "/claims",
        ),
    ];
    for (body, code, pointer) in cases {
        assert_eq!(
            refused(&session, &body),
            (422, code, Some(pointer.to_owned())),
            "{body}"
        );
    }
    for name in REGISTERED {
        let body = format!(r#"{{"claims":{{"{name}":1}}}}"#);
        assert_eq!(refused(&session, &body).1, "invalid_claims", "{name}");
        let open = format!(r#"{{"audience":"x","claims":{{"purpose":"p","{name}":1}}}}"#);
        assert_eq!(refused(&profile("open"), &open).1, "invalid_claims", "{name}");
    }
}

#[test]
fn an_open_profile_still_asks_for_audience_and_claims() {
    let open = profile("open");
    assert_eq!(refused(&open, r#"{"claims":{"purpose":"x"}}"#).1, "invalid_request");
    assert_eq!(refused(&open, r#"{"audience":"x"}"#).1, "missing_claims");
    let many: Vec<String> = (0..MAX_CLAIMS).map(|n| format!("\"c{n}\":1")).collect();
    let body = format!(r#"{{"audience":"x","claims":{{"purpose":"x",{}}}}}"#, many.join(","));
    assert_eq!(refused(&open, &body).1, "invalid_claims");
    assert!(
        parse(
            &open,
            br#"{"audience":"x","claims":{"purpose":"x","https://any/claim":1}}"#
        )
        .is_ok()
    );
    assert_eq!(
        refused(&open, "{\"audience\":\"x\",\"claims\":{\"purpose\":1,\"\":1}}").1,
        "invalid_claims"
    );
}

#[test]
fn an_artifact_is_a_fitting_digest_or_a_message() {
    let (release, firmware) = (profile("release"), profile("firmware"));
    let digest = Digest::of(DigestAlgorithm::Sha256, b"x");
    let body = json!({ "digest": digest.to_string() }).to_string();
    let expected = Intent::Artifact(ArtifactIntent {
        payload: Payload::Digest(digest),
    });
    assert_eq!(parse(&release, body.as_bytes()).unwrap(), expected);
    let message = Intent::Artifact(ArtifactIntent {
        payload: Payload::Message(b"hello".to_vec()),
    });
    assert_eq!(parse(&firmware, br#"{"message":"aGVsbG8="}"#).unwrap(), message);
    assert_eq!(refused(&firmware, &body).1, "unsupported_digest");
    let hex = "ab".repeat(48);
    let cases = [
        (format!(r#"{{"digest":"sha384:{hex}"}}"#), 422, "unsupported_digest"),
        (format!(r#"{{"digest":"md5:{hex}"}}"#), 422, "unsupported_digest"),
        (format!(r#"{{"digest":"sha256:{hex}"}}"#), 422, "invalid_request"),
        (r#"{"digest":"sha256:zz"}"#.to_owned(), 422, "invalid_request"),
        (r#"{"digest":"abcd"}"#.to_owned(), 422, "invalid_request"),
        (r#"{"digest":5}"#.to_owned(), 400, "bad_request"),
        (r#"{"message":[1]}"#.to_owned(), 400, "bad_request"),
        (r#"{"message":"aGVsbG8"}"#.to_owned(), 422, "invalid_request"),
        (r#"{"message":"a-_b"}"#.to_owned(), 422, "invalid_request"),
        ("{}".to_owned(), 422, "invalid_request"),
        (
            r#"{"digest":"sha256:ab","message":""}"#.to_owned(),
            422,
            "invalid_request",
        ),
        (r#"{"message":"","claims":{}}"#.to_owned(), 400, "bad_request"),
        (
            format!(r#"{{"message":"{}"}}"#, "AAAA".repeat(MAX_MESSAGE_BYTES / 3 + 1)),
            422,
            "invalid_request",
        ),
    ];
    for (body, status, code) in cases {
        let found = refused(&release, &body);
        assert_eq!((found.0, found.1), (status, code), "{}", &body[..body.len().min(80)]);
    }
}

#[test]
fn the_wrong_endpoint_says_which_is_right() {
    let error = Intent::parse_token(&profile("release"), b"{}").unwrap_err();
    assert!(error.detail.contains("/v1/signatures/release"), "{error}");
    let error = Intent::parse_artifact(&profile("session"), b"{}").unwrap_err();
    assert!(error.detail.contains("/v1/tokens/session"), "{error}");
}

#[test]
fn a_request_to_verify_fits_its_profile() {
    let (session, release) = (profile("session"), profile("release"));
    let request = VerifyRequest::parse(br#"{"profile":"session","token":"a.b.c"}"#).unwrap();
    assert_eq!((request.profile(), request.token()), (Some("session"), Some("a.b.c")));
    let expected = Intent::Verify(VerifyIntent::Token {
        token: "a.b.c".to_owned(),
        audience: None,
    });
    assert_eq!(request.against(&session).unwrap(), expected);
    let against = |body: &str, profile: &Profile| match VerifyRequest::parse(body.as_bytes()) {
        Ok(request) => request.against(profile).expect_err(body).code,
        Err(error) => error.code,
    };
    let digest = format!("sha256:{}", "ab".repeat(32));
    assert_eq!(against("{}", &session), "invalid_request");
    assert_eq!(against(r#"{"profile":5}"#, &session), "bad_request");
    assert_eq!(against(r#"{"profile":"session"}"#, &session), "invalid_request");
    assert_eq!(
        against(r#"{"profile":"session","token":"a","digest":"x"}"#, &session),
        "bad_request"
    );
    let long = "x".repeat(MAX_TOKEN_BYTES + 1);
    assert_eq!(
        against(&format!(r#"{{"profile":"session","token":"{long}"}}"#), &session),
        "invalid_request"
    );
    assert_eq!(
        against(&format!(r#"{{"profile":"release","digest":"{digest}"}}"#), &release),
        "invalid_request"
    );
    assert_eq!(
        against(
            &format!(r#"{{"profile":"release","token":"a","digest":"{digest}"}}"#),
            &release
        ),
        "bad_request"
    );
}

#[test]
fn a_request_to_verify_has_one_form_whatever_it_names() {
    let error = |body: &str| VerifyRequest::parse(body.as_bytes()).err().map(|error| error.pointer);
    assert_eq!(
        error(r#"{"token":"a.b.c","surprise":1}"#),
        Some(Some("/surprise".into()))
    );
    assert_eq!(
        error(r#"{"token":"a.b.c","signature":"AA=="}"#),
        Some(Some("/signature".into()))
    );
    assert_eq!(
        error(r#"{"token":"a.b.c","certificates":[]}"#),
        Some(Some("/certificates".into()))
    );
    assert_eq!(
        error(r#"{"signature":"AA==","audience":"x"}"#),
        Some(Some("/audience".into()))
    );
}

#[test]
fn a_number_that_would_be_signed_rounded_is_refused() {
    let session = profile("session");
    let claims = |value: &str| format!(r#"{{"subject":"a","claims":{{"role":{value}}}}}"#);
    for kept in ["18446744073709551615", "-9223372036854775808", "1.5", "1e3"] {
        assert!(parse(&session, claims(kept).as_bytes()).is_ok(), "{kept}");
    }
    for rounded in ["18446744073709551616", "-9223372036854775809", "[{\"a\":1e300}]"] {
        assert_eq!(refused(&session, &claims(rounded)).1, "invalid_claims", "{rounded}");
    }
    for lifetime in ["18446744073709551616", "1e300"] {
        let body = format!(r#"{{"subject":"a","lifetime":{lifetime}}}"#);
        assert_eq!(refused(&session, &body).1, "lifetime_too_long", "{lifetime}");
    }
}

#[test]
fn a_token_to_verify_is_not_printed() {
    let intent = VerifyIntent::Token {
        token: "canary".to_owned(),
        audience: None,
    };
    assert!(!format!("{intent:?}").contains("canary"));
    assert!(!format!("{:?}", Payload::Message(b"canary".to_vec())).contains("canary"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..64), name in "[a-z]{0,9}", value in "[\\[\\]{}\":,0-9a-z]{0,24}") {
        let session = profile_once();
        let _ = Intent::parse_token(session, &body);
        let _ = VerifyRequest::parse(&body);
        let text = format!("{{\"{name}\":{value}}}");
        if let Err(error) = Intent::parse_token(session, text.as_bytes()) {
            prop_assert!(matches!(error.status, 400 | 422));
        }
    }
}

fn profile_once() -> &'static Profile {
    static SESSION: std::sync::LazyLock<Arc<Profile>> = std::sync::LazyLock::new(|| profile("session"));
    &SESSION
}
