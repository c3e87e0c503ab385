use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::Duration;
use crate::listen::Limits;
use crate::listen::testing::{MAX_BODY, Running, soon};

pub(super) async fn client<T>(stream: T) -> SendRequest<Full<Bytes>>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    send
}

pub(super) fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let uri = format!("https://localhost{path}");
    Request::post(uri)
        .version(Version::HTTP_2)
        .body(Full::new(body.into()))
        .unwrap()
}

pub(super) async fn call(send: &SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let response = soon(send.clone().send_request(request)).await.unwrap();
    let (head, body) = response.into_parts();
    Response::from_parts(head, soon(body.collect()).await.unwrap().to_bytes())
}

#[tokio::test]
async fn alpn_chooses_http2_and_streams_run_side_by_side() {
    let running = Running::start(Limits::default());
    let stream = running.connect_tls(&[b"h2", b"http/1.1"], None).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let send = client(stream).await;
    let held: Vec<_> = (0..20)
        .map(|_| {
            let send = send.clone();
            tokio::spawn(async move { call(&send, post("/hold", "")).await })
        })
        .collect();
    running.holding(20).await;
    let response = call(&send, post("/who", "")).await;
    assert_eq!(response.body(), "/who h2 0 true");
    running.show.release.add_permits(20);
    for held in held {
        assert_eq!(held.await.unwrap().body(), "released");
    }
    assert_eq!(running.server.load().connections(), 1);
}

#[tokio::test]
async fn the_first_answer_announces_http3() {
    let running = Running::start(Limits::default());
    let send = client(running.connect_tls(&[b"h2"], None).await).await;
    let response = call(&send, post("/who", "")).await;
    assert_eq!(
        response.headers()["alt-svc"],
        format!("h3=\":{}\"; ma=86400", running.secure.port())
    );
}

#[tokio::test]
async fn cleartext_http2_needs_no_upgrade() {
    let running = Running::start(Limits::default());
    let send = client(TcpStream::connect(running.clear).await.unwrap()).await;
    let response = call(&send, post("/who", "")).await;
    assert_eq!(response.body(), "/who h2 0 false");
    assert!(!response.headers().contains_key("alt-svc"));
}

#[tokio::test]
async fn head_is_answered_without_a_body() {
    let running = Running::start(Limits::default());
    let send = client(running.connect_tls(&[b"h2"], None).await).await;
    let mut request = post("/who", "");
    *request.method_mut() = http::Method::HEAD;
    let head = call(&send, request).await;
    let whole = call(&send, post("/who", "")).await;
    assert_eq!((head.status(), head.body().len()), (whole.status(), 0));
    let length = head.headers()["content-length"].to_str().unwrap().to_owned();
    assert_eq!(length, whole.body().len().to_string());
}

#[tokio::test]
async fn bodies_are_bounded() {
    let running = Running::start(Limits::default());
    let send = client(running.connect_tls(&[b"h2"], None).await).await;
    let largest = "x".repeat(MAX_BODY);
    assert!(call(&send, post("/echo", largest.clone())).await.body() == &largest);
    let response = call(&send, post("/echo", largest + "x")).await;
    assert_eq!(response.status(), 413);
    assert!(String::from_utf8_lossy(response.body()).contains("body_too_large"));
    let response = call(&send, post("/echo", "x".repeat(10 << 20))).await;
    assert_eq!(response.status(), 413);
    assert_eq!(call(&send, post("/who", "")).await.status(), 200);
}

#[tokio::test]
async fn large_header_sections_are_refused_on_their_decoded_size() {
    // R13
    let running = Running::start(Limits::default());
    let send = client(running.connect_tls(&[b"h2"], None).await).await;
    let mut request = post("/who", "");
    request.headers_mut().insert("x", "y".repeat(15_000).parse().unwrap());
    assert_eq!(call(&send, request).await.status(), 200);
    let mut request = post("/who", "");
    for _ in 0..500 {
        request.headers_mut().append("x", "y".parse().unwrap());
    }
    assert_eq!(call(&send, request).await.status(), 431);
}

#[tokio::test]
async fn a_slow_body_is_answered_408_and_the_connection_stays() {
    // R15
    let running = Running::start(Limits {
        body: Duration::from_millis(100),
        ..Limits::default()
    });
    let stream = TcpStream::connect(running.clear).await.unwrap();
    let (mut send, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (sender, body) = tokio::sync::mpsc::channel::<Result<_, std::convert::Infallible>>(1);
    sender
        .send(Ok(hyper::body::Frame::data(Bytes::from_static(b"hel"))))
        .await
        .unwrap();
    let body = http_body_util::StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(body));
    let request = Request::post("http://localhost/echo").body(body).unwrap();
    let response = soon(send.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 408);
    drop(sender);
    assert_eq!(running.server.load().connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_told_goodbye() {
    let running = Running::start(Limits {
        idle: Duration::from_millis(100),
        ..Limits::default()
    });
    let stream = TcpStream::connect(running.clear).await.unwrap();
    let (mut send, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    send.send_request(post("/who", "")).await.unwrap();
    soon(connection).await.unwrap().unwrap();
}
