//! What the fake authority gives by digest, the machine code that it endorses, and the ways in which it gets that wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use node::contract::fetch_object_request::Object;
use node::contract::{CompiledComponent, FetchObjectChunk, FetchObjectRequest};
use runtime::Target;
use signing::algorithm::Algorithm;
use signing::certificate::{Certificate, Validity};
use signing::compiled::{Endorsement, Statement, prepare_signer};
use signing::digest::sha256;
use signing::key::{SigningKey, random_bytes};
use signing::node_certificate::prepare_node_root;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::authority::Fake;
use super::{TRUST_DOMAIN, now};

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It has no such thing.
    Absent,
    /// It is of another version.
    Refuses,
    /// It says that it is busy, so many times.
    Busy(u32),
    /// One bit is another.
    OtherBytes,
    Truncated,
    /// It never ends.
    Endless,
    /// It never ends, and nothing comes.
    Empty,
    Unendorsed,
    BadSignature,
    /// An authority of another root.
    Stranger,
    /// Well endorsed, of another component.
    OtherComponent,
    /// Well endorsed, for another engine.
    OtherEngine,
    /// What is endorsed is larger than anything.
    Giant,
}

#[derive(Default)]
pub struct Objects {
    /// By SHA-256.
    pub held: BTreeMap<[u8; 32], Vec<u8>>,
    /// Compiles, where it does.
    pub compiler: Option<Arc<runtime::Host>>,
    pub wrong: Option<Wrong>,
    pub asked: Vec<Object>,
}

impl Objects {
    /// Files that it was asked for.
    pub fn files(&self) -> usize {
        let is_file = |asked: &&Object| matches!(asked, Object::Digest(_));
        self.asked.iter().filter(is_file).count()
    }

    /// How often it was asked for machine code.
    pub fn compilations(&self) -> usize {
        self.asked.len() - self.files()
    }
}

/// A root of nodes.
pub struct Root {
    key: SigningKey,
    pub certificate: Certificate,
}

impl Root {
    pub fn new() -> Root {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let spki = key.public().unwrap().to_spki_der();
        let root = prepare_node_root(
            "nodes",
            spki,
            Validity::starting(now(), 1_000_000),
            random_bytes().unwrap(),
        );
        let certificate = root.unwrap().sign_with(&key).unwrap();
        Root { key, certificate }
    }

    fn endorse(&self, statement: Statement) -> Endorsement {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let (life, serial) = (Validity::starting(now(), 86_400), random_bytes().unwrap());
        let spki = key.public().unwrap().to_spki_der();
        let certificate = prepare_signer(TRUST_DOMAIN, spki, life, serial, &self.certificate).unwrap();
        let certificate = certificate.sign_with(&self.key).unwrap();
        Endorsement::sign(statement, TRUST_DOMAIN, &key, &certificate).unwrap()
    }
}

pub type Chunks = ReceiverStream<Result<FetchObjectChunk, Status>>;

pub fn send(fake: &Fake, request: Request<FetchObjectRequest>) -> Result<Response<Chunks>, Status> {
    let object = request.into_inner().object.unwrap();
    let (wrong, compiler) = {
        let mut state = fake.state();
        state.objects.asked.push(object.clone());
        let wrong = state.objects.wrong;
        if let Some(Wrong::Busy(times)) = wrong {
            state.objects.wrong = times.checked_sub(1).map(Wrong::Busy);
        }
        (wrong, state.objects.compiler.clone())
    };
    match wrong {
        Some(Wrong::Absent) => return Err(Status::not_found("absent")),
        Some(Wrong::Refuses) => return Err(Status::failed_precondition("of another version")),
        Some(Wrong::Busy(_)) => return Err(Status::resource_exhausted("busy")),
        _ => {}
    }
    let (endorsement, mut data) = match object {
        Object::Digest(digest) => {
            let digest: [u8; 32] = digest.try_into().unwrap();
            let held = fake.state().objects.held.get(&digest).cloned();
            (Vec::new(), held.ok_or_else(|| Status::not_found("not named"))?)
        }
        Object::Compiled(wanted) => {
            let compiler = compiler.ok_or_else(|| Status::unimplemented("compiles nothing"))?;
            let (endorsement, code) = compiled(fake, &compiler, &wanted, wrong)?;
            (endorsement.encode(), code)
        }
    };
    match wrong {
        Some(Wrong::OtherBytes) => *data.last_mut().unwrap() ^= 1,
        Some(Wrong::Truncated) => drop(data.pop()),
        _ => {}
    }
    let (chunks, stream) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut endorsement = endorsement;
        let mut chunk = |data: &[u8]| FetchObjectChunk {
            endorsement: std::mem::take(&mut endorsement),
            data: data.to_vec(),
        };
        for part in data.chunks(10_000) {
            chunks.send(Ok(chunk(part))).await.ok();
        }
        let more: &[u8] = if wrong == Some(Wrong::Empty) { &[] } else { &[7; 1000] };
        while matches!(wrong, Some(Wrong::Endless | Wrong::Empty)) && chunks.send(Ok(chunk(more))).await.is_ok() {}
    });
    Ok(Response::new(ReceiverStream::new(stream)))
}

fn compiled(
    fake: &Fake,
    compiler: &runtime::Host,
    wanted: &CompiledComponent,
    wrong: Option<Wrong>,
) -> Result<(Endorsement, Vec<u8>), Status> {
    let named = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap();
    let target = wanted.target.clone().unwrap();
    let target = Target::find(&target.name, &target.compatibility).expect("an edge of the same version");
    let held = fake.state().objects.held.clone();
    let wasm = match wrong {
        Some(Wrong::OtherComponent) => held.into_iter().find(|(digest, _)| digest[..] != wanted.component),
        _ => held.into_iter().find(|(digest, _)| digest[..] == wanted.component),
    };
    let (_, wasm) = wasm.ok_or_else(|| Status::not_found("not named"))?;
    let artifact = compiler.compile(&wasm, &target).unwrap();
    let mut statement = Statement {
        component: sha256(&wasm),
        target: target.name().into(),
        compatibility: target.compatibility().into(),
        artifact: sha256(artifact.code()),
        size: u64::try_from(artifact.code().len()).unwrap(),
    };
    match wrong {
        Some(Wrong::OtherEngine) => statement.compatibility = "0".repeat(64),
        Some(Wrong::Giant) => statement.size = u64::MAX,
        Some(Wrong::OtherComponent) => assert_ne!(statement.component, named(&wanted.component)),
        _ => {}
    }
    let root = match wrong {
        Some(Wrong::Stranger) => &Root::new(),
        _ => &fake.pki.nodes,
    };
    let mut endorsement = root.endorse(statement);
    match wrong {
        Some(Wrong::BadSignature) => endorsement.signature[7] ^= 1,
        Some(Wrong::Unendorsed) => endorsement.certificate.clear(),
        _ => {}
    }
    Ok((endorsement, artifact.code().to_vec()))
}
