//! The record of each operation of the key API, and of what operators and approvers decide: what was done or refused, by
//! whom, with which key. No answer of the key API leaves without one.

use std::path::Path;
use std::sync::Arc;

use audit::record::{Draft, Outcome, TraceId};
use audit::spool::{OpenError, Settings, Spool, SpoolError};
use http::HeaderMap;
use node::telemetry::{Label, Metrics};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use uuid::Uuid;

use super::gate::Decided;
use super::refusal::Refusal;
use crate::backup::format::AuditPosition;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::names::EdgeId;
use crate::stops;

/// The spool's name in its records, where an edge has its id: of one of several replicas with `-NAME` behind it.
const NAME: &str = "authority";

/// Whether a chain of records is an authority's.
pub(crate) fn is_recorder(name: &str) -> bool {
    name.strip_prefix(NAME)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Refuses an edge id that an authority's records may have: whose a record is must be told from its name.
pub(crate) fn demand_no_recorder(id: &EdgeId) -> Result<(), Fault> {
    if is_recorder(id.as_str()) {
        let message = format!("the edge id `{id}` is kept for authorities (`{NAME}`, `{NAME}-…`); take another one");
        return Err(Fault::invalid("bad_request", message));
    }
    Ok(())
}

/// Records operations and counts them.
pub(crate) struct Recorder {
    spool: Arc<Spool>,
    name: String,
    incarnation: String,
    clock: Clock,
    requests: Family<Label, Counter>,
    refusals: Family<Label, Counter>,
}

/// Whose records a process writes: the name that stands where an edge has its id, and the process.
pub(crate) struct Chain {
    pub(crate) edge: String,
    pub(crate) incarnation: String,
}

/// One operation, to be recorded.
pub(crate) struct Entry<'a> {
    /// `kms:Sign`, `sts:GetCallerIdentity`, `admin:SetQuorum`, `approvals:Approve`
    pub(crate) operation: &'a str,
    /// The principal's ARN, `oidc:ISSUER#SUBJECT` of who wanted to become one, `operator:ID` or `approver:NAME`.
    pub(crate) caller: &'a str,
    pub(crate) account: &'a str,
    pub(crate) decided: Decided,
    /// SHA-256 of what was put in force, where that is one thing: a bundle.
    pub(crate) digest: Option<[u8; 32]>,
    /// The code of a refusal.
    pub(crate) refused: Option<&'a str>,
    pub(crate) request_id: Uuid,
    pub(crate) headers: &'a HeaderMap,
}

/// Proof that an operation is on record, with its sequence number inside a durable reservation. Only the [`Recorder`] makes one; of what stops something also without a record, which the log then says.
#[derive(Debug)]
pub(crate) struct Recorded(());

impl Recorder {
    /// Opens the spool in `directory`, which one process has at a time. Blocks on the disk.
    pub(crate) fn open(
        directory: &Path,
        replica: &str,
        settings: Settings,
        clock: Clock,
        metrics: &Metrics,
    ) -> Result<Self, OpenError> {
        let incarnation = Uuid::new_v4().simple().to_string();
        let name = match replica {
            "" => NAME.to_owned(),
            replica => format!("{NAME}-{replica}"),
        };
        let (spool, recovered) = Spool::open(directory, &name, &incarnation, settings)?;
        if let Some(before) = recovered
            .predecessor
            .filter(|before| before.damaged || before.unaccounted.is_some())
        {
            tracing::warn!(
                ?before,
                "the audit spool was not closed; its first record says what is not known"
            );
        }
        Ok(Self {
            spool: Arc::new(spool),
            name,
            incarnation,
            clock,
            requests: metrics.counters(
                "kms_requests",
                "Operations of the key API and changes by operators, by operation",
            ),
            refusals: metrics.counters("kms_refusals", "Refused ones of these, by code"),
        })
    }

    /// Refuses an operation, before it has any effect, that could not be recorded now.
    pub(crate) fn ready(&self) -> Result<(), Refusal> {
        match self.spool.status().refusing {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// Records an operation, and answers when the record is durable where a restore would have to replay it: a stop that was
    /// answered is never lost.
    pub(crate) async fn record_stop(&self, entry: Entry<'_>) -> Result<Recorded, Refusal> {
        let replayed = entry.refused.is_none() && stops::is_replayed(entry.operation);
        let recorded = self.record(entry)?;
        if replayed {
            let spool = self.spool.clone();
            let flushed = tokio::task::spawn_blocking(move || spool.flush()).await;
            match flushed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(error) => return Err(Refusal::internal(error.to_string())),
            }
        }
        Ok(recorded)
    }

    /// For what stops something, which was done and could not be recorded: the log has to do.
    pub(super) fn unrecorded(&self, id: &Uuid, operation: &str, refusal: &Refusal) -> Recorded {
        let detail = refusal.detail.as_deref().unwrap_or_default();
        tracing::error!(request_id = %id, operation, detail, "what was stopped is not on record");
        Recorded(())
    }

    /// Where the record is: everything up to here is durable.
    pub(crate) fn position(&self) -> AuditPosition {
        AuditPosition {
            incarnation: self.incarnation.clone(),
            sequence: self.spool.status().durable,
        }
    }

    /// Records an operation.
    pub(crate) fn record(&self, entry: Entry<'_>) -> Result<Recorded, Refusal> {
        self.count(entry.operation, entry.refused);
        let policies: Vec<String> = entry.decided.policies.into_iter().collect();
        let trace = entry.headers.get("traceparent").and_then(|value| value.to_str().ok());
        let draft = Draft {
            outcome: match entry.refused {
                Some(code) => Outcome::Refused { code: code.into() },
                None => Outcome::Performed,
            },
            caller: entry.caller.into(),
            tenant: entry.account.into(),
            profile: Some(entry.operation.into()),
            key: entry.decided.key.map(Into::into),
            kid: entry.decided.kid.map(Into::into),
            digest: entry.digest.or(entry.decided.digest),
            policies: policies.into(),
            plugins: Vec::new(),
            request_id: entry.request_id,
            trace_id: trace.and_then(TraceId::from_traceparent),
            time_ms: self.clock.now_ms(),
        };
        Ok(self.spool.append(&draft).map(|_| Recorded(()))?)
    }

    pub(crate) fn count(&self, operation: &str, refused: Option<&str>) {
        let label = |name, value: &str| Label {
            name,
            value: value.to_owned(),
        };
        self.requests.get_or_create(&label("operation", operation)).inc();
        if let Some(code) = refused {
            self.refusals.get_or_create(&label("code", code)).inc();
        }
    }

    /// What brings the records to the audit log: the spool, and the process that writes it.
    pub(crate) fn source(&self) -> (Arc<Spool>, Chain) {
        let own = Chain {
            edge: self.name.clone(),
            incarnation: self.incarnation.clone(),
        };
        (self.spool.clone(), own)
    }

    /// Records what happened to the audit trail itself.
    pub(crate) fn alarm(&self, what: &str) {
        let recorded = self.record(Entry {
            operation: what,
            caller: "signet",
            account: "authority",
            decided: Decided::default(),
            digest: None,
            refused: None,
            request_id: Uuid::new_v4(),
            headers: &HeaderMap::new(),
        });
        if let Err(refusal) = recorded {
            let detail = refusal.detail.unwrap_or_default();
            tracing::error!(what, detail, "what happened to the audit trail is not on record");
        }
    }

    /// Writes what is waiting and lets go of the directory. Blocks on the disk.
    pub(crate) fn close(&self) {
        self.spool.close();
    }
}

impl From<SpoolError> for Refusal {
    fn from(error: SpoolError) -> Self {
        Self {
            message: "the audit record could not be written; try again".into(),
            ..Self::internal(error.to_string())
        }
    }
}
