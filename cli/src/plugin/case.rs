//! One case of a plugin: a request, with defaults for what it leaves out, and the verdict that is expected; or several,
//! one after another on the same counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use runtime::Request;
use serde::Deserialize;
use toml::Spanned;

use super::document::Document;
use super::outcome::Outcome;
use super::request::{OwnedRequest, RawRequest, json};
use super::table::{self, Table, Tables};
use crate::failure::{Context, Failure};

/// A file under `cases/`.
#[derive(Debug)]
pub struct Case {
    /// The file's name without `.toml`.
    pub name: String,
    /// Settings that this case has in place of those of `plugin.toml`, one by one.
    pub config: BTreeMap<String, toml::Value>,
    /// Settings of `plugin.toml` that this case has not.
    pub unset: BTreeSet<String>,
    /// Tables likewise.
    pub tables: Tables,
    /// One at least.
    pub steps: Vec<Step>,
}

/// A request and what must come of it.
#[derive(Debug)]
pub struct Step {
    pub expected: Outcome,
    /// How often it is made, each time with the same expectation.
    pub times: u32,
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
    unset: BTreeSet<String>,
    #[serde(default)]
    tables: BTreeMap<String, Spanned<Table>>,
    /// With `steps`: what they have in common.
    #[serde(default)]
    request: RawRequest,
    expect: Option<Expect>,
    #[serde(default)]
    steps: Vec<RawStep>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    #[serde(default = "once")]
    times: u32,
    /// Read again, over what the steps have in common.
    #[serde(default, rename = "request")]
    _request: RawRequest,
    expect: Expect,
}

fn once() -> u32 {
    1
}

/// Calls of one step, and steps of one case.
const MOST: usize = 1000;

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
        let document = Document::read(path)?;
        let file: File = document.parse()?;
        let at = || path.display().to_string();
        if let Some(name) = file.unset.iter().find(|name| file.config.contains_key(*name)) {
            return Err(Failure::new(format!("{}: `{name}` is set and unset", at())));
        }
        let steps = if file.steps.is_empty() {
            let Some(expect) = file.expect else {
                return Err(Failure::new(format!(
                    "{}:1: missing field `expect`; or write several requests, each a `[[steps]]` with its own",
                    at()
                )));
            };
            vec![Step::new(1, file.request, expect).context(at)?]
        } else {
            if file.expect.is_some() {
                let hint = "remove it, or the `[[steps]]`";
                return Err(Failure::new(format!(
                    "{}: each step has its own `expect`; {hint}",
                    at()
                )));
            }
            steps(&document, file.steps).context(at)?
        };
        Ok(Case {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            config: file.config,
            unset: file.unset,
            tables: table::read_all(&file.tables, &document)?,
            steps,
        })
    }
}

/// The steps, each with what the case's own `[request]` says and it does not.
fn steps(document: &Document, raw: Vec<RawStep>) -> Result<Vec<Step>, Failure> {
    if raw.len() > MOST {
        return Err(Failure::new(format!("more than {MOST} steps")));
    }
    let whole: toml::Table = document.parse()?;
    let common = whole.get("request").cloned();
    let common = common.unwrap_or_else(|| toml::Value::Table(toml::Table::new()));
    let own = whole.get("steps").and_then(toml::Value::as_array).into_iter().flatten();
    let merge = |(step, own): (RawStep, &toml::Value)| {
        let mut request = common.clone();
        if let Some(own) = own.get("request") {
            overlay(&mut request, own);
        }
        Step::new(step.times, RawRequest::deserialize(request)?, step.expect)
    };
    raw.into_iter().zip(own).map(merge).collect()
}

fn overlay(below: &mut toml::Value, above: &toml::Value) {
    match (below, above) {
        (toml::Value::Table(below), toml::Value::Table(above)) => {
            for (name, value) in above {
                match below.get_mut(name) {
                    Some(member) => overlay(member, value),
                    None => drop(below.insert(name.clone(), value.clone())),
                }
            }
        }
        (below, above) => *below = above.clone(),
    }
}

impl Step {
    fn new(times: u32, request: RawRequest, expect: Expect) -> Result<Step, Failure> {
        if !(1..=MOST).contains(&usize::try_from(times).unwrap_or(usize::MAX)) {
            return Err(Failure::new(format!("`times` must be 1 to {MOST}")));
        }
        let expected = match expect {
            Expect::Allow { lifetime_cap, claims } => Outcome::Allow {
                lifetime_cap,
                claims: claims.into_iter().map(|(name, value)| (name, json(value))).collect(),
            },
            Expect::Refuse { code, message } => Outcome::Refuse { code, message },
            Expect::Fail { code } => {
                if !FAILURES.contains(&code.as_str()) {
                    let known = FAILURES.join(", ");
                    return Err(Failure::new(format!("a failure's code is one of {known}")));
                }
                Outcome::Fail { code, detail: None }
            }
        };
        Ok(Step {
            expected,
            times,
            request: OwnedRequest::new(request)?,
        })
    }

    /// The request, as the host takes it.
    pub fn request(&self) -> Request<'_> {
        self.request.borrow()
    }
}

const FAILURES: [&str; 7] = [
    "trap",
    "timeout",
    "memory",
    "bad_output",
    "host_panic",
    "worker",
    "busy",
];

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
        let request = case.steps[0].request();
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
        let request = case.steps[0].request();
        assert_eq!((request.time, request.format), (1_799_055_000, "der"));
        assert_eq!(request.caller.attributes, [("roles", Argument::Texts(vec!["a"]))]);
        assert!(matches!(request.payload, Payload::Artifact(artifact) if artifact.digest == [7; 48]));
    }

    #[test]
    fn steps_share_what_the_case_says() {
        let text = "[request]\ntime = 60\n[request.caller]\nsubject = \"a\"\n[[steps]]\ntimes = 5\nexpect.verdict = \"allow\"\n\
                    [[steps]]\nrequest = { time = 90, caller.kind = \"oidc\" }\nexpect = { verdict = \"refuse\", code = \"x\" }";
        let case = case(text).unwrap();
        let seen: Vec<_> = case
            .steps
            .iter()
            .map(|step| (step.times, step.request().time))
            .collect();
        assert_eq!(seen, [(5, 60), (1, 90)]);
        assert!(case.steps.iter().all(|step| step.request().caller.subject == "a"));
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
        let step = "[[steps]]\nexpect.verdict = \"allow\"\n";
        for (text, words) in [
            (
                format!("{step}[expect]\nverdict = \"allow\""),
                "each step has its own `expect`",
            ),
            (format!("{step}times = 0"), "`times` must be 1 to 1000"),
            (format!("{step}request.tim = 1"), "one.toml:3: unknown field `tim`"),
        ] {
            let failure = case(&text).unwrap_err();
            assert!(failure.contains(words), "{failure}");
        }
        let unset = case("unset = [\"n\"]\n[config]\nn = 1\n[expect]\nverdict = \"allow\"").unwrap_err();
        assert!(unset.contains("one.toml: `n` is set and unset"), "{unset}");
        let digest = "[request.artifact]\ndigest = \"07\"\n[expect]\nverdict = \"allow\"";
        assert!(case(digest).unwrap_err().contains("32 bytes"));
        assert!(
            case("[expect]\nverdict = \"fail\"\ncode = \"x\"")
                .unwrap_err()
                .contains("timeout")
        );
    }
}
