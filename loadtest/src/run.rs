//! The closed loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use node::http_client::{add_pem_roots, system_roots};
use rustls::RootCertStore;
use serde::Deserialize;

use crate::client::{Connection, Message, TIMEOUT};
use crate::report::{Counts, Report};
use crate::sample::{self, MAX_TOKENS};
use crate::target::Target;
use crate::{LoadError, Options, Until};

/// How long a connection waits before it is opened again.
const BACKOFF: Duration = Duration::from_millis(50);

/// Sends token requests as `options` say, and reports. Refusals and broken connections are counted, not returned.
///
/// # Errors
/// [`LoadError`] where the options cannot be used, or the sample cannot be verified at all.
pub async fn run(options: Options) -> Result<Report, LoadError> {
    if !(1..=4096).contains(&options.connections) {
        return Err(LoadError::Option("from 1 to 4096 connections".to_owned()));
    }
    let target = Target::new(&options.url, options.protocol, || roots(&options))?;
    let path = format!("/v1/tokens/{}", options.profile);
    let message = Message::post(&target, &path, options.token.expose(), &options.body)?;
    let load = Load {
        connections: options.connections,
        until: options.until,
        verify_every: options.verify_every,
    };
    let (took, counts, tokens) = repeat(&target, &message, load).await?;
    let verified = match options.verify_every {
        0 => None,
        _ => Some(sample::verify_all(&options, roots(&options)?, &tokens).await?),
    };
    Ok(Report::new(
        options.protocol,
        options.connections,
        took,
        counts,
        verified,
    ))
}

/// How much of one message.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: u16,
    pub(crate) until: Until,
    /// Every how many answers its token is kept; 0: none.
    pub(crate) verify_every: u32,
}

/// Sends one message again and again: how long it took, what came of it, and the tokens that were kept.
pub(crate) async fn repeat(
    target: &Target,
    message: &Message,
    load: Load,
) -> Result<(Duration, Counts, Vec<String>), LoadError> {
    let begun = Instant::now();
    let plan = Arc::new(Plan::new(&load, begun));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..load.connections {
        tasks.spawn(connection(target.clone(), message.clone(), Arc::clone(&plan)));
    }
    let (mut counts, mut tokens) = (Counts::default(), Vec::new());
    while let Some(ended) = tasks.join_next().await {
        let (more, kept) = ended.map_err(|error| LoadError::Option(format!("a connection's task ended: {error}")))?;
        counts.merge(more);
        tokens.extend(kept);
    }
    Ok((begun.elapsed(), counts, tokens))
}

/// What is left to do, shared by the connections.
struct Plan {
    end: Option<Instant>,
    left: AtomicU64,
    answered: AtomicU64,
    verify_every: u64,
    tokens_each: usize,
}

impl Plan {
    fn new(load: &Load, begun: Instant) -> Plan {
        let (end, left) = match load.until {
            Until::Elapsed(time) => (begun.checked_add(time), u64::MAX),
            Until::Requests(requests) => (None, requests),
        };
        Plan {
            end,
            left: AtomicU64::new(left),
            answered: AtomicU64::new(0),
            verify_every: load.verify_every.into(),
            tokens_each: MAX_TOKENS.div_ceil(usize::from(load.connections.max(1))),
        }
    }

    /// Whether there is one more request to send.
    fn take(&self) -> bool {
        self.end.is_none_or(|end| Instant::now() < end)
            && self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok()
    }

    fn samples(&self) -> bool {
        self.verify_every > 0
            && self
                .answered
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(self.verify_every)
    }
}

async fn connection(target: Target, message: Message, plan: Arc<Plan>) -> (Counts, Vec<String>) {
    let (mut counts, mut tokens) = (Counts::default(), Vec::new());
    let mut open = None;
    while plan.take() {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => match Connection::open(&target).await {
                Ok(connection) => connection,
                Err(error) => {
                    counts.error(error.code());
                    tokio::time::sleep(BACKOFF).await;
                    continue;
                }
            },
        };
        let begun = Instant::now();
        match tokio::time::timeout(TIMEOUT, connection.send(&message)).await {
            Ok(Ok(answer)) if answer.status().is_success() => {
                counts.latencies.record(begun.elapsed());
                if tokens.len() < plan.tokens_each && plan.samples() {
                    tokens.extend(token(&answer));
                }
                open = Some(connection);
            }
            Ok(Ok(answer)) => {
                counts.error(problem_code(&answer));
                open = Some(connection);
            }
            Ok(Err(error)) => counts.error(error.code()),
            Err(_) => counts.error("timeout"),
        }
    }
    (counts, tokens)
}

/// An answer without a token counts as one that is not valid.
fn token(answer: &Response<Bytes>) -> Option<String> {
    #[derive(Deserialize)]
    struct Minted {
        token: String,
    }
    serde_json::from_slice::<Minted>(answer.body())
        .ok()
        .map(|minted| minted.token)
        .or_else(|| Some(String::new()))
}

fn problem_code(answer: &Response<Bytes>) -> String {
    /// A problem document's code, or the name of the key API's error.
    #[derive(Deserialize)]
    struct Problem {
        #[serde(alias = "__type")]
        code: String,
    }
    match serde_json::from_slice::<Problem>(answer.body()) {
        Ok(problem) => problem.code.chars().take(64).collect(),
        Err(_) => format!("http_{}", answer.status().as_u16()),
    }
}

fn roots(options: &Options) -> Result<RootCertStore, LoadError> {
    let Some(path) = &options.ca_file else {
        return match system_roots() {
            Ok(roots) => Ok(roots),
            Err(_) if options.url.starts_with("http://") => Ok(RootCertStore::empty()),
            Err(error) => Err(LoadError::Option(error.to_string())),
        };
    };
    let bad = |reason: String| LoadError::CaFile {
        path: path.clone(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    add_pem_roots(&mut roots, &pem).map_err(|error| bad(error.to_string()))?;
    Ok(roots)
}
