//! Rollouts as stored: one row with all of them, so that what is decided about one is decided by the bundle and by all the others,
//! and a component beside it for each that runs.

use std::collections::BTreeMap;

use node::contract;
use policies::Bundle;
use policies::rollout::{Figures, Rollout, Stage, fingerprint};
use serde::{Deserialize, Serialize};
use signing::digest::sha256;
use signing::encoding::hex;

use super::none;
use crate::fault::Fault;
use crate::paths;
use crate::sealed::{Change, Held, Vault};

/// Rollouts in the row: beyond that, the one that has been over for longest is forgotten.
const MOST: usize = 64;
/// Why a replay gives one up.
const REPLAYED: &str = "so it was after the backup that this authority was restored from";

/// All rollouts: of each plugin the one that runs, or the last that is over.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// By the plugin's name.
    pub(super) rollouts: BTreeMap<String, Kept>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) rollout: Rollout,
    /// Of its component.
    pub(super) bytes: usize,
    /// What edges had reported when it was over.
    pub(super) figures: Option<Figures>,
}

/// A rollout that ends with the bundle that it makes.
#[derive(Debug)]
pub(crate) struct Enforced<'a> {
    /// As it is when it is over.
    pub(crate) rollout: &'a Rollout,
    /// What edges have reported.
    pub(crate) figures: Figures,
    /// The digest of the bundle that the new one was made of.
    pub(crate) base: &'a str,
}

impl Enforced<'_> {
    /// Refuses to undo what was published in the meantime.
    pub(crate) fn demand_base(&self, digest: Option<&str>) -> Result<(), Fault> {
        match digest == Some(self.base) {
            true => Ok(()),
            false => Err(Fault::state(
                "conflict",
                "another bundle was published at the same time; try again",
            )),
        }
    }
}

impl Row {
    /// Those that run.
    pub(super) fn running(&self) -> impl Iterator<Item = &Kept> {
        self.rollouts.values().filter(|kept| kept.rollout.stage.is_running())
    }

    /// With another state of a rollout that it has.
    pub(super) fn with(mut self, rollout: Rollout, figures: Option<Figures>) -> Self {
        if let Some(kept) = self.rollouts.get_mut(&rollout.plugin) {
            kept.rollout = rollout;
            kept.figures = figures;
        }
        self
    }

    /// With one that starts.
    pub(super) fn started(mut self, kept: Kept) -> Self {
        self.rollouts.insert(kept.rollout.plugin.clone(), kept);
        while self.rollouts.len() > MOST {
            let over = self.rollouts.values().filter(|kept| !kept.rollout.stage.is_running());
            let Some(oldest) = over.min_by_key(|kept| kept.rollout.changed_at) else {
                break;
            };
            let oldest = oldest.rollout.plugin.clone();
            self.rollouts.remove(&oldest);
        }
        self
    }

    /// The plugin under rollout that a bundle changes or leaves out, if there is one.
    fn changed_by(&self, bundle: &Bundle, but: Option<&Enforced<'_>>) -> Option<&Rollout> {
        let running = self.running().map(|kept| &kept.rollout);
        let mut others = running.filter(|rollout| but.is_none_or(|done| done.rollout.id != rollout.id));
        others.find(|rollout| bundle.plugin(&rollout.plugin).map(fingerprint).as_ref() != Some(&rollout.base))
    }
}

/// The row; none before the first rollout.
pub(super) async fn read(vault: &Vault) -> Result<Option<Held<Row>>, Fault> {
    vault.get::<Row>(paths::ROLLOUTS).await
}

/// The row, which has a rollout of this plugin.
pub(super) async fn find(vault: &Vault, plugin: &str) -> Result<Held<Row>, Fault> {
    let held = read(vault).await?;
    held.filter(|held| held.value.rollouts.contains_key(plugin))
        .ok_or_else(|| none(plugin))
}

/// Refuses a bundle that changes a plugin under rollout.
pub(crate) async fn demand_untouched(vault: &Vault, bundle: &Bundle) -> Result<(), Fault> {
    match read(vault).await? {
        Some(held) => untouched(&held.value, bundle, None),
        None => Ok(()),
    }
}

fn untouched(row: &Row, bundle: &Bundle, but: Option<&Enforced<'_>>) -> Result<(), Fault> {
    let Some(rollout) = row.changed_by(bundle, but) else {
        return Ok(());
    };
    let (plugin, stage) = (&rollout.plugin, &rollout.stage);
    Err(Fault::state(
        "conflict",
        format!(
            "the bundle changes the plugin `{plugin}`, which is being rolled out ({stage}); end that first, with `signet rollout \
             abort {plugin}`, or where it is proven with `signet rollout promote {plugin} --percent 100`"
        ),
    ))
}

/// Refuses a bundle that brings back the version of a plugin that a rollout has replaced: whoever applies the directory that it was
/// started beside, for something else, would undo it without a word.
pub(crate) async fn demand_kept(vault: &Vault, in_force: &Bundle, bundle: &Bundle) -> Result<(), Fault> {
    let row = read(vault).await?.map(|held| held.value).unwrap_or_default();
    let is = |bundle: &Bundle, rollout: &Rollout, component: &str| {
        let plugin = bundle.plugin(&rollout.plugin);
        plugin.is_some_and(|plugin| hex(&sha256(&plugin.wasm)) == component)
    };
    let enforced = row.rollouts.values().map(|kept| &kept.rollout);
    let mut enforced = enforced.filter(|rollout| rollout.stage == Stage::Enforced);
    let undone =
        enforced.find(|rollout| is(bundle, rollout, &rollout.current) && is(in_force, rollout, &rollout.candidate));
    match undone {
        None => Ok(()),
        Some(Rollout { plugin, file, .. }) => Err(Fault::state(
            "conflict",
            format!(
                "the bundle brings back the version of the plugin `{plugin}` that a rollout has replaced; copy the new one to `{file}`, \
                 or go back with `signet bundle apply --take-back`"
            ),
        )),
    }
}

/// A bundle's publication, made conditional on the rollouts that it was checked against; with the end of the one that made it.
pub(crate) async fn beside(
    change: Change,
    vault: &Vault,
    bundle: &Bundle,
    enforced: Option<&Enforced<'_>>,
) -> Result<Change, Fault> {
    let held = read(vault).await?;
    if let Some(held) = &held {
        untouched(&held.value, bundle, enforced)?;
    }
    match (held, enforced) {
        (None, None) => Ok(change.absent(paths::ROLLOUTS)),
        (Some(held), None) => Ok(change.unchanged(paths::ROLLOUTS, held.stamp)),
        (Some(held), Some(done)) if held.value.running().any(|kept| kept.rollout.id == done.rollout.id) => {
            let row = held.value.with(done.rollout.clone(), Some(done.figures.clone()));
            let change = change.replace(paths::ROLLOUTS, &row, held.stamp);
            Ok(change.delete(paths::rollout_component(&done.rollout.id)))
        }
        (_, Some(done)) => Err(Fault::state(
            "conflict",
            format!("the rollout of `{}` has ended in the meantime", done.rollout.plugin),
        )),
    }
}

/// What edges are told: those that run, and those that were given up, so that nobody waits for a bundle to be loaded.
pub(crate) async fn announced(vault: &Vault) -> Result<Vec<contract::Rollout>, Fault> {
    let row = read(vault).await?.map(|held| held.value).unwrap_or_default();
    let mut told = Vec::new();
    for Kept { rollout, .. } in row.rollouts.into_values() {
        let component = match &rollout.stage {
            Stage::Enforced => continue,
            Stage::Aborted { .. } => Vec::new(),
            Stage::Shadow | Stage::Canary { .. } => {
                match vault.get_secret(&paths::rollout_component(&rollout.id)).await? {
                    Some(component) => component.expose().to_vec(),
                    // It ended since the row was read: the next commit tells.
                    None => continue,
                }
            }
        };
        told.push(contract::Rollout {
            aborted: !rollout.stage.is_running(),
            percent: rollout.stage.percent().into(),
            component,
            max_failures: rollout.thresholds.max_failures,
            max_p99_us: rollout.thresholds.max_p99_us,
            min_calls: rollout.thresholds.min_calls,
            id: rollout.id,
            plugin: rollout.plugin,
            base: rollout.base,
            ..contract::Rollout::default()
        });
    }
    Ok(told)
}

/// Gives a rollout up that a restored store has again; answers whether it ran.
pub(crate) async fn end_again(vault: &Vault, plugin: &str, now: u64) -> Result<bool, Fault> {
    let Some(held) = read(vault).await? else {
        return Ok(false);
    };
    let running = held.value.running().find(|kept| kept.rollout.plugin == plugin);
    let Some(mut rollout) = running.map(|kept| kept.rollout.clone()) else {
        return Ok(false);
    };
    rollout.stage = Stage::Aborted {
        reason: REPLAYED.to_owned(),
    };
    (rollout.changed_at, rollout.changed_by) = (now, "restore:replay".to_owned());
    let component = paths::rollout_component(&rollout.id);
    let row = held.value.with(rollout, None);
    let change = Change::new()
        .replace(paths::ROLLOUTS, &row, held.stamp)
        .delete(component);
    vault.commit(change).await.map(|_| true)
}
