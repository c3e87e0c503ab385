//! How a spool behaves, and within which bounds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::OpenError;

/// The widest reservation, however busy the edge.
pub(super) const MAX_RESERVE: u64 = 1 << 20;

/// How a spool behaves. [`Settings::default`] is safe for one edge on a local disk.
#[derive(Clone)]
pub struct Settings {
    /// How long a record may wait in memory. Default 250 ms, at most 500 ms, so that records follow within a second.
    pub flush_every: Duration,
    /// The least number of sequence numbers reserved ahead; a busy edge reserves a second's worth. Default 4,096, from
    /// 2 to 1,048,576. Too small: requests are refused while the disk syncs. Large: a crash leaves a wider range unknown.
    pub reserve: u64,
    /// How many encoded bytes may wait in memory. Default 16 MiB, at least 64 KiB. Beyond it appending is refused.
    pub queue_bytes: usize,
    /// When a new segment is begun. Default 16 MiB, from 4 KiB to 1 GiB. Two take this much each before anything is in them: the one
    /// that is written and the one behind it.
    pub segment_bytes: u64,
    /// What the directory may hold, with these two. Default 1 GiB, at least four segments.
    pub max_bytes: u64,
    /// How many bytes of records are kept of segments that were shipped ([`super::Spool::shipped`]). Default 64 MiB. Small: less to look at
    /// on this machine. At `max_bytes` or more: nothing is removed before the directory is full.
    pub keep_shipped: u64,
    /// What happens at `max_bytes`. Default [`Retention::Stop`].
    pub retention: Retention,
    /// Called with the reason when a sync fails; the default ends the process (`abort`), and whatever replaces it must
    /// too, but in tests: the page cache may have dropped what was acknowledged to it.
    pub on_failed_sync: Arc<dyn Fn(&str) + Send + Sync>,
}

/// What happens when the directory is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retention {
    /// Appending is refused, and signing stops, until there is room.
    #[default]
    Stop,
    /// The oldest segment is removed, shipped or not; a record names what was in it.
    DropOldest,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            flush_every: Duration::from_millis(250),
            reserve: 4096,
            queue_bytes: 16 << 20,
            segment_bytes: 16 << 20,
            max_bytes: 1 << 30,
            keep_shipped: 64 << 20,
            retention: Retention::Stop,
            on_failed_sync: Arc::new(|_| std::process::abort()),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Settings")
            .field("flush_every", &self.flush_every)
            .field("reserve", &self.reserve)
            .field("queue_bytes", &self.queue_bytes)
            .field("segment_bytes", &self.segment_bytes)
            .field("max_bytes", &self.max_bytes)
            .field("keep_shipped", &self.keep_shipped)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The defaults for a directory of `max_bytes`: its segments are a sixteenth of it, from 1 to 16 MiB.
    pub fn within(max_bytes: u64) -> Settings {
        Settings {
            segment_bytes: (max_bytes / 16).clamp(1 << 20, 16 << 20),
            max_bytes,
            ..Settings::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), OpenError> {
        let rules: [(&'static str, bool, &'static str); 5] = [
            (
                "flush_every",
                self.flush_every <= Duration::from_millis(500),
                "must be at most 500 ms",
            ),
            (
                "reserve",
                (2..=MAX_RESERVE).contains(&self.reserve),
                "must be from 2 to 1048576",
            ),
            ("queue_bytes", self.queue_bytes >= 64 << 10, "must be at least 64 KiB"),
            (
                "segment_bytes",
                (4 << 10..=1 << 30).contains(&self.segment_bytes),
                "must be from 4 KiB to 1 GiB",
            ),
            (
                "max_bytes",
                self.max_bytes / 4 >= self.segment_bytes,
                "must be at least four times `segment_bytes`",
            ),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, problem)) => Err(OpenError::Setting { field, problem }),
            None => Ok(()),
        }
    }
}
