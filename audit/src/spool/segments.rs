//! The closed segments of a directory: how much they hold, and which is the oldest.

use std::collections::VecDeque;
use std::io;

use super::recover;
use crate::record::Hash;
use crate::volume::Volume;

/// A segment that is not written any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// Known where this process wrote it.
    content: Option<Content>,
}

/// Which records a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) incarnation: String,
    pub(super) range: (u64, u64),
    pub(super) hash: Hash,
}

impl Held {
    pub(super) fn unread(number: u64, bytes: u64) -> Held {
        Held {
            number,
            bytes,
            content: None,
        }
    }

    pub(super) fn written(number: u64, bytes: u64, content: Content) -> Held {
        Held {
            number,
            bytes,
            content: Some(content),
        }
    }
}

/// By ascending number.
#[derive(Debug, Default)]
pub(super) struct Segments {
    held: VecDeque<Held>,
}

impl Segments {
    pub(super) fn new(held: Vec<Held>) -> Segments {
        Segments { held: held.into() }
    }

    pub(super) fn push(&mut self, held: Held) {
        self.held.push_back(held);
    }

    /// The oldest one's number.
    pub(super) fn first(&self) -> Option<u64> {
        self.held.front().map(|held| held.number)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.held.iter().fold(0, |sum, held| held.bytes.saturating_add(sum))
    }

    /// Looks again which are there: whoever ships segments removes them.
    pub(super) fn measure(&mut self, volume: &dyn Volume) -> io::Result<()> {
        let present = volume.list()?;
        self.held
            .retain(|held| present.iter().any(|(number, _)| *number == held.number));
        Ok(())
    }

    /// The oldest and what is in it.
    pub(super) fn oldest(&self, volume: &dyn Volume) -> io::Result<Option<(u64, Content)>> {
        let Some(held) = self.held.front() else { return Ok(None) };
        let content = match &held.content {
            Some(content) => content.clone(),
            None => {
                let scan = recover::scan(&volume.read(held.number)?);
                let range = (scan.first, scan.tip.sequence);
                Content {
                    incarnation: scan.tip.incarnation,
                    range,
                    hash: scan.tip.hash,
                }
            }
        };
        Ok(Some((held.number, content)))
    }

    /// Removes the oldest.
    pub(super) fn remove_oldest(&mut self, volume: &dyn Volume) -> io::Result<()> {
        if let Some(held) = self.held.front() {
            volume.remove(held.number)?;
            self.held.pop_front();
        }
        Ok(())
    }
}
