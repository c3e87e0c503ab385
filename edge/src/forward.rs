//! Signatures that the authority makes for this edge (delegation `none`): one call, bounded in time and in number.

use std::time::Duration;

use node::contract::FAULT_CODE;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::Code;

use crate::keyring::{Forward, SignError, Signed};
use crate::state::Edge;

/// The longest that a caller waits for the authority, the wait for a turn included.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls under way: the connection has streams for more than these.
const AT_ONCE: usize = 32;
/// Calls that wait for one of those to end; more are told to come back (R37).
const WAITING: usize = 256;

/// Turns at the authority.
#[derive(Debug)]
pub struct Turns {
    waiting: Semaphore,
    calls: Semaphore,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns {
            waiting: Semaphore::new(WAITING),
            calls: Semaphore::new(AT_ONCE),
        }
    }
}

/// Has one signature made.
pub async fn sign(edge: &Edge, forward: Forward) -> Result<Signed, SignError> {
    let _waits = edge
        .turns()
        .waiting
        .try_acquire()
        .map_err(|_| busy("too many wait for it here"))?;
    let called = async {
        let _turn = edge.turns().calls.acquire().await;
        let mut request = tonic::Request::new(forward.request(edge.incarnation()));
        request.set_timeout(PATIENCE);
        Ok(edge.uplink().client()?.sign_in_hsm(request).await?.into_inner())
    };
    let answer = match timeout(PATIENCE, called).await {
        Ok(answer) => answer.map_err(refused)?,
        Err(_) => return Err(busy("it did not answer in time")),
    };
    forward.signed(&answer.signature)
}

fn busy(why: &str) -> SignError {
    SignError::AuthorityAway(why.to_owned())
}

/// What may pass by itself is worth another try; what was decided is not. What was stopped there a moment before this edge hears of
/// it is answered as it will be once it has.
fn refused(status: tonic::Status) -> SignError {
    let decided = status.metadata().get(FAULT_CODE).and_then(|code| code.to_str().ok());
    match decided {
        Some("key_disabled") => return SignError::Disabled("stopped"),
        Some("edge_revoked") => return SignError::EdgeRevoked,
        _ => {}
    }
    let detail = format!("it answered {:?}: {}", status.code(), status.message());
    match status.code() {
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::Unauthenticated
        | Code::Unimplemented => SignError::Authority(detail),
        _ => SignError::AuthorityAway(detail),
    }
}

#[cfg(test)]
mod tests;
