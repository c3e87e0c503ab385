//! Reads an audit spool from a backup on, and does to the restored state what it says was done.

use std::collections::BTreeSet;
use std::path::Path;

use audit::log::LogError;
use audit::log::read::View;
use audit::record::Record;
use serde::Serialize;
use signing::encoding::{from_hex, hex};

use super::history::History;
use crate::approvals::{Domain, Safeguards};
use crate::backup::format::AuditPosition;
use crate::edge_trust;
use crate::edges::{EdgeRecord, EdgeState};
use crate::fault::Fault;
use crate::halts::{Halt, HaltRecord};
use crate::keys::{KeyRecord, Note, State, compromise};
use crate::kms::access_key::{AccessKeyRecord, Status};
use crate::kms::is_recorder;
use crate::log_place::LogPlace;
use crate::names::EdgeId;
use crate::paths;
use crate::rotation;
use crate::sealed::{Change, Vault};
use crate::stops::{Stops, needs_review, stops_key};

/// Why a key is marked or held by a replay.
const KEY_REASON: &str = "so it was after the backup that this authority was restored from";
const SECONDS_PER_DAY: u64 = 86_400;
/// Why an edge was revoked by a replay.
const REASON: &str = "revoked after the backup that this authority was restored from";

/// One thing that was stopped again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// `key`, `access_key`, `edge`, `edge_trust`, `stop`, `rollout` or `safeguards`.
    pub what: &'static str,
    /// Its id.
    pub id: String,
    /// What the record says was done to a key.
    pub operations: Vec<String>,
    /// Whether it is stopped by this; else it was already, or is not there.
    pub stopped: bool,
    /// What is left to do.
    pub to_do: Option<&'static str>,
}

/// The last record of an authority that is not running; none where it never had one.
pub(crate) fn end(directory: &Path) -> Result<Option<AuditPosition>, Fault> {
    if !directory.exists() {
        return Ok(None);
    }
    let broken = |error: audit::read::ReadError| Fault::invalid("bad_audit", error.to_string());
    let mut last = None;
    for record in audit::read::tail(directory, false).map_err(broken)? {
        let record = record.map_err(broken)?;
        last = Some(AuditPosition {
            incarnation: record.incarnation,
            sequence: record.sequence,
        });
    }
    Ok(last)
}

/// What is stopped at the end of the record behind `from`, or of all of it. Its log, if it is there, has
/// what the spool does not hold any more. Nothing may be missing between the two. Blocks on the disk.
pub(super) fn read(directory: &Path, log: &LogPlace, from: Option<&AuditPosition>) -> Result<Stops, Fault> {
    let broken = |what: String| Fault::invalid("bad_audit", format!("audit spool `{}`: {what}", directory.display()));
    let report = audit::verify::directory(directory).map_err(|error| broken(error.to_string()))?;
    if let Some(fault) = report.faults.first() {
        return Err(broken(format!("it is damaged ({fault}); take another copy")));
    }
    let elsewhere = |what: String| broken(format!("{what}; name the directory of a whole copy, with --audit"));
    let damaged = |error: LogError| broken(format!("its log `{log}`: {error}"));
    let is_log = View::name_of(log.reader().as_ref())
        .map_err(|error| damaged(error.into()))?
        .is_some();
    let mut history = History::new(from);
    let mut own = report.chains.iter().any(|chain| is_recorder(&chain.edge));
    let foreign = !own && !report.chains.is_empty();
    if is_log {
        let mut taken = Ok(());
        let take = |_, record: Record| {
            if is_recorder(&record.edge) {
                own = true;
                taken = history.take(&record);
            }
            taken.is_ok()
        };
        let view = log.view(None).map_err(damaged)?;
        view.records(0, take).map_err(damaged)?;
        taken.map_err(elsewhere)?;
    }
    if foreign || !own {
        return Err(broken("it is not an authority's, or is empty".to_owned()));
    }
    history.next_source();
    for record in audit::read::tail(directory, false).map_err(|error| broken(error.to_string()))? {
        let record = record.map_err(|error| broken(error.to_string()))?;
        history.take(&record).map_err(elsewhere)?;
    }
    if report.chains.is_empty() && history.is_open() {
        return Err(elsewhere(
            "it is empty, and the log beside it ends before its last process did, whose last records are missing"
                .into(),
        ));
    }
    history.stops().ok_or_else(|| {
        let (sequence, incarnation) = from.map_or((0, ""), |at| (at.sequence, &at.incarnation));
        broken(format!(
            "it does not reach back to the backup (record {sequence} of the process `{incarnation}`); name the directory of the \
             authority that the backup was made of, with --audit"
        ))
    })
}

/// Stops all of it; answers what was done, and what cannot be done from the record alone. Doing it twice changes nothing.
pub(super) async fn apply(vault: &Vault, stops: Stops, now: u64) -> Result<(Vec<Replayed>, Vec<String>), Fault> {
    let mut done = stop_keys(vault, &stops, now).await?;
    done.extend(narrow_safeguards(vault, &stops).await?);
    for id in &stops.access_keys {
        let stopped = stop_access_key(vault, id).await?;
        done.push(replayed("access_key", id, stopped));
    }
    for id in &stops.edges {
        let stopped = revoke_edge(vault, id, now).await?;
        done.push(replayed("edge", id, stopped));
    }
    for (name, with_edges) in &stops.edge_trust {
        let stopped = stop_edge_trust(vault, name, *with_edges, now).await?;
        done.push(replayed("edge_trust", name, stopped));
    }
    for name in &stops.halts {
        let stopped = halt(vault, name, now).await?;
        done.push(replayed("stop", name, stopped));
    }
    for plugin in &stops.rollouts {
        let ended = crate::rollout::end_again(vault, plugin, now).await?;
        done.push(replayed("rollout", plugin, ended));
    }
    Ok((done, outstanding(vault, &stops).await?))
}

fn replayed(what: &'static str, id: &str, stopped: bool) -> Replayed {
    Replayed {
        what,
        id: id.to_owned(),
        operations: Vec::new(),
        stopped,
        to_do: None,
    }
}

/// Every region's row of each key, whichever account the caller was of: ids are unique.
async fn stop_keys(vault: &Vault, stops: &Stops, now: u64) -> Result<Vec<Replayed>, Fault> {
    let mut done: Vec<Replayed> = Vec::new();
    if stops.keys.is_empty() {
        return Ok(done);
    }
    let rows = vault.all::<KeyRecord>(paths::KEYS).await?;
    for (id, operations) in &stops.keys {
        let mut stopped = false;
        for (path, held) in rows.iter().filter(|(_, held)| held.value.id == *id) {
            let mut key = held.value.clone();
            stop_key(&mut key, operations, stops.versions.get(id), now);
            if key != held.value {
                vault.commit(Change::new().replace(path, &key, held.stamp)).await?;
                stopped = true;
            }
        }
        let to_do = if needs_review(operations) {
            Some(
                "review its policy, grants, material, holds and marks, which are those of the backup, before it is enabled",
            )
        } else if operations.contains("kms:ScheduleKeyDeletion") {
            Some("it was scheduled for deletion: schedule that again")
        } else {
            None
        };
        done.push(Replayed {
            what: "key",
            id: id.clone(),
            operations: operations.iter().cloned().collect(),
            stopped,
            to_do,
        });
    }
    Ok(done)
}

/// As far as the record tells what was done to it.
fn stop_key(key: &mut KeyRecord, operations: &BTreeSet<String>, marked: Option<&BTreeSet<String>>, now: u64) {
    let did = |operation: &str| operations.contains(operation);
    let mark = Note {
        reason: KEY_REASON.to_owned(),
        by: "restore:replay".to_owned(),
        at: now,
    };
    if key.state == State::Enabled && stops_key(operations) {
        key.state = State::Disabled;
    }
    if did("kms:CancelKeyDeletion") && key.state.is_pending_deletion() {
        key.state = State::Disabled;
    }
    if did("kms:MarkKeyCompromised") {
        compromise(key, &mark, now);
    }
    for kid in marked.into_iter().flatten() {
        rotation::compromise(&mut key.versions, kid, now);
    }
    if did("kms:HoldKey") {
        key.protection.hold.get_or_insert(mark);
    }
}

/// Deletions that were taken back since must not come true before somebody has looked: each waits its whole window again.
pub(super) async fn postpone_deletions(vault: &Vault, now: u64) -> Result<(), Fault> {
    for (path, held) in vault.all::<KeyRecord>(paths::KEYS).await? {
        let State::PendingDeletion { at, window_days } = held.value.state else {
            continue;
        };
        let again = now.saturating_add(u64::from(window_days).saturating_mul(SECONDS_PER_DAY));
        if again > at {
            let mut key = held.value;
            key.state = State::PendingDeletion { at: again, window_days };
            vault.commit(Change::new().replace(path, &key, held.stamp)).await?;
        }
    }
    Ok(())
}

/// Takes the approvers away that were taken away, and says whose safeguards are to be looked at.
async fn narrow_safeguards(vault: &Vault, stops: &Stops) -> Result<Vec<Replayed>, Fault> {
    let mut done = Vec::new();
    for (domain, removed) in &stops.safeguards {
        let mut stopped = false;
        if let Ok(named) = Domain::parse(domain) {
            let path = paths::safeguards(&named);
            if let Some(mut held) = vault.get::<Safeguards>(&path).await? {
                let before = held.value.approvers.len();
                held.value
                    .approvers
                    .retain(|approver| !removed.contains(&approver.name));
                if held.value.approvers.len() != before {
                    vault
                        .commit(Change::new().replace(path, &held.value, held.stamp))
                        .await?;
                    stopped = true;
                }
            }
        }
        done.push(Replayed {
            what: "safeguards",
            id: domain.clone(),
            operations: removed.iter().map(|name| format!("removed {name}")).collect(),
            stopped,
            to_do: Some("review its quorum, approvers and deletion guard, which are those of the backup otherwise"),
        });
    }
    Ok(done)
}

async fn stop_access_key(vault: &Vault, id: &str) -> Result<bool, Fault> {
    let path = paths::access_key(id);
    let held = vault.get::<AccessKeyRecord>(&path).await?;
    let Some(mut held) = held.filter(|held| held.value.status == Status::Active) else {
        return Ok(false);
    };
    held.value.status = Status::Inactive;
    let change = Change::new().replace(path, &held.value, held.stamp);
    vault.commit(change).await.map(|_| true)
}

async fn revoke_edge(vault: &Vault, id: &str, now: u64) -> Result<bool, Fault> {
    let path = format!("{}{id}", paths::EDGES);
    let held = vault.get::<EdgeRecord>(&path).await?;
    let Some(mut held) = held.filter(|held| held.value.state == EdgeState::Active) else {
        return Ok(false);
    };
    held.value.state = EdgeState::Revoked {
        at: now,
        reason: REASON.to_owned(),
    };
    held.value.certificates.clear();
    let change = Change::new().replace(path, &held.value, held.stamp);
    vault.commit(change).await.map(|_| true)
}

/// Stops a trust rule and, where that was done, revokes the edges that it enrolled before the backup; later ones are not known
/// here.
async fn stop_edge_trust(vault: &Vault, name: &str, with_edges: bool, now: u64) -> Result<bool, Fault> {
    let Ok(name) = EdgeId::parse(name) else {
        return Ok(false);
    };
    let mut stopped = edge_trust::stop(vault, &name, now).await?;
    if with_edges {
        for (_, held) in vault.all::<EdgeRecord>(paths::EDGES).await? {
            if held.value.enrolled_by.as_ref() == Some(&name) {
                stopped |= revoke_edge(vault, held.value.id.as_str(), now).await?;
            }
        }
    }
    Ok(stopped)
}

/// A name that does not read stops everything: better too much than too little.
async fn halt(vault: &Vault, name: &str, now: u64) -> Result<bool, Fault> {
    let halt = Halt::parse(name).unwrap_or(Halt::Everything);
    let path = paths::halt(&halt);
    if vault.get::<HaltRecord>(&path).await?.is_some() {
        return Ok(false);
    }
    let record = HaltRecord {
        reason: KEY_REASON.to_owned(),
        by: "restore:replay".to_owned(),
        at: now,
    };
    vault.commit(Change::new().create(path, &record)).await.map(|_| true)
}

/// A bundle's content is not on record: only whether the one in force is the last one that was published.
async fn outstanding(vault: &Vault, stops: &Stops) -> Result<Vec<String>, Fault> {
    let Some(last) = &stops.bundle else {
        return Ok(Vec::new());
    };
    let in_force = crate::bundle::load(vault).await?;
    let in_force = in_force.and_then(|published| from_hex(&published.digest));
    if in_force.as_deref() == Some(last.as_slice()) {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "another bundle was published after the backup (sha256:{}): start the authority, apply that bundle with `signet bundle \
         apply`, stop it and replay again",
        hex(last)
    )])
}
