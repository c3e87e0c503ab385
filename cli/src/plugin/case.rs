//! One case of a plugin: a request, with defaults for what it leaves out, and the verdict that is expected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runtime::Request;
use serde::Deserialize;

use super::outcome::Outcome;
use super::project::read_toml;
use super::request::{OwnedRequest, RawRequest, json};
use crate::failure::{Context, Failure};

/// A file under `cases/`.
#[derive(Debug)]
pub struct Case {
    /// The file's name without `.toml`.
    pub name: String,
    /// Settings that this case has in place of those of `plugin.toml`, one by one.
    pub config: BTreeMap<String, toml::Value>,
    pub expected: Outcome,
    request: OwnedRequest,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// For the reader.
    #[serde(default, rename = "about")]
    _about: String,
    #[serde(default)]
    config: BTreeMap<String, toml::Value>,
    #[serde(default)]
    request: RawRequest,
    expect: Expect,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase", deny_unknown_fields)]
enum Expect {
    Allow {
        lifetime_cap: Option<u32>,
        #[serde(default)]
        claims: BTreeMap<String, toml::Value>,
    },
    Refuse {
        code: String,
        message: Option<String>,
    },
    Fail {
        code: String,
    },
}

/// The cases of a directory, by name. There must be one at least.
pub fn read_all(dir: &Path) -> Result<Vec<Case>, Failure> {
    let paths = paths(dir)?;
    if paths.is_empty() {
        return Err(Failure::new(format!(
            "`{}` has no cases; write one as NAME.toml there",
            dir.display()
        )));
    }
    paths.iter().map(|path| Case::read(path)).collect()
}

/// The files of a directory of cases, sorted.
pub fn paths(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(dir).context(|| format!("cases in `{}`", dir.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl Case {
    fn read(path: &Path) -> Result<Case, Failure> {
        let file: File = read_toml(path)?;
        let at = || path.display().to_string();
        let expected = match file.expect {
            Expect::Allow { lifetime_cap, claims } => Outcome::Allow {
                lifetime_cap,
                claims: claims.into_iter().map(|(name, value)| (name, json(value))).collect(),
            },
            Expect::Refuse { code, message } => Outcome::Refuse { code, message },
            Expect::Fail { code } => {
                if !FAILURES.contains(&code.as_str()) {
                    let known = FAILURES.join(", ");
                    return Err(Failure::new(format!("{}: a failure's code is one of {known}", at())));
                }
                Outcome::Fail { code, detail: None }
            }
        };
        Ok(Case {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            config: file.config,
            expected,
            request: OwnedRequest::new(file.request).context(at)?,
        })
    }

    /// The request, as the host takes it.
    pub fn request(&self) -> Request<'_> {
        self.request.borrow()
    }
}

const FAILURES: [&str; 6] = ["trap", "timeout", "memory", "bad_output", "host_panic", "busy"];

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{Argument, Payload};

    fn case(text: &str) -> Result<Case, String> {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("one.toml");
        std::fs::write(&path, text).unwrap();
        Case::read(&path).map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_a_case_leaves_out_has_a_default() {
        let case = case("[expect]\nverdict = \"allow\"").unwrap();
        let request = case.request();
        assert_eq!(
            (request.format, request.caller.id),
            ("jwt", "oidc:https://ci.example#build")
        );
        assert!(matches!(request.payload, Payload::Token(token) if token.lifetime == 300));
    }

    #[test]
    fn a_case_says_all_of_a_request() {
        let text = "[request]\ntime = 2027-01-04T09:30:00Z\nprotocol = \"http3\"\n[request.artifact]\nalgorithm = \"sha384\"\n\
                    [request.caller.attributes]\nroles = [\"a\"]\n[expect]\nverdict = \"fail\"\ncode = \"trap\"";
        let case = case(text).unwrap();
        let request = case.request();
        assert_eq!((request.time, request.format), (1_799_055_000, "der"));
        assert_eq!(request.caller.attributes, [("roles", Argument::Texts(vec!["a"]))]);
        assert!(matches!(request.payload, Payload::Artifact(artifact) if artifact.digest == [7; 48]));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let unknown = case("[request]\nprofil = \"a\"\n[expect]\nverdict = \"allow\"").unwrap_err();
        assert!(unknown.contains("one.toml:2: unknown field `profil`"), "{unknown}");
        let missing = case("[request]\n").unwrap_err();
        assert!(missing.contains("one.toml:1: missing field `expect`"), "{missing}");
        let code = case("\n[expect]\nverdict = \"refuse\"").unwrap_err();
        assert!(code.contains("one.toml:2: missing field `code`"), "{code}");
        let both = case("[request.token]\n[request.artifact]\n[expect]\nverdict = \"allow\"").unwrap_err();
        assert!(both.contains("token or for an artifact"), "{both}");
        let digest = "[request.artifact]\ndigest = \"07\"\n[expect]\nverdict = \"allow\"";
        assert!(case(digest).unwrap_err().contains("32 bytes"));
        assert!(
            case("[expect]\nverdict = \"fail\"\ncode = \"x\"")
                .unwrap_err()
                .contains("timeout")
        );
    }
}
