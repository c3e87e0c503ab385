//! From Cedar files to one validated set of policies with ids that people know.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, ValidationMode, Validator};
use miette::Diagnostic;

use super::decision::{Index, Meta};
use crate::bundle::{PolicyFile, position};
use crate::schema::{BUILTIN, BUILTIN_PREFIX, PARSED, REFERENCE, TYPES};

/// Most policies of one bundle.
pub const MAX_POLICIES: usize = 10_000;

/// One fault of a policy. Its author is to blame; the last good set stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The file, relative to the bundle's root.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {} ({})",
            self.file, self.line, self.column, self.message, self.hint
        )
    }
}

impl std::error::Error for PolicyError {}

/// Every policy of a bundle and the built-in ones.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    pub(super) policies: PolicySet,
    pub(super) index: Index,
    pub(super) warnings: Vec<PolicyError>,
}

/// Where each id was seen first.
type Seen = HashMap<String, (String, u32)>;

/// Parses, names and validates the built-in policies and those of `files`.
pub(super) fn compile(files: &[PolicyFile]) -> Result<Compiled, Vec<PolicyError>> {
    let mut compiled = Compiled::default();
    let mut errors = Vec::new();
    let mut seen = Seen::new();
    let builtin = PolicyFile {
        path: "builtin.cedar".to_owned(),
        text: BUILTIN.to_owned(),
    };
    for (file, is_builtin) in std::iter::once((&builtin, true)).chain(files.iter().map(|file| (file, false))) {
        let mut source = Source {
            file,
            is_builtin,
            seen: &mut seen,
            errors: &mut errors,
        };
        source.add_to(&mut compiled);
    }
    if compiled.policies.num_of_policies() > MAX_POLICIES {
        errors.push(PolicyError {
            file: "policies".to_owned(),
            line: 1,
            column: 1,
            message: format!("more than {MAX_POLICIES} policies"),
            hint: "write one policy for many callers, by their attributes".to_owned(),
        });
    }
    if errors.is_empty() { Ok(compiled) } else { Err(errors) }
}

struct Source<'a> {
    file: &'a PolicyFile,
    is_builtin: bool,
    seen: &'a mut Seen,
    errors: &'a mut Vec<PolicyError>,
}

impl Source<'_> {
    fn add_to(&mut self, compiled: &mut Compiled) {
        let parsed = match self.file.text.parse::<PolicySet>() {
            Ok(parsed) => parsed,
            Err(errors) => {
                let found: Vec<_> = errors.iter().map(|error| self.located(error, None)).collect();
                self.errors.extend(found);
                return;
            }
        };
        if let Some(template) = parsed.templates().next() {
            let at = self.find_text(&template.slots().next().map(ToString::to_string).unwrap_or_default());
            let hint = "write ids instead of ?principal and ?resource, templates are not taken";
            self.errors.push(self.error_at(at, "a policy template", hint));
            return;
        }
        let mut own = PolicySet::new();
        let mut policies: Vec<(usize, &Policy)> = parsed.policies().map(|p| (number_of(p.id()), p)).collect();
        policies.sort_by_key(|(number, _)| *number);
        for (number, policy) in policies {
            let Some((id, policy)) = self.named(number, policy) else {
                continue;
            };
            if policy
                .entity_literals()
                .iter()
                .any(|literal| *literal.type_name() == TYPES.claims)
            {
                let at = self.find_text("Claims::");
                self.errors
                    .push(self.error_at(at, "an entity of type `Claims` is named", "write context.claims"));
            }
            let reason = policy
                .annotation("reason")
                .filter(|_| policy.effect() == Effect::Forbid)
                .map(str::to_owned);
            compiled.index.0.insert(
                policy.id().clone(),
                Meta {
                    id: Arc::from(id),
                    reason,
                },
            );
            // The id is new in the whole bundle, or `named` would have refused it.
            let added = own.add(policy.clone()).err().or(compiled.policies.add(policy).err());
            if let Some(error) = added {
                self.errors
                    .push(self.error_at(0, &error.to_string(), "give each policy its own @id"));
            }
        }
        self.validate(&own, compiled);
    }

    /// The policy under the id that people know: `@id("…")`, else `FILE#NUMBER`.
    fn named(&mut self, number: usize, policy: &Policy) -> Option<(String, Policy)> {
        let given = policy.annotation("id").map(str::to_owned);
        let at = given
            .as_deref()
            .map_or(0, |id| self.find_text(&format!("@id(\"{id}\")")));
        let id = given.unwrap_or_else(|| format!("{}#{number}", self.file.path));
        if !self.is_builtin && (id.is_empty() || id.len() > 256 || id.starts_with(BUILTIN_PREFIX)) {
            let hint = format!("an id has 1 to 256 bytes and does not begin with {BUILTIN_PREFIX}");
            self.errors
                .push(self.error_at(at, &format!("`{id}` cannot be a policy's id"), &hint));
            return None;
        }
        let line = position(&self.file.text, at).0;
        if let Some((file, line)) = self.seen.insert(id.clone(), (self.file.path.clone(), line)) {
            let hint = format!("the first one is at {file}:{line}, give each policy its own @id");
            self.errors
                .push(self.error_at(at, &format!("two policies have the id `{id}`"), &hint));
            return None;
        }
        let policy = policy.new_id(PolicyId::new(&id));
        Some((id, policy))
    }

    fn validate(&mut self, own: &PolicySet, compiled: &mut Compiled) {
        let result = Validator::new(PARSED.clone()).validate(own, ValidationMode::Strict);
        let mut found: Vec<_> = result
            .validation_errors()
            .map(|e| self.located(e, Some(e.policy_id())))
            .collect();
        found.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
        found.dedup();
        self.errors.extend(found);
        compiled.warnings.extend(
            result
                .validation_warnings()
                .map(|w| self.located(w, Some(w.policy_id()))),
        );
    }

    /// Cedar's own finding, with the place it points at.
    fn located<E: Diagnostic>(&self, error: &E, policy: Option<&PolicyId>) -> PolicyError {
        let label = error.labels().and_then(|mut labels| labels.next());
        let at = label.as_ref().map_or(0, miette::LabeledSpan::offset);
        let said = label.as_ref().and_then(|label| label.label()).map(str::to_owned);
        let mut message = error.to_string();
        if let Some(policy) = policy {
            let prefix = format!("for policy `{policy}`, ");
            message = message
                .strip_prefix(&prefix)
                .map_or(message.clone(), |rest| format!("policy `{policy}`: {rest}"));
        }
        let hint = error
            .help()
            .map(|help| help.to_string())
            .or(said)
            .unwrap_or_else(|| REFERENCE.to_owned());
        self.error_at(at, &message, &hint)
    }

    fn error_at(&self, at: usize, message: &str, hint: &str) -> PolicyError {
        let (line, column) = position(&self.file.text, at);
        PolicyError {
            file: self.file.path.clone(),
            line,
            column,
            message: message.to_owned(),
            hint: hint.to_owned(),
        }
    }

    fn find_text(&self, text: &str) -> usize {
        self.file.text.find(text).unwrap_or(0)
    }
}

/// The place of a policy in its file, from 1: Cedar calls them `policy0`, `policy1` and so on.
fn number_of(id: &PolicyId) -> usize {
    id.to_string()
        .trim_start_matches("policy")
        .parse::<usize>()
        .unwrap_or(0)
        .saturating_add(1)
}
