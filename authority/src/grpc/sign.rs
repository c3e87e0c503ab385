//! A signature for an edge, on record before it leaves.

use std::time::Duration;

use http::HeaderMap;
use node::contract::{SignInHsmRequest, SignInHsmResponse};
use uuid::Uuid;

use super::{Service, unrecorded};
use crate::edges::KnownEdge;
use crate::fault::Fault;
use crate::kms::{Decided, Entry};

/// The operation in the record.
const SIGN: &str = "edges:SignInHsm";
/// Signatures that may be under way at once, so that there is room for delegations beside them (R37).
pub(super) const AT_ONCE: usize = 64;
/// The longest that one takes: edges wait for no longer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Service {
    /// Signs, and puts on record that it did or why it did not: under the id that the edge's own record has.
    pub(super) async fn sign(&self, edge: &KnownEdge, request: SignInHsmRequest) -> Result<SignInHsmResponse, Fault> {
        let request_id = Uuid::try_parse(&request.request_id)
            .map_err(|_| Fault::invalid("bad_request", "the request id is not a UUID"))?;
        self.recorder.ready().map_err(|refusal| unrecorded(refusal.detail))?;
        let mut decided = Decided::default();
        let signing = self.delegations.sign(edge, request, &mut decided);
        let signed = match tokio::time::timeout(PATIENCE, signing).await {
            Ok(signed) => signed,
            Err(_) => Err(Fault::Busy {
                part: "hsm",
                detail: format!("no signature within {PATIENCE:?}"),
            }),
        };
        if let Err(Fault::Denied { policies, .. }) = &signed {
            decided.policies.extend(policies.iter().cloned());
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
}
