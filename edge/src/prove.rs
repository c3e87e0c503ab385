//! Proofs that records are in the authority's log, for signatures that leave with one only (mode `witness`).
//!
//! Whoever needs one leaves its record's number and waits. The record goes to the authority as all do ([`crate::ship`]), only at
//! once; and the authority that they go to is asked for the proofs of those that wait, many in one call. A proof goes out only
//! if it holds and is of a record of this process. Who signed its checkpoint is for whoever gets it to check, with a key that
//! comes from elsewhere than from here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit::log::proof::{MAX_PROOF, Proof};
use audit::record::Record;
use node::contract::authority_client::AuthorityClient;
use node::contract::{ProveRequest, ProveResponse};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::state::Edge;
use crate::uplink::Observed;

/// How long a signature waits for its proof, from when its record is durable here.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many signatures may wait.
const MOST_WAITING: usize = 1_024;
/// Records of one call at most: the authority takes no more.
const MOST: usize = 64;
/// Calls at once.
const CALLS: usize = 8;
/// How long one may take; the authority answers sooner, with nothing if need be.
const CALL: Duration = Duration::from_secs(12);
/// Before what had no proof is asked for again.
const PAUSE: Duration = Duration::from_millis(200);

/// Who waits for a proof, and whom to ask.
#[derive(Debug)]
pub struct Proofs {
    waiting: Mutex<VecDeque<Wanted>>,
    room: Semaphore,
    wake: Notify,
    /// The authority that records are shipped to at present.
    log: Mutex<Option<AuthorityClient<Observed>>>,
}

/// One that waits.
#[derive(Debug)]
struct Wanted {
    sequence: u64,
    reply: oneshot::Sender<(Proof, Record)>,
}

/// Why there is no proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// More wait than may.
    #[error("{MOST_WAITING} signatures wait for a proof already")]
    Crowded,
    /// None came.
    #[error("no proof came within {} s: the authority is away, or its log takes nothing", PATIENCE.as_secs())]
    Late,
}

impl Default for Proofs {
    fn default() -> Proofs {
        Proofs {
            waiting: Mutex::default(),
            room: Semaphore::new(MOST_WAITING),
            wake: Notify::new(),
            log: Mutex::default(),
        }
    }
}

impl Proofs {
    /// The proof of a record of this process, which is durable here, and the record as it is in the log. Whoever stops waiting
    /// is forgotten.
    pub async fn of(&self, sequence: u64) -> Result<(Proof, Record), Unproven> {
        let _room = self.room.try_acquire().map_err(|_| Unproven::Crowded)?;
        let (reply, proof) = oneshot::channel();
        self.put_back(vec![Wanted { sequence, reply }]);
        let proof = timeout(PATIENCE, proof).await;
        proof.map_err(|_| Unproven::Late)?.map_err(|_| Unproven::Late)
    }

    /// Names the authority that records are shipped to; none while there is no stream.
    pub fn ship_to(&self, log: Option<AuthorityClient<Observed>>) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }

    fn log(&self) -> Option<AuthorityClient<Observed>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Wanted>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, wanted: Vec<Wanted>) {
        self.waiting().extend(wanted);
        self.wake.notify_one();
    }

    /// Some of those that still wait: at least one.
    async fn next(&self) -> Vec<Wanted> {
        loop {
            let mut wanted = Vec::new();
            {
                let mut waiting = self.waiting();
                waiting.retain(|wanted| !wanted.reply.is_closed());
                let most = waiting.len().min(MOST);
                wanted.extend(waiting.drain(..most));
            }
            if !wanted.is_empty() {
                return wanted;
            }
            self.wake.notified().await;
        }
    }
}

/// Asks for what is waited for, until the process ends.
pub async fn keep(edge: Arc<Edge>) {
    let mut calls = JoinSet::new();
    loop {
        while calls.try_join_next().is_some() {}
        if calls.len() >= CALLS {
            calls.join_next().await;
        }
        // After the turn: those that come meanwhile go with it.
        let wanted = edge.proofs().next().await;
        calls.spawn(call(edge.clone(), wanted));
    }
}

async fn call(edge: Arc<Edge>, mut wanted: Vec<Wanted>) {
    edge.wake_shipping();
    let (before, identity) = (wanted.len(), edge.identity());
    match ask(&edge, &wanted).await {
        Ok(answer) => wanted = settle(wanted, (&identity.edge_id, edge.incarnation()), &answer),
        Err(error) => tracing::debug!(error, "the authority proves no records; it is asked again"),
    }
    if wanted.is_empty() {
        return;
    }
    if wanted.len() == before {
        tokio::time::sleep(PAUSE).await;
    }
    edge.proofs().put_back(wanted);
}

async fn ask(edge: &Edge, wanted: &[Wanted]) -> Result<ProveResponse, String> {
    let request = ProveRequest {
        incarnation: edge.incarnation().to_owned(),
        sequences: wanted.iter().map(|wanted| wanted.sequence).collect(),
    };
    let mut client = edge.proofs().log().ok_or("no audit records reach it at present")?;
    let answer = timeout(CALL, client.prove_records(request)).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let answer = answer.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?;
    Ok(answer.into_inner())
}

/// Hands the proofs of an answer out; gives back those that have none. What does not hold, or is of another process, is none.
fn settle(mut wanted: Vec<Wanted>, own: (&str, &str), answer: &ProveResponse) -> Vec<Wanted> {
    for bytes in answer.proofs.iter().take(MOST) {
        let Some((proof, record)) = read(bytes, own) else {
            tracing::error!("the authority sent a proof that does not hold, or of a record of another edge");
            continue;
        };
        let asked = wanted.iter().position(|wanted| wanted.sequence == record.sequence);
        if let Some(at) = asked {
            // Whoever asked may have gone.
            let _ = wanted.swap_remove(at).reply.send((proof, record));
        }
    }
    wanted
}

fn read(bytes: &[u8], own: (&str, &str)) -> Option<(Proof, Record)> {
    let bytes = Some(bytes).filter(|bytes| bytes.len() <= MAX_PROOF)?;
    let proof: Proof = serde_json::from_slice(bytes).ok()?;
    let record = proof.check_unsigned().ok()?.record;
    ((record.edge.as_str(), record.incarnation.as_str()) == own).then_some((proof, record))
}

#[cfg(test)]
mod tests;
