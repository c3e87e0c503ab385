//! TLS 1.3 for listeners and clients: nothing older, no early data (R17), one provider (aws-lc-rs) passed explicitly.
//!
//! A configuration is made once. What changes while it serves changes inside it: certificates through
//! [`ReloadingCertificate`], the roots that client certificates must chain to through [`ClientRoots`].

mod certificate;
mod client_auth;
mod dial;
mod files;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;

pub use certificate::ReloadingCertificate;
pub use client_auth::{ClientAuth, ClientRoots};
pub use dial::{Dialled, Note, dial};
pub use files::{read_certificates, read_key};

/// ALPN of a TCP listener for callers, in order of preference.
pub const ALPN_HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
/// ALPN of a QUIC listener.
pub const ALPN_HTTP3: &[&[u8]] = &[b"h3"];
/// ALPN of gRPC.
pub const ALPN_GRPC: &[&[u8]] = &[b"h2"];

/// Why TLS cannot be set up. Every case is the operator's to mend; nothing in it is secret.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("`{}` cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{}`: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// A certificate, a key or a set of roots cannot be used.
    #[error("{0}")]
    Unusable(String),
}

/// The cryptography of every TLS and QUIC connection.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A server's configuration. Where client certificates are asked for, sessions are not resumed: a resumed one would bring
/// an identity along that was verified under older roots.
///
/// # Errors
/// The provider cannot do TLS 1.3, or the roots are not certificates.
pub fn server_config(
    certificate: Arc<ReloadingCertificate>,
    clients: ClientAuth,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let resumes = matches!(clients, ClientAuth::None);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?;
    let mut config = match clients {
        ClientAuth::None => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
        asked => builder.with_client_cert_verifier(client_auth::verifier(asked)),
    }
    .with_cert_resolver(certificate);
    config.alpn_protocols = owned(alpn);
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    config.send_tls13_tickets = usize::from(resumes);
    if !resumes {
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    Ok(Arc::new(config))
}

/// A client's configuration: servers must chain to one of `roots`; `identity` is shown to a server that asks.
///
/// # Errors
/// The provider cannot do TLS 1.3, or a root is not a certificate.
pub fn client_config(
    roots: impl IntoIterator<Item = CertificateDer<'static>>,
    identity: Option<Arc<ReloadingCertificate>>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    client_config_under(root_store(roots)?, identity, alpn)
}

/// As [`client_config`], with roots that are a store already.
///
/// # Errors
/// The provider cannot do TLS 1.3.
pub fn client_config_under(
    roots: RootCertStore,
    identity: Option<Arc<ReloadingCertificate>>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = owned(alpn);
    config.enable_early_data = false;
    Ok(config)
}

fn root_store(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store
            .add(root)
            .map_err(|error| TlsError::Unusable(format!("a root is not a usable certificate: {error}")))?;
    }
    Ok(store)
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.to_vec()).collect()
}

fn unusable(error: rustls::Error) -> TlsError {
    TlsError::Unusable(error.to_string())
}

/// Proof that a peer holds the key of the certificate it showed (RFC 8446, section 4.4.3).
fn possession(
    provider: &CryptoProvider,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    verify_tls13_signature(
        message,
        certificate,
        signature,
        &provider.signature_verification_algorithms,
    )
}
