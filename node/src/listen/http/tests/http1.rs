use crate::config::Duration;
use crate::listen::Limits;
use crate::listen::testing::{MAX_BODY, Running, Wire};

fn quick() -> Limits {
    let short = Duration::from_millis(150);
    Limits {
        header: short,
        body: short,
        ..Limits::default()
    }
}

#[tokio::test]
async fn requests_share_a_connection_over_tls() {
    let running = Running::start(Limits::default());
    let mut wire = Wire::new(running.connect_tls(&[b"http/1.1"], None).await);
    wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    let (head, body) = wire.answer().await;
    assert!(
        head.starts_with("http/1.1 200 ok\r\n") && head.contains("\r\ndate: "),
        "{head}"
    );
    assert!(
        head.contains(&format!("alt-svc: h3=\":{}\"; ma=86400", running.secure.port())),
        "{head}"
    );
    assert_eq!(body, "hello");
    wire.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (head, body) = wire.answer().await;
    assert!(!head.contains("alt-svc"), "{head}");
    assert_eq!(body, "/who http/1.1 0 true");
    assert_eq!(running.server.load().connections(), 1);
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_the_handler() {
    let running = Running::start(Limits::default());
    let client = running.ca.client("spiffe://example.org/ci");
    let mut wire = Wire::new(running.connect_tls(&[b"http/1.1"], Some(&client)).await);
    wire.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(wire.answer().await.1, "/who http/1.1 1 true");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let running = Running::start(Limits::default());
    let mut wire = running.connect().await;
    let one = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    wire.send(format!("{one}one{one}twoGET /who HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    for expected in ["one", "two", "/who http/1.1 0 false"] {
        assert_eq!(wire.answer().await.1, expected);
    }
}

#[tokio::test]
async fn a_body_may_come_in_pieces_and_as_large_as_the_handler_takes() {
    let running = Running::start(Limits::default());
    let mut wire = running.connect().await;
    let body = "x".repeat(MAX_BODY);
    wire.send(format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX_BODY}\r\n\r\n"
    ))
    .await;
    for piece in body.as_bytes().chunks(7_000) {
        wire.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert!(wire.answer().await.1 == body);
    wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        .await;
    wire.send("ok").await;
    let (head, body) = loop {
        let answer = wire.answer().await;
        if !answer.0.starts_with("http/1.1 100") {
            break answer;
        }
    };
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, "ok");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let running = Running::start(Limits::default());
    let mut wire = running.connect().await;
    wire.send(format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        MAX_BODY + 1
    ))
    .await;
    wire.send(vec![b'x'; MAX_BODY + 1]).await;
    let (head, body) = wire.answer().await;
    assert!(
        head.starts_with("http/1.1 413 ") && head.contains("connection: close"),
        "{head}"
    );
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    assert!(
        body.contains("\"code\":\"body_too_large\"") && body.contains("at most 100000 bytes"),
        "{body}"
    );
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn a_client_that_sends_ten_megabytes_before_it_reads_gets_its_refusal() {
    let running = Running::start(Limits::default());
    let mut wire = running.connect().await;
    let length = 10 << 20;
    wire.send(format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
    ))
    .await;
    wire.send(vec![b'x'; length]).await;
    assert!(wire.answer().await.0.starts_with("http/1.1 413 "));
}

#[tokio::test]
async fn a_refusal_by_the_handler_ends_a_connection_only_if_a_body_is_left() {
    let running = Running::start(Limits::default());
    let mut wire = running.connect().await;
    for _ in 0..2 {
        wire.send("GET /refused HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(wire.answer().await.0.starts_with("http/1.1 403 "));
    }
    wire.send("POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        .await;
    assert!(wire.answer().await.0.contains("connection: close"));
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_the_connection_closed() {
    // R16
    let running = Running::start(Limits::default());
    for (framing, status) in [
        ("Transfer-Encoding: chunked", "411"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", "411"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "411"),
        ("Transfer-Encoding: gzip, chunked", "411"),
        ("Transfer-Encoding: identity", "400"),
        ("Transfer-Encoding : chunked", "400"),
        ("Content-Length: 5\r\nContent-Length: 6", "400"),
        ("Content-Length: 5, 6", "400"),
        ("Content-Length: +5", "400"),
        ("Content-Length: 0x5", "400"),
        ("Content-Length: -1", "400"),
        ("Content-Length: 5\r\n Content-Length: 6", "400"),
        ("Host: b", "400"),
    ] {
        let mut wire = running.connect().await;
        let smuggled = "0\r\n\r\nGET /who HTTP/1.1\r\nHost: a\r\n\r\n";
        wire.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{smuggled}"))
            .await;
        let (head, body) = wire.answer().await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{framing}: {head}");
        assert!(head.contains("connection: close"), "{framing}: {head}");
        assert!(
            head.contains("application/problem+json") && body.contains("\"request_id\":"),
            "{framing}: {head}{body}"
        );
        assert!(wire.is_closed().await, "{framing}: another answer followed");
    }
}

#[tokio::test]
async fn malformed_heads_get_a_problem_document() {
    let running = Running::start(Limits::default());
    for head in [
        "GET /who HTTP/1.1\r\n\r\n",
        "GET  /who HTTP/1.1\r\nHost: a\r\n\r\n",
        "G@T /who HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /who HTTP/3.7\r\nHost: a\r\n\r\n",
        "GET /who HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /who HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET /who HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET /who HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET /who HTTP/1.1\r\nHost: a\r\nx: a\0b\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
    ] {
        let mut wire = running.connect().await;
        wire.send(head).await;
        let (answer, body) = wire.answer().await;
        assert!(
            answer.starts_with("http/1.1 400 ") && answer.contains("connection: close"),
            "{head:?}: {answer}"
        );
        assert!(body.contains("\"code\":\"bad_request\""), "{head:?}: {body}");
        assert!(wire.is_closed().await);
    }
}

#[tokio::test]
async fn large_heads_are_refused() {
    // R13
    let running = Running::start(Limits::default());
    let fields = "x: y\r\n".repeat(150);
    let large = format!("x: {}\r\n", "y".repeat(20_000));
    for fields in [fields, large] {
        let mut wire = running.connect().await;
        wire.send(format!("GET /who HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
        let (head, body) = wire.answer().await;
        assert!(head.starts_with("http/1.1 431 "), "{head}");
        assert!(body.contains("\"code\":\"headers_too_large\""), "{body}");
        assert!(wire.is_closed().await);
    }
    let mut wire = running.connect().await;
    wire.send(format!(
        "GET /who HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n",
        "y".repeat(15_000)
    ))
    .await;
    assert!(wire.answer().await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn slow_heads_and_silent_connections_are_closed() {
    // R15
    let running = Running::start(Limits {
        header: Duration::from_millis(150),
        ..Limits::default()
    });
    for begun in ["", "G", "GET /who HTTP/1.1\r\nHost: a\r\n"] {
        let mut wire = running.connect().await;
        wire.send(begun).await;
        assert!(wire.is_closed().await, "{begun}");
    }
    let mut wire = running.connect().await;
    wire.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    wire.answer().await;
    wire.send("GET /who HTTP/1.1\r\n").await;
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    // R15
    let running = Running::start(quick());
    let mut wire = running.connect().await;
    for _ in 0..3 {
        wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
            .await;
        tokio::task::yield_now().await;
        wire.send("ok").await;
        assert_eq!(wire.answer().await.1, "ok");
    }
    wire.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
        .await;
    let (head, body) = wire.answer().await;
    assert!(
        head.starts_with("http/1.1 408 ") && head.contains("connection: close"),
        "{head}"
    );
    assert!(body.contains("\"code\":\"request_timeout\""), "{body}");
    assert!(wire.is_closed().await);
}

#[tokio::test]
async fn idle_and_aged_connections_are_closed() {
    let running = Running::start(Limits {
        idle: Duration::from_millis(100),
        ..Limits::default()
    });
    let mut wire = running.connect().await;
    wire.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    wire.answer().await;
    assert!(wire.is_closed().await);
    let running = Running::start(Limits {
        lifetime: Duration::from_millis(100),
        ..Limits::default()
    });
    let mut wire = running.connect().await;
    wire.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    wire.answer().await;
    assert!(wire.is_closed().await);
}
