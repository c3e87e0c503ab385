//! Objects in a bucket.
//!
//! A writer needs conditional writes of the server: an object is created with `If-None-Match: *` and the checkpoint replaced with
//! `If-Match`, so that of two writers one is refused. There is no sync: what a server acknowledged is durable, by its own word. A
//! request whose answer did not come may have taken effect; it is sent again with the same content, which does no harm.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use audit::log::objects::{MAX_OBJECT, Objects, PutError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use node::http_client::Client;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{
    BackoffConfig, Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig, UpdateVersion,
};
use tokio::runtime::Runtime;

use super::credentials::{self, CredentialsFile};
use super::requests::Connector;
use crate::config::S3Config;

/// What a request that failed is sent again: so often, and not after that long. The log's writer tries again by itself.
const RETRIES: usize = 3;
const RETRY_FOR: Duration = Duration::from_secs(10);
const BACKOFF: BackoffConfig = BackoffConfig {
    init_backoff: Duration::from_millis(100),
    max_backoff: Duration::from_secs(2),
    base: 2.0,
};
/// The object that shows at each start whether the server has conditional writes.
const PROBE: &str = "probe";

/// A place in a bucket, with what it is reached by. Clones share it.
#[derive(Clone)]
pub struct Bucket {
    /// As people write it.
    name: Arc<str>,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    io: Arc<Io>,
}

/// The thread that does the requests: the log is written and read by threads that wait.
struct Io(Option<Runtime>);

impl Bucket {
    /// Reads the files that it names, and connects to nothing.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub fn new(config: &S3Config) -> Result<Self, (&'static str, String)> {
        config.check()?;
        let roots = match config.endpoint.as_deref().is_some_and(|url| url.starts_with("http://")) {
            true => Ok(rustls::RootCertStore::empty()),
            false => crate::export::roots(config.ca_file.as_deref()),
        };
        let roots = roots.map_err(|reason| ("audit.log.s3.ca_file", reason))?;
        let client = Client::new(roots).map_err(|error| ("audit.log.s3.ca_file", error.to_string()))?;
        let connector = Connector {
            client,
            allow_http: config.allow_http,
            max_object: usize::try_from(MAX_OBJECT).unwrap_or(usize::MAX),
        };
        let builder = builder(config, |name| std::env::var(name).ok())?.with_http_connector(connector);
        let store = builder.build().map_err(|error| ("audit.log.s3", error.to_string()))?;
        Self::on(Arc::new(store), config)
    }

    fn on(store: Arc<dyn ObjectStore>, config: &S3Config) -> Result<Self, (&'static str, String)> {
        let prefix = Path::parse(&config.prefix).map_err(|error| ("audit.log.s3.prefix", error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("audit-s3")
            .enable_all()
            .build()
            .map_err(|error| ("audit.log.s3", error.to_string()))?;
        Ok(Self {
            name: format!("s3://{}/{}", config.bucket, config.prefix)
                .trim_end_matches('/')
                .into(),
            store,
            prefix,
            io: Arc::new(Io(Some(runtime))),
        })
    }

    /// To read only.
    pub(super) fn reader(&self) -> S3 {
        S3 {
            bucket: self.clone(),
            claim: None,
        }
    }

    /// To write. Blocks on the server.
    pub(super) fn writer(&self) -> io::Result<S3> {
        self.probe()?;
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host: String = host.chars().filter(|c| !c.is_control()).take(64).collect();
        let claim = format!("{host}/{}/{}", std::process::id(), uuid::Uuid::new_v4());
        Ok(S3 {
            bucket: self.clone(),
            claim: Some(claim),
        })
    }

    /// Whether the server refuses what it must: otherwise two writers would overwrite each other, and nobody would know.
    fn probe(&self) -> io::Result<()> {
        let ignores = |what: &str| {
            let message = format!(
                "the server takes a write that it must refuse ({what}): without conditional writes two authorities could write \
                 one log; use a server that has them"
            );
            io::Error::other(message)
        };
        let stale = PutMode::Update(UpdateVersion {
            e_tag: Some("\"00000000000000000000000000000000\"".to_owned()),
            version: None,
        });
        let content = b"signet asks whether this server has conditional writes\n";
        if let Err(Refused::Failed(error)) = self.write(PROBE, content, PutMode::Create)? {
            return Err(error);
        }
        for (mode, what) in [(PutMode::Create, "If-None-Match"), (stale, "If-Match")] {
            match self.write(PROBE, content, mode)? {
                Ok(()) => return Err(ignores(what)),
                Err(Refused::Condition) => {}
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix))
    }

    /// The content and its version.
    fn fetch(&self, name: &str) -> io::Result<Option<(Vec<u8>, Option<String>)>> {
        let (store, path) = (self.store.clone(), self.path(name));
        let got = self.io.wait(async move {
            let got = store.get(&path).await?;
            if got.meta.size > MAX_OBJECT {
                return Ok(Err(io::Error::other("an object of the log is too large")));
            }
            let version = got.meta.e_tag.clone();
            got.bytes().await.map(|bytes| Ok((bytes.to_vec(), version)))
        })?;
        match got {
            Ok(read) => read.map(Some),
            Err(error @ Error::NotFound { .. }) if !has_no_bucket(&error) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn write(&self, name: &str, content: &[u8], mode: PutMode) -> io::Result<Result<(), Refused>> {
        let (store, path, content) = (self.store.clone(), self.path(name), content.to_vec());
        let options = PutOptions::from(mode);
        let put = self
            .io
            .wait(async move { store.put_opts(&path, content.into(), options).await })?;
        Ok(match put {
            Ok(_) => Ok(()),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Err(Refused::Condition),
            Err(error) => Err(Refused::Failed(self.failed(&error))),
        })
    }

    /// One line, and what to do where that is known.
    fn failed(&self, error: &Error) -> io::Error {
        if has_no_bucket(error) {
            let place = self.name.trim_start_matches("s3://");
            let bucket = place.split('/').next().unwrap_or_default();
            let what = "make it, or say in which bucket, region and endpoint the log is";
            return io::Error::other(format!(
                "`{self}`: there is no bucket `{bucket}` at this server: {what}"
            ));
        }
        let hint = match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                " (the credentials need GetObject, PutObject, DeleteObject and ListBucket there)"
            }
            _ => "",
        };
        let text: String = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let text: String = text.chars().take(400).collect();
        // What the server did not answer as such: it may do so later.
        let kind = match error {
            Error::Generic { .. } => io::ErrorKind::NotConnected,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, format!("`{self}`: {text}{hint}"))
    }
}

/// Whether the whole bucket is missing, which a server answers with the same status as for an object. A log in it is not gone: it
/// cannot be seen.
fn has_no_bucket(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) && error.to_string().contains("NoSuchBucket")
}

/// Why nothing was written.
enum Refused {
    /// What is there is not what was expected.
    Condition,
    Failed(io::Error),
}

fn builder(config: &S3Config, env: impl Fn(&str) -> Option<String>) -> Result<AmazonS3Builder, (&'static str, String)> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_allow_http(true)
        .with_retry(RetryConfig {
            backoff: BACKOFF,
            max_retries: RETRIES,
            retry_timeout: RETRY_FOR,
        });
    let told = |name| env(name).filter(|value: &String| !value.is_empty());
    let region = config
        .region
        .clone()
        .or_else(|| told("AWS_REGION"))
        .or_else(|| told("AWS_DEFAULT_REGION"));
    builder = match (region, &config.endpoint) {
        (Some(region), _) => builder.with_region(region),
        (None, Some(_)) => builder,
        (None, None) => {
            let message = "is needed without an `endpoint`: here, or in AWS_REGION";
            return Err(("audit.log.s3.region", message.to_owned()));
        }
    };
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    Ok(match &config.credentials_file {
        Some(file) => {
            credentials::read(file).map_err(|reason| ("audit.log.s3.credentials_file", reason))?;
            builder.with_credentials(Arc::new(CredentialsFile(file.clone())))
        }
        None => credentials::from_environment(builder, env),
    })
}

/// The objects of a bucket under its prefix.
pub(super) struct S3 {
    bucket: Bucket,
    claim: Option<String>,
}

impl S3 {
    /// After the server found something else than was expected: this content after all, or still `before`, or another writer's.
    fn look_again(&self, name: &str, before: Option<&[u8]>, content: &[u8]) -> Result<(), PutError> {
        let there = self.get(name).map_err(PutError::Write)?;
        match there.as_deref() {
            Some(there) if there == content => Ok(()),
            there if there == before => Err(PutError::Write(io::Error::other("another write was under way"))),
            _ => Err(PutError::Taken),
        }
    }

    fn conditional(&self, name: &str, before: Option<&[u8]>, content: &[u8], mode: PutMode) -> Result<(), PutError> {
        match self.bucket.write(name, content, mode).map_err(PutError::Write)? {
            Ok(()) => Ok(()),
            Err(Refused::Condition) => self.look_again(name, before, content),
            Err(Refused::Failed(error)) => Err(PutError::Write(error)),
        }
    }
}

impl Objects for S3 {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.bucket.fetch(name)?.map(|(content, _)| content))
    }

    fn put(&mut self, name: &str, content: &[u8]) -> Result<(), PutError> {
        self.conditional(name, None, content, PutMode::Overwrite)
    }

    fn create(&mut self, name: &str, content: &[u8]) -> Result<(), PutError> {
        self.conditional(name, None, content, PutMode::Create)
    }

    fn swap(&mut self, name: &str, before: Option<&[u8]>, content: &[u8]) -> Result<(), PutError> {
        let there = self.bucket.fetch(name).map_err(PutError::Write)?;
        let version = match (there, before) {
            (Some((there, _)), _) if there == content => return Ok(()),
            (Some((there, version)), Some(before)) if there == before => version,
            (None, None) => return self.create(name, content),
            _ => return Err(PutError::Taken),
        };
        let no_version = || PutError::Write(io::Error::other("the server gives objects no ETag"));
        let version = UpdateVersion {
            e_tag: Some(version.ok_or_else(no_version)?),
            version: None,
        };
        self.conditional(name, before, content, PutMode::Update(version))
    }

    fn remove(&mut self, names: &[String]) -> io::Result<()> {
        let paths: Vec<_> = names.iter().map(|name| Ok(self.bucket.path(name))).collect();
        let store = self.bucket.store.clone();
        let removed = self.bucket.io.wait(async move {
            let removed = store.delete_stream(stream::iter(paths).boxed());
            removed.try_for_each(|_| async { Ok(()) }).await
        })?;
        removed.map_err(|error| self.bucket.failed(&error))
    }

    fn claim(&self) -> Option<&str> {
        self.claim.as_deref()
    }
}

impl Io {
    /// Does it there, and waits: from any thread.
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        let ended = || io::Error::other("a request to the bucket ended in a panic");
        let (tell, told) = sync_channel(1);
        let runtime = self.0.as_ref().ok_or_else(ended)?;
        drop(runtime.spawn(async move { tell.send(work.await) }));
        told.recv().map_err(|_| ended())
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        // Where the last clone goes may be a thread that must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.name).finish()
    }
}

#[cfg(test)]
#[path = "s3_tests.rs"]
mod tests;
