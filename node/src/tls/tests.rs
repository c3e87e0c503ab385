use std::io;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::testing::{Ca, Leaf};
use super::*;
use crate::listen::Shutdown;

/// What either side says of a handshake followed by one byte from the server: the server's view of the client's
/// certificates, and the certificate that the client saw.
async fn meet(
    server: Arc<ServerConfig>,
    client: ClientConfig,
) -> (io::Result<usize>, io::Result<CertificateDer<'static>>) {
    let (near, far) = duplex(64 << 10);
    let serving = async move {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok(stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len))
    };
    let calling = async move {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, near).await?;
        stream.read_u8().await?;
        Ok(stream.get_ref().1.peer_certificates().unwrap()[0].clone())
    };
    tokio::join!(serving, calling)
}

fn client(ca: &Ca, identity: Option<&Leaf>) -> ClientConfig {
    client_config([ca.root()], identity.map(Leaf::held), ALPN_HTTP).unwrap()
}

#[tokio::test]
async fn a_certificate_is_reloaded_when_its_files_change_and_the_last_good_one_stays() {
    let ca = Ca::new();
    let (first, second) = (ca.server(), ca.server());
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let write = |leaf: &Leaf| {
        std::fs::write(&chain, leaf.certificate_pem()).unwrap();
        std::fs::write(&key, leaf.key_pem()).unwrap();
    };
    write(&first);
    let held = ReloadingCertificate::open(&chain, &key).unwrap();
    let server = server_config(held.clone(), ClientAuth::None, ALPN_HTTP).unwrap();
    assert!(!held.reload_if_changed().unwrap());
    assert_eq!(
        meet(server.clone(), client(&ca, None)).await.1.unwrap(),
        first.certificate
    );

    std::fs::write(&chain, "not a certificate, and of another length").unwrap();
    let error = held.reload_if_changed().unwrap_err().to_string();
    assert!(
        error.contains("chain.pem") && error.contains("holds no certificate"),
        "{error}"
    );
    assert_eq!(
        meet(server.clone(), client(&ca, None)).await.1.unwrap(),
        first.certificate
    );

    std::fs::write(&chain, second.certificate_pem() + "\n").unwrap();
    let error = held.reload_if_changed().unwrap_err().to_string();
    assert!(error.contains("the key is not the one"), "{error}");

    let shutdown = Shutdown::new();
    let watching = tokio::spawn(held.clone().watch(Duration::from_millis(2), shutdown.clone()));
    write(&second);
    while held.chain() != [second.certificate.clone()] {
        tokio::task::yield_now().await;
    }
    assert_eq!(meet(server, client(&ca, None)).await.1.unwrap(), second.certificate);
    shutdown.drain();
    watching.await.unwrap();
}

#[tokio::test]
async fn client_roots_are_swapped_for_the_next_handshake() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let (good, foreign) = (
        ours.client("spiffe://a.example/ci"),
        theirs.client("spiffe://a.example/ci"),
    );
    let roots = ClientRoots::new([ours.root()]).unwrap();
    let server = server_config(ours.server().held(), ClientAuth::Optional(roots.clone()), ALPN_HTTP).unwrap();
    assert_eq!(meet(server.clone(), client(&ours, None)).await.0.unwrap(), 0);
    assert_eq!(meet(server.clone(), client(&ours, Some(&good))).await.0.unwrap(), 1);
    assert!(meet(server.clone(), client(&ours, Some(&foreign))).await.0.is_err());
    roots.replace([theirs.root()]).unwrap();
    assert!(meet(server.clone(), client(&ours, Some(&good))).await.0.is_err());
    assert_eq!(meet(server.clone(), client(&ours, Some(&foreign))).await.0.unwrap(), 1);
    roots.replace([]).unwrap();
    assert!(meet(server, client(&ours, Some(&foreign))).await.0.is_err());
    assert!(ClientRoots::new([CertificateDer::from(vec![1, 2, 3])]).is_err());
}

#[tokio::test]
async fn a_required_certificate_is_required_and_a_shown_one_is_only_possessed() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let foreign = theirs.client("spiffe://a.example/ci");
    let required = ClientAuth::Required(ClientRoots::new([ours.root()]).unwrap());
    let server = server_config(ours.server().held(), required, ALPN_GRPC).unwrap();
    assert!(meet(server, client(&ours, None)).await.0.is_err());
    let server = server_config(ours.server().held(), ClientAuth::Shown, ALPN_HTTP).unwrap();
    assert_eq!(meet(server.clone(), client(&ours, Some(&foreign))).await.0.unwrap(), 1);
    assert_eq!(meet(server, client(&ours, None)).await.0.unwrap(), 0);
}

#[tokio::test]
async fn a_client_trusts_its_roots_only_and_protocols_must_meet() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let server = server_config(ours.server().held(), ClientAuth::None, ALPN_HTTP).unwrap();
    assert!(meet(server.clone(), client(&theirs, None)).await.1.is_err());
    let other = client_config([ours.root()], None, &[b"ftp"]).unwrap();
    assert!(meet(server, other).await.0.is_err());
}

#[test]
fn early_data_is_off_everywhere() {
    // R17
    let ca = Ca::new();
    for clients in [ClientAuth::None, ClientAuth::Shown] {
        for alpn in [ALPN_HTTP, ALPN_HTTP3, ALPN_GRPC] {
            let config = server_config(ca.server().held(), clients.clone(), alpn).unwrap();
            assert_eq!(config.max_early_data_size, 0);
            assert!(!config.send_half_rtt_data);
        }
    }
    assert!(!client(&ca, None).enable_early_data);
}

#[test]
fn unusable_files_say_what_is_expected() {
    let ca = Ca::new();
    let leaf = ca.server();
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let error = ReloadingCertificate::open(&chain, &key).unwrap_err().to_string();
    assert!(error.contains("chain.pem` cannot be read"), "{error}");
    std::fs::write(&chain, leaf.certificate_pem()).unwrap();
    std::fs::write(&key, leaf.certificate_pem()).unwrap();
    let error = ReloadingCertificate::open(&chain, &key).unwrap_err().to_string();
    assert!(error.contains("key.pem") && error.contains("no private key"), "{error}");
    std::fs::write(&key, ca.server().key_pem()).unwrap();
    let error = ReloadingCertificate::open(&chain, &key).unwrap_err().to_string();
    assert!(
        error.contains("the key is not the one that the first certificate names"),
        "{error}"
    );
    assert!(ReloadingCertificate::in_memory(Vec::new(), leaf.key()).is_err());
    assert!(!format!("{:?}", leaf.held()).contains("PRIVATE"));
}
