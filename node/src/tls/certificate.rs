//! A certificate that changes while it is in use.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{TlsError, provider, read_certificates, read_key};
use crate::listen::Shutdown;

/// A certificate chain with its key, for servers and clients. Handshakes use the one that is current when they begin; a
/// replacement that cannot be used leaves the last good one in place.
pub struct ReloadingCertificate {
    current: ArcSwap<CertifiedKey>,
    files: Option<Files>,
}

struct Files {
    chain: PathBuf,
    key: PathBuf,
    seen: Mutex<Stamp>,
}

/// When the two files were last changed, and how long they are.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl ReloadingCertificate {
    /// Reads a PEM chain, leaf first, and its key. [`Self::watch`] follows later changes of the files.
    ///
    /// # Errors
    /// A file cannot be read, does not hold what it should, or the key is not the leaf's.
    pub fn open(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Arc<Self>, TlsError> {
        let files = Files {
            chain: chain.into(),
            key: key.into(),
            seen: Mutex::default(),
        };
        let stamp = files.stamp();
        let current = ArcSwap::from_pointee(files.read()?);
        *files.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
        Ok(Arc::new(ReloadingCertificate {
            current,
            files: Some(files),
        }))
    }

    /// Holds a chain, leaf first, and its key that are in no file.
    ///
    /// # Errors
    /// The chain is empty or malformed, or the key is not the leaf's.
    pub fn in_memory(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<Self>, TlsError> {
        let current = ArcSwap::from_pointee(certified(chain, key)?);
        Ok(Arc::new(ReloadingCertificate { current, files: None }))
    }

    /// Puts another chain and key in place.
    ///
    /// # Errors
    /// As [`Self::in_memory`]; the last good ones stay.
    pub fn replace(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<(), TlsError> {
        self.current.store(Arc::new(certified(chain, key)?));
        Ok(())
    }

    /// The current chain, leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.current.load().cert.clone()
    }

    /// Reads the files again if they have changed; true when there is a new certificate.
    ///
    /// # Errors
    /// As [`Self::open`]; the last good certificate stays, and the same files are not tried again until they change.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let Some(files) = &self.files else { return Ok(false) };
        let stamp = files.stamp();
        let mut seen = files.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == stamp {
            return Ok(false);
        }
        *seen = stamp;
        self.current.store(Arc::new(files.read()?));
        Ok(true)
    }

    /// Looks for changed files every so often until the signal to drain, and logs what it finds.
    pub async fn watch(self: Arc<Self>, every: Duration, shutdown: Shutdown) {
        let Some(path) = self.files.as_ref().map(|files| files.chain.display().to_string()) else {
            return;
        };
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(every) => {}
            }
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.reload_if_changed()).await {
                Ok(Ok(true)) => tracing::info!(path, "certificate reloaded"),
                Ok(Err(error)) => tracing::error!(path, %error, "certificate not reloaded; the last good one stays"),
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }
}

impl Files {
    fn read(&self) -> Result<CertifiedKey, TlsError> {
        let (chain, key) = (read_certificates(&self.chain)?, read_key(&self.key)?);
        certified(chain, key).map_err(|error| TlsError::Content {
            path: self.key.clone(),
            reason: error.to_string(),
        })
    }

    fn stamp(&self) -> Stamp {
        [&self.chain, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, TlsError> {
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        TlsError::Unusable(match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                "the key is not the one that the first certificate names".to_owned()
            }
            Error::NoCertificatesPresented => "there is no certificate".to_owned(),
            error => format!("the certificate or the key cannot be used: {error}"),
        })
    })
}

impl ResolvesServerCert for ReloadingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ResolvesClientCert for ReloadingCertificate {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let current = self.current.load_full();
        current.key.choose_scheme(schemes).is_some().then_some(current)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for ReloadingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.files.as_ref().map(|files| &files.chain);
        f.debug_struct("ReloadingCertificate")
            .field("file", &chain)
            .finish_non_exhaustive()
    }
}
