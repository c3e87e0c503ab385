//! What a signature costs an edge in each mode of its record, beside the floor: CPU time, in one run on one machine.
//!
//! As [`super::compare`], but the edge is an edge's process alone, with one policy and no rule, and its profiles differ in the
//! mode only.

use std::fmt;

use serde::Serialize;

use super::caller::Caller;
use super::process::Cores;
use super::site::{Site, files};
use super::{Measured, Round, Settings, Subject, VERIFY_EVERY, WARM_UP, bench, start_floor};
use crate::LoadError;

const LEASE_SECONDS: u64 = 60;

/// The figures of each mode.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModeFigures {
    /// The bare server, then an edge with `reserve`, with `commit` and with `witness`; all sign Ed25519.
    pub modes: Vec<(&'static str, Measured)>,
    /// Whether the servers had one core and the client another.
    pub pinned: bool,
    /// Connections, each with one request in flight.
    pub connections: u16,
}

/// Runs it. As for [`super::compare`], call it from a program that has one thread only.
///
/// # Errors
/// [`LoadError::Bench`] where a server does not start or a request fails; then no figure would mean anything.
pub fn measure(settings: &Settings) -> Result<ModeFigures, LoadError> {
    let cores = Cores::available();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(bench)?;
    cores.server()?;
    let floor = start_floor(settings)?;
    // The authority has to outlive the edge's leases.
    let (_site, mut edge) = runtime.block_on(start_edge(settings))?;
    cores.client()?;
    let mut rounds: [Vec<Round>; 4] = Default::default();
    runtime.block_on(async {
        floor.drive(settings, WARM_UP, VERIFY_EVERY).await?;
        edge.drive(settings, WARM_UP, 0).await?;
        for _ in 0..settings.rounds {
            let [of_floor, of_reserve, of_commit, of_witness] = &mut rounds;
            of_floor.push(floor.round(settings).await?);
            edge.profile = files::RESERVE;
            of_reserve.push(edge.round(settings).await?);
            edge.profile = files::COMMIT;
            of_commit.push(edge.round(settings).await?);
            edge.profile = files::WITNESS;
            of_witness.push(edge.round(settings).await?);
        }
        Ok::<_, LoadError>(())
    })?;
    let names = [
        "bare server, signs only",
        "edge, `reserve`",
        "edge, `commit`",
        "edge, `witness`",
    ];
    Ok(ModeFigures {
        modes: names.into_iter().zip(rounds.map(Measured::new)).collect(),
        pinned: cores.are_two(),
        connections: settings.connections,
    })
}

/// An edge that signs, and the site it belongs to.
async fn start_edge(settings: &Settings) -> Result<(Site, Subject), LoadError> {
    let mut site = Site::start(&settings.signet, 64).await?;
    let (_, token) = site.add_edges(1, LEASE_SECONDS).await?;
    let edge = site.edges.pop().ok_or_else(|| bench("there is no edge"))?;
    Caller::new(&edge.url, files::RESERVE, &token)?.until_signed().await?;
    let subject = Subject {
        name: "the edge",
        server: edge.server,
        url: edge.url,
        profile: files::RESERVE,
        token,
        ca_file: None,
    };
    Ok((site, subject))
}

impl fmt::Display for ModeFigures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.modes.first().map_or(0, |(_, measured)| measured.rounds.len());
        let place = if self.pinned {
            "servers on one core"
        } else {
            "not pinned"
        };
        let connections = self.connections;
        write!(
            out,
            "a signature by the mode of its record, medians of {rounds} rounds each, {connections} connections, HTTP/1.1, {place}\n{:<28}{:>16}{:>10}{:>10}{:>14}",
            "", "CPU µs/request", "p50 µs", "p99 µs", "requests/s"
        )?;
        for (name, measured) in &self.modes {
            write!(out, "\n{name:<28}{}", measured.median)?;
        }
        Ok(())
    }
}
