//! What a signature costs an edge in each mode of its record, beside the floor: CPU time, in one run on one machine.
//!
//! As [`super::compare`], but the edge is an edge's process alone, with one policy and no rule, and its profiles differ in the
//! mode only.

use super::caller::Caller;
use super::process::Cores;
use super::rows::Rows;
use super::site::{Site, files};
use super::{Measured, Round, Settings, Subject, VERIFY_EVERY, WARM_UP, bench, start_floor};
use crate::LoadError;

const LEASE_SECONDS: u64 = 60;

/// Runs it. As for [`super::compare`], call it from a program that has one thread only.
///
/// # Errors
/// [`LoadError::Bench`] where a server does not start or a request fails; then no figure would mean anything.
pub fn measure(settings: &Settings) -> Result<Rows, LoadError> {
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
    Ok(Rows {
        what: "a signature by the mode of its record",
        rows: names.into_iter().zip(rounds.map(Measured::new)).collect(),
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
