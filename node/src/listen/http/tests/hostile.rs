use std::sync::atomic::Ordering;

use tokio::net::TcpStream;

use super::http2::{call, client, post};
use crate::config::Duration;
use crate::listen::testing::{Running, Wire, soon};
use crate::listen::{Limits, raise_open_files};

/// An HTTP/2 frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `POST http://a/hold` in HPACK: two indexed fields, two literals.
fn head() -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, 5];
    block.extend(b"/hold");
    block.extend([0x01, 1, b'a']);
    block
}

async fn begin(running: &Running) -> Wire<TcpStream> {
    let mut wire = running.connect().await;
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    wire.send(frame(SETTINGS, 0, 0, &[])).await;
    wire
}

/// Whether the frames hold a GOAWAY with this error code.
fn says_goodbye(mut bytes: &[u8], code: u32) -> bool {
    while bytes.len() >= 9 {
        let length = usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        if bytes[3] == GOAWAY && bytes.get(13..17) == Some(&code.to_be_bytes()) {
            return true;
        }
        bytes = &bytes[(9 + length).min(bytes.len())..];
    }
    false
}

const ENHANCE_YOUR_CALM: u32 = 11;

/// Sends what `attack` makes for each stream until the server hangs up, while an honest caller is served.
async fn attack(running: &Running, mut attack: impl FnMut(u32) -> Vec<u8>) -> Vec<u8> {
    let honest = client(TcpStream::connect(running.clear).await.unwrap()).await;
    let mut wire = begin(running).await;
    for stream in (1..2_000_000_u32).step_by(2) {
        if !wire.try_send(&attack(stream)).await {
            break;
        }
        if stream % 2_001 == 0 {
            assert_eq!(call(&honest, post("/who", "")).await.status(), 200);
        }
    }
    let rest = wire.rest().await;
    assert_eq!(call(&honest, post("/who", "")).await.status(), 200);
    rest
}

#[tokio::test]
async fn a_rapid_reset_flood_is_bounded_and_ends_the_connection() {
    // R11, CVE-2023-44487
    let running = Running::start(Limits {
        streams: 16,
        ..Limits::default()
    });
    let rest = attack(&running, |stream| {
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head());
        bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        bytes
    })
    .await;
    assert!(says_goodbye(&rest, ENHANCE_YOUR_CALM) || rest.is_empty(), "{rest:?}");
    assert!(running.show.most_held.load(Ordering::SeqCst) <= 16);
    running.holding(0).await;
}

#[tokio::test]
async fn making_us_reset_streams_ends_the_connection() {
    // R11, CVE-2025-8671: a window update of zero makes the server reset the stream
    let running = Running::start(Limits {
        streams: 16,
        ..Limits::default()
    });
    attack(&running, |stream| {
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head());
        bytes.extend(frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 0]));
        bytes
    })
    .await;
    assert!(running.show.most_held.load(Ordering::SeqCst) <= 16);
    running.holding(0).await;
}

#[tokio::test]
async fn a_continuation_flood_ends_the_connection() {
    // R11, CVE-2024-27316
    let running = Running::start(Limits::default());
    attack(&running, |stream| match stream {
        1 => frame(HEADERS, END_STREAM, 1, &head()),
        _ => frame(
            CONTINUATION,
            0,
            1,
            &[0x00, 1, b'x', 100].into_iter().chain([b'y'; 100]).collect::<Vec<_>>(),
        ),
    })
    .await;
    assert_eq!(running.show.most_held.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_empty_data_flood_ends_the_connection() {
    // R11, CVE-2019-9518
    let running = Running::start(Limits::default());
    attack(&running, |stream| match stream {
        1 => frame(HEADERS, END_HEADERS, 1, &head()),
        _ => frame(DATA, 0, 1, &[]),
    })
    .await;
    assert_eq!(running.show.most_held.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn two_thousand_idle_sockets_do_not_delay_an_honest_caller() {
    // R15
    if raise_open_files() < 5_000 {
        eprintln!("skipped: this process may open fewer than 5,000 files");
        return;
    }
    let patient = Duration::from_secs(120);
    let running = Running::start(Limits {
        handshake: patient,
        header: patient,
        ..Limits::default()
    });
    let mut idle = Vec::new();
    for index in 0..2_000 {
        let address = if index % 2 == 0 { running.secure } else { running.clear };
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let started = std::time::Instant::now();
    let mut wire = Wire::new(soon(running.connect_tls(&[b"http/1.1"], None)).await);
    wire.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(wire.answer().await.1, "/who http/1.1 0 true");
    eprintln!(
        "with 2,000 idle sockets a handshake and a request took {:?}",
        started.elapsed()
    );
    assert!(running.server.load().connections() > 1_900);
}

#[tokio::test]
async fn unfinished_handshakes_end() {
    // R15
    let limits = Limits {
        handshake: Duration::from_millis(100),
        ..Limits::default()
    };
    let running = Running::start(limits);
    for begun in [&b""[..], b"\x16\x03\x01\x02"] {
        let mut wire = Wire::new(TcpStream::connect(running.secure).await.unwrap());
        wire.send(begun).await;
        assert!(wire.is_closed().await);
    }
}

#[tokio::test]
async fn older_tls_is_refused() {
    let running = Running::start(Limits::default());
    // A TLS 1.2 ClientHello: ECDHE-ECDSA and ECDHE-RSA with AES-128-GCM, groups, signature algorithms.
    let extensions = b"\x00\x0a\x00\x04\x00\x02\x00\x17\x00\x0d\x00\x06\x00\x04\x04\x03\x08\x04";
    let mut hello = b"\x03\x03".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\x00\x00\x04\xc0\x2b\xc0\x2f\x01\x00\x00\x12");
    hello.extend(extensions);
    let mut message = vec![0x16, 3, 1, 0, u8::try_from(hello.len() + 4).unwrap(), 1, 0, 0];
    message.push(u8::try_from(hello.len()).unwrap());
    message.extend(hello);
    let mut wire = Wire::new(TcpStream::connect(running.secure).await.unwrap());
    wire.send(message).await;
    let answer = wire.rest().await;
    assert_eq!(
        answer,
        [0x15, 3, 3, 0, 2, 2, 70],
        "expected the fatal alert protocol_version"
    );
}

#[tokio::test]
async fn too_many_connections_are_shed_at_once() {
    // R37
    let running = Running::start(Limits {
        connections: 2,
        ..Limits::default()
    });
    let mut first = running.connect().await;
    first.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    first.answer().await;
    let second = running.connect().await;
    let mut third = running.connect().await;
    assert!(third.is_closed().await);
    first.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(first.answer().await.0.starts_with("http/1.1 200"));
    assert_eq!(running.server.load().shed_connections(), 1);
    drop(second);
}

#[tokio::test]
async fn too_many_requests_are_answered_503_and_the_admitted_finish() {
    // R37
    let running = Running::start(Limits {
        requests: 1,
        ..Limits::default()
    });
    let mut first = running.connect().await;
    first.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
    running.holding(1).await;
    let mut second = running.connect().await;
    second.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (head, body) = second.answer().await;
    assert!(
        head.starts_with("http/1.1 503 ") && head.contains("retry-after: 1"),
        "{head}"
    );
    assert!(body.contains("\"code\":\"overloaded\""), "{body}");
    running.show.release.add_permits(1);
    assert_eq!(first.answer().await.1, "released");
    second.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(second.answer().await.0.starts_with("http/1.1 200"));
}
