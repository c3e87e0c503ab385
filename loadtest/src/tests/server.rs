//! An edge for tests: the real listeners, and a handler that mints with a key of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request};
use node::listen::{self, Handler, Limits, Peer, Shutdown};
use node::tls::{self, ClientAuth, ReloadingCertificate};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use signing::Algorithm;
use signing::claims::Claims;
use signing::format::jwt::{Header, mint};
use signing::jwk::Jwk;
use signing::key::SigningKey;

pub(super) struct Server {
    pub(super) https: String,
    pub(super) http: String,
    edge: Arc<Edge>,
    root: CertificateDer<'static>,
    directory: tempfile::TempDir,
    shutdown: Shutdown,
}

struct Edge {
    key: SigningKey,
    issuer: String,
    seen: Mutex<Vec<&'static str>>,
    peers: Mutex<BTreeSet<(bool, SocketAddr)>>,
}

impl Server {
    pub(super) async fn start() -> Server {
        let (root, root_pem, certificate) = certificates();
        let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (secure, quic) = same_port().await;
        let http = format!("http://{}", plain.local_addr().unwrap());
        let https = format!("https://{}", secure.local_addr().unwrap());
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let issuer = format!("{http}/i/test");
        let edge = Arc::new(Edge {
            key,
            issuer,
            seen: Mutex::default(),
            peers: Mutex::default(),
        });
        let shutdown = Shutdown::new();
        let server = listen::Server::new(edge.clone(), Limits::default(), shutdown.clone());
        let config = |alpn| tls::server_config(certificate.clone(), ClientAuth::None, alpn).unwrap();
        let http_tls = listen::http::Tls {
            config: config(tls::ALPN_HTTP),
            http3_port: None,
        };
        tokio::spawn(listen::http::serve(plain, None, server.clone()));
        tokio::spawn(listen::http::serve(secure, Some(http_tls), server.clone()));
        let quic_tls = config(tls::ALPN_HTTP3);
        tokio::spawn(async move { listen::http3::serve(quic, quic_tls, server).await.unwrap() });
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), root_pem).unwrap();
        Server {
            https,
            http,
            edge,
            root,
            directory,
            shutdown,
        }
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        roots
    }

    /// The protocols that were spoken, in order.
    pub(super) fn seen(&self) -> Vec<&'static str> {
        let mut seen = self.edge.seen.lock().unwrap().clone();
        seen.dedup();
        seen
    }

    /// Over how many connections tokens were asked for.
    pub(super) fn peers(&self) -> usize {
        self.edge.peers.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.drain();
    }
}

/// TCP and UDP sockets with one port number.
async fn same_port() -> (tokio::net::TcpListener, std::net::UdpSocket) {
    for _ in 0..100 {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = std::net::UdpSocket::bind(tcp.local_addr().unwrap()) {
            return (tcp, udp);
        }
    }
    panic!("no free port");
}

fn certificates() -> (CertificateDer<'static>, String, Arc<ReloadingCertificate>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, &ca).unwrap().der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    (
        ca.der().clone(),
        pem(ca.der()),
        ReloadingCertificate::in_memory(vec![leaf], key).unwrap(),
    )
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::prelude::BASE64_STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

impl Edge {
    /// A token whose signature begins with what `change` says.
    fn token(&self, change: fn(char) -> char) -> Response<Bytes> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = Claims {
            iss: Some(self.issuer.clone()),
            sub: Some("load".into()),
            iat: Some(now),
            exp: Some(now + 300),
            ..Claims::default()
        };
        let token = mint(&self.key, &Header::default(), &claims).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let token = format!(
            "{signed}.{}",
            signature
                .chars()
                .take(1)
                .map(change)
                .chain(signature.chars().skip(1))
                .collect::<String>()
        );
        answer(StatusCode::CREATED, format!(r#"{{"token":"{token}"}}"#))
    }

    fn mint_for(&self, request: &Request<Bytes>, peer: &Peer) -> Response<Bytes> {
        self.seen.lock().unwrap().push(peer.protocol.as_str());
        self.peers
            .lock()
            .unwrap()
            .insert((peer.protocol == listen::Protocol::Http3, peer.address));
        assert_eq!(request.headers()["authorization"], "Bearer caller-token");
        assert_eq!(request.headers()["content-type"], "application/json");
        assert_eq!(request.body(), r#"{"subject":"load"}"#);
        match request.uri().path() {
            "/v1/tokens/good" => self.token(|char| char),
            "/v1/tokens/forged" => self.token(|char| if char == 'A' { 'B' } else { 'A' }),
            "/v1/tokens/empty" => answer(StatusCode::CREATED, "{}".to_owned()),
            "/v1/tokens/refused" => answer(StatusCode::FORBIDDEN, r#"{"code":"policy_denied"}"#.to_owned()),
            _ => answer(StatusCode::INTERNAL_SERVER_ERROR, "oops".to_owned()),
        }
    }
}

fn answer(status: StatusCode, body: String) -> Response<Bytes> {
    Response::builder().status(status).body(body.into()).unwrap()
}

impl Handler for Edge {
    fn admit(&self, _: &request::Parts, _: &Peer) -> Result<usize, Response<Bytes>> {
        Ok(4096)
    }

    async fn handle(&self, request: Request<Bytes>, peer: &Peer) -> Response<Bytes> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, _) => self.mint_for(&request, peer),
            (_, "/i/test/.well-known/jwks.json") => {
                self.seen
                    .lock()
                    .unwrap()
                    .extend((peer.protocol == listen::Protocol::Http3).then_some("h3"));
                let jwk = Jwk::from_public(self.key.public().unwrap()).to_json();
                answer(StatusCode::OK, format!(r#"{{"keys":[{jwk}]}}"#))
            }
            (_, "/never") => std::future::pending().await,
            _ => answer(StatusCode::NOT_FOUND, String::new()),
        }
    }
}
