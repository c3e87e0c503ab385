//! Backups of a running authority: one at a time, fetched chunk by chunk. The newest one wins, and one that nobody goes on with
//! is given up, since its snapshot holds on to the store's old pages.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::format::Header;
use super::{Backup, Circumstances};
use crate::fault::Fault;
use crate::names::shown;
use crate::sealed::Vault;

/// How long a backup waits for its next chunk to be fetched.
const PATIENCE: Duration = Duration::from_secs(120);

/// The backup that is under way, if one is.
pub struct Backups {
    vault: Arc<Vault>,
    current: Arc<Mutex<Option<Current>>>,
}

struct Current {
    backup: Backup,
    used_at: Instant,
}

/// A piece of the file.
pub struct Piece {
    /// To be appended to what was there.
    pub bytes: Vec<u8>,
    /// Rows in it.
    pub rows: u64,
    /// It is the last one.
    pub last: bool,
}

impl Backups {
    /// Of this state.
    pub fn new(vault: Arc<Vault>) -> Self {
        Self {
            vault,
            current: Arc::default(),
        }
    }

    /// Takes a snapshot, ending a backup that is under way; answers the file's head.
    ///
    /// # Errors
    /// The store's and the HSM's.
    pub async fn begin(&self, circumstances: Circumstances) -> Result<(Header, Vec<u8>), Fault> {
        let (backup, head) = Backup::begin(&self.vault, circumstances).await?;
        let header = backup.header().clone();
        let used_at = Instant::now();
        *self.current.lock().await = Some(Current { backup, used_at });
        tokio::spawn(give_up(self.current.clone(), header.id.clone()));
        Ok((header, head))
    }

    /// The next piece of the backup `id`.
    ///
    /// # Errors
    /// `NotFound` when it is over, or another has taken its place.
    pub async fn next(&self, id: &str) -> Result<Piece, Fault> {
        let mut current = self.current.lock().await;
        let running = current.as_mut().filter(|current| current.backup.header().id == id);
        let over = || {
            Fault::not_found(format!(
                "there is no backup `{}` under way: it is over, was given up, or another took its place; begin anew",
                shown(id)
            ))
        };
        let running = running.ok_or_else(over)?;
        let (bytes, rows) = running.backup.next(&self.vault).await?.ok_or_else(over)?;
        running.used_at = Instant::now();
        let last = running.backup.ended;
        if last {
            *current = None;
        }
        Ok(Piece { bytes, rows, last })
    }
}

/// Lets the snapshot go when nobody has asked for a while.
async fn give_up(current: Arc<Mutex<Option<Current>>>, id: String) {
    loop {
        tokio::time::sleep(PATIENCE).await;
        let mut held = current.lock().await;
        match held.as_ref().filter(|held| held.backup.header().id == id) {
            None => return,
            Some(running) if running.used_at.elapsed() >= PATIENCE => {
                tracing::warn!(backup = id, "nobody fetches this backup; it is given up");
                *held = None;
                return;
            }
            Some(_) => {}
        }
    }
}
