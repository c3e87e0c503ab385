//! Closing without losing the last answer.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

/// How long, and how much, is read from a peer that was answered before it had sent everything.
const TIME: Duration = Duration::from_millis(3_000);
const BYTES: u64 = 16 << 20;

/// Reads on after the last answer and our end of stream were sent. A socket that is closed with unread bytes in it is
/// reset, and the reset takes the answer away from a peer that is still sending (RFC 9112, section 9.6).
pub(super) async fn linger(io: impl AsyncRead + Unpin) {
    let mut rest = io.take(BYTES);
    let mut sink = [0_u8; 4_096];
    let drained = async { while rest.read(&mut sink).await.is_ok_and(|read| read > 0) {} };
    let _ = tokio::time::timeout(TIME, drained).await;
}
