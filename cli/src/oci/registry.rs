//! A repository of a registry, by the OCI distribution specification 1.1: what pushing and pulling one artifact needs.

use std::path::Path;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};

use super::manifest::{Descriptor, INDEX, MANIFEST, MOST_MANIFEST, sha256};
use super::session::{Access, MOST_ANSWER, Request, Session};
use super::{Name, Store};
use crate::failure::{Context, Failure};

/// A repository.
pub struct Registry {
    session: Session,
    repository: String,
}

impl Registry {
    /// The repository at `host`; see [`Session::new`].
    pub fn new(
        host: &str,
        repository: &str,
        access: Access,
        plain_http: bool,
        ca_file: Option<&Path>,
    ) -> Result<Registry, Failure> {
        Ok(Registry {
            session: Session::new(host, repository, access, plain_http, ca_file)?,
            repository: repository.to_owned(),
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.session.origin(), self.repository)
    }

    /// A registry that sends on to where the blob is has it.
    fn has_blob(&mut self, digest: &str) -> Result<bool, Failure> {
        let request = Request::new(Method::HEAD, self.url(&format!("blobs/{digest}")), MOST_ANSWER);
        let answer = self.session.ask(&request)?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() || status.is_redirection() => Ok(true),
            _ => Err(self.session.refused("was asked for a blob", &answer)),
        }
    }
}

impl Store for Registry {
    fn manifest(&mut self, name: &Name) -> Result<Option<Vec<u8>>, Failure> {
        let mut request = Request::new(Method::GET, self.url(&format!("manifests/{name}")), MOST_MANIFEST);
        // An index is asked for to be told that it is one: a registry may say of what is not asked for that it is not there.
        for kind in [MANIFEST, INDEX] {
            request.headers.append(ACCEPT, HeaderValue::from_static(kind));
        }
        let answer = self.session.get(request).context(|| format!("the manifest `{name}`"))?;
        match answer.status() {
            StatusCode::OK => Ok(Some(answer.body().to_vec())),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self
                .session
                .refused(&format!("was asked for the manifest `{name}`"), &answer)),
        }
    }

    fn blob(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
        let digest = descriptor.digest()?;
        let request = Request::new(
            Method::GET,
            self.url(&format!("blobs/{digest}")),
            usize::try_from(descriptor.size)?.max(MOST_ANSWER),
        );
        let answer = self.session.get(request).context(|| format!("the blob {digest}"))?;
        match answer.status() {
            StatusCode::OK => Ok(answer.body().to_vec()),
            _ => Err(self
                .session
                .refused(&format!("was asked for the blob {digest}"), &answer)),
        }
    }

    fn put_blob(&mut self, content: &[u8]) -> Result<(), Failure> {
        let digest = sha256(content).to_string();
        if self.has_blob(&digest)? {
            return Ok(());
        }
        let begin = Request::new(Method::POST, self.url("blobs/uploads/"), MOST_ANSWER);
        let begun = self.session.ask(&begin)?;
        if begun.status() != StatusCode::ACCEPTED {
            return Err(self.session.refused("was asked to take a blob", &begun));
        }
        let place = self.session.location(&begin.url, &begun)?;
        let sign = if place.contains('?') { '&' } else { '?' };
        let mut upload = Request::new(Method::PUT, format!("{place}{sign}digest={digest}"), MOST_ANSWER);
        upload
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        upload.body = Bytes::copy_from_slice(content);
        let answer = self.session.ask(&upload)?;
        match answer.status() {
            StatusCode::CREATED => Ok(()),
            _ => Err(self.session.refused(&format!("was sent the blob {digest}"), &answer)),
        }
    }

    fn put_manifest(&mut self, tag: Option<&str>, content: &[u8]) -> Result<(), Failure> {
        let name = tag.map_or_else(|| sha256(content).to_string(), str::to_owned);
        let mut request = Request::new(Method::PUT, self.url(&format!("manifests/{name}")), MOST_ANSWER);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
        request.body = Bytes::copy_from_slice(content);
        let answer = self.session.ask(&request)?;
        match answer.status() {
            StatusCode::CREATED => Ok(()),
            _ => Err(self
                .session
                .refused(&format!("was sent the manifest `{name}`"), &answer)),
        }
    }
}
