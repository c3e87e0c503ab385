//! `signet policy check|test|explain` as a library: a bundle's folder is checked, its cases are run, one is explained.
//!
//! A case is a folder with `request.json` and `expected.json`, anywhere under the bundle's `cases/`; a `policies.cedar`
//! beside them stands in for the bundle's own policies. `docs/reference/policies.md` shows both files.

mod account;
mod request;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use request::CaseRequest;

use crate::bundle::{Bundle, BundleError, PolicyFile, dir};
use crate::engine::{Considered, Engine, PolicyError};

/// One fault of a bundle or its policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Of the bundle.
    Bundle(BundleError),
    /// Of a policy.
    Policy(PolicyError),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(error) => error.fmt(f),
            Self::Policy(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

/// What a bundle that passed its check holds.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Names of its profiles.
    pub profiles: Vec<String>,
    /// How many policy files it has.
    pub policy_files: usize,
    /// SHA-256 of the bundle, hex.
    pub digest: String,
    /// What is odd but no error.
    pub warnings: Vec<PolicyError>,
}

/// What a request came to, or is expected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// `allow` or `deny`.
    pub decision: Decision,
    /// The problem's code of a denial: `no_permit`, `policy_denied`, `policy_error`, or what the body was refused with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Ids of the policies that decided, sorted. In an expectation, leaving it out accepts any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
    /// What the caller is told. In an expectation, leaving it out accepts any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Allow or deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It would be signed.
    Allow,
    /// It would be refused.
    Deny,
}

/// What the cases of a folder came to, in the order of their paths.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One for each case.
    pub cases: Vec<CaseResult>,
}

impl Report {
    /// Whether there was a case and none failed.
    pub fn passed(&self) -> bool {
        !self.cases.is_empty() && self.cases.iter().all(|case| case.failure.is_none())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            match &case.failure {
                None => writeln!(f, "ok      {}", case.name)?,
                Some(failure) => writeln!(f, "FAILED  {}: {failure}", case.name)?,
            }
        }
        let failed = self.cases.iter().filter(|case| case.failure.is_some()).count();
        write!(f, "{} cases, {failed} failed", self.cases.len())
    }
}

/// What one case came to.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// Its folder, relative to the cases' root.
    pub name: String,
    /// What it was to come to, and what it came to; none where it does not read.
    pub outcomes: Option<(Outcome, Outcome)>,
    /// Why it failed; none where it came out as expected.
    pub failure: Option<String>,
}

/// A decision with what each policy said.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The decision.
    pub outcome: Outcome,
    /// Every policy whose scope can match, in the order of their ids. Empty where the body was refused before.
    pub considered: Vec<Considered>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decision = match self.outcome.decision {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        };
        write!(f, "{decision}")?;
        if let Some(code) = &self.outcome.code {
            write!(f, " ({code})")?;
        }
        if let Some(detail) = &self.outcome.detail {
            write!(f, ": {detail}")?;
        }
        for policy in &self.considered {
            let said = match &policy.applies {
                Ok(true) => "applies".to_owned(),
                Ok(false) => "does not apply".to_owned(),
                Err(error) => format!("failed: {error}"),
            };
            write!(f, "\n  {} {}: {said}", policy.effect, policy.id)?;
        }
        Ok(())
    }
}

/// Parses and validates the bundle in the folder `root`.
///
/// # Errors
/// Every fault that was found.
pub fn check(root: &Path) -> Result<Checked, Vec<Fault>> {
    let (bundle, engine) = load(root)?;
    Ok(Checked {
        profiles: bundle.profiles.iter().map(|profile| profile.name.clone()).collect(),
        policy_files: bundle.policies.len(),
        digest: bundle.digest,
        warnings: engine.warnings().to_vec(),
    })
}

/// Runs every case under `root/cases` against the bundle in `root`.
///
/// # Errors
/// Every fault of the bundle itself. A case that cannot be read is a failed case.
pub fn test(root: &Path) -> Result<Report, Vec<Fault>> {
    let (bundle, engine) = load(root)?;
    Ok(run_cases(&bundle, &engine, &root.join("cases")))
}

/// Decides the request in `request` (the content of a `request.json`) with the bundle in `root`, and says why.
///
/// # Errors
/// Every fault of the bundle, or what is wrong with the request.
pub fn explain(root: &Path, request: &[u8]) -> Result<Explanation, Vec<Fault>> {
    let (bundle, engine) = load(root)?;
    CaseRequest::parse(request)
        .and_then(|request| request.explain(&bundle, &engine))
        .map_err(|message| {
            let hint = "docs/reference/policies.md shows a request.json";
            vec![Fault::Bundle(BundleError::in_file("request.json", message, hint))]
        })
}

/// Runs every case under `cases` against a bundle that is loaded already.
pub fn run_cases(bundle: &Bundle, engine: &Engine, cases: &Path) -> Report {
    let mut folders = Vec::new();
    find_cases(cases, &mut folders);
    folders.sort();
    let run = |folder: PathBuf| {
        let (outcomes, failure) = match run_case(bundle, engine, &folder) {
            Ok((expected, found)) => {
                let failure = compare(&expected, &found).err();
                (Some((expected, found)), failure)
            }
            Err(why) => (None, Some(why)),
        };
        let name = folder.strip_prefix(cases).unwrap_or(&folder).display().to_string();
        CaseResult {
            name,
            outcomes,
            failure,
        }
    };
    Report {
        cases: folders.into_iter().map(run).collect(),
    }
}

fn load(root: &Path) -> Result<(Bundle, Engine), Vec<Fault>> {
    let files = dir::read(root).map_err(|error| vec![Fault::Bundle(error)])?;
    let bundle = Bundle::parse(&files).map_err(|errors| errors.into_iter().map(Fault::Bundle).collect::<Vec<_>>())?;
    let engine = Engine::new(&bundle).map_err(|errors| errors.into_iter().map(Fault::Policy).collect::<Vec<_>>())?;
    Ok((bundle, engine))
}

/// Every folder that has a `request.json` or an `expected.json`: half a case is a failed one, not a missing one.
fn find_cases(folder: &Path, found: &mut Vec<PathBuf>) {
    if ["request.json", "expected.json"]
        .iter()
        .any(|name| folder.join(name).exists())
    {
        found.push(folder.to_owned());
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_cases(&entry.path(), found);
        }
    }
}

/// What a case is to come to, and what it comes to.
fn run_case(bundle: &Bundle, engine: &Engine, folder: &Path) -> Result<(Outcome, Outcome), String> {
    let read = |name: &str| fs::read(folder.join(name)).map_err(|error| format!("{name} cannot be read: {error}"));
    let request = CaseRequest::parse(&read("request.json")?).map_err(|error| format!("request.json: {error}"))?;
    let expected: Outcome =
        serde_json::from_slice(&read("expected.json")?).map_err(|error| format!("expected.json: {error}"))?;
    let own = fs::read_to_string(folder.join("policies.cedar")).ok();
    let outcome = match own {
        None => request.decide(bundle, engine)?,
        Some(text) => {
            let policies = vec![PolicyFile {
                path: "policies.cedar".to_owned(),
                text,
            }];
            let bundle = Bundle {
                policies,
                ..bundle.clone()
            };
            let engine = Engine::new(&bundle)
                .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
            request.decide(&bundle, &engine)?
        }
    };
    Ok((expected, outcome))
}

fn compare(expected: &Outcome, found: &Outcome) -> Result<(), String> {
    let same = expected.decision == found.decision
        && expected.code == found.code
        && (expected.policies.is_none() || expected.policies == found.policies)
        && (expected.detail.is_none() || expected.detail == found.detail);
    let json = |outcome: &Outcome| serde_json::to_string(outcome).unwrap_or_default();
    if same {
        Ok(())
    } else {
        Err(format!("expected {}, found {}", json(expected), json(found)))
    }
}

#[cfg(test)]
#[path = "testing_tests.rs"]
mod tests;
