//! A caller over QUIC: one request at a time on a connection that is kept.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use loadtest::http3::{Client as Kept, Request};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::runtime::Runtime;

/// Longer than an edge takes for an answer, whatever is wrong with it; shorter than QUIC takes to give up a connection.
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 1 << 20;

/// A connection, made when it is needed.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    roots: RootCertStore,
    /// Dropped before the runtime that drives it.
    kept: Option<Kept>,
    runtime: Runtime,
}

impl Client {
    /// To this address, whose certificate is in a PEM file.
    pub fn new(address: SocketAddr, certificate: &Path) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Client {
            address,
            roots,
            kept: None,
            runtime: runtime.unwrap(),
        }
    }

    /// Status and body of a POST with JSON. After an error nothing is known of the request, and the next is on a new connection.
    pub fn post(&mut self, path: &str, token: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        let (url, kept) = (format!("https://{}{path}", self.address), self.kept.take());
        let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(io::Error::other)?;
        let json = HeaderValue::from_static("application/json");
        let headers = [
            (http::header::AUTHORIZATION, bearer),
            (http::header::CONTENT_TYPE, json),
        ];
        let exchange = async {
            let mut client = match kept {
                Some(kept) => kept,
                None => Kept::open(&url, self.roots.clone()).await?,
            };
            let request = Request {
                method: Method::POST,
                url: url.clone(),
                headers: HeaderMap::from_iter(headers),
                body: body.to_owned().into(),
            };
            let answer = client.send(request, MAX_ANSWER).await?;
            Ok::<_, loadtest::LoadError>((client, answer))
        };
        let within = async { tokio::time::timeout(PATIENCE, exchange).await };
        let (client, answer) = self.runtime.block_on(within)?.map_err(io::Error::other)?;
        self.kept = Some(client);
        Ok((answer.status().as_u16(), answer.body().to_vec()))
    }
}
