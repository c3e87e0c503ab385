//! Somebody who asks one edge for tokens and notices when it signs and when it does not.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::{BODY, bench};
use crate::client::{Connection, Message};
use crate::target::Target;
use crate::{LoadError, Protocol};

/// How often an edge is asked again after it refused.
const AGAIN: usize = 3;
/// Between two tries to reach an edge that is not there yet.
const PAUSE: Duration = Duration::from_millis(1);
/// How long an edge may take until it signs, or refuses.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who asks one edge for tokens.
#[derive(Clone)]
pub(super) struct Caller {
    target: Target,
    message: Message,
}

impl Caller {
    pub(super) fn new(url: &str, profile: &str, token: &str) -> Result<Caller, LoadError> {
        let target = Target::new(url, Protocol::Http1, || Ok(rustls::RootCertStore::empty()))?;
        let path = format!("/v1/tokens/{profile}");
        let message = Message::post(&target, &path, token.as_bytes(), BODY)?;
        Ok(Caller { target, message })
    }

    /// Until the edge signs; one that is not there yet, or that refuses, is asked again.
    pub(super) async fn until_signed(&self) -> Result<(), LoadError> {
        let begun = Instant::now();
        let mut answered = "it cannot be reached".to_owned();
        while begun.elapsed() < PATIENCE {
            let Ok(mut connection) = Connection::open(&self.target).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            while let Ok(answer) = connection.send(&self.message).await {
                if answer.status() == StatusCode::CREATED {
                    return Ok(());
                }
                answered = String::from_utf8_lossy(answer.body()).into_owned();
                if begun.elapsed() >= PATIENCE {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Err(bench(format!("an edge did not sign within {PATIENCE:?}: {answered}")))
    }

    /// Until the edge refuses, and goes on to; when it first did.
    pub(super) async fn until_refused(&self) -> Result<Instant, LoadError> {
        let begun = Instant::now();
        let mut connection = Connection::open(&self.target).await?;
        loop {
            let answer = connection.send(&self.message).await?;
            match answer.status() {
                StatusCode::CREATED if begun.elapsed() < PATIENCE => {}
                StatusCode::CREATED => return Err(bench(format!("an edge still signed after {PATIENCE:?}"))),
                StatusCode::TOO_MANY_REQUESTS => return Err(bench("a limit was hit, which says nothing of a stop")),
                _ => break,
            }
        }
        let refused = Instant::now();
        for _ in 0..AGAIN {
            if connection.send(&self.message).await?.status() == StatusCode::CREATED {
                return Err(bench("an edge signed again after it had refused"));
            }
        }
        Ok(refused)
    }
}
