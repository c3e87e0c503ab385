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
        backup::write_key(&self.vault, &request.key, &secret).await?;
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
