//! `GetKeyLastUsage`: remembered in memory with each use, and written down now and then.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decide::Facts;
use super::reference::KeyOnly;
use super::{KeyRecord, Keys, KmsError, Session};
use crate::fault::Fault;
use crate::paths;
use crate::sealed::Change;

/// Keys whose last use is written down in one change.
const BATCH: usize = 256;
/// Uses remembered between two writings; of more keys than that, the others' are not.
const MAX_KEYS: usize = 65_536;

/// The last use of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastUse {
    pub(super) operation: String,
    /// Unix seconds.
    pub(super) at: u64,
}

/// Uses that are not written down yet, by the path of their row. What was not written when the process died is lost: at
/// most the time between two writings.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashMap<String, LastUse>>);

pub(super) async fn get_key_last_usage(
    keys: &Keys,
    session: &Session<'_>,
    request: KeyOnly,
) -> Result<Value, KmsError> {
    let facts = Facts::new(&request.grant_tokens);
    let key = keys.find_by_id(session, &request.key_id, &facts).await?.value;
    let used = keys.last_use(&key).await?;
    let mut answer = json!({
        "KeyId": keys.arn(&key),
        "TrackingStartDate": key.created_at,
        "KeyCreationDate": key.created_at,
    });
    if let (Some(used), Some(members)) = (used, answer.as_object_mut()) {
        let used = json!({ "Operation": used.operation, "Timestamp": used.at });
        members.insert("KeyLastUsage".to_owned(), used);
    }
    Ok(answer)
}

impl Keys {
    /// The last use of a key that is known.
    pub(super) async fn last_use(&self, key: &KeyRecord) -> Result<Option<LastUse>, Fault> {
        let path = paths::usage(&key.tenant, &key.row());
        let remembered = self.uses.lock().get(&path).cloned();
        if remembered.is_some() {
            return Ok(remembered);
        }
        Ok(self.vault.get::<LastUse>(&path).await?.map(|row| row.value))
    }

    /// Remembers that the session's verb used a key.
    pub(super) fn note_use(&self, session: &Session<'_>, key: &KeyRecord) {
        let path = paths::usage(&key.tenant, &key.row());
        let mut uses = self.uses.lock();
        if uses.len() < MAX_KEYS || uses.contains_key(&path) {
            let operation = session.verb().to_owned();
            let at = self.clock.now();
            uses.insert(path, LastUse { operation, at });
        }
    }

    /// Writes down the uses since the last time.
    ///
    /// # Errors
    /// [`Fault`] of the store; what was not written is tried again.
    pub async fn write_uses(&self) -> Result<(), Fault> {
        loop {
            let batch: Vec<_> = {
                let uses = self.uses.lock();
                uses.iter()
                    .take(BATCH)
                    .map(|(path, used)| (path.clone(), used.clone()))
                    .collect()
            };
            if batch.is_empty() {
                return Ok(());
            }
            let mut change = Change::new();
            for (path, used) in &batch {
                let row = serde_json::to_vec(used)
                    .map_err(|error| Fault::internal(format!("a last use cannot be written: {error}")))?;
                change = change.overwrite_bytes(path.clone(), &row);
            }
            self.vault.commit(change).await?;
            let mut uses = self.uses.lock();
            for (path, written) in batch {
                if uses.get(&path) == Some(&written) {
                    uses.remove(&path);
                }
            }
        }
    }
}

impl Uses {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, LastUse>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a key that is gone.
    pub(super) fn forget(&self, path: &str) {
        self.lock().remove(path);
    }
}
