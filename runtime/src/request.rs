//! What a plugin is asked, borrowed from the caller of [`crate::Plugin::evaluate`] and written straight into the
//! guest's memory. The types are those of `plugins/wit/rule.wit`, field by field.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use wasmtime::component::{ComponentType, Lower};

/// One request to sign, as every rule of its profile sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lower)]
#[component(record)]
pub struct Request<'a> {
    /// The profile's name.
    pub profile: &'a str,
    /// The logical key's id, a UUID.
    pub key: &'a str,
    /// The token format or the artifact encoding: `jwt`, `der` or `fixed`.
    pub format: &'a str,
    /// The tenant, 12 digits.
    pub tenant: &'a str,
    /// Who asks.
    #[serde(borrow)]
    pub caller: Caller<'a>,
    /// What is to be signed.
    #[serde(borrow)]
    pub payload: Payload<'a>,
    /// The time of the request in Unix seconds, the only clock a plugin has.
    pub time: u64,
    /// The request id, a UUID.
    #[component(name = "request-id")]
    pub request_id: &'a str,
    /// The W3C trace id, 32 hexadecimal digits.
    #[component(name = "trace-id")]
    #[serde(borrow)]
    pub trace_id: Option<&'a str>,
    /// The peer's IP address, without a port.
    #[component(name = "source-address")]
    pub source_address: &'a str,
    /// The protocol the request came by.
    pub protocol: Protocol,
}

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lower)]
#[component(record)]
pub struct Caller<'a> {
    /// `oidc:ISSUER#SUBJECT` or a SPIFFE ID.
    pub id: &'a str,
    /// `oidc` or `spiffe`.
    pub kind: &'a str,
    /// The issuer, or the trust domain of a SPIFFE ID.
    pub issuer: &'a str,
    /// The subject, or the path of a SPIFFE ID.
    pub subject: &'a str,
    /// Verified attributes, sorted by name, each name once.
    #[serde(borrow)]
    pub attributes: Vec<(&'a str, Argument<'a>)>,
}

/// What is to be signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lower)]
#[component(variant)]
pub enum Payload<'a> {
    /// A token.
    #[component(name = "token")]
    #[serde(borrow)]
    Token(TokenRequest<'a>),
    /// An artifact.
    #[component(name = "artifact")]
    #[serde(borrow)]
    Artifact(ArtifactRequest<'a>),
}

/// A token that is about to be minted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lower)]
#[component(record)]
pub struct TokenRequest<'a> {
    /// The `sub` claim.
    #[serde(borrow)]
    pub subject: Option<&'a str>,
    /// The `aud` claim.
    #[serde(borrow)]
    pub audience: Vec<&'a str>,
    /// In seconds.
    pub lifetime: u32,
    /// All claims but the registered ones, sorted by name, each name once.
    #[serde(borrow)]
    pub claims: Vec<(&'a str, Argument<'a>)>,
}

/// An artifact that is about to be signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lower)]
#[component(record)]
pub struct ArtifactRequest<'a> {
    /// Whether the caller sent the digest or the message it is of.
    pub form: ArtifactForm,
    /// `sha256`, `sha384` or `sha512`.
    pub algorithm: &'a str,
    /// 32, 48 or 64 bytes, by `algorithm`.
    pub digest: &'a [u8],
}

/// What the caller sent for an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum ArtifactForm {
    /// A digest, which is what gets signed.
    #[component(name = "digest")]
    Digest,
    /// A message, of which the plugin sees the SHA-256.
    #[component(name = "message")]
    Message,
}

/// The protocol of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum Protocol {
    /// HTTP/1.1.
    #[component(name = "http1")]
    Http1,
    /// HTTP/2.
    #[component(name = "http2")]
    Http2,
    /// HTTP/3.
    #[component(name = "http3")]
    Http3,
}

/// The WIT type `value` on its way to a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ComponentType, Lower)]
#[component(variant)]
pub enum Argument<'a> {
    /// A text.
    #[component(name = "text")]
    Text(&'a str),
    /// A whole number.
    #[component(name = "int")]
    Int(i64),
    /// Any other finite number.
    #[component(name = "float")]
    Float(f64),
    /// True or false.
    #[component(name = "boolean")]
    Bool(bool),
    /// A list of texts.
    #[component(name = "texts")]
    #[serde(borrow)]
    Texts(Vec<&'a str>),
    /// Anything else, as JSON text.
    #[component(name = "json")]
    Json(String),
}

impl<'a> Argument<'a> {
    /// The argument for a JSON value: a whole number that fits 64 bits signed is an int, a larger one stays JSON (so
    /// that no digit is lost), a list of texts (an empty one too) is `Texts`, and null, objects and mixed lists are JSON.
    pub fn from_json(value: &'a Json) -> Argument<'a> {
        match value {
            Json::String(text) => Argument::Text(text),
            Json::Bool(value) => Argument::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.is_f64(), number.as_f64()) {
                (Some(int), _, _) => Argument::Int(int),
                (None, true, Some(float)) => Argument::Float(float),
                _ => Argument::Json(number.to_string()),
            },
            Json::Array(items) => match items.iter().map(Json::as_str).collect::<Option<Vec<_>>>() {
                Some(texts) => Argument::Texts(texts),
                None => Argument::Json(value.to_string()),
            },
            Json::Null | Json::Object(_) => Argument::Json(value.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_becomes_the_narrowest_argument() {
        let cases = [
            (json!("a"), Argument::Text("a")),
            (json!(-7), Argument::Int(-7)),
            (json!(i64::MAX), Argument::Int(i64::MAX)),
            (json!(1.5), Argument::Float(1.5)),
            (json!(true), Argument::Bool(true)),
            (json!(["a", "b"]), Argument::Texts(vec!["a", "b"])),
            (json!([]), Argument::Texts(vec![])),
            (json!(["a", 1]), Argument::Json(r#"["a",1]"#.into())),
            (json!({"a": null}), Argument::Json(r#"{"a":null}"#.into())),
            (json!(null), Argument::Json("null".into())),
        ];
        for (value, expected) in &cases {
            assert_eq!(&Argument::from_json(value), expected);
        }
    }

    #[test]
    fn a_number_beyond_64_bits_signed_keeps_its_digits() {
        assert_eq!(
            Argument::from_json(&json!(u64::MAX)),
            Argument::Json("18446744073709551615".into())
        );
    }
}
