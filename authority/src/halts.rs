//! Emergency stops: everything, a tenant, a caller, or a key's delegation. To stop takes nobody's approval; to resume takes
//! the quorum of whoever it concerns, where there is one.
//!
//! A stop is a row of its own, so that what it stops is as it was when it is resumed. Each one also raises the floor: an edge
//! gets no lease until it has acknowledged it, whatever it decided before.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use node::contract;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::approvals::{Approvals, Domain, Parameters, Wanted};
use crate::clock::Clock;
use crate::edges::EdgeRecord;
use crate::fault::Fault;
use crate::names::{EdgeId, Tenant, shown};
use crate::paths::{self, Scope};
use crate::sealed::{Change, Held, Vault};

/// Bytes of a caller's id and of a reason.
const MAX_CALLER: usize = 256;
const MAX_REASON: usize = 256;
/// Stops of callers and of delegations at once: edges are told all of them. A tenant, or everything, can always be stopped.
const MOST: usize = 1_000;

/// What is stopped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Halt {
    /// All keys and callers of all tenants.
    Everything,
    /// A tenant's keys and callers.
    Tenant(Tenant),
    /// A caller of edges, by the id that records show.
    Caller(String),
    /// The delegation of a key to one edge, or to all.
    Delegation {
        /// The key's id.
        key: String,
        /// The edge; none: all.
        edge: Option<EdgeId>,
    },
}

impl Halt {
    /// Reads `all`, `tenant/T`, `caller/ID`, `delegation/KEY` or `delegation/KEY/EDGE`.
    ///
    /// # Errors
    /// [`Fault::Invalid`] for anything else.
    pub fn parse(name: &str) -> Result<Self, Fault> {
        let invalid = || {
            let message = format!(
                "`{}` is none of all, tenant/T, caller/ID, delegation/KEY and delegation/KEY/EDGE",
                shown(name)
            );
            Fault::invalid("bad_request", message)
        };
        let (kind, rest) = name.split_once('/').unwrap_or((name, ""));
        match kind {
            "all" if rest.is_empty() => Ok(Self::Everything),
            "tenant" => Tenant::parse(rest).map(Self::Tenant),
            "caller" if (1..=MAX_CALLER).contains(&rest.len()) && !rest.contains(char::is_control) => {
                Ok(Self::Caller(rest.to_owned()))
            }
            "delegation" => {
                let (key, edge) = match rest.split_once('/') {
                    Some((key, edge)) => (key, Some(EdgeId::parse(edge)?)),
                    None => (rest, None),
                };
                let is_id = uuid::Uuid::try_parse(key).is_ok_and(|id| id.to_string() == key);
                let key = Some(key.to_owned()).filter(|_| is_id).ok_or_else(invalid)?;
                Ok(Self::Delegation { key, edge })
            }
            _ => Err(invalid()),
        }
    }

    /// Refuses what could stop nobody: a caller is `oidc:ISSUER#SUBJECT` or a SPIFFE ID.
    pub fn demand_possible(&self) -> Result<(), Fault> {
        match self {
            Self::Caller(id) if !is_caller(id) => Err(Fault::invalid(
                "bad_request",
                format!(
                    "`{}` is no caller's id, and would stop nobody; write it as records have it, oidc:ISSUER#SUBJECT or spiffe://…",
                    shown(id)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whose approvers are asked before it is resumed: the tenant's own, or those of the whole service.
    fn domain(&self) -> Domain {
        match self {
            Self::Tenant(tenant) => Domain::Tenant(tenant.clone()),
            _ => Domain::Authority,
        }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("all"),
            Self::Tenant(tenant) => write!(f, "tenant/{tenant}"),
            Self::Caller(id) => write!(f, "caller/{id}"),
            Self::Delegation { key, edge: None } => write!(f, "delegation/{key}"),
            Self::Delegation { key, edge: Some(edge) } => write!(f, "delegation/{key}/{edge}"),
        }
    }
}

fn is_caller(id: &str) -> bool {
    let oidc = id.strip_prefix("oidc:").and_then(|rest| rest.split_once('#'));
    id.starts_with("spiffe://") || oidc.is_some_and(|(issuer, subject)| !issuer.is_empty() && !subject.is_empty())
}

/// A stop as stored; its name is its row's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaltRecord {
    /// Why, in the operator's words.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Unix seconds.
    pub at: u64,
}

/// A row that is written to raise the floor and for nothing else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Floor {
    /// Unix seconds.
    pub at: u64,
}

/// What stands, for those who ask whether something is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Halts(BTreeSet<String>);

impl Halts {
    /// Notes that a stop stands, or that it does not.
    pub(crate) fn set(&mut self, name: &str, stands: bool) {
        if stands {
            self.0.insert(name.to_owned());
        } else {
            self.0.remove(name);
        }
    }

    /// Whether a tenant's keys are stopped.
    pub fn has_tenant(&self, tenant: &str) -> bool {
        !self.0.is_empty() && (self.0.contains("all") || self.0.contains(&format!("tenant/{tenant}")))
    }

    /// Whether an edge may not have a key.
    pub fn has_delegation(&self, key: &str, edge: &str) -> bool {
        let of_key = format!("delegation/{key}");
        !self.0.is_empty() && (self.0.contains(&of_key) || self.0.contains(&format!("{of_key}/{edge}")))
    }

    /// How much is stopped, for `/readyz`, which anybody reads: callers and keys are not named.
    pub fn shape(&self) -> Value {
        let of = |kind: &str| self.0.iter().filter(|name| name.starts_with(kind)).count();
        json!({
            "everything": self.0.contains("all"),
            "tenants": of("tenant/"),
            "callers": of("caller/"),
            "delegations": of("delegation/"),
        })
    }

    /// How many stand.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is stopped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Withdrawn delegations: the key's id, and the edge's where it is of one.
    pub fn delegations(&self) -> impl Iterator<Item = (String, Option<String>)> {
        self.0.iter().filter_map(|name| match Halt::parse(name) {
            Ok(Halt::Delegation { key, edge }) => Some((key, edge.map(|edge| edge.to_string()))),
            _ => None,
        })
    }

    /// As an edge is told.
    pub fn told(&self, edge: &str) -> contract::Stops {
        let mut told = contract::Stops::default();
        for name in &self.0 {
            match Halt::parse(name) {
                Ok(Halt::Everything) => told.everything = true,
                Ok(Halt::Tenant(tenant)) => told.tenants.push(tenant.to_string()),
                Ok(Halt::Caller(id)) => told.callers.push(id),
                Ok(Halt::Delegation { key, edge: None }) => told.key_ids.push(key),
                Ok(Halt::Delegation { key, edge: Some(of) }) if of.as_str() == edge => told.key_ids.push(key),
                Ok(Halt::Delegation { .. }) => {}
                // Better too much is stopped than too little.
                Err(_) => told.everything = true,
            }
        }
        told
    }
}

/// Stops and resumes.
pub struct Stopping {
    vault: Arc<Vault>,
    approvals: Arc<Approvals>,
    clock: Clock,
}

impl Stopping {
    /// Over the authority's state.
    pub fn new(vault: Arc<Vault>, approvals: Arc<Approvals>, clock: Clock) -> Self {
        Self {
            vault,
            approvals,
            clock,
        }
    }

    /// Stops something: durable when answered, with the revision that did it. Stopping it twice changes nothing.
    pub async fn stop(&self, halt: &Halt, reason: &str, by: &str) -> Result<u64, Fault> {
        if reason.len() > MAX_REASON || reason.contains(char::is_control) {
            let message = format!("`reason` has at most {MAX_REASON} printable bytes");
            return Err(Fault::invalid("bad_request", message));
        }
        if let Halt::Delegation { edge: Some(edge), .. } = halt
            && self.vault.get::<EdgeRecord>(&paths::edge(edge)).await?.is_none()
        {
            return Err(Fault::not_found(format!("there is no edge `{edge}`")));
        }
        if let Halt::Tenant(tenant) = halt
            && !self.vault.has_kek(&Scope::Tenant(tenant.clone())).await?
        {
            let message =
                format!("there is no tenant `{tenant}`, so nothing was stopped; `signet tenants list` has them");
            return Err(Fault::not_found(message));
        }
        let record = HaltRecord {
            reason: reason.to_owned(),
            by: by.to_owned(),
            at: self.clock.now(),
        };
        let (path, record) = (&paths::halt(halt), &record);
        let attempt = || async move {
            if let Some(held) = self.vault.get::<HaltRecord>(path).await? {
                return Ok(held.stamp.revision);
            }
            if matches!(halt, Halt::Caller(_) | Halt::Delegation { .. }) && self.small().await? >= MOST {
                let message = format!("{MOST} stops stand; resume one, or stop the tenant");
                return Err(Fault::state("conflict", message));
            }
            self.vault.commit(Change::new().create(path, record)).await
        };
        let revision = self.vault.retry(attempt).await?;
        tracing::warn!(stopped = %halt, reason, "stopped");
        Ok(revision)
    }

    /// How many callers and delegations are stopped.
    async fn small(&self) -> Result<usize, Fault> {
        let mut count: usize = 0;
        for kind in ["caller/", "delegation/"] {
            let of_kind = format!("{}{kind}", paths::HALTS);
            let rows = self.vault.store().scan(&of_kind, None, MOST).await?;
            count = count.saturating_add(rows.len());
        }
        Ok(count)
    }

    /// Takes a stop back, which takes the quorum where there is one; answers what approved it.
    ///
    /// # Errors
    /// [`Fault::Denied`] where it was not approved; [`Fault::NotFound`] where it does not stand.
    pub async fn resume(&self, halt: &Halt, by: &str) -> Result<Option<String>, Fault> {
        let path = paths::halt(halt);
        let missing = || Fault::not_found(format!("`{}` is not stopped", shown(&halt.to_string())));
        let held = self.vault.get::<HaltRecord>(&path).await?.ok_or_else(missing)?;
        let (domain, resource) = (halt.domain(), halt.to_string());
        let wanted = Wanted {
            domain: &domain,
            region: "",
            operation: "Resume",
            resource: &resource,
            parameters: Parameters::default().with("StoppedBecause", held.value.reason),
            requester: by,
            lifetime: None,
        };
        let approved = self.approvals.demand(&wanted).await?;
        let change = Change::new().unchanged(&path, held.stamp).delete(&path);
        self.vault.commit(approved.spend(change)).await?;
        tracing::warn!(resumed = %halt, "resumed");
        Ok(approved.id().map(|id| format!("approval:{id}")))
    }

    /// All that stands, by name.
    pub async fn list(&self) -> Result<Vec<(String, HaltRecord)>, Fault> {
        let rows = self.vault.all::<HaltRecord>(paths::HALTS).await?;
        let named = rows.into_iter().map(|(path, held)| {
            let name = path.strip_prefix(paths::HALTS).unwrap_or(&path);
            (name.to_owned(), held.value)
        });
        Ok(named.collect())
    }
}

/// The row of a stop, where it stands.
pub(crate) async fn find(vault: &Vault, halt: &Halt) -> Result<Option<Held<HaltRecord>>, Fault> {
    vault.get(&paths::halt(halt)).await
}

/// Whether a tenant's keys are stopped, as the store has it now.
pub(crate) async fn stands(vault: &Vault, tenant: &Tenant) -> Result<bool, Fault> {
    let tenant = Halt::Tenant(tenant.clone());
    let (everything, tenant) = tokio::try_join!(find(vault, &Halt::Everything), find(vault, &tenant))?;
    Ok(everything.is_some() || tenant.is_some())
}

/// The stops that keep edges from a key, by name, as the store has them now.
pub(crate) async fn of_key(vault: &Vault, tenant: &Tenant, key: &str) -> Result<Vec<String>, Fault> {
    if vault.store().scan(paths::HALTS, None, 1).await?.is_empty() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for halt in [Halt::Everything, Halt::Tenant(tenant.clone())] {
        if find(vault, &halt).await?.is_some() {
            names.push(halt.to_string());
        }
    }
    let withdrawn = format!("{}delegation/{key}", paths::HALTS);
    let rows = vault.all::<HaltRecord>(&withdrawn).await?;
    names.extend(
        rows.iter()
            .filter_map(|(path, _)| Some(path.strip_prefix(paths::HALTS)?.to_owned())),
    );
    Ok(names)
}

/// Refuses a delegation that is stopped, as the store has it now.
pub(crate) async fn demand_delegable(vault: &Vault, tenant: &Tenant, key: &str, edge: &EdgeId) -> Result<(), Fault> {
    if vault.store().scan(paths::HALTS, None, 1).await?.is_empty() {
        return Ok(());
    }
    let key = key.to_owned();
    let halts = [
        Halt::Everything,
        Halt::Tenant(tenant.clone()),
        Halt::Delegation {
            key: key.clone(),
            edge: None,
        },
        Halt::Delegation {
            key,
            edge: Some(edge.clone()),
        },
    ];
    for halt in halts {
        if find(vault, &halt).await?.is_some() {
            return Err(Fault::state("key_disabled", format!("`{halt}` is stopped")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0d6a2f6e-8a5c-4f0e-9d5b-2f4c8a3b1c22";

    #[test]
    fn what_would_stop_nobody_is_refused() {
        let stops = |id: &str| Halt::parse(&format!("caller/{id}")).unwrap().demand_possible();
        for id in ["oidc:https://ci.example#repo:a/b", "spiffe://example.org/ci/build"] {
            assert!(stops(id).is_ok(), "{id}");
        }
        for id in [
            "https://ci.example#repo:a/b",
            "oidc:https://ci.example",
            "oidc:#a",
            "garbage",
        ] {
            let said = stops(id).unwrap_err().to_string();
            assert!(said.contains("oidc:ISSUER#SUBJECT"), "{said}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in [
            "all".to_owned(),
            "tenant/000000000001".to_owned(),
            "caller/oidc:https://issuer.example#repo:a/b".to_owned(),
            format!("delegation/{KEY}"),
            format!("delegation/{KEY}/edge-1"),
        ] {
            assert_eq!(Halt::parse(&name).unwrap().to_string(), name);
        }
        for bad in [
            "",
            "all/x",
            "everything",
            "tenant/1",
            "caller/",
            "caller/a\u{7}",
            &format!("caller/{}", "a".repeat(257)),
            "delegation/",
            "delegation/../x",
            &format!("delegation/{}", KEY.to_uppercase()),
            &format!("delegation/{KEY}/"),
            &format!("delegation/{KEY}/edge-1/x"),
        ] {
            assert!(Halt::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_edge_is_told_what_concerns_it() {
        let mut halts = Halts::default();
        assert!(!halts.has_tenant("000000000001") && halts.told("edge-1") == contract::Stops::default());
        halts.set("tenant/000000000001", true);
        halts.set("caller/x", true);
        halts.set(&format!("delegation/{KEY}/edge-1"), true);
        assert!(halts.has_tenant("000000000001") && !halts.has_tenant("000000000002"));
        assert!(halts.has_delegation(KEY, "edge-1") && !halts.has_delegation(KEY, "edge-2"));
        let told = halts.told("edge-1");
        assert_eq!(
            (told.everything, told.callers, told.key_ids),
            (false, vec!["x".into()], vec![KEY.into()])
        );
        assert!(halts.told("edge-2").key_ids.is_empty());
        halts.set("all", true);
        assert!(halts.has_tenant("000000000002") && halts.told("edge-2").everything);
        halts.set("all", false);
        assert!(!halts.has_tenant("000000000002"));
    }
}
