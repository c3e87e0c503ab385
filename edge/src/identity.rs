//! The edge's own identity: a node key and its certificate under the authority's node root, on disk in `STATE/identity/`.
//!
//! It is the only secret an edge keeps on disk (mode 0600); whoever has it can ask the authority for keys in this edge's
//! name until the edge is revoked. It is renewed at half of its life.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use signing::algorithm::Algorithm;
use signing::certificate::{Certificate, pem_encode};
use signing::key::{KeyError, Secret, SigningKey};

/// A node's identity as it is used: for TLS to the authority and in delegations.
#[derive(Debug)]
pub struct Identity {
    /// The trust domain of the SPIFFE ID.
    pub trust_domain: String,
    /// The edge's id, the last segment of the SPIFFE ID.
    pub edge_id: String,
    /// Leaf first, without the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// What the authority's own certificate is checked against.
    pub roots: Vec<CertificateDer<'static>>,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds.
    pub not_after: u64,
    key: Secret,
}

impl Identity {
    /// Signs with the node key; the signature is in JOSE's fixed form.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        SigningKey::import(Algorithm::Es256, &self.key)?.sign(message)
    }

    /// The node key, for rustls.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.expose().to_vec().into())
    }
}

#[cfg(test)]
impl Identity {
    /// Of a trust domain and an edge, with a key and no certificate.
    pub fn named(trust_domain: &str, edge_id: &str, key: &SigningKey) -> Identity {
        Identity {
            trust_domain: trust_domain.to_owned(),
            edge_id: edge_id.to_owned(),
            chain: Vec::new(),
            roots: Vec::new(),
            not_before: 0,
            not_after: u64::MAX,
            key: key.export().unwrap(),
        }
    }
}

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Nothing has been enrolled in this state directory.
    #[error("`{0}` has no identity; enrol this edge first: signet edge join --config FILE --join join.json")]
    Missing(PathBuf),
    /// The disk.
    #[error("`{path}`: {source}")]
    File {
        /// What was read or written.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// A file is not what this program wrote.
    #[error("`{path}`: {detail}; restore it from where it came, or enrol this edge again with a new token")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The authority's answer to an enrolment.
    #[error("the authority's answer cannot be used: {0}")]
    Answer(String),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What lies in `identity/node.json`: one file, replaced whole, so that key and certificate are never of two minds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    edge_id: String,
    trust_domain: String,
    /// PEM, leaf first, the node root last.
    certificates: Vec<String>,
    /// PEM, PKCS#8.
    key: String,
}

/// Whether `state_dir` holds an identity that is valid at `now` (Unix seconds).
pub fn enrolled(state_dir: &Path, now: u64) -> bool {
    load(state_dir).is_ok_and(|identity| now < identity.not_after)
}

/// A new node key and the request that proves its possession.
#[derive(Debug)]
pub struct Request {
    key: SigningKey,
    /// PKCS#10, DER.
    pub csr: Vec<u8>,
}

impl Request {
    /// Makes a P-256 key and its certificate request.
    pub fn new() -> Result<Request, IdentityError> {
        let key = SigningKey::generate(Algorithm::Es256)?;
        let csr = signing::csr::create(&key).map_err(|error| IdentityError::Answer(error.to_string()))?;
        Ok(Request { key, csr })
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("identity").join("node.json")
}

/// Reads the identity of `state_dir`.
pub fn load(state_dir: &Path) -> Result<Identity, IdentityError> {
    let path = path(state_dir);
    let content = match fs::read(&path) {
        Ok(content) => Secret::new(content),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(IdentityError::Missing(state_dir.to_owned()));
        }
        Err(source) => return Err(IdentityError::File { path, source }),
    };
    let file = serde_json::from_slice::<File>(content.expose()).map_err(|error| error.to_string());
    file.and_then(|file| file.read())
        .map_err(|detail| IdentityError::Damaged { path, detail })
}

impl File {
    /// The identity that is written here, if it is whole: a key, its certificate and the root.
    fn read(&self) -> Result<Identity, String> {
        let mut chain = Vec::with_capacity(self.certificates.len());
        for pem in &self.certificates {
            chain.push(CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?);
        }
        let root = chain.pop().ok_or("no certificates")?;
        let leaf = chain.first().ok_or("the node root stands alone")?;
        let leaf = Certificate::from_der(leaf).map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|error| error.to_string())?;
        let PrivateKeyDer::Pkcs8(key) = key else {
            return Err("the key is not PKCS#8".into());
        };
        let key = Secret::new(key.secret_pkcs8_der().to_vec());
        let pair = SigningKey::import(Algorithm::Es256, &key).map_err(|error| error.to_string())?;
        let certified = leaf.public_key().map_err(|error| error.to_string())?;
        if pair.public() != Some(&certified) {
            return Err("the certificate is for another key".into());
        }
        Ok(Identity {
            trust_domain: self.trust_domain.clone(),
            edge_id: self.edge_id.clone(),
            chain,
            roots: vec![root],
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
            key,
        })
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(Secret::new(std::mem::take(&mut self.key).into_bytes()));
    }
}

/// Writes what the authority answered to `request`, once it is known to be usable: an answer that is not leaves the identity
/// on disk alone. A renewal gives nobody another name than `before`. After a crash either the old identity is there or the
/// new one.
pub fn store(
    state_dir: &Path,
    request: Request,
    answer: &node::contract::EnrollResponse,
    before: Option<&Identity>,
) -> Result<Identity, IdentityError> {
    let named = answer.spiffe_id.strip_prefix("spiffe://");
    let named = named.and_then(|rest| rest.split_once("/edge/"));
    let Some((trust_domain, edge_id)) = named.filter(|(_, edge_id)| *edge_id == answer.edge_id) else {
        return Err(IdentityError::Answer(
            "its SPIFFE ID is not of the edge it names".into(),
        ));
    };
    if before.is_some_and(|before| before.trust_domain != trust_domain || before.edge_id != edge_id) {
        return Err(IdentityError::Answer("it names another edge".into()));
    }
    let key = request.key.export()?;
    let file = File {
        edge_id: edge_id.to_owned(),
        trust_domain: trust_domain.to_owned(),
        certificates: answer
            .certificates
            .iter()
            .map(|der| pem_encode("CERTIFICATE", der))
            .collect(),
        key: pem_encode("PRIVATE KEY", key.expose()),
    };
    let identity = file.read().map_err(IdentityError::Answer)?;
    let path = path(state_dir);
    let content = serde_json::to_vec_pretty(&file).map_err(|error| IdentityError::Answer(error.to_string()))?;
    let content = Secret::new(content);
    replace(&path, content.expose()).map_err(|source| IdentityError::File { path, source })?;
    Ok(identity)
}

/// Writes a secret file durably: temporary file, fsync, rename, fsync of the directory.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
