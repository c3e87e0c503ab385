//! HTTP/1.1 and HTTP/2 on one TCP port: by ALPN over TLS, by the connection preface in the clear.

mod connection;
mod handshake;
mod linger;
mod pulse;
mod refusal;
mod watchdog;
mod wire;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};

pub(super) use pulse::Pulse;

use super::load::Connected;
use super::{Handler, Server, accept};

/// What a TLS listener needs. Certificates and client roots change inside the configuration (see [`crate::tls`]).
#[derive(Debug, Clone)]
pub struct Tls {
    /// Made by [`crate::tls::server_config`] with [`crate::tls::ALPN_HTTP`].
    pub config: Arc<ServerConfig>,
    /// The UDP port on which HTTP/3 is served, to be announced with `Alt-Svc` for a day; `None` announces nothing.
    pub http3_port: Option<u16>,
}

/// Serves until the signal to drain, then finishes what is under way, for at most [`super::Limits::drain`]. Without `tls`
/// it speaks cleartext: loopback only, since tokens travel on it.
pub async fn serve<H: Handler>(socket: TcpListener, tls: Option<Tls>, server: Server<H>) {
    let settings = Arc::new(connection::Settings::new(tls, &server));
    accept::run(
        |context| socket.poll_accept(context),
        &server.load,
        &server.shutdown,
        |stream, address| {
            if let Some(guard) = server.load.connect() {
                start(stream, address, settings.clone(), server.clone(), guard);
            }
        },
    )
    .await;
    drop(socket);
    let patience = server.limits.drain.get().saturating_add(connection::CUT_OFF);
    if tokio::time::timeout(patience, server.load.idle()).await.is_err() {
        tracing::warn!("connections were still open at the end of the drain");
    }
}

fn start<H: Handler>(
    stream: TcpStream,
    address: SocketAddr,
    settings: Arc<connection::Settings>,
    server: Server<H>,
    guard: Connected,
) {
    tokio::spawn(async move {
        connection::run(stream, address, &settings, server).await;
        drop(guard);
    });
}
