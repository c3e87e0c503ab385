//! Backups: the whole store as it was at one moment, in one file that is of use to the same HSM, and to k of n shareholders.
//!
//! - [`format`]: the file.
//! - [`key`], [`share`]: the backup key and its shares.
//! - [`service`]: backups of a running authority, chunk by chunk over the admin API.
//!
//! Rows are in it as they are in the store, sealed. Two keys open them. The HSM's: the key of the rows, sealed by the HSM, which
//! unseals the key-encryption keys too. The backup key's: a secret from which the key of the rows is derived, and another under
//! which each key-encryption key is wrapped once more. What never left the HSM is in no backup.

use std::io::Write;

use signing::digest::sha256;
use signing::encoding::{from_hex, hex};
use signing::key::Secret;

use self::format::{Chunks, Entry, Header};
pub use self::key::{BackupKey, Combined, make as make_key};
pub use self::share::Share;
use crate::approvals::{Approvals, Approved, Domain, Parameters, Wanted};
use crate::config::Config;
use crate::fault::Fault;
use crate::hsm::{Hsm, RootRole};
use crate::init;
use crate::paths;
use crate::seal::Seal;
use crate::sealed::{Change, Vault};
use crate::serve::{Parts, StartError};
use crate::store::{MAX_SCAN, Snapshot};

pub mod format;
pub mod key;
pub mod service;
pub mod share;

#[cfg(test)]
pub(crate) mod tests;

const ROWS_KEY: &[u8] = b"signet backup v1 rows";
const KEKS_KEY: &[u8] = b"signet backup v1 key-encryption keys";
/// How paths of key-encryption keys begin.
const KEKS: &str = "kek/";
const KEY_LEN: usize = 32;

/// Writes a backup of an authority that is not running; `progress` is told how many rows of how many are written.
///
/// # Errors
/// [`StartError`]: it runs, is not initialised or is sealed, or the file cannot be written.
pub async fn of_stopped(
    config: &Config,
    to: &mut impl Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Header, StartError> {
    let parts = Parts::open(config).await?;
    let vault = Vault::new(parts.store.clone(), parts.hsm.clone());
    let written = write(config, &vault, parts.clock.now(), to, progress).await;
    drop(vault);
    parts.close();
    written
}

async fn write(
    config: &Config,
    vault: &Vault,
    now: u64,
    to: &mut impl Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Header, StartError> {
    init::load_roots(vault, &config.trust_domain).await?;
    let seal = Seal::examine(vault, &config.anchor()).await?;
    seal.demand_open()?;
    let circumstances = Circumstances {
        trust_domain: config.trust_domain.clone(),
        now,
        audit: crate::unseal::replay::end(&config.audit_dir())?,
    };
    let failed = |error| StartError::Io {
        what: "writing the backup".to_owned(),
        error,
    };
    let (mut backup, head) = Backup::begin(vault, circumstances).await?;
    to.write_all(&head).map_err(failed)?;
    let mut done: u64 = 0;
    while let Some((chunk, rows)) = backup.next(vault).await? {
        to.write_all(&chunk).map_err(failed)?;
        done = done.saturating_add(rows);
        progress(done, backup.header.rows);
    }
    Ok(backup.header)
}

/// What a backup is told beside what it reads.
pub struct Circumstances {
    /// The authority's.
    pub trust_domain: String,
    /// Unix seconds.
    pub now: u64,
    /// Where the audit spool is, if there is one.
    pub audit: Option<format::AuditPosition>,
}

/// A backup under way.
pub struct Backup {
    header: Header,
    snapshot: Box<dyn Snapshot>,
    chunks: Chunks,
    keks_key: Option<Secret>,
    after: Option<String>,
    ended: bool,
}

impl Backup {
    /// Takes the snapshot; answers the head of the file.
    ///
    /// # Errors
    /// The store's and the HSM's.
    pub async fn begin(vault: &Vault, circumstances: Circumstances) -> Result<(Self, Vec<u8>), Fault> {
        let backup_key = read_key(vault).await?;
        // The time first: what is committed after it may be missing, what was before it is there.
        let snapshot = vault.store().snapshot().await?;
        let id = uuid::Uuid::new_v4().to_string();
        let keys = match &backup_key {
            Some((_, authentication)) => Keys::derive(&Secret::random(KEY_LEN)?, authentication)?,
            None => Keys::random()?,
        };
        let for_hsm = vault.hsm().seal(&keys.rows, &for_hsm(&id)).await?;
        let for_backup_key = match (&backup_key, &keys.delivered) {
            (Some((key, _)), Some(secret)) => Some(key.deliver(secret, &id)?),
            _ => None,
        };
        let header = Header {
            id,
            trust_domain: circumstances.trust_domain,
            taken_at: circumstances.now,
            revision: snapshot.revision(),
            rows: snapshot.rows(),
            signet: env!("CARGO_PKG_VERSION").to_owned(),
            hsm: origin(vault.hsm().as_ref()).await?,
            audit: circumstances.audit,
            backup_key: backup_key.map(|(key, _)| key),
            for_hsm: hex(&for_hsm),
            for_backup_key,
        };
        let (head, digest) = format::head(&header)?;
        let backup = Self {
            chunks: Chunks::new(&keys.rows, digest)?,
            keks_key: keys.keks,
            header,
            snapshot,
            after: None,
            ended: false,
        };
        Ok((backup, head))
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next chunk of the file and how many rows are in it; none after the last.
    ///
    /// # Errors
    /// The store's and the HSM's; it cannot be gone on with then.
    pub async fn next(&mut self, vault: &Vault) -> Result<Option<(Vec<u8>, u64)>, Fault> {
        if self.ended {
            return Ok(None);
        }
        let page = self.snapshot.page(self.after.as_deref(), MAX_SCAN).await?;
        self.after = page.last().map(|(path, _)| path.clone());
        self.ended = page.is_empty();
        let mut entries = Vec::with_capacity(page.len());
        for (path, row) in page {
            let exported = match &self.keks_key {
                Some(key) if path.starts_with(KEKS) => {
                    let kek = vault.unseal_kek(&path, &row.value).await?;
                    Some(format::seal_kek(key, &path, &kek)?)
                }
                _ => None,
            };
            entries.push(Entry {
                path,
                value: row.value,
                exported,
            });
        }
        let rows = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        Ok(Some((self.chunks.seal(&entries, self.ended)?, rows)))
    }
}

/// The keys of one backup.
pub(crate) struct Keys {
    pub(crate) rows: Secret,
    /// Of the shareholders; the HSM unseals the key-encryption keys itself.
    pub(crate) keks: Option<Secret>,
    delivered: Option<Secret>,
}

impl Keys {
    fn random() -> Result<Self, Fault> {
        Ok(Self {
            rows: Secret::random(KEY_LEN)?,
            keks: None,
            delivered: None,
        })
    }

    fn derive(delivered: &Secret, authentication: &Secret) -> Result<Self, Fault> {
        Ok(Self {
            rows: key::derive(authentication.expose(), delivered, ROWS_KEY)?,
            keks: Some(key::derive(authentication.expose(), delivered, KEKS_KEY)?),
            delivered: Some(Secret::new(delivered.expose().to_vec())),
        })
    }

    /// By the HSM that the backup was made with.
    pub(crate) async fn by_hsm(header: &Header, hsm: &dyn Hsm) -> Result<Self, Fault> {
        let refuse = || format::altered("what it holds for its HSM does not open");
        let sealed = from_hex(&header.for_hsm).ok_or_else(refuse)?;
        let rows = hsm.unseal(&sealed, &for_hsm(&header.id)).await;
        let rows = rows.map_err(|error| match Fault::from(error) {
            Fault::Corrupt { .. } => refuse(),
            other => other,
        })?;
        Ok(Self {
            rows,
            keks: None,
            delivered: None,
        })
    }

    /// By the backup key.
    pub(crate) fn by_shares(header: &Header, combined: &Combined) -> Result<Self, Fault> {
        let missing = || format::altered("it holds nothing for the backup key that it names");
        let delivered = header.for_backup_key.as_ref().ok_or_else(missing)?;
        Self::derive(&combined.receive(delivered, &header.id)?, &combined.authentication()?)
    }

    /// The key-encryption key of a row, in the clear.
    pub(crate) fn open_kek(&self, entry: &Entry) -> Result<Option<Secret>, Fault> {
        let Some(key) = self.keks.as_ref().filter(|_| entry.path.starts_with(KEKS)) else {
            return Ok(None);
        };
        let missing = || format::altered(&format!("`{}` has no exported key", entry.path));
        let exported = entry.exported.as_ref().ok_or_else(missing)?;
        format::open_kek(key, &entry.path, exported).map(Some)
    }
}

/// Which HSM it is, by its roots.
pub(crate) async fn origin(hsm: &dyn Hsm) -> Result<format::Origin, Fault> {
    let info = hsm.info();
    Ok(format::Origin {
        kind: info.kind,
        label: info.label,
        node_root: hex(&sha256(&hsm.root(RootRole::Nodes).await?.spki_der)),
        delegation_root: hex(&sha256(&hsm.root(RootRole::Delegations).await?.spki_der)),
    })
}

/// The backup key that is in force and the secret that goes with it.
pub async fn read_key(vault: &Vault) -> Result<Option<(BackupKey, Secret)>, Fault> {
    let Some(held) = vault.get::<BackupKey>(paths::BACKUP_KEY).await? else {
        return Ok(None);
    };
    let secret = vault.get_secret(paths::BACKUP_AUTHENTICATION).await?;
    let missing = || Fault::Corrupt {
        detail: format!("`{}` is missing", paths::BACKUP_AUTHENTICATION),
    };
    Ok(Some((held.value, secret.ok_or_else(missing)?)))
}

/// Puts a backup key in force, durable when answered: later backups are made under it, earlier ones stay under theirs. Its
/// shareholders come by every key-encryption key, so it takes the approval of the authority's quorum, where there is one (R28).
///
/// # Errors
/// `Invalid` for what is no backup key, and what [`Approvals::demand`] says.
pub async fn set_key(
    vault: &Vault,
    approvals: &Approvals,
    (key, authentication): (&BackupKey, &Secret),
    requester: &str,
) -> Result<Approved, Fault> {
    key.check()?;
    if authentication.len() != KEY_LEN {
        return Err(Fault::invalid("bad_request", "`authentication` has not 32 bytes"));
    }
    let attempt = || async {
        let approved = approvals
            .demand(&Wanted {
                domain: &Domain::Authority,
                region: "",
                operation: "SetBackupKey",
                resource: &format!("backup-key/{}", key.id),
                parameters: parameters(key, authentication),
                requester,
                lifetime: None,
            })
            .await?;
        write_key(vault, key, authentication, &approved).await?;
        Ok(approved)
    };
    vault.retry(attempt).await
}

/// All that is written, but for the secret its digest: what was approved is what comes into force.
fn parameters(key: &BackupKey, authentication: &Secret) -> Parameters {
    Parameters::default()
        .with("AuthenticationSha256", hex(&sha256(authentication.expose())))
        .with("Commitments", key.commitments.clone())
        .with("CreatedAt", key.created_at)
        .with("Public", key.public.as_str())
        .with("Shares", key.shares)
        .with("Threshold", key.threshold)
}

async fn write_key(vault: &Vault, key: &BackupKey, authentication: &Secret, approved: &Approved) -> Result<(), Fault> {
    let seen = vault.get::<BackupKey>(paths::BACKUP_KEY).await?.map(|held| held.stamp);
    let change = approved.spend(Change::new()).set(paths::BACKUP_KEY, key, seen);
    let change = change.overwrite_bytes(paths::BACKUP_AUTHENTICATION, authentication.expose());
    vault.commit(change).await.map(drop)
}

fn for_hsm(id: &str) -> Vec<u8> {
    [b"signet backup v1\0", id.as_bytes()].concat()
}
