//! The store of several authorities: an etcd cluster, version 3.4 or later, over its gRPC API.
//!
//! The store's revision is a row of its own, the head, that every commit raises under a compare: commits of all authorities happen
//! one after the other. That is what makes revisions dense, lets them be raised at will, and lets a commit whose answer
//! got lost be found again ([`writer`]). docs/decisions/0012-etcd.md says what else was weighed.
//!
//! Reads are linearizable: a member that has lost its leader does not answer them. Nothing rests on etcd's leases, and on its
//! watch only what is a hint.

use std::sync::Arc;

use async_trait::async_trait;
use node::channel::Peer;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::sums::{Kept, SumKey, Summed, Sums};
use super::{
    COMMITS_KEPT, Committed, MAX_SCAN, Row, SNAPSHOT_PAGE, Snapshot, Store, StoreError, Transaction, check, check_path,
};
use client::{Client, unavailable};
use layout::{Head, Layout, Stored};
use proto::RangeRequest;
use writer::{Announced, Commit, Writer};

mod batch;
mod client;
mod follow;
mod large;
mod layout;
mod proto;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod writer;

/// Transactions that wait for the writer; more wait in their callers.
const QUEUE: usize = 256;
/// Rows in one answer of etcd: with the longest values that rows themselves have, 13 MB.
const ROWS_AT_ONCE: usize = 200;

/// Which etcd, and where in it.
#[derive(Clone, Debug)]
pub struct EtcdSettings {
    /// The members, at least one.
    pub members: Vec<Peer>,
    /// How members over TLS are verified, and what is shown to them.
    pub tls: Arc<rustls::ClientConfig>,
    /// What all keys begin with. Two authorities that are not replicas of each other never share one.
    pub prefix: String,
}

/// A [`Store`] in an etcd cluster.
pub struct EtcdStore {
    reader: Reader,
    commits: mpsc::Sender<Commit>,
    announced: Announced,
    tasks: Vec<JoinHandle<()>>,
}

/// What reads rows.
#[derive(Clone)]
struct Reader {
    client: Arc<Client>,
    layout: Layout,
}

impl EtcdStore {
    /// Finds where the store is, which is nowhere yet in an etcd without one.
    ///
    /// # Errors
    /// `Unavailable` when no member answers, after some seconds.
    pub async fn open(settings: &EtcdSettings) -> Result<Self, StoreError> {
        let client = Client::new(&settings.members, &settings.tls).map_err(|error| unavailable(&error.to_string()))?;
        let (client, layout) = (Arc::new(client), Layout::new(&settings.prefix));
        let at = follow::position(&client, &layout).await?;
        let announced = Announced {
            revisions: watch::channel(at.store).0,
            commits: broadcast::channel(COMMITS_KEPT).0,
        };
        let (commits, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            client: client.clone(),
            layout: layout.clone(),
            queue,
            announced: announced.clone(),
        };
        let tasks = vec![
            tokio::spawn(writer.run()),
            tokio::spawn(follow::follow(client.clone(), layout.clone(), announced.clone(), at)),
            tokio::spawn(large::keep_sweeping(client.clone(), layout.clone())),
        ];
        Ok(Self {
            reader: Reader { client, layout },
            commits,
            announced,
            tasks,
        })
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Reader {
    async fn row(&self, stored: Stored, revision: i64) -> Result<Row, StoreError> {
        Ok(Row {
            value: large::resolve(&self.client, &self.layout, stored.value, revision).await?,
            revision: stored.revision,
        })
    }

    /// Rows of a range, at an etcd revision or, for 0, the newest, until `limit` or `bytes` are reached.
    async fn rows(
        &self,
        mut range: RangeRequest,
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<(String, Row)>, StoreError> {
        let (mut rows, mut len) = (Vec::new(), 0_usize);
        while rows.len() < limit && len <= bytes {
            let wanted = limit.saturating_sub(rows.len()).min(ROWS_AT_ONCE);
            range.limit = i64::try_from(wanted).unwrap_or(i64::MAX);
            let found = self.client.range(range.clone()).await?;
            if range.revision == 0 {
                range.revision = proto::revision(found.header.as_ref());
            }
            let is_last = found.kvs.len() < wanted;
            for kv in found.kvs {
                if len > bytes {
                    return Ok(rows);
                }
                range.key = [kv.key.as_ref(), &[0]].concat().into();
                let path = self.layout.path(&kv.key).map(str::to_owned);
                let row = self.row(Stored::decode(&kv.value)?, range.revision).await?;
                len = len.saturating_add(row.value.len());
                rows.push((path.ok_or_else(|| layout::corrupt("a path is not UTF-8"))?, row));
            }
            if is_last {
                break;
            }
        }
        Ok(rows)
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, path: &str) -> Result<Option<Row>, StoreError> {
        check_path(path)?;
        let found = self
            .reader
            .client
            .range(proto::one(self.reader.layout.row(path)))
            .await?;
        let Some(kv) = found.kvs.first() else { return Ok(None) };
        let revision = proto::revision(found.header.as_ref());
        Ok(Some(self.reader.row(Stored::decode(&kv.value)?, revision).await?))
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Row)>, StoreError> {
        let range = self.reader.layout.rows(prefix, after);
        if range.key >= range.range_end {
            return Ok(Vec::new());
        }
        self.reader.rows(range, limit.min(MAX_SCAN), usize::MAX).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<u64, StoreError> {
        check(&transaction)?;
        let prepared = large::prepare(&self.reader.client, &self.reader.layout, transaction).await?;
        let stage = prepared.stage;
        let (answered, answer) = oneshot::channel();
        let stopped = || unavailable("its writer has stopped");
        self.commits
            .send(Commit { prepared, answered })
            .await
            .map_err(|_| stopped())?;
        let outcome = answer.await.map_err(|_| stopped())?;
        if let (Some(stage), Err(StoreError::Conflict { .. })) = (stage, &outcome) {
            large::discard(&self.reader.client, &self.reader.layout, &stage).await;
        }
        outcome
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.announced.revisions.subscribe()
    }

    fn commits(&self) -> broadcast::Receiver<Committed> {
        self.announced.commits.subscribe()
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        Ok(follow::position(&self.reader.client, &self.reader.layout).await?.store)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let at = follow::position(&self.reader.client, &self.reader.layout).await?;
        let counted = self.reader.client.range(RangeRequest {
            revision: at.etcd,
            count_only: true,
            ..self.reader.layout.rows("", None)
        });
        let rows = u64::try_from(counted.await?.count).unwrap_or_default();
        let reader = self.reader.clone();
        Ok(Box::new(EtcdSnapshot { reader, at, rows }))
    }
}

/// One etcd revision: etcd has it until it is compacted, which is not before an hour has passed where it is set up as the
/// guide says.
struct EtcdSnapshot {
    reader: Reader,
    at: follow::Position,
    rows: u64,
}

#[async_trait]
impl Snapshot for EtcdSnapshot {
    fn revision(&self) -> u64 {
        self.at.store
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    async fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<(String, Row)>, StoreError> {
        let range = RangeRequest {
            revision: self.at.etcd,
            ..self.reader.layout.rows("", after)
        };
        self.reader.rows(range, limit.min(MAX_SCAN), SNAPSHOT_PAGE).await
    }

    /// Of a long value the mark is over the name of its pieces, as it is at the commits.
    async fn sums(&self, key: &Arc<SumKey>) -> Result<Summed, StoreError> {
        let (client, layout) = (&self.reader.client, &self.reader.layout);
        let head = RangeRequest {
            revision: self.at.etcd,
            ..proto::one(layout.head())
        };
        let head = client
            .range(head)
            .await?
            .kvs
            .first()
            .map(|kv| Head::decode(&kv.value))
            .transpose()?;
        let mut range = RangeRequest {
            revision: self.at.etcd,
            limit: i64::try_from(ROWS_AT_ONCE).unwrap_or(i64::MAX),
            ..layout.rows("", None)
        };
        let mut found = Sums::default();
        loop {
            let kvs = client.range(range.clone()).await?.kvs;
            for kv in &kvs {
                let path = layout
                    .path(&kv.key)
                    .ok_or_else(|| layout::corrupt("a path is not UTF-8"))?;
                let revision = Stored::decode(&kv.value)?.revision;
                found.toggle(key, path, (revision, &kv.value));
            }
            let Some(last) = kvs.last() else { break };
            range.key = [last.key.as_ref(), &[0]].concat().into();
        }
        let kept = Kept::of(key, self.at.store, &head.unwrap_or_default().sums);
        Ok(Summed { found, kept })
    }
}
