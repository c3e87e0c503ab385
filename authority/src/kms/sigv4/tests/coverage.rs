//! What is refused for the request around a well-formed signature.

use SigV4ErrorKind::{IncompleteSignature, InvalidSignature, UnrecognizedClient};
use http::Uri;

use super::refusals::{kind, refused, with_field};
use super::*;

/// The request signed over these headers only.
fn signed_over(names: &[&str]) -> Parts {
    let mut parts = signed();
    SIGNER.sign_only(&mut parts, BODY, names).unwrap();
    parts
}

/// The request with a header that is signed with the rest.
fn signed_with(name: &'static str, value: &str) -> Parts {
    let mut parts = unsigned();
    set(&mut parts, name, value);
    SIGNER.sign(&mut parts, BODY).unwrap();
    parts
}

// R9, CVE-2026-41145
#[test]
fn credentials_in_the_query() {
    for query in [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Feu-central-1%2Fkms%2Faws4_request",
        "X-Amz-Signature=00",
        "X-Amz-SignedHeaders=host",
        "X-Amz-Date=20150830T123600Z",
        "X-Amz-Expires=60",
        "X-Amz-Security-Token=session",
        "X-Amz-Target=TrentService.Decrypt",
        "x-amz-signature=00",
        "%58-Amz-Signature=00",
        "X%2dAmz%2DCredential",
        "a=1&X-AMZ-CREDENTIAL=a",
        "AWSAccessKeyId=AKIDEXAMPLE&Signature=00",
        "SignatureMethod=HmacSHA256",
    ] {
        let target = format!("/?{query}");
        let mut with_header = unsigned();
        with_header.uri = Uri::try_from(target.as_str()).unwrap();
        SIGNER.sign(&mut with_header, BODY).unwrap();
        assert_eq!(kind(&with_header), IncompleteSignature, "{query}");

        let alone = head("POST", &target, &[("host", "kms.example.internal:8443")]);
        assert_eq!(kind(&alone), IncompleteSignature, "{query}");
    }
}

// R9, CVE-2025-31489, CVE-2026-40344
#[test]
fn payloads_that_are_not_signed_as_a_whole() {
    for value in [
        "UNSIGNED-PAYLOAD",
        "unsigned-payload",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
        "",
        "e3b0c442",
        &hex(&sha256(BODY)).to_uppercase(),
    ] {
        assert_eq!(
            kind(&signed_with("x-amz-content-sha256", value)),
            IncompleteSignature,
            "{value}"
        );
    }
    let of_another_body = signed_with("x-amz-content-sha256", &hex(&sha256(b"another")));
    let error = verify(&of_another_body, BODY).unwrap_err();
    assert_eq!(error.kind(), InvalidSignature);
    assert_eq!(
        error.to_string(),
        "The provided 'x-amz-content-sha256' header does not match what was computed."
    );
    assert!(verify(&signed_with("x-amz-content-sha256", &hex(&sha256(BODY))), BODY).is_ok());
}

// R9
#[test]
fn headers_that_decide_and_are_not_signed() {
    let cases = [
        ("x-amz-date", &["content-type", "host", "x-amz-target"][..]),
        ("x-amz-target", &["content-type", "host", "x-amz-date"]),
    ];
    for (name, names) in cases {
        let error = refused(&signed_over(names));
        assert_eq!(error.kind(), InvalidSignature, "{name}");
        assert_eq!(
            error.to_string(),
            format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.")
        );
    }
    for name in [
        "x-amz-security-token",
        "x-amz-content-sha256",
        "x-amz-meta-anything",
        "content-encoding",
    ] {
        let mut parts = signed();
        set(&mut parts, name, &hex(&sha256(BODY)));
        assert_eq!(kind(&parts), InvalidSignature, "{name}");
    }
    let mut by_date = unsigned();
    set(&mut by_date, "date", "Sun, 30 Aug 2015 12:36:00 GMT");
    SIGNER
        .sign_only(&mut by_date, BODY, &["content-type", "host", "x-amz-target"])
        .unwrap();
    assert_eq!(kind(&by_date), InvalidSignature);
    SIGNER
        .sign_only(&mut by_date, BODY, &["content-type", "date", "host", "x-amz-target"])
        .unwrap();
    assert!(verify(&by_date, BODY).is_ok());
}

// R9
#[test]
fn an_unsigned_content_type_says_only_what_signed_data_say() {
    let json = |kind: &str| {
        let mut parts = signed_over(&["host", "x-amz-date", "x-amz-target"]);
        set(&mut parts, "content-type", kind);
        verify(&parts, BODY).is_ok()
    };
    let form = |kind: &str| {
        let mut parts = head("POST", "/", &[("host", "sts.example.internal"), ("content-type", kind)]);
        set(&mut parts, "x-amz-date", "20150830T123600Z");
        SIGNER.sign_only(&mut parts, BODY, &["host", "x-amz-date"]).unwrap();
        verify(&parts, BODY).is_ok()
    };
    for kind in [
        "application/x-amz-json-1.1",
        "Application/X-AMZ-JSON-1.0 ; charset=utf-8",
    ] {
        assert!(json(kind) && !form(kind), "{kind}");
    }
    for kind in [
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded;charset=utf-8",
    ] {
        assert!(form(kind) && !json(kind), "{kind}");
    }
    for kind in ["", "application/json", "application/cbor", "text/plain", "é"] {
        assert!(!form(kind) && !json(kind), "{kind}");
    }
}

// R9
#[test]
fn headers_that_decide_and_come_twice() {
    for name in [
        "host",
        "content-type",
        "x-amz-date",
        "x-amz-target",
        "x-amz-security-token",
        "x-amz-content-sha256",
        "x-amz-meta-anything",
    ] {
        let mut parts = unsigned();
        if !parts.headers.contains_key(name) {
            set(&mut parts, name, &hex(&sha256(BODY)));
        }
        SIGNER.sign(&mut parts, BODY).unwrap();
        let first = parts.headers[name].clone();
        parts.headers.append(name, first);
        let names: Vec<String> = parts.headers.keys().map(ToString::to_string).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.retain(|name| *name != "authorization");
        names.sort_unstable();
        SIGNER.sign_only(&mut parts, BODY, &names).unwrap();
        assert_eq!(kind(&parts), IncompleteSignature, "{name}");
    }
}

// R9
#[test]
fn two_hosts() {
    let mut parts = signed();
    parts.uri = Uri::from_static("https://another.example.internal:8443/");
    assert_eq!(kind(&parts), IncompleteSignature);
    parts.headers.remove("host");
    assert_eq!(verify(&parts, BODY).unwrap_err().kind(), InvalidSignature);
    parts.uri = Uri::from_static("/");
    assert_eq!(kind(&parts), IncompleteSignature);
}

#[test]
fn dates_that_lack_or_are_of_another_time() {
    let mut parts = signed();
    parts.headers.remove("x-amz-date");
    SIGNER
        .sign_only(&mut parts, BODY, &["content-type", "host", "x-amz-target"])
        .unwrap();
    let error = refused(&parts);
    assert_eq!(error.kind(), IncompleteSignature);
    assert_eq!(
        error.to_string(),
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
    );
    for bad in ["", "now", "Sun, 30 Aug 2015 12:36:00 GMT", "20150830T123600", "é"] {
        let mut parts = signed();
        set(&mut parts, "x-amz-date", bad);
        assert_eq!(kind(&parts), IncompleteSignature, "{bad}");
    }
    // A good `Date` does not make up for a bad `X-Amz-Date`.
    let mut parts = signed_with("date", "Sun, 30 Aug 2015 12:36:00 GMT");
    set(&mut parts, "x-amz-date", "bad");
    assert_eq!(kind(&parts), IncompleteSignature);

    let parts = signed();
    let at = |now| Claim::read(&parts, now).err().map(|error| error.to_string());
    assert_eq!(at(NOW + 300), None);
    assert_eq!(at(NOW - 300), None);
    assert_eq!(
        at(NOW + 301).unwrap(),
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"
    );
    assert_eq!(
        at(NOW - 301).unwrap(),
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)"
    );
}

#[test]
fn session_tokens_that_none_is() {
    for bad in ["", "é", &"a".repeat(MAX_TOKEN + 1)] {
        let error = refused(&signed_with("x-amz-security-token", bad));
        assert_eq!(error.kind(), UnrecognizedClient);
        assert_eq!(
            error.to_string(),
            "The security token included in the request is invalid."
        );
    }
    assert!(verify(&signed_with("x-amz-security-token", &"a".repeat(MAX_TOKEN)), BODY).is_ok());
}

#[test]
fn queries_that_readers_disagree_on() {
    for query in ["a=b+c", "a+b", "a=%", "a=%4", "a=%zz", "a=%+1", "=b", "a&&b", "&", "a&"] {
        let mut parts = signed();
        parts.uri = Uri::try_from(format!("/?{query}")).unwrap();
        assert_eq!(kind(&parts), IncompleteSignature, "{query}");
    }
}

#[test]
fn more_than_the_bounds() {
    let long = |n: usize| "a".repeat(n);
    let mut parts = signed();
    for target in [
        format!("/{}", long(2048)),
        format!("/?{}", long(16 * 1024 + 1)),
        format!("/?{}", ["a"; 257].join("&")),
    ] {
        parts.uri = Uri::try_from(target).unwrap();
        assert_eq!(kind(&parts), IncompleteSignature);
    }
    for target in [
        format!("/{}", long(2047)),
        format!("/?{}", long(16 * 1024)),
        format!("/?{}", ["a"; 256].join("&")),
    ] {
        parts.uri = Uri::try_from(target).unwrap();
        SIGNER.sign(&mut parts, BODY).unwrap();
        assert!(verify(&parts, BODY).is_ok());
    }

    assert_eq!(
        kind(&with_field(|field| format!("{field},{}", " ".repeat(4096)))),
        IncompleteSignature
    );
    let credential = |id: &str, region: &str| {
        with_field(|field| field.replacen("AKIDEXAMPLE", id, 1).replacen("eu-central-1", region, 1))
    };
    assert!(Claim::read(&credential(&long(128), &long(64)), NOW).is_ok());
    assert_eq!(kind(&credential(&long(129), "r")), IncompleteSignature);
    assert_eq!(kind(&credential("A", &long(65))), IncompleteSignature);

    let headers = |count: usize| {
        let mut parts = head("GET", "/", &[("host", "h")]);
        for n in 0..count {
            let name = HeaderName::try_from(format!("a{n:03}")).unwrap();
            parts.headers.insert(name, HeaderValue::from_static("v"));
        }
        SIGNER.sign(&mut parts, b"").unwrap();
        Claim::read(&parts, NOW).is_ok()
    };
    // The host and the date are signed too.
    assert!(headers(62) && !headers(63));
}
