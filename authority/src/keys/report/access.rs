//! Who may use a key, and who did.

use policies::engine::{AccountFacts, AccountKind, AdminAction, AdminResource, Engine};
use serde_json::{Value, json};

use super::{Page, Question, add, head};
use crate::clock::rfc3339;
use crate::iam;
use crate::keys::grant::{GrantRecord, operations};
use crate::keys::usage::{OTHERS, Tally};
use crate::keys::{Caller, Gate, KeyRecord, Keys, KmsError};
use crate::names::Tenant;
use crate::paths;
use crate::sealed::Held;

/// Grants of one key that are listed; one row says when there are more.
const MAX_GRANTS: usize = 5000;
const GRANTS_AT_ONCE: usize = 500;
/// What ends a key or gives it away, beside what uses it.
const CONTROLS: [&str; 2] = ["PutKeyPolicy", "ScheduleKeyDeletion"];
/// The session of a role that is asked about: which one it is must not matter.
const ANY_SESSION: &str = "any";

/// The principals that an account has, and the policies that are in force for them.
pub struct People<'a> {
    /// Its root, its users, its roles.
    pub known: &'a [AccountFacts],
    /// The policies.
    pub engine: &'a Engine,
}

/// One row's own part.
struct Entry<'a> {
    kind: &'static str,
    effect: &'static str,
    principal: &'a str,
    name: String,
    operations: Vec<String>,
    conditional: bool,
}

impl Keys {
    /// Who may use each key: as decisions for each principal that the account is known to have, as the key policy's
    /// statements and as grants; and who did. Decisions are those of a request without an encryption context or any other
    /// fact that conditions could ask about.
    ///
    /// # Errors
    /// [`KmsError`] of the key's name, or of the store.
    pub async fn report_access(
        &self,
        tenant: &Tenant,
        gate: &dyn Gate,
        people: &People<'_>,
        asked: &Question,
    ) -> Result<Page, KmsError> {
        let (keys, next) = self.page_of_keys(tenant, gate, asked).await?;
        let mut rows = Vec::new();
        for key in &keys {
            let used = self.use_of(&key.value).await?.unwrap_or_default();
            let reviewed: Vec<&str> = operations(&key.value).into_iter().chain(CONTROLS).collect();
            for who in people.known {
                let may = self.permitted(people.engine, who, key, &reviewed).await?;
                if !may.is_empty() {
                    rows.push(row(&key.value, &used, decision(&named(who), may)));
                }
            }
            for outline in self.policy(key)?.outline(&reviewed) {
                for entry in statements(&outline) {
                    rows.push(row(&key.value, &used, entry));
                }
            }
            self.grants(&key.value, &used, &mut rows).await?;
            rows.extend(uses(&key.value, &used));
        }
        Ok(Page { rows, next })
    }

    /// Which of the operations a principal's request would be permitted, as requests are decided.
    async fn permitted(
        &self,
        engine: &Engine,
        who: &AccountFacts,
        key: &Held<KeyRecord>,
        reviewed: &[&str],
    ) -> Result<Vec<String>, KmsError> {
        let role = (who.kind == AccountKind::Role).then(|| named(who));
        let principal = iam::Caller::new(&who.arn, role.as_deref());
        let Ok(principal) = principal else {
            return Ok(Vec::new());
        };
        let caller = Caller {
            principal,
            facts: iam::Context::new(),
        };
        let (facts, now) = (key.value.facts(), self.clock.now());
        let here = self.in_region(&key.value.region);
        let grants = here.grants_to(&key.value, &caller).await?;
        let mut permitted = Vec::new();
        for operation in reviewed {
            let action = AdminAction::KEYS
                .iter()
                .find(|action| action.kms_name() == Some(operation));
            let Some(action) = action else { continue };
            let access = here.access_by(*action, &caller, key, &grants)?;
            let decided = engine.authorize_keys(who, *action, AdminResource::Key(&facts), access, now);
            if decided.is_ok() {
                permitted.push((*operation).to_owned());
            }
        }
        Ok(permitted)
    }

    async fn grants(&self, key: &KeyRecord, used: &Tally, rows: &mut Vec<Value>) -> Result<(), KmsError> {
        let prefix = paths::grants(&key.tenant, &key.row());
        let (mut after, mut listed) = (None, 0_usize);
        loop {
            let page = self
                .vault
                .page::<GrantRecord>(&prefix, after.as_deref(), GRANTS_AT_ONCE)
                .await?;
            let last = page.len() < GRANTS_AT_ONCE;
            after = page.last().map(|(path, _)| path.clone());
            listed = listed.saturating_add(page.len());
            for (_, grant) in page {
                let grant = grant.value;
                let entry = Entry {
                    kind: "grant",
                    effect: "allow",
                    principal: &grant.grantee,
                    name: grant.id,
                    operations: grant.operations,
                    conditional: !grant.constraints.is_empty(),
                };
                rows.push(row(key, used, entry));
            }
            if last {
                return Ok(());
            }
            if listed >= MAX_GRANTS {
                let name = format!("more than {MAX_GRANTS} grants: list them with ListGrants");
                let entry = Entry {
                    name,
                    ..Entry::new("grant", "allow", OTHERS)
                };
                rows.push(row(key, used, entry));
                return Ok(());
            }
        }
    }
}

impl<'a> Entry<'a> {
    fn new(kind: &'static str, effect: &'static str, principal: &'a str) -> Self {
        Self {
            kind,
            effect,
            principal,
            name: String::new(),
            operations: Vec::new(),
            conditional: false,
        }
    }
}

impl<'a> People<'a> {
    /// The root of an account, its users and its roles, each once. `users` are names with the role each access key has;
    /// `roles` are names.
    pub fn of_account<'u>(
        tenant: &Tenant,
        users: impl IntoIterator<Item = (&'u str, &'u str)>,
        roles: impl IntoIterator<Item = &'u str>,
    ) -> Vec<AccountFacts> {
        let facts = |kind: AccountKind, arn: String, name: &str, role: &str| AccountFacts {
            arn,
            tenant: tenant.to_string(),
            kind,
            name: name.to_owned(),
            role: role.to_owned(),
            session: None,
            issuer: None,
            subject: None,
        };
        let mut all = vec![facts(AccountKind::Root, format!("arn:aws:iam::{tenant}:root"), "", "")];
        all.extend(users.into_iter().map(|(name, role)| {
            let arn = format!("arn:aws:iam::{tenant}:user/{name}");
            facts(AccountKind::User, arn, name, role)
        }));
        all.extend(roles.into_iter().map(|name| {
            let arn = format!("arn:aws:sts::{tenant}:assumed-role/{name}/{ANY_SESSION}");
            facts(AccountKind::Role, arn, name, "")
        }));
        all.sort_by(|a, b| (&a.arn, &a.role).cmp(&(&b.arn, &b.role)));
        all.dedup();
        all
    }
}

/// A principal's ARN; of a role its own, not a session's.
fn named(who: &AccountFacts) -> String {
    match who.kind {
        AccountKind::Role => format!("arn:aws:iam::{}:role/{}", who.tenant, who.name),
        AccountKind::Root | AccountKind::User => who.arn.clone(),
    }
}

fn decision(principal: &str, operations: Vec<String>) -> Entry<'_> {
    Entry {
        operations,
        ..Entry::new("decision", "allow", principal)
    }
}

fn statements(outline: &iam::Outline) -> impl Iterator<Item = Entry<'_>> {
    let effect = if outline.allows { "allow" } else { "deny" };
    let name = match outline.all_but {
        true => format!("{} (everyone but)", outline.name),
        false => outline.name.clone(),
    };
    outline.principals.iter().map(move |principal| Entry {
        name: name.clone(),
        operations: outline.operations.clone(),
        conditional: outline.conditional,
        ..Entry::new("statement", effect, principal)
    })
}

/// Who did.
fn uses<'a>(key: &'a KeyRecord, used: &'a Tally) -> impl Iterator<Item = Value> + 'a {
    let known = used.principals.iter().map(move |(principal, did)| {
        let counted = did
            .operations
            .iter()
            .map(|(operation, count)| format!("{operation}={count}"));
        let entry = Entry {
            operations: counted.collect(),
            ..Entry::new("use", "", principal)
        };
        row(key, used, entry)
    });
    let others = (used.others.uses > 0).then(|| row(key, used, Entry::new("use", "", OTHERS)));
    known.chain(others)
}

/// A row, with what its principal did.
fn row(key: &KeyRecord, used: &Tally, entry: Entry<'_>) -> Value {
    let did = used.principals.get(entry.principal);
    let others = (entry.kind == "use" && entry.principal == OTHERS).then_some(&used.others);
    let mut row = head(key);
    add(&mut row, "kind", json!(entry.kind));
    add(&mut row, "effect", json!(entry.effect));
    add(&mut row, "principal", json!(entry.principal));
    add(&mut row, "name", json!(entry.name));
    add(&mut row, "operations", json!(entry.operations));
    add(&mut row, "conditional", json!(entry.conditional));
    let uses = did.map(|did| did.uses()).or(others.map(|others| others.uses));
    let last = did.map(|did| did.last_at).or(others.map(|others| others.last_at));
    add(&mut row, "uses", json!(uses.unwrap_or(0)));
    add(&mut row, "first_used", json!(did.map(|did| rfc3339(did.first_at))));
    add(&mut row, "last_used", json!(last.map(rfc3339)));
    row
}
