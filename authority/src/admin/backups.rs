//! `POST /v1/backups`, `POST /v1/backups/{id}/next`, `GET`, `PUT /v1/backup-key`, `GET /v1/seal`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Response, StatusCode};
use policies::engine::{AdminAction, AdminResource};
use serde::Deserialize;
use serde_json::json;
use signing::encoding::from_hex;
use signing::key::Secret;

use super::answer::{self, Failure};
use super::{Admin, Decisions};
use crate::backup::{self, BackupKey, Circumstances};
use crate::fault::Fault;
use crate::keys::Gate;
use crate::unseal;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRequest {
    key: BackupKey,
    /// 64 hexadecimal digits.
    authentication: String,
}

impl Admin {
    pub(super) async fn begin_backup(&self, decisions: &Decisions) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::MakeBackup, AdminResource::Authority)?;
        let circumstances = Circumstances {
            trust_domain: self.issuer.trust_domain().to_owned(),
            now: self.clock.now(),
            audit: Some(self.recorder.position()),
        };
        let (header, head) = self.backups.begin(circumstances).await?;
        tracing::info!(backup = header.id, revision = header.revision, "a backup begins");
        let shape = json!({ "header": header, "data_base64": STANDARD.encode(head) });
        answer::json(StatusCode::CREATED, &shape)
    }

    pub(super) async fn next_of_backup(&self, decisions: &Decisions, id: &str) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::MakeBackup, AdminResource::Authority)?;
        let piece = self.backups.next(id).await?;
        let shape = json!({
            "data_base64": STANDARD.encode(piece.bytes),
            "rows": piece.rows,
            "last": piece.last,
        });
        answer::json(StatusCode::OK, &shape)
    }

    pub(super) async fn get_backup_key(&self, decisions: &Decisions) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::MakeBackup, AdminResource::Authority)?;
        let key = backup::read_key(&self.vault).await?.map(|(key, _)| key);
        answer::json(StatusCode::OK, &json!({ "backup_key": key }))
    }

    pub(super) async fn put_backup_key(&self, decisions: &Decisions, body: &[u8]) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::SetBackupKey, AdminResource::Authority)?;
        let request: KeyRequest = answer::parse(body)?;
        let secret = from_hex(&request.authentication).map(Secret::new);
        let secret = secret.ok_or_else(|| Fault::invalid("bad_request", "`authentication` is not hexadecimal"))?;
        let key = (&request.key, &secret);
        let set = backup::set_key(&self.vault, self.keys.approvals(), key, &decisions.requester()).await;
        if let Err(Fault::Denied { policies, .. }) = &set {
            policies.iter().for_each(|policy| decisions.note(policy));
        }
        if let Some(id) = set?.id() {
            decisions.note(&format!("approval:{id}"));
        }
        tracing::warn!(key = request.key.id, "a backup key is in force");
        answer::json(StatusCode::OK, &json!({ "backup_key": request.key }))
    }

    pub(super) async fn seal(&self, decisions: &Decisions) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::MakeBackup, AdminResource::Authority)?;
        let reason = self.seal.reason();
        let shape = json!({
            "sealed": reason.is_some(),
            "message": reason.as_ref().map(ToString::to_string),
            "why": reason,
            "unsealings": unseal::history(&self.vault).await?,
        });
        answer::json(StatusCode::OK, &shape)
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;
    use http::{HeaderMap, HeaderValue};
    use signing::approval::Decision;
    use signing::digest::sha256;
    use signing::encoding::hex;

    use super::super::AdminToken;
    use super::*;
    use crate::approvals::{Domain, REQUIRED, SafeguardChange};
    use crate::testing::Bench;

    /// A request of the operator `root`.
    fn operator(admin: &Admin) -> Decisions {
        let token = AdminToken::new(&hex(&sha256(b"token"))).unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer token"))]);
        Decisions::new(token.verify(&headers).unwrap(), &admin.bundles, &admin.clock)
    }

    /// What the answer says, and what goes on record about an approval.
    async fn put(admin: &Admin, body: &[u8]) -> (Result<(), &'static str>, Option<String>) {
        let decisions = operator(admin);
        let answer = admin.put_backup_key(&decisions, body).await;
        let noted = decisions.decided().policies;
        let approval = noted.iter().find_map(|policy| policy.strip_prefix("approval:"));
        (
            answer.map(drop).map_err(|failure| failure.code()),
            approval.map(str::to_owned),
        )
    }

    // R28: the admin token alone does not come by the keys of every tenant.
    #[tokio::test]
    async fn the_admin_token_alone_sets_no_backup_key_where_there_is_a_quorum() {
        let bench = Bench::new().await;
        let admin = bench.admin().await;
        let body = || {
            let made = backup::make_key(3, 2, bench.now()).unwrap();
            let secret = hex(made.authentication.expose());
            json!({ "key": made.key, "authentication": secret })
                .to_string()
                .into_bytes()
        };
        assert_eq!(put(&admin, &body()).await, (Ok(()), None), "no quorum, nothing to ask");
        let first = backup::read_key(&admin.vault).await.unwrap().unwrap().0;
        let approvals = admin.keys.approvals();
        let ada = signing::key::SigningKey::generate(signing::Algorithm::EdDsa).unwrap();
        let pem = signing::certificate::pem_encode("PUBLIC KEY", ada.public().unwrap().to_spki_der());
        let quorum = SafeguardChange::Quorum {
            required: 1,
            lifetime: 60,
        };
        for change in [SafeguardChange::add("ada", &pem, Vec::new(), 0).unwrap(), quorum] {
            let changed = approvals.change(&Domain::Authority, &change, "operator:root").await;
            changed.unwrap();
        }
        let second = body();
        let (refused, id) = put(&admin, &second).await;
        assert_eq!(refused, Err(REQUIRED));
        let id = id.unwrap();
        assert_eq!(backup::read_key(&admin.vault).await.unwrap().unwrap().0, first);
        let asked = approvals.get(&id).await.unwrap();
        let message = asked.statement(approvals.trust_domain()).message(Decision::Approve);
        let signature = ada.sign(&message).unwrap();
        let voice = approvals.hear(&id, ada.kid(), Decision::Approve, &signature).await;
        approvals.count(voice.unwrap()).await.unwrap();
        assert_eq!(put(&admin, &second).await, (Ok(()), Some(id)));
        assert_ne!(backup::read_key(&admin.vault).await.unwrap().unwrap().0, first);
        assert_eq!(put(&admin, &body()).await.0, Err(REQUIRED));
    }
}
