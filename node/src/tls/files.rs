//! Certificates and keys in PEM files.

use std::path::Path;

use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsError;

/// A PEM file larger than this is refused, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// All certificates of a PEM file, in its order; at least one.
///
/// # Errors
/// The file cannot be read or holds no certificate.
pub fn read_certificates(path: impl AsRef<Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = path.as_ref();
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(content(
            path,
            "holds no certificate; expected PEM with `BEGIN CERTIFICATE`",
        )),
        Err(error) => Err(content(path, &format!("is not PEM: {error}"))),
    }
}

/// The first private key of a PEM file (PKCS#8, SEC1 or PKCS#1).
///
/// # Errors
/// The file cannot be read or holds no private key.
pub fn read_key(path: impl AsRef<Path>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let path = path.as_ref();
    let pem = Zeroizing::new(read(path)?);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        PemError::NoItemsFound => content(
            path,
            "holds no private key; expected PEM with `BEGIN PRIVATE KEY`, not encrypted",
        ),
        error => content(path, &format!("is not PEM: {error}")),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error| TlsError::Read {
        path: path.to_owned(),
        error,
    };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        return Err(content(path, "is larger than 1 MiB; expected PEM"));
    }
    std::fs::read(path).map_err(failed)
}

fn content(path: &Path, reason: &str) -> TlsError {
    TlsError::Content {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
