//! Access keys: what a principal of an account signs its requests with. Their secrets are stored sealed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use signing::key::{Secret, random_bytes};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::fault::Fault;
use crate::names::{Tenant, shown};
use crate::paths::{self, Scope};
use crate::sealed::{Change, Held, Vault};

/// Of an access key that lasts until it is stopped.
const PREFIX: &str = "AKIA";
/// Random bytes of a secret: 40 characters of base64.
const SECRET_BYTES: usize = 30;
/// The alphabet of ids (RFC 4648, section 6).
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// An access key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKeyRecord {
    /// `AKIA` and 16 of `A-Z 2-7`.
    pub id: String,
    /// The account that its holder acts in.
    pub account: Tenant,
    /// The user it is of; none: the account's root.
    pub user: Option<String>,
    /// What the holder may do by itself: `admin` everything within the account, empty what policies say.
    pub role: String,
    /// Whether it may be used.
    pub status: Status,
    /// Unix seconds.
    pub created_at: u64,
}

/// Whether an access key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It may.
    Active,
    /// Nothing signed with it is believed.
    Inactive,
}

impl Status {
    /// `Active` or `Inactive`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
        }
    }
}

/// A new access key, and the only time that its secret is shown.
#[derive(Debug)]
pub struct Issued {
    /// The key.
    pub record: AccessKeyRecord,
    /// 40 characters of base64.
    pub secret: Secret,
}

/// The access keys of all accounts. Nothing is kept in memory: what one authority stops, every other refuses with the next
/// request.
#[derive(Debug)]
pub struct AccessKeys {
    vault: Arc<Vault>,
    clock: Clock,
}

impl AccessKeys {
    /// Over the authority's state.
    pub fn new(vault: Arc<Vault>, clock: Clock) -> Self {
        Self { vault, clock }
    }

    /// Issues one to a user of an account, or to its root, durable when answered.
    ///
    /// # Errors
    /// `NotFound` without such an account, `Invalid` for names that could not stand in an ARN or a policy.
    pub async fn create(&self, account: &Tenant, user: Option<&str>, role: &str) -> Result<Issued, Fault> {
        let invalid = |message: String| Err(Fault::invalid("bad_request", message));
        if !self.vault.has_kek(&Scope::Tenant(account.clone())).await? {
            return Err(Fault::not_found(format!("there is no tenant `{account}`")));
        }
        if let Some(user) = user.filter(|user| !policies::names::is_role(user)) {
            let message = format!(
                "a user's name has 1 to 64 of A-Z a-z 0-9 + = , . @ _ -, `{}` has not",
                shown(user)
            );
            return invalid(message);
        }
        if !role.is_empty() && !policies::names::is_name(role) {
            return invalid(format!("a role has 1 to 63 of a-z 0-9 -, `{}` has not", shown(role)));
        }
        if user.is_none() && !role.is_empty() {
            return invalid("the account's root needs no role: name a user, or leave the role out".to_owned());
        }
        let issued = self.make(account, user, role)?;
        self.vault.commit(with(Change::new(), &issued)).await?;
        Ok(issued)
    }

    /// Issues a successor with the same rights. The old key goes on unless `stop_old`, and then both happen at once.
    pub async fn rotate(&self, id: &str, stop_old: bool) -> Result<Issued, Fault> {
        let attempt = || async {
            let mut old = self.demand(id).await?;
            let AccessKeyRecord {
                account, user, role, ..
            } = &old.value;
            let issued = self.make(account, user.as_deref(), role)?;
            let mut change = with(Change::new(), &issued);
            change = if stop_old {
                old.value.status = Status::Inactive;
                change.replace(paths::access_key(id), &old.value, old.stamp)
            } else {
                change.unchanged(paths::access_key(id), old.stamp)
            };
            self.vault.commit(change).await?;
            Ok(issued)
        };
        self.vault.retry(attempt).await
    }

    /// Stops or starts one. Stopped, it is refused from the next request on, everywhere.
    pub async fn set_status(&self, id: &str, status: Status) -> Result<AccessKeyRecord, Fault> {
        let attempt = || async {
            let mut held = self.demand(id).await?;
            held.value.status = status;
            let change = Change::new().replace(paths::access_key(id), &held.value, held.stamp);
            self.vault.commit(change).await?;
            Ok(held.value)
        };
        self.vault.retry(attempt).await
    }

    /// Deletes one with its secret.
    pub async fn delete(&self, id: &str) -> Result<(), Fault> {
        let attempt = || async {
            let held = self.demand(id).await?;
            let change = Change::new()
                .unchanged(paths::access_key(id), held.stamp)
                .delete(paths::access_key(id))
                .delete(paths::access_secret(id));
            self.vault.commit(change).await.map(drop)
        };
        self.vault.retry(attempt).await
    }

    /// An account's keys, in order of their ids.
    pub async fn list(&self, account: &Tenant) -> Result<Vec<AccessKeyRecord>, Fault> {
        let rows = self.vault.all::<AccessKeyRecord>(paths::ACCESS_KEYS).await?;
        let records = rows.into_iter().map(|(_, held)| held.value);
        Ok(records.filter(|record| record.account == *account).collect())
    }

    /// One key; none for an id that no key has or could have.
    pub async fn get(&self, id: &str) -> Result<Option<AccessKeyRecord>, Fault> {
        Ok(self.find(id).await?.map(|held| held.value))
    }

    /// The key and its secret, if it may be used now.
    pub(super) async fn usable(&self, id: &str) -> Result<Option<Issued>, Fault> {
        let Some(record) = self.get(id).await?.filter(|record| record.status == Status::Active) else {
            return Ok(None);
        };
        let secret = self.vault.get_secret(&paths::access_secret(id)).await?;
        Ok(secret.map(|secret| Issued { record, secret }))
    }

    async fn find(&self, id: &str) -> Result<Option<Held<AccessKeyRecord>>, Fault> {
        if !is_id(id, PREFIX) {
            return Ok(None);
        }
        let held = self.vault.get::<AccessKeyRecord>(&paths::access_key(id)).await?;
        match held {
            Some(held) if held.value.id != id => Err(Fault::Corrupt {
                detail: format!("the row of access key `{id}` is that of another"),
            }),
            held => Ok(held),
        }
    }

    async fn demand(&self, id: &str) -> Result<Held<AccessKeyRecord>, Fault> {
        let missing = || Fault::not_found(format!("there is no access key `{}`", shown(id)));
        self.find(id).await?.ok_or_else(missing)
    }

    fn make(&self, account: &Tenant, user: Option<&str>, role: &str) -> Result<Issued, Fault> {
        let record = AccessKeyRecord {
            id: new_id(PREFIX)?,
            account: account.clone(),
            user: user.map(str::to_owned),
            role: role.to_owned(),
            status: Status::Active,
            created_at: self.clock.now(),
        };
        let random = Zeroizing::new(random_bytes::<SECRET_BYTES>()?);
        let secret = Secret::new(STANDARD.encode(random.as_slice()).into_bytes());
        Ok(Issued { record, secret })
    }
}

fn with(change: Change, issued: &Issued) -> Change {
    let id = &issued.record.id;
    change
        .create(paths::access_key(id), &issued.record)
        .create_secret(paths::access_secret(id), &issued.secret)
}

/// A fresh id: the prefix and 80 random bits.
pub(super) fn new_id(prefix: &str) -> Result<String, Fault> {
    let letters = random_bytes::<16>()?.map(base32_letter);
    Ok(prefix.chars().chain(letters).collect())
}

/// The letter for the low five bits.
pub(super) fn base32_letter(byte: u8) -> char {
    BASE32.get(usize::from(byte & 31)).copied().map_or('A', char::from)
}

/// Whether `id` has the form of an id with this prefix: what may be looked up.
pub(super) fn is_id(id: &str, prefix: &str) -> bool {
    id.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|byte| BASE32.contains(&byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn keys(bench: &Bench) -> AccessKeys {
        AccessKeys::new(bench.wired.vault.clone(), bench.wired.clock.clone())
    }

    #[tokio::test]
    async fn a_key_is_issued_stopped_started_rotated_and_deleted() {
        let bench = Bench::new().await;
        let keys = keys(&bench);
        let issued = keys.create(&bench.tenant(), Some("ada"), "admin").await.unwrap();
        let id = issued.record.id.as_str();
        assert!(is_id(id, "AKIA") && issued.secret.len() == 40);
        let usable = keys.usable(id).await.unwrap().unwrap();
        assert!(usable.secret.matches(issued.secret.expose()));
        // Another authority on the same store.
        let other = AccessKeys::new(bench.wired.vault.clone(), bench.wired.clock.clone());
        keys.set_status(id, Status::Inactive).await.unwrap();
        assert!(other.usable(id).await.unwrap().is_none());
        keys.set_status(id, Status::Active).await.unwrap();
        assert!(other.usable(id).await.unwrap().is_some());
        let next = keys.rotate(id, false).await.unwrap();
        assert_eq!(
            (next.record.user.as_deref(), next.record.role.as_str()),
            (Some("ada"), "admin")
        );
        assert!(other.usable(id).await.unwrap().is_some(), "both are good");
        let last = keys.rotate(&next.record.id, true).await.unwrap();
        assert!(other.usable(&next.record.id).await.unwrap().is_none());
        keys.delete(&last.record.id).await.unwrap();
        assert!(other.get(&last.record.id).await.unwrap().is_none());
        let gone = keys
            .vault
            .get_secret(&paths::access_secret(&last.record.id))
            .await
            .unwrap();
        assert!(gone.is_none());
        assert_eq!(keys.list(&bench.tenant()).await.unwrap().len(), 2);
        assert!(matches!(
            keys.delete("AKIAAAAAAAAAAAAAAAAA").await,
            Err(Fault::NotFound { .. })
        ));
    }

    #[tokio::test]
    async fn names_that_could_not_stand_in_an_arn_are_refused() {
        let bench = Bench::new().await;
        let keys = keys(&bench);
        let tenant = bench.tenant();
        for (user, role) in [(Some("a/b"), ""), (Some(""), ""), (Some("a"), "A B"), (None, "admin")] {
            let made = keys.create(&tenant, user, role).await;
            assert!(matches!(made, Err(Fault::Invalid { .. })), "{user:?} {role}");
        }
        let nobody = Tenant::parse("999999999999").unwrap();
        assert!(matches!(
            keys.create(&nobody, None, "").await,
            Err(Fault::NotFound { .. })
        ));
        for bad in [
            "",
            "AKIA",
            "AKIA../../../../..",
            "akiaaaaaaaaaaaaaaaaa",
            "ASIAAAAAAAAAAAAAAAAA",
            "AKIA0000000000000000",
        ] {
            assert!(keys.get(bad).await.unwrap().is_none(), "{bad}");
        }
    }

    // R10
    #[tokio::test]
    async fn a_secret_is_in_no_row_in_the_clear() {
        let bench = Bench::new().await;
        let issued = keys(&bench).create(&bench.tenant(), None, "").await.unwrap();
        let secret = issued.secret.expose();
        for (path, row) in bench.parts.store.scan("", None, 10_000).await.unwrap() {
            assert!(
                !row.value.windows(secret.len()).any(|window| window == secret),
                "{path}"
            );
        }
        assert!(!format!("{issued:?}").contains(std::str::from_utf8(secret).unwrap()));
    }
}
