//! The one task of this process that writes: it takes what has queued up and commits it together.
//!
//! Each batch has a token of its own, which the head remembers. When an answer does not come, the batch may have been committed,
//! or be committed yet. The head says which: it has the token, or it is as it was (then the same is sent again, and at most one of
//! the two takes effect), or it has changed without the token (then it never will be).

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::super::{Committed, StoreError};
use super::batch::{self, MAX_OPERATIONS, MAX_TRANSACTIONS, Plan, Prepared, State};
use super::client::{Client, PATIENCE, PAUSE, Unanswered, unavailable};
use super::large::MAX_TRANSACTION;
use super::layout::{Head, Layout, Stored, Token};
use super::proto::{self, RangeRequest, Response};

/// Rows read in one request: as many operations as an etcd transaction may have, and some to spare.
const READ_AT_ONCE: usize = 100;

/// A transaction and who waits for it.
pub(super) struct Commit {
    pub(super) prepared: Prepared,
    pub(super) answered: oneshot::Sender<Result<u64, StoreError>>,
}

/// Who is told what was committed.
#[derive(Clone)]
pub(super) struct Announced {
    pub(super) revisions: watch::Sender<u64>,
    pub(super) commits: broadcast::Sender<Committed>,
}

impl Announced {
    /// That the store has a revision, as far as is known here.
    pub(super) fn grown(&self, revision: u64) {
        self.revisions.send_if_modified(|known| {
            let is_new = revision > *known;
            *known = revision.max(*known);
            is_new
        });
    }
}

/// Takes commits from the queue until it closes.
pub(super) struct Writer {
    pub(super) client: Arc<Client>,
    pub(super) layout: Layout,
    pub(super) queue: mpsc::Receiver<Commit>,
    pub(super) announced: Announced,
}

impl Writer {
    /// Until the store is dropped.
    pub(super) async fn run(mut self) {
        let mut waiting = std::collections::VecDeque::new();
        let mut fresh = Vec::new();
        loop {
            if waiting.is_empty() && self.queue.recv_many(&mut fresh, MAX_TRANSACTIONS).await == 0 {
                return;
            }
            while let Ok(commit) = self.queue.try_recv() {
                fresh.push(commit);
                if fresh.len() >= MAX_TRANSACTIONS {
                    break;
                }
            }
            waiting.extend(fresh.drain(..));
            let (batch, callers): (Vec<_>, Vec<_>) = take(&mut waiting)
                .into_iter()
                .map(|commit| (commit.prepared, commit.answered))
                .unzip();
            let outcomes = self.write(&batch).await;
            for (index, caller) in callers.into_iter().enumerate() {
                let outcome = match &outcomes {
                    Ok(outcomes) => outcomes.get(index).cloned(),
                    Err(error) => Some(Err(error.clone())),
                };
                // The caller may have gone; what it asked has happened or not.
                let _ = caller.send(outcome.unwrap_or_else(|| Err(unavailable("a commit has no outcome"))));
            }
        }
    }

    /// Commits a batch as a whole; the inner outcomes are those of its transactions.
    async fn write(&self, batch: &[Prepared]) -> Result<Vec<Result<u64, StoreError>>, StoreError> {
        let token: Token = signing::key::random_bytes().map_err(|error| unavailable(&error.to_string()))?;
        let begun = Instant::now();
        // What was sent and not answered, and how often the head had been put before it.
        let mut in_doubt: Option<(i64, Plan)> = None;
        loop {
            let state = read(&self.client, &self.layout, batch).await?;
            if let Some((version, plan)) = &in_doubt {
                match batch::happened(&state, &token, *version) {
                    Some(true) => return Ok(self.done(plan)),
                    Some(false) => {}
                    None => return Err(unavailable("whether a commit has happened cannot be told any more")),
                }
            }
            let plan = batch::plan(&self.layout, &state, batch, token)?;
            let Some(request) = plan.request.clone() else {
                return Ok(plan.outcomes);
            };
            match self.client.write(request).await {
                Ok(answer) if answer.succeeded => return Ok(self.done(&plan)),
                // Another authority was first, or an earlier try of this very batch arrived late.
                Ok(_) if begun.elapsed() < PATIENCE => continue,
                Ok(_) => return Err(unavailable("other commits keep overtaking this one")),
                Err(Unanswered::Refused(error)) => return Err(error),
                Err(Unanswered::Doubtful(error)) if begun.elapsed() >= PATIENCE => return Err(error),
                Err(Unanswered::Doubtful(_)) => {
                    in_doubt = Some((state.head_version, plan));
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// The batch is committed. Its rows are announced by [`super::follow`], as everybody's are.
    fn done(&self, plan: &Plan) -> Vec<Result<u64, StoreError>> {
        self.announced.grown(plan.committed.revision);
        plan.outcomes.clone()
    }
}

/// The first of what waits that go together into one etcd transaction: at least one.
fn take(waiting: &mut std::collections::VecDeque<Commit>) -> Vec<Commit> {
    let (mut batch, mut operations, mut bytes) = (Vec::new(), 0_usize, 0_usize);
    while let Some(next) = waiting.front() {
        operations = operations.saturating_add(next.prepared.operations());
        bytes = bytes.saturating_add(next.prepared.bytes);
        let is_full = batch.len() >= MAX_TRANSACTIONS || operations > MAX_OPERATIONS || bytes > MAX_TRANSACTION;
        if is_full && !batch.is_empty() {
            break;
        }
        batch.extend(waiting.pop_front());
    }
    batch
}

/// The head and the rows that a batch is about, all as they are at one moment.
async fn read(client: &Client, layout: &Layout, batch: &[Prepared]) -> Result<State, StoreError> {
    let mut paths: Vec<&str> = batch.iter().flat_map(Prepared::paths).collect();
    paths.sort_unstable();
    paths.dedup();
    let (first, rest) = paths.split_at(paths.len().min(READ_AT_ONCE));
    let row = |path: &&str, revision| RangeRequest {
        revision,
        ..proto::one(layout.row(path))
    };
    let ranges = std::iter::once(proto::one(layout.head())).chain(first.iter().map(|path| row(path, 0)));
    let mut answers = vec![client.read(ranges.collect()).await?];
    let revision = proto::revision(answers.first().and_then(|answer| answer.header.as_ref()));
    for some in rest.chunks(READ_AT_ONCE) {
        let ranges = some.iter().map(|path| row(path, revision));
        answers.push(client.read(ranges.collect()).await?);
    }
    let mut state = State::default();
    let head = layout.head();
    for operation in answers.into_iter().flat_map(|answer| answer.responses) {
        let Some(Response::ResponseRange(found)) = operation.response else {
            return Err(unavailable("etcd answered something else than was asked"));
        };
        for kv in found.kvs {
            if kv.key == head {
                state.head = Head::decode(&kv.value)?;
                (state.head_put, state.head_version) = (kv.mod_revision, kv.version);
            } else if let Some(path) = layout.path(&kv.key) {
                state.rows.insert(path.to_owned(), Stored::decode(&kv.value)?);
            }
        }
    }
    Ok(state)
}
