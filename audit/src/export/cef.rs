//! ArcSight Common Event Format, version 0: `CEF:0|vendor|product|version|class|name|severity|extension`.

use super::{Summary, Weight, uid};
use crate::record::Record;

/// Extension keys and the record's fields behind them; of two behind one key a record has at most one. CEF has no keys for the last ones but its numbered custom strings.
const KEYS: [(&str, &str); 9] = [
    ("dvchost", "edge"),
    ("suser", "caller"),
    ("outcome", "outcome"),
    ("outcome", "breaker"),
    ("reason", "code"),
    ("reason", "kind"),
    ("request", "profile"),
    ("flexString1", "tenant"),
    ("flexString2", "request_id"),
];
const CUSTOM: [(&str, &str); 8] = [
    ("cs1", "key"),
    ("cs2", "kid"),
    ("cs3", "digest"),
    ("cs3", "component"),
    ("cs4", "policies"),
    ("cs5", "plugins"),
    ("cs5", "plugin"),
    ("cs6", "trace_id"),
];

pub(super) fn line(record: &Record) -> String {
    let summary = Summary::of(record);
    let severity = match summary.weight {
        Weight::Info => 3,
        Weight::Notice => 5,
        Weight::Warning => 8,
    };
    let version = env!("CARGO_PKG_VERSION");
    let (name, text) = (summary.name, summary.text);
    let mut line = format!(
        "CEF:0|Signet|signet|{version}|{name}|{text}|{severity}|rt={}",
        summary.time_ms
    );
    let fields = record.fields();
    let mut put = |key: &str, value: &str| {
        line.push_str(&format!(" {key}={}", escaped(value)));
    };
    put("externalId", &uid(record));
    for (key, field) in KEYS {
        if let Some(value) = super::text(&fields, field) {
            put(key, &value);
        }
    }
    for (key, field) in CUSTOM {
        if let Some(value) = super::text(&fields, field) {
            put(&format!("{key}Label"), field);
            put(key, &value);
        }
    }
    line
}

/// Values of an extension: backslash, equals sign and line ends are escaped; other control characters have no form.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '=' => out.push_str("\\="),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            other if other.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
