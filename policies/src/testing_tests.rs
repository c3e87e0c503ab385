//! The three commands, on folders as a user has them.

use std::path::Path;

use super::*;

/// A bundle with one policy and one case, whose expectation is given.
fn folder(policies: &str, expected: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/bundle");
    for (path, content) in dir::read(&source).unwrap() {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::write(root.path().join("policies/base.cedar"), policies).unwrap();
    let case = root.path().join("cases/group/first");
    fs::create_dir_all(&case).unwrap();
    fs::write(case.join("request.json"), REQUEST).unwrap();
    fs::write(case.join("expected.json"), expected).unwrap();
    root
}

const REQUEST: &str = r#"{
  "action": "Mint",
  "caller": {"id": "spiffe://example.org/ci/a", "kind": "spiffe", "tenant": "000000000001", "issuer": "example.org", "subject": "/ci/a"},
  "profile": "session",
  "body": {"lifetime": 60}
}"#;

const PERMIT: &str = "@id(\"all\")\npermit (principal is Caller, action == Action::\"Mint\", resource);\n";

#[test]
fn test_runs_the_cases_of_a_bundle() {
    let good = folder(PERMIT, r#"{"decision":"allow","policies":["all"]}"#);
    let report = test(good.path()).unwrap();
    assert_eq!(report.to_string(), "ok      group/first\n1 cases, 0 failed");
    assert!(report.passed());
    let bad = folder(PERMIT, r#"{"decision":"deny","code":"no_permit"}"#);
    let report = test(bad.path()).unwrap();
    assert!(
        !report.passed() && report.to_string().contains("FAILED  group/first: expected"),
        "{report}"
    );
}

#[test]
fn half_a_case_or_a_broken_one_fails() {
    let root = folder(PERMIT, r#"{"decision":"maybe"}"#);
    assert!(!test(root.path()).unwrap().passed());
    fs::remove_file(root.path().join("cases/group/first/expected.json")).unwrap();
    assert!(
        test(root.path())
            .unwrap()
            .to_string()
            .contains("expected.json cannot be read")
    );
    fs::remove_dir_all(root.path().join("cases")).unwrap();
    assert!(!test(root.path()).unwrap().passed(), "no cases are no success");
}

#[test]
fn check_reports_faults_and_oddities() {
    let good = check(folder(PERMIT, "{}").path()).unwrap();
    assert_eq!((good.profiles.len(), good.policy_files, good.warnings.len()), (5, 1, 0));
    let odd = "permit (principal is Edge, action == Action::\"Mint\", resource);\n";
    let errors = check(folder(odd, "{}").path());
    assert!(errors.is_err() || !errors.unwrap().warnings.is_empty());
    let faults = check(folder("permit (principal", "{}").path()).unwrap_err();
    assert!(
        faults[0].to_string().starts_with("policies/base.cedar:1:18: "),
        "{}",
        faults[0]
    );
}

#[test]
fn explain_says_what_each_policy_said() {
    let policies = format!(
        "{PERMIT}@id(\"short\")\nforbid (principal is Caller, action, resource) when {{ context.lifetime > 60 }};\n"
    );
    let explained = explain(folder(&policies, "{}").path(), REQUEST.as_bytes());
    assert!(explained.is_err(), "only Mint has `context.lifetime`");
    let policies = format!(
        "{PERMIT}@id(\"short\")\nforbid (principal is Caller, action == Action::\"Mint\", resource) when {{ context.lifetime > 60 }};\n"
    );
    let explained = explain(folder(&policies, "{}").path(), REQUEST.as_bytes()).unwrap();
    let expected = "allow\n  permit all: applies\n  forbid short: does not apply\n  forbid signet:tenant-isolation: does not apply";
    assert_eq!(explained.to_string(), expected);
}

#[test]
fn a_request_that_makes_no_sense_is_refused() {
    let root = folder(PERMIT, "{}");
    for (request, message) in [
        ("{", "EOF"),
        (r#"{"action":"Mint","colour":1}"#, "unknown field `colour`"),
        (r#"{"action":"Fly"}"#, "the schema has no action `Fly`"),
        (r#"{"action":"Mint","profile":"session"}"#, "needs a `caller`"),
        (r#"{"action":"Mint"}"#, "needs a `profile`"),
        (r#"{"action":"Mint","profile":"none"}"#, "has no profile `none`"),
        (r#"{"action":"Delegate","profile":"session"}"#, "takes no `profile`"),
        (r#"{"action":"CreateKey","edge":{"id":"e"}}"#, "takes no `edge`"),
        (
            r#"{"action":"Delegate","edge":{"id":"e"},"key":{},"mode":"lent"}"#,
            "`lent` is no mode",
        ),
    ] {
        let faults = explain(root.path(), request.as_bytes()).unwrap_err();
        assert!(faults[0].to_string().contains(message), "{request}: {}", faults[0]);
    }
}
