//! Leases as this authority grants them, and fences: whether what was stopped can still be signed with, by whom and until
//! when at most. The rules are in [`node::lease`]; the HSM is not asked for anything here.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use node::boottime;
use node::lease::{Awaited, Grants, Holder, LONGEST_MS, Scope};

use crate::edges::{EdgeRecord, EdgeState};
use crate::fault::Fault;
use crate::halts::{self, Floor, Halt};
use crate::keys::KeyRecord;
use crate::names::{EdgeId, shown};
use crate::paths;
use crate::sealed::Vault;
use crate::world::World;

/// The leases of all edges.
#[derive(Debug)]
pub struct Leases {
    grants: Mutex<Grants>,
}

/// What was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A key that is disabled, pending deletion or compromised, by id.
    Key(String),
    /// A revoked edge.
    Edge(EdgeId),
    /// A stop.
    Halt(Halt),
    /// The last bundle that was applied with a fence.
    Bundle,
}

/// How a stop stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The revision that stopped it.
    pub committed: u64,
    /// Who may still sign; nobody: it is fenced.
    pub awaited: Vec<Awaited>,
    /// How long at most until it is fenced, milliseconds.
    pub left_ms: u64,
}

impl Leases {
    /// Begins to grant. `earlier` are the edges that an authority before this one may have granted leases; `shared`: others
    /// grant on the same store.
    pub fn new(earlier: BTreeSet<String>, shared: bool) -> Self {
        Self {
            grants: Mutex::new(Grants::new(boottime::now_ms(), earlier, shared)),
        }
    }

    /// See [`Grants::begin`].
    #[must_use]
    pub fn begin(&self, holder: &Holder, acknowledged: u64, keys: &[(Arc<str>, u64)]) -> bool {
        self.grants().begin(holder, acknowledged, keys, boottime::now_ms())
    }

    /// See [`Grants::acknowledge`].
    pub fn acknowledge(&self, holder: &Holder, revision: u64) {
        self.grants().acknowledge(holder, revision);
    }

    /// Forgets what has ended; answers how many leases run.
    pub fn sweep(&self) -> usize {
        self.grants().sweep(boottime::now_ms())
    }

    /// How a stop stands, as the store has it now.
    ///
    /// # Errors
    /// [`Fault::State`] where it is not stopped, [`Fault::NotFound`] where it is not there, [`Fault::Unavailable`] while it is not
    /// known yet which keys there are and how long their leases.
    pub async fn fence(&self, vault: &Vault, world: &World, subject: &Subject) -> Result<Fence, Fault> {
        // Whose leases it is about is read from the view: one that lags misses some.
        world.catch_up().await?;
        let (committed, scope) = match subject {
            Subject::Key(id) => stopped_key(vault, world, id).await?,
            Subject::Edge(id) => (revoked_edge(vault, id).await?, everywhere(world, None, Some(id))),
            Subject::Halt(halt) => {
                let held = halts::find(vault, halt).await?;
                let held = held.ok_or_else(|| not_stopped(&format!("`{halt}`")))?;
                (held.stamp.revision, scope_of(world, halt))
            }
            Subject::Bundle => {
                let held = vault.get::<Floor>(paths::FLOOR).await?;
                let held = held.ok_or_else(|| {
                    Fault::not_found("no bundle was applied with a fence; `signet bundle apply --fence` does")
                })?;
                (held.stamp.revision, everywhere(world, None, None))
            }
        };
        let now = boottime::now_ms();
        let awaited = self.grants().awaited(&scope, committed, now);
        let until = awaited.iter().map(|one| one.until).max().unwrap_or(now);
        Ok(Fence {
            committed,
            left_ms: until.saturating_sub(now),
            awaited,
        })
    }

    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn stopped_key(vault: &Vault, world: &World, id: &str) -> Result<(u64, Scope), Fault> {
    let missing = || Fault::not_found(format!("there is no key `{}`", shown(id)));
    let tenant = world.tenant_of(id).ok_or_else(missing)?;
    let held = vault.get::<KeyRecord>(&paths::key(&tenant, id)).await?;
    let held = held.ok_or_else(missing)?;
    if held.value.is_enabled() {
        let what = format!("the key `{id}`");
        let stops = halts::of_key(vault, &tenant, id).await?;
        return Err(match stops.first() {
            Some(stop) => Fault::state(
                "conflict",
                format!("{what} is enabled, and `{stop}` stops it: give the command that did that again, with --wait"),
            ),
            None => not_stopped(&what),
        });
    }
    let scope = Scope {
        keys: Some(BTreeSet::from([id.to_owned()])),
        edge: None,
        longest_ms: held.value.lease_ms(),
    };
    Ok((held.stamp.revision, scope))
}

async fn revoked_edge(vault: &Vault, id: &EdgeId) -> Result<u64, Fault> {
    let held = vault.get::<EdgeRecord>(&paths::edge(id)).await?;
    let held = held.ok_or_else(|| Fault::not_found(format!("there is no edge `{id}`")))?;
    match held.value.state {
        EdgeState::Revoked { .. } => Ok(held.stamp.revision),
        EdgeState::Active => Err(not_stopped(&format!("the edge `{id}`"))),
    }
}

fn scope_of(world: &World, halt: &Halt) -> Scope {
    match halt {
        Halt::Everything | Halt::Caller(_) => everywhere(world, None, None),
        Halt::Tenant(tenant) => everywhere(world, Some(tenant), None),
        Halt::Delegation { key, edge } => Scope {
            keys: Some(BTreeSet::from([key.clone()])),
            edge: edge.as_ref().map(ToString::to_string),
            longest_ms: world
                .lease_lengths(std::slice::from_ref(key))
                .first()
                // One that is not known here may have had any.
                .map_or(LONGEST_MS, |(_, ms)| *ms),
        },
    }
}

/// The leases of one tenant's keys or of all, of one edge or of all.
fn everywhere(world: &World, tenant: Option<&crate::names::Tenant>, edge: Option<&EdgeId>) -> Scope {
    let (keys, longest_ms) = world.leased(tenant);
    Scope {
        keys: tenant.map(|_| keys),
        edge: edge.map(ToString::to_string),
        longest_ms,
    }
}

fn not_stopped(what: &str) -> Fault {
    Fault::state(
        "conflict",
        format!("{what} is not stopped, so there is nothing to wait for"),
    )
}
