//! A record as a JSON object.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{
    Breaker, BreakerChange, Draft, Dropped, Event, Hash, Outcome, Predecessor, Record, Started, Verdict, VerdictOutcome,
};

/// The record's fields, flat; those without a value are left out.
pub(super) fn fields(record: &Record) -> Map<String, Value> {
    let mut fields = Map::new();
    put(&mut fields, "version", record.version);
    put(&mut fields, "edge", record.edge.as_str());
    put(&mut fields, "incarnation", record.incarnation.as_str());
    put(&mut fields, "sequence", record.sequence);
    match &record.event {
        Event::Started(started) => put_started(&mut fields, started),
        Event::Use(draft) => put_use(&mut fields, draft),
        Event::Dropped(dropped) => put_dropped(&mut fields, dropped),
        Event::Stopped { time_ms } => put_time(&mut fields, *time_ms, "stopped"),
        Event::Breaker(breaker) => put_breaker(&mut fields, breaker),
    }
    put(&mut fields, "previous", hex(&record.previous));
    fields
}

fn put_started(fields: &mut Map<String, Value>, started: &Started) {
    put_time(fields, started.time_ms, "started");
    if let Some(before) = &started.predecessor {
        put(fields, "predecessor", predecessor(before));
    }
}

fn predecessor(before: &Predecessor) -> Value {
    let mut fields = Map::new();
    put(&mut fields, "edge", before.edge.as_str());
    put(&mut fields, "incarnation", before.incarnation.as_str());
    put(&mut fields, "sequence", before.sequence);
    put(&mut fields, "hash", hex(&before.hash));
    if let Some((first, last)) = before.unaccounted {
        put(&mut fields, "unaccounted", json!([first, last]));
    }
    put(&mut fields, "damaged", before.damaged);
    Value::Object(fields)
}

fn put_use(fields: &mut Map<String, Value>, draft: &Draft<'_>) {
    put_time(fields, draft.time_ms, "use");
    match &draft.outcome {
        Outcome::Signed => put(fields, "outcome", "signed"),
        Outcome::Performed => put(fields, "outcome", "performed"),
        Outcome::Refused { code } => {
            put(fields, "outcome", "refused");
            put(fields, "code", code.as_ref());
        }
    }
    put(fields, "caller", draft.caller.as_ref());
    put(fields, "tenant", draft.tenant.as_ref());
    put_some(fields, "profile", draft.profile.as_deref());
    put_some(fields, "key", draft.key.as_deref());
    put_some(fields, "kid", draft.kid.as_deref());
    put_some(fields, "digest", draft.digest.as_ref().map(sha256));
    put(fields, "policies", draft.policies.as_ref());
    put(
        fields,
        "plugins",
        draft.plugins.iter().map(verdict).collect::<Vec<Value>>(),
    );
    put(fields, "request_id", draft.request_id.to_string());
    put_some(fields, "trace_id", draft.trace_id.map(|id| id.to_string()));
}

fn verdict(verdict: &Verdict<'_>) -> Value {
    let mut fields = Map::new();
    put(&mut fields, "plugin", verdict.plugin.as_ref());
    put_some(&mut fields, "component", verdict.component.as_ref().map(sha256));
    let (outcome, detail) = match &verdict.outcome {
        VerdictOutcome::Allowed => ("allowed", None),
        VerdictOutcome::Refused { code } => ("refused", Some(("code", code))),
        VerdictOutcome::Failed { kind } => ("failed", Some(("kind", kind))),
        VerdictOutcome::Skipped { kind } => ("skipped", Some(("kind", kind))),
    };
    put(&mut fields, "outcome", outcome);
    if let Some((name, value)) = detail {
        put(&mut fields, name, value.as_ref());
    }
    Value::Object(fields)
}

fn put_breaker(fields: &mut Map<String, Value>, breaker: &Breaker) {
    put_time(fields, breaker.time_ms, "breaker");
    put(fields, "plugin", breaker.plugin.as_str());
    put(fields, "component", sha256(&breaker.component));
    match &breaker.change {
        BreakerChange::Closed => put(fields, "breaker", "closed"),
        BreakerChange::Opened { kind } => {
            put(fields, "breaker", "opened");
            put(fields, "kind", kind.as_str());
        }
    }
}

fn put_dropped(fields: &mut Map<String, Value>, dropped: &Dropped) {
    put_time(fields, dropped.time_ms, "dropped");
    let (first, last) = dropped.range;
    put(
        fields,
        "dropped",
        json!({ "incarnation": dropped.incarnation, "range": [first, last], "hash": hex(&dropped.hash) }),
    );
}

fn put_time(fields: &mut Map<String, Value>, time_ms: u64, event: &str) {
    let nanoseconds = i128::from(time_ms).saturating_mul(1_000_000);
    let text = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok());
    put_some(fields, "time", text);
    put(fields, "time_ms", time_ms);
    put(fields, "event", event);
}

fn put(fields: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    fields.insert(name.to_owned(), value.into());
}

fn put_some(fields: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        put(fields, name, value);
    }
}

/// As records name what has that hash.
pub(crate) fn sha256(hash: &Hash) -> String {
    format!("sha256:{}", hex(hash))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{draft, record};
    use super::*;

    fn parsed(event: Event) -> Value {
        serde_json::from_str(&record(event).to_json()).unwrap()
    }

    // R33: the schema is this list, and nothing else can be in a record.
    // R10: there is no field that a token, a claim or a key could be in.
    #[test]
    fn a_use_has_exactly_these_fields() {
        let value = parsed(Event::Use(draft()));
        let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let allowed = [
            "caller",
            "digest",
            "edge",
            "event",
            "incarnation",
            "key",
            "kid",
            "outcome",
            "plugins",
            "policies",
            "previous",
            "profile",
            "request_id",
            "sequence",
            "tenant",
            "time",
            "time_ms",
            "trace_id",
            "version",
        ];
        assert_eq!(names, allowed);
        assert_eq!(value["time"], "2026-09-21T14:13:20.123Z");
        assert_eq!(value["digest"], format!("sha256:{}", "07".repeat(32)));
        assert_eq!(value["request_id"], "00000000-0000-0000-0000-00000000002a");
        assert_eq!(
            value["plugins"],
            json!([{ "plugin": "claim-guard", "component": format!("sha256:{}", "09".repeat(32)), "outcome": "allowed" }])
        );
    }

    #[test]
    fn a_refusal_names_its_code_and_leaves_out_what_is_not_known() {
        let mut refused = draft();
        refused.outcome = Outcome::Refused {
            code: "rule_refused".into(),
        };
        refused.kid = None;
        refused.digest = None;
        refused.plugins = vec![
            Verdict {
                plugin: "a".into(),
                component: Some([1; 32]),
                outcome: VerdictOutcome::Refused {
                    code: "role_not_allowed".into(),
                },
            },
            Verdict {
                plugin: "b".into(),
                component: None,
                outcome: VerdictOutcome::Failed { kind: "timeout".into() },
            },
            Verdict {
                plugin: "c".into(),
                component: None,
                outcome: VerdictOutcome::Skipped { kind: "open".into() },
            },
        ];
        let value = parsed(Event::Use(refused));
        assert_eq!(value["outcome"], "refused");
        assert_eq!(value["code"], "rule_refused");
        assert!(value.get("kid").is_none() && value.get("digest").is_none());
        assert_eq!(value["plugins"][0]["code"], "role_not_allowed");
        assert_eq!(value["plugins"][0]["component"], format!("sha256:{}", "01".repeat(32)));
        assert_eq!(value["plugins"][1]["kind"], "timeout");
        assert!(value["plugins"][1].get("component").is_none());
        assert_eq!(value["plugins"][2]["outcome"], "skipped");
        assert_eq!(value["plugins"][2]["kind"], "open");
    }

    #[test]
    fn an_operation_that_signs_nothing_says_no_more_than_that_it_was_done() {
        let mut done = draft();
        done.outcome = Outcome::Performed;
        assert_eq!(parsed(Event::Use(done))["outcome"], "performed");
    }

    #[test]
    fn text_from_a_caller_stays_on_its_line() {
        let mut odd = draft();
        odd.caller = "oidc:x#\"\n{\u{1b}[2J".into();
        let line = record(Event::Use(odd)).to_json();
        assert!(!line.contains('\n') && !line.contains('\u{1b}'));
    }

    #[test]
    fn a_start_names_the_range_without_records() {
        let before = Predecessor {
            edge: "edge-1".into(),
            incarnation: "i0".into(),
            sequence: 3,
            hash: [0xab; 32],
            unaccounted: Some((4, 100)),
            damaged: false,
        };
        let value = parsed(Event::Started(Started {
            time_ms: 0,
            predecessor: Some(before),
        }));
        assert_eq!(value["predecessor"]["unaccounted"], json!([4, 100]));
        assert_eq!(value["time"], "1970-01-01T00:00:00Z");
        assert_eq!(parsed(Event::Stopped { time_ms: u64::MAX })["time"], Value::Null);
    }

    #[test]
    fn a_breaker_names_the_component_and_its_last_failure() {
        let breaker = |change| {
            parsed(Event::Breaker(Breaker {
                time_ms: 1,
                plugin: "a".into(),
                component: [2; 32],
                change,
            }))
        };
        let opened = breaker(BreakerChange::Opened { kind: "timeout".into() });
        let named = (&opened["event"], &opened["plugin"], &opened["breaker"], &opened["kind"]);
        assert_eq!(
            named,
            (&json!("breaker"), &json!("a"), &json!("opened"), &json!("timeout"))
        );
        assert_eq!(opened["component"], format!("sha256:{}", "02".repeat(32)));
        let closed = breaker(BreakerChange::Closed);
        assert_eq!((&closed["breaker"], closed.get("kind")), (&json!("closed"), None));
    }

    #[test]
    fn a_drop_names_what_is_gone() {
        let dropped = Dropped {
            time_ms: 1,
            incarnation: "i0".into(),
            range: (1, 9),
            hash: [1; 32],
        };
        assert_eq!(parsed(Event::Dropped(dropped))["dropped"]["range"], json!([1, 9]));
    }
}
