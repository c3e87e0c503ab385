//! What the bundle names by digest, fetched from the authority: each object whole and as it was named, or not at all.
//!
//! The authority is asked again until it answers. What it sends is bounded in size before the first byte is kept, and in time.

use std::time::Duration;

use node::contract::fetch_object_request::Object;
use node::contract::{CompileTarget, CompiledComponent, FetchObjectChunk, FetchObjectRequest};
use runtime::{Artifact, MAX_ARTIFACT, Mismatch, Target};
use signing::compiled::{Endorsement, EndorsementError};
use signing::digest::sha256;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::state::Edge;

/// How long the authority may be silent: it compiles for a part of that before it says to come again.
const SILENCE: Duration = Duration::from_secs(30);
/// The longest that one object may take.
const LONGEST: Duration = Duration::from_secs(600);
/// What is made room for at once, bytes: more when it has come.
const ROOM: usize = 1 << 20;

/// Why there is no object.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The authority said no, or nothing.
    #[error("the authority answered {:?}: {}", .0.code(), .0.message())]
    Refused(#[from] Status),
    /// More came, or less, than was announced.
    #[error("{0} bytes were to come, {1}")]
    Size(u64, &'static str),
    /// Other bytes came.
    #[error("what came has another digest")]
    Digest,
    /// Machine code that nobody is to be believed about.
    #[error(transparent)]
    Endorsement(#[from] EndorsementError),
    /// Machine code of something else.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

impl Failure {
    /// What came is not what it should be: a defect, or an attack. Not that nothing came.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Failure::Size(..) | Failure::Digest | Failure::Endorsement(_) | Failure::Mismatch(_)
        )
    }

    /// The authority has it, or will have, and is busy.
    pub fn is_for_later(&self) -> bool {
        matches!(self, Failure::Refused(status) if status.code() == Code::ResourceExhausted)
    }

    /// This authority will not give it, now or later: it is of another version.
    pub fn is_final(&self) -> bool {
        let codes = [Code::FailedPrecondition, Code::Unimplemented];
        matches!(self, Failure::Refused(status) if codes.contains(&status.code()))
    }
}

/// A file or a component, by its SHA-256.
pub async fn object(edge: &Edge, digest: [u8; 32], size: u64) -> Result<Vec<u8>, Failure> {
    within(LONGEST, async {
        let mut stream = open(edge, Object::Digest(digest.to_vec())).await?;
        let content = read(&mut stream, None, size).await?;
        match sha256(&content) == digest {
            true => Ok(content),
            false => Err(Failure::Digest),
        }
    })
    .await
}

/// Machine code of a component (SHA-256) that the authority endorses. Nothing of it is read before the endorsement is believed.
pub async fn compiled(edge: &Edge, component: &[u8; 32], target: &Target) -> Result<Artifact, Failure> {
    let wanted = CompiledComponent {
        component: component.to_vec(),
        target: Some(told(target)),
    };
    within(LONGEST, async {
        let mut stream = open(edge, Object::Compiled(wanted)).await?;
        let first = next(&mut stream).await?.unwrap_or_default();
        let endorsement = Endorsement::decode(&first.endorsement)?;
        let identity = edge.identity();
        let believed = endorsement.verify(&identity.roots, &identity.trust_domain, edge.now())?;
        Artifact::demand(&believed, component, target)?;
        let code = read(&mut stream, Some(first), believed.statement().size).await?;
        Ok(Artifact::endorsed(code, &believed, component, target)?)
    })
    .await
}

/// A target as the contract has it.
pub fn told(target: &Target) -> CompileTarget {
    CompileTarget {
        name: target.name().to_owned(),
        compatibility: target.compatibility().to_owned(),
    }
}

async fn within<T>(time: Duration, fetching: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = |_| Err(Status::deadline_exceeded("it took too long").into());
    timeout(time, fetching).await.unwrap_or_else(late)
}

async fn open(edge: &Edge, object: Object) -> Result<Streaming<FetchObjectChunk>, Failure> {
    let mut client = edge.uplink().client()?;
    let object = Some(object);
    let call = timeout(SILENCE, client.fetch_object(FetchObjectRequest { object }));
    let answer = call.await.map_err(|_| silent())??;
    Ok(answer.into_inner())
}

async fn next(stream: &mut Streaming<FetchObjectChunk>) -> Result<Option<FetchObjectChunk>, Failure> {
    let message = timeout(SILENCE, stream.message());
    Ok(message.await.map_err(|_| silent())??)
}

fn silent() -> Status {
    Status::deadline_exceeded("the authority sends nothing")
}

/// Reads `size` bytes and the end, after the chunk that came first.
async fn read(
    stream: &mut Streaming<FetchObjectChunk>,
    first: Option<FetchObjectChunk>,
    size: u64,
) -> Result<Vec<u8>, Failure> {
    let wanted = usize::try_from(size).ok().filter(|size| *size <= MAX_ARTIFACT);
    let wanted = wanted.ok_or(Failure::Size(size, "more than anything has"))?;
    let mut content = Vec::with_capacity(wanted.min(ROOM));
    let mut chunk = first;
    loop {
        match chunk.take() {
            Some(chunk) => content.extend_from_slice(&chunk.data),
            None => match next(stream).await? {
                // An empty one would be a way to go on for ever.
                Some(chunk) if chunk.data.is_empty() => return Err(Failure::Size(size, "and nothing came")),
                Some(chunk) => content.extend_from_slice(&chunk.data),
                None if content.len() == wanted => return Ok(content),
                None => return Err(Failure::Size(size, "fewer came")),
            },
        }
        if content.len() > wanted {
            return Err(Failure::Size(size, "more came"));
        }
    }
}
