//! What operators do, or are refused, is on record beside the key API's operations. What stops something happens even where
//! nothing can be recorded; everything else that changes something is refused then.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, Response};
use node::problem::Problem;
use signing::encoding::from_hex;
use uuid::Uuid;

use super::access_keys::ChangeKind;
use super::answer::Failure;
use super::{Admin, Decisions, Route};
use crate::keys::{Gate, VERBS};
use crate::kms::{Decided, Entry};
use crate::names::shown;
use crate::stops::{needs_no_record, operation};

/// One operation, as far as its request tells.
pub(super) struct Operation<'a> {
    name: String,
    /// The edge, the access key or the approver.
    named: Option<Cow<'a, str>>,
    tenant: String,
}

impl<'a> Operation<'a> {
    /// None for what is only looked at, but for the key verbs, which are all on record, and for samples of requests.
    pub(super) fn of(route: &Route<'a>, tenant: Option<String>, body: &[u8], dry_run: bool) -> Option<Self> {
        let mut tenant = tenant.unwrap_or_default();
        let (name, named) = match route {
            Route::Verb(verb) => {
                let known = VERBS.iter().find(|(known, _)| known == verb);
                let verb = known.map_or("Unknown", |(name, _)| *name);
                return Some(Self {
                    name: format!("kms:{verb}"),
                    named: None,
                    tenant,
                });
            }
            Route::CreateTenant => ("admin:CreateTenant", None),
            Route::SetTenantCustody(id) => safeguard(&mut tenant, id, "admin:SetTenantCustody", None),
            Route::CreateAccessKey => ("admin:CreateAccessKey", None),
            Route::ChangeAccessKey(id, change) => (access_key_change(*change, body), Some(*id)),
            Route::Stop => return Some(Self::about_stop(operation::STOP, body)),
            Route::Resume => return Some(Self::about_stop(operation::RESUME, body)),
            Route::DeleteAccessKey(id) => (operation::DELETE_ACCESS_KEY, Some(*id)),
            Route::CreateToken => ("admin:CreateJoinToken", None),
            Route::AddEdgeTrust(name) => ("admin:AddEdgeTrust", Some(*name)),
            Route::RemoveEdgeTrust(name) => (operation::REMOVE_EDGE_TRUST, Some(*name)),
            Route::RevokeEdgeTrust(name) => (operation::REVOKE_EDGE_TRUST, Some(*name)),
            Route::RevokeEdge(id) => (operation::REVOKE_EDGE, Some(*id)),
            Route::PutBundle if !dry_run => (operation::APPLY_BUNDLE, None),
            Route::StartRollout(plugin) if !dry_run => (operation::START_ROLLOUT, Some(*plugin)),
            Route::PromoteRollout(plugin) => (operation::PROMOTE_ROLLOUT, Some(*plugin)),
            Route::AbortRollout(plugin) => (operation::ABORT_ROLLOUT, Some(*plugin)),
            Route::ReadSamples => ("admin:ReadSamples", None),
            Route::BeginBackup => ("admin:MakeBackup", None),
            Route::PutBackupKey => ("admin:SetBackupKey", None),
            Route::SetQuorum(domain) => safeguard(&mut tenant, domain, operation::SET_QUORUM, None),
            Route::AddApprover(domain, name) => safeguard(&mut tenant, domain, operation::ADD_APPROVER, Some(*name)),
            Route::RemoveApprover(domain, name) => {
                safeguard(&mut tenant, domain, operation::REMOVE_APPROVER, Some(*name))
            }
            Route::SetDeletionGuard(domain) => safeguard(&mut tenant, domain, operation::SET_DELETION_GUARD, None),
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            named: named.map(Cow::Borrowed),
            tenant,
        })
    }

    fn about_stop(name: &str, body: &[u8]) -> Self {
        let named = super::stops::named(body);
        Self {
            name: name.to_owned(),
            tenant: named.strip_prefix("tenant/").unwrap_or_default().to_owned(),
            named: Some(named.into()),
        }
    }

    fn stops(&self) -> bool {
        needs_no_record(&self.name)
    }
}

/// A change of what holds for a whole domain.
fn safeguard<'a>(
    tenant: &mut String,
    domain: &str,
    operation: &'static str,
    approver: Option<&'a str>,
) -> (&'static str, Option<&'a str>) {
    *tenant = shown(domain);
    (operation, approver)
}

fn access_key_change(change: ChangeKind, body: &[u8]) -> &'static str {
    let stops_old = || {
        let body: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        body.is_some_and(|body| body.get("deactivate_old").and_then(serde_json::Value::as_bool) == Some(true))
    };
    match change {
        ChangeKind::Activate => operation::ACTIVATE_ACCESS_KEY,
        ChangeKind::Deactivate => operation::DEACTIVATE_ACCESS_KEY,
        ChangeKind::Rotate if stops_old() => operation::REPLACE_ACCESS_KEY,
        ChangeKind::Rotate => operation::ROTATE_ACCESS_KEY,
    }
}

impl Admin {
    /// Refuses, before its effect, what could not be recorded.
    pub(super) fn demand_record(&self, operation: Option<&Operation<'_>>) -> Result<(), Failure> {
        match operation {
            Some(operation) if !operation.stops() => {
                self.recorder.ready().map_err(|refusal| unrecorded(refusal.detail))
            }
            _ => Ok(()),
        }
    }

    /// Records what was done or refused; the answer is given only then.
    pub(super) async fn recorded(
        &self,
        operation: &Operation<'_>,
        decisions: &Decisions,
        (headers, id): (&HeaderMap, Uuid),
        result: Result<Response<Bytes>, Failure>,
    ) -> Result<Response<Bytes>, Failure> {
        let mut decided = decisions.decided();
        match &operation.named {
            // Checked where it was read, and read again by a restore: whole.
            Some(Cow::Owned(named)) => decided.key = Some(named.clone()),
            Some(Cow::Borrowed(named)) => decided.key = Some(shown(named)),
            None => {}
        }
        let account = decided.tenant.clone().unwrap_or_else(|| operation.tenant.clone());
        let caller = decisions.requester();
        let recorded = self.recorder.record_stop(Entry {
            operation: &operation.name,
            caller: &caller,
            account: &account,
            decided,
            digest: self.published(operation),
            refused: result.as_ref().err().map(Failure::code),
            request_id: id,
            headers,
        });
        match recorded.await {
            Err(refusal) if operation.stops() => {
                let detail = refusal.detail.unwrap_or_default();
                tracing::error!(request_id = %id, detail, "`{}` is not on record", operation.name);
                result
            }
            Err(refusal) => Err(unrecorded(refusal.detail)),
            Ok(_) => result,
        }
    }

    /// The digest of the bundle that an operation put in force, or left there.
    fn published(&self, of: &Operation<'_>) -> Option<[u8; 32]> {
        if ![operation::APPLY_BUNDLE, operation::PROMOTE_ROLLOUT].contains(&of.name.as_str()) {
            return None;
        }
        let in_force = self.bundles.in_force();
        let digest = in_force.published.as_ref().map(|published| published.digest.clone())?;
        from_hex(&digest)?.try_into().ok()
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
            digest: None,
            refused,
            request_id: id,
            headers,
        });
        recorded.map(drop).map_err(|refusal| unrecorded(refusal.detail))
    }
}

pub(super) fn unrecorded(detail: Option<String>) -> Failure {
    Problem::new("audit_unavailable", "the audit record could not be written; try again")
        .logged(detail.unwrap_or_default())
        .into()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use http::Request;
    use node::listen::{Handler, Peer, Protocol};
    use serde_json::{Value, json};
    use signing::digest::sha256;
    use signing::encoding::hex;

    use super::super::{AdminToken, Operators};
    use super::*;
    use crate::testing::{self, Bench};

    #[tokio::test]
    async fn what_a_caller_does_not_wait_for_is_done_whole_and_recorded() {
        let bench = Bench::new().await;
        let mut admin = bench.admin().await;
        let recorder = admin.recorder.clone();
        admin.token = AdminToken::new(&hex(&sha256(b"token"))).unwrap();
        let operators = Operators(Arc::new(admin));
        let peer = Peer {
            address: SocketAddr::from(([192, 0, 2, 7], 4711)),
            protocol: Protocol::Http2,
            certificates: Arc::from([]),
            secure: true,
        };
        let request = Request::post("/v1/tenants")
            .header("authorization", "Bearer token")
            .body(Bytes::from(json!({"id": "000000000077"}).to_string()))
            .unwrap();
        {
            let mut call = Box::pin(operators.handle(request, &peer));
            let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(
                matches!(polled, Poll::Pending),
                "the caller goes away before it is answered"
            );
        }
        while Arc::strong_count(&operators.0) > 1 {
            tokio::task::yield_now().await;
        }
        tokio::task::spawn_blocking(move || recorder.close()).await.unwrap();
        let tail = audit::read::tail(&testing::config(bench.dir()).audit_dir(), false).unwrap();
        let records = tail.map(|record| serde_json::from_str::<Value>(&record.unwrap().to_json()).unwrap());
        let done: Vec<_> = records
            .filter(|record| record["profile"] == "admin:CreateTenant")
            .collect();
        assert!(
            matches!(&done[..], [record] if record["outcome"] == "performed"),
            "{done:?}"
        );
    }

    #[tokio::test]
    async fn the_record_of_a_version_names_it_and_a_tenants_custody_is_on_record() {
        let bench = Bench::new().await;
        let id = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
        let mut admin = bench.admin().await;
        let recorder = admin.recorder.clone();
        admin.token = AdminToken::new(&hex(&sha256(b"token"))).unwrap();
        let described = bench.verb("DescribeKey", json!({"KeyId": id})).await.unwrap();
        let kid = described["KeyMetadata"]["Signet"]["Versions"][0]["Kid"].clone();
        let send = async |method: &str, path: &str, body: Value| {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("authorization", "Bearer token")
                .body(Bytes::new())
                .unwrap();
            let (head, _) = request.into_parts();
            match admin.answer(&head, body.to_string().as_bytes(), Uuid::nil()).await {
                Ok(response) => response.status().as_u16(),
                Err(failure) => failure.into_response("").status().as_u16(),
            }
        };
        let mark = "/v1/keys/MarkVersionCompromised?tenant=000000000001";
        assert_eq!(send("POST", mark, json!({"KeyId": id, "Kid": kid})).await, 200);
        let custody = "/v1/tenants/000000000001/custody";
        assert_eq!(send("PUT", custody, json!({"custody": "token"})).await, 200);
        assert_eq!(send("PUT", custody, json!({"custody": "pocket"})).await, 400);
        assert_eq!(
            send("PUT", "/v1/tenants/000000000009/custody", json!({"custody": "token"})).await,
            404
        );
        tokio::task::spawn_blocking(move || recorder.close()).await.unwrap();
        let tail = audit::read::tail(&testing::config(bench.dir()).audit_dir(), false).unwrap();
        let records: Vec<_> = tail
            .map(|record| serde_json::from_str::<Value>(&record.unwrap().to_json()).unwrap())
            .filter(|record| record["profile"].is_string())
            .collect();
        let marked = &records[0];
        assert_eq!(
            (&marked["profile"], &marked["key"], &marked["kid"]),
            (&json!("kms:MarkVersionCompromised"), &json!(id), &kid)
        );
        let outcomes: Vec<_> = records[1..]
            .iter()
            .map(|record| {
                (
                    record["profile"].as_str().unwrap(),
                    record["tenant"].as_str().unwrap(),
                    record["outcome"].as_str().unwrap(),
                )
            })
            .collect();
        let of = |tenant: &'static str, outcome: &'static str| ("admin:SetTenantCustody", tenant, outcome);
        assert_eq!(
            outcomes,
            [
                of("000000000001", "performed"),
                of("000000000001", "refused"),
                of("000000000009", "refused")
            ]
        );
    }
}
