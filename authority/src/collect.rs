//! The audit log's writer: what edges ship, and this authority's own records, in one log under signed checkpoints.
//!
//! One thread owns the log. Whoever ships waits for a receipt, which says that the records are durable; a checkpoint follows
//! within a second. A log that is not what it was (damaged, or behind what an edge has seen) is not written on: nothing more is
//! receipted, spools fill up, and what cannot be recorded is not done.

mod drain;
mod key;
pub(crate) mod witness;
mod writer;

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use audit::log::objects::Objects;
use audit::log::proof::Proof;
use audit::log::read::View;
use audit::log::{Log, LogError, Receipt, Refusal, Shipment};
use node::telemetry::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use self::writer::Writer;
use crate::fault::Fault;
use crate::log_place::LogPlace;
use crate::sealed::Vault;
use crate::serve::StartError;

pub(crate) use self::drain::Drain;

/// Bytes of records that may wait for the log, in units of [`UNIT`]: beyond it whoever ships waits.
const WAITING: usize = 16 << 10;
/// Bytes.
const UNIT: usize = 1 << 10;

/// Looks for proofs at once: each reads files.
const LOOKING: usize = 2;

/// Puts what happened to the log itself on record.
pub(crate) type Alarm = Box<dyn Fn(&'static str) + Send + Sync>;

/// The log as the rest of the authority sees it.
pub(crate) struct Collector {
    offers: Mutex<Option<Sender<Offer>>>,
    room: Arc<Semaphore>,
    looking: Semaphore,
    shared: Arc<Shared>,
    place: LogPlace,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer's thread tells.
pub(crate) struct Shared {
    told: RwLock<Told>,
    /// Leaves of the newest checkpoint.
    published: watch::Sender<u64>,
    /// Whether no other authority has a log to which edges bring their records.
    is_alone: bool,
    alarm: Alarm,
    gauges: Gauges,
}

#[derive(Clone, Default)]
struct Told {
    /// The newest checkpoint, signed.
    note: String,
    /// The key that checks it, as text.
    vkey: String,
    /// Why nothing is written any more.
    broken: Option<String>,
    /// Since when every attempt to write failed.
    unwritten_since: Option<Instant>,
    /// The newest checkpoint that each witness, by its verifier key, cosigned.
    cosigned: BTreeMap<String, String>,
}

struct Gauges {
    leaves: Gauge,
    records: Counter,
    gaps: Counter,
    conflicts: Counter,
    broken: Gauge,
}

/// What the thread is to do.
enum Offer {
    Ship {
        shipment: Shipment,
        reply: oneshot::Sender<Result<Receipt, Refusal>>,
        _room: OwnedSemaphorePermit,
    },
    /// A checkpoint that somebody has seen.
    Seen { by: String, note: String },
}

/// Why records were not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unshipped {
    /// What was shipped.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log.
    #[error("the audit log takes nothing at present: {0}")]
    Unavailable(String),
}

impl Collector {
    /// Opens the log at its place, or begins one.
    ///
    /// # Errors
    /// [`StartError::Log`] for a log that is not what it was: an authority that cannot keep its log does not start.
    pub(crate) async fn open(
        vault: &Vault,
        (place, replica, trust_domain): (LogPlace, &str, &str),
        metrics: &Metrics,
        alarm: Alarm,
    ) -> Result<Arc<Self>, StartError> {
        let here = place.clone();
        let (objects, there) = blocking(move || writer(&here)).await?;
        let is_alone = !vault.store().is_shared();
        let (key, is_new) = key::load(vault, replica, trust_domain, there.as_deref()).await?;
        let vkey = key.verifier().to_string();
        let here = place.to_string();
        let log =
            blocking(move || Log::open(objects, key).map_err(|error| StartError::Log { place: here, error })).await?;
        if is_new {
            tracing::info!(key = vkey, "an audit log begins");
            alarm("audit:BeginLog");
        }
        let told = Told {
            note: log.note().to_owned(),
            vkey,
            ..Told::default()
        };
        let shared = Arc::new(Shared {
            told: RwLock::new(told),
            published: watch::Sender::new(0),
            is_alone,
            alarm,
            gauges: Gauges::new(metrics, is_alone),
        });
        let (offers, taken) = channel();
        let writer = Writer::new(log, taken, shared.clone());
        let thread = std::thread::Builder::new().name("audit-log".to_owned());
        let thread = thread.spawn(move || writer.run()).map_err(|error| StartError::Io {
            what: "the audit log's thread".into(),
            error,
        })?;
        Ok(Arc::new(Self {
            offers: Mutex::new(Some(offers)),
            room: Arc::new(Semaphore::new(WAITING)),
            looking: Semaphore::new(LOOKING),
            shared,
            place,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Brings records. The answer comes when they are durable; they are taken in the order of the calls.
    ///
    /// # Errors
    /// [`Unshipped::Unavailable`] where the log takes nothing; the same may be brought again.
    pub(crate) async fn offer(
        &self,
        shipment: Shipment,
    ) -> Result<impl Future<Output = Result<Receipt, Unshipped>> + Send + use<>, Unshipped> {
        let bytes: usize = shipment.records.iter().map(Vec::len).fold(0, usize::saturating_add);
        let units = bytes.div_ceil(UNIT).clamp(1, WAITING);
        let room = self.room.clone();
        let room = room.acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX)).await;
        let (reply, answer) = oneshot::channel();
        let room = room.map_err(|_| self.unavailable())?;
        self.send(Offer::Ship {
            shipment,
            reply,
            _room: room,
        })?;
        let shared = self.shared.clone();
        Ok(async move {
            match answer.await {
                Ok(answer) => Ok(answer?),
                Err(_) => Err(Unshipped::Unavailable(shared.why())),
            }
        })
    }

    /// Tells the log of a checkpoint that `by`, an edge or a witness, has seen: one that it did not grow from stops it for good.
    pub(crate) fn seen(&self, by: &str, note: &str) -> Result<(), Unshipped> {
        self.send(Offer::Seen {
            by: by.to_owned(),
            note: note.to_owned(),
        })
    }

    fn send(&self, offer: Offer) -> Result<(), Unshipped> {
        let offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = offers.as_ref().map(|offers| offers.send(offer));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(self.unavailable()),
        }
    }

    fn unavailable(&self) -> Unshipped {
        Unshipped::Unavailable(self.shared.why())
    }

    /// The newest checkpoint, signed.
    pub(crate) fn note(&self) -> String {
        self.shared.told().note
    }

    /// The verifier key of its checkpoints.
    pub(crate) fn vkey(&self) -> String {
        self.shared.told().vkey
    }

    /// The newest checkpoint that each witness, by its verifier key, cosigned.
    pub(crate) fn cosigned(&self) -> BTreeMap<String, String> {
        self.shared.told().cosigned
    }

    /// Changes with each checkpoint.
    pub(crate) fn published(&self) -> watch::Receiver<u64> {
        self.shared.published.subscribe()
    }

    /// The proofs of those of a process's records that are among the newest leaves, from `since` on, with the cosignatures that
    /// their checkpoint has by now; and how many leaves it has.
    ///
    /// # Errors
    /// [`LogError`]; the same may be asked again.
    pub(crate) async fn prove_newest(
        &self,
        (edge, incarnation): (&str, &str),
        sequences: &[u64],
        since: u64,
    ) -> Result<(Vec<Proof>, u64), LogError> {
        let failed = |error: String| LogError::Io(std::io::Error::other(error));
        let turn = self.looking.acquire().await;
        let _turn = turn.map_err(|error| failed(error.to_string()))?;
        let (place, edge, incarnation) = (self.place.clone(), edge.to_owned(), incarnation.to_owned());
        let sequences = sequences.to_vec();
        let looked = tokio::task::spawn_blocking(move || {
            let view = place.view(None)?;
            let proofs = view.prove_newest((&edge, &incarnation), &sequences, since)?;
            Ok::<_, LogError>((proofs, view.checkpoint().size))
        });
        let (proofs, size) = looked.await.map_err(|error| failed(error.to_string()))??;
        let cosigned = self.cosigned();
        let proofs = proofs.into_iter().map(|proof| proof.cosigned(cosigned.values()));
        Ok((proofs.collect(), size))
    }

    /// Takes note of a checkpoint that a witness, by its verifier key, cosigned.
    pub(crate) fn tell_cosigned(&self, witness: &str, note: String) {
        let witness = witness.to_owned();
        self.shared.tell(|told| drop(told.cosigned.insert(witness, note)));
    }

    /// Why nothing is written any more; none where all is well.
    pub(crate) fn broken(&self) -> Option<String> {
        self.shared.told().broken
    }

    /// What no other log of this authority is called.
    pub(crate) fn short_name(&self) -> String {
        let note = self.note();
        let origin = note.lines().next().unwrap_or_default();
        origin.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Where the log is.
    pub(crate) fn place(&self) -> &LogPlace {
        &self.place
    }

    /// For how long the log could not be written; none where it can, as far as is known.
    pub(crate) fn unwritten_for(&self) -> Option<Duration> {
        self.shared.told().unwritten_since.map(|since| since.elapsed())
    }

    /// Takes nothing more, publishes what was taken and lets go of the place. Blocks on the disk or the server.
    pub(crate) fn close(&self) {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the audit log's thread ended in a panic");
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn told(&self) -> Told {
        self.told.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn why(&self) -> String {
        self.told().broken.unwrap_or_else(|| "try again".into())
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Gauges {
    /// Passed-over numbers go by another name where they are most likely in another authority's log, and no alarm.
    fn new(metrics: &Metrics, is_alone: bool) -> Self {
        let (gaps, help) = match is_alone {
            true => ("audit_gaps", "Times that a chain came with numbers passed over"),
            false => (
                "audit_gaps_here",
                "Times that a chain came with numbers passed over, which may be in another authority's log",
            ),
        };
        Self {
            leaves: metrics.gauge("audit_leaves", "Batches under the audit log's newest checkpoint"),
            records: metrics.counter(
                "audit_records",
                "Records shipped to the audit log, those that it had already included",
            ),
            gaps: metrics.counter(gaps, help),
            conflicts: metrics.counter(
                "audit_conflicts",
                "Times that a record came that the log holds another one for",
            ),
            broken: metrics.gauge(
                "audit_log_broken",
                "1 when the audit log is not what it was and takes nothing",
            ),
        }
    }
}

/// The place, to write, and what the log that is there calls itself.
fn writer(place: &LogPlace) -> Result<(Box<dyn Objects>, Option<String>), StartError> {
    let io = |error| StartError::Io {
        what: format!("audit log `{place}`"),
        error,
    };
    let objects = place.writer().map_err(io)?;
    let there = View::name_of(objects.as_ref()).map_err(io)?;
    Ok((objects, there))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Fault::internal(error.to_string()))?
}

#[cfg(test)]
pub(crate) mod tests;
