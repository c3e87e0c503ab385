//! OpenTelemetry logs, OTLP 1 in its JSON encoding: names in camel case, 64-bit integers as text, trace ids in hex.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Summary, Weight, uid};
use crate::record::Record;

/// A batch for `POST /v1/logs`: one resource an edge.
pub fn logs(records: &[Record]) -> Vec<u8> {
    let mut edges: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for record in records {
        edges.entry(&record.edge).or_default().push(log(record));
    }
    let resources: Vec<Value> = edges.into_iter().map(|(edge, logs)| resource(edge, logs)).collect();
    json!({ "resourceLogs": resources }).to_string().into_bytes()
}

fn resource(edge: &str, logs: Vec<Value>) -> Value {
    let attributes = [("service.name", "signet"), ("service.instance.id", edge)];
    let attributes: Vec<Value> = attributes.map(|(key, value)| attribute(key, value.into())).into();
    json!({
        "resource": { "attributes": attributes },
        "scopeLogs": [{
            "scope": { "name": "signet.audit", "version": env!("CARGO_PKG_VERSION") },
            "logRecords": logs,
        }],
    })
}

fn log(record: &Record) -> Value {
    let summary = Summary::of(record);
    let (severity, word) = match summary.weight {
        Weight::Info => (9, "INFO"),
        Weight::Notice => (10, "INFO2"),
        Weight::Warning => (13, "WARN"),
    };
    let fields = record.fields();
    let trace = super::text(&fields, "trace_id");
    let nanoseconds = u128::from(summary.time_ms).saturating_mul(1_000_000).to_string();
    let named = [
        attribute("event.name", summary.name.into()),
        attribute("log.record.uid", uid(record).into()),
    ];
    let own = fields
        .into_iter()
        .map(|(name, value)| attribute(&format!("signet.{name}"), value));
    let mut log = json!({
        "timeUnixNano": nanoseconds,
        "severityNumber": severity,
        "severityText": word,
        "body": { "stringValue": summary.text },
        "attributes": named.into_iter().chain(own).collect::<Vec<Value>>(),
    });
    if let (Value::Object(members), Some(trace)) = (&mut log, trace) {
        members.insert("traceId".to_owned(), trace.into());
    }
    log
}

fn attribute(key: &str, value: Value) -> Value {
    json!({ "key": key, "value": any(value) })
}

/// A value as OTLP's `AnyValue`.
fn any(value: Value) -> Value {
    match value {
        Value::Bool(value) => json!({ "boolValue": value }),
        Value::Number(value) => json!({ "intValue": value.to_string() }),
        Value::Array(values) => json!({ "arrayValue": { "values": values.into_iter().map(any).collect::<Vec<_>>() } }),
        Value::Object(members) => {
            let members: Vec<_> = members.into_iter().map(|(key, value)| attribute(&key, value)).collect();
            json!({ "kvlistValue": { "values": members } })
        }
        Value::String(value) => json!({ "stringValue": value }),
        Value::Null => json!({}),
    }
}
