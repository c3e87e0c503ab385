mod coverage;
mod refusals;
mod tampering;
mod vectors;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};

use super::sign::Signer;
use super::*;

/// 2015-08-30T12:36:00Z.
pub(super) const NOW: u64 = 1_440_938_160;
pub(super) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
pub(super) const SIGNER: Signer<'_> = Signer {
    access_key_id: "AKIDEXAMPLE",
    secret: SECRET,
    region: "eu-central-1",
    service: "kms",
    now: NOW,
};
pub(super) const BODY: &[u8] = br#"{"KeyId":"alias/payments","Plaintext":"aGVsbG8="}"#;

pub(super) fn secret() -> Secret {
    Secret::new(SECRET.as_bytes().to_vec())
}

/// A request's head.
pub(super) fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

/// `Encrypt` of [`BODY`], not signed yet.
pub(super) fn unsigned() -> Parts {
    head(
        "POST",
        "/",
        &[
            ("host", "kms.example.internal:8443"),
            ("x-amz-target", "TrentService.Encrypt"),
            ("content-type", "application/x-amz-json-1.1"),
            ("user-agent", "some-sdk/1.0"),
        ],
    )
}

/// `Encrypt` of [`BODY`], signed as an SDK does.
pub(super) fn signed() -> Parts {
    let mut parts = unsigned();
    SIGNER.sign(&mut parts, BODY).unwrap();
    parts
}

/// Sets a header, whatever is there already.
pub(super) fn set(parts: &mut Parts, name: &'static str, value: &str) {
    let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
    parts.headers.insert(HeaderName::from_static(name), value);
}

/// Reads, looks the one secret there is up by its access key, and verifies.
pub(super) fn verify(parts: &Parts, body: &[u8]) -> Result<Verified, SigV4Error> {
    let claim = Claim::read(parts, NOW)?;
    if claim.access_key_id() != SIGNER.access_key_id {
        return Err(SigV4Error::unrecognized_client("no such access key"));
    }
    claim.verify(&secret(), body)
}

#[test]
fn a_signed_request_names_its_signer_scope_and_time() {
    let mut parts = unsigned();
    set(&mut parts, "x-amz-security-token", "session");
    SIGNER.sign(&mut parts, BODY).unwrap();
    let claim = Claim::read(&parts, NOW).unwrap();
    assert_eq!(
        (
            claim.access_key_id(),
            claim.region(),
            claim.service(),
            claim.timestamp()
        ),
        ("AKIDEXAMPLE", "eu-central-1", "kms", NOW)
    );
    assert_eq!(claim.session_token(), Some("session"));
    let verified = claim.verify(&secret(), BODY).unwrap();
    assert_eq!(
        (verified.access_key_id(), verified.region(), verified.service()),
        ("AKIDEXAMPLE", "eu-central-1", "kms")
    );
    assert_eq!(verified.timestamp(), NOW);
}

#[test]
fn a_request_sent_again_within_the_window_verifies_again() {
    let parts = signed();
    for now in [NOW, NOW, NOW + 300, NOW - 300] {
        let claim = Claim::read(&parts, now).unwrap();
        assert!(claim.verify(&secret(), BODY).is_ok(), "{now}");
    }
}

#[test]
fn what_proxies_change_is_not_signed() {
    let mut parts = signed();
    for (name, value) in [
        ("user-agent", "another/2.0"),
        ("x-amz-user-agent", "another/2.0"),
        ("x-amzn-trace-id", "Root=1-0-0"),
        ("via", "1.1 proxy"),
        ("connection", "close"),
        ("amz-sdk-invocation-id", "0"),
        ("date", "Sun, 30 Aug 2015 12:36:01 GMT"),
    ] {
        set(&mut parts, name, value);
    }
    assert!(verify(&parts, BODY).is_ok());
}

#[test]
fn the_same_request_verifies_over_every_version_of_http() {
    let mut by_field = signed();
    by_field.version = http::Version::HTTP_11;
    assert!(verify(&by_field, BODY).is_ok());

    let mut by_authority = signed();
    by_authority.version = http::Version::HTTP_2;
    by_authority.headers.remove(http::header::HOST);
    by_authority.uri = http::Uri::from_static("https://kms.example.internal:8443/");
    assert!(verify(&by_authority, BODY).is_ok());

    let mut by_both = signed();
    by_both.uri = http::Uri::from_static("https://kms.example.internal:8443/");
    assert!(verify(&by_both, BODY).is_ok());
}

#[test]
fn a_claim_for_another_scope_is_refused_in_the_services_words() {
    let parts = signed();
    let claim = Claim::read(&parts, NOW).unwrap();
    assert!(claim.check_scope("eu-central-1", "kms").is_ok());
    let wrong = |region, service| {
        let error = claim.check_scope(region, service).unwrap_err();
        assert_eq!(error.kind(), SigV4ErrorKind::InvalidSignature);
        error.to_string()
    };
    assert_eq!(
        wrong("us-east-1", "kms"),
        "Credential should be scoped to a valid region, not 'eu-central-1'. "
    );
    assert_eq!(
        wrong("eu-central-1", "sts"),
        "Credential should be scoped to correct service: 'sts'. "
    );
}

#[test]
fn kinds_have_the_services_names_in_both_protocols() {
    use SigV4ErrorKind::{IncompleteSignature, InvalidSignature, MissingAuthenticationToken, UnrecognizedClient};
    let names = [
        (
            MissingAuthenticationToken,
            "MissingAuthenticationTokenException",
            "MissingAuthenticationToken",
        ),
        (
            IncompleteSignature,
            "IncompleteSignatureException",
            "IncompleteSignature",
        ),
        (InvalidSignature, "InvalidSignatureException", "SignatureDoesNotMatch"),
        (
            UnrecognizedClient,
            "UnrecognizedClientException",
            "InvalidClientTokenId",
        ),
    ];
    for (kind, json, query) in names {
        assert_eq!((kind.json_code(), kind.query_code()), (json, query));
    }
    let unknown = SigV4Error::unrecognized_client("no such access key");
    assert_eq!(unknown.kind(), UnrecognizedClient);
    assert_eq!(
        unknown.to_string(),
        "The security token included in the request is invalid."
    );
    assert_eq!(unknown.detail(), "no such access key");
}
