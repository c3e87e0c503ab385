//! The connection to the authority: gRPC over TLS 1.3 with the node certificate, renewed before it ends.
//!
//! Where there are several authorities on one store, any of them will do. Each has a channel of its own, and one of them is in use
//! until it does not answer; then it is another's turn ([`choice`]), and it stays with that one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use node::channel::{self, BadAddress, Peer};
use node::contract::RenewRequest;
use node::contract::authority_client::AuthorityClient;
use rustls::pki_types::CertificateDer;
use tonic::transport::Channel;

use self::choice::Choice;
pub use self::observed::Observed;
use crate::identity::{self, Identity, IdentityError};
use crate::jitter;
use crate::join::Credential;
use crate::state::Edge;

mod choice;
mod observed;

/// A bundle comes in one message, of at most 400 files of 64 KiB: larger ones are fetched. Many keys do, too.
const MAX_MESSAGE: usize = 128 << 20;
/// How soon an authority that is silent while something is under way is asked whether it is there, and how long it may take.
const ALIVE: Duration = Duration::from_secs(3);

/// A client for the authorities, and the identity it shows.
#[derive(Debug)]
pub struct Uplink {
    peers: Vec<Peer>,
    choice: Arc<Choice>,
    link: ArcSwap<Link>,
}

#[derive(Debug)]
struct Link {
    identity: Arc<Identity>,
    /// One for each authority.
    channels: Vec<Channel>,
}

/// Why the authority cannot be talked to at all.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The `authority` field.
    #[error("the authority's address {0}")]
    Address(#[from] BadAddress),
    /// Certificates or keys that TLS refuses.
    #[error("the identity cannot be used for TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The identity on disk, or the authority's answer.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The authority said no, or nothing.
    #[error("the authority answered {:?}: {}", .0.code(), .0.message())]
    Refused(#[from] tonic::Status),
}

impl Uplink {
    /// To any of these authorities: at least one. Connects when first used, and again whenever the connection is lost.
    pub fn new(authorities: &[String], identity: Identity) -> Result<Uplink, UplinkError> {
        let peers = parse(authorities)?;
        let link = Link::new(&peers, identity)?;
        Ok(Uplink {
            choice: Arc::new(Choice::among(peers.len())),
            link: ArcSwap::from_pointee(link),
            peers,
        })
    }

    /// On a connection that somebody else makes.
    #[cfg(test)]
    pub fn over(channel: Channel, identity: Identity) -> Uplink {
        let (identity, channels) = (Arc::new(identity), vec![channel]);
        Uplink {
            peers: parse(&["https://authority.test".to_owned()]).unwrap(),
            choice: Arc::new(Choice::among(1)),
            link: ArcSwap::from_pointee(Link { identity, channels }),
        }
    }

    /// Who this edge is.
    pub fn identity(&self) -> Arc<Identity> {
        self.link.load().identity.clone()
    }

    /// A client of the authority that is in use. A call that it does not answer, or with `Unavailable`, makes it another's turn.
    pub fn client(&self) -> Result<AuthorityClient<Observed>, tonic::Status> {
        let current = self.choice.current();
        let link = self.link.load();
        let channel = link.channels.get(current);
        let channel = channel.ok_or_else(|| tonic::Status::internal("there is no authority"))?;
        let observed = Observed::new(channel.clone(), self.choice.clone(), current);
        Ok(AuthorityClient::new(observed).max_decoding_message_size(MAX_MESSAGE))
    }

    /// Makes it another authority's turn, if the one in use has answered: a stream from it has ended.
    pub fn leave(&self) {
        self.choice.left();
    }

    /// Renews the node certificate at half of its life, for as long as the process lives.
    pub async fn renew(self: Arc<Uplink>, state_dir: std::path::PathBuf, edge: Arc<Edge>) {
        let mut backoff = jitter::Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
        loop {
            let identity = self.identity();
            let life = identity.not_after.saturating_sub(identity.not_before);
            let half = identity.not_before.saturating_add(life.checked_div(2).unwrap_or(0));
            let wait = half.saturating_sub(edge.now());
            if wait > 0 {
                // Long sleeps are cut, so that a machine that was suspended does not oversleep its renewal.
                tokio::time::sleep(jitter::around(Duration::from_secs(wait.min(3600)))).await;
                continue;
            }
            match self.renew_once(&state_dir).await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    tracing::warn!(%error, "the node certificate was not renewed; it is tried again");
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        }
    }

    async fn renew_once(&self, state_dir: &Path) -> Result<(), UplinkError> {
        let request = identity::Request::new()?;
        let answer = self
            .client()?
            .renew(RenewRequest {
                csr: request.csr.clone(),
            })
            .await?
            .into_inner();
        let identity = identity::store(state_dir, request, &answer, Some(&self.identity()))?;
        tracing::info!(not_after = identity.not_after, "the node certificate is renewed");
        self.link.store(Arc::new(Link::new(&self.peers, identity)?));
        Ok(())
    }
}

/// Trades a token for an identity in `state_dir`, at the first of these authorities that can be reached. `root` is their node
/// root, from whoever gave the token: without it a stranger could answer.
pub async fn join(
    authorities: &[String],
    root: CertificateDer<'static>,
    credential: Credential,
    state_dir: &Path,
) -> Result<Identity, UplinkError> {
    let tls = Arc::new(channel::tls([root], None)?);
    let request = identity::Request::new()?;
    let call = credential.request(request.csr.clone());
    let mut refused = tonic::Status::internal("there is no authority");
    for peer in parse(authorities)? {
        let mut client = AuthorityClient::new(connect(&peer, &tls)?);
        match client.enroll(call.clone()).await {
            Ok(answer) => return Ok(identity::store(state_dir, request, &answer.into_inner(), None)?),
            // What one has decided, another has too.
            Err(status) if status.code() != tonic::Code::Unavailable => return Err(status.into()),
            Err(status) => refused = status,
        }
    }
    Err(refused.into())
}

impl Link {
    fn new(peers: &[Peer], identity: Identity) -> Result<Link, UplinkError> {
        let shown = (identity.chain.clone(), identity.key());
        let tls = Arc::new(channel::tls(identity.roots.clone(), Some(shown))?);
        let channels = peers.iter().map(|peer| connect(peer, &tls));
        Ok(Link {
            channels: channels.collect::<Result<_, _>>()?,
            identity: Arc::new(identity),
        })
    }
}

fn parse(authorities: &[String]) -> Result<Vec<Peer>, BadAddress> {
    authorities.iter().map(|authority| Peer::parse(authority)).collect()
}

fn connect(peer: &Peer, tls: &Arc<rustls::ClientConfig>) -> Result<Channel, BadAddress> {
    let (dialled, tls) = (Arc::new(peer.clone()), tls.clone());
    channel::lazy(peer, ALIVE, move || {
        let (peer, tls) = (dialled.clone(), tls.clone());
        async move { peer.dial(tls).await }
    })
}
