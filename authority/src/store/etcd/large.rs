//! Values that are too long for one etcd request (1.5 MiB by default, and a transaction is one): they are put in pieces first, and
//! the transaction puts only where they are.
//!
//! A marker says that pieces are there for a transaction that has not been committed, and the commit takes it away. What a
//! process leaves behind when it dies is swept by its marker. A commit demands its marker and a sweep takes it first, so that no
//! row ever names pieces that were swept. A crash between any two of these steps leaves pieces that nobody reads, no more.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::super::{StoreError, Transaction, Write};
use super::batch::Prepared;
use super::client::{Client, PAUSE, Unanswered, unavailable};
use super::layout::{Chunks, Layout, Token, Value, corrupt};
use super::proto::{self, RequestOp, TxnRequest};

/// Longest value in a row itself, bytes: keeps pages of rows short.
const MAX_INLINE: usize = 64 << 10;
/// Bytes of a transaction's own values and paths; with what surrounds them they stay below etcd's 1.5 MiB.
pub(super) const MAX_TRANSACTION: usize = 1 << 20;
/// Bytes of a piece.
const PIECE: usize = 512 << 10;
/// Pieces read at once.
const AT_ONCE: i64 = 16;
/// Tries of a piece whose answer did not come. Putting it twice is putting it once.
const TRIES: u32 = 40;
/// A marker that is there at two looks so far apart is of a process that died: no commit takes as long.
const SWEEP: Duration = Duration::from_secs(3600);

/// Puts the long values of a transaction aside. Nothing of it is seen until it is committed.
pub(super) async fn prepare(
    client: &Client,
    layout: &Layout,
    transaction: Transaction,
) -> Result<Prepared, StoreError> {
    let long = choose(&transaction);
    if long.is_empty() {
        return Ok(Prepared::new(transaction, |_, value| Value::Inline(value.into())));
    }
    let stage: Token = signing::key::random_bytes().map_err(|error| unavailable(&error.to_string()))?;
    let marker = layout.marker(&stage);
    put(client, None, proto::put(marker.clone(), Bytes::new())).await?;
    let mut aside: Vec<(Chunks, Bytes)> = Vec::new();
    let mut prepared = Prepared::new(transaction, |index, value| match long.contains(&index) {
        true => {
            let len = u64::try_from(value.len()).unwrap_or(u64::MAX);
            let chunks = Chunks { stage, index, len };
            aside.push((chunks, value.into()));
            Value::Chunked(chunks)
        }
        false => Value::Inline(value.into()),
    });
    prepared.stage = Some(stage);
    for (chunks, value) in aside {
        for (number, piece) in value.chunks(PIECE).enumerate() {
            let piece = proto::put(layout.chunk(&chunks, number), value.slice_ref(piece));
            put(client, Some(&marker), piece).await?;
        }
    }
    Ok(prepared)
}

/// Takes back what was put aside for a transaction that did not happen. What stays is swept.
pub(super) async fn discard(client: &Client, layout: &Layout, stage: &Token) {
    let marker = layout.marker(stage);
    if let Some(name) = layout.stage_of(&marker) {
        let _ = sweep_one(client, layout, &marker, &name).await;
    }
}

/// The value of a row that was read at an etcd revision.
pub(super) async fn resolve(
    client: &Client,
    layout: &Layout,
    value: Value,
    revision: i64,
) -> Result<Vec<u8>, StoreError> {
    let chunks = match value {
        Value::Inline(value) => return Ok(value.into()),
        Value::Chunked(chunks) => chunks,
    };
    let mut whole = Vec::new();
    let (mut from, end) = layout.chunks(&chunks);
    while u64::try_from(whole.len()).unwrap_or(u64::MAX) < chunks.len {
        let mut range = proto::between((from, end.clone()));
        (range.limit, range.revision) = (AT_ONCE, revision);
        let pieces = client.range(range).await?.kvs;
        let Some(last) = pieces.last() else { break };
        from = [last.key.as_ref(), &[0]].concat();
        pieces.iter().for_each(|piece| whole.extend_from_slice(&piece.value));
    }
    if u64::try_from(whole.len()) == Ok(chunks.len) {
        return Ok(whole);
    }
    Err(corrupt("pieces of a long value are missing"))
}

/// Sweeps for as long as the store is open.
pub(super) async fn keep_sweeping(client: Arc<Client>, layout: Layout) {
    let mut before = HashSet::new();
    loop {
        match sweep(&client, &layout, &before).await {
            Ok(seen) => before = seen,
            Err(error) => tracing::warn!(%error, "what dead processes left in etcd was not swept"),
        }
        sleep(SWEEP).await;
    }
}

/// Sweeps the stages that were there at the look before; answers those that are there now.
async fn sweep(client: &Client, layout: &Layout, before: &HashSet<Bytes>) -> Result<HashSet<Bytes>, StoreError> {
    let mut range = proto::between(layout.markers());
    range.keys_only = true;
    let found: HashSet<Bytes> = client.range(range).await?.kvs.into_iter().map(|kv| kv.key).collect();
    for marker in found.intersection(before) {
        if let Some(stage) = layout.stage_of(marker) {
            sweep_one(client, layout, marker, &stage).await?;
        }
    }
    Ok(found)
}

async fn sweep_one(client: &Client, layout: &Layout, marker: &[u8], stage: &[u8]) -> Result<(), StoreError> {
    let marker = marker.to_vec();
    let both = vec![
        proto::delete(marker.clone()),
        proto::delete_between(layout.stage(stage)),
    ];
    put(client, Some(&marker), proto::all_of(both))
        .await
        .or_else(|error| match error {
            // Its commit came first, or another sweep.
            StoreError::Conflict { .. } => Ok(()),
            error => Err(error),
        })
}

/// Does what may be done twice, until it is done; while a marker is there, where one is named.
async fn put(client: &Client, marker: Option<&[u8]>, operation: RequestOp) -> Result<(), StoreError> {
    let request = TxnRequest {
        compare: marker
            .map(|marker| proto::exists(marker.to_vec()))
            .into_iter()
            .collect(),
        success: vec![operation],
        failure: Vec::new(),
    };
    let mut tries = 0;
    loop {
        match client.write(request.clone()).await {
            Ok(answer) if answer.succeeded => return Ok(()),
            Ok(_) => {
                return Err(StoreError::Conflict {
                    path: "(a long value's marker)".to_owned(),
                });
            }
            Err(Unanswered::Refused(error)) => return Err(error),
            Err(Unanswered::Doubtful(error)) if tries >= TRIES => return Err(error),
            Err(Unanswered::Doubtful(_)) => {
                tries = tries.saturating_add(1);
                sleep(PAUSE).await;
            }
        }
    }
}

/// The numbers of the writes whose values are put aside: all long ones, and the longest of the others until the rest is short
/// enough together.
fn choose(transaction: &Transaction) -> HashSet<u32> {
    let mut values: Vec<(usize, u32)> = Vec::new();
    let mut rest: usize = 0;
    for (index, write) in (0_u32..).zip(&transaction.writes) {
        rest = rest.saturating_add(write.path().len());
        if let Write::Put { value, .. } = write {
            values.push((value.len(), index));
            rest = rest.saturating_add(value.len());
        }
    }
    values.sort_unstable_by(|a, b| b.cmp(a));
    let mut long = HashSet::new();
    for (len, index) in values {
        if len <= MAX_INLINE && rest <= MAX_TRANSACTION {
            break;
        }
        rest = rest.saturating_sub(len);
        long.insert(index);
    }
    long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_aside_leaves_a_short_transaction() {
        let of = |lens: &[usize]| {
            let transaction = lens.iter().enumerate().fold(Transaction::new(), |all, (n, len)| {
                all.put(format!("{n}"), vec![0; *len])
            });
            let mut chosen: Vec<u32> = choose(&transaction).into_iter().collect();
            chosen.sort_unstable();
            chosen
        };
        assert_eq!(of(&[0, 10, MAX_INLINE]), [0; 0]);
        assert_eq!(of(&[0, MAX_INLINE + 1, 16 << 20]), [1, 2]);
        // 32 values of 60 KiB: what stays is below the bound, and no more goes than has to.
        let many = vec![60 << 10; 32];
        let aside = of(&many).len();
        assert!((many.len() - aside) * (60 << 10) <= MAX_TRANSACTION);
        assert!((many.len() - aside + 1) * (60 << 10) + 100 > MAX_TRANSACTION);
    }
}
