//! The gRPC service for edges: who is calling, then one call into the part that answers.

use std::sync::Arc;
use std::time::Duration;

use node::contract::authority_server::{Authority, AuthorityServer};
use node::contract::watch_up::Up;
use node::contract::{
    AuditSegment, DelegateRequest, DelegateResponse, EnrollRequest, EnrollResponse, FetchObjectRequest, ProveRequest,
    ProveResponse, RenewRequest, SampleBatch, SampleReceipt, SignInHsmRequest, SignInHsmResponse, WatchUp,
};
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tonic::{Code, Request, Response, Status, Streaming};

use self::fetch::{Chunks, Objects};
use self::samples::Refused;
use self::ship::Receipts;
use crate::collect::Collector;
use crate::config::Config;
use crate::delegate::Delegations;
use crate::edges::{Edges, KnownEdge};
use crate::enroll::Enrollment;
use crate::fault::Fault;
use crate::kms::{Decided, Entry, Recorder};
use crate::names::EdgeId;
use crate::samples::Samples;
use crate::seal::Seal;
use crate::serve::Wired;
use crate::turns::Turns;
use crate::watch::{EventStream, Watches};

pub use self::accept::{Incoming, PeerCertificates, accept};
pub use self::certificate::OwnCertificate;

mod accept;
mod certificate;
mod fetch;
mod prove;
mod samples;
mod ship;
mod sign;

/// The operation in the record.
const ENROLL: &str = "edges:Enroll";
/// Bytes of a request: an artifact of 64 KiB that is to be signed, and what else is said of it.
const MAX_REQUEST: usize = 68 << 10;
/// Calls that may wait for the HSM at once; more are told to come back (R37).
const IN_FLIGHT: usize = 128;
/// Streams of one connection; an edge needs three.
const STREAMS: u32 = 64;
/// Bytes of a request's header fields, decoded.
const MAX_HEADERS: u32 = 16 << 10;
/// How often a silent peer is asked whether it is there, and how long it may take to say so.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long an edge may take to say what it has, once it has opened its stream.
const FIRST_WORD: Duration = Duration::from_secs(5);
/// The longest a call may take. The HSM's own deadline is shorter.
const CALL: Duration = Duration::from_secs(15);

/// What answers edges.
pub struct Service {
    edges: Arc<Edges>,
    enrollment: Enrollment,
    delegations: Delegations,
    watches: Arc<Watches>,
    objects: Objects,
    samples: Arc<Samples>,
    seal: Arc<Seal>,
    recorder: Arc<Recorder>,
    log: Option<Arc<Collector>>,
    /// Turns true when streams have to end.
    stop: watch::Receiver<bool>,
    in_flight: Semaphore,
    /// Signatures that are made or wait, and whose turn it is.
    signing: Semaphore,
    turns: Turns<EdgeId>,
    /// Batches of samples that are kept or wait, whose turn it is, and of whom one was refused lately.
    sampling: Semaphore,
    sampling_turns: Turns<EdgeId>,
    refused_samples: Refused,
}

impl Service {
    /// Of the parts of an authority.
    pub(crate) fn of(
        wired: &Wired,
        config: &Config,
        (recorder, log): (&Arc<Recorder>, Option<Arc<Collector>>),
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            edges: wired.edges.clone(),
            enrollment: wired.enrollment(config),
            delegations: wired.delegations(config),
            watches: wired.watches.clone(),
            objects: Objects::new(wired.world.clone(), wired.artifacts.clone()),
            samples: wired.samples.clone(),
            seal: wired.seal.clone(),
            recorder: recorder.clone(),
            log,
            stop,
            in_flight: Semaphore::new(IN_FLIGHT),
            signing: Semaphore::new(sign::WAITING),
            turns: Turns::shared(sign::AT_ONCE, sign::SHARE),
            sampling: Semaphore::new(samples::WAITING),
            sampling_turns: Turns::shared(samples::AT_ONCE, samples::SHARE),
            refused_samples: Refused::default(),
        }
    }

    /// As tonic serves it, with requests bounded.
    pub fn into_server(self) -> AuthorityServer<Self> {
        AuthorityServer::new(self).max_decoding_message_size(MAX_REQUEST)
    }

    fn log(&self) -> Result<&Arc<Collector>, Status> {
        let log = self.log.as_ref();
        log.ok_or_else(|| Status::unavailable("there is no audit log"))
    }

    async fn authenticate<T>(&self, request: &Request<T>) -> Result<KnownEdge, Fault> {
        let none = PeerCertificates::default();
        let peer = request.extensions().get::<PeerCertificates>().unwrap_or(&none);
        self.edges.authenticate(&peer.0).await
    }

    /// Takes an edge in, and puts that on record before it has its certificate. What is refused is counted: a stranger who could
    /// have it recorded could fill the record.
    async fn take_in(&self, request: &EnrollRequest) -> Result<EnrollResponse, Fault> {
        self.recorder.ready().map_err(|refusal| unrecorded(refusal.detail))?;
        let enrolled = self.enrollment.enroll(request).await.inspect_err(|fault| {
            self.recorder.count(ENROLL, Some(fault.code()));
        })?;
        let by = match request.oidc_token.is_empty() {
            true => "join-token".to_owned(),
            false => format!("trust:{}", request.trust_rule),
        };
        let entry = Entry {
            operation: ENROLL,
            caller: &format!("edge:{}", enrolled.edge_id),
            account: "",
            decided: Decided {
                key: Some(enrolled.edge_id.clone()),
                policies: [by].into(),
                ..Decided::default()
            },
            digest: None,
            refused: None,
            request_id: uuid::Uuid::new_v4(),
            headers: &http::HeaderMap::new(),
        };
        self.recorder
            .record(entry)
            .map_err(|refusal| unrecorded(refusal.detail))?;
        Ok(enrolled)
    }

    fn enter(&self) -> Result<SemaphorePermit<'_>, Status> {
        self.enter_by(&self.in_flight)
    }

    fn enter_by<'s>(&'s self, door: &'s Semaphore) -> Result<SemaphorePermit<'s>, Status> {
        self.seal.demand_open()?;
        door.try_acquire()
            .map_err(|_| Status::resource_exhausted("too many calls at once; try again"))
    }
}

fn unrecorded(detail: Option<String>) -> Fault {
    Fault::Unavailable {
        part: "audit record",
        detail: detail.unwrap_or_default(),
    }
}

/// Runs a call within its time.
async fn bounded<T>(call: impl Future<Output = Result<T, Fault>>) -> Result<Response<T>, Status> {
    match tokio::time::timeout(CALL, call).await {
        Ok(result) => Ok(Response::new(result?)),
        Err(_) => Err(Status::deadline_exceeded("this took too long; try again")),
    }
}

#[tonic::async_trait]
impl Authority for Service {
    type WatchStream = EventStream;
    type ShipAuditStream = Receipts;
    type FetchObjectStream = Chunks;

    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let _permit = self.enter()?;
        bounded(self.take_in(request.get_ref())).await
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<EnrollResponse>, Status> {
        let _permit = self.enter()?;
        bounded(async {
            let edge = self.authenticate(&request).await?;
            self.enrollment.renew(&edge, request.get_ref()).await
        })
        .await
    }

    async fn delegate(&self, request: Request<DelegateRequest>) -> Result<Response<DelegateResponse>, Status> {
        let _permit = self.enter()?;
        bounded(async {
            let edge = self.authenticate(&request).await?;
            self.delegations.delegate(&edge, request.into_inner()).await
        })
        .await
    }

    async fn sign_in_hsm(&self, request: Request<SignInHsmRequest>) -> Result<Response<SignInHsmResponse>, Status> {
        let _permit = self.enter_by(&self.signing)?;
        bounded(async {
            let edge = self.authenticate(&request).await?;
            self.sign(&edge, request.into_inner()).await
        })
        .await
    }

    async fn watch(&self, request: Request<Streaming<WatchUp>>) -> Result<Response<EventStream>, Status> {
        self.seal.demand_open()?;
        // Before a word is read.
        let edge = match bounded(self.authenticate(&request)).await {
            Ok(edge) => edge.into_inner(),
            Err(status) if status.code() == Code::PermissionDenied => return Err(self.watches.refused(status).await),
            Err(status) => return Err(status),
        };
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(FIRST_WORD, messages.message()).await;
        let Ok(Some(Up::Request(first))) = first.map(|first| first.ok().flatten().and_then(|first| first.up)) else {
            return Err(Status::invalid_argument("a stream begins with a WatchRequest"));
        };
        bounded(self.watches.open(edge, first, Box::pin(messages))).await
    }

    async fn ship_audit(&self, request: Request<Streaming<AuditSegment>>) -> Result<Response<Receipts>, Status> {
        self.seal.demand_open()?;
        let edge = self.authenticate(&request).await?;
        Ok(Response::new(ship::take(
            edge.id().as_str(),
            self.log()?.clone(),
            request.into_inner(),
            self.stop.clone(),
        )))
    }

    async fn prove_records(&self, request: Request<ProveRequest>) -> Result<Response<ProveResponse>, Status> {
        self.seal.demand_open()?;
        let edge = self.authenticate(&request).await?;
        let proofs = prove::prove(edge.id().as_str(), self.log()?, request.get_ref(), self.stop.clone());
        Ok(Response::new(proofs.await?))
    }

    async fn fetch_object(&self, request: Request<FetchObjectRequest>) -> Result<Response<Chunks>, Status> {
        self.seal.demand_open()?;
        bounded(self.authenticate(&request)).await?;
        Ok(Response::new(self.objects.fetch(request.into_inner()).await?))
    }

    async fn ship_samples(&self, request: Request<SampleBatch>) -> Result<Response<SampleReceipt>, Status> {
        let _permit = self.enter_by(&self.sampling)?;
        bounded(async {
            let edge = self.authenticate(&request).await?;
            self.keep_samples(&edge, request.into_inner()).await
        })
        .await
    }
}

/// Serves edges until `stop` turns true; then what is under way is finished.
pub async fn serve(service: Service, incoming: Incoming, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        while !*stop.borrow_and_update() {
            if stop.changed().await.is_err() {
                return;
            }
        }
    };
    let server = tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE));
    if let Err(error) = server
        .serve_with_incoming_shutdown(service.into_server(), incoming, stopped)
        .await
    {
        tracing::error!(%error, "the gRPC server ended");
    }
}
