//! Who used a key for what: counted in memory with each use, written down now and then, and what `GetKeyLastUsage` answers.
//!
//! A request costs no store write. What was not written when the process died is lost: at most the time between two
//! writings. A process that stops in order writes everything down.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use self::activity::Unwritten;
use self::tally::Use;
use super::decide::Facts;
use super::reference::KeyOnly;
use super::{KeyRecord, Keys, KmsError, Session};
use crate::fault::Fault;
use crate::paths;
use crate::sealed::Change;

pub(crate) use self::activity::Operations;
pub(crate) use self::tally::Tally;

mod activity;
pub(crate) mod tally;

/// Keys whose uses are written down in one change.
const BATCH: usize = 256;
/// Keys remembered between two writings; of more keys than that, the others' uses are not.
const MAX_KEYS: usize = 65_536;
/// Principals remembered between two writings, of all keys together; of more, the new ones are counted without a name.
const MAX_HELD: usize = 262_144;
/// Stands for principals that are not told apart.
pub(crate) const OTHERS: &str = "(others)";

/// Uses that are not written down yet.
#[derive(Default)]
pub(super) struct Uses {
    held: Mutex<Held>,
    /// Held while rows are written or read together with what is not in them yet, so that nothing is missed or counted twice.
    rows: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Held {
    /// By the path of their row.
    keys: HashMap<String, Tally>,
    /// As many as `keys` knows of, all together.
    principals: usize,
    activity: Unwritten,
}

pub(super) async fn get_key_last_usage(
    keys: &Keys,
    session: &Session<'_>,
    request: KeyOnly,
) -> Result<Value, KmsError> {
    let facts = Facts::new(&request.grant_tokens);
    let key = keys.find_by_id(session, &request.key_id, &facts).await?.value;
    // An empty object where it was never used.
    let used = match keys.use_of(&key).await? {
        Some(used) => json!({ "Operation": used.operation, "Timestamp": used.at }),
        None => json!({}),
    };
    Ok(json!({
        "KeyId": keys.arn(&key),
        "KeyLastUsage": used,
        "TrackingStartDate": key.created_at,
        "KeyCreationDate": key.created_at,
    }))
}

impl Keys {
    /// Counts that the session's verb used a key.
    pub(super) fn note_use(&self, session: &Session<'_>, key: &KeyRecord) {
        self.note(session, key, None);
    }

    /// Counts that the session's verb opened a ciphertext under one of the key's versions; none where it has but one.
    pub(super) fn note_opened(&self, session: &Session<'_>, key: &KeyRecord, version: Option<u32>) {
        self.note(session, key, version);
    }

    fn note(&self, session: &Session<'_>, key: &KeyRecord, opened: Option<u32>) {
        let path = paths::usage(&key.tenant, &key.row());
        let used = Use {
            operation: session.verb(),
            principal: Some(session.principal()),
            opened,
            at: self.clock.now(),
        };
        self.uses.lock().count(path, used);
    }

    /// What is known of a key's use, the last moment included; none where it was never used.
    pub(super) async fn use_of(&self, key: &KeyRecord) -> Result<Option<Tally>, Fault> {
        let path = paths::usage(&key.tenant, &key.row());
        let _alone = self.uses.rows.lock().await;
        let written = self.vault.get::<Tally>(&path).await?.map(|row| row.value);
        let fresh = self.uses.lock().keys.get(&path).cloned();
        Ok(match (written, fresh) {
            (Some(mut all), Some(fresh)) => {
                all.add(&fresh, self.clock.now());
                Some(all)
            }
            (written, fresh) => written.or(fresh),
        })
    }

    /// Writes down the uses since the last time.
    ///
    /// # Errors
    /// [`Fault`] of the store; what was not written is tried again. A commit that happened and was reported as failed is
    /// counted twice.
    pub async fn write_uses(&self) -> Result<(), Fault> {
        // Those that there are now, each once: keys that are in use all the time must neither keep this going for ever nor
        // take the others' place.
        let paths: Vec<String> = self.uses.lock().keys.keys().cloned().collect();
        for paths in paths.chunks(BATCH) {
            let _alone = self.uses.rows.lock().await;
            let batch = self.uses.lock().take(paths);
            if let Err(fault) = self.vault.retry(|| self.write_batch(&batch)).await {
                self.uses.lock().put_back(batch, self.clock.now());
                return Err(fault);
            }
        }
        self.write_activity().await
    }

    async fn write_batch(&self, batch: &[(String, Tally)]) -> Result<(), Fault> {
        let mut change = Change::new();
        for (path, fresh) in batch {
            match self.vault.get::<Tally>(path).await {
                Ok(Some(mut row)) => {
                    row.value.add(fresh, self.clock.now());
                    change = change.replace(path.clone(), &row.value, row.stamp);
                }
                Ok(None) => {
                    // A key that was deleted in between gets no row.
                    let key = paths::used_key(path);
                    if let Some(row) = self.vault.get::<KeyRecord>(&key).await? {
                        change = change.unchanged(key, row.stamp).create(path.clone(), fresh);
                    }
                }
                // One row that does not open must not keep the others from being written.
                Err(fault @ Fault::Corrupt { .. }) => fault.log("what is known of a key's use"),
                Err(fault) => return Err(fault),
            }
        }
        self.vault.commit(change).await.map(drop)
    }
}

impl Session<'_> {
    /// Who calls, as uses and owners are told: a session by its role, of which there may be any number.
    pub(super) fn principal(&self) -> &str {
        match self.gate.caller() {
            Some(caller) => caller.principal.role().unwrap_or(caller.principal.arn()),
            None => "operator",
        }
    }
}

impl Uses {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a key that is gone.
    pub(super) fn forget(&self, path: &str) {
        self.lock().remove(path);
    }
}

impl Held {
    fn count(&mut self, path: String, mut used: Use<'_>) {
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(&path) {
            return;
        }
        let tally = self.keys.entry(path).or_default();
        let known = tally.principals.len();
        let is_known = used.principal.is_some_and(|arn| tally.principals.contains_key(arn));
        if !is_known && self.principals >= MAX_HELD {
            used.principal = None;
        }
        tally.count(&used);
        let added = tally.principals.len().saturating_sub(known);
        self.principals = self.principals.saturating_add(added);
    }

    fn remove(&mut self, path: &str) -> Option<(String, Tally)> {
        let (path, tally) = self.keys.remove_entry(path)?;
        self.principals = self.principals.saturating_sub(tally.principals.len());
        Some((path, tally))
    }

    fn put(&mut self, path: String, tally: Tally) {
        self.principals = self.principals.saturating_add(tally.principals.len());
        self.keys.insert(path, tally);
    }

    /// Takes the uses of these keys out; those that are gone are left out.
    fn take(&mut self, paths: &[String]) -> Vec<(String, Tally)> {
        paths.iter().filter_map(|path| self.remove(path)).collect()
    }

    /// Puts them back, before what came since.
    fn put_back(&mut self, batch: Vec<(String, Tally)>, now: u64) {
        for (path, mut tally) in batch {
            if let Some((_, newer)) = self.remove(&path) {
                tally.add(&newer, now);
            }
            self.put(path, tally);
        }
    }
}

#[cfg(test)]
impl Keys {
    /// What is not written down yet.
    pub(super) fn uses_held(&self) -> Vec<(String, Tally)> {
        let held = self.uses.lock();
        held.keys
            .iter()
            .map(|(path, tally)| (path.clone(), tally.clone()))
            .collect()
    }

    /// As if it had been counted just now.
    pub(super) fn hold_uses(&self, uses: Vec<(String, Tally)>) {
        let now = self.clock.now();
        self.uses.lock().put_back(uses, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(held: &mut Held, key: usize, principal: usize) {
        let used = Use {
            operation: "Encrypt",
            principal: Some(&principal.to_string()),
            opened: None,
            at: 1,
        };
        held.count(format!("usage/{key:06}"), used);
    }

    fn take(held: &mut Held, most: usize) -> Vec<(String, Tally)> {
        let paths: Vec<String> = held.keys.keys().take(most).cloned().collect();
        held.take(&paths)
    }

    fn known(held: &Held) -> usize {
        held.keys.values().map(|tally| tally.principals.len()).sum()
    }

    #[test]
    fn what_is_remembered_is_counted_whatever_becomes_of_it() {
        let mut held = Held::default();
        for key in 0..300 {
            for principal in 0..80 {
                count(&mut held, key, principal);
            }
        }
        assert_eq!(held.principals, 300 * tally::MAX_PRINCIPALS);
        let batch = take(&mut held, BATCH);
        assert_eq!((batch.len(), held.principals), (BATCH, known(&held)));
        for key in 0..300 {
            count(&mut held, key, 79);
        }
        held.put_back(batch, 1);
        assert_eq!((held.keys.len(), held.principals), (300, known(&held)));
        held.remove("usage/000007");
        while !take(&mut held, BATCH).is_empty() {}
        assert_eq!(held.principals, 0);
    }

    #[test]
    fn a_key_in_use_all_the_time_takes_no_others_place() {
        let mut held = Held::default();
        for key in 0..3 * BATCH {
            count(&mut held, key, 0);
        }
        let paths: Vec<String> = held.keys.keys().cloned().collect();
        let mut taken = Vec::new();
        for paths in paths.chunks(BATCH) {
            taken.extend(held.take(paths).into_iter().map(|(path, _)| path));
            // All that were taken are used again.
            for path in &taken {
                count(&mut held, path.trim_start_matches("usage/").parse().unwrap(), 0);
            }
        }
        assert_eq!(taken, paths);
    }

    #[test]
    fn memory_is_bounded_in_keys_and_principals() {
        let mut held = Held::default();
        for key in 0..MAX_KEYS + 10 {
            count(&mut held, key, 0);
        }
        assert_eq!((held.keys.len(), held.principals), (MAX_KEYS, MAX_KEYS));
        for key in 0..MAX_KEYS {
            for principal in 1..5 {
                count(&mut held, key, principal);
            }
        }
        assert_eq!((held.principals, known(&held)), (MAX_HELD, MAX_HELD));
        let others: u64 = held.keys.values().map(|tally| tally.others.uses).sum();
        assert_eq!(others, u64::try_from(MAX_KEYS * 5 - MAX_HELD).unwrap());
    }
}
