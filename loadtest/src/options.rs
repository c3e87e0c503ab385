use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use signing::key::Secret;

use crate::LoadError;

/// What to send, where, and for how long.
#[derive(Debug)]
pub struct Options {
    /// The edge: `https://HOST:PORT`, or `http://HOST:PORT` for h1 and h2.
    pub url: String,
    /// The profile in `POST /v1/tokens/{profile}`.
    pub profile: String,
    /// The caller's token.
    pub token: Secret,
    /// How to speak.
    pub protocol: Protocol,
    /// Connections, each with one request in flight. From 1 to 4,096.
    pub connections: u16,
    /// When to stop.
    pub until: Until,
    /// The request's body, JSON.
    pub body: String,
    /// CA certificates to trust, PEM; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// Every how many answers a token is kept and verified after the run; 0: none. At most 10,000 are.
    pub verify_every: u32,
    /// The issuer's key set. Without it, it is looked for below the `iss` of the first token.
    pub jwks_url: Option<String>,
}

/// HTTP's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, kept alive.
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
    /// HTTP/3 on QUIC.
    Http3,
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After this time; what is in flight then is waited for.
    Elapsed(Duration),
    /// After this many requests.
    Requests(u64),
}

impl Protocol {
    /// `h1`, `h2` or `h3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http1 => "h1",
            Protocol::Http2 => "h2",
            Protocol::Http3 => "h3",
        }
    }

    /// The name in TLS (RFC 7301).
    pub(crate) fn alpn(self) -> &'static [u8] {
        match self {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
            Protocol::Http3 => b"h3",
        }
    }
}

impl FromStr for Protocol {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Protocol, LoadError> {
        match text {
            "h1" => Ok(Protocol::Http1),
            "h2" => Ok(Protocol::Http2),
            "h3" => Ok(Protocol::Http3),
            _ => Err(LoadError::Option(format!("`{text}` is no protocol: use h1, h2 or h3"))),
        }
    }
}
