//! An authority in this process that keeps its side of the contract: who is revoked gets nothing, a key that is stopped or of
//! another delegation is not handed out, a proof of possession must verify, a stream resumes at the revision asked for.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use node::contract::authority_server::{Authority, AuthorityServer};
use node::contract::sign_in_hsm_request::Input;
use node::contract::watch_event::Event;
use node::contract::watch_up::Up;
use node::contract::{
    self, AuditSegment, Bundle, DelegateRequest, DelegateResponse, EnrollRequest, EnrollResponse, FetchObjectRequest,
    Heartbeat, OwnDelegation, OwnKey, ProveRequest, ProveResponse, RenewRequest, Revoked, SampleBatch, SampleReceipt,
    SharedDelegation, SignInHsmRequest, SignInHsmResponse, WatchEvent, WatchUp, delegate_request, delegate_response,
};
use node::handover::receiving_message;
use signing::delegation::possession_message;
use signing::digest::Digest;
use signing::key::PublicKey;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::pki::{Key, Pki};
pub use super::store::Lie;
use super::store::{Events, State};
use super::{EDGE, TRUST_DOMAIN};

/// Clones are the same authority.
#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    pub pki: Arc<Pki>,
}

impl Fake {
    pub fn new() -> Fake {
        let state = State {
            revision: 10,
            lifetime: 3600,
            lease_ms: 3_600_000,
            ..State::default()
        };
        Fake {
            state: Arc::new(Mutex::new(state)),
            pki: Arc::new(Pki::new()),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Serves this authority; what the edge dials ends here.
    pub fn serve(&self) -> Channel {
        let (dialled, incoming) = mpsc::channel::<Result<DuplexStream, std::io::Error>>(8);
        let service = AuthorityServer::new(self.clone());
        tokio::spawn(async move {
            let incoming = ReceiverStream::new(incoming);
            Server::builder().serve_with_incoming(service, incoming).await
        });
        let connector = tower::service_fn(move |_| {
            let dialled = dialled.clone();
            async move {
                let (near, far) = tokio::io::duplex(1 << 16);
                dialled.send(Ok(far)).await.map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>(TokioIo::new(near))
            }
        });
        Endpoint::from_static("http://authority.test").connect_with_connector_lazy(connector)
    }

    pub fn add_key(&self, key: Key) -> String {
        let id = key.announced.id.clone();
        self.state().keys.insert(id.clone(), key);
        id
    }

    /// Changes a key and tells every stream.
    pub fn change_key(&self, id: &str, change: impl FnOnce(&mut Key)) {
        let mut state = self.state();
        let key = state.keys.get_mut(id).unwrap();
        change(key);
        let event = Event::Key(key.announced.clone());
        state.commit(event);
    }

    pub fn delete_key(&self, id: &str) {
        let mut state = self.state();
        let key = state.keys.remove(id).unwrap();
        state.commit(Event::Key(contract::Key {
            id: key.announced.id,
            deleted: true,
            ..contract::Key::default()
        }));
    }

    pub fn publish(&self, files: Vec<(String, Vec<u8>)>) {
        self.publish_with(files, Vec::new());
    }

    /// With every plugin named by its digest.
    pub fn publish_named(&self, files: Vec<(String, Vec<u8>)>) {
        let digest = policies::bundle::digest(&files);
        let mut state = self.state();
        let named = files.into_iter().map(|(path, content)| {
            let mut file = contract::File {
                path,
                content,
                ..contract::File::default()
            };
            if file.path.ends_with(".wasm") {
                let digest = signing::digest::sha256(&file.content);
                (file.digest, file.size) = (digest.to_vec(), u64::try_from(file.content.len()).unwrap());
                state.objects.held.insert(digest, std::mem::take(&mut file.content));
            }
            file
        });
        let bundle = Bundle {
            digest,
            files: named.collect(),
            rollouts: Vec::new(),
        };
        state.bundle = Some(bundle.clone());
        state.commit(Event::Bundle(bundle));
    }

    /// With new versions of plugins.
    pub fn publish_with(&self, files: Vec<(String, Vec<u8>)>, rollouts: Vec<contract::Rollout>) {
        let stages = rollouts
            .iter()
            .map(|one| format!("{}{}{}", one.id, one.percent, one.aborted));
        let bundle = Bundle {
            digest: stages.fold(policies::bundle::digest(&files), |all, stage| all + &stage),
            rollouts,
            files: files
                .into_iter()
                .map(|(path, content)| contract::File {
                    path,
                    content,
                    ..contract::File::default()
                })
                .collect(),
        };
        let mut state = self.state();
        state.bundle = Some(bundle.clone());
        state.commit(Event::Bundle(bundle));
    }

    pub fn revoke(&self) {
        let mut state = self.state();
        state.revoked = true;
        state.revision += 1;
        let (revision, reason) = (state.revision, "stolen".to_owned());
        state.tell(revision, Event::Revoked(Revoked { reason }));
        state.hang_up(Status::permission_denied("the edge is revoked"));
    }

    /// Puts the store back to an older state, in which nobody was revoked.
    pub fn put_back(&self, revision: u64) {
        let mut state = self.state();
        (state.revoked, state.revision) = (false, revision);
        state.log.retain(|(at, _)| *at <= revision);
        state.hang_up(Status::unavailable("restarting"));
    }

    pub fn go(&self, gone: bool) {
        let mut state = self.state();
        state.gone = gone;
        if gone {
            state.hang_up(Status::unavailable("gone"));
        }
    }

    fn demand_standing(&self) -> Result<(), Status> {
        let state = self.state();
        if state.gone {
            return Err(Status::unavailable("gone"));
        }
        if state.revoked {
            return Err(Status::permission_denied("the edge is revoked"));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Authority for Fake {
    type WatchStream = ReceiverStream<Result<WatchEvent, Status>>;
    type ShipAuditStream = super::log::Receipts;
    type FetchObjectStream = super::objects::Chunks;

    async fn ship_audit(
        &self,
        request: Request<Streaming<AuditSegment>>,
    ) -> Result<Response<Self::ShipAuditStream>, Status> {
        self.demand_standing()?;
        Ok(super::log::take(self.clone(), request))
    }

    async fn prove_records(&self, request: Request<ProveRequest>) -> Result<Response<ProveResponse>, Status> {
        self.demand_standing()?;
        let proofs = self.state().audit.prove(request.get_ref());
        if proofs.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Response::new(ProveResponse { proofs }))
    }

    async fn fetch_object(
        &self,
        request: Request<FetchObjectRequest>,
    ) -> Result<Response<Self::FetchObjectStream>, Status> {
        self.demand_standing()?;
        super::objects::send(self, request)
    }

    async fn ship_samples(&self, request: Request<SampleBatch>) -> Result<Response<SampleReceipt>, Status> {
        self.demand_standing()?;
        let mut state = self.state();
        if state.takes_no_samples {
            return Err(Status::failed_precondition("the bundle in force asks for no samples"));
        }
        state.samples.push(request.into_inner());
        Ok(Response::new(SampleReceipt {}))
    }

    async fn enroll(&self, _: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<EnrollResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn watch(&self, request: Request<Streaming<WatchUp>>) -> Result<Response<Self::WatchStream>, Status> {
        let mut ups = request.into_inner();
        let first = ups.message().await?.and_then(|message| message.up);
        let Some(Up::Request(request)) = first else {
            return Err(Status::invalid_argument("the first message is no request"));
        };
        let standing = self.demand_standing();
        let (events, stream) = mpsc::channel(64);
        let mut state = self.state();
        state.watched.push(request.clone());
        standing?;
        let mut first = Vec::new();
        if request.revision == 0 || request.revision > state.revision {
            let snapshot = state.snapshot(vec![self.pki.root.certificate.der().to_vec()], &request.bundle_digest);
            first.push(state.event_at(state.revision, snapshot));
        }
        for (revision, event) in state
            .log
            .iter()
            .filter(|(at, _)| request.revision > 0 && *at > request.revision)
        {
            first.push(state.event_at(*revision, event.clone()));
        }
        first.push(state.event_at(state.revision, Event::Heartbeat(Heartbeat {})));
        for event in first {
            events.try_send(Ok(event)).unwrap();
        }
        state.streams.push(events.clone());
        tokio::spawn(beat(self.clone(), events.clone()));
        tokio::spawn(hear(self.clone(), ups, events));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn sign_in_hsm(&self, request: Request<SignInHsmRequest>) -> Result<Response<SignInHsmResponse>, Status> {
        self.demand_standing()?;
        let silent = self.state().silent;
        if silent {
            std::future::pending::<()>().await;
        }
        let request = request.into_inner();
        let mut state = self.state();
        state.signed.push(request.clone());
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        let key = state
            .keys
            .get(&request.key_id)
            .ok_or_else(|| Status::not_found("no such key"))?;
        if key.announced.state() != contract::KeyState::Enabled {
            return Err(Status::failed_precondition("the key is stopped"));
        }
        let pair = key.material.iter().find(|pair| pair.kid() == request.kid);
        let pair = pair.ok_or_else(|| Status::failed_precondition("no such version"))?;
        let mut signature = match request.input {
            Some(Input::Token(message) | Input::Message(message)) => pair.sign(&message).unwrap(),
            Some(Input::Digest(digest)) => {
                let hash = pair.algorithm().digest().unwrap();
                pair.sign_digest(&Digest::new(hash, &digest).unwrap()).unwrap()
            }
            None => return Err(Status::invalid_argument("nothing to sign")),
        };
        if state.lie == Some(Lie::WrongSignature) {
            signature[7] ^= 1;
        }
        Ok(Response::new(SignInHsmResponse {
            signature,
            kid: request.kid,
        }))
    }

    async fn delegate(&self, request: Request<DelegateRequest>) -> Result<Response<DelegateResponse>, Status> {
        self.demand_standing()?;
        let request = request.into_inner();
        let mut state = self.state();
        state.delegated.push(request.key_id.clone());
        let (lie, lifetime) = (state.lie, state.lifetime);
        let key = state
            .keys
            .get(&request.key_id)
            .ok_or_else(|| Status::not_found("no such key"))?;
        if key.announced.state() != contract::KeyState::Enabled {
            return Err(Status::failed_precondition("the key is stopped"));
        }
        let mode = match (request.mode, key.announced.delegation()) {
            (Some(delegate_request::Mode::Own(own)), contract::Delegation::Own) => {
                let public = proven(&request.incarnation, &request.key_id, &own)?;
                if lie == Some(Lie::SharedForOwn) {
                    delegate_response::Mode::Shared(SharedDelegation::default())
                } else {
                    let certificates = self.pki.delegate(key, &public, &request.incarnation, lifetime, lie);
                    delegate_response::Mode::Own(OwnDelegation { certificates })
                }
            }
            (Some(delegate_request::Mode::Shared(shared)), contract::Delegation::Shared) => {
                let message = receiving_message(TRUST_DOMAIN, EDGE, &request.incarnation, &shared.receiving_key);
                let node_key = state.node_key.as_ref().unwrap();
                let signed = node_key.verify(&message, &shared.signature);
                signed.map_err(|_| Status::permission_denied("the receiving key is not this node's"))?;
                if lie == Some(Lie::OwnForShared) {
                    delegate_response::Mode::Own(OwnDelegation::default())
                } else {
                    delegate_response::Mode::Shared(key.hand_out(
                        &shared.receiving_key,
                        &request.incarnation,
                        lifetime,
                        lie,
                    ))
                }
            }
            _ => return Err(Status::failed_precondition("the key has another delegation")),
        };
        Ok(Response::new(DelegateResponse { mode: Some(mode) }))
    }
}

/// Proof of possession, as the contract asks for it.
fn proven(incarnation: &str, key_id: &str, own: &OwnKey) -> Result<PublicKey, Status> {
    let public = PublicKey::from_spki_der(&own.public_key).map_err(|_| Status::invalid_argument("no key"))?;
    let message = possession_message(TRUST_DOMAIN, EDGE, incarnation, key_id, &own.public_key);
    match public.verify(&message, &own.proof) {
        Ok(()) => Ok(public),
        Err(_) => Err(Status::permission_denied("no proof of possession")),
    }
}

async fn beat(fake: Fake, events: Events) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let heartbeat = {
            let state = fake.state();
            state.event_at(state.revision, Event::Heartbeat(Heartbeat {}))
        };
        if events.send(Ok(heartbeat)).await.is_err() {
            return;
        }
    }
}

/// Grants leases and takes note of what is acknowledged, while the authority is there.
async fn hear(fake: Fake, mut ups: Streaming<WatchUp>, events: Events) {
    while let Ok(Some(message)) = ups.message().await {
        let answer = {
            let mut state = fake.state();
            match message.up {
                Some(Up::Acknowledged(done)) => {
                    state.acknowledged.push(done.revision);
                    None
                }
                Some(Up::Rollout(report)) => {
                    state.reports.push(report);
                    None
                }
                Some(Up::Renewal(renewal)) if !state.gone && !state.revoked => Some(state.lease(renewal)),
                _ => None,
            }
        };
        if let Some(answer) = answer
            && events.send(Ok(answer)).await.is_err()
        {
            return;
        }
    }
}
