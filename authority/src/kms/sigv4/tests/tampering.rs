use http::{Method, Uri};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const TARGET: &str = "/keys/alias?Action=Encrypt&Version=2014-11-01&b=2&b=1";

/// What is changed by one byte.
#[derive(Clone, Copy, Debug)]
enum Place {
    Method,
    Target,
    Header(&'static str),
    Authorization,
    Body,
}

fn place() -> impl Strategy<Value = Place> {
    let header = prop::sample::select(vec![
        "host",
        "content-type",
        "x-amz-date",
        "x-amz-target",
        "x-amz-security-token",
        "x-amz-content-sha256",
        "x-custom",
    ]);
    prop_oneof![
        1 => Just(Place::Method),
        3 => Just(Place::Target),
        4 => header.prop_map(Place::Header),
        3 => Just(Place::Authorization),
        2 => Just(Place::Body),
    ]
}

fn request() -> Parts {
    let mut parts = unsigned();
    parts.uri = Uri::from_static(TARGET);
    set(&mut parts, "x-amz-security-token", "session/token+of==");
    set(&mut parts, "x-custom", "a,b;c");
    set(&mut parts, "x-amz-content-sha256", &hex(&sha256(BODY)));
    SIGNER.sign(&mut parts, BODY).unwrap();
    parts
}

/// The bytes with another one at `at`; `None` where there is none to change, or it is the space between two parts.
fn changed(bytes: &[u8], at: Index, with: u8) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let at = at.index(bytes.len());
    if bytes[at] == with || bytes[at] == b' ' {
        return None;
    }
    bytes[at] = with;
    Some(bytes)
}

/// The request with one byte changed; `None` where HTTP has no such request, or it is the same one.
fn tampered(place: Place, at: Index, with: u8) -> Option<(Parts, Vec<u8>)> {
    let (mut parts, mut body) = (request(), BODY.to_vec());
    match place {
        Place::Method => {
            let method = changed(parts.method.as_str().as_bytes(), at, with)?;
            parts.method = Method::from_bytes(&method).ok()?;
        }
        Place::Target => parts.uri = Uri::try_from(changed(TARGET.as_bytes(), at, with)?).ok()?,
        Place::Header(name) => {
            let value = changed(parts.headers[name].as_bytes(), at, with)?;
            parts.headers.insert(name, HeaderValue::from_bytes(&value).ok()?);
        }
        Place::Authorization => {
            let value = changed(parts.headers[AUTHORIZATION].as_bytes(), at, with)?;
            parts
                .headers
                .insert(AUTHORIZATION, HeaderValue::from_bytes(&value).ok()?);
        }
        Place::Body => body = changed(&body, at, with)?,
    }
    Some((parts, body))
}

#[test]
fn the_request_that_is_tampered_with_verifies_untouched() {
    assert!(verify(&request(), BODY).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    // R9
    #[test]
    fn any_changed_byte_is_refused(place in place(), at in any::<Index>(), with in any::<u8>()) {
        if let Some((parts, body)) = tampered(place, at, with) {
            prop_assert!(verify(&parts, &body).is_err(), "{place:?} {parts:?}");
        }
    }

    // R9
    #[test]
    fn any_changed_bit_of_a_body_is_refused(body in prop::collection::vec(any::<u8>(), 1..200), at in any::<Index>(), bit in 0..8u32) {
        let mut parts = unsigned();
        SIGNER.sign(&mut parts, &body).unwrap();
        prop_assert!(verify(&parts, &body).is_ok());
        let mut other = body.clone();
        other[at.index(body.len())] ^= 1 << bit;
        prop_assert!(verify(&parts, &other).is_err());
        prop_assert!(verify(&parts, &body[1..]).is_err());
    }

    #[test]
    fn nothing_in_a_field_or_query_makes_the_reader_fail_otherwise_than_by_refusing(
        field in "[ -~]{0,200}",
        query in "[!-~]{0,100}",
    ) {
        let mut parts = signed();
        parts.headers.insert(AUTHORIZATION, HeaderValue::try_from(field.as_str()).unwrap());
        prop_assert!(Claim::read(&parts, NOW).is_err());
        let mut parts = unsigned();
        if let Ok(uri) = Uri::try_from(format!("/?{query}")) {
            parts.uri = uri;
            if canonical::query(&parts).is_ok_and(|query| rules::check_query(&query).is_ok()) {
                SIGNER.sign(&mut parts, BODY).unwrap();
                prop_assert!(verify(&parts, BODY).is_ok());
            }
        }
    }
}

// R9
#[test]
fn bytes_that_are_added_or_taken_away_are_refused() {
    for target in [
        "/keys/alia",
        "/keys/aliass",
        "/keysalias",
        "/keys/alias/",
        "/",
        "/keys/alias%00",
    ] {
        let mut parts = request();
        let (_, query) = TARGET.split_once('?').unwrap();
        parts.uri = Uri::try_from(format!("{target}?{query}")).unwrap();
        assert!(verify(&parts, BODY).is_err(), "{target}");
    }
    for query in [
        "",
        "?",
        "?Action=Encrypt&Version=2014-11-01&b=2",
        "?Action=Encrypt&Version=2014-11-01&b=2&b=1&",
        "?Action=Encrypt&Version=2014-11-01&b=2&b=1&b=1",
        "?Action=Encrypt&Version=2014-11-01&b=2&b=1&c",
        "?action=Encrypt&Version=2014-11-01&b=2&b=1",
    ] {
        let mut parts = request();
        parts.uri = Uri::try_from(format!("/keys/alias{query}")).unwrap();
        assert!(verify(&parts, BODY).is_err(), "{query}");
    }
}

#[test]
fn spellings_of_one_request_have_one_signature() {
    for target in [
        "/keys/alias?Version=2014-11-01&Action=Encrypt&b=1&b=2",
        "/keys/alias?%41ction=Encrypt&Version=2014-11-01&b=2&b=1",
        "/keys/./alias?Action=Encrypt&Version=2014-11-01&b=2&b=1",
        "//keys/x/../alias?Action=Encrypt&Version=2014-11-01&b=2&b=1",
    ] {
        let mut parts = request();
        parts.uri = Uri::from_static(target);
        assert!(verify(&parts, BODY).is_ok(), "{target}");
    }
    let mut parts = request();
    set(&mut parts, "x-custom", "  a,b;c\t");
    assert!(verify(&parts, BODY).is_ok());
}
