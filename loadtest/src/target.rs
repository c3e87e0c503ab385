//! Where a request goes.

use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;

use crate::{LoadError, Protocol};

/// A parsed address and the TLS to reach it with.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) uri: Uri,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    /// `None` for cleartext.
    pub(crate) tls: Option<Tls>,
}

#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl Target {
    /// `roots` is asked for only where TLS is.
    pub(crate) fn new(
        url: &str,
        protocol: Protocol,
        roots: impl FnOnce() -> Result<RootCertStore, LoadError>,
    ) -> Result<Target, LoadError> {
        let bad = |reason| LoadError::Url {
            url: url.to_owned(),
            reason,
        };
        let uri: Uri = url.parse().map_err(|_| bad("it is no URL"))?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(bad("it must begin with https:// or http://")),
        };
        if !secure && protocol == Protocol::Http3 {
            return Err(bad("HTTP/3 needs https://"));
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure {
            let name = ServerName::try_from(host.clone()).map_err(|_| bad("its host is no name and no address"))?;
            Some(Tls {
                config: Arc::new(client_config(roots()?, protocol)?),
                name,
            })
        } else {
            None
        };
        Ok(Target {
            uri,
            host,
            port,
            protocol,
            tls,
        })
    }

    /// `host:port`, for messages.
    pub(crate) fn origin(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The `Host` header or `:authority`.
    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }
}

fn client_config(roots: RootCertStore, protocol: Protocol) -> Result<ClientConfig, LoadError> {
    let mut config = ClientConfig::builder_with_provider(node::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| LoadError::Option(format!("TLS 1.3 cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, protocol: Protocol) -> Result<Target, LoadError> {
        Target::new(url, protocol, || Ok(RootCertStore::empty()))
    }

    #[test]
    fn addresses() {
        let plain = target("http://127.0.0.1:8080/v1", Protocol::Http1).unwrap();
        assert_eq!((plain.origin().as_str(), plain.tls.is_none()), ("127.0.0.1:8080", true));
        let secure = target("https://[::1]/v1/tokens/a", Protocol::Http3).unwrap();
        assert_eq!(
            (secure.host.as_str(), secure.port, secure.authority()),
            ("::1", 443, "[::1]")
        );
        assert_eq!(secure.tls.unwrap().config.alpn_protocols, [b"h3"]);
    }

    #[test]
    fn bad_addresses_are_refused() {
        for url in ["", "127.0.0.1:1", "ftp://a/", "http:///", "https://a b/"] {
            assert!(
                matches!(target(url, Protocol::Http1), Err(LoadError::Url { .. })),
                "{url}"
            );
        }
        assert!(matches!(
            target("http://a/", Protocol::Http3),
            Err(LoadError::Url { .. })
        ));
    }
}
