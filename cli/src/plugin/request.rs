//! The request of a case: as its file has it, with defaults for what that leaves out, and as the host takes it.

use std::collections::BTreeMap;

use runtime::{Argument, ArtifactForm, ArtifactRequest, Payload, Protocol, Request, TokenRequest};
use serde::Deserialize;
use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::failure::Failure;

/// `[request]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRequest {
    profile: String,
    key: String,
    format: Option<String>,
    tenant: String,
    /// Unix seconds, or RFC 3339.
    time: toml::Value,
    request_id: String,
    trace_id: Option<String>,
    source_address: String,
    protocol: RawProtocol,
    caller: RawCaller,
    token: Option<RawToken>,
    artifact: Option<RawArtifact>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawProtocol {
    Http1,
    Http2,
    Http3,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCaller {
    id: Option<String>,
    kind: String,
    issuer: String,
    subject: String,
    attributes: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawToken {
    subject: Option<String>,
    audience: Vec<String>,
    /// In seconds.
    lifetime: u32,
    claims: BTreeMap<String, toml::Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawArtifact {
    form: RawForm,
    algorithm: String,
    /// Hexadecimal; default: as many 07 as the algorithm has.
    digest: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawForm {
    Digest,
    Message,
}

impl Default for RawRequest {
    fn default() -> RawRequest {
        RawRequest {
            profile: "api".into(),
            key: "5f0c1b52-6a0e-4c1e-9c9b-0d1f5a4b7c11".into(),
            format: None,
            tenant: "000000000001".into(),
            time: toml::Value::Integer(1_800_000_000),
            request_id: "2c1d8f1e-7a57-4f0c-8a55-6a2c8a0f3c10".into(),
            trace_id: None,
            source_address: "192.0.2.1".into(),
            protocol: RawProtocol::Http2,
            caller: RawCaller::default(),
            token: None,
            artifact: None,
        }
    }
}

impl Default for RawCaller {
    fn default() -> RawCaller {
        RawCaller {
            id: None,
            kind: "oidc".into(),
            issuer: "https://ci.example".into(),
            subject: "build".into(),
            attributes: BTreeMap::new(),
        }
    }
}

impl Default for RawToken {
    fn default() -> RawToken {
        RawToken {
            subject: None,
            audience: vec!["https://api.example".into()],
            lifetime: 300,
            claims: BTreeMap::new(),
        }
    }
}

impl Default for RawArtifact {
    fn default() -> RawArtifact {
        RawArtifact {
            form: RawForm::Digest,
            algorithm: "sha256".into(),
            digest: None,
        }
    }
}

/// A request that is complete and checked.
#[derive(Debug)]
pub struct OwnedRequest {
    raw: RawRequest,
    format: String,
    caller_id: String,
    time: u64,
    digest: Vec<u8>,
    attributes: BTreeMap<String, Json>,
    claims: BTreeMap<String, Json>,
}

impl OwnedRequest {
    /// Fills in what was left out.
    pub fn new(mut raw: RawRequest) -> Result<OwnedRequest, Failure> {
        if raw.token.is_some() && raw.artifact.is_some() {
            return Err(Failure::new(
                "a request is for a token or for an artifact; remove `[request.token]` or `[request.artifact]`",
            ));
        }
        if raw.artifact.is_none() && raw.token.is_none() {
            raw.token = Some(RawToken::default());
        }
        if raw.source_address.parse::<std::net::IpAddr>().is_err() {
            return Err(Failure::new("`source_address` must be an IP address without a port"));
        }
        let digest = raw.artifact.as_ref().map(digest).transpose()?.unwrap_or_default();
        let caller = &mut raw.caller;
        let caller_id = match (&caller.id, caller.kind.as_str()) {
            (Some(id), _) => id.clone(),
            (None, "spiffe") => format!("spiffe://{}{}", caller.issuer, caller.subject),
            (None, _) => format!("oidc:{}#{}", caller.issuer, caller.subject),
        };
        let pairs = |map: &mut BTreeMap<String, toml::Value>| {
            let owned = std::mem::take(map);
            owned.into_iter().map(|(name, value)| (name, json(value))).collect()
        };
        let attributes = pairs(&mut caller.attributes);
        let claims = raw.token.as_mut().map(|token| pairs(&mut token.claims));
        let default = if raw.artifact.is_some() { "der" } else { "jwt" };
        Ok(OwnedRequest {
            format: raw.format.take().unwrap_or_else(|| default.into()),
            caller_id,
            time: unix_time(&raw.time)?,
            digest,
            attributes,
            claims: claims.unwrap_or_default(),
            raw,
        })
    }

    /// As the host takes it.
    pub fn borrow(&self) -> Request<'_> {
        let raw = &self.raw;
        Request {
            profile: &raw.profile,
            key: &raw.key,
            format: &self.format,
            tenant: &raw.tenant,
            caller: runtime::Caller {
                id: &self.caller_id,
                kind: &raw.caller.kind,
                issuer: &raw.caller.issuer,
                subject: &raw.caller.subject,
                attributes: arguments(&self.attributes),
            },
            payload: self.payload(),
            time: self.time,
            request_id: &raw.request_id,
            trace_id: raw.trace_id.as_deref(),
            source_address: &raw.source_address,
            protocol: match raw.protocol {
                RawProtocol::Http1 => Protocol::Http1,
                RawProtocol::Http2 => Protocol::Http2,
                RawProtocol::Http3 => Protocol::Http3,
            },
        }
    }

    fn payload(&self) -> Payload<'_> {
        match (&self.raw.artifact, &self.raw.token) {
            (Some(artifact), _) => Payload::Artifact(ArtifactRequest {
                form: match artifact.form {
                    RawForm::Digest => ArtifactForm::Digest,
                    RawForm::Message => ArtifactForm::Message,
                },
                algorithm: &artifact.algorithm,
                digest: &self.digest,
            }),
            (None, token) => Payload::Token(TokenRequest {
                subject: token.as_ref().and_then(|token| token.subject.as_deref()),
                audience: token
                    .iter()
                    .flat_map(|token| &token.audience)
                    .map(String::as_str)
                    .collect(),
                lifetime: token.as_ref().map_or(0, |token| token.lifetime),
                claims: arguments(&self.claims),
            }),
        }
    }
}

fn arguments(pairs: &BTreeMap<String, Json>) -> Vec<(&str, Argument<'_>)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.as_str(), Argument::from_json(value)))
        .collect()
}

fn digest(artifact: &RawArtifact) -> Result<Vec<u8>, Failure> {
    let length = match artifact.algorithm.as_str() {
        "sha256" => 32,
        "sha384" => 48,
        "sha512" => 64,
        _ => return Err(Failure::new("`algorithm` must be sha256, sha384 or sha512")),
    };
    let Some(text) = &artifact.digest else {
        return Ok(vec![7; length]);
    };
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
    bytes
        .filter(|bytes| bytes.len() == length)
        .ok_or_else(|| Failure::new(format!("`digest` must be {length} bytes in hexadecimal")))
}

fn unix_time(value: &toml::Value) -> Result<u64, Failure> {
    let text = match value {
        toml::Value::Integer(seconds) => return Ok(u64::try_from(*seconds)?),
        toml::Value::Datetime(time) => time.to_string(),
        toml::Value::String(text) => text.clone(),
        _ => String::new(),
    };
    let time = OffsetDateTime::parse(&text, &Rfc3339).ok();
    time.and_then(|time| u64::try_from(time.unix_timestamp()).ok())
        .ok_or_else(|| Failure::new("`time` must be Unix seconds, or a time such as 2027-01-04T09:30:00Z"))
}

/// TOML as JSON; a date becomes its text.
pub fn json(value: toml::Value) -> Json {
    match value {
        toml::Value::String(text) => Json::from(text),
        toml::Value::Integer(int) => Json::from(int),
        toml::Value::Float(float) => Json::from(float),
        toml::Value::Boolean(value) => Json::from(value),
        toml::Value::Datetime(time) => Json::from(time.to_string()),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(members) => members.into_iter().map(|(name, value)| (name, json(value))).collect(),
    }
}
