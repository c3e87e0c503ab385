//! HTTP/3 on QUIC.
//!
//! Bounded where the libraries are not: transport parameters, the bytes of a header section before it is decoded, streams
//! of every kind, handshakes (a Retry above a number in progress, R12). 0-RTT is off (R17).

mod connection;
mod date;
mod exchange;
mod quic;

#[cfg(test)]
mod tests;

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, Incoming, TokioRuntime, TransportConfig, VarInt};
use rustls::ServerConfig;

use super::{Handler, Limits, Server};

/// What a client may send on one stream, and on all of them, before we have read it, in bytes.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What we hold for a client that does not read, in bytes.
const SEND_WINDOW: u64 = 1 << 20;
/// Streams in one direction: control, QPACK encoder and decoder, and a few that an extension may open.
const UNI_STREAMS: u32 = 8;
/// Connection attempts that wait for [`serve`] to look at them, and the bytes kept for each and for all.
const INCOMING: usize = 1_024;
const INCOMING_BYTES: u64 = 16 << 10;
const INCOMING_BYTES_ALL: u64 = 8 << 20;
/// How long a Retry's token may be used.
const RETRY_LIFETIME: Duration = Duration::from_secs(10);
/// How long the last packets have after the drain.
const FAREWELL: Duration = Duration::from_millis(500);
/// `H3_NO_ERROR` (RFC 9114, section 8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// Serves until the signal to drain, then finishes what is under way, for at most [`Limits::drain`]. `tls` is made by
/// [`crate::tls::server_config`] with [`crate::tls::ALPN_HTTP3`]; `socket` by [`super::bind_udp`].
///
/// # Errors
/// The socket cannot be used, or the configuration is not one for TLS 1.3.
pub async fn serve<H: Handler>(socket: UdpSocket, tls: Arc<ServerConfig>, server: Server<H>) -> io::Result<()> {
    let config = configuration(tls, &server.limits)?;
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))?;
    let mut drained = std::pin::pin!(server.shutdown.wait());
    loop {
        tokio::select! {
            biased;
            () = &mut drained => break,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => take(incoming, &server),
                None => break,
            },
        }
    }
    endpoint.set_server_config(None);
    let patience = server.limits.drain.get().saturating_add(FAREWELL);
    if tokio::time::timeout(patience, server.load.idle()).await.is_err() {
        tracing::warn!("connections were still open at the end of the drain");
    }
    endpoint.close(NO_ERROR, b"");
    let _ = tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await;
    Ok(())
}

/// Refuses, asks for a proof of address, or starts the handshake of one connection attempt.
fn take<H: Handler>(incoming: Incoming, server: &Server<H>) {
    let crowded = server.load.quic_handshakes() >= server.limits.quic_handshakes;
    if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
        server.load.retried();
        if let Err(error) = incoming.retry() {
            error.into_incoming().ignore();
        }
        return;
    }
    let Some(guard) = server.load.connect() else {
        return incoming.refuse();
    };
    let handshake = server.load.quic_handshake();
    match incoming.accept() {
        Ok(connecting) => {
            let server = server.clone();
            tokio::spawn(async move {
                connection::run(connecting, handshake, server).await;
                drop(guard);
            });
        }
        Err(error) => {
            server.load.handshake_failed();
            tracing::debug!(%error, "QUIC connection attempt failed");
        }
    }
}

fn configuration(tls: Arc<ServerConfig>, limits: &Limits) -> io::Result<quinn::ServerConfig> {
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport(limits)?))
        .retry_token_lifetime(RETRY_LIFETIME)
        .max_incoming(INCOMING)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(INCOMING_BYTES_ALL);
    Ok(config)
}

fn transport(limits: &Limits) -> io::Result<TransportConfig> {
    let idle = IdleTimeout::try_from(limits.idle.get()).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.streams.into())
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .crypto_buffer_size(16 << 10)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle));
    Ok(transport)
}
