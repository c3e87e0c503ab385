use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn file(name: &str) -> String {
    format!("{}/testdata/certificates/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(name)).unwrap()
}

fn roots(name: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    assert_eq!(
        add_pem_roots(&mut roots, &std::fs::read(file(name)).unwrap()).unwrap(),
        1
    );
    roots
}

/// A server on a free port, and how many connections it has had.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// Answers with the path, the version and the client certificate's presence; `/big` with a million bytes.
async fn answer(request: Request<Incoming>, certificate: bool) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = match request.uri().path() {
        "/big" => "x".repeat(1_000_000),
        path => format!("{} {path} {:?} {certificate}", request.method(), request.version()),
    };
    let status = if request.uri().path() == "/missing" {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    };
    Ok(Response::builder()
        .status(status)
        .body(Full::new(Bytes::from(text)))
        .unwrap())
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, h2: bool, certificate: bool) {
    let service = service_fn(move |request| answer(request, certificate));
    let io = TokioIo::new(stream);
    if h2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .await;
    }
}

async fn serve(tls: Option<ServerConfig>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        address: listener.local_addr().unwrap(),
        connections: Arc::default(),
    };
    let connections = Arc::clone(&server.connections);
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            connections.fetch_add(1, Ordering::SeqCst);
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Some(acceptor) = acceptor else {
                    return serve_connection(tcp, false, false).await;
                };
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                let certificate = tls.get_ref().1.peer_certificates().is_some();
                serve_connection(tls, h2, certificate).await;
            });
        }
    });
    server
}

fn server_config(alpn: &[&str], client_roots: Option<RootCertStore>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap();
    let builder = match client_roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let mut config = builder.with_single_cert(vec![certificate("server.pem")], key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn get(client: &Client, url: &str, max: usize) -> Result<(StatusCode, String), ClientError> {
    let answer = client
        .request(Method::GET, url, HeaderMap::new(), Bytes::new(), SOON, max)
        .await?;
    Ok((answer.status(), String::from_utf8(answer.body().to_vec()).unwrap()))
}

#[tokio::test]
async fn the_protocol_is_chosen_by_alpn_and_connections_are_kept() {
    for (alpn, version) in [
        (&["h2", "http/1.1"][..], "HTTP/2.0"),
        (&["http/1.1"], "HTTP/1.1"),
        (&[], "HTTP/1.1"),
    ] {
        let server = serve(Some(server_config(alpn, None))).await;
        let client = Client::new(roots("root-a.pem")).unwrap();
        for _ in 0..3 {
            let url = format!("https://localhost:{}/a?b", server.address.port());
            let (status, text) = get(&client, &url, 1000).await.unwrap();
            assert_eq!((status, text), (StatusCode::OK, format!("GET /a {version} false")));
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 1, "{version}");
    }
}

#[tokio::test]
async fn cleartext_posts_and_other_statuses_are_answers() {
    let server = serve(None).await;
    let client = Client::new(RootCertStore::empty()).unwrap();
    let url = format!("http://{}/missing", server.address);
    let body = Bytes::from_static(b"{}");
    let answer = client
        .request(Method::POST, &url, HeaderMap::new(), body, SOON, 1000)
        .await
        .unwrap();
    assert_eq!(
        (answer.status(), &answer.body()[..]),
        (StatusCode::NOT_FOUND, &b"POST /missing HTTP/1.1 false"[..])
    );
}

#[tokio::test]
async fn a_server_under_another_root_is_not_believed() {
    let server = serve(Some(server_config(&["h2"], None))).await;
    let url = format!("https://localhost:{}/", server.address.port());
    for store in [roots("root-b.pem"), RootCertStore::empty()] {
        let error = get(&Client::new(store).unwrap(), &url, 1000).await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    }
    let by_other_name = format!("https://127.0.0.2:{}/", server.address.port());
    assert!(
        get(&Client::new(roots("root-a.pem")).unwrap(), &by_other_name, 1000)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let server = serve(Some(server_config(&["h2"], Some(roots("root-a.pem"))))).await;
    let url = format!("https://localhost:{}/", server.address.port());
    assert!(
        get(&Client::new(roots("root-a.pem")).unwrap(), &url, 1000)
            .await
            .is_err()
    );
    let key = || PrivateKeyDer::from_pem_file(file("build.key")).unwrap();
    let client = Client::with_certificate(roots("root-a.pem"), vec![certificate("build.pem")], key()).unwrap();
    assert_eq!(get(&client, &url, 1000).await.unwrap().1, "GET / HTTP/2.0 true");
    let mismatch = Client::with_certificate(roots("root-a.pem"), vec![certificate("server.pem")], key());
    assert!(matches!(mismatch, Err(ClientError::Settings(_))));
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_cut_off() {
    for tls in [None, Some(server_config(&["h2"], None))] {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = serve(tls).await;
        let client = Client::new(roots("root-a.pem")).unwrap();
        let url = format!("{scheme}://localhost:{}/big", server.address.port());
        let error = get(&client, &url, 999_999).await.unwrap_err();
        assert!(
            matches!(error, ClientError::TooLarge { max_bytes: 999_999, .. }),
            "{error}"
        );
        assert_eq!(get(&client, &url, 1_000_000).await.unwrap().1.len(), 1_000_000);
    }
}

#[tokio::test]
async fn a_silent_server_is_left_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(RootCertStore::empty()).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let deadline = Duration::from_millis(50);
    let error = client
        .request(Method::GET, &url, HeaderMap::new(), Bytes::new(), deadline, 10)
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
}

/// Answers one request on each connection, says it would keep it, and closes it.
async fn serve_once_each(listener: TcpListener) {
    loop {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") && tcp.read_buf(&mut request).await.unwrap() > 0 {}
        tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(serve_once_each(listener));
    let client = Client::new(RootCertStore::empty()).unwrap();
    for _ in 0..20 {
        assert_eq!(get(&client, &url, 10).await.unwrap().1, "ok");
    }
}

#[tokio::test]
async fn what_is_not_http_or_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::new(RootCertStore::empty()).unwrap();
    let garbage = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"SSH-2.0-x\r\n\r\n").await.unwrap();
        tcp
    });
    let error = get(&client, &format!("http://{address}/"), 10).await.unwrap_err();
    assert!(matches!(error, ClientError::Exchange { .. }), "{error}");
    drop(garbage.await.unwrap());
    let error = get(&client, &format!("http://{address}/"), 10).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    assert!(matches!(
        get(&client, "nonsense", 10).await.unwrap_err(),
        ClientError::Url { .. }
    ));
}

#[test]
fn bad_roots_are_refused() {
    let mut store = RootCertStore::empty();
    for pem in [
        &b""[..],
        b"hello",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(matches!(add_pem_roots(&mut store, pem), Err(ClientError::Settings(_))));
    }
    assert!(store.is_empty());
}
