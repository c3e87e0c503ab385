//! The view itself: rows as the store last had them, and what changed when.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use node::contract;

use super::{Item, Update, announce};
use crate::edges::EdgeRecord;
use crate::fault::Fault;
use crate::halts::{Floor, HaltRecord, Halts};
use crate::keys::{Family, KeyRecord};
use crate::names::Tenant;
use crate::paths;
use crate::sealed::Vault;

/// Changes kept for edges that come back: those further behind get a snapshot.
const LOG_LEN: usize = 16_384;

/// A key as edges see it, and whose it is.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) tenant: Tenant,
    pub(super) announced: Arc<contract::Key>,
    /// Edges sign with it.
    pub(super) is_told: bool,
    /// When it was marked as compromised, Unix seconds.
    pub(super) compromised_at: Option<u64>,
    /// How long its leases are, milliseconds.
    pub(super) lease_ms: u64,
    /// When time makes something due that the row alone says, Unix seconds.
    pub(super) due_at: Option<u64>,
    /// The record of a key with versions that edges are told, of which more than its row says what is due.
    pub(super) shared: Option<Arc<KeyRecord>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// 0: not read yet. An authority's store has more.
    pub(super) revision: u64,
    pub(super) keys: BTreeMap<String, Known>,
    pub(super) edges: BTreeMap<String, EdgeRecord>,
    pub(super) bundle: Option<Arc<contract::Bundle>>,
    /// What edges may fetch, by SHA-256.
    pub(super) objects: Arc<HashMap<[u8; 32], Bytes>>,
    pub(super) halts: Arc<Halts>,
    /// The latest revision that withdrew what edges may have decided by already: who has not acknowledged it gets no lease.
    pub(super) floor: u64,
    /// The latest that was a bundle with a fence: what older bundles judged is signed no more. A stop leaves them as they are.
    pub(super) bundle_floor: u64,
    /// Complete for revisions above `log_from`.
    pub(super) log: VecDeque<(u64, Item)>,
    pub(super) log_from: u64,
}

/// A row's new content; `None`: it is gone.
pub(super) enum Fresh {
    Key(Option<Known>),
    Edge(Option<EdgeRecord>),
    Bundle(Option<Announced>),
    /// Whether it stands.
    Halt(bool),
    Floor,
}

/// A bundle as edges see it, and what they fetch of it.
pub(super) type Announced = (Arc<contract::Bundle>, Arc<HashMap<[u8; 32], Bytes>>);

impl State {
    pub(super) fn set(&mut self, item: Item, fresh: Fresh, revision: u64) {
        match (item, fresh) {
            (Item::Key(id), Fresh::Key(Some(known))) => drop(self.keys.insert(id, known)),
            (Item::Key(id), Fresh::Key(None)) => drop(self.keys.remove(&id)),
            (Item::Edge(id), Fresh::Edge(Some(edge))) => drop(self.edges.insert(id, edge)),
            (Item::Edge(id), Fresh::Edge(None)) => drop(self.edges.remove(&id)),
            (_, Fresh::Bundle(announced)) => self.announce(announced),
            (Item::Halt(name), Fresh::Halt(stands)) => {
                Arc::make_mut(&mut self.halts).set(&name, stands);
                if stands {
                    self.floor = revision;
                }
            }
            (_, Fresh::Floor) => (self.floor, self.bundle_floor) = (revision, revision),
            _ => {}
        }
    }

    fn announce(&mut self, announced: Option<Announced>) {
        let (bundle, objects) = announced.unzip();
        (self.bundle, self.objects) = (bundle, objects.unwrap_or_default());
    }

    pub(super) fn trim(&mut self) {
        while self.log.len() > LOG_LEN {
            if let Some((revision, _)) = self.log.pop_front() {
                self.log_from = revision;
            }
        }
    }

    /// Each key once, as it is now, whatever happened to it in between.
    pub(super) fn changes(&self, revision: u64) -> Update {
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
                Item::Key(_) | Item::Edge(_) | Item::Halt(_) | Item::Floor => {}
            }
        }
        keys.reverse();
        self.update(false, keys, bundle)
    }

    /// All keys and the bundle.
    pub(super) fn everything(&self) -> Update {
        let told = self.keys.values().filter(|known| known.is_told);
        let keys = told.map(|known| known.announced.clone()).collect();
        self.update(true, keys, self.bundle.clone())
    }

    fn update(&self, everything: bool, keys: Vec<Arc<contract::Key>>, bundle: Option<Arc<contract::Bundle>>) -> Update {
        Update {
            revision: self.revision,
            floor: self.bundle_floor,
            halts: self.halts.clone(),
            everything,
            keys,
            bundle,
        }
    }
}

/// Reads everything. The revision is taken first: what changes while reading is read twice rather than missed.
pub(super) async fn read(vault: &Vault) -> Result<State, Fault> {
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
    for (path, held) in vault.all::<HaltRecord>(paths::HALTS).await? {
        let name = path.strip_prefix(paths::HALTS).unwrap_or(&path);
        Arc::make_mut(&mut state.halts).set(name, true);
        state.floor = state.floor.max(held.stamp.revision);
    }
    if let Some(held) = vault.get::<Floor>(paths::FLOOR).await? {
        state.floor = state.floor.max(held.stamp.revision);
        state.bundle_floor = held.stamp.revision;
    }
    state.announce(bundle(vault).await?);
    Ok(state)
}

async fn bundle(vault: &Vault) -> Result<Option<Announced>, Fault> {
    let Some(published) = crate::bundle::load(vault).await? else {
        return Ok(None);
    };
    let rollouts = crate::rollout::announced(vault).await?;
    let (bundle, objects) = announce::bundle(published, rollouts);
    Ok(Some((Arc::new(bundle), Arc::new(objects))))
}

pub(super) async fn read_one(vault: &Vault, path: &str) -> Result<Option<(Item, Fresh)>, Fault> {
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
    if let Some(name) = path.strip_prefix(paths::HALTS) {
        let held = vault.get::<HaltRecord>(path).await?;
        return Ok(Some((Item::Halt(name.to_owned()), Fresh::Halt(held.is_some()))));
    }
    if path == paths::FLOOR {
        return Ok(Some((Item::Floor, Fresh::Floor)));
    }
    if path == paths::BUNDLE || path == paths::ROLLOUTS {
        return Ok(Some((Item::Bundle, Fresh::Bundle(bundle(vault).await?))));
    }
    Ok(None)
}

fn known(key: &KeyRecord) -> Known {
    Known {
        tenant: key.tenant.clone(),
        announced: Arc::new(announce::key(key)),
        is_told: key.family != Family::Raw,
        compromised_at: key.protection.compromised.as_ref().map(|note| note.at),
        lease_ms: key.lease_ms(),
        due_at: key.due_at(),
        shared: key.is_announced().then(|| Arc::new(key.clone())),
    }
}
