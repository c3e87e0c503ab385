//! Where an audit log is: a directory, or a place in a bucket. The log itself (`audit::log`) knows named objects only.

mod credentials;
mod requests;
mod s3;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use audit::log::LogError;
use audit::log::objects::{Directory, Objects};
use audit::log::read::View;
use audit::note::VerifierKey;

pub use self::s3::Bucket;
use crate::config::{Config, LogConfig, S3Config};

/// Where a log is.
#[derive(Clone, Debug)]
pub enum LogPlace {
    /// Files of this machine.
    Directory(PathBuf),
    /// Objects of an S3 server.
    Bucket(Bucket),
}

impl LogPlace {
    /// The log of an authority. Reads the files that the configuration names, and connects to nothing.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub fn of(config: &Config) -> Result<Self, (&'static str, String)> {
        match &config.audit.log {
            LogConfig::Directory => Ok(Self::Directory(config.log_dir())),
            LogConfig::S3(s3) => {
                let mut s3 = s3.clone();
                let parts = [s3.prefix.as_str(), config.store.replica()];
                s3.prefix = parts
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("/");
                Ok(Self::Bucket(Bucket::new(&s3)?))
            }
        }
    }

    /// A log's place as people write it: a directory, or `s3://BUCKET/PREFIX`, for which `access` says the rest.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, access: &S3Config) -> Result<Self, String> {
        let Some(place) = text.strip_prefix("s3://") else {
            return Ok(Self::Directory(text.into()));
        };
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let s3 = S3Config {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_end_matches('/').to_owned(),
            ..access.clone()
        };
        let field = |field: &str| field.rsplit('.').next().unwrap_or_default().to_owned();
        Bucket::new(&s3)
            .map(Self::Bucket)
            .map_err(|(name, message)| format!("the {} {message}", field(name)))
    }

    /// To read only, also while another process writes.
    pub fn reader(&self) -> Box<dyn Objects> {
        match self {
            Self::Directory(path) => Box::new(Directory::read_only(path)),
            Self::Bucket(bucket) => Box::new(bucket.reader()),
        }
    }

    /// To write. Blocks on the disk or the server.
    ///
    /// # Errors
    /// The storage's; that another process holds the directory; that the server has no conditional writes.
    pub fn writer(&self) -> io::Result<Box<dyn Objects>> {
        match self {
            Self::Directory(path) => match Directory::open(path)? {
                Some(directory) => Ok(Box::new(directory)),
                None => Err(io::Error::other("it is in use by another process")),
            },
            Self::Bucket(bucket) => Ok(Box::new(bucket.writer()?)),
        }
    }

    /// The log that is there; see [`View::of`]. Blocks on the disk or the server.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn view(&self, key: Option<&VerifierKey>) -> Result<View, LogError> {
        View::of(self.reader(), key)
    }

    /// The directory; none for a bucket.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::Bucket(_) => None,
        }
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

#[cfg(test)]
#[path = "log_place/real_tests.rs"]
mod real_tests;
#[cfg(test)]
mod tests;
