//! One QUIC connection from its handshake to its close.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h3::server::Connection;
use quinn::Connecting;
use rustls_pki_types::CertificateDer;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use super::exchange::{self, Shared};
use super::quic::{Latest, Quic, READ};
use crate::listen::load::QuicHandshake;
use crate::listen::{Handler, Server};

/// After the last answer, packets get this and four round trips to arrive before the connection is closed.
const LAST_PACKETS: Duration = Duration::from_millis(50);

/// Serves one connection to its end.
pub(super) async fn run<H: Handler>(connecting: Connecting, handshake: QuicHandshake, server: Server<H>) {
    let limits = server.limits.clone();
    let Some(quic) = before(limits.handshake.get(), &server, connecting).await else {
        return server.load.handshake_failed();
    };
    drop(handshake);
    let quic = match quic {
        Ok(quic) => quic,
        Err(error) => {
            server.load.handshake_failed();
            return tracing::debug!(%error, "QUIC handshake failed");
        }
    };
    let latest = Latest::default();
    let first_allowance = limits.header_bytes.as_usize().saturating_add(READ).saturating_add(READ);
    let mut builder = h3::server::builder();
    builder
        .max_field_section_size(limits.header_bytes.bytes())
        .send_grease(false);
    let opening = builder.build(Quic::new(quic.clone(), first_allowance, latest.clone()));
    match before(limits.header.get(), &server, opening).await {
        Some(Ok(http)) => speak(http, quic, latest, server).await,
        Some(Err(error)) => tracing::debug!(%error, "HTTP/3 connection not opened"),
        None => {}
    }
}

/// The outcome, unless time runs out or the server drains first.
async fn before<H: Handler, T>(time: Duration, server: &Server<H>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = tokio::time::timeout(time, work) => done.ok(),
        () = server.shutdown.wait() => None,
    }
}

async fn speak<H: Handler>(
    mut http: Connection<Quic, Bytes>,
    quic: quinn::Connection,
    latest: Latest,
    server: Server<H>,
) {
    let limits = server.limits.clone();
    let shared = Arc::new(Shared {
        certificates: certificates(&quic),
        quic: quic.clone(),
        server,
    });
    let mut requests = JoinSet::new();
    let end = after(limits.lifetime.get());
    let mut timer = pin!(tokio::time::sleep_until(after(limits.header.get()).min(end)));
    let mut drained = pin!(shared.server.shutdown.wait());
    let mut retired = false;
    let streams = usize::try_from(limits.streams).unwrap_or(usize::MAX);
    loop {
        tokio::select! {
            () = &mut drained, if !retired => {
                retired = retire(&mut http, timer.as_mut(), limits.drain.get()).await;
            }
            Some(_) = requests.join_next() => {
                if requests.is_empty() && !retired {
                    timer.as_mut().reset(after(limits.idle.get()).min(end));
                }
            }
            () = &mut timer => {
                if retired {
                    break;
                }
                if requests.is_empty() || Instant::now() >= end {
                    retired = retire(&mut http, timer.as_mut(), limits.drain.get()).await;
                } else {
                    timer.as_mut().reset(after(limits.idle.get()).min(end));
                }
            }
            accepted = http.accept(), if requests.len() < streams => match accepted {
                Ok(Some(resolver)) => {
                    requests.spawn(exchange::answer(shared.clone(), resolver, latest.take()));
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "HTTP/3 connection ended");
                    break;
                }
            },
        }
        if retired && requests.is_empty() {
            let patience = quic.rtt().saturating_mul(4).saturating_add(LAST_PACKETS);
            let _ = tokio::time::timeout(patience, quic.closed()).await;
            break;
        }
    }
}

/// Tells the peer to send no more requests (GOAWAY; RFC 9114, section 5.2: those from the named stream on are not served,
/// so the one after the last accepted is named). What it has sent is finished within the drain.
async fn retire(http: &mut Connection<Quic, Bytes>, timer: Pin<&mut Sleep>, drain: Duration) -> bool {
    timer.reset(after(drain));
    if let Err(error) = http.shutdown(1).await {
        tracing::debug!(%error, "GOAWAY not sent");
    }
    true
}

fn certificates(quic: &quinn::Connection) -> Arc<[CertificateDer<'static>]> {
    let identity = quic
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    identity.map_or_else(|| Arc::new([]) as Arc<[_]>, |chain| chain.as_slice().into())
}

fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}
