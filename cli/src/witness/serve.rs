//! The witness's listener: `POST /add-checkpoint` for logs, `GET /ORIGIN-HASH/checkpoint` for monitors, and nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use audit::witness::keeper::{Failed, Witness};
use audit::witness::{MAX_REQUEST, PATH, SIZE, monitored};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use node::config::ByteSize;
use node::listen::{self, Handler, Limits, Peer, Server, Shutdown};
use node::tls::{self, ClientAuth, ReloadingCertificate};

use super::config::Config;
use crate::failure::Failure;

/// How often the certificate's files are looked at.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(5);
const TEXT: &str = "text/plain; charset=utf-8";

/// Runs until SIGTERM or Ctrl-C.
pub async fn run(config: &Config, witness: Witness) -> Result<(), Failure> {
    let shutdown = Shutdown::new();
    let certificate = match &config.tls {
        Some(files) => Some(ReloadingCertificate::open(&files.certificate_file, &files.key_file)?),
        None => None,
    };
    let tls = match &certificate {
        Some(certificate) => Some(listen::http::Tls {
            config: tls::server_config(certificate.clone(), ClientAuth::None, tls::ALPN_HTTP)?,
            http3_port: None,
        }),
        None => None,
    };
    let watching = certificate.map(|certificate| tokio::spawn(certificate.watch(CERTIFICATE_CHECK, shutdown.clone())));
    let listener = listen::bind_tcp(config.listen)?;
    let address = listener.local_addr()?;
    let limits = Limits {
        connections: 1_024,
        requests: 64,
        body_bytes: ByteSize::new(u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX)),
        drain: node::config::Duration::from_secs(5),
        ..Limits::default()
    };
    let server = Server::new(Arc::new(Door(Arc::new(Mutex::new(witness)))), limits, shutdown.clone());
    let serving = tokio::spawn(listen::http::serve(listener, tls, server));
    let interrupted = crate::dev::interrupted()?;
    tracing::info!(%address, "the witness listens");
    interrupted.await;
    shutdown.drain();
    serving.await?;
    if let Some(watching) = watching {
        watching.await?;
    }
    Ok(())
}

/// Requests one after the other: each is a write to the disk.
struct Door(Arc<Mutex<Witness>>);

impl Handler for Door {
    fn admit(&self, head: &request::Parts, _: &Peer) -> Result<usize, Response<Bytes>> {
        let (method, bytes) = match (head.uri.path(), monitored(head.uri.path())) {
            (PATH, _) => (Method::POST, MAX_REQUEST),
            (_, Some(_)) => (Method::GET, 0),
            _ => {
                let here = "here are POST /add-checkpoint and GET /ORIGIN-HASH/checkpoint\n";
                return Err(answer(404, here, TEXT));
            }
        };
        if head.method == method {
            return Ok(bytes);
        }
        let mut response = answer(405, format!("use {method}\n"), TEXT);
        let allowed = HeaderValue::from_str(method.as_str());
        response
            .headers_mut()
            .insert(ALLOW, allowed.unwrap_or(HeaderValue::from_static("POST")));
        Err(response)
    }

    async fn handle(&self, request: Request<Bytes>, peer: &Peer) -> Response<Bytes> {
        if let Some(hash) = monitored(request.uri().path()) {
            return self.show(hash.to_owned()).await;
        }
        let Ok(body) = String::from_utf8(request.into_body().to_vec()) else {
            return answer(400, "no request of the protocol: it is not text\n", TEXT);
        };
        let witness = self.0.clone();
        let added = tokio::task::spawn_blocking(move || {
            let mut witness = witness.lock().unwrap_or_else(PoisonError::into_inner);
            (witness.add(&body, crate::dev::now()), body)
        });
        match added.await {
            Ok((added, body)) => respond(added, &body, peer),
            Err(error) => broken(&error),
        }
    }
}

impl Door {
    /// The last checkpoint cosigned of a log.
    async fn show(&self, origin_hash: String) -> Response<Bytes> {
        let witness = self.0.clone();
        let held = tokio::task::spawn_blocking(move || {
            let witness = witness.lock().unwrap_or_else(PoisonError::into_inner);
            witness.checkpoint(&origin_hash)
        });
        match held.await.map_err(std::io::Error::other).flatten() {
            Ok(Some(note)) => answer(200, note, TEXT),
            Ok(None) => answer(404, "no checkpoint of such a log was cosigned here\n", TEXT),
            Err(error) => broken(&error),
        }
    }
}

fn respond(added: Result<String, Failed>, body: &str, peer: &Peer) -> Response<Bytes> {
    let refused = match added {
        Ok(line) => return answer(200, line, TEXT),
        Err(Failed::Refused(refused)) => refused,
        Err(Failed::Lost(error)) => {
            // R30: the page cache may have dropped what it had taken.
            tracing::error!(%error, "the witness's state could not be made durable; the process ends");
            std::process::abort();
        }
        Err(error) => return broken(&error),
    };
    match refused.is_suspect() {
        // The signed checkpoint is the evidence.
        true => {
            tracing::error!(%refused, from = %peer.address, body, "a log may show different people different things")
        }
        false => tracing::info!(%refused, from = %peer.address, "not cosigned"),
    }
    match refused.size() {
        Some(size) => answer(refused.status(), format!("{size}\n"), SIZE),
        None => answer(refused.status(), format!("{refused}\n"), TEXT),
    }
}

fn broken(error: &dyn std::fmt::Display) -> Response<Bytes> {
    tracing::error!(%error, "a checkpoint could not be cosigned");
    answer(500, "the witness cannot cosign at present; its log says why\n", TEXT)
}

fn answer(status: u16, body: impl Into<Bytes>, content: &'static str) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}
