//! The example rules of `plugins/examples/`: the committed components are what their sums say, every case passes, and what
//! a rule's page says of its refusals is what its cases reach.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use system_tests::{checkout, run, signet};
use tempfile::TempDir;

/// Refusals that a case cannot bring about; the rule's native tests do. `rate_unknown` takes 65,536 keys.
const BEYOND_CASES: [(&str, &str); 1] = [("mint-rate", "rate_unknown")];

/// In JavaScript and in Python: they carry an interpreter, and are built by `make test` rather than committed.
pub const INTERPRETED: [&str; 2] = ["claim-patterns", "claim-template"];

/// Where the examples are.
pub fn examples() -> PathBuf {
    checkout().join("plugins/examples")
}

/// The names of those whose component is committed, sorted.
pub fn names() -> Vec<String> {
    let mut names = all();
    names.retain(|name| !INTERPRETED.contains(&name.as_str()));
    names
}

/// The names of all that there are, sorted.
fn all() -> Vec<String> {
    let entries = std::fs::read_dir(examples()).unwrap();
    let directories = entries.map(Result::unwrap).filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = directories
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The component of one.
pub fn component(name: &str) -> PathBuf {
    let path = examples().join(name).join(format!("{name}.wasm"));
    assert!(
        path.exists(),
        "{name} is not built: `make plugins` does, as `make test`"
    );
    path
}

fn sha256(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    signing::encoding::hex(&signing::digest::sha256(&bytes))
}

/// `signet plugin test`, with what it printed as JSON.
fn tested(example: &str, cases: Option<&Path>, more: &[&str]) -> Value {
    let mut command = Command::new(signet());
    command
        .args(["plugin", "test", "--json"])
        .args(more)
        .arg(examples().join(example));
    if let Some(cases) = cases {
        command.arg("--cases").arg(cases);
    }
    let output = run(&mut command);
    assert_eq!(output.code, 0, "{example}: {output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

/// The codes in the first column of the table under `## Refusals`.
fn documented_refusals(example: &str) -> BTreeSet<String> {
    let page = std::fs::read_to_string(examples().join(example).join("README.md")).unwrap();
    let (_, section) = page.split_once("## Refusals\n").unwrap_or_else(|| panic!("{example}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

#[test]
fn the_committed_components_are_those_of_the_sums() {
    let sums = std::fs::read_to_string(examples().join("SHA256SUMS")).unwrap();
    let rows = sums.lines().filter(|line| !line.starts_with('#'));
    let mut listed = Vec::new();
    for (sum, file) in rows.map(|line| line.split_once("  ").unwrap()) {
        let (name, _) = file.split_once('/').unwrap();
        assert_eq!(file, format!("{name}/{name}.wasm"));
        assert_eq!(sha256(&component(name)), sum, "{file}: `make plugins` builds it anew");
        listed.push(name.to_owned());
    }
    assert_eq!(listed, names());
    let others = format!("as they carry an interpreter: {}\n", INTERPRETED.join(" "));
    assert!(sums.ends_with(&others), "{sums}");
    for name in ["claim-guard", "protected-artifact"] {
        let bundled = checkout().join(format!("deploy/dev/bundle/plugins/{name}.wasm"));
        assert_eq!(sha256(&bundled), sha256(&component(name)), "{name}");
    }
}

#[test]
fn every_case_passes_and_reaches_what_the_page_says() {
    names().iter().for_each(|name| reaches_what_the_page_says(name));
}

/// Apart from the others, since an interpreter takes long to compile.
#[test]
fn every_case_in_javascript_and_python_passes_and_reaches_what_the_page_says() {
    INTERPRETED.into_iter().for_each(reaches_what_the_page_says);
}

fn reaches_what_the_page_says(name: &str) {
    let reference = std::fs::read_to_string(checkout().join("docs/reference/plugins.md")).unwrap();
    let row = format!("| [`{name}`](../../plugins/examples/{name}/README.md) |");
    assert!(reference.contains(&row), "docs/reference/plugins.md has no row `{row}`");
    let report = tested(name, None, &[]);
    assert_eq!(report["failed"], 0, "{name}: {report}");
    let verdicts: BTreeSet<_> = report["verdicts"].as_object().unwrap().keys().cloned().collect();
    let passes = verdicts.contains("allow") || verdicts.contains("narrow");
    assert!(passes, "{name}: no case passes: {verdicts:?}");
    let refusals = verdicts.iter().filter_map(|verdict| verdict.strip_prefix("refuse "));
    let reached: BTreeSet<_> = refusals.map(str::to_owned).collect();
    let mut documented = documented_refusals(name);
    documented.retain(|code| !BEYOND_CASES.contains(&(name, code.as_str())));
    assert_eq!(reached, documented, "{name}: cases on the left, README.md on the right");
    assert!(reached.contains("rule_misconfigured"), "{name}");
}

// R22
#[test]
fn every_case_is_judged_the_same_in_a_worker() {
    names().iter().for_each(|name| is_judged_in_a_worker(name));
}

// R22
#[test]
fn every_case_in_javascript_and_python_is_judged_the_same_in_a_worker() {
    INTERPRETED.into_iter().for_each(is_judged_in_a_worker);
}

fn is_judged_in_a_worker(name: &str) {
    let report = tested(name, None, &["--isolated"]);
    let passed = report["passed"].as_u64();
    assert!(report["failed"] == 0 && passed > Some(0), "{name}: {report}");
}

/// Counts days from 1970-01-01 one by one, and so shares no arithmetic with the rule.
struct Calendar {
    year: u32,
    month: u32,
    day: u32,
    number: u64,
}

impl Calendar {
    fn next(&mut self) {
        let is_leap = self.year.is_multiple_of(400) || (self.year.is_multiple_of(4) && !self.year.is_multiple_of(100));
        let last = match self.month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        self.number += 1;
        self.day += 1;
        if self.day > last {
            (self.day, self.month) = (1, self.month + 1);
        }
        if self.month > 12 {
            (self.month, self.year) = (1, self.year + 1);
        }
    }
}

/// Around the turn of each year and of each February, over four centuries: a frozen day is frozen from its first second to
/// its last, and no longer.
#[test]
fn a_frozen_day_is_that_day_in_every_kind_of_year() {
    let dir = TempDir::new().unwrap();
    let mut date = Calendar {
        year: 1970,
        month: 1,
        day: 1,
        number: 0,
    };
    let mut cases = 0;
    while date.year <= 2401 {
        date.next();
        let turns = matches!((date.month, date.day), (2, 28 | 29) | (3, 1) | (12, 31) | (1, 1));
        let told =
            date.year.is_multiple_of(100) || (1996..=2004).contains(&date.year) || (2096..=2104).contains(&date.year);
        if !turns || !told {
            continue;
        }
        let day = format!("{:04}-{:02}-{:02}", date.year, date.month, date.day);
        let begin = date.number * 86_400;
        for (name, time, verdict) in [
            ("before", begin - 1, "verdict = \"allow\""),
            ("first", begin, "verdict = \"refuse\"\ncode = \"change_freeze\""),
            ("last", begin + 86_399, "verdict = \"refuse\"\ncode = \"change_freeze\""),
            ("after", begin + 86_400, "verdict = \"allow\""),
        ] {
            let text = format!(
                "[config]\nutc_offset_minutes = 0\ndays = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]\n\
                 from = \"00:00\"\nuntil = \"24:00\"\nfreezes = [\"{day}\"]\n[request]\ntime = {time}\n[expect]\n{verdict}\n"
            );
            std::fs::write(dir.path().join(format!("{day}-{name}.toml")), text).unwrap();
            cases += 1;
        }
    }
    let report = tested("change-freeze", Some(dir.path()), &[]);
    assert_eq!((&report["passed"], &report["failed"]), (&cases.into(), &0.into()));
    assert!(cases > 200, "{cases}");
}
