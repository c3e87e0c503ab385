//! Syslog over TCP, in TLS 1.3 but on a loopback address.
//!
//! Syslog has no acknowledgement. What was written shortly before a connection broke may not have arrived, so it is kept and
//! written again on the next connection; receivers know a record that comes twice by its id.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit::export::{Body, syslog_message};
use audit::record::Record;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{Sink, roots};
use crate::config::SyslogExport;

/// How long ago what was written counts as arrived: longer than a peer takes to say that it is gone.
const DOUBTFUL: Duration = Duration::from_secs(10);
/// Bytes that are kept for it at most.
const MOST_KEPT: usize = 4 << 20;

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

pub(super) struct Syslog {
    address: String,
    body: Body,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    stream: Option<Box<dyn Stream>>,
    /// What was written on this connection or the one before, and when.
    doubtful: VecDeque<(Instant, Vec<u8>)>,
}

impl Syslog {
    pub(super) fn new(config: &SyslogExport) -> Result<Self, String> {
        let (host, _) = config.address.rsplit_once(':').ok_or("`address` is not HOST:PORT")?;
        let tls = match config.plain {
            true => None,
            false => {
                let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
                let client = ClientConfig::builder_with_provider(node::tls::provider())
                    .with_protocol_versions(&[&rustls::version::TLS13])
                    .map_err(|error| error.to_string())?
                    .with_root_certificates(roots(config.ca_file.as_deref())?)
                    .with_no_client_auth();
                Some((Arc::new(client), name))
            }
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
        Ok(match &self.tls {
            None => Box::new(tcp),
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                Box::new(connector.connect(name.clone(), tcp).await.map_err(failed)?)
            }
        })
    }

    /// A connection that stands: the one there is unless its peer has ended it, else a new one, with what is doubtful first.
    async fn stream(&mut self) -> Result<Box<dyn Stream>, String> {
        if let Some(mut stream) = self.stream.take()
            && is_open(&mut stream).await
        {
            return Ok(stream);
        }
        let mut stream = self.connect().await?;
        for (_, written) in &self.doubtful {
            write(&mut stream, written).await?;
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

/// A syslog server says nothing, but that it is gone.
async fn is_open(stream: &mut Box<dyn Stream>) -> bool {
    let mut nothing = [0; 64];
    match tokio::time::timeout(Duration::ZERO, stream.read(&mut nothing)).await {
        Err(_) => true,
        Ok(Ok(read)) => read > 0,
        Ok(Err(_)) => false,
    }
}
