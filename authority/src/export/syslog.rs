//! Syslog over TCP, in TLS 1.3 but on a loopback address.
//!
//! Syslog has no acknowledgement. What was written shortly before a connection broke may not have arrived, so it is kept until a
//! connection has stood for a while after it, and written again on the next one until then; receivers know a record that comes
//! twice by its id.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit::export::{Body, syslog_message};
use audit::record::Record;
use node::tls::{self, ReloadingCertificate};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Sink, identity, renew, roots};
use crate::config::SyslogExport;

/// How long ago what was written counts as arrived: longer than a peer takes to say that it is gone.
const DOUBTFUL: Duration = Duration::from_secs(10);
/// Bytes that are kept for it at most.
const MOST_KEPT: usize = 4 << 20;
/// How long a server has to refuse a client's certificate: in TLS 1.3 it says so after the client's side of the handshake is
/// done, and what the client has written by then is lost.
const SETTLE: Duration = Duration::from_secs(1);

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

pub(super) struct Syslog {
    address: String,
    body: Body,
    tls: Option<Tls>,
    stream: Option<Box<dyn Stream>>,
    /// What was written on this connection or the one before, and when.
    doubtful: VecDeque<(Instant, Vec<u8>)>,
}

struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    identity: Option<Arc<ReloadingCertificate>>,
}

impl Syslog {
    pub(super) fn new(config: &SyslogExport) -> Result<Self, String> {
        let (host, _) = config.address.rsplit_once(':').ok_or("`address` is not HOST:PORT")?;
        let tls = match config.plain {
            true => None,
            false => Some(Tls::new(config, host)?),
        };
        Ok(Self {
            address: config.address.clone(),
            body: config.body,
            tls,
            stream: None,
            doubtful: VecDeque::new(),
        })
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, String> {
        let failed = |error: std::io::Error| format!("`{}`: {error}", self.address);
        let tcp = TcpStream::connect(&self.address).await.map_err(failed)?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        renew(tls.identity.as_deref());
        let dialled = tls::dial(tls.config.clone(), tls.name.clone(), tcp).await;
        let mut stream: Box<dyn Stream> = Box::new(dialled.map_err(failed)?);
        stands(&mut stream, SETTLE).await.map_err(|error| {
            let why = "servers do so that do not take this side's certificate, or demand one";
            failed(match error.kind() {
                ErrorKind::UnexpectedEof => {
                    std::io::Error::other(format!("it hung up right after the handshake; {why}"))
                }
                _ => error,
            })
        })?;
        Ok(stream)
    }

    /// A connection that stands: the one there is unless its peer has ended it, else a new one, with what is doubtful first.
    async fn stream(&mut self) -> Result<Box<dyn Stream>, String> {
        if let Some(mut stream) = self.stream.take()
            && stands(&mut stream, Duration::ZERO).await.is_ok()
        {
            return Ok(stream);
        }
        let mut stream = self.connect().await?;
        for (at, written) in &mut self.doubtful {
            write(&mut stream, written).await?;
            *at = Instant::now();
        }
        Ok(stream)
    }

    fn keep(&mut self, written: Vec<u8>) {
        let now = Instant::now();
        self.doubtful.retain(|(at, _)| now.duration_since(*at) < DOUBTFUL);
        self.doubtful.push_back((now, written));
        let mut bytes: usize = self.doubtful.iter().map(|(_, bytes)| bytes.len()).sum();
        while bytes > MOST_KEPT
            && let Some((_, dropped)) = self.doubtful.pop_front()
        {
            bytes = bytes.saturating_sub(dropped.len());
        }
    }
}

impl Tls {
    fn new(config: &SyslogExport, host: &str) -> Result<Self, String> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let identity = identity(config.certificate_file.as_deref(), config.key_file.as_deref())?;
        let client = tls::client_config_under(roots(config.ca_file.as_deref())?, identity.clone(), &[]);
        Ok(Self {
            config: Arc::new(client.map_err(|error| error.to_string())?),
            name: ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?,
            identity,
        })
    }
}

#[async_trait]
impl Sink for Syslog {
    async fn send(&mut self, records: &[Record]) -> Result<usize, String> {
        let messages: Vec<u8> = records
            .iter()
            .flat_map(|record| syslog_message(record, self.body))
            .collect();
        let mut stream = self.stream().await?;
        write(&mut stream, &messages).await?;
        self.stream = Some(stream);
        self.keep(messages);
        Ok(0)
    }
}

async fn write(stream: &mut Box<dyn Stream>, bytes: &[u8]) -> Result<(), String> {
    let written = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    written.await.map_err(|error| error.to_string())
}

/// A syslog server says nothing, but that it is gone, and why.
async fn stands(stream: &mut Box<dyn Stream>, wait: Duration) -> std::io::Result<()> {
    let mut nothing = [0; 64];
    match timeout(wait, stream.read(&mut nothing)).await {
        Err(_) => Ok(()),
        Ok(Ok(0)) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error),
    }
}
