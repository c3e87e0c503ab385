//! What operators change, or are refused, is on record beside the key API's operations. What stops something happens
//! even where nothing can be recorded; everything else is refused then.

use audit::spool::SpoolError;
use bytes::Bytes;
use http::{HeaderMap, Response};
use node::problem::Problem;
use uuid::Uuid;

use super::access_keys::ChangeKind;
use super::answer::Failure;
use super::{Admin, Decisions, Route};
use crate::keys::{Gate, VERBS};
use crate::kms::{Decided, Entry};

/// Verbs that stop a key or keep it from being deleted.
const STOPS: &[&str] = &[
    "DisableKey",
    "CancelKeyDeletion",
    "HoldKey",
    "MarkKeyCompromised",
    "MarkVersionCompromised",
];

/// One operation, for the record.
pub(super) struct Operation {
    name: &'static str,
    stops: bool,
}

impl Route<'_> {
    /// What it changes; none for what only reads.
    pub(super) fn operation(&self, query: Option<&str>) -> Option<Operation> {
        let (name, stops) = match self {
            Self::Verb(verb) => return of_verb(verb),
            Self::CreateTenant => ("CreateTenant", false),
            Self::CreateAccessKey => ("CreateAccessKey", false),
            Self::ChangeAccessKey(_, ChangeKind::Activate) => ("ActivateAccessKey", false),
            Self::ChangeAccessKey(_, ChangeKind::Deactivate) => ("DeactivateAccessKey", true),
            Self::ChangeAccessKey(_, ChangeKind::Rotate) => ("RotateAccessKey", false),
            Self::DeleteAccessKey(_) => ("DeleteAccessKey", true),
            Self::CreateToken => ("CreateJoinToken", false),
            Self::RevokeEdge(_) => ("RevokeEdge", true),
            Self::PutBundle if query == Some("dry_run=true") => return None,
            Self::PutBundle => ("ApplyBundle", false),
            Self::SetQuorum(_) => ("SetQuorum", false),
            Self::AddApprover(..) => ("AddApprover", false),
            Self::RemoveApprover(..) => ("RemoveApprover", false),
            Self::SetDeletionGuard(_) => ("SetDeletionGuard", false),
            _ => return None,
        };
        Some(Operation { name, stops })
    }
}

fn of_verb(verb: &str) -> Option<Operation> {
    let known = VERBS.iter().find(|(name, _)| *name == verb);
    let name = known.map_or("Unknown", |(name, _)| *name);
    let reads = name == "DescribeKey"
        || name.starts_with("List")
        || (name.starts_with("Get") && name != "GetParametersForImport");
    let stops = STOPS.contains(&name);
    (!reads).then_some(Operation { name, stops })
}

impl Admin {
    /// Refuses, before its effect, what could not be recorded.
    pub(super) fn recordable(&self, operation: &Operation) -> Result<(), Failure> {
        match self.recorder.ready() {
            Err(error) if !operation.stops => Err(unrecorded(&error)),
            _ => Ok(()),
        }
    }

    /// Records what was done or refused; the answer is given only then.
    pub(super) fn recorded(
        &self,
        operation: &Operation,
        decisions: &Decisions,
        (headers, id): (&HeaderMap, Uuid),
        result: Result<Response<Bytes>, Failure>,
    ) -> Result<Response<Bytes>, Failure> {
        let decided = decisions.decided();
        let account = decided.tenant.clone().unwrap_or_default();
        let recorded = self.recorder.record(Entry {
            operation: &format!("admin:{}", operation.name),
            caller: &decisions.requester(),
            account: &account,
            decided,
            refused: result.as_ref().err().map(Failure::code),
            request_id: id,
            headers,
        });
        match recorded {
            Err(error) if operation.stops => {
                tracing::error!(request_id = %id, %error, "`{}` is not on record", operation.name);
                result
            }
            Err(error) => Err(unrecorded(&error)),
            Ok(_) => result,
        }
    }

    /// Records what an approver decided about a request.
    pub(super) fn recorded_voice(
        &self,
        operation: &str,
        approver: &str,
        (account, decided): (&str, Decided),
        (headers, id): (&HeaderMap, Uuid),
        refused: Option<&str>,
    ) -> Result<(), Failure> {
        let recorded = self.recorder.record(Entry {
            operation,
            caller: &format!("approver:{approver}"),
            account,
            decided,
            refused,
            request_id: id,
            headers,
        });
        recorded.map(drop).map_err(|error| unrecorded(&error))
    }
}

pub(super) fn unrecorded(error: &SpoolError) -> Failure {
    let problem = Problem::new("audit_unavailable", "the audit record could not be written; try again");
    problem.logged(error.to_string()).into()
}
