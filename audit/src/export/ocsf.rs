//! Open Cybersecurity Schema Framework 1.3: uses are API Activity (6003), the rest is Application Lifecycle (6002).

use serde_json::{Map, Value, json};

use super::{Summary, Weight, text, uid};
use crate::record::{Event, Record};

const SCHEMA: &str = "1.3.0";
const APPLICATION_ACTIVITY: u32 = 6;
const LIFECYCLE: u32 = 6002;
const API_ACTIVITY: u32 = 6003;
/// What the schema has no word for.
const OTHER: u32 = 99;

pub(super) fn line(record: &Record) -> String {
    let summary = Summary::of(record);
    let fields = record.fields();
    let (class, activity) = match (&record.event, summary.name) {
        (Event::Use(_), "signed") => (API_ACTIVITY, 1),
        (Event::Use(_), _) => (API_ACTIVITY, OTHER),
        (_, "started") => (LIFECYCLE, 3),
        (_, "stopped") => (LIFECYCLE, 4),
        _ => (LIFECYCLE, OTHER),
    };
    let severity = match summary.weight {
        Weight::Info => 1,
        Weight::Notice => 2,
        Weight::Warning => 3,
    };
    let mut event = json!({
        "category_uid": APPLICATION_ACTIVITY,
        "class_uid": class,
        "activity_id": activity,
        "type_uid": class.saturating_mul(100).saturating_add(activity),
        "time": summary.time_ms,
        "severity_id": severity,
        "status_id": if summary.name == "refused" { 2 } else { 1 },
        "message": summary.text,
        "metadata": {
            "version": SCHEMA,
            "uid": uid(record),
            "sequence": record.sequence,
            "product": { "name": "signet", "vendor_name": "Signet", "version": env!("CARGO_PKG_VERSION") },
        },
        "unmapped": fields,
    });
    if activity == OTHER {
        put(&mut event, "activity_name", Some(summary.name.to_owned()));
    }
    match class {
        API_ACTIVITY => used(&mut event, record, &fields),
        _ => put(
            &mut event,
            "app",
            Some(json!({ "name": "signet", "uid": record.edge, "vendor_name": "Signet" })),
        ),
    }
    event.to_string()
}

fn used(event: &mut Value, record: &Record, fields: &Map<String, Value>) {
    let caller = text(fields, "caller");
    let user = json!({ "uid": caller, "account": { "uid": text(fields, "tenant") } });
    put(event, "actor", Some(json!({ "user": user })));
    let api = json!({
        "operation": text(fields, "profile"),
        "request": { "uid": text(fields, "request_id") },
        "service": { "name": "signet" },
    });
    put(event, "api", Some(api));
    // The schema wants to know where it came from; a record holds who it came from.
    put(event, "src_endpoint", Some(json!({ "name": caller })));
    put(event, "dst_endpoint", Some(json!({ "name": record.edge })));
    let key = text(fields, "key").map(|key| json!([{ "uid": key, "type": "key" }]));
    put(event, "resources", key);
    put(event, "status_code", text(fields, "code"));
}

fn put(event: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let (Value::Object(members), Some(value)) = (event, value) {
        members.insert(name.to_owned(), value.into());
    }
}
