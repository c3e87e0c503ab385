//! Reports over a tenant's keys in all regions: which are unused, which version still decrypts, who may and who did, and
//! what was asked for. A page is of so many keys, in the order of their rows; its rows are flat objects.

use policies::engine::AdminAction;
use serde_json::{Value, json};

use super::decide::Facts;
use super::usage::tally::{DAYS, Opened, first_day};
use super::usage::{Operations, Tally};
use super::{Family, Gate, KeyRecord, Keys, KmsError, RotationKind, Session};
use crate::clock::rfc3339;
use crate::crypto::KeySpec;
use crate::names::Tenant;
use crate::paths;
use crate::rotation::Version;
use crate::sealed::Held;

pub use self::access::People;

mod access;

const SECONDS_PER_DAY: u64 = 86_400;
/// Days that counts go back.
pub const MAX_DAYS: u64 = DAYS;

/// What a report is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Days back, today (UTC) among them; for unused keys full days.
    pub days: u64,
    /// One key, by any of its names; none: all of the tenant.
    pub key: Option<String>,
    /// Keys of a page (days, for the report of what was asked for), at least 1.
    pub limit: usize,
    /// The [`Page::next`] of the page before.
    pub after: Option<String>,
}

/// One page of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Flat objects; times are RFC 3339, none is `null`.
    pub rows: Vec<Value>,
    /// Where the next page begins; none: this was the last.
    pub next: Option<String>,
}

impl Keys {
    /// Keys that nothing was done with for `days` days, or that were made that long ago and never used. Keys that edges sign
    /// with are not in it: their use is on record at the edges.
    ///
    /// # Errors
    /// [`KmsError`] of the key's name, or of the store.
    pub async fn report_unused(&self, tenant: &Tenant, gate: &dyn Gate, asked: &Question) -> Result<Page, KmsError> {
        let (keys, next) = self.page_of_keys(tenant, gate, asked).await?;
        let mut rows = Vec::new();
        for key in keys
            .iter()
            .map(|key| &key.value)
            .filter(|key| key.family == Family::Raw)
        {
            let used = self.use_of(key).await?;
            let since = used.as_ref().map_or(key.created_at, |used| used.at);
            let idle = self.clock.now().saturating_sub(since) / SECONDS_PER_DAY;
            if idle < asked.days {
                continue;
            }
            let mut row = head(key);
            add(&mut row, "spec", json!(key.spec));
            add(&mut row, "state", json!(key.state.as_str()));
            add(&mut row, "contact", json!(key.contact()));
            add(&mut row, "created_at", json!(rfc3339(key.created_at)));
            add(
                &mut row,
                "last_operation",
                json!(used.as_ref().map(|used| &used.operation)),
            );
            add(&mut row, "last_used", json!(used.as_ref().map(|used| rfc3339(used.at))));
            add(&mut row, "unused_days", json!(idle));
            rows.push(row);
        }
        Ok(Page { rows, next })
    }

    /// Each version of each symmetric key, with its part of the decryptions.
    ///
    /// # Errors
    /// As [`Keys::report_unused`].
    pub async fn report_rotation(&self, tenant: &Tenant, gate: &dyn Gate, asked: &Question) -> Result<Page, KmsError> {
        let (keys, next) = self.page_of_keys(tenant, gate, asked).await?;
        let mut rows = Vec::new();
        let rotates = |key: &&KeyRecord| key.family == Family::Raw && key.spec == KeySpec::SymmetricDefault;
        for key in keys.iter().map(|key| &key.value).filter(rotates) {
            let used = self.use_of(key).await?.unwrap_or_default();
            let opened = |version: &Version| used.opened(version.number, asked.days, self.clock.now());
            let all = key.versions.iter().map(|version| opened(version).decrypted);
            let all = all.fold(0, u64::saturating_add);
            let current = key.current().map(|version| version.number);
            for version in &key.versions {
                let Opened { decrypted, moved } = opened(version);
                let mut row = head(key);
                add(&mut row, "version", json!(version.number));
                add(&mut row, "material_id", json!(version.kid));
                add(&mut row, "made_by", json!(made_by(key, version)));
                add(&mut row, "made_at", json!(rfc3339(version.publish_at)));
                add(&mut row, "current", json!(current == Some(version.number)));
                add(&mut row, "decryptions", json!(decrypted));
                add(&mut row, "share", json!(share(decrypted, all)));
                add(&mut row, "reencryptions", json!(moved));
                add(&mut row, "last_used", json!(last_opened(&used, version)));
                rows.push(row);
            }
        }
        Ok(Page { rows, next })
    }

    /// What the tenant's callers asked for, by day and operation.
    ///
    /// # Errors
    /// [`KmsError`] of the store.
    pub async fn report_usage(&self, tenant: &Tenant, asked: &Question) -> Result<Page, KmsError> {
        self.write_uses().await?;
        let prefix = paths::activities(tenant);
        let before = paths::activity(tenant, first_day(self.clock.now(), asked.days).saturating_sub(1));
        let after = asked
            .after
            .as_ref()
            .map(|day| format!("{prefix}{day}"))
            .unwrap_or_default();
        let days = self
            .vault
            .page::<Operations>(&prefix, Some(&after.max(before)), asked.limit)
            .await?;
        let next = next(&days, &prefix, asked.limit);
        let mut rows = Vec::new();
        for (path, row) in days {
            let number: u64 = path
                .strip_prefix(&prefix)
                .and_then(|day| day.parse().ok())
                .unwrap_or_default();
            let day = rfc3339(number.saturating_mul(SECONDS_PER_DAY));
            for (operation, counts) in row.value {
                rows.push(json!({
                    "tenant": tenant,
                    "day": day.get(..10),
                    "operation": operation,
                    "performed": counts.performed,
                    "failed": counts.failed,
                }));
            }
        }
        Ok(Page { rows, next })
    }

    /// The keys of a page.
    async fn page_of_keys(
        &self,
        tenant: &Tenant,
        gate: &dyn Gate,
        asked: &Question,
    ) -> Result<(Vec<Held<KeyRecord>>, Option<String>), KmsError> {
        if let Some(reference) = &asked.key {
            return Ok((vec![self.named(tenant, gate, reference).await?], None));
        }
        let prefix = paths::keys(tenant);
        let after = asked.after.as_ref().map(|row| format!("{prefix}{row}"));
        let keys = self.vault.page(&prefix, after.as_deref(), asked.limit).await?;
        let next = next(&keys, &prefix, asked.limit);
        Ok((keys.into_iter().map(|(_, key)| key).collect(), next))
    }

    /// A key by any of its names; an ARN says its region.
    async fn named(&self, tenant: &Tenant, gate: &dyn Gate, reference: &str) -> Result<Held<KeyRecord>, KmsError> {
        let session = Session {
            tenant,
            verb: "DescribeKey",
            action: AdminAction::DescribeKey,
            gate,
        };
        let region = reference
            .strip_prefix("arn:aws:kms:")
            .and_then(|rest| rest.split(':').next());
        let there = self.in_region(region.unwrap_or(&self.region));
        there.find(&session, reference, &Facts::default()).await
    }
}

/// What every row about a key begins with.
fn head(key: &KeyRecord) -> Value {
    json!({
        "tenant": key.tenant,
        "region": key.region,
        "key": key.id,
        "aliases": key.aliases,
        "owner": key.owner(),
    })
}

fn add(row: &mut Value, name: &str, value: Value) {
    if let Some(members) = row.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// The last row's name, where there may be more.
fn next<T>(rows: &[(String, T)], prefix: &str, limit: usize) -> Option<String> {
    let last = rows.last().filter(|_| rows.len() >= limit)?;
    last.0.strip_prefix(prefix).map(str::to_owned)
}

/// What made a version.
fn made_by(key: &KeyRecord, version: &Version) -> &'static str {
    let rotated = key
        .rotation
        .history
        .iter()
        .find(|rotated| rotated.version == version.number);
    match rotated.map(|rotated| rotated.kind) {
        Some(RotationKind::Automatic) => "automatic rotation",
        Some(RotationKind::OnDemand) => "rotation on demand",
        None if key.imports.pending == Some(version.number) => "import, pending rotation",
        None if key.origin == super::Origin::External => "import",
        None => "creation",
    }
}

fn last_opened(used: &Tally, version: &Version) -> Option<String> {
    let of = used.versions.get(&version.number)?;
    Some(rfc3339(of.last_at))
}

/// `part` of `whole`, to four places; none of nothing.
fn share(part: u64, whole: u64) -> Option<f64> {
    let parts = u128::from(part).saturating_mul(10_000).checked_div(u128::from(whole))?;
    Some(f64::from(u32::try_from(parts).unwrap_or(u32::MAX)) / 10_000.0)
}
