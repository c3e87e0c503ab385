//! The edge's configuration file. Everything else an edge knows comes from its authority.

use std::net::SocketAddr;
use std::path::PathBuf;

use node::listen::Limits;
use serde::Deserialize;

/// `edge.toml`. Unknown fields are refused, with the path of the field.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The authority's gRPC address, `https://HOST:PORT`, or those of several on one store, 1 to 16. The edge talks to one of them,
    /// any one, until it does not answer.
    #[serde(deserialize_with = "authorities")]
    pub authority: Vec<String>,
    /// Identity and audit spool; made by `signet edge join`. Mode 0700. Two edges never share one.
    pub state_dir: PathBuf,
    /// How callers and verifiers reach this fleet, `https://HOST[:PORT]`, without a path. Issuers that name no URL of
    /// their own are `{public_url}/i/NAME`, so every edge of a fleet needs the same.
    pub public_url: String,
    /// Where to listen.
    pub listen: Listen,
    /// How this edge enrolls by itself when it starts without a valid identity. Absent: by `signet edge join` and a join token.
    #[serde(default)]
    pub join: Option<Join>,
    /// The certificate shown to callers. Re-read when the files change.
    pub tls: Tls,
    /// Start although memory cannot be locked and swap is on. Default false: keys could be written to the swap device, and
    /// outlive the process there.
    #[serde(default)]
    pub allow_swap: bool,
    /// Bounds on connections, times and sizes; each has a safe default.
    #[serde(default)]
    pub limits: Limits,
    /// The audit spool.
    #[serde(default)]
    pub audit: Audit,
    /// How plugins get here.
    #[serde(default)]
    pub plugins: Plugins,
}

/// Listening addresses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// HTTP/1.1 and HTTP/2 over TLS 1.3 on TCP, and HTTP/3 on the same port of UDP: one address or a list, 1 to 16.
    #[serde(deserialize_with = "one_or_many")]
    pub https: Vec<SocketAddr>,
    /// Cleartext HTTP/1.1 and HTTP/2; loopback addresses only, since tokens travel on it. Absent: no such listener.
    #[serde(default)]
    pub http: Option<SocketAddr>,
    /// HTTP/3 on UDP. Default true.
    #[serde(default = "yes")]
    pub http3: bool,
}

fn authorities<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected an address such as \"https://authority:9444\", or a list of them"
    )]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(address) => Ok(vec![address]),
        OneOrMany::Many(addresses) if (1..=16).contains(&addresses.len()) => Ok(addresses),
        OneOrMany::Many(_) => Err(serde::de::Error::custom("1 to 16 addresses are taken")),
    }
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "expected an address such as \"0.0.0.0:443\", or a list of them"
    )]
    enum OneOrMany {
        One(SocketAddr),
        Many(Vec<SocketAddr>),
    }
    match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(address) => Ok(vec![address]),
        OneOrMany::Many(addresses) if (1..=16).contains(&addresses.len()) => Ok(addresses),
        OneOrMany::Many(_) => Err(serde::de::Error::custom("1 to 16 addresses are taken")),
    }
}

fn yes() -> bool {
    true
}

/// Enrolment by a token of the platform, under a trust rule of the authority (`signet edges trust add`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The token, such as a Kubernetes projected service-account token. Good for one enrolment; read when it is needed.
    pub oidc_token_file: PathBuf,
    /// The name of the rule that takes it.
    pub trust_rule: String,
    /// The authority's node root, PEM, from `signet authority init --out`. With a wrong one a stranger could be the authority.
    pub node_root_file: PathBuf,
}

/// PEM files of the server's certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Chain, leaf first.
    pub certificate: PathBuf,
    /// PKCS#8 private key.
    pub key: PathBuf,
}

/// Bounds of the audit spool.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Bytes that the spool may take on disk, default 1 GiB, at least 4 MiB. At the bound, which only records reach that the authority did
    /// not take yet, signing stops, unless `drop_oldest`.
    pub max_bytes: u64,
    /// Bytes of shipped segments that stay, default 64 MiB: what `signet audit tail` can look back at on this machine.
    pub keep_shipped: u64,
    /// At the bound, drop the oldest segment instead of stopping: records are lost, which the spool itself records.
    pub drop_oldest: bool,
}

impl Default for Audit {
    fn default() -> Audit {
        Audit {
            max_bytes: 1 << 30,
            keep_shipped: 64 << 20,
            drop_oldest: false,
        }
    }
}

/// How plugins get here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// Who compiles them. Default `any`.
    pub compile: Compile,
}

/// Who compiles the plugins that an edge runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compile {
    /// The authority; this edge where that one cannot, or what comes from it is not believed.
    #[default]
    Any,
    /// The authority alone: the compiler never runs here, and a bundle with a plugin that it has no code for is not taken into use.
    Authority,
    /// This edge: no machine code is taken from anybody.
    Local,
}

/// A configuration that cannot be started with.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {message}")]
pub struct Invalid {
    /// The field's path in the file.
    pub field: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Config {
    /// Checks what types alone cannot: addresses and URLs that would be unsafe or cannot work.
    pub fn validate(&self) -> Result<(), Invalid> {
        let invalid = |field, message: String| Err(Invalid { field, message });
        if let Some(http) = self.listen.http
            && !http.ip().is_loopback()
        {
            return invalid(
                "listen.http",
                format!("`{http}` is not a loopback address; cleartext carries caller tokens"),
            );
        }
        if let Some(plain) = self.authority.iter().find(|address| !address.starts_with("https://")) {
            return invalid("authority", format!("`{plain}` must begin with https://"));
        }
        let host = self
            .public_url
            .strip_prefix("https://")
            .or_else(|| self.public_url.strip_prefix("http://"));
        match host {
            Some(host) if !host.is_empty() && !host.contains('/') => Ok(()),
            _ => invalid(
                "public_url",
                format!(
                    "`{}` must be https://HOST or https://HOST:PORT, without a path",
                    self.public_url
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
authority = "https://authority.example:8443"
state_dir = "/var/lib/signet"
public_url = "https://edge.example"
[listen]
https = "0.0.0.0:443"
http = "127.0.0.1:8080"
[tls]
certificate = "chain.pem"
key = "key.pem"
"#;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edge.toml");
        std::fs::write(&path, text).unwrap();
        let config: Config = node::config::load(&path).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_configuration_has_safe_defaults() {
        let config = load(GOOD).unwrap();
        assert!(config.listen.http3 && !config.audit.drop_oldest);
        assert_eq!(config.plugins.compile, Compile::Any);
        let strict = load(&format!("{GOOD}[plugins]\ncompile = \"authority\"")).unwrap();
        assert_eq!(strict.plugins.compile, Compile::Authority);
        assert_eq!(config.audit.max_bytes, 1 << 30);
        let many = load(&GOOD.replace("\"0.0.0.0:443\"", "[\"0.0.0.0:443\", \"[::]:443\"]")).unwrap();
        assert_eq!(many.listen.https.len(), 2);
        assert_eq!(config.authority, ["https://authority.example:8443"]);
        let two = "[\"https://a.example:8443\", \"https://b.example:8443\"]";
        let two = load(&GOOD.replace("\"https://authority.example:8443\"", two)).unwrap();
        assert_eq!(two.authority, ["https://a.example:8443", "https://b.example:8443"]);
    }

    #[test]
    fn what_is_unsafe_or_cannot_work_is_refused_with_its_field() {
        for (from, to, names) in [
            ("127.0.0.1:8080", "0.0.0.0:8080", "listen.http"),
            ("https://authority", "http://authority", "authority"),
            ("\"https://authority.example:8443\"", "[]", "1 to 16 addresses"),
            ("\"https://authority.example:8443\"", "7", "authority"),
            (
                "\"https://authority.example:8443\"",
                "[\"https://a\", \"ftp://b\"]",
                "`ftp://b` must begin with https://",
            ),
            ("https://edge.example", "https://edge.example/x", "public_url"),
            ("https://edge.example", "https://", "public_url"),
            ("https://edge.example", "edge.example", "public_url"),
            ("\"0.0.0.0:443\"", "[]", "1 to 16 addresses"),
            ("\"0.0.0.0:443\"", "443", "listen.https"),
            ("[tls]", "[tls]\npassword = \"x\"", "password"),
            ("[listen]", "[listen]\nhttps3 = true", "https3"),
            ("key = \"key.pem\"", "", "key"),
            ("[tls]", "[join]\noidc_token_file = \"t\"\n[tls]", "join"),
            ("[tls]", "[join]\npassword = \"x\"\n[tls]", "join.password"),
            ("[tls]", "[plugins]\ncompile = \"edge\"\n[tls]", "plugins.compile"),
            ("[tls]", "[plugins]\ncompiler = \"any\"\n[tls]", "compiler"),
        ] {
            let error = load(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(names), "{to}: {error}");
        }
    }
}
