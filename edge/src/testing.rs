//! An edge on real parts (engine, plugins, spool) and a fake authority, driven as a listener would drive it.

pub mod authority;
pub mod bench;
pub mod files;
pub mod log;
pub mod objects;
pub mod pki;
pub mod store;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use audit::record::{Draft, Event};
use audit::spool::{Settings as SpoolSettings, Spool};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use node::contract::Family;
use node::handover::Receiver;
use node::listen::{Handler, Peer, Protocol};
use serde_json::{Value, json};
use signing::algorithm::Algorithm;
use signing::claims::Claims;
use signing::format::jwt;
use signing::key::SigningKey;
use tempfile::TempDir;
use tokio::task::JoinSet;

use self::authority::Fake;
use self::files::{OTHER_TENANT, TENANT};
use self::pki::Key;
use crate::api::Api;
use crate::config::{Audit, Compile, Config, Listen, Plugins, Tls};
use crate::identity::Identity;
use crate::state::Edge;
use crate::uplink::Uplink;
use crate::{delegate, follow, sample};

pub const TRUST_DOMAIN: &str = "example.org";
pub const EDGE: &str = "edge-1";

pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Waits until something holds; fails the test after 20 s.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let held = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(held.is_ok(), "never came: {what}");
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// Status and code of a problem.
    pub fn code(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or_default())
    }
}

pub struct Rig {
    pub edge: Arc<Edge>,
    pub uplink: Arc<Uplink>,
    pub authority: Fake,
    pub caller: SigningKey,
    /// Key ids by `alias`, with `other` for the other tenant's `alias/api`.
    pub keys: BTreeMap<&'static str, String>,
    api: Api,
    dir: TempDir,
    tasks: JoinSet<()>,
}

impl Rig {
    /// An edge that has everything.
    pub async fn ready() -> Rig {
        Rig::with_limits("").await
    }

    pub async fn with_limits(limits: &str) -> Rig {
        let mut rig = Rig::new(limits);
        rig.run();
        rig.until_ready().await;
        rig
    }

    /// An edge that does not follow its authority yet.
    pub fn new(limits: &str) -> Rig {
        Rig::on_spool(limits, SpoolSettings::default())
    }

    pub fn on_spool(limits: &str, settings: SpoolSettings) -> Rig {
        Rig::with(limits, settings, Compile::Any)
    }

    /// An edge that does not follow its authority yet, with plugins by digest, which the authority compiles.
    pub fn compiling(compile: Compile) -> Rig {
        let rig = Rig::with("", SpoolSettings::default(), compile);
        rig.authority.state().objects.compiler = Some(Arc::new(rig_host(Compile::Any)));
        rig.authority.publish_named(files::bundle(&rig.caller, ""));
        rig
    }

    fn with(limits: &str, settings: SpoolSettings, compile: Compile) -> Rig {
        let authority = Fake::new();
        let caller = SigningKey::generate(Algorithm::Es256).unwrap();
        let keys = [
            ("api", Key::shared("alias/api", TENANT, Algorithm::Es256)),
            ("cdn", Key::shared("alias/cdn", TENANT, Algorithm::Hs256)),
            ("second", Key::shared("alias/second", TENANT, Algorithm::EdDsa)),
            ("release", Key::own("alias/release", TENANT, Algorithm::Es256)),
            ("package", Key::own("alias/package", TENANT, Algorithm::EdDsa)),
            (
                "vault",
                Key::kept("alias/vault", TENANT, Algorithm::Es256, Family::Token),
            ),
            (
                "notary",
                Key::kept("alias/notary", TENANT, Algorithm::Es256, Family::Artifact),
            ),
            ("other", Key::shared("alias/api", OTHER_TENANT, Algorithm::Es256)),
        ];
        let keys = keys
            .into_iter()
            .map(|(name, key)| (name, authority.add_key(key)))
            .collect();
        let bundle = files::bundle(&caller, limits);
        let parsed = policies::bundle::Bundle::parse(&bundle).unwrap();
        policies::engine::Engine::new(&parsed).unwrap();
        authority.publish(bundle);
        let dir = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(&dir.path().join("audit"), EDGE, "0a", settings).unwrap();
        let node_key = SigningKey::generate(Algorithm::Es256).unwrap();
        authority.state().node_key = node_key.public().cloned();
        let mut identity = Identity::named(TRUST_DOMAIN, EDGE, &node_key);
        identity.roots = vec![authority.pki.nodes.certificate.der().to_vec().into()];
        let uplink = Arc::new(Uplink::over(authority.serve(), identity));
        let edge = Edge::new(
            config(&dir, compile),
            uplink.clone(),
            rig_host(compile),
            spool,
            "0a".into(),
            Receiver::new().unwrap(),
        )
        .unwrap();
        Rig {
            api: Api::new(edge.clone()),
            tasks: JoinSet::new(),
            edge,
            uplink,
            authority,
            caller,
            keys,
            dir,
        }
    }

    /// Starts what a running edge has in the background.
    pub fn run(&mut self) {
        self.tasks.spawn(follow::follow(self.edge.clone(), self.uplink.clone()));
        self.tasks.spawn(delegate::keep(self.edge.clone(), self.uplink.clone()));
        self.tasks.spawn(self.edge.clone().load_bundles());
        self.tasks.spawn(sample::keep(self.edge.clone(), self.uplink.clone()));
    }

    /// Lets time pass, here and at the authority.
    pub fn advance(&self, seconds: u64) {
        self.authority.state().ahead += seconds;
        self.edge.clock().advance(seconds);
    }

    pub async fn until_ready(&self) {
        let ready = tokio::time::timeout(Duration::from_secs(30), self.edge.until_ready()).await;
        assert!(ready.is_ok(), "still waits for {:?}", self.edge.waiting_for());
    }

    /// A token of a caller of the first tenant, with these roles.
    pub fn token(&self, roles: &[&str]) -> String {
        self.token_of("https://callers.example", "dev:alice", json!({"roles": roles}))
    }

    pub fn token_of(&self, issuer: &str, subject: &str, extra: Value) -> String {
        let claims = Claims {
            iss: Some(issuer.into()),
            sub: Some(subject.into()),
            aud: vec!["signet".into()],
            iat: Some(now()),
            exp: Some(now() + 1_000_000),
            extra: serde_json::from_value(extra).unwrap(),
            ..Claims::default()
        };
        jwt::mint(&self.caller, &jwt::Header::default(), &claims).unwrap()
    }

    /// A POST by a developer of the first tenant.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_as(&self.token(&["developer"]), path, body).await
    }

    pub async fn post_as(&self, token: &str, path: &str, body: Value) -> Answer {
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"));
        self.send(request.body(Bytes::from(body.to_string())).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(http::Request::get(path).body(Bytes::new()).unwrap()).await
    }

    /// As a listener does it: the head first, then all of it.
    pub async fn send(&self, request: http::Request<Bytes>) -> Answer {
        let peer = Peer {
            address: SocketAddr::from(([192, 0, 2, 7], 4000)),
            protocol: Protocol::Http2,
            certificates: Arc::new([]),
            secure: true,
        };
        let (head, body) = request.into_parts();
        let response = match self.api.admit(&head, &peer) {
            Ok(most) if body.len() > most => panic!("{} bytes, the listener would have taken {most}", body.len()),
            Ok(_) => self.api.handle(http::Request::from_parts(head, body), &peer).await,
            Err(response) => response,
        };
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: serde_json::from_slice(response.body()).unwrap_or_default(),
            text: String::from_utf8_lossy(response.body()).into_owned(),
        }
    }

    /// The kids in an issuer's JWKS.
    pub async fn jwks(&self, issuer: &str) -> Vec<String> {
        let answer = self.get(&format!("/i/{issuer}/.well-known/jwks.json")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let keys = answer.body["keys"].as_array().unwrap();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// Signatures and refusals on record, oldest first.
    pub fn records(&self) -> Vec<Draft<'static>> {
        self.edge.spool().flush().unwrap();
        self.written()
    }

    /// As [`Rig::records`], of what is on disk already.
    pub fn written(&self) -> Vec<Draft<'static>> {
        let uses = self.events().into_iter().filter_map(|event| match event {
            Event::Use(draft) => Some(draft),
            _ => None,
        });
        uses.collect()
    }

    /// All that is on disk already.
    pub fn events(&self) -> Vec<Event> {
        let mut tail = audit::read::tail(&self.dir.path().join("audit"), false).unwrap();
        let records = std::iter::from_fn(|| tail.poll()).map(Result::unwrap);
        records.map(|record| record.event).collect()
    }

    pub fn kid(&self, key: &str) -> String {
        self.authority.state().keys[&self.keys[key]].announced.versions[0]
            .kid
            .clone()
    }
}

fn rig_host(compile: Compile) -> runtime::Host {
    let settings = runtime::Settings {
        max_calls: 16,
        compiler: match compile {
            Compile::Authority => runtime::Compiler::Never,
            Compile::Any | Compile::Local => runtime::Compiler::Thread,
        },
        ..runtime::Settings::default()
    };
    runtime::Host::new(settings).unwrap()
}

fn config(dir: &TempDir, compile: Compile) -> Config {
    Config {
        authority: vec!["https://authority.test".into()],
        state_dir: dir.path().to_owned(),
        public_url: "https://edge.test".into(),
        listen: Listen {
            https: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            http: None,
            http3: false,
        },
        join: None,
        tls: Tls {
            certificate: "none".into(),
            key: "none".into(),
        },
        allow_swap: false,
        limits: node::listen::Limits::default(),
        audit: Audit::default(),
        plugins: Plugins { compile },
    }
}
