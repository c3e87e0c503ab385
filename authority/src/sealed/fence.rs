//! Fences: what is done while one is up commits only if a row is still as it was. Work that one of several authorities does is
//! fenced by the row that says which one ([`crate::leader`]), so that one that was replaced and does not know it yet changes nothing.

use super::Stamp;
use crate::store::Compare;

tokio::task_local! {
    static FENCE: Compare;
}

/// Runs `work`. Each of its commits demands that the row at `path` is as `seen`; tasks that it spawns are not fenced.
pub(crate) async fn fenced<T>(path: &str, seen: Stamp, work: impl Future<Output = T>) -> T {
    let fence = Compare {
        path: path.to_owned(),
        revision: Some(seen.revision),
    };
    FENCE.scope(fence, work).await
}

/// The compares of a commit, and the fence where one is up.
pub(super) fn with_fence(mut compares: Vec<Compare>) -> Vec<Compare> {
    let _ = FENCE.try_with(|fence| compares.push(fence.clone()));
    compares
}
