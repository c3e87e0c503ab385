//! SPIFFE IDs, as the SPIFFE-ID standard writes them (sections 2.1 to 2.4).

use std::fmt;
use std::str::FromStr;

const MAX_ID: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;

/// A SPIFFE ID of a workload: `spiffe://TRUST-DOMAIN/PATH`, with a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: String,
    path_at: usize,
}

impl SpiffeId {
    /// The trust domain, such as `example.org`.
    pub fn trust_domain(&self) -> &str {
        self.text.get("spiffe://".len()..self.path_at).unwrap_or_default()
    }

    /// The path with its leading slash, such as `/ci/build`.
    pub fn path(&self) -> &str {
        self.text.get(self.path_at..).unwrap_or_default()
    }

    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_ID {
            return Err(SpiffeIdError("is longer than 2048 bytes"));
        }
        let rest = text
            .strip_prefix("spiffe://")
            .ok_or(SpiffeIdError("does not begin with `spiffe://`"))?;
        let slash = rest.find('/').ok_or(SpiffeIdError("has no path"))?;
        let (trust_domain, path) = rest.split_at(slash);
        check_trust_domain(trust_domain)?;
        check_path(path)?;
        Ok(Self {
            text: text.to_owned(),
            path_at: text.len().saturating_sub(path.len()),
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Which paths of a trust domain a rule covers: one exact path, or all below a prefix that ends in `/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    stem: String,
    below: bool,
}

impl PathPattern {
    /// Whether `path` is the exact path, or lies anywhere below the prefix.
    pub fn matches(&self, path: &str) -> bool {
        match self.below {
            true => path.len() > self.stem.len() && path.starts_with(&self.stem),
            false => path == self.stem,
        }
    }

    /// Whether some path matches both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.below, other.below) {
            (true, true) => self.stem.starts_with(&other.stem) || other.stem.starts_with(&self.stem),
            (true, false) => self.matches(&other.stem),
            (false, _) => other.matches(&self.stem),
        }
    }
}

impl FromStr for PathPattern {
    type Err = SpiffeIdError;

    /// `/ci/build` or `/ci/*`. A star stands only after a slash at the end, so that `/ci*` never takes in `/cicd`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix("/*") {
            Some("") => Ok(Self {
                stem: "/".into(),
                below: true,
            }),
            Some(prefix) => {
                check_path(prefix)?;
                Ok(Self {
                    stem: format!("{prefix}/"),
                    below: true,
                })
            }
            None => {
                check_path(text)?;
                Ok(Self {
                    stem: text.into(),
                    below: false,
                })
            }
        }
    }
}

/// What is wrong with a SPIFFE ID, a trust domain or a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpiffeIdError(&'static str);

/// Lower-case letters, digits, `.`, `-` and `_`; at most 255 bytes (section 2.1).
pub(crate) fn check_trust_domain(text: &str) -> Result<(), SpiffeIdError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    if text.is_empty() || text.len() > MAX_TRUST_DOMAIN || !text.bytes().all(allowed) {
        return Err(SpiffeIdError(
            "has a trust domain that is not 1 to 255 of `a-z 0-9 . - _`",
        ));
    }
    Ok(())
}

/// Segments of letters, digits, `.`, `-` and `_`, none empty, `.` or `..` (section 2.2).
fn check_path(path: &str) -> Result<(), SpiffeIdError> {
    let rest = path
        .strip_prefix('/')
        .ok_or(SpiffeIdError("has a path that does not begin with `/`"))?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    for segment in rest.split('/') {
        match segment {
            "" => return Err(SpiffeIdError("has an empty path segment or ends in `/`")),
            "." | ".." => return Err(SpiffeIdError("has a `.` or `..` path segment")),
            _ if !segment.bytes().all(allowed) => {
                return Err(SpiffeIdError(
                    "has a path segment with something other than `a-z A-Z 0-9 . - _`",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_comes_apart() {
        let id: SpiffeId = "spiffe://example.org/ci/Build_1.2-x".parse().unwrap();
        assert_eq!((id.trust_domain(), id.path()), ("example.org", "/ci/Build_1.2-x"));
    }

    // R18
    #[test]
    fn what_is_not_a_workloads_spiffe_id_is_refused() {
        let long = format!("spiffe://example.org/{}", "a".repeat(2048));
        let long_domain = format!("spiffe://{}/a", "a".repeat(256));
        for text in [
            "",
            "spiffe://",
            "spiffe:///a",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/a//b",
            "spiffe://example.org/.",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/a%2fb",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/ä",
            "spiffe://example.org:443/a",
            "spiffe://user@example.org/a",
            "spiffe://Example.org/a",
            "spiffe://exämple.org/a",
            "SPIFFE://example.org/a",
            "https://example.org/a",
            "signet://example.org/a",
            " spiffe://example.org/a",
            "spiffe://example.org/a\n",
            &long,
            &long_domain,
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_pattern_is_a_path_or_everything_below_one() {
        let exact: PathPattern = "/ci/build".parse().unwrap();
        assert!(exact.matches("/ci/build"));
        assert!(!exact.matches("/ci/build/x") && !exact.matches("/ci/buildx"));
        let below: PathPattern = "/ci/*".parse().unwrap();
        assert!(below.matches("/ci/a") && below.matches("/ci/a/b"));
        assert!(!below.matches("/ci") && !below.matches("/ci/") && !below.matches("/cicd/a"));
        let all: PathPattern = "/*".parse().unwrap();
        assert!(all.matches("/a") && !all.matches("/"));
        assert!(all.overlaps(&below) && below.overlaps(&all) && below.overlaps(&"/ci/x".parse().unwrap()));
        assert!(!below.overlaps(&exact_path("/cd/x")) && !exact.overlaps(&exact_path("/ci/other")));
    }

    fn exact_path(text: &str) -> PathPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_bad_pattern_is_refused() {
        for text in ["", "*", "/", "ci/*", "/ci*", "/c*/x", "/ci/**", "/ci/../*", "/ci/"] {
            assert!(text.parse::<PathPattern>().is_err(), "{text}");
        }
    }
}
