//! Which records somebody wants to see.

use crate::record::{Event, Hash, Outcome, Record, sha256};

/// Every part that is given has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The edge's id.
    pub edge: Option<String>,
    /// The caller's tenant.
    pub tenant: Option<String>,
    /// The key's id.
    pub key: Option<String>,
    /// The key that signed.
    pub kid: Option<String>,
    /// The caller, whole or up to a `*` at the end.
    pub caller: Option<String>,
    /// `signed`, `refused`, `performed`, or the code of a refusal.
    pub outcome: Option<String>,
    /// The profile, or the operation.
    pub profile: Option<String>,
    /// A plugin that was asked, or is not called for a while: its name, or `sha256:HEX` of its component.
    pub plugin: Option<String>,
    /// The request's id.
    pub request: Option<String>,
    /// Milliseconds since 1970, from here …
    pub from_ms: Option<u64>,
    /// … to before here.
    pub to_ms: Option<u64>,
}

impl Filter {
    /// Whether the record is wanted. A filter on what a record does not have does not want it.
    pub fn wants(&self, record: &Record) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        let time = record.time_ms();
        let timely = self.from_ms.is_none_or(|from| time >= from) && self.to_ms.is_none_or(|to| time < to);
        if !timely || !is(&self.edge, Some(&record.edge)) {
            return false;
        }
        if !self.wants_plugins(&record.event) {
            return false;
        }
        let Event::Use(draft) = &record.event else {
            let of_uses = [
                &self.tenant,
                &self.key,
                &self.kid,
                &self.caller,
                &self.outcome,
                &self.profile,
            ];
            return of_uses.into_iter().chain([&self.request]).all(Option::is_none);
        };
        let (outcome, code) = match &draft.outcome {
            Outcome::Signed => ("signed", None),
            Outcome::Performed => ("performed", None),
            Outcome::Refused { code } => ("refused", Some(&**code)),
        };
        let outcome = is(&self.outcome, Some(outcome)) || is(&self.outcome, code);
        let caller = self
            .caller
            .as_deref()
            .is_none_or(|wanted| match wanted.strip_suffix('*') {
                Some(start) => draft.caller.starts_with(start),
                None => draft.caller == wanted,
            });
        let request = self
            .request
            .as_deref()
            .is_none_or(|wanted| draft.request_id.to_string() == wanted);
        let keys = is(&self.key, draft.key.as_deref()) && is(&self.kid, draft.kid.as_deref());
        let whose = is(&self.tenant, Some(&draft.tenant)) && is(&self.profile, draft.profile.as_deref());
        outcome && caller && request && keys && whose
    }

    fn wants_plugins(&self, event: &Event) -> bool {
        let Some(wanted) = &self.plugin else { return true };
        let is = |name: &str, component: Option<&Hash>| {
            name == wanted || component.is_some_and(|component| sha256(component) == *wanted)
        };
        match event {
            Event::Use(draft) => draft
                .plugins
                .iter()
                .any(|verdict| is(&verdict.plugin, verdict.component.as_ref())),
            Event::Breaker(breaker) => is(&breaker.plugin, Some(&breaker.component)),
            Event::Started(_) | Event::Dropped(_) | Event::Stopped { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{draft, record};
    use crate::record::{Breaker, BreakerChange};

    #[test]
    fn every_part_has_to_hold() {
        let found = record(Event::Use(draft()));
        let some = |text: &str| Some(text.to_owned());
        let cases: [(Filter, Filter); 7] = [
            (
                Filter {
                    edge: some("edge-1"),
                    ..Filter::default()
                },
                Filter {
                    edge: some("edge-2"),
                    ..Filter::default()
                },
            ),
            (
                Filter {
                    tenant: some("000000000001"),
                    ..Filter::default()
                },
                Filter {
                    tenant: some("000000000002"),
                    ..Filter::default()
                },
            ),
            (
                Filter {
                    caller: some("oidc:https://ci.example#*"),
                    ..Filter::default()
                },
                Filter {
                    caller: some("oidc:https://ci.example#"),
                    ..Filter::default()
                },
            ),
            (
                Filter {
                    outcome: some("signed"),
                    ..Filter::default()
                },
                Filter {
                    outcome: some("refused"),
                    ..Filter::default()
                },
            ),
            (
                Filter {
                    from_ms: Some(1_790_000_000_123),
                    ..Filter::default()
                },
                Filter {
                    to_ms: Some(1_790_000_000_123),
                    ..Filter::default()
                },
            ),
            (
                Filter {
                    request: some("00000000-0000-0000-0000-00000000002a"),
                    ..Filter::default()
                },
                Filter {
                    request: some("00000000-0000-0000-0000-00000000002b"),
                    ..Filter::default()
                },
            ),
            (
                Filter {
                    profile: some("bench"),
                    ..Filter::default()
                },
                Filter {
                    key: some("another"),
                    profile: some("bench"),
                    ..Filter::default()
                },
            ),
        ];
        for (wants, wants_not) in cases {
            assert!(wants.wants(&found), "{wants:?}");
            assert!(!wants_not.wants(&found), "{wants_not:?}");
        }
        let mut refused = draft();
        refused.outcome = Outcome::Refused {
            code: "policy_denied".into(),
        };
        let refused = record(Event::Use(refused));
        for outcome in ["refused", "policy_denied"] {
            assert!(
                Filter {
                    outcome: some(outcome),
                    ..Filter::default()
                }
                .wants(&refused)
            );
        }
        let stopped = record(Event::Stopped { time_ms: 5 });
        let opened = record(Event::Breaker(Breaker {
            time_ms: 5,
            plugin: "claim-guard".into(),
            component: [9; 32],
            change: BreakerChange::Closed,
        }));
        for (wanted, records) in [
            ("claim-guard", [true, true, false]),
            (&sha256(&[9; 32]), [true, true, false]),
            ("claim", [false; 3]),
            (&sha256(&[8; 32]), [false; 3]),
        ] {
            let filter = Filter {
                plugin: some(wanted),
                ..Filter::default()
            };
            let wants = [&found, &opened, &stopped].map(|record| filter.wants(record));
            assert_eq!(wants, records, "{wanted}");
        }
        assert!(Filter::default().wants(&stopped));
        assert!(
            !Filter {
                tenant: some("000000000001"),
                ..Filter::default()
            }
            .wants(&stopped)
        );
    }
}
