//! Where an artifact is: `oci://HOST/REPOSITORY[:TAG][@DIGEST]`, or `DIRECTORY[:TAG][@DIGEST]`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use signing::DigestAlgorithm;
use signing::digest::Digest;

/// The longest repository name that registries take.
const MOST_REPOSITORY: usize = 255;
const MOST_TAG: usize = 128;
const MOST_HOST: usize = 253;

/// An artifact's place and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The repository or directory.
    pub place: Place,
    /// A name that can be moved to another artifact.
    pub tag: Option<String>,
    /// What it must be.
    pub digest: Option<Digest>,
}

/// Where artifacts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A repository of a registry.
    Registry {
        /// `HOST` or `HOST:PORT`.
        host: String,
        /// Its name there, such as `acme/claim-guard`.
        repository: String,
    },
    /// A directory that is an OCI image layout.
    Layout(PathBuf),
}

/// A manifest's name within its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// Whatever is under that tag now.
    Tag(String),
    /// Always the same.
    Digest(Digest),
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadReference {
    text: String,
    reason: &'static str,
}

impl Reference {
    /// What to ask for: the digest, where there is one; `None` if neither is said.
    pub fn name(&self) -> Option<Name> {
        let tag = || self.tag.clone().map(Name::Tag);
        self.digest.clone().map(Name::Digest).or_else(tag)
    }

    /// The same place with this digest and no tag: what stays the same.
    pub fn pinned(&self, digest: Digest) -> Reference {
        Reference {
            place: self.place.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    /// Whose artifact a signature says it is: `HOST/REPOSITORY`, or the directory's name.
    pub fn identity(&self) -> String {
        match &self.place {
            Place::Registry { host, repository } => format!("{host}/{repository}"),
            Place::Layout(dir) => dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// A directory that is not absolute is meant from `base`.
    pub fn within(mut self, base: &Path) -> Reference {
        if let Place::Layout(dir) = &mut self.place {
            *dir = base.join(&*dir);
        }
        self
    }
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        let bad = |reason| BadReference {
            text: text.to_owned(),
            reason,
        };
        let (rest, digest) = match text.rsplit_once('@') {
            Some((rest, digest)) => {
                let digest =
                    sha256_digest(digest).ok_or_else(|| bad("what follows `@` is not sha256: and 64 hex digits"))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (place, tag) = match rest.rsplit_once(':') {
            // A colon before a slash is a port's, or a scheme's.
            Some((place, tag)) if !tag.contains('/') => (place, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(bad("a tag is 1 to 128 of letters, digits, `_`, `.` and `-`"));
        }
        let place = match place.strip_prefix("oci://") {
            Some(place) => registry(place).map_err(bad)?,
            None if place.is_empty() => return Err(bad("it names no directory")),
            None if place.contains("://") => return Err(bad("a registry is written oci://HOST/REPOSITORY")),
            // Written out again, it would be a tag.
            None if place.rsplit('/').next().is_some_and(|name| name.contains(':')) => {
                return Err(bad("a directory whose name has a `:` cannot be named"));
            }
            None => Place::Layout(PathBuf::from(place)),
        };
        Ok(Reference {
            place,
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

fn registry(text: &str) -> Result<Place, &'static str> {
    let shape = "a registry is written oci://HOST/REPOSITORY, such as oci://ghcr.io/acme/claim-guard:1.0";
    let (host, repository) = text.split_once('/').ok_or(shape)?;
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'[' | b']');
    if host.is_empty() || host.len() > MOST_HOST || !host.bytes().all(is_of_host) {
        return Err("the host is a name or an address, with a port where it is not 443");
    }
    if repository.len() > MOST_REPOSITORY || !repository.split('/').all(is_component) {
        return Err("a repository is lower-case letters, digits, `-`, `_` and `.`, with `/` between its parts");
    }
    Ok(Place::Registry {
        host: host.to_ascii_lowercase(),
        repository: repository.to_owned(),
    })
}

/// A part of a repository's name. No part begins with a dot: nothing leaves its path.
fn is_component(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [part.bytes().next(), part.bytes().next_back()];
    ends.into_iter().all(|end| end.is_some_and(plain))
        && part
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_tag(tag: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MOST_TAG
        && tag.bytes().next().is_some_and(first)
        && tag.bytes().all(|byte| first(byte) || matches!(byte, b'.' | b'-'))
}

/// A SHA-256 digest as OCI writes it: with lower-case digits.
pub(super) fn sha256_digest(text: &str) -> Option<Digest> {
    let digest: Digest = text.parse().ok()?;
    (digest.algorithm() == DigestAlgorithm::Sha256 && digest.to_string() == text).then_some(digest)
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Registry { host, repository } => write!(f, "oci://{host}/{repository}")?,
            Place::Layout(dir) => write!(f, "{}", dir.display())?,
        }
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Tag(tag) => f.write_str(tag),
            Name::Digest(digest) => digest.fmt(f),
        }
    }
}

impl fmt::Display for BadReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{:.200}` names no artifact: {}", self.text, self.reason)
    }
}

impl std::error::Error for BadReference {}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn what_is_read_is_written_alike() {
        let pinned = format!("oci://ghcr.io/acme/claim-guard@{DIGEST}");
        let both = format!("./artifacts:1.0@{DIGEST}");
        let texts = [
            "oci://127.0.0.1:5000/acme/claim-guard:1.0",
            "oci://[::1]:5000/rule",
            "artifacts",
            "/srv/a:b/artifacts:latest",
            &pinned,
            &both,
        ];
        for text in texts {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
        }
        let reference: Reference = texts[0].parse().unwrap();
        assert_eq!(reference.name(), Some(Name::Tag("1.0".to_owned())));
        assert_eq!(reference.identity(), "127.0.0.1:5000/acme/claim-guard");
        let both: Reference = both.parse().unwrap();
        assert_eq!(both.name().unwrap().to_string(), DIGEST);
        assert_eq!(
            both.within(Path::new("/bundle")).place,
            Place::Layout("/bundle/./artifacts".into())
        );
    }

    #[test]
    fn what_is_none_says_why() {
        let upper = DIGEST.to_ascii_uppercase().replace("SHA", "sha");
        let upper = format!("oci://h/r@{upper}");
        let cases = [
            ("", "names no directory"),
            ("https://ghcr.io/acme/rule", "oci://HOST/REPOSITORY"),
            ("oci://ghcr.io", "oci://HOST/REPOSITORY"),
            ("artifacts:1.0:2.0", "has a `:`"),
            ("oci:///rule", "the host is"),
            ("oci://user@ghcr.io/rule", "what follows `@`"),
            ("oci://h/Acme", "lower-case"),
            ("oci://h/a/../b", "lower-case"),
            ("oci://h/a//b", "lower-case"),
            ("oci://h/a?x=1", "lower-case"),
            ("oci://h/a:-x", "a tag is"),
            ("oci://h/a@sha256:00", "64 hex digits"),
            (upper.as_str(), "64 hex digits"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
