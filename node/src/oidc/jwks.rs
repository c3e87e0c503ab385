//! An issuer's keys, kept fresh while they are used.
//!
//! A fetch is due five minutes after the last good one, and early when a token names an unknown `kid`, but never within
//! 30 s of the last attempt (R8): whoever sends random key ids causes nothing. There is one fetch at a time; those who
//! need it wait for it, the rest are served with what there is, for up to a day while the issuer is down.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::watch;

use super::algorithm::Algorithm;
use super::keys::{Key, KeySet, Lookup};
use super::source::Source;
use crate::identity::{AuthCode, AuthError, quoted};

/// Seconds between a good fetch and the next.
const REFRESH: u64 = 300;
/// Least seconds between two attempts.
const PAUSE: u64 = 30;
/// Least seconds between two attempts while there are no keys at all.
const PAUSE_WITHOUT_KEYS: u64 = 5;
/// Seconds for which keys are used after the last good fetch.
const STALE: u64 = 24 * 3600;

/// The keys of one issuer. All times are Unix seconds, passed in.
#[derive(Debug)]
pub(super) struct KeyCache {
    issuer: String,
    source: Source,
    algorithms: Vec<Algorithm>,
    current: ArcSwapOption<Loaded>,
    refresh_at: AtomicU64,
    usable_until: AtomicU64,
    attempt: Mutex<Attempt>,
}

#[derive(Debug)]
struct Loaded {
    keys: KeySet,
    document: Bytes,
    generation: u64,
}

#[derive(Debug, Default)]
struct Attempt {
    last: Option<u64>,
    /// Its sender goes when the attempt is over.
    running: Option<watch::Receiver<()>>,
}

/// A key, and the generation of keys that it stands in.
pub(super) struct Found {
    pub(super) key: Arc<Key>,
    pub(super) generation: u64,
}

impl KeyCache {
    /// An inline document is read here and now, and must be good; others are read when asked for.
    pub(super) fn new(issuer: String, source: Source, algorithms: Vec<Algorithm>) -> Result<Self, String> {
        let cache = Self {
            issuer,
            algorithms,
            current: ArcSwapOption::empty(),
            refresh_at: AtomicU64::new(0),
            usable_until: AtomicU64::new(0),
            attempt: Mutex::default(),
            source,
        };
        if let Source::Inline(document) = &cache.source {
            cache.accept(Bytes::copy_from_slice(document))?;
            cache.refresh_at.store(u64::MAX, Ordering::Relaxed);
            cache.usable_until.store(u64::MAX, Ordering::Relaxed);
        }
        Ok(cache)
    }

    /// Whether a proof made under `generation` still stands: the keys are the same, and not too old to use.
    pub(super) fn vouches(&self, generation: u64, now: u64) -> bool {
        now < self.usable_until.load(Ordering::Relaxed)
            && self
                .current
                .load()
                .as_ref()
                .is_some_and(|loaded| loaded.generation == generation)
    }

    /// Starts a fetch in the background, if it is time.
    pub(super) fn refresh_if_due(self: &Arc<Self>, now: u64) {
        let due = self.refresh_at.load(Ordering::Relaxed);
        let clock_went_back = due != u64::MAX && due > now.saturating_add(REFRESH);
        if now >= due || clock_went_back {
            self.refresh(now);
        }
    }

    /// Fetches the keys if there are none, and waits.
    pub(super) async fn warm(self: &Arc<Self>, now: u64) {
        if self.current.load().is_none() {
            wait(self.refresh(now)).await;
        }
    }

    /// The key that a token with this `kid` must verify with; waits for a fetch only if the key is not known and a
    /// fetch is running or allowed.
    pub(super) async fn find(self: &Arc<Self>, kid: Option<&str>, now: u64) -> Result<Found, AuthError> {
        self.refresh_if_due(now);
        if let Some(found) = self.known(kid, now)? {
            return Ok(found);
        }
        wait(self.refresh(now)).await;
        self.known(kid, now)?.ok_or_else(|| self.unknown(kid, now))
    }

    fn known(&self, kid: Option<&str>, now: u64) -> Result<Option<Found>, AuthError> {
        let loaded = self.current.load();
        let Some(loaded) = loaded
            .as_ref()
            .filter(|_| now < self.usable_until.load(Ordering::Relaxed))
        else {
            return Ok(None);
        };
        match loaded.keys.find(kid) {
            Lookup::Found(key) => Ok(Some(Found {
                key,
                generation: loaded.generation,
            })),
            Lookup::Unknown => Ok(None),
            Lookup::Ambiguous => {
                let detail = "the token has no `kid`, and its issuer has several keys";
                Err(AuthError::new(AuthCode::UnknownKey, detail))
            }
        }
    }

    fn unknown(&self, kid: Option<&str>, now: u64) -> AuthError {
        let usable = self.current.load().is_some() && now < self.usable_until.load(Ordering::Relaxed);
        let detail = match kid {
            _ if !usable => "the keys of the token's issuer cannot be fetched now; try again later".into(),
            Some(kid) => format!("the token's issuer has no key {}", quoted(kid)),
            None => "the token's issuer has no key for a token without `kid`".into(),
        };
        AuthError::new(AuthCode::UnknownKey, detail)
    }

    /// The running attempt, or a new one if the pause since the last is over. The attempt goes on when its first
    /// caller hangs up.
    fn refresh(self: &Arc<Self>, now: u64) -> Option<watch::Receiver<()>> {
        if !self.source.changes() {
            return None;
        }
        let mut attempt = self.attempt();
        if let Some(running) = attempt.running.as_ref().filter(|running| running.has_changed().is_ok()) {
            return Some(running.clone());
        }
        let pause = if self.current.load().is_some() {
            PAUSE
        } else {
            PAUSE_WITHOUT_KEYS
        };
        // Requests carry slightly different times; only a step back by more than the pause is a clock that was set.
        let paused = |last: u64| now < last.saturating_add(pause) && last <= now.saturating_add(pause);
        if attempt.last.is_some_and(paused) {
            return None;
        }
        let (ending, running) = watch::channel(());
        *attempt = Attempt {
            last: Some(now),
            running: Some(running.clone()),
        };
        self.refresh_at.store(now.saturating_add(pause), Ordering::Relaxed);
        let cache = Arc::clone(self);
        tokio::spawn(async move {
            cache.fetch(now).await;
            drop(ending);
        });
        Some(running)
    }

    async fn fetch(&self, now: u64) {
        let read = self.source.read().await;
        match read.and_then(|document| self.accept(document)) {
            Ok(()) => {
                self.refresh_at.store(now.saturating_add(REFRESH), Ordering::Relaxed);
                self.usable_until.store(now.saturating_add(STALE), Ordering::Relaxed);
            }
            Err(reason) => {
                tracing::warn!(issuer = %self.issuer, reason, "the issuer's keys could not be refreshed");
            }
        }
    }

    /// Takes a document; the generation goes up only if it is another one.
    fn accept(&self, document: Bytes) -> Result<(), String> {
        let former = self.current.load_full();
        if former.as_ref().is_some_and(|former| former.document == document) {
            return Ok(());
        }
        let (keys, skipped) = KeySet::parse(&document, &self.algorithms)?;
        for reason in skipped {
            tracing::warn!(issuer = %self.issuer, reason, "a key of the issuer is not used");
        }
        let generation = former.map_or(1, |former| former.generation.wrapping_add(1));
        self.current.store(Some(Arc::new(Loaded {
            keys,
            document,
            generation,
        })));
        Ok(())
    }

    fn attempt(&self) -> MutexGuard<'_, Attempt> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until the attempt is over.
async fn wait(running: Option<watch::Receiver<()>>) {
    if let Some(mut running) = running {
        while running.changed().await.is_ok() {}
    }
}
