//! Sockets, and the loop that takes connections from one.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Load, Shutdown};

/// Connections that the kernel holds for us until they are accepted.
const BACKLOG: u32 = 4_096;
/// Buffers of a QUIC socket, as far as the kernel allows: one socket carries all connections.
const UDP_BUFFER: usize = 4 << 20;
/// The first and the longest pause when there are no more file descriptors or no memory.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// A listening TCP socket. A port that connections of an earlier process still linger on is taken (SO_REUSEADDR); one
/// that another process listens on is not.
///
/// # Errors
/// What the operating system says, with the address.
pub fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let bind = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|error| at(address, "TCP", &error))
}

/// A UDP socket for QUIC.
///
/// # Errors
/// What the operating system says, with the address.
pub fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let bind = || {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        if socket
            .set_recv_buffer_size(UDP_BUFFER)
            .and_then(|()| socket.set_send_buffer_size(UDP_BUFFER))
            .is_err()
        {
            tracing::debug!("the kernel gives QUIC only its default buffers");
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    bind().map_err(|error| at(address, "UDP", &error))
}

fn at(address: SocketAddr, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {what} `{address}`: {error}"))
}

/// Raises this process's limit of open files to what the system lets it have, and returns the limit. A listener runs
/// into the usual 1,024 long before it runs into [`super::Limits::connections`].
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    now.unwrap_or(u64::MAX)
}

/// Takes connections until the signal to drain. No error ends the loop (R14): one connection's failure is skipped, and
/// when descriptors or memory run out it pauses and tries again, since only time can help.
pub(super) async fn run(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> + Send,
    load: &Load,
    shutdown: &Shutdown,
    mut take: impl FnMut(TcpStream, SocketAddr),
) {
    let mut pause = PAUSE.0;
    let mut drained = std::pin::pin!(shutdown.wait());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut drained => return,
            accepted = poll_fn(&mut accept) => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                pause = PAUSE.0;
                take(stream, address);
            }
            Err(error) if is_of_one_connection(&error) => load.accept_failed(),
            Err(error) => {
                load.accept_failed();
                if pause == PAUSE.0 {
                    tracing::warn!(%error, "cannot accept connections; trying again until it works");
                }
                tokio::select! {
                    () = &mut drained => return,
                    () = tokio::time::sleep(pause) => pause = pause.saturating_mul(2).min(PAUSE.1),
                }
            }
        }
    }
}

/// Errors that accept(2) reports for the connection it would have returned.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustix::io::Errno;

    use super::*;
    use crate::listen::Handler as _;
    use crate::listen::Limits;
    use crate::listen::testing::Show;

    #[tokio::test]
    async fn no_storm_of_errors_ends_the_loop() {
        // R14
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let storm = [
            Errno::MFILE,
            Errno::CONNRESET,
            Errno::NFILE,
            Errno::CONNABORTED,
            Errno::NOBUFS,
            Errno::PROTO,
        ];
        let mut errors = storm.into_iter().cycle().take(12);
        let load = Load::new(&Limits::default(), Show::refusal);
        let shutdown = Shutdown::new();
        let taken = Arc::new(AtomicUsize::new(0));
        let _client = TcpStream::connect(address).await.unwrap();
        let accept = |context: &mut Context<'_>| match errors.next() {
            Some(errno) => Poll::Ready(Err(errno.into())),
            None => listener.poll_accept(context),
        };
        run(accept, &load, &shutdown, |_, _| {
            taken.fetch_add(1, Ordering::Relaxed);
            shutdown.drain();
        })
        .await;
        assert_eq!(taken.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind_tcp(address).unwrap_err();
        assert!(
            error.to_string().contains(&format!("cannot listen on TCP `{address}`")),
            "{error}"
        );
        let udp = bind_udp(address).unwrap();
        assert_eq!(udp.local_addr().unwrap(), address);
        assert!(bind_udp(address).unwrap_err().to_string().contains("UDP"));
    }

    #[test]
    fn the_limit_of_open_files_is_raised_once_and_for_all() {
        let raised = raise_open_files();
        assert!(raised >= 256);
        assert_eq!(raise_open_files(), raised);
    }
}
