//! A signature for an edge, on record before it leaves.

use std::time::Duration;

use http::HeaderMap;
use node::contract::{SignInHsmRequest, SignInHsmResponse};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Service, unrecorded};
use crate::edges::KnownEdge;
use crate::fault::Fault;
use crate::kms::{Decided, Entry};
use crate::names::EdgeId;
use crate::turns::{Crowded, MAX_WAITING, Turn};

/// The operation in the record.
const SIGN: &str = "edges:SignInHsm";
/// Signatures that are made at once.
pub(super) const AT_ONCE: usize = 64;
/// Those of one edge among them: twice as many as an HSM has sessions, as most are set up. More of its requests wait for these,
/// [`crate::turns::MAX_WAITING`] at most, which is more than an edge sends.
pub(super) const SHARE: usize = 8;
/// Signatures of all edges that are made or wait, each with up to 64 KiB.
pub(super) const WAITING: usize = 1_024;
/// The longest that one waits for its turn.
const TURN: Duration = Duration::from_secs(2);
/// The longest that one takes from there: edges wait for no longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Characters of what an edge says of who asked that go on record.
const MAX_CALLER: usize = 1_024;

impl Service {
    /// Signs, and puts on record that it did or why it did not: under the id that the edge's own record has.
    pub(super) async fn sign(&self, edge: &KnownEdge, request: SignInHsmRequest) -> Result<SignInHsmResponse, Fault> {
        let request_id = Uuid::try_parse(&request.request_id)
            .map_err(|_| Fault::invalid("bad_request", "the request id is not a UUID"))?;
        let _turn = self.turn(edge).await?;
        self.recorder.ready().map_err(|refusal| unrecorded(refusal.detail))?;
        let mut decided = Decided::default();
        let caller: String = request.caller.chars().take(MAX_CALLER).collect();
        let signing = self.delegations.sign(edge, request, &mut decided);
        let signed = match timeout(PATIENCE, signing).await {
            Ok(signed) => signed,
            Err(_) => Err(Fault::Busy {
                part: "hsm",
                detail: format!("no signature within {PATIENCE:?}"),
            }),
        };
        if let Err(Fault::Denied { policies, .. }) = &signed {
            decided.policies.extend(policies.iter().cloned());
        }
        if !caller.is_empty() {
            decided.policies.insert(format!("for:{caller}"));
        }
        let entry = Entry {
            operation: SIGN,
            caller: &format!("edge:{}", edge.id()),
            account: &decided.tenant.clone().unwrap_or_default(),
            decided,
            digest: None,
            refused: signed.as_ref().err().map(Fault::code),
            request_id,
            headers: &HeaderMap::new(),
        };
        let recorded = self.recorder.record(entry);
        recorded.map_err(|refusal| unrecorded(refusal.detail))?;
        signed
    }

    /// What comes too early is counted and not recorded, or who asks for too much would fill the record.
    async fn turn(&self, edge: &KnownEdge) -> Result<Turn<'_, EdgeId>, Fault> {
        let detail = match timeout(TURN, self.turns.take(edge.id().clone())).await {
            Ok(Ok(turn)) => return Ok(turn),
            Ok(Err(Crowded)) => format!("more than {MAX_WAITING} signatures of the edge `{}` wait", edge.id()),
            Err(_) => format!("no signature could be begun within {TURN:?}"),
        };
        let busy = Fault::Busy {
            part: "authority",
            detail,
        };
        self.recorder.count(SIGN, Some(busy.code()));
        Err(busy)
    }
}
