//! What came of a call, and how it is told from what was expected.

use std::collections::BTreeMap;

use runtime::{RuleError, Verdict};
use serde_json::{Value, json};

/// A verdict, a refusal or a failure.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Allow {
        lifetime_cap: Option<u32>,
        claims: BTreeMap<String, Value>,
    },
    Refuse {
        code: String,
        /// None in an expectation: any will do.
        message: Option<String>,
    },
    Fail {
        code: String,
        /// None in an expectation: any will do.
        detail: Option<String>,
    },
}

impl From<Result<Verdict, RuleError>> for Outcome {
    fn from(result: Result<Verdict, RuleError>) -> Outcome {
        match result {
            Ok(verdict) => Outcome::Allow {
                lifetime_cap: verdict.lifetime_cap,
                claims: verdict.claims.into_iter().collect(),
            },
            Err(RuleError::Refused { code, message }) => Outcome::Refuse {
                code,
                message: Some(message),
            },
            Err(RuleError::Failed { kind, detail }) => Outcome::Fail {
                code: kind.as_str().to_owned(),
                detail: Some(detail),
            },
        }
    }
}

impl Outcome {
    /// Whether this is what `expected` says; what that leaves open may be anything.
    pub fn is(&self, expected: &Outcome) -> bool {
        let open = |expected: &Option<String>, actual: &Option<String>| expected.is_none() || expected == actual;
        match (expected, self) {
            (
                Outcome::Refuse { code, message },
                Outcome::Refuse {
                    code: own,
                    message: told,
                },
            ) => code == own && open(message, told),
            (
                Outcome::Fail { code, detail },
                Outcome::Fail {
                    code: own,
                    detail: told,
                },
            ) => code == own && open(detail, told),
            _ => self == expected,
        }
    }

    /// What kind of answer it is, for the coverage.
    pub fn kind(&self) -> String {
        match self {
            Outcome::Allow {
                lifetime_cap: None,
                claims,
            } if claims.is_empty() => "allow".to_owned(),
            Outcome::Allow { .. } => "narrow".to_owned(),
            Outcome::Refuse { code, .. } => format!("refuse {code}"),
            Outcome::Fail { code, .. } => format!("fail {code}"),
        }
    }

    /// A line for each thing it says, as a case would write it.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Outcome::Allow { lifetime_cap, claims } => {
                let mut lines = vec!["verdict = \"allow\"".to_owned()];
                lines.extend(lifetime_cap.map(|cap| format!("lifetime_cap = {cap}")));
                lines.extend(claims.iter().map(|(name, value)| format!("claims.{name} = {value}")));
                lines
            }
            Outcome::Refuse { code, message } => Self::denial("refuse", code, ("message", message)),
            Outcome::Fail { code, detail } => Self::denial("fail", code, ("detail", detail)),
        }
    }

    fn denial(verdict: &str, code: &str, (name, text): (&str, &Option<String>)) -> Vec<String> {
        let mut lines = vec![format!("verdict = \"{verdict}\""), format!("code = \"{code}\"")];
        lines.extend(
            text.as_ref()
                .map(|text| format!("{name} = {}", Value::from(text.as_str()))),
        );
        lines
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        match self {
            Outcome::Allow { lifetime_cap, claims } => {
                json!({"verdict": "allow", "lifetime_cap": lifetime_cap, "claims": claims})
            }
            Outcome::Refuse { code, message } => json!({"verdict": "refuse", "code": code, "message": message}),
            Outcome::Fail { code, detail } => json!({"verdict": "fail", "code": code, "detail": detail}),
        }
    }
}

/// Lines of `expected` that are not in `actual` with `-`, the others with `+`, and what both have with neither.
pub fn difference(expected: &Outcome, actual: &Outcome) -> Vec<String> {
    let (wanted, got) = (expected.lines(), actual.lines());
    let marked = wanted
        .iter()
        .map(|line| format!("{} {line}", if got.contains(line) { ' ' } else { '-' }));
    let added = got
        .iter()
        .filter(|line| !wanted.contains(line))
        .map(|line| format!("+ {line}"));
    marked.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(lifetime_cap: Option<u32>) -> Outcome {
        let claims = BTreeMap::from([("plan".to_owned(), json!("free"))]);
        Outcome::Allow { lifetime_cap, claims }
    }

    fn refuse(code: &str, message: Option<&str>) -> Outcome {
        let (code, message) = (code.to_owned(), message.map(str::to_owned));
        Outcome::Refuse { code, message }
    }

    #[test]
    fn an_expectation_is_met_by_what_it_says_and_nothing_else() {
        assert!(allow(Some(60)).is(&allow(Some(60))));
        assert!(!allow(Some(60)).is(&allow(None)));
        assert!(refuse("a", Some("x")).is(&refuse("a", None)));
        assert!(!refuse("a", Some("x")).is(&refuse("a", Some("y"))));
        assert!(!refuse("a", Some("x")).is(&refuse("b", None)));
        assert!(!refuse("a", Some("x")).is(&allow(None)));
    }

    #[test]
    fn a_difference_shows_both_sides() {
        assert_eq!(
            difference(&allow(Some(60)), &allow(Some(120))),
            [
                "  verdict = \"allow\"",
                "- lifetime_cap = 60",
                "  claims.plan = \"free\"",
                "+ lifetime_cap = 120"
            ]
        );
    }
}
