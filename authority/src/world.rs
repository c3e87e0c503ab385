//! What edges are told: keys, bundle and edges as the store last had them, with a log of what changed when.
//!
//! Read from the store while the authority serves already: with very many keys that takes seconds, in which streams wait and nothing
//! is due. Then kept by commits as they become known here, this process's own and those of others on the
//! same store. Where one is missing everything is read anew. Nothing here is a decision: whoever hands out a key or a certificate
//! reads the store itself.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use node::contract;
use signing::revocation::Rule;
use tokio::sync::{broadcast, watch};

use self::state::{State, read, read_one};
use crate::edges::{EdgeRecord, EdgeState};
use crate::fault::Fault;
use crate::halts::Halts;
use crate::keys::KeyRecord;
use crate::names::Tenant;
use crate::sealed::{Committed, Vault};

mod announce;
mod state;

/// Between two tries to read everything anew when that failed.
const RELOAD_PAUSE: Duration = Duration::from_millis(250);

/// How long a caller waits for the view to show what the store holds.
const CATCH_UP: Duration = Duration::from_secs(2);

/// No delegation lives longer, seconds: the bound of `delegation.lifetime`, and the day of a clock that was wrong.
const LONGEST_DELEGATION: u64 = 8 * 86_400;

/// What a change was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A key, by the name of its row.
    Key(String),
    /// An edge, by id.
    Edge(String),
    /// The published bundle, and the rollouts of its plugins.
    Bundle,
    /// What operators have stopped, by name.
    Halt(String),
    /// That what edges have decided by was withdrawn.
    Floor,
}

/// The one view that all watch streams share.
#[derive(Debug)]
pub struct World {
    vault: Arc<Vault>,
    state: RwLock<State>,
    grown: watch::Sender<u64>,
}

/// What a stream has to send next: one state of the world, whole.
#[derive(Clone, Debug)]
pub struct Update {
    /// The revision it brings the edge to.
    pub revision: u64,
    /// The latest revision that withdrew what bundles before it permitted.
    pub floor: u64,
    /// What operators have stopped.
    pub halts: Arc<Halts>,
    /// Whether `keys` are all there are: the stream is too far behind, or new. Else those that changed, in order.
    pub everything: bool,
    /// Keys, as they are now.
    pub keys: Vec<Arc<contract::Key>>,
    /// The bundle, if one is published and it may have changed.
    pub bundle: Option<Arc<contract::Bundle>>,
}

impl World {
    /// Knows nothing yet; answers the commits that [`World::follow`] is to begin with.
    pub fn new(vault: Arc<Vault>) -> (Arc<Self>, broadcast::Receiver<Committed>) {
        let commits = vault.commits();
        let world = Self {
            vault,
            state: RwLock::default(),
            grown: watch::channel(0).0,
        };
        (Arc::new(world), commits)
    }

    /// Reads everything, then keeps the view until the process ends. `on_bundle` is told when a bundle was published, by this process or another.
    pub async fn follow(self: Arc<Self>, mut commits: broadcast::Receiver<Committed>, on_bundle: impl Fn() + Send) {
        self.reload().await;
        loop {
            let before = self.bundle_digest();
            let taken = match commits.recv().await {
                // Everything was read anew after it.
                Ok(commit) if commit.revision <= self.revision() => continue,
                Ok(commit) if commit.before == self.revision() => self.apply(&commit).await,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => Err(Fault::internal("commits were missed")),
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if taken.is_err() {
                self.reload().await;
            }
            if self.bundle_digest() != before {
                on_bundle();
            }
        }
    }

    /// Waits until the view shows what the store holds now, and answers that revision.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] where that takes longer than [`CATCH_UP`]: the store cannot be read, or the view lags.
    pub async fn catch_up(&self) -> Result<u64, Fault> {
        let shown = tokio::time::timeout(CATCH_UP, async {
            let revision = self.vault.store().revision().await?;
            let mut grown = self.grown.subscribe();
            // The sender is this view's own. What is borrowed must not live on: it is a lock.
            grown.wait_for(|shown| *shown >= revision).await.map(drop).ok();
            Ok(revision)
        });
        shown.await.unwrap_or_else(|_| {
            Err(Fault::Unavailable {
                part: "view",
                detail: "what the store holds is still being read; try again".to_owned(),
            })
        })
    }

    /// The revision that the view shows, now and as it grows.
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// The revision that the view shows.
    pub fn revision(&self) -> u64 {
        *self.grown.borrow()
    }

    /// Whose key an id is, as far as is known here.
    pub fn tenant_of(&self, key_id: &str) -> Option<Tenant> {
        self.read(|state| state.keys.get(key_id).map(|known| known.tenant.clone()))
    }

    /// The keys whose rows make something due at `now`, and those with announced versions that `wanted` picks, with their tenants: row names.
    pub fn keys_due(&self, now: u64, wanted: impl Fn(&KeyRecord) -> bool) -> Vec<(Tenant, String)> {
        self.read(|state| {
            let due = |known: &state::Known| known.due_at.is_some_and(|at| at <= now);
            let wanted = |known: &state::Known| known.shared.as_deref().is_some_and(&wanted);
            let keys = state.keys.iter().filter(|(_, known)| due(known) || wanted(known));
            keys.map(|(row, known)| (known.tenant.clone(), row.clone())).collect()
        })
    }

    /// How many keys there are.
    pub fn key_count(&self) -> usize {
        self.read(|state| state.keys.len())
    }

    /// How long leases of these keys are, milliseconds: of those that edges sign with.
    pub fn lease_lengths(&self, keys: &[String]) -> Vec<(Arc<str>, u64)> {
        self.read(|state| {
            let known = keys.iter().filter_map(|id| Some((id, state.keys.get(id)?)));
            let told = known.filter(|(_, known)| known.is_told);
            told.map(|(id, known)| (id.as_str().into(), known.lease_ms)).collect()
        })
    }

    /// The keys that edges sign with, of one tenant or of all, and the longest of their leases, milliseconds.
    pub fn leased(&self, tenant: Option<&Tenant>) -> (BTreeSet<String>, u64) {
        self.read(|state| {
            let of = |known: &&state::Known| known.is_told && tenant.is_none_or(|tenant| known.tenant == *tenant);
            let keys = state.keys.iter().filter(|(_, known)| of(known));
            let longest = keys.clone().map(|(_, known)| known.lease_ms).max();
            (keys.map(|(id, _)| id.clone()).collect(), longest.unwrap_or(0))
        })
    }

    /// Which of these keys an edge may sign with that has acknowledged `acknowledged`: none while it decides by what was
    /// withdrawn since.
    pub fn signable(&self, edge: &str, acknowledged: u64, keys: &[(Arc<str>, u64)]) -> Vec<(Arc<str>, u64)> {
        self.read(|state| {
            if acknowledged < state.floor {
                return Vec::new();
            }
            let signs = |id: &str| {
                state.keys.get(id).is_some_and(|known| {
                    known.announced.state() == contract::KeyState::Enabled
                        && known.is_told
                        && !state.halts.has_tenant(known.tenant.as_str())
                        && !state.halts.has_delegation(id, edge)
                })
            };
            keys.iter().filter(|(id, _)| signs(id)).cloned().collect()
        })
    }

    /// What verifiers are to refuse: kids of compromised versions, and delegations of compromised keys, of revoked edges, and
    /// those that are withdrawn at `now` (Unix seconds).
    pub fn revoked(&self, now: u64) -> (u64, Vec<String>, Vec<Rule>) {
        self.read(|state| {
            let told = state.keys.values().filter(|known| known.is_told);
            let versions = told.clone().flat_map(|known| &known.announced.versions);
            let kids = versions
                .filter(|version| version.compromised)
                .map(|version| version.kid.clone());
            // Older delegations have ended by themselves.
            let counts = |at: u64| at.saturating_add(LONGEST_DELEGATION) > now;
            let keys = told.filter_map(|known| Some((&known.announced.id, known.compromised_at?)));
            let keys = keys.filter(|(_, at)| counts(*at)).map(|(id, at)| Rule {
                key: Some(id.clone()),
                edge: None,
                issued_until: at,
            });
            // Also of one that has enrolled anew: whoever had its keys has them still.
            let edges = state
                .edges
                .values()
                .filter_map(|edge| Some((&edge.id, edge.last_revoked()?)));
            let edges = edges.filter(|(_, at)| counts(*at)).map(|(id, at)| Rule {
                key: None,
                edge: Some(id.to_string()),
                issued_until: at,
            });
            let withdrawn = state.halts.delegations().map(|(key, edge)| Rule {
                key: Some(key),
                edge,
                issued_until: now,
            });
            (
                state.revision,
                kids.collect(),
                keys.chain(edges).chain(withdrawn).collect(),
            )
        })
    }

    /// What operators have stopped.
    pub fn halts(&self) -> Arc<Halts> {
        self.read(|state| state.halts.clone())
    }

    /// An edge as last seen.
    pub fn edge(&self, id: &str) -> Option<EdgeRecord> {
        self.read(|state| state.edges.get(id).cloned())
    }

    /// Whether edges are told of a rollout.
    pub fn has_rollout(&self, id: &str) -> bool {
        self.read(|state| {
            let told = state.bundle.iter().flat_map(|bundle| &bundle.rollouts);
            told.into_iter().any(|rollout| rollout.id == id)
        })
    }

    /// A file or a component that the bundle or a rollout names, by its SHA-256; none where they do not.
    pub fn object(&self, digest: &[u8; 32]) -> Option<Bytes> {
        self.read(|state| state.objects.get(digest).cloned())
    }

    /// Whether everything has been read once.
    pub fn is_loaded(&self) -> bool {
        self.revision() > 0
    }

    /// What an edge that has applied `revision` is to be sent; none when nothing, and before everything has been read.
    pub fn since(&self, revision: u64) -> Option<Update> {
        self.read(|state| {
            if state.revision == 0 {
                return None;
            }
            if revision == state.revision && revision >= state.log_from && revision > 0 {
                return None;
            }
            if revision == 0 || revision < state.log_from || revision > state.revision {
                return Some(state.everything());
            }
            Some(state.changes(revision))
        })
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the next commit in. An error means that the view does not know what happened and must be read anew.
    async fn apply(&self, commit: &Committed) -> Result<(), Fault> {
        let mut fresh = Vec::new();
        for path in commit.paths.iter() {
            fresh.extend(read_one(&self.vault, path).await?);
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for (item, value) in fresh {
            state.set(item.clone(), value, commit.revision);
            state.log.push_back((commit.revision, item));
        }
        state.revision = commit.revision;
        state.trim();
        drop(state);
        self.grown.send_replace(commit.revision);
        Ok(())
    }

    fn bundle_digest(&self) -> Option<String> {
        self.read(|state| state.bundle.as_ref().map(|bundle| bundle.digest.clone()))
    }

    /// Reads everything anew, until that succeeds.
    pub(crate) async fn reload(&self) {
        loop {
            match read(&self.vault).await {
                Ok(state) => {
                    let revision = state.revision;
                    *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
                    self.grown.send_replace(revision);
                    return;
                }
                Err(fault) => {
                    fault.log("watch");
                    tokio::time::sleep(RELOAD_PAUSE).await;
                }
            }
        }
    }
}

/// Whether an edge may have anything, as far as the view knows.
pub(crate) fn revocation(edge: Option<&EdgeRecord>) -> Option<String> {
    match edge.map(|edge| &edge.state) {
        Some(EdgeState::Revoked { reason, .. }) => Some(reason.clone()),
        _ => None,
    }
}
