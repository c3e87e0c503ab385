//! Brings each new checkpoint to the witnesses of the configuration, and keeps what they cosigned in a directory beside the
//! log. Nobody waits for a witness: one that is down is asked again, less and less often.
//!
//! What is kept shows at the next start whether the log was put back; and a witness that has seen more than there is says so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use audit::log::LogError;
use audit::log::objects::{Directory, Objects as _};
use audit::note::cosign::WitnessKey;
use audit::note::{Checkpoint, VerifierKey};
use audit::witness::{PATH, Request, kept};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use node::http_client::Client;
use node::telemetry::{Label, Metrics};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::task::JoinHandle;

use super::{Collector, writer};
use crate::config::{Config, WitnessConfig};
use crate::log_place::LogPlace;
use crate::serve::StartError;

/// How often it is looked whether there is a new checkpoint.
const LOOK: Duration = Duration::from_millis(500);
/// Waits after a failure.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is a few signatures.
const MAX_ANSWER: usize = 16 << 10;

#[derive(Clone)]
struct Gauges {
    cosigned: Family<Label, Gauge>,
    failures: Family<Label, Counter>,
}

/// One witness, and how far it is.
struct Asking {
    log: Arc<Collector>,
    log_key: VerifierKey,
    key: WitnessKey,
    client: Client,
    url: String,
    kept: Arc<Mutex<Directory>>,
    gauges: Gauges,
    /// Leaves of the checkpoint that it cosigned last, as far as is known.
    held: u64,
    /// The same, of a cosignature that is kept.
    done: Option<u64>,
    /// It was said that the two do not agree.
    suspected: bool,
}

/// What an answer comes to.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// The checkpoint with the cosignature.
    Cosigned(String),
    /// It holds a checkpoint of so many leaves.
    At(u64),
    /// It has seen another history of the log, or more of it.
    Suspect(String),
    Failed(String),
}

/// Begins to ask the witnesses of a configuration.
///
/// # Errors
/// [`StartError`]: a CA file or the directory of cosigned checkpoints cannot be used.
pub(crate) fn start(
    config: &Config,
    log: &Arc<Collector>,
    metrics: &Metrics,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let mut tasks = Vec::new();
    if config.witness.is_empty() {
        return Ok(tasks);
    }
    let directory = config.data_dir.join("cosigned");
    let io = |error| StartError::Io {
        what: format!("`{}`", directory.display()),
        error,
    };
    let kept = Directory::open(&directory).map_err(io)?;
    let kept = kept.ok_or_else(|| io(std::io::Error::other("it is in use by another process")))?;
    let kept = Arc::new(Mutex::new(kept));
    let gauges = Gauges::new(metrics);
    for witness in &config.witness {
        let asking = Asking::new(witness, log.clone(), kept.clone(), gauges.clone());
        let asking = asking.map_err(|reason| StartError::Config {
            field: "witness",
            message: format!("`{}`: {reason}", witness.url),
        })?;
        tasks.push(tokio::spawn(asking.run()));
    }
    Ok(tasks)
}

impl Gauges {
    fn new(metrics: &Metrics) -> Self {
        let cosigned = Family::default();
        let help = "Batches under the newest checkpoint that a witness cosigned";
        metrics.register("audit_cosigned_leaves", help, cosigned.clone());
        Self {
            cosigned,
            failures: metrics.counters(
                "audit_witness_failures",
                "Times that a witness did not cosign; it is asked again",
            ),
        }
    }
}

impl Asking {
    /// Without connecting. Shows the log what is kept, which it has to have grown from.
    fn new(
        config: &WitnessConfig,
        log: Arc<Collector>,
        kept: Arc<Mutex<Directory>>,
        gauges: Gauges,
    ) -> Result<Self, String> {
        let roots = match config.url.starts_with("https://") {
            true => crate::export::roots(config.ca_file.as_deref())?,
            false => rustls::RootCertStore::empty(),
        };
        let key: WitnessKey = config.key.parse().map_err(text)?;
        let mut asking = Self {
            log_key: log.vkey().parse().map_err(text)?,
            client: Client::new(roots).map_err(text)?,
            url: format!("{}{PATH}", config.url.trim_end_matches('/')),
            key,
            log,
            kept,
            gauges,
            held: 0,
            done: None,
            suspected: false,
        };
        if let Some(note) = asking.stored()? {
            let by = format!("witness {}", asking.key.name());
            asking.log.seen(&by, &note).map_err(text)?;
            asking.know(&note)?;
        }
        Ok(asking)
    }

    /// What is kept of an earlier process.
    fn stored(&self) -> Result<Option<String>, String> {
        let name = kept(&self.log_key, &self.key);
        let directory = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = directory.get(&name).map_err(text)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Takes over a cosigned checkpoint.
    fn know(&mut self, note: &str) -> Result<(), String> {
        let (checkpoint, _) = self.key.checkpoint(&self.log_key, note).map_err(text)?;
        (self.held, self.done) = (checkpoint.size, Some(checkpoint.size));
        let leaves = i64::try_from(checkpoint.size).unwrap_or(i64::MAX);
        self.gauges.cosigned.get_or_create(&self.label()).set(leaves);
        self.log.tell_cosigned(&self.key.to_string(), note.to_owned());
        Ok(())
    }

    /// Until it is dropped.
    async fn run(mut self) {
        let (mut wait, mut failing) = (SHORTEST, false);
        loop {
            match self.round().await {
                Ok(()) => {
                    (wait, failing) = (SHORTEST, false);
                    tokio::time::sleep(LOOK).await;
                }
                Err(reason) => {
                    // What it said of itself is not held against it for ever.
                    self.held = self.done.unwrap_or(0);
                    self.gauges.failures.get_or_create(&self.label()).inc();
                    if !failing {
                        let witness = self.key.name();
                        tracing::warn!(
                            witness,
                            reason,
                            "a witness does not cosign the audit log; it is asked again"
                        );
                    }
                    failing = true;
                    tokio::time::sleep(wait).await;
                    wait = wait.saturating_mul(2).min(LONGEST);
                }
            }
        }
    }

    /// Nothing where there is no new checkpoint.
    async fn round(&mut self) -> Result<(), String> {
        let newest: Checkpoint = self.log.note().parse().map_err(text)?;
        if self.done == Some(newest.size) {
            return Ok(());
        }
        // The second time with the size that the witness told.
        for _ in 0..2 {
            let heard = match self.request().await? {
                Ok(request) => self.send(&request).await?,
                Err(size) => Heard::Suspect(format!("it has cosigned {} leaves, and the log has {size}", self.held)),
            };
            match heard {
                Heard::Cosigned(note) => return self.keep(note).await,
                Heard::At(size) => self.held = size,
                Heard::Suspect(why) => {
                    self.alarm(&why);
                    return Err(why);
                }
                Heard::Failed(why) => return Err(why),
            }
        }
        Err("it tells another size each time".to_owned())
    }

    /// The newest checkpoint and its proof; or the log's size, which is less than the witness holds.
    async fn request(&self) -> Result<Result<Request, u64>, String> {
        let (place, key, old) = (self.log.place().clone(), self.log_key.clone(), self.held);
        let made = tokio::task::spawn_blocking(move || request(&place, &key, old)).await;
        made.map_err(text)?.map_err(text)
    }

    async fn send(&self, request: &Request) -> Result<Heard, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let body = Bytes::from(request.to_string());
        let sent = self
            .client
            .request(Method::POST, &self.url, headers, body, TIMEOUT, MAX_ANSWER);
        let answer = sent.await.map_err(text)?;
        let body = String::from_utf8_lossy(answer.body());
        Ok(heard(
            request,
            (&self.log_key, &self.key),
            answer.status().as_u16(),
            &body,
        ))
    }

    /// Durable, then told.
    async fn keep(&mut self, note: String) -> Result<(), String> {
        let (kept_in, name) = (self.kept.clone(), kept(&self.log_key, &self.key));
        let stored = note.clone();
        let put = tokio::task::spawn_blocking(move || {
            let mut directory = kept_in.lock().unwrap_or_else(PoisonError::into_inner);
            directory.put(&name, stored.as_bytes()).map_err(LogError::from)
        });
        if let Err(error) = put.await.map_err(text)? {
            writer::lost(&error);
            return Err(error.to_string());
        }
        self.suspected = false;
        self.know(&note)
    }

    /// Once, until they agree again.
    fn alarm(&mut self, why: &str) {
        if !self.suspected {
            let witness = self.key.name();
            tracing::error!(
                witness,
                why,
                "a witness has seen another history of the audit log than there is"
            );
            (self.log.shared.alarm)("audit:WitnessConflict");
        }
        self.suspected = true;
    }

    fn label(&self) -> Label {
        Label {
            name: "witness",
            value: self.key.name().to_owned(),
        }
    }
}

fn request(place: &LogPlace, key: &VerifierKey, old: u64) -> Result<Result<Request, u64>, LogError> {
    let view = place.view(Some(key))?;
    let size = view.checkpoint().size;
    if old > size {
        return Ok(Err(size));
    }
    Ok(Ok(Request {
        old,
        proof: view.consistency(old)?,
        note: view.note().to_owned(),
    }))
}

/// What an answer to a request says.
fn heard(request: &Request, (log, witness): (&VerifierKey, &WitnessKey), status: u16, body: &str) -> Heard {
    let said: String = body.chars().filter(|c| !c.is_control()).take(200).collect();
    match status {
        200 => {
            // It may answer with signatures of keys that nobody here knows.
            let mut notes = body.lines().map(|line| format!("{}{line}\n", request.note));
            let cosigned = notes.find(|note| witness.checkpoint(log, note).is_ok());
            cosigned.map_or_else(
                || Heard::Failed(format!("its answer has no cosignature of `{}`", witness.name())),
                Heard::Cosigned,
            )
        }
        409 => match body.trim().parse() {
            Ok(size) if size == request.old => Heard::Suspect(format!("it has cosigned another tree of {size} leaves")),
            Ok(size) => Heard::At(size),
            Err(_) => Heard::Failed(format!("it answered 409 without a size: {said}")),
        },
        422 => Heard::Suspect(format!(
            "the log did not grow from the {} leaves that it has cosigned: {said}",
            request.old
        )),
        status => Heard::Failed(format!("it answered {status}: {said}")),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
