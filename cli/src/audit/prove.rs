//! `signet audit prove`: a record's proof as a file.

use std::path::PathBuf;

use audit::filter::Filter;
use audit::log::proof::Proof;
use clap::Args;
use serde_json::Value;

use super::from::Source;
use super::search::{encoded, open};
use crate::client::AdminArgs;
use crate::failure::{Context, Failure};
use crate::output;

/// Prove that a record is in the log: a file that `verify --proof` checks anywhere, and that shows no other record.
#[derive(Debug, Args)]
pub struct Prove {
    /// The record of this request.
    #[arg(long, value_name = "ID", required_unless_present = "record", value_parser = super::search::request)]
    request: Option<String>,
    /// The record by its place: EDGE/INCARNATION/SEQUENCE.
    #[arg(long, value_name = "PLACE", conflicts_with = "request", value_parser = place)]
    record: Option<Place>,
    /// Where to write it. Default: standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Where a record is in its chain.
#[derive(Debug, Clone)]
struct Place {
    edge: String,
    incarnation: String,
    sequence: u64,
}

fn place(text: &str) -> Result<Place, String> {
    let mut parts = text.split('/');
    match (parts.next(), parts.next(), parts.next().map(str::parse), parts.next()) {
        (Some(edge), Some(incarnation), Some(Ok(sequence)), None) => Ok(Place {
            edge: edge.to_owned(),
            incarnation: incarnation.to_owned(),
            sequence,
        }),
        _ => Err("write EDGE/INCARNATION/SEQUENCE, as a record has them".to_owned()),
    }
}

impl Prove {
    /// Runs the command.
    pub fn run(self, source: &Source) -> Result<(), Failure> {
        let proof = match source {
            Source::Api(admin) => self.ask(admin)?,
            Source::Spool(_) => return Err(Failure::new("a spool proves nothing; name a log")),
            Source::Log(place) => {
                let view = open(place)?;
                let mut found = self.record.clone();
                if found.is_none() {
                    let filter = self.filter();
                    view.records(0, |_, record| {
                        if filter.wants(&record) {
                            found = Some(Place {
                                edge: record.edge,
                                incarnation: record.incarnation,
                                sequence: record.sequence,
                            });
                        }
                        found.is_none()
                    })?;
                }
                match found {
                    Some(at) => view.prove(&at.edge, &at.incarnation, at.sequence)?,
                    None => None,
                }
            }
        };
        let none = || Failure::new("the log has no such record; one of the last second may not be in it yet");
        let proof = serde_json::to_string_pretty(&proof.ok_or_else(none)?)?;
        match &self.out {
            None => output::line(&proof),
            Some(out) => {
                std::fs::write(out, format!("{proof}\n")).context(|| format!("`{}`", out.display()))?;
                output::line(&format!("{}: check it with signet audit verify --proof", out.display()))
            }
        }
    }

    fn filter(&self) -> Filter {
        Filter {
            request: self.request.clone(),
            ..Filter::default()
        }
    }

    fn ask(&self, admin: &AdminArgs) -> Result<Option<Proof>, Failure> {
        let place = match (&self.record, &self.request) {
            (Some(place), _) => place.clone(),
            (None, request) => match find(admin, request.as_deref().unwrap_or_default())? {
                Some(place) => place,
                None => return Ok(None),
            },
        };
        let (edge, incarnation) = (encoded(&place.edge), encoded(&place.incarnation));
        let query = format!("edge={edge}&incarnation={incarnation}&sequence={}", place.sequence);
        let proof = admin.call("GET", &format!("/v1/audit/proof?{query}"), None)?;
        Ok(Some(serde_json::from_value(proof)?))
    }
}

/// Where the record of a request is, as the authority tells.
fn find(admin: &AdminArgs, request: &str) -> Result<Option<Place>, Failure> {
    let mut from = 0;
    loop {
        let query = format!("from={from}&request={}", encoded(request));
        let page = admin.call("GET", &format!("/v1/audit/records?{query}"), None)?;
        let text = |pointer: &str| page.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let sequence = page.pointer("/records/0/sequence").and_then(Value::as_u64);
        if let (Some(edge), Some(incarnation), Some(sequence)) =
            (text("/records/0/edge"), text("/records/0/incarnation"), sequence)
        {
            return Ok(Some(Place {
                edge,
                incarnation,
                sequence,
            }));
        }
        let number = |name: &str| page.get(name).and_then(Value::as_u64).unwrap_or(0);
        if number("next") >= number("size") {
            return Ok(None);
        }
        from = number("next");
    }
}
