//! What other authorities commit, as etcd's watch tells it: a hint, and a complete one while the stream lasts.
//!
//! Each commit changes the head and its rows at one etcd revision, and etcd tells all of a revision at once. A stream that
//! breaks goes on where it was; where etcd no longer has what lies between, a commit without rows says that there is a gap.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::super::{Committed, StoreError};
use super::client::{Client, unavailable};
use super::layout::{Head, Layout};
use super::proto::{self, Event, WatchResponse};
use super::writer::Announced;

/// Between two streams.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two looks at the head: a stream that has not told by the second what the first found is left.
const LOOK: Duration = Duration::from_secs(1);

/// How far etcd was followed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// The etcd revision.
    pub(super) etcd: i64,
    /// The store's revision in it.
    pub(super) store: u64,
}

/// Where the store is now.
pub(super) async fn position(client: &Client, layout: &Layout) -> Result<Position, StoreError> {
    let found = client.range(proto::one(layout.head())).await?;
    let head = found.kvs.first().map(|kv| Head::decode(&kv.value)).transpose()?;
    Ok(Position {
        etcd: proto::revision(found.header.as_ref()),
        store: head.unwrap_or_default().revision,
    })
}

/// Announces commits until the store is dropped.
pub(super) async fn follow(client: Arc<Client>, layout: Layout, announced: Announced, mut at: Position) {
    loop {
        match stream(&client, &layout, &announced, &mut at).await {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the watch of etcd ended; it is made again"),
        }
        sleep(PAUSE).await;
    }
}

/// Reads one stream. `Ok` where it cannot go on from here, and a gap was announced.
async fn stream(client: &Client, layout: &Layout, announced: &Announced, at: &mut Position) -> Result<(), StoreError> {
    let range = (layout.head(), layout.rows_end());
    let mut stream = client.watch(range, at.etcd.saturating_add(1)).await?;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut owed = 0;
    loop {
        tokio::select! {
            told = stream.message() => match told {
                Ok(Some(told)) if told.canceled && told.compact_revision > 0 => {
                    return gap(client, layout, announced, at).await;
                }
                Ok(Some(told)) if told.canceled => return Err(unavailable(&told.cancel_reason)),
                Ok(Some(told)) => take(layout, announced, at, told)?,
                Ok(None) => return Err(unavailable("the stream ended")),
                Err(status) => {
                    client.leave();
                    return Err(unavailable(status.message()));
                }
            },
            _ = look.tick() => {
                let newest = position(client, layout).await?.store;
                announced.grown(newest);
                if at.store < owed {
                    client.leave();
                    return Err(unavailable("the stream has stopped"));
                }
                owed = newest;
            }
        }
    }
}

async fn gap(client: &Client, layout: &Layout, announced: &Announced, at: &mut Position) -> Result<(), StoreError> {
    *at = position(client, layout).await?;
    announce(announced, at.store, at.store, Vec::new());
    Ok(())
}

/// Announces what happened, one etcd revision after the other.
fn take(layout: &Layout, announced: &Announced, at: &mut Position, told: WatchResponse) -> Result<(), StoreError> {
    let head = layout.head();
    let put = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
    for events in told.events.chunk_by(|a, b| put(a) == put(b)) {
        let (mut grown, mut paths) = (None, Vec::new());
        for kv in events.iter().filter_map(|event| event.kv.as_ref()) {
            if kv.key == head {
                grown = Some(Head::decode(&kv.value)?);
            } else {
                paths.extend(layout.path(&kv.key).map(str::to_owned));
            }
        }
        at.etcd = events.last().map_or(at.etcd, put);
        if let Some(Head { before, revision, .. }) = grown {
            at.store = revision;
            announce(announced, before, revision, paths);
        }
    }
    Ok(())
}

fn announce(announced: &Announced, before: u64, revision: u64, paths: Vec<String>) {
    // Nobody listening is fine: who begins to reads everything.
    let _ = announced.commits.send(Committed {
        before,
        revision,
        paths: paths.into(),
    });
    announced.grown(revision);
}
