//! The audit log as what is exported.

use std::io::ErrorKind;

use async_trait::async_trait;
use audit::log::LogError;
use audit::log::read::View;

use super::{Page, Place, Source};
use crate::log_place::LogPlace;

/// The log at its place, while it grows.
pub(super) struct LogSource(pub(super) LogPlace);

#[async_trait]
impl Source for LogSource {
    async fn read(&self, from: Place, limit: usize) -> Result<Page, String> {
        let place = self.0.clone();
        let read = tokio::task::spawn_blocking(move || match place.view(None) {
            Ok(view) => page(&view, from, limit),
            // No checkpoint yet.
            Err(LogError::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(Page::nothing(from)),
            Err(error) => Err(error),
        });
        let read = read.await.map_err(|error| error.to_string())?;
        read.map_err(|error| error.to_string())
    }
}

fn page(view: &View, from: Place, limit: usize) -> Result<Page, LogError> {
    let mut page = Page::nothing(from);
    view.batches(from.leaf, |leaf, batch| {
        let mut read = if leaf == from.leaf { from.read } else { 0 };
        let room = limit.saturating_sub(page.records.len());
        let before = page.records.len();
        page.records.extend(batch.decoded().skip(read).take(room));
        read = read.saturating_add(page.records.len().saturating_sub(before));
        page.next = match read < batch.records.len() {
            true => Place { leaf, read },
            false => Place {
                leaf: leaf.saturating_add(1),
                read: 0,
            },
        };
        page.records.len() < limit
    })?;
    Ok(page)
}
