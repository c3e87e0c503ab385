//! What is refused for the `Authorization` field's own sake.

use SigV4ErrorKind::{IncompleteSignature, InvalidSignature, MissingAuthenticationToken};

use super::*;

pub(super) fn refused(parts: &Parts) -> SigV4Error {
    match Claim::read(parts, NOW) {
        Ok(_) => panic!("{parts:?} was taken"),
        Err(error) => error,
    }
}

pub(super) fn kind(parts: &Parts) -> SigV4ErrorKind {
    refused(parts).kind()
}

/// The request with its `Authorization` rewritten.
pub(super) fn with_field(rewrite: impl Fn(&str) -> String) -> Parts {
    let mut parts = signed();
    let field = rewrite(parts.headers[AUTHORIZATION].to_str().unwrap());
    set(&mut parts, "authorization", &field);
    parts
}

#[test]
fn no_signature() {
    let error = refused(&unsigned());
    assert_eq!(error.kind(), MissingAuthenticationToken);
    assert_eq!(error.to_string(), "Missing Authentication Token");
}

// R9
#[test]
fn more_than_one_signature() {
    let mut twice = signed();
    let field = twice.headers[AUTHORIZATION].clone();
    twice.headers.append(AUTHORIZATION, field);
    assert_eq!(kind(&twice), IncompleteSignature);

    let mut beside_another_scheme = signed();
    beside_another_scheme
        .headers
        .append(AUTHORIZATION, HeaderValue::from_static("Bearer token"));
    assert_eq!(kind(&beside_another_scheme), IncompleteSignature);

    assert_eq!(
        kind(&with_field(|field| format!("{field}, {field}"))),
        IncompleteSignature
    );
}

#[test]
fn other_schemes_and_algorithms() {
    for scheme in [
        "AWS4-ECDSA-P256-SHA256",
        "AWS4-HMAC-SHA256-PAYLOAD",
        "AWS4-HMAC-SHA512",
        "aws4-hmac-sha256",
        "AWS",
        "Bearer",
        "",
    ] {
        let parts = with_field(|field| field.replacen(ALGORITHM, scheme, 1));
        assert_eq!(kind(&parts), IncompleteSignature, "{scheme}");
    }
    for field in ["", " ", "Bearer secret-canary", "AKIDEXAMPLE:c2VjcmV0LWNhbmFyeQ=="] {
        let error = refused(&with_field(|_| field.to_owned()));
        assert_eq!(error.kind(), IncompleteSignature, "{field}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
    let mut binary = signed();
    let field = [binary.headers[AUTHORIZATION].as_bytes(), b"\xff"].concat();
    binary
        .headers
        .insert(AUTHORIZATION, HeaderValue::from_bytes(&field).unwrap());
    assert_eq!(kind(&binary), IncompleteSignature);
}

#[test]
fn parts_that_lack_are_double_or_unknown() {
    let says = |rewrite: &dyn Fn(&str) -> String| {
        let error = refused(&with_field(rewrite));
        assert_eq!(error.kind(), IncompleteSignature);
        error.to_string()
    };
    let all = "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' \
               parameter. Authorization header requires 'SignedHeaders' parameter.";
    assert_eq!(says(&|_| ALGORITHM.to_owned()), all);
    assert_eq!(says(&|_| format!("{ALGORITHM} ")), all);
    let without = |name: &'static str| {
        says(&move |field| {
            let kept: Vec<&str> = field[ALGORITHM.len() + 1..]
                .split(", ")
                .filter(|part| !part.starts_with(name))
                .collect();
            format!("{ALGORITHM} {}", kept.join(", "))
        })
    };
    for name in ["Credential", "SignedHeaders", "Signature="] {
        let expected = format!(
            "Authorization header requires '{}' parameter.",
            name.trim_end_matches('=')
        );
        assert_eq!(without(name), expected);
    }
    says(&|field| format!("{field}, Signature={}", "0".repeat(64)));
    says(&|field| format!("{field}, Credential=AKIDEXAMPLE/20150830/eu-central-1/kms/aws4_request"));
    says(&|field| format!("{field}, SignedHeaders=host"));
    says(&|field| format!("{field}, Extra=1"));
    says(&|field| format!("{field},"));
    says(&|field| field.replacen("Credential=", "credential=", 1));
    says(&|field| field.replacen("Credential=", "Credential =", 1));
    says(&|field| field.replacen("Credential=", "Credential", 1));
    assert_eq!(
        says(&|field| field.replacen(", Signed", " Signed", 1)),
        "Authorization header requires 'SignedHeaders' parameter."
    );
}

#[test]
fn order_and_spacing_of_the_parts_are_free() {
    let parts = with_field(|field| {
        let mut parts: Vec<&str> = field[ALGORITHM.len() + 1..].split(", ").collect();
        parts.reverse();
        format!("{ALGORITHM}  {}", parts.join(",\t "))
    });
    assert!(verify(&parts, BODY).is_ok());
    assert!(verify(&with_field(|field| field.replace(", ", ",")), BODY).is_ok());
}

#[test]
fn credentials_of_another_shape() {
    let good = "AKIDEXAMPLE/20150830/eu-central-1/kms/aws4_request";
    let with = |credential: &str| with_field(|field| field.replacen(good, credential, 1));
    for bad in [
        "",
        "AKIDEXAMPLE",
        "AKIDEXAMPLE/20150830/eu-central-1/kms",
        "AKIDEXAMPLE/20150830/eu-central-1/kms/aws4_request/",
        "AKID/EXAMPLE/20150830/eu-central-1/kms/aws4_request",
        "/20150830/eu-central-1/kms/aws4_request",
        "AKID-EXAMPLE/20150830/eu-central-1/kms/aws4_request",
        "AKID EXAMPLE/20150830/eu-central-1/kms/aws4_request",
        "AKIDEXAMPLE/20150830/EU-central-1/kms/aws4_request",
        "AKIDEXAMPLE/20150830//kms/aws4_request",
        "AKIDEXAMPLE/20150830/eu-central-1//aws4_request",
        "AKIDEXAMPLE/20150830/eu-central-1/k%6ds/aws4_request",
        "AKIDEXAMPLE/2015083/eu-central-1/kms/aws4_request",
        "AKIDEXAMPLE/2015-8-30/eu-central-1/kms/aws4_request",
        "AKIDEXAMPLE/20150830T123600Z/eu-central-1/kms/aws4_request",
    ] {
        assert_eq!(kind(&with(bad)), IncompleteSignature, "{bad}");
    }
    let error = refused(&with("c2VjcmV0/Y2FuYXJ5/20150830/eu-central-1/kms/aws4_request"));
    assert!(!format!("{error:?}").contains("c2VjcmV0"), "{error:?}");
    assert_eq!(
        refused(&with("AKIDEXAMPLE/20150830/eu-central-1/kms/aws4")).to_string(),
        "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws4'."
    );
    assert_eq!(
        refused(&with("AKIDEXAMPLE/20150829/eu-central-1/kms/aws4_request")).to_string(),
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150829' != \
         '20150830', from '20150830T123600Z'."
    );
}

#[test]
fn signatures_of_another_shape() {
    let with = |signature: &str| {
        with_field(|field| {
            let (rest, _) = field.split_once("Signature=").unwrap();
            format!("{rest}Signature={signature}")
        })
    };
    let good = signed().headers[AUTHORIZATION].to_str().unwrap()[..].to_owned();
    let good = good.split_once("Signature=").unwrap().1.to_owned();
    for bad in ["", "00", &good[1..], &format!("{good}0"), &good.to_uppercase(), "é"] {
        assert_eq!(kind(&with(bad)), IncompleteSignature, "{bad}");
    }
    let error = verify(&with(&"0".repeat(64)), BODY).unwrap_err();
    assert_eq!(error.kind(), InvalidSignature);
    assert_eq!(
        error.to_string(),
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details."
    );
    assert!(
        error
            .detail()
            .starts_with("the canonical request as received has the SHA-256 ")
    );
    assert!(!format!("{error:?}").contains(&good));
}

#[test]
fn lists_of_signed_headers_of_another_shape() {
    let all = "content-type;host;x-amz-date;x-amz-target";
    let with = |list: &str| with_field(|field| field.replacen(all, list, 1));
    for bad in [
        "",
        ";",
        "content-type;host;x-amz-date;x-amz-target;",
        ";content-type;host;x-amz-date;x-amz-target",
        "content-type;;host;x-amz-date;x-amz-target",
        "host;content-type;x-amz-date;x-amz-target",
        "content-type;host;host;x-amz-date;x-amz-target",
        "Content-Type;host;x-amz-date;x-amz-target",
        "content-type; host;x-amz-date;x-amz-target",
        "content-type:host:x-amz-date:x-amz-target",
        "authorization;content-type;host;x-amz-date;x-amz-target",
        "absent;content-type;host;x-amz-date;x-amz-target",
        ":authority;content-type;host;x-amz-date;x-amz-target",
    ] {
        assert_eq!(kind(&with(bad)), IncompleteSignature, "{bad}");
    }
    let error = refused(&with("content-type;x-amz-date;x-amz-target"));
    assert_eq!(error.kind(), InvalidSignature);
    assert_eq!(
        error.to_string(),
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
    );
}
