//! A compact JWS taken apart (RFC 7515 section 3.1, RFC 7519 section 7.2), before anything in it is believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::json;
use crate::identity::{AuthCode, AuthError};

const MAX_KID: usize = 256;

/// The parts of a token that was not verified yet. `jku`, `jwk`, `x5u` and `x5c` of its header are not even kept (R3).
pub(super) struct Token<'a> {
    signed: &'a str,
    signature: &'a str,
    algorithm: String,
    kid: Option<String>,
    issuer: String,
    claims: Map<String, Value>,
}

impl<'a> Token<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, AuthError> {
        let (signed, signature) = text.rsplit_once('.').ok_or_else(not_compact)?;
        let (header, payload) = signed.split_once('.').ok_or_else(not_compact)?;
        if payload.contains('.') {
            return Err(not_compact());
        }
        let mut header = object(header, "header")?;
        if header.contains_key("crit") {
            return Err(malformed("the token's header has `crit`; no extension is supported"));
        }
        check_type(header.get("typ"))?;
        let algorithm = match header.remove("alg") {
            Some(Value::String(algorithm)) => algorithm,
            _ => return Err(malformed("the token's header has no `alg`, or it is not text")),
        };
        let kid = match header.remove("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= MAX_KID => Some(kid),
            Some(_) => return Err(malformed("the token's `kid` is not text of at most 256 bytes")),
        };
        let claims = object(payload, "payload")?;
        let issuer = match claims.get("iss") {
            Some(Value::String(issuer)) => issuer.clone(),
            _ => {
                return Err(AuthError::new(
                    AuthCode::MalformedClaims,
                    "the claim `iss` is missing or not text",
                ));
            }
        };
        Ok(Self {
            signed,
            signature,
            algorithm,
            kid,
            issuer,
            claims,
        })
    }

    /// What the signature is over.
    pub(super) fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    /// Base64url, as it stands in the token.
    pub(super) fn signature(&self) -> &str {
        self.signature
    }

    /// What the header says the algorithm is: only ever compared with the key's.
    pub(super) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// Tokens typed for another use (`logout+jwt`, `dpop+jwt`, `secevent+jwt`) are no proof of identity (RFC 8725 section
/// 3.11). Many issuers leave the type out.
fn check_type(typ: Option<&Value>) -> Result<(), AuthError> {
    let plain = |typ: &str| {
        let short = typ
            .get(.."application/".len())
            .filter(|prefix| prefix.eq_ignore_ascii_case("application/"));
        let typ = typ.get(short.map_or(0, str::len)..).unwrap_or(typ);
        typ.eq_ignore_ascii_case("jwt") || typ.eq_ignore_ascii_case("at+jwt")
    };
    match typ {
        None => Ok(()),
        Some(Value::String(typ)) if plain(typ) => Ok(()),
        Some(_) => Err(malformed("the token's `typ` is neither JWT nor at+jwt")),
    }
}

fn object(part: &str, name: &str) -> Result<Map<String, Value>, AuthError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| malformed(format!("the token's {name} is not base64url without padding")))?;
    json::object(&bytes).map_err(|error| {
        let detail = format!("the token's {name} is not one JSON object without repeated members");
        malformed(detail).with_internal(error.to_string())
    })
}

fn not_compact() -> AuthError {
    malformed("the token is not three base64url parts with dots between; encrypted tokens are not supported")
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> AuthError {
    AuthError::new(AuthCode::MalformedToken, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn parse(header: &str, payload: &str) -> Result<(String, Option<String>), AuthError> {
        let text = format!("{}.{}.c2ln", encode(header), encode(payload));
        Token::parse(&text).map(|token| (token.algorithm().to_owned(), token.kid().map(str::to_owned)))
    }

    const PAYLOAD: &str = r#"{"iss":"i"}"#;

    // R3
    #[test]
    fn keys_and_addresses_in_the_header_are_ignored() {
        let header = r#"{"alg":"ES256","kid":"../../etc/passwd","jku":"http://evil/","jwk":{"kty":"oct","k":"AA"},
                         "x5u":"http://evil/","x5c":["AA"]}"#;
        assert_eq!(
            parse(header, PAYLOAD).unwrap(),
            ("ES256".into(), Some("../../etc/passwd".into()))
        );
    }

    #[test]
    fn types_for_other_uses_are_refused() {
        for typ in [
            "JWT",
            "jwt",
            "at+jwt",
            "application/jwt",
            "application/at+jwt",
            "APPLICATION/AT+JWT",
        ] {
            parse(&format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#), PAYLOAD).unwrap();
        }
        for typ in [
            "logout+jwt",
            "dpop+jwt",
            "secevent+jwt",
            "JOSE",
            "",
            "application/",
            "é",
        ] {
            let error = parse(&format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#), PAYLOAD).unwrap_err();
            assert_eq!(error.code(), "malformed_token", "{typ}");
        }
        assert!(parse(r#"{"alg":"ES256","typ":1}"#, PAYLOAD).is_err());
    }

    #[test]
    fn malformed_tokens_are_refused() {
        let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(257));
        for header in [
            "{}",
            "[]",
            "null",
            r#"{"alg":null}"#,
            r#"{"alg":1}"#,
            r#"{"alg":["ES256"]}"#,
            r#"{"alg":"ES256","alg":"none"}"#,
            r#"{"alg":"ES256","kid":1}"#,
            r#"{"alg":"ES256","kid":null}"#,
            r#"{"alg":"ES256","crit":["b64"],"b64":false}"#,
            r#"{"alg":"ES256","crit":[]}"#,
            &long,
        ] {
            assert_eq!(
                parse(header, PAYLOAD).unwrap_err().code(),
                "malformed_token",
                "{header}"
            );
        }
        let (header, payload) = (encode(r#"{"alg":"ES256"}"#), encode(PAYLOAD));
        for text in [
            "a".to_owned(),
            "a.b".to_owned(),
            "..".to_owned(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}.a.b.c"),
            format!("{header}=.{payload}.a"),
            format!("{header}.{payload}=.a"),
            format!("{header}. {payload}.a"),
            format!("{header}.é.a"),
        ] {
            assert_eq!(
                Token::parse(&text).err().map(|error| error.code()),
                Some("malformed_token"),
                "{text}"
            );
        }
    }

    // R2
    #[test]
    fn an_issuer_that_is_not_text_is_refused() {
        for payload in ["{}", r#"{"iss":1}"#, r#"{"iss":["i"]}"#, r#"{"iss":null}"#] {
            assert_eq!(
                parse(r#"{"alg":"ES256"}"#, payload).unwrap_err().code(),
                "malformed_claims",
                "{payload}"
            );
        }
        let twice = parse(r#"{"alg":"ES256"}"#, r#"{"iss":"a","iss":"b"}"#).unwrap_err();
        assert_eq!(twice.code(), "malformed_token");
    }
}
