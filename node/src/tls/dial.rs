//! A client's side of TLS, whose failures say what is wrong and what to do: in the handshake, and behind it, where a TLS 1.3
//! server says that it does not take the client's certificate (RFC 8446, section 4.4.2.4).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection over TLS.
#[derive(Debug)]
pub struct Dialled {
    stream: TlsStream<TcpStream>,
    /// Whether this side shows a certificate where it is asked for one.
    shows: bool,
    note: Note,
}

/// Why a connection ended, for who uses it by way of a library that keeps that to itself. Clones are the same note.
#[derive(Clone, Debug, Default)]
pub struct Note(Arc<Mutex<Option<String>>>);

impl Note {
    /// What was noted last; once.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, why: &io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_string());
    }
}

/// Speaks TLS over a connection, to who must be `name`.
///
/// # Errors
/// The operating system's, and what TLS has to say in [`explain`]'s words.
pub async fn dial(tls: Arc<ClientConfig>, name: ServerName<'static>, tcp: TcpStream) -> io::Result<Dialled> {
    let shows = tls.client_auth_cert_resolver.has_certs();
    match TlsConnector::from(tls).connect(name, tcp).await {
        Ok(stream) => Ok(Dialled {
            stream,
            shows,
            note: Note::default(),
        }),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(io::Error::new(error.kind(), "it hung up on the TLS handshake"))
        }
        Err(error) => Err(explained(error, shows)),
    }
}

impl Dialled {
    /// Has what ends it noted.
    pub fn noting(self, note: Note) -> Dialled {
        Dialled { note, ..self }
    }

    /// The protocol that both sides chose.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.alpn_protocol()
    }
}

fn explained(error: io::Error, shows: bool) -> io::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(tls) => io::Error::new(error.kind(), explain(tls, shows)),
        None => error,
    }
}

/// What a failure means to who set this side up. `shows`: whether this side has a certificate to show.
fn explain(error: &Error, shows: bool) -> String {
    match error {
        Error::InvalidCertificate(why) => certificate(why),
        Error::AlertReceived(alert) => refused(*alert, shows),
        Error::InvalidMessage(_) => "it does not speak TLS at this port".to_owned(),
        Error::PeerIncompatible(_) => "it does not speak TLS 1.3, and nothing older is spoken here".to_owned(),
        other => other.to_string(),
    }
}

/// Why the server's certificate is not believed.
fn certificate(why: &CertificateError) -> String {
    match why {
        // Of a CA with the same name and another key it is the signature that is found to be wrong.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not under a CA that is trusted here: give that CA's certificate as the CA file, or have one of a known CA made for it"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented = match presented.is_empty() {
                true => "no name".to_owned(),
                false => presented.join(", ").chars().take(200).collect(),
            };
            format!(
                "its certificate is for {presented}, not for `{}`: reach it by a name that it has, or have this name put into it",
                expected.to_str()
            )
        }
        CertificateError::Expired => "its certificate has expired: renew it there, or set this machine's clock".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "its certificate expired at {}: renew it there, or set this machine's clock",
            utc(not_after.as_secs())
        ),
        CertificateError::NotValidYet => "its certificate is not valid yet: set the clock, here or there".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "its certificate is valid from {} on: set the clock, here or there",
            utc(not_before.as_secs())
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for servers: it needs the extended key usage serverAuth".to_owned()
        }
        other => format!("its certificate cannot be used: {other}"),
    }
}

/// Why the server ends it.
fn refused(alert: AlertDescription, shows: bool) -> String {
    use AlertDescription as Alert;
    let about_certificates = matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::NoCertificate
    ) || (shows && alert == Alert::DecryptError);
    match (about_certificates, shows) {
        (true, false) => "it demands a client certificate: give a certificate file and its key file".to_owned(),
        (true, true) => format!(
            "it does not take the client certificate ({alert:?}): show one that is valid now and under a CA that it trusts for clients"
        ),
        (false, _) if alert == Alert::ProtocolVersion => {
            "it does not speak TLS 1.3, and nothing older is spoken here".to_owned()
        }
        (false, _) => format!("it ended the handshake ({alert:?})"),
    }
}

fn utc(seconds: u64) -> String {
    let at = i64::try_from(seconds)
        .ok()
        .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    at.and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

impl AsyncRead for Dialled {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(context, into);
        read.map_err(|error| {
            let error = explained(error, this.shows);
            this.note.put(&error);
            error
        })
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::tls::testing::{Ca, Leaf};
    use crate::tls::{ClientAuth, ClientRoots, client_config, server_config};

    /// What a client under `root` that asks for `name` hears from a server, at once or when it reads.
    async fn heard(
        server: ClientAuth,
        leaf: &Leaf,
        root: CertificateDer<'static>,
        name: &str,
        own: Option<&Leaf>,
    ) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = server_config(leaf.held(), server, &[]).unwrap();
        tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = TlsAcceptor::from(config).accept(tcp).await {
                stream.write_all(b"hello").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        let config = client_config([root], own.map(Leaf::held), &[]).unwrap();
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        match dial(Arc::new(config), name, tcp).await {
            Err(error) => error.to_string(),
            Ok(mut stream) => {
                let mut text = String::new();
                match stream.read_to_string(&mut text).await {
                    Ok(_) => text,
                    Err(error) => error.to_string(),
                }
            }
        }
    }

    #[tokio::test]
    async fn a_handshake_that_fails_says_what_to_do() {
        let (ca, other) = (Ca::new(), Ca::new());
        let (server, client, stranger) = (ca.server(), ca.client("spiffe://a/b"), other.client("spiffe://a/b"));
        let required = || ClientAuth::Required(ClientRoots::new([ca.root()]).unwrap());
        let heard =
            async |auth, root: &Ca, name: &str, own: Option<&Leaf>| heard(auth, &server, root.root(), name, own).await;
        assert_eq!(heard(ClientAuth::None, &ca, "localhost", None).await, "hello");
        assert_eq!(heard(required(), &ca, "localhost", Some(&client)).await, "hello");
        let cases = [
            (
                heard(ClientAuth::None, &other, "localhost", None).await,
                "its certificate is not under a CA that is trusted here",
            ),
            (
                heard(ClientAuth::None, &ca, "siem.internal", None).await,
                "for DnsName(\"localhost\"), IpAddress(127.0.0.1), not for `siem.internal`",
            ),
            (
                heard(required(), &ca, "localhost", None).await,
                "it demands a client certificate: give a certificate file and its key file",
            ),
            (
                heard(required(), &ca, "localhost", Some(&stranger)).await,
                "it does not take the client certificate (",
            ),
        ];
        for (heard, why) in cases {
            assert!(heard.contains(why), "{heard}: {why}");
        }
    }

    #[tokio::test]
    async fn who_does_not_speak_tls_is_told_from_who_speaks_it_badly() {
        let config = Arc::new(client_config([Ca::new().root()], None, &[]).unwrap());
        for (said, why) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
                "it does not speak TLS at this port",
            ),
            (b"", "it hung up on the TLS handshake"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                let (mut tcp, _) = listener.accept().await.unwrap();
                // What was sent is read, or it would be a reset.
                let mut hello = [0; 4096];
                assert!(tcp.read(&mut hello).await.unwrap() > 0);
                tcp.write_all(said).await.unwrap();
            });
            let tcp = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let error = dial(config.clone(), name, tcp).await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}: {why}");
        }
    }
}
