//! An authority's life as a service: what is away when it starts is waited for, and a store that could not be written is opened
//! anew once its disk can be.
//!
//! Opening anew is a stop and a start of everything in this process, so that the checks are those of a start, and nothing is kept
//! that was read before.

use std::io::{self, Write as _};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use audit::log::LogError;
use runtime::{Compiler, HostError, Pool, Settings, Workers};

use super::{Authority, Running, StartError};
use crate::config::{Config, StoreConfig};
use crate::fault::Fault;
use crate::hsm::HsmErrorKind;
use crate::log_place::LogPlace;
use crate::store::StoreError;

/// Between the first two tries to start; each pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two looks at a store that could not be written.
const LOOK: Duration = Duration::from_secs(2);
/// What the disk has to take before such a store is opened anew, bytes: a start writes, and so do those who waited for it.
const PROBE: usize = 4 << 20;

/// Reserves the address space in which an authority tries a bundle's plugins. It is not locked in memory, and neither is what other
/// threads map meanwhile (R25): a process that locks its memory calls this right after that, before it has other threads.
///
/// # Errors
/// [`StartError::Plugins`]
pub fn reserve_pool() -> Result<Pool, StartError> {
    Ok(reserve_pool_with(Compiler::this_program())?)
}

/// As [`reserve_pool`], for plugins that are compiled there.
pub(crate) fn reserve_pool_with(compiler: Compiler) -> Result<Pool, HostError> {
    let settings = Settings {
        compiler,
        // A bundle is only tried here.
        workers: Workers {
            each: 1,
            ..Workers::default()
        },
        ..Settings::default()
    };
    node::hardening::aside(|| Pool::reserve(settings))
}

impl Authority {
    /// Starts an authority that was initialised and keeps it until `until` ends, whose output is the answer. Calls `started` each time
    /// that it listens, each time within the same `pool`.
    ///
    /// # Errors
    /// [`StartError`] where waiting would not help.
    pub async fn run<T>(
        config: Config,
        pool: Pool,
        started: impl Fn(&Running),
        until: impl Future<Output = T>,
    ) -> Result<T, StartError> {
        let mut until = pin!(until);
        let mut has_run = false;
        loop {
            let running = tokio::select! {
                running = start(&config, &pool, has_run) => running?,
                end = &mut until => return Ok(end),
            };
            has_run = true;
            started(&running);
            let cannot_write = || running.parts.store.cannot_write().is_some();
            let end = tokio::select! {
                end = &mut until => Some(end),
                () = can_be_written_again(cannot_write, &config.data_dir, LOOK) => None,
            };
            if end.is_none() {
                tracing::warn!("the store's disk can be written again: this authority stops and starts anew");
            }
            running.stop().await;
            if let Some(end) = end {
                return Ok(end);
            }
        }
    }
}

/// Tries again while what fails is away and may come back.
async fn start(config: &Config, pool: &Pool, has_run: bool) -> Result<Running, StartError> {
    let (mut pause, mut waited) = (FIRST_PAUSE, false);
    loop {
        let mut failed = match Authority::start(config.clone(), pool.clone()).await {
            Ok(running) => return Ok(running),
            Err(error) => error,
        };
        // Of the embedded store as well, once it was open here: what held it then goes with what has just been dropped.
        let was_open = has_run || waited || matches!(config.store, StoreConfig::Etcd(_));
        while passes(&failed, was_open) {
            waited = true;
            tracing::error!(
                error = %failed,
                again_in_seconds = pause.as_secs(),
                "the authority cannot start yet: it serves nobody, and tries again"
            );
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            // The log is asked by itself: a start comes by it after its audit spool, and would leave a chain in that each time.
            match ask_for_log(config, &failed).await {
                Err(error) => failed = error,
                Ok(()) => break,
            }
        }
        if !passes(&failed, was_open) {
            return Err(failed);
        }
    }
}

/// Whether it may be over by itself. A refused PIN, a damaged log or a wrong name is not: the operator has to hear of it, and of a PIN
/// a token counts the tries.
fn passes(error: &StartError, store_was_open: bool) -> bool {
    match error {
        StartError::Hsm(error) => matches!(error.kind, HsmErrorKind::Unavailable | HsmErrorKind::Busy),
        StartError::Store(StoreError::Unavailable { .. }) => store_was_open,
        StartError::Fault { fault, .. } => matches!(fault, Fault::Unavailable { .. } | Fault::Busy { .. }),
        _ => is_log_away(error),
    }
}

/// Of a bucket: a directory is there or is a mistake.
fn is_log_away(error: &StartError) -> bool {
    match error {
        StartError::Io { error, .. }
        | StartError::Log {
            error: LogError::Io(error),
            ..
        } => error.kind() == io::ErrorKind::NotConnected,
        _ => false,
    }
}

/// Where the log is what a start failed for: whether it answers now.
async fn ask_for_log(config: &Config, failed: &StartError) -> Result<(), StartError> {
    if !is_log_away(failed) {
        return Ok(());
    }
    let place = LogPlace::of(config).map_err(|(field, message)| StartError::Config { field, message })?;
    let asked = tokio::task::spawn_blocking(move || {
        let asked = place.reader().get(audit::log::CHECKPOINT);
        asked.map(drop).map_err(|error| StartError::Io {
            what: format!("audit log `{place}`"),
            error,
        })
    });
    asked.await.map_err(|error| Fault::internal(error.to_string()))?
}

/// Ends when a store that refuses to write since it failed to would be able to: never while it writes.
async fn can_be_written_again(cannot_write: impl Fn() -> bool, directory: &Path, look: Duration) {
    loop {
        tokio::time::sleep(look).await;
        if !cannot_write() {
            continue;
        }
        let directory = directory.to_owned();
        match tokio::task::spawn_blocking(move || probe(&directory)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::debug!(%error, "the store's disk cannot be written yet"),
            Err(error) => tracing::debug!(%error, "the store's disk was not looked at"),
        }
    }
}

/// Writes as much as a start may need, durably, and removes it.
fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join("probe");
    let probed = std::fs::File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE])?;
        file.sync_all()
    });
    let removed = std::fs::remove_file(&path);
    probed.and(removed)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn only_what_may_be_over_by_itself_is_waited_for() {
        let hsm = |kind: HsmErrorKind| StartError::Hsm(kind.because("x"));
        assert!(passes(&hsm(HsmErrorKind::Unavailable), false));
        for kind in [
            HsmErrorKind::PinRefused,
            HsmErrorKind::Misconfigured,
            HsmErrorKind::NotFound,
            HsmErrorKind::Token,
        ] {
            assert!(!passes(&hsm(kind), true), "{kind}");
        }
        let store = StartError::Store(StoreError::Unavailable { detail: "x".into() });
        assert!(passes(&store, true));
        assert!(!passes(&store, false), "a store that another process uses is a mistake");
        let damaged = StartError::Store(StoreError::Corrupt { detail: "x".into() });
        assert!(!passes(&damaged, true));
        let log = |kind: io::ErrorKind| StartError::Io {
            what: "audit log".into(),
            error: kind.into(),
        };
        assert!(passes(&log(io::ErrorKind::NotConnected), false));
        assert!(!passes(&log(io::ErrorKind::PermissionDenied), true));
        let config = StartError::Config {
            field: "x",
            message: String::new(),
        };
        assert!(!passes(&config, true));
    }

    #[tokio::test]
    async fn a_store_is_opened_anew_once_it_has_failed_and_its_disk_is_good() {
        let dir = tempfile::tempdir().unwrap();
        let (data, looks) = (dir.path().join("data"), AtomicUsize::new(0));
        let cannot_write = || {
            let look = looks.fetch_add(1, Ordering::SeqCst);
            if look == 4 {
                std::fs::create_dir(&data).unwrap();
            }
            look >= 2
        };
        can_be_written_again(cannot_write, &data, Duration::from_millis(1)).await;
        // Twice it could write, twice it could not and neither could anybody else.
        assert_eq!(looks.load(Ordering::SeqCst), 5);
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    }

    #[test]
    fn a_probe_leaves_nothing_and_tells_of_a_disk_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        probe(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(probe(&dir.path().join("none")).is_err());
    }
}
