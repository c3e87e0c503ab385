use tokio::net::TcpStream;

use super::http2::{call, client, post};
use crate::config::Duration;
use crate::listen::Limits;
use crate::listen::testing::{Running, Wire};

#[tokio::test]
async fn what_was_admitted_finishes_and_nothing_new_is_taken() {
    let running = Running::start(Limits::default());
    let mut idle = running.connect().await;
    idle.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    idle.answer().await;
    let mut silent = running.connect().await;
    let mut http1 = Wire::new(running.connect_tls(&[b"http/1.1"], None).await);
    http1.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let http2 = client(running.connect_tls(&[b"h2"], None).await).await;
    let held = tokio::spawn(async move { call(&http2, post("/hold", "")).await });
    running.holding(2).await;

    running.shutdown.drain();
    assert!(idle.is_closed().await);
    assert!(silent.is_closed().await);
    while TcpStream::connect(running.clear).await.is_ok() {
        tokio::task::yield_now().await;
    }
    running.show.release.add_permits(2);
    let (head, body) = http1.answer().await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "released");
    assert_eq!(held.await.unwrap().body(), "released");
    running.ended().await;
}

#[tokio::test]
async fn the_drain_has_an_end() {
    let running = Running::start(Limits {
        drain: Duration::from_millis(100),
        ..Limits::default()
    });
    let mut http1 = running.connect().await;
    http1.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let http2 = client(running.connect_tls(&[b"h2"], None).await).await;
    let held = tokio::spawn(async move { http2.clone().send_request(post("/hold", "")).await });
    running.holding(2).await;
    running.shutdown.drain();
    assert!(http1.is_closed().await);
    assert!(held.await.unwrap().is_err());
    running.ended().await;
}
