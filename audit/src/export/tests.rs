use serde_json::json;

use super::*;
use crate::record::tests::{draft, record};
use crate::record::{Dropped, Outcome, Predecessor, Started};

fn signed() -> Record {
    record(Event::Use(draft()))
}

fn refused(code: &'static str) -> Record {
    let mut refused = draft();
    refused.outcome = Outcome::Refused { code: code.into() };
    refused.kid = None;
    refused.digest = None;
    refused.trace_id = None;
    record(Event::Use(refused))
}

fn incomplete_start() -> Record {
    let predecessor = Predecessor {
        edge: "edge-1".into(),
        incarnation: "i0".into(),
        sequence: 3,
        hash: [1; 32],
        unaccounted: Some((4, 9)),
        damaged: false,
    };
    record(Event::Started(Started {
        time_ms: 1_790_000_000_000,
        predecessor: Some(predecessor),
    }))
}

#[test]
fn cef_escapes_what_a_caller_chose_and_keeps_to_one_line() {
    let mut odd = draft();
    odd.caller = "oidc:x#a=b\\c\nCEF:0|forged|\u{1b}[2J".into();
    let line = Body::Cef.line(&record(Event::Use(odd)));
    assert!(line.starts_with("CEF:0|Signet|signet|"), "{line}");
    assert!(
        line.contains("|signed|a signature was made|3|rt=1790000000123 externalId=edge-1/i1/9 "),
        "{line}"
    );
    assert!(
        line.contains(" suser=oidc:x#a\\=b\\\\c\\nCEF:0|forged|\u{fffd}[2J "),
        "{line}"
    );
    assert!(
        line.contains(" cs2Label=kid cs2=NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        "{line}"
    );
    assert!(!line.chars().any(char::is_control), "{line}");
    let line = Body::Cef.line(&refused("policy_denied"));
    assert!(
        line.contains("|refused|a request was refused|5|") && line.contains(" reason=policy_denied"),
        "{line}"
    );
    assert!(!line.contains("cs2"), "{line}");
}

#[test]
fn ocsf_has_the_classes_and_the_members_they_demand() {
    let parse = |record: &Record| serde_json::from_str::<Value>(&Body::Ocsf.line(record)).unwrap();
    let event = parse(&signed());
    assert_eq!(event["type_uid"], 600_301);
    assert_eq!(event["time"], 1_790_000_000_123_u64);
    assert_eq!(event["actor"]["user"]["uid"], "oidc:https://ci.example#repo:acme/web");
    for demanded in [
        "/api/operation",
        "/metadata/product/name",
        "/metadata/version",
        "/severity_id",
        "/src_endpoint/name",
    ] {
        assert!(
            event.pointer(demanded).is_some_and(|value| !value.is_null()),
            "{demanded} in {event}"
        );
    }
    let event = parse(&refused("policy_denied"));
    assert_eq!((&event["type_uid"], &event["status_id"]), (&json!(600_399), &json!(2)));
    assert_eq!(
        (&event["activity_name"], &event["status_code"]),
        (&json!("refused"), &json!("policy_denied"))
    );
    let event = parse(&incomplete_start());
    assert_eq!(
        (&event["type_uid"], &event["severity_id"]),
        (&json!(600_203), &json!(3))
    );
    assert_eq!(event["app"]["uid"], "edge-1");
}

#[test]
fn a_syslog_message_is_framed_by_its_length_in_bytes() {
    let message = syslog_message(&signed(), Body::Json);
    let text = String::from_utf8(message).unwrap();
    let (length, rest) = text.split_once(' ').unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), rest.len());
    let header = "<110>1 2026-09-21T14:13:20.123Z edge-1 signet i1 signed - \u{feff}{";
    assert!(rest.starts_with(header), "{rest}");
    let refused = String::from_utf8(syslog_message(&refused("quota_exceeded"), Body::Cef)).unwrap();
    assert!(
        refused.contains("<109>1 ") && refused.contains(" refused - \u{feff}CEF:0|"),
        "{refused}"
    );
    let warning = String::from_utf8(syslog_message(&incomplete_start(), Body::Json)).unwrap();
    assert!(warning.contains("<108>1 "), "{warning}");
}

#[test]
fn a_name_that_is_no_header_field_makes_none() {
    let mut odd = signed();
    odd.edge = "a b\nc\u{e9}".into();
    odd.incarnation = " ".into();
    let text = String::from_utf8(syslog_message(&odd, Body::Json)).unwrap();
    assert!(text.contains("Z abc signet - signed - "), "{text}");
}

#[test]
fn a_collector_gets_one_object_a_record() {
    let body = String::from_utf8(collector_events(&[signed(), refused("x")])).unwrap();
    let events: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2);
    assert!(body.starts_with("{\"time\":1790000000.123,"), "{body}");
    assert_eq!(events[0]["host"], "edge-1");
    assert_eq!(events[1]["event"]["code"], "x");
}

#[test]
fn otlp_groups_by_edge_and_keeps_the_trace() {
    let mut other = signed();
    other.edge = "edge-2".into();
    let dropped = Dropped {
        time_ms: 5,
        incarnation: "i0".into(),
        range: (1, 9),
        hash: [1; 32],
    };
    let batch = [signed(), other, record(Event::Dropped(dropped))];
    let logs: Value = serde_json::from_slice(&otlp_logs(&batch)).unwrap();
    let resources = logs["resourceLogs"].as_array().unwrap();
    assert_eq!(resources.len(), 2);
    let of_first = resources[0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
    assert_eq!(of_first.len(), 2);
    assert_eq!(of_first[0]["timeUnixNano"], "1790000000123000000");
    assert_eq!(of_first[0]["traceId"], "01".repeat(16));
    assert_eq!(of_first[1]["severityNumber"], 13);
    let attributes = of_first[0]["attributes"].as_array().unwrap();
    let find = |key: &str| {
        attributes
            .iter()
            .find(|attribute| attribute["key"] == key)
            .map(|found| &found["value"])
    };
    assert_eq!(find("signet.sequence"), Some(&json!({ "intValue": "9" })));
    assert_eq!(find("event.name"), Some(&json!({ "stringValue": "signed" })));
}

// R33: what a record may hold is what every form may say.
#[test]
fn no_form_says_more_than_the_record() {
    let known = record(Event::Use(draft())).fields();
    let event: Value = serde_json::from_str(&Body::Ocsf.line(&signed())).unwrap();
    assert_eq!(event["unmapped"], Value::Object(known.clone()));
    let logs: Value = serde_json::from_slice(&otlp_logs(&[signed()])).unwrap();
    let attributes = logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["attributes"]
        .as_array()
        .unwrap();
    let own = attributes
        .iter()
        .filter_map(|attribute| attribute["key"].as_str()?.strip_prefix("signet."));
    assert_eq!(own.collect::<Vec<_>>(), known.keys().collect::<Vec<_>>());
}
