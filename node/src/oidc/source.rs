//! Where JWKS documents are read from, bounded in size and time.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rustls::RootCertStore;
use tokio::io::AsyncReadExt;

use super::config::JwksSource;
use crate::http_client::{self, Client, Target};

const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest document that is read, in bytes.
const MAX_DOCUMENT: usize = 256 * 1024;

#[derive(Debug)]
pub(super) enum Source {
    Inline(Vec<u8>),
    File(PathBuf),
    Url { url: String, client: Client },
}

impl Source {
    /// Checks what can be checked without reading anything.
    pub(super) fn open(source: &JwksSource) -> Result<Self, String> {
        match source {
            JwksSource::Inline(document) => Ok(Self::Inline(document.clone())),
            JwksSource::File(path) => Ok(Self::File(path.clone())),
            JwksSource::Url { url, roots } => {
                let target = Target::parse(url).map_err(|error| error.to_string())?;
                if !target.origin.https && !target.origin.is_loopback() {
                    return Err(format!("`{url}` is not https; keys from it could be anybody's"));
                }
                let mut store = RootCertStore::empty();
                for root in roots {
                    store
                        .add(root.clone())
                        .map_err(|error| format!("a CA certificate is not usable: {error}"))?;
                }
                if roots.is_empty() && target.origin.https {
                    store = http_client::system_roots().map_err(|error| error.to_string())?;
                }
                let client = Client::new(store).map_err(|error| error.to_string())?;
                Ok(Self::Url {
                    url: url.clone(),
                    client,
                })
            }
        }
    }

    /// Whether the document can ever change.
    pub(super) fn changes(&self) -> bool {
        !matches!(self, Self::Inline(_))
    }

    /// The document as it is now, or text for the operator.
    pub(super) async fn read(&self) -> Result<Bytes, String> {
        match self {
            Self::Inline(document) => Ok(Bytes::copy_from_slice(document)),
            Self::File(path) => {
                let read = tokio::time::timeout(TIMEOUT, read_file(path)).await;
                let document = read.unwrap_or_else(|_| Err("it cannot be read in time".into()));
                document.map_err(|error| format!("`{}`: {error}", path.display()))
            }
            Self::Url { url, client } => {
                let accept = HeaderValue::from_static("application/jwk-set+json, application/json");
                let headers = HeaderMap::from_iter([(ACCEPT, accept)]);
                let answer = client
                    .request(Method::GET, url, headers, Bytes::new(), TIMEOUT, MAX_DOCUMENT)
                    .await;
                let answer = answer.map_err(|error| error.to_string())?;
                match answer.status() {
                    StatusCode::OK => Ok(answer.into_body()),
                    status => Err(format!("`{url}` answers {status}; redirects are not followed")),
                }
            }
        }
    }
}

async fn read_file(path: &PathBuf) -> Result<Bytes, String> {
    let file = tokio::fs::File::open(path).await.map_err(|error| error.to_string())?;
    let mut document = Vec::new();
    let bound = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound)
        .read_to_end(&mut document)
        .await
        .map_err(|error| error.to_string())?;
    match document.len() > MAX_DOCUMENT {
        true => Err(format!("it is larger than {MAX_DOCUMENT} bytes")),
        false => Ok(document.into()),
    }
}
