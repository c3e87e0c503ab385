//! A small HTTP client, for JWKS documents and for the command line: HTTP/1.1 and HTTP/2 by ALPN over TLS 1.3, or
//! HTTP/1.1 in the clear.
//!
//! Every request has a deadline and a bound on its answer. Redirects are not followed, nothing is decompressed, no
//! proxy is used, and no early data is sent (R17).

mod connect;
mod pool;
mod url;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::tls::ReloadingCertificate;
use pool::{Failed, Lease, Pool};
pub(crate) use url::Target;

/// A client with its TLS roots and its few kept-alive connections. Clones share both.
#[derive(Clone)]
pub struct Client {
    tls: Arc<ClientConfig>,
    pool: Arc<Pool>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The caller's URL cannot be used.
    #[error("cannot use the URL `{url}`: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The caller's roots, certificate or key cannot be used.
    #[error("cannot use the TLS settings: {0}")]
    Settings(String),
    /// Nobody could be reached at the address, or the TLS handshake failed (the peer, or the way to it, is at fault).
    #[error("cannot connect to `{origin}`: {reason}")]
    Connect {
        /// `host:port`.
        origin: String,
        /// What the operating system or TLS says.
        reason: String,
    },
    /// The answer did not come in time.
    #[error("no complete answer from `{origin}` within {} ms", timeout.as_millis())]
    Timeout {
        /// `host:port`.
        origin: String,
        /// The deadline that passed.
        timeout: Duration,
    },
    /// The answer is larger than the caller's bound.
    #[error("the answer from `{origin}` is larger than {max_bytes} bytes")]
    TooLarge {
        /// `host:port`.
        origin: String,
        /// The bound.
        max_bytes: usize,
    },
    /// The connection broke, or the peer does not speak HTTP.
    #[error("the exchange with `{origin}` failed: {reason}")]
    Exchange {
        /// `host:port`.
        origin: String,
        /// What broke.
        reason: String,
    },
}

impl Client {
    /// A client that believes servers under `roots`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Settings`], if TLS 1.3 cannot be set up.
    pub fn new(roots: RootCertStore) -> Result<Self, ClientError> {
        let config = tls_builder()?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self::with_tls(config))
    }

    /// A client that also shows a certificate (leaf first) where a server asks for one.
    ///
    /// # Errors
    ///
    /// [`ClientError::Settings`], if the key does not belong to the certificate.
    pub fn with_certificate(
        roots: RootCertStore,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, ClientError> {
        let config = tls_builder()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(settings)?;
        Ok(Self::with_tls(config))
    }

    /// A client that also shows the certificate that is current when it connects, where a server asks for one.
    ///
    /// # Errors
    ///
    /// [`ClientError::Settings`], if TLS 1.3 cannot be set up.
    pub fn with_identity(roots: RootCertStore, identity: Arc<ReloadingCertificate>) -> Result<Self, ClientError> {
        let config = crate::tls::client_config_under(roots, Some(identity), &[]).map_err(settings)?;
        Ok(Self::with_tls(config))
    }

    fn with_tls(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            tls: Arc::new(config),
            pool: Arc::new(Pool::default()),
        }
    }

    /// Sends one request and reads its whole answer, whatever its status. `timeout` spans everything from the name
    /// look-up to the last byte; `max_bytes` bounds the answer's body.
    ///
    /// A request is sent a second time only if it was never written, or if it is a GET or HEAD on a kept-alive
    /// connection that turned out to be closed.
    ///
    /// # Errors
    ///
    /// All of [`ClientError`] but [`ClientError::Settings`].
    pub async fn request(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, ClientError> {
        let target = Target::parse(url)?;
        let message = pool::Message { method, headers, body };
        match tokio::time::timeout(timeout, self.exchange(&target, &message, max_bytes)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.pool.forget(&target.origin);
                Err(ClientError::Timeout {
                    origin: target.origin.to_string(),
                    timeout,
                })
            }
        }
    }

    async fn exchange(
        &self,
        target: &Target,
        message: &pool::Message,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, ClientError> {
        while let Some(mut lease) = self.pool.take(&target.origin) {
            match lease.send(target, message).await {
                Ok(answer) => return self.finish(target, lease, answer, max_bytes).await,
                Err(Failed { unsent: true, .. }) => self.pool.forget(&target.origin),
                Err(Failed { reason, .. }) => return Err(exchange_failed(target, reason)),
            }
        }
        let mut lease = connect::connect(&target.origin, &self.tls).await?;
        self.pool.share(&target.origin, &lease);
        match lease.send(target, message).await {
            Ok(answer) => self.finish(target, lease, answer, max_bytes).await,
            Err(Failed { reason, .. }) => Err(exchange_failed(target, reason)),
        }
    }

    async fn finish(
        &self,
        target: &Target,
        lease: Lease,
        answer: Response<Incoming>,
        max_bytes: usize,
    ) -> Result<Response<Bytes>, ClientError> {
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, max_bytes).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return ClientError::TooLarge {
                    origin: target.origin.to_string(),
                    max_bytes,
                };
            }
            exchange_failed(target, error.to_string())
        })?;
        self.pool.give_back(&target.origin, lease);
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// The machine's own trust store.
///
/// # Errors
///
/// [`ClientError::Settings`], if there is none.
pub fn system_roots() -> Result<RootCertStore, ClientError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let reason = "this machine has no trusted certificates; install `ca-certificates` or name a CA file";
        return Err(ClientError::Settings(reason.into()));
    }
    Ok(roots)
}

/// Adds the certificates of a PEM file's content to `roots` and answers how many.
///
/// # Errors
///
/// [`ClientError::Settings`], if there is none or one cannot be read.
pub fn add_pem_roots(roots: &mut RootCertStore, pem: &[u8]) -> Result<usize, ClientError> {
    let mut added = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(settings)?).map_err(settings)?;
        added = added.saturating_add(1);
    }
    if added == 0 {
        return Err(ClientError::Settings("the PEM text holds no certificate".into()));
    }
    Ok(added)
}

fn tls_builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, ClientError> {
    ClientConfig::builder_with_provider(crate::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(settings)
}

fn settings(error: impl std::fmt::Display) -> ClientError {
    ClientError::Settings(error.to_string())
}

fn exchange_failed(target: &Target, reason: String) -> ClientError {
    ClientError::Exchange {
        origin: target.origin.to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests;
