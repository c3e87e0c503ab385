//! `signet audit tail` and `search`: records as JSON lines.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use audit::filter::Filter;
use audit::log::read::View;
use authority::log_place::LogPlace;
use clap::Args;
use serde_json::Value;
use serde_json::value::RawValue;

use super::from::{From, Source};
use crate::client::AdminArgs;
use crate::failure::{Context, Failure};
use crate::output;

/// How often a follower looks for more.
const LOOK: Duration = Duration::from_millis(500);

/// Print the records that match, one JSON object a line, oldest first: of the log, or of a spool that --dir or --authority names.
#[derive(Debug, Args)]
pub struct Search {
    /// The caller's tenant, 12 digits; `authority` of what operators do.
    #[arg(long, value_parser = tenant)]
    tenant: Option<String>,
    /// The logical key's id; of operators' changes what they were done to.
    #[arg(long)]
    key: Option<String>,
    /// The key that signed.
    #[arg(long)]
    kid: Option<String>,
    /// Who asked: `oidc:ISSUER#SUBJECT`, a SPIFFE ID, an ARN, `operator:ID`; with `*` at the end, the beginning of it.
    #[arg(long)]
    caller: Option<String>,
    /// `signed`, `refused`, `performed`, or the code of a refusal.
    #[arg(long)]
    outcome: Option<String>,
    /// The profile; of the authority the operation, as `kms:Decrypt`.
    #[arg(long)]
    profile: Option<String>,
    /// A plugin that was asked, or failed until it is not called for a while: its name, or `sha256:HEX` of one version of it.
    #[arg(long)]
    plugin: Option<String>,
    /// The edge's id; `authority` for the authority's own.
    #[arg(long)]
    edge: Option<String>,
    /// The request's id, as the answer had it.
    #[arg(long, value_parser = request)]
    request: Option<String>,
    /// From this time on: RFC 3339, or seconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    from: Option<u64>,
    /// To before this time.
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    to: Option<u64>,
    /// Wait for more, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// The output is JSON anyway; accepted for uniformity.
    #[arg(long, hide = true)]
    json: bool,
}

impl Search {
    /// Runs the command.
    pub fn run(self, from: &From) -> Result<(), Failure> {
        let filter = Filter {
            edge: self.edge,
            tenant: self.tenant,
            key: self.key,
            kid: self.kid,
            caller: self.caller,
            outcome: self.outcome,
            profile: self.profile,
            plugin: self.plugin,
            request: self.request,
            from_ms: self.from,
            to_ms: self.to,
        };
        records(&from.searched()?, &filter, self.follow)
    }
}

fn tenant(text: &str) -> Result<String, String> {
    let is_id = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    match is_id || text == "authority" {
        true => Ok(text.to_owned()),
        false => Err("a tenant has 12 digits".to_owned()),
    }
}

/// A request's id, as records have it.
pub fn request(text: &str) -> Result<String, String> {
    let is_id = text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    match is_id {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("a request's id is a UUID, such as 2c1d8f1e-7a57-4f0c-8a55-6a2c8a0f3c10".to_owned()),
    }
}

/// Milliseconds since 1970.
fn time_ms(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(seconds.saturating_mul(1000));
    }
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    let time = time.map_err(|_| "write it as 2026-11-26T12:00:00Z, or as seconds since 1970".to_owned())?;
    u64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).map_err(|_| "it is before 1970".to_owned())
}

/// The records that match.
pub fn records(source: &Source, filter: &Filter, follow: bool) -> Result<(), Failure> {
    match source {
        Source::Spool(directory) => spool(directory, filter, follow),
        Source::Log(place) => log(|next| whole(place, filter, next), follow),
        Source::Api(admin) => log(|next| page(admin, filter, next), follow),
    }
}

fn spool(directory: &Path, filter: &Filter, follow: bool) -> Result<(), Failure> {
    let mut tail = audit::read::tail(directory, follow)?;
    loop {
        match tail.poll() {
            Some(record) => {
                let record = record?;
                if filter.wants(&record) && !output::record(&record.to_json())? {
                    return Ok(());
                }
            }
            None if follow => std::thread::sleep(Duration::from_millis(200)),
            None => return Ok(()),
        }
    }
}

/// What a look at a log came to.
enum Look {
    /// The reader has gone.
    Unheard,
    /// There is more.
    More,
    /// There is no more at present.
    All,
    /// Nothing was read.
    Away(Failure),
}

/// Looks at a log from its beginning on, as often as it takes. Who follows one goes on when it was away for a while, as an authority
/// is that starts anew.
fn log(mut look: impl FnMut(&mut u64) -> Result<Look, Failure>, follow: bool) -> Result<(), Failure> {
    let (mut next, mut was_there, mut is_away) = (0, false, false);
    loop {
        match look(&mut next)? {
            Look::Unheard => return Ok(()),
            Look::Away(failure) if !(follow && was_there) => return Err(failure),
            Look::Away(failure) => {
                if !is_away {
                    output::note(&format!("{failure}; it is tried again"));
                }
                is_away = true;
                std::thread::sleep(LOOK);
                continue;
            }
            Look::More => {}
            Look::All if follow => std::thread::sleep(LOOK),
            Look::All => return Ok(()),
        }
        (was_there, is_away) = (true, false);
    }
}

/// Opens a log, unverified.
pub fn open(place: &LogPlace) -> Result<View, Failure> {
    place
        .view(None)
        .context(|| format!("`{place}` is no audit log; name one with --dir or an authority with --url"))
}

/// All there is from `next` on.
fn whole(place: &LogPlace, filter: &Filter, next: &mut u64) -> Result<Look, Failure> {
    let view = match open(place) {
        Ok(view) => view,
        Err(failure) => return Ok(Look::Away(failure)),
    };
    let mut told = Ok(true);
    view.records(*next, |_, record| {
        if filter.wants(&record) {
            told = output::record(&record.to_json());
        }
        matches!(told, Ok(true))
    })?;
    *next = view.checkpoint().size;
    Ok(if told? { Look::All } else { Look::Unheard })
}

/// One page of the authority's.
fn page(admin: &AdminArgs, filter: &Filter, next: &mut u64) -> Result<Look, Failure> {
    let answer = match admin.call("GET", &format!("/v1/audit/records?{}", query(filter, *next)), None) {
        Ok(answer) => answer,
        Err(failure) => return Ok(Look::Away(failure)),
    };
    for record in answer.get("records").and_then(Value::as_array).into_iter().flatten() {
        let line: Box<RawValue> = serde_json::value::to_raw_value(record)?;
        if !output::record(line.get())? {
            return Ok(Look::Unheard);
        }
    }
    let number = |name: &str| answer.get(name).and_then(Value::as_u64);
    let told = number("next").zip(number("size"));
    let (after, size) = told.ok_or_else(|| Failure::new("the authority's answer has no `next` and `size`"))?;
    *next = after.max(*next);
    Ok(if *next < size { Look::More } else { Look::All })
}

fn query(filter: &Filter, from: u64) -> String {
    let mut query = format!("from={from}");
    let texts = [
        ("edge", &filter.edge),
        ("tenant", &filter.tenant),
        ("key", &filter.key),
        ("kid", &filter.kid),
        ("caller", &filter.caller),
        ("outcome", &filter.outcome),
        ("profile", &filter.profile),
        ("plugin", &filter.plugin),
        ("request", &filter.request),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            let _ = write!(query, "&{name}={}", encoded(value));
        }
    }
    for (name, value) in [("from_ms", filter.from_ms), ("to_ms", filter.to_ms)] {
        if let Some(value) = value {
            let _ = write!(query, "&{name}={value}");
        }
    }
    query
}

/// Percent-encoding (RFC 3986).
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_queries_are_written_as_people_and_servers_have_them() {
        assert_eq!(time_ms("1970-01-01T00:00:01Z"), Ok(1000));
        assert_eq!(time_ms("5"), Ok(5000));
        assert!(tenant("000000000001").is_ok() && tenant("12").is_err() && request("nonsense").is_err());
        assert!(time_ms("yesterday").unwrap_err().contains("2026-"));
        let filter = Filter {
            caller: Some("oidc:https://a#b c".into()),
            to_ms: Some(7),
            ..Filter::default()
        };
        assert_eq!(
            query(&filter, 3),
            "from=3&caller=oidc%3Ahttps%3A%2F%2Fa%23b%20c&to_ms=7"
        );
    }
}
