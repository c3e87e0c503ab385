//! An authority in a temporary directory, with a software HSM and a clock that stands until it is moved.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use node::contract::{DelegateRequest, DelegateResponse, EnrollRequest, OwnKey, SharedKey, delegate_request};
use node::handover::{Receiver, receiving_message};
use policies::engine::{AccountFacts, AccountKind};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use signing::algorithm::Algorithm;
use signing::key::SigningKey;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{Admin, Gauges};
use crate::bundle::{Applicant, InForce, Invalid, Outcome};
use crate::clock::{Clock, held_at};
use crate::config::Config;
use crate::delegate::Delegations;
use crate::edges::KnownEdge;
use crate::enroll::Enrollment;
use crate::fault::Fault;
use crate::hsm::Verified;
use crate::iam;
use crate::init::{self, Initialised};
use crate::keys::{Asked, Caller, Gate, KmsError};
use crate::names::{EdgeId, Tenant};
use crate::sealed::Vault;
use crate::serve::{Parts, Wired, open_recorder};
use crate::store::RedbStore;
use crate::tenants::Tenants;

pub(crate) const TENANT: &str = "000000000001";
pub(crate) const START: u64 = 1_800_000_000;
pub(crate) const INCARNATION: &str = "0123456789abcdef0123456789abcdef";

/// Permits everything: for tests of what lies behind the gate.
pub(crate) struct Open;

impl Gate for Open {
    fn caller(&self) -> Option<&Caller> {
        None
    }

    fn allow(&self, _: &Asked<'_>) -> Result<(), Fault> {
        Ok(())
    }
}

/// A principal of the tenant's account, decided about by Cedar with the built-in policies and those of the bundle.
pub(crate) struct Account {
    caller: Caller,
    facts: AccountFacts,
    in_force: Arc<InForce>,
}

impl Gate for Account {
    fn caller(&self) -> Option<&Caller> {
        Some(&self.caller)
    }

    fn allow(&self, asked: &Asked<'_>) -> Result<(), Fault> {
        let engine = &self.in_force.engine;
        match engine.authorize_keys(&self.facts, asked.action, asked.resource, asked.access, START) {
            Ok(_) => Ok(()),
            Err(denial) => Err(Fault::denied("forbidden", denial.to_string())),
        }
    }
}

pub(crate) struct Bench {
    pub(crate) wired: Wired,
    pub(crate) tenants: Tenants,
    pub(crate) enrollment: Enrollment,
    pub(crate) delegations: Delegations,
    pub(crate) hand: Arc<AtomicU64>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) parts: Parts,
    clock: Clock,
    follow: JoinHandle<()>,
    dir: TempDir,
}

pub(crate) fn config(dir: &TempDir) -> Config {
    let text = format!(
        r#"
        trust_domain = "example.org"
        data_dir = "{}"
        [hsm]
        kind = "software"
        passphrase_env = "UNUSED_BY_TESTS"
        [grpc]
        address = "127.0.0.1:0"
        names = ["localhost", "127.0.0.1"]
        [admin]
        address = "127.0.0.1:0"
        "#,
        dir.path().display()
    );
    node::config::parse("test.toml", &text).unwrap()
}

pub(crate) async fn parts(dir: &TempDir, clock: Clock) -> Parts {
    let store = Arc::new(RedbStore::open(dir.path().join("store.redb")).unwrap());
    let hsm = Arc::new(Verified::new(crate::hsm::testing::software(dir.path()).await));
    Parts::new(hsm, store, clock)
}

/// Of plugins that are compiled here: a test is no `signet`, which compiles in another process.
pub(crate) fn pool() -> runtime::Pool {
    crate::serve::life::reserve_pool_with(runtime::Compiler::Thread).unwrap()
}

pub(crate) async fn initialise(parts: &Parts) -> Initialised {
    let vault = Arc::new(Vault::new(parts.store.clone(), parts.hsm.clone()));
    init::initialise(&vault, "example.org", &parts.clock).await.unwrap()
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (clock, hand) = held_at(START);
        let parts = parts(&dir, clock.clone()).await;
        initialise(&parts).await;
        let bench = Self::on(dir, clock, hand, parts).await;
        bench.tenants.create(&bench.tenant(), "test").await.unwrap();
        bench
    }

    async fn on(dir: TempDir, clock: Clock, hand: Arc<AtomicU64>, parts: Parts) -> Self {
        let config = config(&dir);
        let stop = watch::channel(false).0;
        let (wired, commits) = Wired::join(&config, &parts, pool(), stop.subscribe()).await.unwrap();
        let follow = tokio::spawn(wired.follow(commits));
        let bench = Self {
            tenants: Tenants::new(wired.vault.clone(), clock.clone()),
            enrollment: wired.enrollment(&config),
            delegations: wired.delegations(&config),
            wired,
            hand,
            stop,
            parts,
            clock,
            follow,
            dir,
        };
        bench.settle().await;
        bench
    }

    /// Stops and starts again on the same directory.
    pub(crate) async fn restart(self) -> Self {
        let (clock, hand) = (self.clock.clone(), self.hand.clone());
        Self::start_on(self.end().await, clock, hand).await
    }

    /// Starts on a directory that holds an authority.
    pub(crate) async fn start_on(dir: TempDir, clock: Clock, hand: Arc<AtomicU64>) -> Self {
        let parts = parts(&dir, clock.clone()).await;
        Self::on(dir, clock, hand, parts).await
    }

    /// Stops; the directory is as it was left.
    pub(crate) async fn end(self) -> TempDir {
        let Self {
            wired,
            tenants,
            enrollment,
            delegations,
            stop,
            parts,
            follow,
            dir,
            ..
        } = self;
        follow.abort();
        let _ = follow.await;
        drop((wired, tenants, enrollment, delegations, stop));
        parts.close();
        dir
    }

    pub(crate) fn dir(&self) -> &TempDir {
        &self.dir
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn tenant(&self) -> Tenant {
        Tenant::parse(TENANT).unwrap()
    }

    pub(crate) fn now(&self) -> u64 {
        self.hand.load(Ordering::SeqCst)
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.hand.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) async fn upkeep(&self) {
        self.settle().await;
        crate::serve::upkeep::look(&self.wired.keys, &self.wired.world, &self.wired.clock).await;
        self.settle().await;
    }

    /// From now on the view shows what it shows now.
    pub(crate) fn hold_view(&self) {
        self.follow.abort();
    }

    /// Until the view shows what the store holds.
    pub(crate) async fn settle(&self) {
        let wanted = self.parts.store.revision().await.unwrap();
        let mut grown = self.wired.world.grown();
        let reached = grown.wait_for(|revision| *revision >= wanted);
        tokio::time::timeout(Duration::from_secs(10), reached)
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn verb(&self, verb: &str, body: Value) -> Result<Value, KmsError> {
        self.wired
            .keys
            .call(&self.tenant(), &Open, verb, body.to_string().as_bytes())
            .await
    }

    /// A user of the account, without a role in it; or its root.
    pub(crate) fn account_of(&self, tenant: &str, user: &str) -> Account {
        let (arn, kind) = match user {
            "root" => (format!("arn:aws:iam::{tenant}:root"), AccountKind::Root),
            user => (format!("arn:aws:iam::{tenant}:user/{user}"), AccountKind::User),
        };
        let caller = Caller {
            principal: iam::Caller::new(&arn, None).unwrap(),
            facts: iam::Context::new(),
        };
        let facts = AccountFacts {
            arn,
            tenant: tenant.to_owned(),
            kind,
            name: user.to_owned(),
            role: String::new(),
            session: None,
            issuer: None,
            subject: None,
        };
        let in_force = self.wired.bundles.in_force();
        Account {
            caller,
            facts,
            in_force,
        }
    }

    pub(crate) async fn verb_as(&self, user: &str, verb: &str, body: Value) -> Result<Value, KmsError> {
        let gate = self.account_of(TENANT, user);
        self.wired
            .keys
            .call(&self.tenant(), &gate, verb, body.to_string().as_bytes())
            .await
    }

    pub(crate) async fn verb_in(&self, region: &str, verb: &str, body: Value) -> Result<Value, KmsError> {
        let keys = self.wired.keys.in_region(region);
        keys.call(&self.tenant(), &Open, verb, body.to_string().as_bytes())
            .await
    }

    /// Makes a raw key; answers its id.
    pub(crate) async fn raw(&self, spec: &str, usage: &str) -> String {
        let body = json!({"KeySpec": spec, "KeyUsage": usage});
        let made = self.verb("CreateKey", body).await.unwrap();
        made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }

    /// Makes a key under an alias; answers its id.
    pub(crate) async fn key(&self, spec: &str, family: &str, delegation: &str, alias: &str) -> String {
        let tag = |name: &str, value: &str| json!({"TagKey": format!("signet:{name}"), "TagValue": value});
        let usage = if spec.starts_with("HMAC") {
            "GENERATE_VERIFY_MAC"
        } else {
            "SIGN_VERIFY"
        };
        let body =
            json!({"KeySpec": spec, "KeyUsage": usage, "Tags": [tag("family", family), tag("delegation", delegation)]});
        let made = self.verb("CreateKey", body).await.unwrap();
        let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        self.verb("CreateAlias", json!({"AliasName": alias, "TargetKeyId": id}))
            .await
            .unwrap();
        self.settle().await;
        id
    }

    /// Enrolls an edge; answers the certificates it would show.
    pub(crate) async fn enroll(&self, id: &str) -> Vec<CertificateDer<'static>> {
        self.enroll_with(id, BTreeMap::new()).await
    }

    /// As [`Bench::edge`], with labels.
    pub(crate) async fn edge_with(&self, id: &str, labels: BTreeMap<String, String>) -> KnownEdge {
        let certificates = self.enroll_with(id, labels).await;
        self.wired.edges.authenticate(&certificates).await.unwrap()
    }

    async fn enroll_with(&self, id: &str, labels: BTreeMap<String, String>) -> Vec<CertificateDer<'static>> {
        let id = EdgeId::parse(id).unwrap();
        let (token, _) = self.wired.edges.create_token(&id, 600, labels).await.unwrap();
        let request = EnrollRequest {
            join_token: token,
            csr: csr(),
            ..EnrollRequest::default()
        };
        let response = self.enrollment.enroll(&request).await.unwrap();
        response.certificates.into_iter().map(CertificateDer::from).collect()
    }

    pub(crate) async fn edge(&self, id: &str) -> KnownEdge {
        self.wired.edges.authenticate(&self.enroll(id).await).await.unwrap()
    }

    /// Applies the test bundle, with `policy` as its only policy.
    pub(crate) async fn apply(&self, policy: &str) {
        self.publish(bundle(policy), false).await.unwrap();
        self.settle().await;
    }

    /// Applies a bundle as an operator who says why it may trust anybody.
    pub(crate) async fn publish(&self, files: Vec<(String, Vec<u8>)>, dry_run: bool) -> Result<Outcome, Invalid> {
        let applicant = Applicant {
            approvals: self.wired.keys.approvals(),
            requester: "operator:test",
            reason: Some("a test"),
            fence: false,
            take_back: false,
        };
        self.wired.bundles.apply(files, dry_run, &applicant).await.unwrap()
    }

    /// The admin API over the same store, with an audit spool of its own.
    pub(crate) async fn admin(&self) -> Admin {
        let config = config(self.dir());
        let (_stop, stopped) = watch::channel(false);
        let (wired, _) = Wired::join(&config, &self.parts, pool(), stopped).await.unwrap();
        wired.world.reload().await;
        let gauges = Gauges::new();
        let recorder = open_recorder(&config, self.parts.clock.clone(), &gauges.metrics).unwrap();
        wired.into_admin(gauges, recorder, None)
    }

    pub(crate) async fn delegate(
        &self,
        edge: &KnownEdge,
        key: &str,
        mode: delegate_request::Mode,
    ) -> Result<DelegateResponse, Fault> {
        let request = DelegateRequest {
            key_id: key.to_owned(),
            incarnation: INCARNATION.to_owned(),
            mode: Some(mode),
        };
        self.delegations.delegate(edge, request).await
    }
}

/// The key of every edge here, and what they open shared keys with.
pub(crate) static NODE_KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(Algorithm::Es256).unwrap());
pub(crate) static RECEIVER: LazyLock<Receiver> = LazyLock::new(|| Receiver::new().unwrap());

pub(crate) fn csr() -> Vec<u8> {
    signing::csr::create(&NODE_KEY).unwrap()
}

/// A receiving key with its signature, of `edge-1`.
pub(crate) fn shared() -> delegate_request::Mode {
    shared_with(&NODE_KEY, "edge-1")
}

pub(crate) fn shared_with(node_key: &SigningKey, edge: &str) -> delegate_request::Mode {
    let receiving_key = RECEIVER.public().to_vec();
    let message = receiving_message("example.org", edge, INCARNATION, &receiving_key);
    delegate_request::Mode::Shared(SharedKey {
        signature: node_key.sign(&message).unwrap(),
        receiving_key,
    })
}

/// A key of the edge's own with its proof, for the edge and key named.
pub(crate) fn own(pair: &SigningKey, edge: &str, key: &str) -> delegate_request::Mode {
    let spki = pair.public().unwrap().to_spki_der().to_vec();
    let message = signing::delegation::possession_message("example.org", edge, INCARNATION, key, &spki);
    delegate_request::Mode::Own(OwnKey {
        proof: pair.sign(&message).unwrap(),
        public_key: spki,
    })
}

pub(crate) const DELEGATE: &str =
    "@id(\"edges-get-keys\")\npermit (principal is Edge, action == Action::\"Delegate\", resource is Key);\n";

/// A token profile on `alias/token` and an artifact profile on `alias/release`.
pub(crate) fn bundle(policy: &str) -> Vec<(String, Vec<u8>)> {
    let file = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
    vec![
        file(
            "bundle.toml",
            "[issuers.dev]\ntenant = \"000000000001\"\nurl = \"https://issuer.example\"\njwks_cache = \"5m\"\n",
        ),
        file("policies/test.cedar", policy),
        file(
            "profiles/api.toml",
            "tenant = \"000000000001\"\nkind = \"token\"\nkey = \"alias/token\"\nalgorithm = \"ES256\"\nissuer = \"dev\"\naudiences = [\"https://api.example\"]\n",
        ),
        file(
            "profiles/release.toml",
            "tenant = \"000000000001\"\nkind = \"artifact\"\nkey = \"alias/release\"\nalgorithm = \"ES256\"\n",
        ),
    ]
}
