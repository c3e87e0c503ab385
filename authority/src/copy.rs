//! Copies of a whole store: from the embedded one to etcd, back, or from one etcd to another, with no authority running.
//!
//! Rows go as they are, sealed: the HSM stays the same one. The copy begins a new life: its revision is beyond all that the
//! original can have had, so that no edge takes what comes for old. It becomes an authority with the last commit, once every row has
//! been read back and compared. What was interrupted before that does not start.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use http::HeaderMap;
use node::telemetry::Metrics;
use serde::Serialize;
use signing::encoding::hex;

use crate::config::Config;
use crate::fault::Fault;
use crate::init;
use crate::kms::{Decided, Entry};
use crate::leader;
use crate::paths;
use crate::seal::{Seal, next_life};
use crate::sealed::Vault;
use crate::serve::{Parts, StartError, open_recorder};
use crate::store::{MAX_SCAN, Row, Snapshot, Store, Transaction};

/// Rows put in one transaction.
const BATCH: usize = 200;
/// How much later than it could an authority begins to lead at most: it looks each second.
const MARGIN: Duration = Duration::from_secs(3);

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Rows, all of them read back and compared.
    pub rows: u64,
    /// SHA-256 over paths and values in order, hex: of the original and of the copy.
    pub sha256: String,
    /// The original's revision.
    pub from_revision: u64,
    /// The copy's, beyond that.
    pub revision: u64,
}

/// Copies the store that `from` names into the one that `to` names. `progress` is told how many rows of how many are done, read
/// back included.
///
/// # Errors
/// [`StartError`]: an authority runs on the original, it is sealed or none, the two share a directory, or the target has something in
/// it. Nothing that starts has been made then.
pub async fn copy(from: &Config, to: &Config, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, StartError> {
    let invalid = |(field, message)| StartError::Config { field, message };
    from.check().map_err(invalid)?;
    to.check().map_err(invalid)?;
    if from.store_name() == to.store_name() {
        let message = format!("both configurations name the store {}", from.store_name());
        return Err(Fault::state("same_store", message).into());
    }
    demand_apart(from, to)?;
    demand_same_domain(from, to)?;
    let original = Parts::open(from).await?;
    let opened = Parts::with_hsm(to, original.hsm.clone()).await;
    let target = match opened {
        Ok(target) => target,
        Err(error) => {
            original.close();
            return Err(error);
        }
    };
    let result = copied(from, to, (&original, &target), progress).await;
    let recorded = record(to, &target, &result).await;
    original.close();
    target.close();
    let report = result?;
    recorded.map(|()| report)
}

/// Refuses a copy that shares the original's directory or anchor: the copy's anchor would take the place of the original's, whose
/// audit log is none of the copy's. Neither of the two would start.
fn demand_apart(from: &Config, to: &Config) -> Result<(), Fault> {
    let refuse = |field, path: &Path| {
        let message = format!(
            "both configurations have the {field} `{}`; give that of `--to` a {field} of its own: each of the two has its own audit \
             spool, audit log and anchor",
            path.display()
        );
        Err(Fault::state("same_directory", message))
    };
    if is_same(&from.data_dir, &to.data_dir) {
        return refuse("data_dir", &to.data_dir);
    }
    let (original, copy) = (from.anchor(), to.anchor());
    match is_same(original.file(), copy.file()) {
        true => refuse("anchor_file", copy.file()),
        false => Ok(()),
    }
}

/// Refuses a copy that no authority would start on: the roots in it are of the original's trust domain.
fn demand_same_domain(from: &Config, to: &Config) -> Result<(), Fault> {
    let (one, other) = (&from.trust_domain, &to.trust_domain);
    if one == other {
        return Ok(());
    }
    let message =
        format!("the `trust_domain` of `--from` is `{one}` and that of `--to` is `{other}`; give both the first");
    Err(Fault::state("other_trust_domain", message))
}

/// Whether two paths lead to the same place, which need not be there.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    one == other || matches!((place(one), place(other)), (Ok(one), Ok(other)) if one == other)
}

async fn copied(
    from: &Config,
    to: &Config,
    (original, target): (&Parts, &Parts),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, Fault> {
    let vault = Vault::new(original.store.clone(), original.hsm.clone());
    init::load_roots(&vault, &from.trust_domain).await?;
    Seal::examine(&vault, &from.anchor()).await?.demand_open()?;
    if target.store.revision().await? != 0 {
        let message = format!(
            "{} has something in it already; name an empty one, or remove what an interrupted copy left there",
            to.store_name()
        );
        return Err(Fault::state("not_empty", message));
    }
    demand_idle(&*original.store).await?;
    let snapshot = original.store.snapshot().await?;
    let base = next_life(snapshot.revision(), original.clock.now());
    let total = snapshot.rows().saturating_mul(2);
    let (mut last, mut done) = (None, 0_u64);
    let mut pages = Pages::of(&*snapshot);
    while let Some(page) = pages.next().await? {
        for batch in page.chunks(BATCH) {
            let mut transaction = Transaction::new().raise_to(base);
            for (path, row) in batch {
                if path == paths::AUTHORITY {
                    last = Some(row.value.clone());
                } else if goes(path) {
                    transaction = transaction.absent(path).put(path, row.value.clone());
                }
            }
            target.store.commit(transaction).await?;
            done = done.saturating_add(u64::try_from(batch.len()).unwrap_or_default());
            progress(done, total);
        }
    }
    let copy = target.store.snapshot().await?;
    let mut tell = |read| progress(done.saturating_add(read), total);
    let (rows, sha256) = compare(&*snapshot, &*copy, &mut tell).await?;
    if original.store.revision().await? != snapshot.revision() {
        return Err(running());
    }
    let last = last.ok_or_else(|| Fault::internal("the authority's row is gone"))?;
    let now = Transaction::new().absent(paths::AUTHORITY).put(paths::AUTHORITY, last);
    target.store.commit(now).await?;
    let vault = Vault::new(target.store.clone(), target.hsm.clone());
    to.anchor().start_anew(&vault).await?;
    Ok(Report {
        rows,
        sha256,
        from_revision: snapshot.revision(),
        revision: target.store.revision().await?,
    })
}

/// Whether a row belongs to the state, and not to the processes that were on the old store: whoever starts on the copy makes an
/// anchor of its own, and the sums over the copy's rows begin with the copy.
fn goes(path: &str) -> bool {
    path != paths::LEADER && path != paths::SUMS && !path.starts_with(paths::ANCHOR)
}

/// Refuses a store on which an authority runs, as far as the embedded one's lock has not: one of those that run leads, or begins to
/// within this time, and that is a commit.
async fn demand_idle(store: &dyn Store) -> Result<(), Fault> {
    if !store.is_shared() {
        return Ok(());
    }
    let before = store.revision().await?;
    let was_led = store.get(paths::LEADER).await?.is_some();
    let wait = if was_led { leader::PATIENCE } else { Duration::ZERO };
    tokio::time::sleep(wait.saturating_add(MARGIN)).await;
    if store.revision().await? == before {
        Ok(())
    } else {
        Err(running())
    }
}

fn running() -> Fault {
    Fault::state(
        "running",
        "an authority runs on the store that is to be copied; stop every one, then copy into a store that is empty",
    )
}

/// Reads both from the beginning to the end; answers how many rows they share, and their digest. The authority's own row is not in
/// the copy yet.
async fn compare(
    original: &dyn Snapshot,
    copy: &dyn Snapshot,
    progress: &mut dyn FnMut(u64),
) -> Result<(u64, String), Fault> {
    let (mut left, mut right) = (Pages::of(original), Pages::of(copy));
    let (mut digest, mut read, mut compared) = (Context::new(&SHA256), 0_u64, 0_u64);
    loop {
        let row = left.row().await?;
        if let Some((path, row)) = &row {
            read = read.saturating_add(1);
            progress(read);
            if !goes(path) {
                continue;
            }
            let len = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes();
            for part in [&len(path.as_bytes())[..], path.as_bytes(), &len(&row.value), &row.value] {
                digest.update(part);
            }
            compared = compared.saturating_add(1);
            if path == paths::AUTHORITY {
                continue;
            }
        }
        let other = right.row().await?;
        let content = |row: &Option<(String, Row)>| row.as_ref().map(|(path, row)| (path.clone(), row.value.clone()));
        if content(&row) != content(&other) {
            let path = row.or(other).map(|(path, _)| path).unwrap_or_default();
            let detail = format!("`{path}` is not in the copy as it is in the original");
            return Err(Fault::Corrupt { detail });
        }
        if row.is_none() {
            return Ok((compared, hex(digest.finish().as_ref())));
        }
    }
}

/// The rows of a snapshot, page by page or one by one.
struct Pages<'a> {
    snapshot: &'a dyn Snapshot,
    after: Option<String>,
    page: std::collections::VecDeque<(String, Row)>,
}

impl<'a> Pages<'a> {
    fn of(snapshot: &'a dyn Snapshot) -> Self {
        Self {
            snapshot,
            after: None,
            page: std::collections::VecDeque::new(),
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<(String, Row)>>, Fault> {
        let page = self.snapshot.page(self.after.as_deref(), MAX_SCAN).await?;
        self.after = page.last().map(|(path, _)| path.clone());
        Ok(Some(page).filter(|page| !page.is_empty()))
    }

    async fn row(&mut self) -> Result<Option<(String, Row)>, Fault> {
        if self.page.is_empty()
            && let Some(page) = self.next().await?
        {
            self.page = page.into();
        }
        Ok(self.page.pop_front())
    }
}

/// Puts what was done or refused on the record of the authority that the copy is for.
async fn record(to: &Config, target: &Parts, result: &Result<Report, Fault>) -> Result<(), StartError> {
    let recorder = open_recorder(to, target.clock.clone(), &Metrics::new("signet_authority"))?;
    let recorded = recorder.record(Entry {
        operation: "store:Copy",
        caller: "operator:local",
        account: "",
        decided: Decided::default(),
        digest: None,
        refused: result.as_ref().err().map(Fault::code),
        request_id: uuid::Uuid::new_v4(),
        headers: &HeaderMap::new(),
    });
    let closed = tokio::task::spawn_blocking(move || recorder.close()).await;
    closed.map_err(|error| Fault::internal(error.to_string()))?;
    recorded.map_err(|refusal| Fault::internal(refusal.detail.unwrap_or_default()))?;
    Ok(())
}

#[cfg(test)]
mod tests;
