//! What edges are told: keys, bundle and edges as the store last had them, with a log of what changed when.
//!
//! Read from the store while the authority serves already: with very many keys that takes seconds, in which streams wait and nothing
//! is due. Then kept by commits as they become known here, this process's own and those of others on the
//! same store. Where one is missing everything is read anew. Nothing here is a decision: whoever hands out a key or a certificate
//! reads the store itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use node::contract;
use tokio::sync::{broadcast, watch};

use crate::edges::{EdgeRecord, EdgeState};
use crate::fault::Fault;
use crate::keys::{Family, KeyRecord};
use crate::names::Tenant;
use crate::paths;
use crate::sealed::{Committed, Vault};

mod announce;

/// Changes kept for edges that come back: those further behind get a snapshot.
const LOG_LEN: usize = 16_384;
/// Between two tries to read everything anew when that failed.
const RELOAD_PAUSE: Duration = Duration::from_millis(250);

/// What a change was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A key, by the name of its row.
    Key(String),
    /// An edge, by id.
    Edge(String),
    /// The published bundle.
    Bundle,
}

/// A key as edges see it, and whose it is.
#[derive(Clone, Debug)]
struct Known {
    tenant: Tenant,
    announced: Arc<contract::Key>,
    /// Edges sign with it.
    is_told: bool,
    /// When time makes something due that the row alone says, Unix seconds.
    due_at: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// 0: not read yet. An authority's store has more.
    revision: u64,
    keys: BTreeMap<String, Known>,
    edges: BTreeMap<String, EdgeRecord>,
    bundle: Option<Arc<contract::Bundle>>,
    /// Complete for revisions above `log_from`.
    log: VecDeque<(u64, Item)>,
    log_from: u64,
}

/// The one view that all watch streams share.
#[derive(Debug)]
pub struct World {
    vault: Arc<Vault>,
    state: RwLock<State>,
    grown: watch::Sender<u64>,
}

/// What a stream has to send next.
#[derive(Clone, Debug)]
pub enum Update {
    /// Everything: the stream is too far behind, or new.
    Snapshot {
        /// The revision it brings the edge to.
        revision: u64,
        /// All keys.
        keys: Vec<Arc<contract::Key>>,
        /// The bundle, if one is published.
        bundle: Option<Arc<contract::Bundle>>,
    },
    /// What changed, in order.
    Changes {
        /// The revision they bring the edge to.
        revision: u64,
        /// Keys, as they are now.
        keys: Vec<Arc<contract::Key>>,
        /// The bundle, if it changed.
        bundle: Option<Arc<contract::Bundle>>,
    },
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

    /// The keys whose rows make something due at `now`, and those that `wanted` picks, with their tenants: row names.
    pub fn keys_due(&self, now: u64, wanted: impl Fn(&contract::Key) -> bool) -> Vec<(Tenant, String)> {
        self.read(|state| {
            let due = |known: &Known| known.due_at.is_some_and(|at| at <= now);
            let keys = state
                .keys
                .iter()
                .filter(|(_, known)| due(known) || wanted(&known.announced));
            keys.map(|(row, known)| (known.tenant.clone(), row.clone())).collect()
        })
    }

    /// How many keys there are.
    pub fn key_count(&self) -> usize {
        self.read(|state| state.keys.len())
    }

    /// An edge as last seen.
    pub fn edge(&self, id: &str) -> Option<EdgeRecord> {
        self.read(|state| state.edges.get(id).cloned())
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
                return Some(Update::Snapshot {
                    revision: state.revision,
                    keys: state
                        .keys
                        .values()
                        .filter(|known| known.is_told)
                        .map(|known| known.announced.clone())
                        .collect(),
                    bundle: state.bundle.clone(),
                });
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
            state.set(item.clone(), value);
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

/// A row's new content; `None`: it is gone.
enum Fresh {
    Key(Option<Known>),
    Edge(Option<EdgeRecord>),
    Bundle(Option<Arc<contract::Bundle>>),
}

impl State {
    fn set(&mut self, item: Item, fresh: Fresh) {
        match (item, fresh) {
            (Item::Key(id), Fresh::Key(Some(known))) => drop(self.keys.insert(id, known)),
            (Item::Key(id), Fresh::Key(None)) => drop(self.keys.remove(&id)),
            (Item::Edge(id), Fresh::Edge(Some(edge))) => drop(self.edges.insert(id, edge)),
            (Item::Edge(id), Fresh::Edge(None)) => drop(self.edges.remove(&id)),
            (_, Fresh::Bundle(bundle)) => self.bundle = bundle,
            _ => {}
        }
    }

    fn trim(&mut self) {
        while self.log.len() > LOG_LEN {
            if let Some((revision, _)) = self.log.pop_front() {
                self.log_from = revision;
            }
        }
    }

    /// Each key once, as it is now, whatever happened to it in between.
    fn changes(&self, revision: u64) -> Update {
        let (mut seen, mut keys, mut bundle) = (std::collections::BTreeSet::new(), Vec::new(), None);
        for (at, item) in self.log.iter().rev() {
            if *at <= revision {
                break;
            }
            match item {
                Item::Key(id) if seen.insert(id.as_str()) => keys.push(match self.keys.get(id) {
                    Some(known) if !known.is_told => continue,
                    Some(known) => known.announced.clone(),
                    None => Arc::new(contract::Key {
                        id: id.clone(),
                        deleted: true,
                        ..contract::Key::default()
                    }),
                }),
                Item::Bundle => bundle = self.bundle.clone(),
                Item::Key(_) | Item::Edge(_) => {}
            }
        }
        keys.reverse();
        Update::Changes {
            revision: self.revision,
            keys,
            bundle,
        }
    }
}

/// Reads everything. The revision is taken first: what changes while reading is read twice rather than missed.
async fn read(vault: &Vault) -> Result<State, Fault> {
    let revision = vault.store().revision().await?;
    let mut state = State {
        revision,
        log_from: revision,
        ..State::default()
    };
    for (_, held) in vault.all::<KeyRecord>(paths::KEYS).await? {
        state.keys.insert(held.value.row(), known(&held.value));
    }
    for (_, held) in vault.all::<EdgeRecord>(paths::EDGES).await? {
        state.edges.insert(held.value.id.to_string(), held.value);
    }
    state.bundle = crate::bundle::load(vault)
        .await?
        .map(|files| Arc::new(announce::bundle(files)));
    Ok(state)
}

async fn read_one(vault: &Vault, path: &str) -> Result<Option<(Item, Fresh)>, Fault> {
    if let Some(id) = path.strip_prefix(paths::KEYS).and_then(|rest| rest.split('/').nth(1)) {
        let held = vault.get::<KeyRecord>(path).await?;
        return Ok(Some((
            Item::Key(id.to_owned()),
            Fresh::Key(held.map(|held| known(&held.value))),
        )));
    }
    if let Some(id) = path.strip_prefix(paths::EDGES) {
        let held = vault.get::<EdgeRecord>(path).await?;
        return Ok(Some((
            Item::Edge(id.to_owned()),
            Fresh::Edge(held.map(|held| held.value)),
        )));
    }
    if path == paths::BUNDLE {
        let files = crate::bundle::load(vault).await?;
        return Ok(Some((
            Item::Bundle,
            Fresh::Bundle(files.map(|files| Arc::new(announce::bundle(files)))),
        )));
    }
    Ok(None)
}

fn known(key: &KeyRecord) -> Known {
    Known {
        tenant: key.tenant.clone(),
        announced: Arc::new(announce::key(key)),
        is_told: key.family != Family::Raw,
        due_at: key.due_at(),
    }
}

/// Whether an edge may have anything, as far as the view knows.
pub(crate) fn revocation(edge: Option<&EdgeRecord>) -> Option<String> {
    match edge.map(|edge| &edge.state) {
        Some(EdgeState::Revoked { reason, .. }) => Some(reason.clone()),
        _ => None,
    }
}
