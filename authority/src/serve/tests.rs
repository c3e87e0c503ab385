//! A whole authority over its two listeners, with the clients that edges and operators are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use hyper_util::rt::TokioIo;
use node::contract::authority_client::AuthorityClient;
use node::contract::watch_event::Event;
use node::contract::{
    DelegateRequest, EnrollRequest, KeyState, RenewRequest, WatchEvent, WatchRequest, WatchUp, told_revision, watch_up,
};
use node::http_client::{Client, add_pem_roots};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::{Value, json};
use signing::algorithm::Algorithm;
use signing::certificate::Validity;
use signing::key::SigningKey;
use signing::node_certificate::{TlsNames, Usage, prepare_node, prepare_node_root};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Streaming};

use super::*;
use crate::clock::Clock;
use crate::testing::{self, DELEGATE, INCARNATION, TENANT, shared, shared_with};

mod objects;
mod replicas;
mod safeguards;
mod samples;
mod signatures;

struct Site {
    _written: Written,
    running: Running,
    admin_token: String,
    node_root_pem: String,
    dir: TempDir,
}

/// The threads that write in the directory end before it is removed: a sync that fails ends the process.
struct Written(Arc<Recorder>, Option<Arc<Collector>>);

impl Written {
    fn by(running: &Running) -> Written {
        let log = running.log.as_ref().map(|(log, _)| log.clone());
        Written(running.recorder.clone(), log)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.0.close();
        if let Some(log) = &self.1 {
            log.close();
        }
    }
}

/// An edge's identity, as it would keep it.
struct Node {
    chain: Vec<CertificateDer<'static>>,
    key: SigningKey,
}

async fn start() -> Site {
    let dir = TempDir::new().unwrap();
    let parts = testing::parts(&dir, Clock::system()).await;
    start_on(dir, parts).await
}

async fn start_on(dir: TempDir, parts: Parts) -> Site {
    let made = testing::initialise(&parts).await;
    let running = Authority::start_with(testing::config(&dir), parts, testing::pool())
        .await
        .unwrap();
    Site {
        _written: Written::by(&running),
        running,
        admin_token: made.admin_token,
        node_root_pem: made.node_root_pem,
        dir,
    }
}

impl Site {
    async fn restart(self) -> Site {
        let Site {
            running,
            admin_token,
            node_root_pem,
            dir,
            ..
        } = self;
        running.stop().await;
        let parts = testing::parts(&dir, Clock::system()).await;
        let running = Authority::start_with(testing::config(&dir), parts, testing::pool())
            .await
            .unwrap();
        Site {
            _written: Written::by(&running),
            running,
            admin_token,
            node_root_pem,
            dir,
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        add_pem_roots(&mut roots, self.node_root_pem.as_bytes()).unwrap();
        roots
    }

    async fn send(&self, method: Method, path: &str, token: Option<&str>, body: Vec<u8>) -> (u16, Value) {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        let url = format!("https://localhost:{}{path}", self.running.admin_addr().port());
        let client = Client::new(self.roots()).unwrap();
        let answer = client
            .request(
                method,
                &url,
                headers,
                Bytes::from(body),
                Duration::from_secs(30),
                64 << 20,
            )
            .await
            .unwrap();
        let value = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        (answer.status().as_u16(), value)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::GET, path, Some(&self.admin_token), Vec::new()).await
    }

    /// What is on record, by a filter of `/v1/audit/records`, once there is any: the log takes records a moment after the answer.
    async fn records(&self, filter: &str) -> Vec<Value> {
        let path = format!("/v1/audit/records?from=0&{filter}");
        let found = async {
            loop {
                let (status, page) = self.get(&path).await;
                match page["records"].as_array() {
                    Some(records) if status == 200 && !records.is_empty() => return records.clone(),
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), found).await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(
            Method::POST,
            path,
            Some(&self.admin_token),
            body.to_string().into_bytes(),
        )
        .await
    }

    async fn verb(&self, verb: &str, body: Value) -> Value {
        let (status, answer) = self.post(&format!("/v1/keys/{verb}?tenant={TENANT}"), body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn apply(&self, path: &str) -> (u16, Value) {
        use base64::Engine as _;
        let encode = |content: &[u8]| base64::engine::general_purpose::STANDARD.encode(content);
        let files = testing::bundle(DELEGATE);
        let files: Vec<_> = files
            .iter()
            .map(|(path, content)| json!({"path": path, "content_base64": encode(content)}))
            .collect();
        self.send(
            Method::PUT,
            path,
            Some(&self.admin_token),
            json!({"files": files}).to_string().into_bytes(),
        )
        .await
    }

    /// Tenant, a shared token key and a bundle; answers the key's id.
    async fn furnish(&self) -> String {
        assert_eq!(
            self.post("/v1/tenants", json!({"id": TENANT, "name": "test"})).await.0,
            201
        );
        let tags = json!([
            {"TagKey": "signet:family", "TagValue": "token"},
            {"TagKey": "signet:delegation", "TagValue": "shared"},
        ]);
        let made = self
            .verb(
                "CreateKey",
                json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "Tags": tags}),
            )
            .await;
        let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        self.verb("CreateAlias", json!({"AliasName": "alias/token", "TargetKeyId": id}))
            .await;
        let (status, answer) = self.apply("/v1/bundle").await;
        assert_eq!((status, answer["applied"].clone()), (200, json!(true)), "{answer}");
        id
    }

    fn client(&self, identity: Option<&Node>) -> AuthorityClient<Channel> {
        let builder = rustls::ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots());
        let mut config = match identity {
            Some(node) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(node.key.export().unwrap().expose().to_vec()));
                builder.with_client_auth_cert(node.chain.clone(), key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (connector, address) = (TlsConnector::from(Arc::new(config)), self.running.grpc_addr());
        let connect = tower::service_fn(move |_: Uri| {
            let connector = connector.clone();
            async move {
                let socket = TcpStream::connect(address).await?;
                let name = ServerName::try_from("localhost").unwrap();
                connector.connect(name, socket).await.map(TokioIo::new)
            }
        });
        AuthorityClient::new(Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect))
    }

    async fn enroll(&self, id: &str) -> Node {
        let (status, token) = self.post("/v1/edges/tokens", json!({"edge_id": id})).await;
        assert_eq!(status, 201, "{token}");
        assert_eq!(token["node_root_pem"], json!(self.node_root_pem));
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let csr = signing::csr::create(&key).unwrap();
        let join_token = token["join_token"].as_str().unwrap().to_owned();
        let request = EnrollRequest {
            join_token,
            csr,
            ..EnrollRequest::default()
        };
        let answer = self.client(None).enroll(request.clone()).await.unwrap().into_inner();
        let again = self.client(None).enroll(request).await.unwrap_err();
        assert_eq!(again.code(), Code::Unauthenticated, "single use");
        Node {
            chain: answer.certificates.into_iter().map(Into::into).collect(),
            key,
        }
    }
}

/// An edge that opens its stream and says nothing more.
fn watch_from(revision: u64) -> impl Stream<Item = WatchUp> + Send + 'static {
    let request = WatchRequest {
        revision,
        bundle_digest: String::new(),
        incarnation: INCARNATION.into(),
        revision_proof: Vec::new(),
        ..WatchRequest::default()
    };
    let up = Some(watch_up::Up::Request(request));
    tokio_stream::once(WatchUp { up }).chain(tokio_stream::pending())
}

async fn event(stream: &mut Streaming<WatchEvent>) -> Event {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(10), stream.message())
            .await
            .unwrap();
        match next.unwrap().unwrap().event.unwrap() {
            Event::Heartbeat(_) | Event::Stops(_) | Event::Revocations(_) => {}
            event => return event,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_joins_watches_gets_a_key_and_is_stopped() {
    let site = start().await;
    let key = site.furnish().await;
    let node = site.enroll("edge-1").await;
    let mut client = site.client(Some(&node));
    let mut stream = client.watch(watch_from(0)).await.unwrap().into_inner();
    let Event::Snapshot(snapshot) = event(&mut stream).await else {
        panic!()
    };
    assert_eq!(snapshot.keys.len(), 1);
    assert!(snapshot.bundle.is_some());
    let request = DelegateRequest {
        key_id: key.clone(),
        incarnation: INCARNATION.into(),
        mode: Some(shared_with(&node.key, "edge-1")),
    };
    assert!(
        client
            .delegate(request.clone())
            .await
            .unwrap()
            .into_inner()
            .mode
            .is_some()
    );
    assert_eq!(site.get("/v1/edges").await.1["edges"][0]["connected"], true);

    site.verb("DisableKey", json!({"KeyId": key})).await;
    let Event::Key(told) = event(&mut stream).await else {
        panic!()
    };
    assert_eq!(told.state(), KeyState::Disabled);
    assert_eq!(
        client.delegate(request.clone()).await.unwrap_err().code(),
        Code::FailedPrecondition
    );

    let (status, answer) = site.post("/v1/edges/edge-1/revoke", json!({"reason": "stolen"})).await;
    assert_eq!((status, answer["state"].clone()), (200, json!("revoked")));
    assert!(matches!(event(&mut stream).await, Event::Revoked(_)));
    assert_eq!(stream.message().await.unwrap_err().code(), Code::PermissionDenied);
    let refused = client.watch(watch_from(0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(told_revision(&refused).is_some(), "{refused:?}");
    assert_eq!(
        client.delegate(request).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    site.running.stop().await;
}

// R36: what was acknowledged is there after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_finds_everything() {
    let site = start().await;
    let key = site.furnish().await;
    let node = site.enroll("edge-1").await;
    let digest = site.get("/v1/bundle").await.1["digest"].clone();
    let site = site.restart().await;
    assert_eq!(site.get("/v1/bundle").await.1["digest"], digest);
    assert_eq!(site.get("/v1/tenants").await.1["tenants"][0]["id"], TENANT);
    let listed = site.verb("ListKeys", json!({})).await;
    assert_eq!(listed["Keys"][0]["KeyId"], json!(key));
    let mut client = site.client(Some(&node));
    let mut stream = client.watch(watch_from(0)).await.unwrap().into_inner();
    let Event::Snapshot(snapshot) = event(&mut stream).await else {
        panic!()
    };
    assert_eq!(snapshot.keys[0].id, key);
    let csr = signing::csr::create(&SigningKey::generate(Algorithm::Es256).unwrap()).unwrap();
    let renewed = client.renew(RenewRequest { csr }).await.unwrap().into_inner();
    assert_eq!(renewed.spiffe_id, "spiffe://example.org/edge/edge-1");
    // Stopping ends open streams instead of waiting for them.
    let stopping = tokio::time::timeout(DRAIN, site.running.stop());
    let (_, ended) = tokio::join!(stopping, async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        }
    });
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_get_nothing_and_harm_nothing() {
    let site = start().await;
    // No certificate: only Enroll is open.
    let mut client = site.client(None);
    let request = DelegateRequest {
        key_id: "x".into(),
        incarnation: INCARNATION.into(),
        mode: Some(shared()),
    };
    assert_eq!(
        client.delegate(request.clone()).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    assert_eq!(
        client.watch(watch_from(0)).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    assert_eq!(
        client.renew(RenewRequest { csr: Vec::new() }).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    // A certificate with the right name under another root.
    let node = forged();
    let error = site.client(Some(&node)).delegate(request).await.unwrap_err();
    assert_ne!(error.code(), Code::Ok);
    assert!(
        error.code() != Code::NotFound && error.code() != Code::InvalidArgument,
        "{error:?}"
    );
    // What is no TLS at all, and what says nothing.
    let mut garbage = TcpStream::connect(site.running.grpc_addr()).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    garbage.read_to_end(&mut rest).await.ok();
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(site.running.grpc_addr()).await.unwrap());
    }
    // A request that is too large.
    let large = EnrollRequest {
        join_token: "x".repeat(100_000),
        csr: Vec::new(),
        ..EnrollRequest::default()
    };
    assert_eq!(
        site.client(None).enroll(large).await.unwrap_err().code(),
        Code::OutOfRange
    );
    site.enroll("edge-1").await;
    drop(silent);
    site.running.stop().await;
}

fn forged() -> Node {
    let root = SigningKey::generate(Algorithm::Es256).unwrap();
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let validity = Validity::starting(Clock::system().now(), 3600);
    let spki = root.public().unwrap().to_spki_der();
    let root_certificate = prepare_node_root("Signet node root example.org", spki, validity, [1; 16])
        .unwrap()
        .sign_with(&root)
        .unwrap();
    let names = TlsNames {
        common_name: "edge edge-1".into(),
        spiffe_id: Some("spiffe://example.org/edge/edge-1".into()),
        ..TlsNames::default()
    };
    let spki = key.public().unwrap().to_spki_der();
    let leaf = prepare_node(&names, Usage::NODE, spki, validity, [2; 16], &root_certificate).unwrap();
    let leaf = leaf.sign_with(&root).unwrap();
    Node {
        chain: vec![leaf.into_der().into(), root_certificate.into_der().into()],
        key,
    }
}

// R9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_need_the_token_and_good_requests() {
    let site = start().await;
    let token = site.admin_token.clone();
    for token in [
        None,
        Some("wrong"),
        Some("signet-admin-"),
        Some(&token[..token.len() - 1]),
    ] {
        for (method, path) in [
            (Method::GET, "/v1/edges"),
            (Method::PUT, "/v1/bundle"),
            (Method::POST, "/v1/keys/Sign"),
        ] {
            let (status, answer) = site.send(method, path, token, Vec::new()).await;
            assert_eq!(
                (status, answer["code"].as_str()),
                (401, Some("bad_admin_token")),
                "{path}"
            );
        }
    }
    for path in ["/livez", "/readyz", "/metrics", "/v1/roots"] {
        assert_eq!(site.send(Method::GET, path, None, Vec::new()).await.0, 200, "{path}");
    }
    assert_eq!(site.get("/v1/nothing").await.1["code"], "not_found");
    assert_eq!(site.post("/v1/bundle", json!({})).await.1["code"], "method_not_allowed");
    let cases: [(&str, &str, u16, &str); 8] = [
        ("/v1/tenants", "{", 400, "malformed_json"),
        ("/v1/tenants", "{\"id\":7}", 400, "bad_request"),
        ("/v1/tenants", "{\"id\":\"000000000001\",\"x\":1}", 400, "bad_request"),
        ("/v1/tenants", "{\"id\":\"1\"}", 400, "bad_request"),
        ("/v1/edges/tokens", "{\"edge_id\":\"A\"}", 400, "bad_request"),
        (
            "/v1/edges/tokens",
            "{\"edge_id\":\"a\",\"ttl_seconds\":0}",
            400,
            "bad_request",
        ),
        ("/v1/edges/nobody/revoke", "{}", 404, "not_found"),
        ("/v1/keys/ListKeys?tenant=1", "{}", 400, "bad_request"),
    ];
    for (path, body, status, code) in cases {
        let answer = site.send(Method::POST, path, Some(&token), body.into()).await;
        assert_eq!(
            (answer.0, answer.1["code"].as_str()),
            (status, Some(code)),
            "{path} {body}"
        );
    }
    let (status, answer) = site
        .post(
            &format!("/v1/keys/DescribeKey?tenant={TENANT}"),
            json!({"KeyId": "alias/a"}),
        )
        .await;
    assert_eq!(
        (status, answer["__type"].as_str()),
        (400, Some("NotFoundException")),
        "no such tenant"
    );
    assert_eq!(site.post("/v1/tenants", json!({"id": TENANT})).await.0, 201);
    assert_eq!(site.post("/v1/tenants", json!({"id": TENANT})).await.0, 409);
    let big = format!("{{\"id\":\"{}\"}}", "x".repeat(300_000));
    assert_eq!(
        site.send(Method::POST, "/v1/tenants", Some(&token), big.into()).await.0,
        413
    );
    site.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_is_put_shown_and_refused() {
    let site = start().await;
    let (_, dry) = site.apply("/v1/bundle?dry_run=true").await;
    assert_eq!(
        (dry["applied"].clone(), dry["added"].as_array().unwrap().len()),
        (json!(false), 4)
    );
    assert_eq!(site.get("/v1/bundle").await.1["digest"], Value::Null);
    assert_eq!(site.apply("/v1/bundle?dry_run=perhaps").await.0, 400);
    assert_eq!(site.apply("/v1/bundle?dryrun=true").await.0, 400);
    assert_eq!(site.apply("/v1/bundle").await.1["applied"], true);
    let (_, profiles) = site.get("/v1/profiles").await;
    assert_eq!(profiles["profiles"][0]["name"], "api");
    let bad = json!({"files": [{"path": "bundle.toml", "content_base64": "W3g="}]}).to_string();
    let (status, answer) = site
        .send(Method::PUT, "/v1/bundle", Some(&site.admin_token), bad.into())
        .await;
    assert_eq!((status, answer["code"].as_str()), (422, Some("invalid_bundle")));
    assert!(answer["errors"][0].as_str().unwrap().starts_with("bundle.toml"));
    let bad = json!({"files": [{"path": "bundle.toml", "content_base64": "!"}]}).to_string();
    assert_eq!(
        site.send(Method::PUT, "/v1/bundle", Some(&site.admin_token), bad.into())
            .await
            .0,
        400
    );
    assert_eq!(site.get("/v1/bundle").await.1["files"].as_array().unwrap().len(), 4);
    site.running.stop().await;
}

#[tokio::test]
async fn an_authority_knows_its_own_store_and_hsm() {
    let dir = TempDir::new().unwrap();
    let config = testing::config(&dir);
    let parts = testing::parts(&dir, Clock::system()).await;
    let error = Authority::start_with(config.clone(), parts, testing::pool())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("signet authority init"), "{error}");
    let dir = TempDir::new().unwrap();
    let parts = testing::parts(&dir, Clock::system()).await;
    testing::initialise(&parts).await;
    let vault = Arc::new(crate::sealed::Vault::new(parts.store.clone(), parts.hsm.clone()));
    let again = init::initialise(&vault, "example.org", &parts.clock).await;
    assert!(matches!(
        again,
        Err(Fault::State {
            code: "already_initialised",
            ..
        })
    ));
    let first = init::admin_token_hash(&vault).await.unwrap();
    init::new_admin_token(&vault, &parts.clock).await.unwrap();
    assert_ne!(init::admin_token_hash(&vault).await.unwrap(), first);
    drop(vault);
    let other = crate::config::Config {
        trust_domain: "other.org".into(),
        ..config
    };
    let error = Authority::start_with(other, parts, testing::pool()).await.unwrap_err();
    assert!(error.to_string().contains("example.org"), "{error}");
}

#[tokio::test]
async fn the_free_functions_open_what_the_configuration_names() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("passphrase");
    std::fs::write(&file, "correct horse battery staple\n").unwrap();
    let mut config = testing::config(&dir);
    config.data_dir = dir.path().join("data");
    config.hsm = crate::config::HsmConfig::Software(crate::config::SoftwareConfig {
        file: None,
        passphrase_file: Some(file),
        passphrase_env: None,
    });
    assert!(!crate::is_initialised(&config).await.unwrap());
    let made = crate::initialise(&config).await.unwrap();
    assert!(made.admin_token.starts_with("signet-admin-") && !format!("{made:?}").contains(&made.admin_token));
    assert!(crate::is_initialised(&config).await.unwrap());
    assert!(crate::initialise(&config).await.is_err());
    let token = Authority::reset_admin_token(config.clone()).await.unwrap();
    assert_ne!(token, made.admin_token);
    crate::start(config.clone(), crate::reserve_pool().unwrap())
        .await
        .unwrap()
        .stop()
        .await;
    crate::start(config, crate::reserve_pool().unwrap())
        .await
        .unwrap()
        .stop()
        .await;
}
