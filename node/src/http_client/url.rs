//! Which server a URL names, and what to ask of it.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use super::ClientError;

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) https: bool,
    /// Without the brackets of an IPv6 literal.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// Whether the name can only mean this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A parsed URL.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) origin: Origin,
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
    pub(crate) path: PathAndQuery,
}

impl Target {
    /// `http://` or `https://`, a host, no user name or password.
    pub(crate) fn parse(url: &str) -> Result<Self, ClientError> {
        let bad = |reason| ClientError::Url {
            url: without_password(url),
            reason,
        };
        let uri: Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
        let parts = uri.into_parts();
        let scheme = parts
            .scheme
            .ok_or_else(|| bad("it does not begin with https:// or http://"))?;
        if scheme != Scheme::HTTPS && scheme != Scheme::HTTP {
            return Err(bad("its scheme is neither https nor http"));
        }
        let authority = parts.authority.ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it carries a user name or password; send credentials in a header"));
        }
        let https = scheme == Scheme::HTTPS;
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        if host.is_empty() {
            return Err(bad("it names no host"));
        }
        let port = match (authority.as_str().strip_prefix(authority.host()), https) {
            (Some(""), true) => 443,
            (Some(""), false) => 80,
            _ => match authority.port_u16() {
                Some(port) if port != 0 => port,
                _ => return Err(bad("its port is not a number from 1 to 65535")),
            },
        };
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self {
            origin: Origin { https, host, port },
            scheme,
            authority,
            path,
        })
    }
}

fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_comes_apart() {
        let target = Target::parse("https://Keys.example:8443/a/b?c=d").unwrap();
        assert_eq!(
            target.origin,
            Origin {
                https: true,
                host: "keys.example".into(),
                port: 8443
            }
        );
        assert_eq!(target.path, "/a/b?c=d");
        assert_eq!(Target::parse("https://h").unwrap().origin.port, 443);
        assert_eq!(Target::parse("http://h/").unwrap().origin.port, 80);
        let six = Target::parse("http://[::1]:8080/").unwrap().origin;
        assert_eq!((six.host.as_str(), six.to_string().as_str()), ("::1", "[::1]:8080"));
        assert!(six.is_loopback());
    }

    #[test]
    fn what_cannot_be_fetched_is_refused() {
        for url in [
            "",
            "/path",
            "host:80",
            "ftp://h/",
            "https://",
            "https:///a",
            "https://h:0/",
            "https://h:99999/",
            "https://h:/",
            "https://a b/",
            "file:///etc/passwd",
        ] {
            assert!(Target::parse(url).is_err(), "{url:?}");
        }
    }

    // R10
    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let error = Target::parse("https://user:canary@h/").unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, loopback) in [
            ("http://localhost/", true),
            ("http://127.9.9.9/", true),
            ("http://localhost.example/", false),
            ("http://128.0.0.1/", false),
        ] {
            assert_eq!(Target::parse(url).unwrap().origin.is_loopback(), loopback, "{url}");
        }
    }
}
