//! A log in a bucket of an S3 server that other people wrote (`moto`, which `scripts/setup test` installs).

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use audit::log::{Log, LogError, Shipment, verify};
use audit::note::NoteKey;
use http::{HeaderMap, Method};
use node::http_client::Client;
use signing::algorithm::Algorithm;
use signing::key::{Secret, SigningKey};

use super::tests::contract;
use super::*;

/// The server, with an empty bucket; ended when dropped.
struct Server {
    child: Child,
    endpoint: String,
}

impl Server {
    fn start() -> Server {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/clients/bin/moto_server");
        let mut child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let endpoint =
            lines.find_map(|line| Some(format!("http://{}", line.split_once("Running on http://")?.1.trim())));
        let server = Server {
            child,
            endpoint: endpoint.unwrap(),
        };
        // It logs each request: what nobody reads would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = Client::new(rustls::RootCertStore::empty()).unwrap();
            let url = format!("{}/logs", server.endpoint);
            let patience = std::time::Duration::from_secs(30);
            let made = client.request(
                Method::PUT,
                &url,
                HeaderMap::new(),
                bytes::Bytes::new(),
                patience,
                1 << 20,
            );
            assert_eq!(made.await.unwrap().status(), 200);
        });
        server
    }

    /// A place in the bucket, with a file of credentials beside.
    fn place(&self, dir: &Path, prefix: &str) -> LogPlace {
        use std::os::unix::fs::PermissionsExt as _;
        let file = dir.join("credentials");
        std::fs::write(&file, "[default]\naws_access_key_id = A\naws_secret_access_key = B\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let access = S3Config {
            endpoint: Some(self.endpoint.clone()),
            credentials_file: Some(file),
            ..S3Config::default()
        };
        LogPlace::parse(&format!("s3://logs/{prefix}"), &access).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open(place: &LogPlace, secret: &Secret) -> Result<Log, LogError> {
    let key = SigningKey::import(Algorithm::EdDsa, secret).unwrap();
    Log::open(place.writer()?, NoteKey::new("example.org/audit/1", key).unwrap())
}

/// The records of a spool with so many uses, as an edge ships them.
fn shipments(edge: &str, uses: u128) -> Vec<Shipment> {
    crate::collect::tests::shipped(edge, uses)
}

#[test]
fn a_log_in_a_real_bucket_is_written_shared_moved_and_verified() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    contract(server.place(dir.path(), "contract").writer().unwrap().as_mut());

    let secret = SigningKey::generate(Algorithm::EdDsa).unwrap().export().unwrap();
    let directory = LogPlace::Directory(dir.path().join("log"));
    let mut log = open(&directory, &secret).unwrap();
    for edge in 0..300 {
        assert!(
            log.take(shipments(&format!("edge-{edge}"), 1))
                .unwrap()
                .iter()
                .all(Result::is_ok)
        );
    }
    log.publish().unwrap();
    let verifier = log.verifier().clone();
    log.close().unwrap();

    let place = server.place(dir.path(), "a/b");
    let mut to = place.writer().unwrap();
    audit::log::copy::copy(&directory.view(Some(&verifier)).unwrap(), to.as_mut(), |_, _| {}).unwrap();
    let mut first = open(&place, &secret).unwrap();
    let before = first.checkpoint().clone();
    assert!(first.take(shipments("late", 5)).unwrap().iter().all(Result::is_ok));
    // Another process opens it: what the first receipted is there, and it writes nothing more.
    let mut second = open(&place, &secret).unwrap();
    assert!(second.checkpoint().size > before.size);
    assert!(matches!(first.take(shipments("later", 5)), Err(LogError::Taken(_))));
    assert!(second.take(shipments("later", 5)).unwrap().iter().all(Result::is_ok));
    second.close().unwrap();

    let view = place.view(Some(&verifier)).unwrap();
    let report = verify::view(&view, &[before], |_, _| {}).unwrap();
    assert_eq!(report.faults, []);
    assert_eq!((report.leaves, report.records), (302, 300 * 3 + 2 * 7));
    assert!(view.prove("late", "i1", 3).unwrap().unwrap().check(&verifier).is_ok());
    let elsewhere = open(&server.place(dir.path(), "nothing"), &secret).unwrap();
    assert_eq!(elsewhere.checkpoint().size, 0);
}

#[test]
fn a_bucket_that_is_not_there_is_no_log_that_could_begin() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let LogPlace::Bucket(_) = server.place(dir.path(), "x") else {
        panic!()
    };
    let access = S3Config {
        endpoint: Some(server.endpoint.clone()),
        credentials_file: Some(dir.path().join("credentials")),
        ..S3Config::default()
    };
    let nowhere = LogPlace::parse("s3://no-such-bucket/x", &access).unwrap();
    let told = "`s3://no-such-bucket/x`: there is no bucket `no-such-bucket`";
    for error in [
        nowhere.writer().err().unwrap().to_string(),
        nowhere.view(None).err().unwrap().to_string(),
    ] {
        assert!(error.contains(told), "{error}");
    }
}
