//! Proofs of an edge's own records, while it waits with a signature that is to leave with one (mode `witness`).

use std::sync::Arc;
use std::time::Duration;

use node::contract::{ProveRequest, ProveResponse};
use tokio::sync::watch;
use tonic::Status;

use crate::collect::Collector;

/// Records of one call.
const MOST: usize = 64;
/// How long a call waits for a checkpoint over one of its records; the edge waits longer.
const WAIT: Duration = Duration::from_secs(8);

/// Waits until some of these records of the edge are under a checkpoint; answers none where none was for long.
pub(super) async fn prove(
    edge: &str,
    log: &Arc<Collector>,
    request: &ProveRequest,
    mut stop: watch::Receiver<bool>,
) -> Result<ProveResponse, Status> {
    if !(1..=MOST).contains(&request.sequences.len()) {
        return Err(Status::invalid_argument(format!("ask for 1 to {MOST} records")));
    }
    let found = tokio::time::timeout(WAIT, wait(edge, log, request));
    tokio::select! {
        found = found => found.unwrap_or_else(|_| Ok(ProveResponse::default())),
        _ = stop.wait_for(|stop| *stop) => Err(Status::unavailable("this authority ends")),
    }
}

async fn wait(edge: &str, log: &Arc<Collector>, request: &ProveRequest) -> Result<ProveResponse, Status> {
    let (mut published, mut since) = (log.published(), 0);
    loop {
        // Before it is looked: a checkpoint that comes meanwhile is looked at too.
        published.borrow_and_update();
        let chain = (edge, request.incarnation.as_str());
        let looked = log.prove_newest(chain, &request.sequences, since).await;
        let (proofs, size) = looked.map_err(|error| Status::unavailable(error.to_string()))?;
        if !proofs.is_empty() {
            let proofs: Result<_, _> = proofs.iter().map(serde_json::to_vec).collect();
            let proofs = proofs.map_err(|error| Status::internal(error.to_string()))?;
            return Ok(ProveResponse { proofs });
        }
        since = size;
        let changed = published.changed().await;
        changed.map_err(|_| Status::unavailable("the audit log is closed"))?;
    }
}

#[cfg(test)]
mod tests {
    use audit::log::proof::Proof;
    use audit::note::VerifierKey;

    use super::*;
    use crate::collect::tests::{Site, bring, shipped};

    fn request(sequences: &[u64]) -> ProveRequest {
        ProveRequest {
            incarnation: "i1".into(),
            sequences: sequences.to_vec(),
        }
    }

    fn proven(answer: &ProveResponse, key: &str) -> Vec<(String, u64)> {
        let key: VerifierKey = key.parse().unwrap();
        let read = |bytes: &Vec<u8>| serde_json::from_slice::<Proof>(bytes).unwrap().check(&key).unwrap();
        let records = answer.proofs.iter().map(|bytes| read(bytes).record);
        records.map(|record| (record.edge, record.sequence)).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_edge_waits_for_the_proof_of_what_it_ships_and_gets_no_other_edge_s() {
        let site = Site::new().await;
        let log = site.open().await.unwrap();
        let (stop, stopped) = watch::channel(false);
        bring(&log, shipped("edge-2", 5)).await;
        // It asks before its records are there.
        let (asked, bring) = (request(&[2]), bring(&log, shipped("edge-1", 3)));
        let (answer, _) = tokio::join!(prove("edge-1", &log, &asked, stopped.clone()), bring);
        let answer = answer.unwrap();
        assert_eq!(proven(&answer, &log.vkey()), [("edge-1".to_owned(), 2)]);
        // Of the other edge there is a record of that number too.
        let text = String::from_utf8(answer.proofs[0].clone()).unwrap();
        assert!(!text.contains("edge-2"), "{text}");
        for wrong in [0, MOST + 1] {
            let answer = prove("edge-1", &log, &request(&vec![1; wrong]), stopped.clone()).await;
            assert_eq!(answer.unwrap_err().code(), tonic::Code::InvalidArgument);
        }
        let absent = request(&[99]);
        let waiting = prove("edge-1", &log, &absent, stopped);
        let (answer, _) = tokio::join!(waiting, async { stop.send_replace(true) });
        assert_eq!(answer.unwrap_err().code(), tonic::Code::Unavailable);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_proof_carries_the_cosignatures_that_its_checkpoint_has() {
        let site = Site::new().await;
        let log = site.open().await.unwrap();
        bring(&log, shipped("edge-1", 1)).await;
        let (_stop, stopped) = watch::channel(false);
        let first = prove("edge-1", &log, &request(&[2]), stopped.clone()).await.unwrap();
        let plain: Proof = serde_json::from_slice(&first.proofs[0]).unwrap();
        let cosignature = "\u{2014} w.example/1 AAAAAAAAAAAA\n";
        log.tell_cosigned("w.example/1", format!("{}{cosignature}", log.note()));
        let again = prove("edge-1", &log, &request(&[2]), stopped).await.unwrap();
        let cosigned: Proof = serde_json::from_slice(&again.proofs[0]).unwrap();
        assert_ne!(plain, cosigned);
        assert!(String::from_utf8_lossy(&again.proofs[0]).contains("w.example/1 AAAAAAAAAAAA"));
        assert_eq!(proven(&first, &log.vkey()), proven(&again, &log.vkey()));
    }
}
