//! The body of a request to an HTTP event collector in Splunk's form: one JSON object after the other.

use serde_json::Value;

use super::Summary;
use crate::record::Record;

/// A batch for `POST /services/collector/event`.
pub fn events(records: &[Record]) -> Vec<u8> {
    let mut out = String::new();
    for record in records {
        let at = Summary::of(record).time_ms;
        let (seconds, millis) = (at / 1000, at % 1000);
        let host = Value::from(record.edge.as_str());
        let event = record.to_json();
        out.push_str(&format!(
            "{{\"time\":{seconds}.{millis:03},\"host\":{host},\"source\":\"signet\",\"sourcetype\":\"signet:audit\",\"event\":{event}}}\n"
        ));
    }
    out.into_bytes()
}
