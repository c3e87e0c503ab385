//! `signet audit reconcile`: every sequence number accounted for.

use audit::log::reconcile::{Account, Claim, End, Ledger, Span, What};
use clap::Args;
use serde_json::json;

use super::from::Source;
use super::search::open;
use crate::failure::Failure;
use crate::output;

/// Account for every sequence number of every edge and process; exit code 1 if some are unaccounted for.
#[derive(Debug, Args)]
pub struct Reconcile {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Reconcile {
    /// Runs the command.
    pub fn run(self, sources: &[Source]) -> Result<(), Failure> {
        let mut ledger = Ledger::default();
        for source in sources {
            let Source::Log(place) = source else {
                return Err(Failure::new(
                    "a log is reconciled where its files are: name its bucket, or a copy of its directory, with --dir",
                ));
            };
            open(place)?.records(0, |_, record| {
                ledger.take(&record);
                true
            })?;
        }
        let claims: Vec<Claim> = ledger.claims().cloned().collect();
        let accounts = ledger.accounts();
        if self.json {
            output::json(&json!({ "accounts": accounts, "claims": claims }))?;
        } else {
            print(&accounts)?;
            print_claims(&claims)?;
        }
        let unaccounted = accounts
            .iter()
            .flat_map(Account::unaccounted)
            .map(count)
            .fold(0, u64::saturating_add);
        let all = match sources {
            [_] => "; where several authorities share a store, each has a log, and all are named, each with --dir",
            _ => "",
        };
        match unaccounted {
            0 => Ok(()),
            numbers => Err(Failure::new(format!(
                "{numbers} sequence numbers are unaccounted for{all}"
            ))),
        }
    }
}

fn print(accounts: &[Account]) -> Result<(), Failure> {
    let rows = accounts.iter().map(|account| {
        let recorded = account
            .spans
            .iter()
            .filter(|span| span.what == What::Recorded)
            .map(count);
        let recorded = recorded.fold(0, u64::saturating_add);
        let end = match account.end {
            End::Stopped => "stopped",
            End::Succeeded => "ended, and the next process says so",
            End::Open => "running, or ended and not started since",
        };
        let cells = [account.edge.clone(), account.incarnation.clone(), recorded.to_string()];
        let mut row = cells.to_vec();
        row.push(end.to_owned());
        row
    });
    output::table(&["EDGE", "PROCESS", "RECORDS", "END"], &rows.collect::<Vec<_>>())?;
    for account in accounts {
        for span in account.spans.iter().filter(|span| span.what != What::Recorded) {
            let what = match &span.what {
                What::Reserved(by) => format!("reserved and not recorded when it crashed, as `{by}` says"),
                What::Dropped(by) => format!("dropped by its edge to make room, as `{by}` says"),
                What::Unaccounted | What::Recorded => "UNACCOUNTED: nobody says where they are".to_owned(),
            };
            let (edge, incarnation) = (&account.edge, &account.incarnation);
            output::line(&format!(
                "{edge} {incarnation}: {} to {}: {what}",
                span.first, span.last
            ))?;
        }
    }
    Ok(())
}

/// They explain nothing, and may be a spool that was moved to another edge.
fn print_claims(claims: &[Claim]) -> Result<(), Failure> {
    for claim in claims {
        let reserved = claim
            .reserved
            .map_or(String::new(), |(first, last)| format!(", {first} to {last} reserved"));
        output::line(&format!(
            "{} {} says of another edge, and is not taken at its word: {} {} ended at {}{reserved}",
            claim.by_edge, claim.by, claim.edge, claim.incarnation, claim.sequence
        ))?;
    }
    Ok(())
}

fn count(span: &Span) -> u64 {
    span.last.saturating_sub(span.first).saturating_add(1)
}
