//! `POST /v1/reports/unused|rotation|access|usage?tenant=T`.

use bytes::Bytes;
use http::{Response, StatusCode};
use policies::engine::{AdminAction, AdminResource};
use serde::Deserialize;
use serde_json::json;

use super::answer::{self, Failure};
use super::{Admin, Decisions};
use crate::fault::Fault;
use crate::keys::{MAX_DAYS, Page, People, Question};
use crate::names::Tenant;
use crate::paths::Scope;

/// Days that unused keys are looked for at most: ten years.
const MAX_UNUSED_DAYS: u64 = 3650;
/// Characters of what names a key or a page's end.
const MAX_NAME: usize = 512;

/// Which report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Unused,
    Rotation,
    Access,
    Usage,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    days: Option<u64>,
    key: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

impl Kind {
    /// The last part of its path.
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "unused" => Some(Self::Unused),
            "rotation" => Some(Self::Rotation),
            "access" => Some(Self::Access),
            "usage" => Some(Self::Usage),
            _ => None,
        }
    }

    /// Keys of a page, where nothing is asked and at most. A review of access decides for each principal and operation.
    fn limits(self) -> (usize, usize) {
        match self {
            Self::Access => (10, 50),
            _ => (100, 500),
        }
    }

    fn max_days(self) -> u64 {
        match self {
            Self::Unused => MAX_UNUSED_DAYS,
            _ => MAX_DAYS,
        }
    }
}

impl Request {
    fn question(self, kind: Kind) -> Result<Question, Fault> {
        let invalid = |message: String| Err(Fault::invalid("bad_request", message));
        let (default, most) = kind.limits();
        let days = self.days.unwrap_or(MAX_DAYS);
        if !(1..=kind.max_days()).contains(&days) {
            return invalid(format!("`days` is 1 to {}, not {days}", kind.max_days()));
        }
        let limit = self.limit.unwrap_or(default);
        if !(1..=most).contains(&limit) {
            return invalid(format!("`limit` is 1 to {most}, not {limit}"));
        }
        if kind == Kind::Usage && self.key.is_some() {
            return invalid(
                "usage is counted for each tenant and operation, not for a key: leave `key` out".to_owned(),
            );
        }
        let names = [("key", &self.key), ("after", &self.after)];
        for (name, value) in names {
            let fits = |text: &String| (1..=MAX_NAME).contains(&text.len()) && !text.contains(char::is_control);
            if !value.as_ref().is_none_or(fits) {
                return invalid(format!("`{name}` has 1 to {MAX_NAME} characters"));
            }
        }
        Ok(Question {
            days,
            key: self.key,
            limit,
            after: self.after,
        })
    }
}

impl Admin {
    pub(super) async fn report(
        &self,
        decisions: &Decisions,
        kind: Kind,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Response<Bytes>, Failure> {
        let tenant = super::tenant(query)?;
        decisions.allow(AdminAction::ReadReports, AdminResource::Tenant(tenant.as_str()))?;
        let body = if body.is_empty() { b"{}" } else { body };
        let question = answer::parse::<Request>(body)?.question(kind)?;
        if !self.vault.has_kek(&Scope::Tenant(tenant.clone())).await? {
            return Err(Fault::not_found(format!("there is no tenant `{tenant}`")).into());
        }
        let keys = &self.keys;
        let Page { rows, next } = match kind {
            Kind::Unused => keys.report_unused(&tenant, decisions, &question).await?,
            Kind::Rotation => keys.report_rotation(&tenant, decisions, &question).await?,
            Kind::Usage => keys.report_usage(&tenant, &question).await?,
            Kind::Access => self.access(decisions, &tenant, &question).await?,
        };
        answer::json(StatusCode::OK, &json!({ "rows": rows, "next": next }))
    }

    /// With everyone whom the account is known to have: stopped access keys may be started again, so they count.
    async fn access(&self, decisions: &Decisions, tenant: &Tenant, question: &Question) -> Result<Page, Failure> {
        let access_keys = self.access_keys.list(tenant).await?;
        let users = access_keys
            .iter()
            .filter_map(|key| Some((key.user.as_deref()?, key.role.as_str())));
        let in_force = self.bundles.in_force();
        let roles = in_force.bundle.roles.iter();
        let roles = roles
            .filter(|role| role.tenant == tenant.as_str())
            .map(|role| role.name.as_str());
        let people = People {
            known: &People::of_account(tenant, users, roles),
            engine: &in_force.engine,
        };
        Ok(self.keys.report_access(tenant, decisions, &people, question).await?)
    }
}
