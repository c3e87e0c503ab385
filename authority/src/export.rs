//! Audit records to where security teams want them, while the authority runs. The log is what counts; a sink is a copy.
//!
//! - **At least once**: a sink's place in the log is written down after it took a batch; a crash between the two sends the batch
//!   again. Records have an id for receivers to know them by (edge, incarnation, sequence).
//! - **Never in the way**: a sink reads what is durable in the log, at its own pace; nobody waits for it.
//! - **A gap is no secret**: a sink that is down for longer than its `max_lag` loses the oldest records; how many and which is
//!   counted, logged and put on record.

mod file;
mod http;
mod log;
mod pace;
mod syslog;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderMap;
use async_trait::async_trait;
use audit::record::Record;
use node::telemetry::{Label, Metrics};
use node::tls::ReloadingCertificate;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::pace::Pace;
use crate::clock::Clock;
use crate::collect::Collector;
use crate::config::{Config, ExportConfig};
use crate::kms::{Decided, Entry, Recorder};
use crate::serve::make_private_dir;

/// One batch's way to a sink.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks for more, and between two at a log that cannot be read.
const LOOK: Duration = Duration::from_secs(1);
const UNREAD: Duration = Duration::from_secs(30);

/// A place in the order of all records: the next to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Place {
    /// The number of the log's leaf, which is a batch of records, from 0.
    leaf: u64,
    /// Records of it that were read.
    read: usize,
}

/// Records, and the place after them.
struct Page {
    records: Vec<Record>,
    next: Place,
}

impl Page {
    fn nothing(place: Place) -> Self {
        Self {
            records: Vec::new(),
            next: place,
        }
    }
}

/// What is exported: every durable record, in one order that stays.
#[async_trait]
trait Source: Send + Sync {
    /// Records from a place on, at most `limit`; none where there are none yet. Why they cannot be read is for the log.
    async fn read(&self, from: Place, limit: usize) -> Result<Page, String>;
}

/// Where records go.
#[async_trait]
trait Sink: Send + Sync {
    /// Delivers a batch whole, or says why not: then it comes again. Answers how many the receiver would not take for good.
    async fn send(&mut self, records: &[Record]) -> Result<usize, String>;
}

/// Why a sink cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("the export `{name}`: {reason}")]
pub struct ExportError {
    name: String,
    reason: String,
}

/// A stretch of records that a sink will not get.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    sink: String,
    /// `EDGE/INCARNATION/SEQUENCE` of the first and the last.
    first: String,
    last: String,
    records: usize,
}

/// Counters of all sinks.
#[derive(Clone)]
struct Counters {
    sent: Family<Label, Counter>,
    behind: Family<Label, Gauge>,
    failures: Family<Label, Counter>,
    lost: Family<Label, Counter>,
}

/// One sink at work.
struct Export {
    name: String,
    sink: Box<dyn Sink>,
    place_file: PathBuf,
    max_lag_ms: u64,
    clock: Clock,
    counters: Counters,
    /// Puts a gap on record.
    on_gap: Arc<dyn Fn(&Gap) + Send + Sync>,
}

/// Begins to export a log to every sink of the configuration, until `stop` turns true.
///
/// # Errors
/// [`ExportError`]: a sink cannot be set up.
pub(crate) fn start(
    config: &Config,
    log: &Collector,
    (recorder, clock): (&Arc<Recorder>, &Clock),
    metrics: &Metrics,
    stop: &watch::Sender<bool>,
) -> Result<Vec<JoinHandle<()>>, ExportError> {
    let counters = Counters::new(metrics);
    // Named after the log: in another one, every sink begins at the beginning.
    let directory = config.data_dir.join("export").join(log.short_name());
    let source = Arc::new(log::LogSource(log.place().clone()));
    let mut tasks = Vec::new();
    for sink in &config.export {
        make_private_dir(&directory).map_err(|error| ExportError {
            name: sink.name().to_owned(),
            reason: error.to_string(),
        })?;
        let recorder = recorder.clone();
        let on_gap = Arc::new(move |gap: &Gap| gap.record(&recorder));
        let export = Export::new(sink, &directory, clock.clone(), counters.clone(), on_gap)?;
        tasks.push(tokio::spawn(export.run(source.clone(), stop.subscribe())));
    }
    Ok(tasks)
}

impl Gap {
    fn record(&self, recorder: &Recorder) {
        let what = [
            format!("first:{}", self.first),
            format!("last:{}", self.last),
            format!("records:{}", self.records),
        ];
        let recorded = recorder.record(Entry {
            operation: "audit:ExportGap",
            caller: &format!("export:{}", self.sink),
            account: "",
            decided: Decided {
                policies: what.into(),
                ..Decided::default()
            },
            digest: None,
            refused: None,
            request_id: uuid::Uuid::new_v4(),
            headers: &HeaderMap::new(),
        });
        if let Err(refusal) = recorded {
            let detail = refusal.detail.unwrap_or_default();
            tracing::error!(sink = self.sink, detail, "a gap of an export is not on record");
        }
    }
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        let behind = Family::default();
        let help = "Age of the oldest audit record that a sink has yet to take, seconds";
        metrics.register("export_behind_seconds", help, behind.clone());
        Self {
            behind,
            sent: metrics.counters("export_records", "Audit records that a sink took"),
            failures: metrics.counters(
                "export_failures",
                "Batches that a sink did not take; they are sent again",
            ),
            lost: metrics.counters("export_lost_records", "Audit records that a sink will not get"),
        }
    }
}

impl Export {
    /// Sets a sink up, without connecting. Its place is kept in `directory`.
    ///
    /// # Errors
    /// [`ExportError`]: a file that the configuration names cannot be read, or is not what it should be.
    fn new(
        config: &ExportConfig,
        directory: &Path,
        clock: Clock,
        counters: Counters,
        on_gap: Arc<dyn Fn(&Gap) + Send + Sync>,
    ) -> Result<Self, ExportError> {
        let failed = |reason| ExportError {
            name: config.name().to_owned(),
            reason,
        };
        let sink: Box<dyn Sink> = match config {
            ExportConfig::File(file) => Box::new(file::File::new(file)),
            ExportConfig::Syslog(syslog) => Box::new(syslog::Syslog::new(syslog).map_err(failed)?),
            ExportConfig::Collector(collector) => {
                Box::new(http::Http::new(collector, http::Form::Collector).map_err(failed)?)
            }
            ExportConfig::Otlp(otlp) => Box::new(http::Http::new(otlp, http::Form::Otlp).map_err(failed)?),
        };
        Ok(Self {
            name: config.name().to_owned(),
            sink,
            place_file: directory.join(format!("{}.json", config.name())),
            max_lag_ms: config.max_lag().get().saturating_mul(1000),
            clock,
            counters,
            on_gap,
        })
    }

    /// Exports until `stop` turns true.
    async fn run(mut self, source: Arc<dyn Source>, mut stop: watch::Receiver<bool>) {
        let mut work = std::pin::pin!(self.work(source.as_ref()));
        loop {
            tokio::select! {
                () = &mut work => return,
                changed = stop.changed() => if changed.is_err() || *stop.borrow() { return },
            }
        }
    }

    async fn work(&mut self, source: &dyn Source) {
        let (mut place, mut pace) = (self.place(), Pace::new());
        loop {
            let Some(page) = self.read(source, place, pace.looked_at()).await else {
                continue;
            };
            self.tell_behind(page.records.first());
            if page.records.is_empty() {
                place = page.next;
                tokio::time::sleep(LOOK).await;
                continue;
            }
            // Only a sink that fails loses records: one that is slow, or new, gets everything.
            let late = if pace.is_failing() { self.late(&page.records) } else { 0 };
            let most = if late > 0 { late } else { pace.most() };
            let page = match page.records.len() > most {
                true => self.read(source, place, most).await,
                false => Some(page),
            };
            let Some(page) = page else { continue };
            if late > 0 {
                self.lose(&page.records, page.records.len());
            } else if let Err(reason) = self.deliver(&page.records).await {
                self.wait(pace.failed(page.records.len(), &reason), reason).await;
                continue;
            } else if pace.taken() {
                tracing::info!(sink = self.name, "a sink takes audit records again");
            }
            place = page.next;
            self.remember(place);
        }
    }

    /// After a failure.
    async fn wait(&self, (wait, is_news): (Duration, bool), reason: String) {
        if is_news {
            tracing::warn!(
                sink = self.name,
                reason,
                "a sink takes no audit records; it is tried again"
            );
        }
        self.counters.failures.get_or_create(&self.label()).inc();
        tokio::time::sleep(wait).await;
    }

    /// A page; none, after a while, where it cannot be read.
    async fn read(&self, source: &dyn Source, place: Place, limit: usize) -> Option<Page> {
        match source.read(place, limit).await {
            Ok(page) => Some(page),
            Err(reason) => {
                tracing::error!(sink = self.name, reason, "audit records cannot be read for export");
                tokio::time::sleep(UNREAD).await;
                None
            }
        }
    }

    fn tell_behind(&self, next: Option<&Record>) {
        let age = next.map_or(0, |record| self.clock.now_ms().saturating_sub(record.time_ms()) / 1000);
        let behind = self.counters.behind.get_or_create(&self.label()).clone();
        behind.set(i64::try_from(age).unwrap_or(i64::MAX));
    }

    async fn deliver(&mut self, records: &[Record]) -> Result<(), String> {
        let sent = tokio::time::timeout(DEADLINE, self.sink.send(records)).await;
        let refused = sent.map_err(|_| format!("no answer within {} s", DEADLINE.as_secs()))??;
        let taken = u64::try_from(records.len().saturating_sub(refused)).unwrap_or(0);
        self.counters.sent.get_or_create(&self.label()).inc_by(taken);
        if refused > 0 {
            self.lose(records, refused);
        }
        Ok(())
    }

    /// How many of the first are older than a sink may fall behind.
    fn late(&self, records: &[Record]) -> usize {
        let oldest = self.clock.now_ms().saturating_sub(self.max_lag_ms);
        records.iter().take_while(|record| record.time_ms() < oldest).count()
    }

    fn lose(&self, among: &[Record], count: usize) {
        let (Some(first), Some(last)) = (among.first(), among.last()) else {
            return;
        };
        let uid = |record: &Record| format!("{}/{}/{}", record.edge, record.incarnation, record.sequence);
        let gap = Gap {
            sink: self.name.clone(),
            first: uid(first),
            last: uid(last),
            records: count,
        };
        self.counters
            .lost
            .get_or_create(&self.label())
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        tracing::error!(?gap, "a sink will not get these audit records; the log has them");
        (self.on_gap)(&gap);
    }

    fn label(&self) -> Label {
        Label {
            name: "sink",
            value: self.name.clone(),
        }
    }

    /// Where this sink is. Without a file that says so it begins at the beginning.
    fn place(&self) -> Place {
        let written = std::fs::read(&self.place_file).ok();
        written
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// A write that is lost sends records again, and so is neither synced nor fatal.
    fn remember(&self, place: Place) {
        let aside = self.place_file.with_extension("new");
        let written = serde_json::to_vec(&place)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&aside, bytes))
            .and_then(|()| std::fs::rename(&aside, &self.place_file));
        if let Err(error) = written {
            tracing::warn!(sink = self.name, %error, "a sink's place cannot be written; after a restart records come again");
        }
    }
}

/// CA certificates of a file, or the system's.
pub(crate) fn roots(ca_file: Option<&Path>) -> Result<rustls::RootCertStore, String> {
    let Some(file) = ca_file else {
        return node::http_client::system_roots().map_err(|error| error.to_string());
    };
    let pem = std::fs::read(file).map_err(|error| format!("`{}`: {error}", file.display()))?;
    let mut roots = rustls::RootCertStore::empty();
    node::http_client::add_pem_roots(&mut roots, &pem).map_err(|error| format!("`{}`: {error}", file.display()))?;
    Ok(roots)
}

/// What is shown to a receiver that asks for a certificate; nothing where none is named.
fn identity(
    certificate_file: Option<&Path>,
    key_file: Option<&Path>,
) -> Result<Option<Arc<ReloadingCertificate>>, String> {
    let (Some(certificate), Some(key)) = (certificate_file, key_file) else {
        return Ok(None);
    };
    let opened = ReloadingCertificate::open(certificate, key);
    opened.map(Some).map_err(|error| error.to_string())
}

/// Takes over a client certificate that was replaced; one that cannot be used leaves the last good one.
fn renew(identity: Option<&ReloadingCertificate>) {
    if let Some(Err(error)) = identity.map(ReloadingCertificate::reload_if_changed) {
        tracing::error!(%error, "a client certificate for an export is not taken over; the last good one stays");
    }
}

#[cfg(test)]
mod tests;
