//! Records in the forms that other systems take in: a line of JSON, CEF, OCSF, and around these syslog, Splunk's HTTP event
//! collector and OpenTelemetry. Pure: nothing here opens a connection.
//!
//! Every form is made of [`crate::record::Record::fields`], so that no form can say more than the allow-list (R33).

mod cef;
mod collector;
mod ocsf;
mod otlp;
mod syslog;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::record::{BreakerChange, Event, Outcome, Record};

pub use self::collector::events as collector_events;
pub use self::otlp::logs as otlp_logs;
pub use self::syslog::message as syslog_message;

/// What a syslog message or a line of a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// The record as `signet audit tail` prints it.
    #[default]
    Json,
    /// ArcSight Common Event Format 0.
    Cef,
    /// Open Cybersecurity Schema Framework 1.3, JSON: API Activity (6003) and Application Lifecycle (6002).
    Ocsf,
}

impl Body {
    /// A record in this form, one line without its end.
    pub fn line(self, record: &Record) -> String {
        match self {
            Body::Json => record.to_json(),
            Body::Cef => cef::line(record),
            Body::Ocsf => ocsf::line(record),
        }
    }
}

/// How much a record asks for attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// Something was done.
    Info,
    /// Something was refused.
    Notice,
    /// Records are missing.
    Warning,
}

/// What a record is about, in the words that every form uses.
struct Summary {
    weight: Weight,
    /// A stable word: what rules of a SIEM match on.
    name: &'static str,
    text: &'static str,
    time_ms: u64,
}

impl Summary {
    fn of(record: &Record) -> Summary {
        let (weight, name, text, time_ms) = match &record.event {
            Event::Use(draft) => match draft.outcome {
                Outcome::Signed => (Weight::Info, "signed", "a signature was made", draft.time_ms),
                Outcome::Performed => (Weight::Info, "performed", "an operation was carried out", draft.time_ms),
                Outcome::Refused { .. } => (Weight::Notice, "refused", "a request was refused", draft.time_ms),
            },
            Event::Started(started) => {
                let before = started.predecessor.as_ref();
                let missing = before.is_some_and(|before| before.damaged || before.unaccounted.is_some());
                let weight = if missing { Weight::Warning } else { Weight::Info };
                (weight, "started", "a process began its records", started.time_ms)
            }
            Event::Stopped { time_ms } => (Weight::Info, "stopped", "a process ended its records", *time_ms),
            Event::Dropped(dropped) => (
                Weight::Warning,
                "dropped",
                "records were removed to make room",
                dropped.time_ms,
            ),
            Event::Breaker(breaker) => match breaker.change {
                BreakerChange::Opened { .. } => {
                    let text = "a plugin fails again and again: it is not called for a while";
                    (Weight::Warning, "plugin_failing", text, breaker.time_ms)
                }
                BreakerChange::Closed => (
                    Weight::Info,
                    "plugin_answers",
                    "a plugin answers again",
                    breaker.time_ms,
                ),
            },
        };
        Summary {
            weight,
            name,
            text,
            time_ms,
        }
    }
}

/// A field as text; none where the record has none. Lists and objects stay JSON.
fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    fields.get(name).map(|value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// What names a record for ever: receivers that get one twice know it by this.
fn uid(record: &Record) -> String {
    format!("{}/{}/{}", record.edge, record.incarnation, record.sequence)
}

#[cfg(test)]
mod tests;
