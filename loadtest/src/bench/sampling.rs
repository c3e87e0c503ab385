//! What sampling costs an edge: CPU time a request without it, with one request in a hundred in the sample, and with every one.
//!
//! The edge is that of [`super::compare`]; the operator's command changes its bundle between the rounds. Of every request, most
//! samples find no room and are dropped: that is what an edge does which is asked for more than it can hand on.

use std::path::Path;
use std::process::Command;

use super::operator::Operator;
use super::process::Cores;
use super::rows::Rows;
use super::{Measured, Round, Settings, VERIFY_EVERY, WARM_UP, bench, beside, site};
use crate::LoadError;

const BUNDLE: &str = "bundle.toml";
/// What is compared, and the share of the requests in the sample.
const SHARES: [(&str, Option<&str>); 3] = [
    ("no sample", None),
    ("1 in 100 sampled", Some("0.01")),
    ("all sampled", Some("1.0")),
];

/// Runs it. As for [`super::compare`], call it from a program that has one thread only.
///
/// # Errors
/// [`LoadError::Bench`] where a server does not start or a request fails; then no figure would mean anything.
pub fn measure(settings: &Settings) -> Result<Rows, LoadError> {
    let cores = Cores::available();
    let data = tempfile::tempdir().map_err(bench)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(bench)?;
    let mut rounds: [Vec<Round>; SHARES.len()] = Default::default();
    runtime.block_on(async {
        let (edge, _authority) = beside::start(&settings.signet, data.path(), &cores).await?;
        cores.client()?;
        let operator = Operator::new(&settings.signet, data.path(), &edge)?;
        let plain = String::from_utf8(operator.read(BUNDLE)?).map_err(bench)?;
        let key = sampling_key(&settings.signet, data.path())?;
        edge.drive(settings, WARM_UP, VERIFY_EVERY).await?;
        let mut in_use = plain.clone();
        for _ in 0..settings.rounds {
            for ((_, share), rounds) in SHARES.into_iter().zip(&mut rounds) {
                let sampling = share.map(|share| section(share, &key)).unwrap_or_default();
                let wanted = format!("{plain}{sampling}");
                if wanted != in_use {
                    operator.change(BUNDLE, wanted.as_bytes()).await?;
                    in_use = wanted;
                }
                rounds.push(edge.round(settings).await?);
            }
        }
        Ok::<_, LoadError>(())
    })?;
    Ok(Rows {
        what: "a request of an edge whose rule has samples taken",
        rows: SHARES
            .map(|(name, _)| name)
            .into_iter()
            .zip(rounds.map(Measured::new))
            .collect(),
        pinned: cores.are_two(),
        connections: settings.connections,
    })
}

fn section(share: &str, key: &str) -> String {
    format!(
        "\n[sampling]\nrate = {share}\n{key}\nfields = [\"caller.id\", \"token.subject\", \"token.audience\", \"token.claims.role\"]\n"
    )
}

/// The line of a bundle that names a new key.
fn sampling_key(signet: &Path, data: &Path) -> Result<String, LoadError> {
    let mut command = Command::new(signet);
    let said = site::succeed(command.args(["plugin", "sampling-key"]).arg(data.join("sampling.key")))?;
    let text = String::from_utf8(said).map_err(bench)?;
    let line = text.lines().find(|line| line.starts_with("key = "));
    line.map(str::to_owned)
        .ok_or_else(|| bench("`signet plugin sampling-key` printed no key"))
}
