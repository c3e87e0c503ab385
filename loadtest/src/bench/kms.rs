//! What operations of the key API cost: CPU time a request and requests a second of one core.
//!
//! The server is `signet dev --account`, in the clear over kept-alive HTTP/1.1, on one core, the client on another. Every
//! request is verified (SigV4), counted, judged (key policy and Cedar) and recorded, as any client's is.

use std::fmt;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::process::{Cores, Server};
use super::sigv4::AccessKey;
use super::{Measured, Round, Settings, bench, text};
use crate::client::{Connection, Message};
use crate::report::Report;
use crate::run::{Load, repeat};
use crate::target::Target;
use crate::{LoadError, Protocol, Until};

const ACCOUNT: &str = "000000000007";
/// 32 bytes: what is encrypted directly is keys.
const PLAINTEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The operations' figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KmsFigures {
    /// Each with its name.
    pub operations: Vec<(&'static str, Measured)>,
    /// Whether the server had one core and the client another.
    pub pinned: bool,
    /// Connections, each with one request in flight.
    pub connections: u16,
}

/// Measures the operations, taking turns. As for [`super::compare`], call it from a program that has one thread only.
///
/// # Errors
/// [`LoadError::Bench`] where the server does not start or a request fails.
pub fn measure(settings: &Settings) -> Result<KmsFigures, LoadError> {
    let cores = Cores::available();
    let data = tempfile::tempdir().map_err(bench)?;
    cores.server()?;
    let mut command = Command::new(&settings.signet);
    command
        .args(["dev", "--json", "--account", ACCOUNT, "--data"])
        .arg(data.path().join("signet"));
    let (server, ready) = Server::start(&mut command, "`signet dev`")?;
    cores.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(bench)?;
    let key_api = KeyApi::new(&ready)?;
    let asked = runtime.block_on(key_api.operations())?;
    let mut rounds: Vec<Vec<Round>> = asked.iter().map(|_| Vec::new()).collect();
    for _ in 0..settings.rounds {
        for (operation, rounds) in asked.iter().zip(&mut rounds) {
            let load = Load {
                connections: settings.connections,
                until: Until::Elapsed(settings.round),
                verify_every: 0,
            };
            rounds.push(runtime.block_on(key_api.round(&server, operation, load))?);
        }
    }
    Ok(KmsFigures {
        operations: asked
            .iter()
            .map(|asked| asked.title)
            .zip(rounds.into_iter().map(Measured::new))
            .collect(),
        pinned: cores.are_two(),
        connections: settings.connections,
    })
}

/// One operation as it is asked for.
struct Asked {
    title: &'static str,
    name: &'static str,
    body: String,
}

struct KeyApi {
    target: Target,
    key: AccessKey,
}

impl KeyApi {
    fn new(ready: &Value) -> Result<KeyApi, LoadError> {
        let url = text(ready, "/kms_http")?;
        Ok(KeyApi {
            target: Target::new(&url, Protocol::Http1, || Ok(rustls::RootCertStore::empty()))?,
            key: AccessKey {
                id: text(ready, "/kms_credentials/access_key_id")?,
                secret: text(ready, "/kms_credentials/secret_access_key")?,
            },
        })
    }

    /// Makes the keys, and what is decrypted.
    async fn operations(&self) -> Result<Vec<Asked>, LoadError> {
        let create = async |spec: &str, usage: &str| {
            let asked = json!({"KeySpec": spec, "KeyUsage": usage});
            let made = self.call("CreateKey", &asked).await?;
            text(&made, "/KeyMetadata/KeyId")
        };
        let data = create("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await?;
        let curve = create("ECC_NIST_P256", "SIGN_VERIFY").await?;
        let rsa = create("RSA_2048", "SIGN_VERIFY").await?;
        let plaintext = json!({"KeyId": data, "Plaintext": PLAINTEXT, "EncryptionContext": {"for": "bench"}});
        let blob = text(&self.call("Encrypt", &plaintext).await?, "/CiphertextBlob")?;
        let decrypt = json!({"CiphertextBlob": blob, "EncryptionContext": {"for": "bench"}});
        let sign = |key: &str, algorithm: &str| json!({"KeyId": key, "Message": PLAINTEXT, "MessageType": "DIGEST", "SigningAlgorithm": algorithm});
        let asked = |title, name, body: Value| Asked {
            title,
            name,
            body: body.to_string(),
        };
        Ok(vec![
            asked("Encrypt", "Encrypt", plaintext),
            asked("Decrypt", "Decrypt", decrypt),
            asked(
                "GenerateDataKey",
                "GenerateDataKey",
                json!({"KeyId": data, "KeySpec": "AES_256"}),
            ),
            asked("Sign, ECDSA P-256", "Sign", sign(&curve, "ECDSA_SHA_256")),
            asked("Sign, RSA 2048 PSS", "Sign", sign(&rsa, "RSASSA_PSS_SHA_256")),
        ])
    }

    async fn call(&self, name: &str, body: &Value) -> Result<Value, LoadError> {
        let mut connection = Connection::open(&self.target).await?;
        let answer = connection.send(&self.message(name, &body.to_string())?).await?;
        if !answer.status().is_success() {
            let said = String::from_utf8_lossy(answer.body()).into_owned();
            return Err(bench(format!("{name} was answered with {}: {said}", answer.status())));
        }
        serde_json::from_slice(answer.body()).map_err(bench)
    }

    fn message(&self, name: &str, body: &str) -> Result<Message, LoadError> {
        self.key.sign(&self.target, name, body, &now()?)
    }

    async fn round(&self, server: &Server, asked: &Asked, load: Load) -> Result<Round, LoadError> {
        let message = self.message(asked.name, &asked.body)?;
        let before = server.cpu_micros()?;
        let (took, counts, _) = repeat(&self.target, &message, load).await?;
        let used = server.cpu_micros()?.saturating_sub(before);
        let report = Report::new(Protocol::Http1, load.connections, took, counts, None);
        if !report.is_clean() || report.answered() == 0 {
            return Err(bench(format!("{} was not answered every time\n{report}", asked.title)));
        }
        Ok(Round::new(used, &report))
    }
}

/// `YYYYMMDDTHHMMSSZ`.
fn now() -> Result<String, LoadError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).map_err(bench)?;
    let time = OffsetDateTime::from_unix_timestamp(seconds).map_err(bench)?;
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    time.format(form).map_err(bench)
}

impl fmt::Display for KmsFigures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.operations.first().map_or(0, |(_, measured)| measured.rounds.len());
        let place = if self.pinned { "on one core" } else { "not pinned" };
        let connections = self.connections;
        write!(
            out,
            "the key API, medians of {rounds} rounds each, {connections} connections, HTTP/1.1, server {place}\n{:<28}{:>16}{:>10}{:>10}{:>14}",
            "", "CPU µs/request", "p50 µs", "p99 µs", "requests/s"
        )?;
        for (name, measured) in &self.operations {
            write!(out, "\n{name:<28}{}", measured.median)?;
        }
        Ok(())
    }
}
