//! How an edge comes by its identity: with a join token that an operator hands it, or by itself, with a token that its platform
//! gives it and that a trust rule of the authority takes.

use std::path::Path;

use node::contract::EnrollRequest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{Config, Join};
use crate::identity::{Identity, enrolled};
use crate::uplink::{UplinkError, join};

/// The largest token that is sent.
const MAX_TOKEN: usize = 8 * 1024;

/// What an edge enrolls with.
pub enum Credential {
    /// What `signet edges token` printed.
    JoinToken(String),
    /// An OIDC token.
    Oidc {
        /// The name of the rule that takes it.
        trust_rule: String,
        /// Compact JWS.
        token: String,
    },
}

impl Credential {
    pub(crate) fn request(self, csr: Vec<u8>) -> EnrollRequest {
        match self {
            Credential::JoinToken(join_token) => EnrollRequest {
                join_token,
                csr,
                ..EnrollRequest::default()
            },
            Credential::Oidc { trust_rule, token } => EnrollRequest {
                oidc_token: token,
                trust_rule,
                csr,
                ..EnrollRequest::default()
            },
        }
    }
}

/// Why an edge could not enroll by itself.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A file that `[join]` names.
    #[error("join.{field}: `{path}`: {detail}")]
    File {
        /// The field.
        field: &'static str,
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// The authority's answer.
    #[error("`{authority}` did not enrol this edge: {why}")]
    Refused {
        /// Its address.
        authority: String,
        /// Its words.
        why: String,
    },
    /// Anything else.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
}

/// Enrolls as `[join]` says, unless the state directory holds an identity that is valid at `now` (Unix seconds) or there is no
/// `[join]`; then there is nothing to do.
///
/// # Errors
/// [`JoinError`]. A token that was used is of no more use: the platform has to give a new one first.
pub async fn join_by_itself(config: &Config, now: u64) -> Result<Option<Identity>, JoinError> {
    let Some(by) = config.join.as_ref().filter(|_| !enrolled(&config.state_dir, now)) else {
        return Ok(None);
    };
    let root = read("node_root_file", &by.node_root_file)?;
    let root = CertificateDer::from_pem_slice(root.as_bytes());
    let root = root.map_err(|error| wrong("node_root_file", &by.node_root_file, error.to_string()))?;
    let joined = join(&config.authority, root, credential(by)?, &config.state_dir).await;
    joined.map(Some).map_err(|error| match error {
        UplinkError::Refused(status) => JoinError::Refused {
            authority: config.authority.join("`, `"),
            why: status.message().to_owned(),
        },
        other => other.into(),
    })
}

fn credential(by: &Join) -> Result<Credential, JoinError> {
    let token = read("oidc_token_file", &by.oidc_token_file)?;
    let token = token.trim();
    if token.is_empty() || token.len() > MAX_TOKEN {
        let detail = format!("holds no token of 1 to {MAX_TOKEN} bytes");
        return Err(wrong("oidc_token_file", &by.oidc_token_file, detail));
    }
    Ok(Credential::Oidc {
        trust_rule: by.trust_rule.clone(),
        token: token.to_owned(),
    })
}

fn read(field: &'static str, path: &Path) -> Result<String, JoinError> {
    std::fs::read_to_string(path).map_err(|error| wrong(field, path, error.to_string()))
}

fn wrong(field: &'static str, path: &Path, detail: String) -> JoinError {
    JoinError::File {
        field,
        path: path.display().to_string(),
        detail,
    }
}
