//! What a server asks of its clients' certificates.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{TlsError, possession, provider, root_store};

/// What a server asks of its clients.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// No certificate.
    None,
    /// A certificate if there is one, of which only the possession of its key is checked here. The chain is checked for each
    /// request by [`crate::identity`], which can then say in a problem document what is wrong with it.
    Shown,
    /// A certificate if there is one; one that does not chain to the roots ends the handshake.
    Optional(ClientRoots),
    /// A certificate that chains to the roots; without, the handshake ends.
    Required(ClientRoots),
}

/// The roots that client certificates must chain to. Clones are the same roots, changed for all by [`Self::replace`];
/// connections that were made before a change stay, so identities are checked for each request too (R19).
#[derive(Clone, Default)]
pub struct ClientRoots {
    verifier: Arc<ArcSwapOption<Chains>>,
}

/// `ArcSwap` holds sized types only.
struct Chains(Arc<dyn ClientCertVerifier>);

impl ClientRoots {
    /// Starts with these roots; without any, no certificate is accepted.
    ///
    /// # Errors
    /// One of them is not a certificate.
    pub fn new(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<ClientRoots, TlsError> {
        let new = ClientRoots::default();
        new.replace(roots)?;
        Ok(new)
    }

    /// Puts other roots in place, for handshakes from now on.
    ///
    /// # Errors
    /// One of them is not a certificate; the last good ones stay.
    pub fn replace(&self, roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<(), TlsError> {
        let store = root_store(roots)?;
        if store.is_empty() {
            self.verifier.store(None);
            return Ok(());
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider())
            .build()
            .map_err(|error| TlsError::Unusable(format!("the client roots cannot be used: {error}")))?;
        self.verifier.store(Some(Arc::new(Chains(verifier))));
        Ok(())
    }
}

impl fmt::Debug for ClientRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRoots")
            .field("empty", &self.verifier.load().is_none())
            .finish()
    }
}

/// The verifier for whatever is not [`ClientAuth::None`].
pub(super) fn verifier(clients: ClientAuth) -> Arc<dyn ClientCertVerifier> {
    let (roots, mandatory) = match clients {
        ClientAuth::None | ClientAuth::Shown => (None, false),
        ClientAuth::Optional(roots) => (Some(roots), false),
        ClientAuth::Required(roots) => (Some(roots), true),
    };
    Arc::new(Verifier {
        roots,
        mandatory,
        provider: provider(),
    })
}

#[derive(Debug)]
struct Verifier {
    roots: Option<ClientRoots>,
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(roots) = &self.roots else {
            return Ok(ClientCertVerified::assertion());
        };
        match &*roots.verifier.load() {
            Some(chains) => chains.0.verify_client_cert(leaf, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        possession(&self.provider, message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
