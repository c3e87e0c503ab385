//! Calls of etcd's members, each within its time. What only reads is asked of one member after the other until one answers;
//! what writes is sent once, and an answer that did not come leaves open whether it happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use node::channel::{self, Peer};
use node::tls::Note;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::StreamExt;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::super::StoreError;
use super::proto::{
    KvClient, RangeRequest, RangeResponse, RequestUnion, TxnRequest, TxnResponse, WatchClient, WatchCreateRequest,
    WatchRequest, WatchResponse, read,
};

/// One member's time for one call. An election takes about a second; who is cut off does not answer at all.
const ATTEMPT: Duration = Duration::from_secs(2);
/// All members' time together, for one read or commit.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// etcd hangs up on clients that ask more often than each 5 s.
const ALIVE: Duration = Duration::from_secs(10);
/// Bytes of an answer: some hundred rows, or some pieces of a long value.
const MAX_ANSWER: usize = 64 << 20;

/// The members of one etcd cluster.
pub(super) struct Client {
    members: Vec<Member>,
    /// The one that is asked first: it answered last.
    current: AtomicUsize,
}

struct Member {
    url: String,
    channel: Channel,
    /// Why its connection ended: gRPC says only that it did.
    ended: Note,
    /// Over TLS, and without a client certificate to show.
    anonymous: bool,
}

/// A write that was not answered with yes or no.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// It may have happened, or happen yet.
    Doubtful(StoreError),
    /// It was refused.
    Refused(StoreError),
}

impl Client {
    /// Connects to nothing yet. `peers` is not empty.
    pub(super) fn new(peers: &[Peer], tls: &Arc<rustls::ClientConfig>) -> Result<Self, channel::BadAddress> {
        let tls_shows = tls.client_auth_cert_resolver.has_certs();
        let members = peers.iter().map(|peer| {
            let (dialled, tls, ended) = (Arc::new(peer.clone()), tls.clone(), Note::default());
            let note = ended.clone();
            let channel = if peer.is_tls() {
                channel::lazy(peer, ALIVE, move || {
                    let (peer, tls, note) = (dialled.clone(), tls.clone(), note.clone());
                    async move { Ok(peer.dial(tls).await?.noting(note)) }
                })
            } else {
                channel::lazy(peer, ALIVE, move || {
                    let peer = dialled.clone();
                    async move { peer.dial_plain().await }
                })
            };
            let url = peer.uri().to_string().trim_end_matches('/').to_owned();
            Ok(Member {
                url,
                channel: channel?,
                ended,
                anonymous: peer.is_tls() && !tls_shows,
            })
        });
        Ok(Self {
            members: members.collect::<Result<_, channel::BadAddress>>()?,
            current: AtomicUsize::new(0),
        })
    }

    /// A linearizable read, or one of an older revision where the request names it.
    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.until_answered(|mut kv| {
            let request = request.clone();
            async move { kv.range(request).await }
        })
        .await
    }

    /// Some linearizable reads at one revision.
    pub(super) async fn read(&self, ranges: Vec<RangeRequest>) -> Result<TxnResponse, StoreError> {
        let request = TxnRequest {
            success: ranges.into_iter().map(read).collect(),
            ..TxnRequest::default()
        };
        self.until_answered(|mut kv| {
            let request = request.clone();
            async move { kv.txn(request).await }
        })
        .await
    }

    /// A transaction that writes, sent once.
    pub(super) async fn write(&self, request: TxnRequest) -> Result<TxnResponse, Unanswered> {
        let index = self.current.load(Ordering::Relaxed);
        let Some(member) = self.members.get(index) else {
            return Err(Unanswered::Refused(unavailable("it has no members")));
        };
        match timeout(ATTEMPT, member.kv().txn(request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) if is_final(&status) => Err(Unanswered::Refused(member.said(&status))),
            Ok(Err(status)) => {
                self.move_on(index);
                Err(Unanswered::Doubtful(member.said(&status)))
            }
            Err(_) => {
                self.move_on(index);
                Err(Unanswered::Doubtful(member.was_silent()))
            }
        }
    }

    /// What happens to a range of keys from an etcd revision on, as one member tells it; not for ever.
    pub(super) async fn watch(
        &self,
        (key, range_end): (Vec<u8>, Vec<u8>),
        start_revision: i64,
    ) -> Result<Streaming<WatchResponse>, StoreError> {
        let index = self.current.load(Ordering::Relaxed);
        let member = self
            .members
            .get(index)
            .ok_or_else(|| unavailable("it has no members"))?;
        let create = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
                key: key.into(),
                range_end: range_end.into(),
                start_revision,
            })),
        };
        // Held open: etcd ends the watch when this side has nothing more to say.
        let asked = tokio_stream::once(create).chain(tokio_stream::pending());
        let mut request = tonic::Request::new(asked);
        // A member that has lost its leader ends the watch rather than be silent.
        request
            .metadata_mut()
            .insert("hasleader", MetadataValue::from_static("true"));
        let mut client = WatchClient::new(member.channel.clone()).max_decoding_message_size(MAX_ANSWER);
        let opened = match timeout(ATTEMPT, client.watch(request)).await {
            Ok(Ok(stream)) => return Ok(stream.into_inner()),
            Ok(Err(status)) => member.said(&status),
            Err(_) => member.was_silent(),
        };
        self.move_on(index);
        Err(opened)
    }

    /// The next member is asked first from now on, unless that has changed meanwhile.
    fn move_on(&self, from: usize) {
        let next = from.saturating_add(1).checked_rem(self.members.len()).unwrap_or(0);
        let _ = self
            .current
            .compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// As [`Client::move_on`], from whichever it is.
    pub(super) fn leave(&self) {
        self.move_on(self.current.load(Ordering::Relaxed));
    }

    async fn until_answered<T, F>(&self, call: impl Fn(KvClient<Channel>) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let begun = Instant::now();
        loop {
            let index = self.current.load(Ordering::Relaxed);
            let member = self
                .members
                .get(index)
                .ok_or_else(|| unavailable("it has no members"))?;
            let failed = match timeout(ATTEMPT, call(member.kv())).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) if is_final(&status) => return Err(member.said(&status)),
                Ok(Err(status)) => member.said(&status),
                Err(_) => member.was_silent(),
            };
            self.move_on(index);
            if begun.elapsed() > PATIENCE {
                return Err(as_all(failed));
            }
            sleep(PAUSE).await;
        }
    }
}

impl Member {
    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER)
    }

    /// What a status means, with what to do where the operator can do something.
    fn said(&self, status: &Status) -> StoreError {
        let hint = match status.message() {
            text if text.contains("database space exceeded") => {
                "; compact and defragment it, then disarm its alarm, and give it --auto-compaction-retention=1h"
            }
            text if text.contains("too many operations") => "; it needs --max-txn-ops of at least 128, its default",
            text if text.contains("too large") => "; it needs --max-request-bytes of at least 1572864, its default",
            text if text.contains("compacted") => {
                "; what was read is no longer kept: read it again, and keep history for an hour or more"
            }
            _ => "",
        };
        // What went wrong on the way has a cause, of which the last says most; what etcd says has none.
        let causes = std::iter::successors(std::error::Error::source(status), |cause| (*cause).source());
        let said = match causes.last() {
            Some(cause) => {
                // A server that demands a certificate may hang up before its alert is read (RFC 8446, 6.2).
                let hint = if self.anonymous {
                    "; where it says nothing else, it demands a client certificate: give a certificate file and its key file"
                } else {
                    ""
                };
                let why = self.ended.take().unwrap_or_else(|| format!("{cause}{hint}"));
                format!("cannot be reached: {why}")
            }
            None => format!("says: {}{hint}", status.message()),
        };
        unavailable(&format!("etcd at `{}` {said}", self.url))
    }

    fn was_silent(&self) -> StoreError {
        unavailable(&format!(
            "etcd at `{}` did not answer within {} s",
            self.url,
            ATTEMPT.as_secs()
        ))
    }
}

/// Whether another try, or another member, would say the same.
fn is_final(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => true,
        // Out of space is for good; too many requests are not, but whoever asked was refused.
        Code::ResourceExhausted => true,
        _ => false,
    }
}

/// The last member's failure, after all had their turns.
fn as_all(last: StoreError) -> StoreError {
    match last {
        StoreError::Unavailable { detail } => {
            let all = PATIENCE.as_secs();
            unavailable(&format!("{detail}; no other member did better within {all} s"))
        }
        other => other,
    }
}

pub(super) fn unavailable(detail: &str) -> StoreError {
    StoreError::Unavailable {
        detail: detail.to_owned(),
    }
}
