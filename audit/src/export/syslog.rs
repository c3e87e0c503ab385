//! RFC 5424 messages, framed by their length (RFC 6587 section 3.4.1, as RFC 5425 demands over TLS).

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Body, Summary, Weight};
use crate::record::Record;

/// The facility `log audit` (RFC 5424 section 6.2.1).
const FACILITY: u32 = 13;
/// Longest fields of the header (RFC 5424 section 6).
const HOSTNAME: usize = 255;
const PROCID: usize = 128;

/// One framed message: `LENGTH SP MESSAGE`. The host is the edge that made the record, the process its incarnation.
pub fn message(record: &Record, body: Body) -> Vec<u8> {
    let summary = Summary::of(record);
    let severity = match summary.weight {
        Weight::Info => 6,
        Weight::Notice => 5,
        Weight::Warning => 4,
    };
    let priority = FACILITY.saturating_mul(8).saturating_add(severity);
    let nanoseconds = i128::from(summary.time_ms).saturating_mul(1_000_000);
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "-".to_owned());
    // The mark before the text says that it is UTF-8 (section 6.4).
    let message = format!(
        "<{priority}>1 {time} {} signet {} {} - \u{feff}{}",
        header_field(&record.edge, HOSTNAME),
        header_field(&record.incarnation, PROCID),
        summary.name,
        body.line(record),
    );
    format!("{} {message}", message.len()).into_bytes()
}

/// Printable ASCII without spaces, `-` where nothing is left.
fn header_field(text: &str, longest: usize) -> String {
    let kept: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    match kept.is_empty() {
        true => "-".to_owned(),
        false => kept,
    }
}
