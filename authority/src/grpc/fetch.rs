//! What an edge fetches: files and components that its bundle names by digest, and machine code of those components.
//!
//! An edge gets what the bundle in force names and nothing else. Nothing is read or compiled on the threads that serve.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use node::contract::fetch_object_request::Object;
use node::contract::{CompiledComponent, FetchObjectChunk, FetchObjectRequest};
use runtime::{LoadFailure, Target};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::artifacts::{Artifacts, Compiled};
use crate::world::World;

/// What the edge gets.
pub(super) type Chunks = ReceiverStream<Result<FetchObjectChunk, Status>>;

/// Objects that are sent at once; whoever comes then comes again.
const AT_ONCE: usize = 64;
/// Calls that wait for a compiler at once.
const COMPILING: usize = 16;
/// How long a call waits for one; the compiler goes on when it does not.
const WAIT: Duration = Duration::from_secs(20);
/// Bytes of a chunk, and chunks that wait for a slow edge.
const CHUNK: usize = 256 << 10;
const QUEUED: usize = 4;
/// How long an edge may take for one chunk, and for all.
const PATIENCE: Duration = Duration::from_secs(30);
const LIFE: Duration = Duration::from_secs(900);

/// What objects are served from.
pub(super) struct Objects {
    world: Arc<World>,
    artifacts: Arc<Artifacts>,
    sending: Arc<Semaphore>,
    compiling: Arc<Semaphore>,
}

/// What is sent: shared by all who are sent the same.
enum Content {
    Named(Bytes),
    Compiled(Arc<Compiled>),
}

impl Objects {
    pub(super) fn new(world: Arc<World>, artifacts: Arc<Artifacts>) -> Self {
        Self {
            world,
            artifacts,
            sending: Arc::new(Semaphore::new(AT_ONCE)),
            compiling: Arc::new(Semaphore::new(COMPILING)),
        }
    }

    /// Begins to send. The edge has been authenticated.
    pub(super) async fn fetch(&self, request: FetchObjectRequest) -> Result<Chunks, Status> {
        let place = place(&self.sending)?;
        let content = match request.object {
            Some(Object::Digest(digest)) => Content::Named(self.named(&digest)?),
            Some(Object::Compiled(wanted)) => Content::Compiled(self.compiled(wanted).await?),
            None => return Err(Status::invalid_argument("this asks for no object that is known here")),
        };
        let (chunks, stream) = mpsc::channel(QUEUED);
        tokio::spawn(async move {
            // An edge that goes, or is too slow, comes again.
            timeout(LIFE, send(&content, &chunks)).await.ok();
            drop(place);
        });
        Ok(ReceiverStream::new(stream))
    }

    fn named(&self, digest: &[u8]) -> Result<Bytes, Status> {
        let digest = <[u8; 32]>::try_from(digest);
        let digest = digest.map_err(|_| Status::invalid_argument("a digest is a SHA-256, 32 bytes"))?;
        let named = self.world.object(&digest);
        named.ok_or_else(|| Status::not_found("the bundle in force names no such object"))
    }

    async fn compiled(&self, wanted: CompiledComponent) -> Result<Arc<Compiled>, Status> {
        let component = self.named(&wanted.component)?;
        let target = wanted.target.unwrap_or_default();
        let target = Target::find(&target.name, &target.compatibility).ok_or_else(|| {
            Status::failed_precondition(
                "this authority is of another version than the edge and cannot compile for it; install the same on both",
            )
        })?;
        let turn = place(&self.compiling)?;
        let artifacts = self.artifacts.clone();
        let compiling = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            artifacts.get(&component, &target)
        });
        match timeout(WAIT, compiling).await {
            Ok(Ok(Ok(compiled))) => Ok(compiled),
            Ok(Ok(Err(LoadFailure::Busy))) | Err(_) => {
                Err(Status::resource_exhausted("the component is being compiled; ask again"))
            }
            Ok(Ok(Err(failure))) => Err(Status::failed_precondition(format!("not compiled: {failure}"))),
            Ok(Err(error)) => Err(Status::internal(format!("compiling failed: {error}"))),
        }
    }
}

fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    let place = places.clone().try_acquire_owned();
    place.map_err(|_| Status::resource_exhausted("too many objects at once; ask again"))
}

/// Sends all of it, unless the edge goes.
async fn send(content: &Content, chunks: &mpsc::Sender<Result<FetchObjectChunk, Status>>) {
    let (mut endorsement, data) = match content {
        Content::Named(data) => (Vec::new(), data.as_ref()),
        Content::Compiled(compiled) => (compiled.endorsement.encode(), compiled.artifact.code()),
    };
    for data in data.chunks(CHUNK) {
        let chunk = FetchObjectChunk {
            endorsement: std::mem::take(&mut endorsement),
            data: data.to_vec(),
        };
        if !matches!(timeout(PATIENCE, chunks.send(Ok(chunk))).await, Ok(Ok(()))) {
            return;
        }
    }
}
