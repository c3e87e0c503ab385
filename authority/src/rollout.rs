//! New versions of plugins on their way into the bundle: started, promoted step by step, enforced or given up.
//!
//! A rollout is for one plugin of the bundle in force, as it is: a bundle that changes that plugin is refused until the rollout is
//! over. Edges get rollouts with the bundle and report what they see; the first edge that stops a new version by itself ends it
//! for all, and so do the calls of all edges taken together ([`policies::rollout::Thresholds`]). To give one up changes one row, and
//! needs neither an approval nor a record that can be written.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use policies::Bundle;
use policies::rollout::{Figures, Rollout, Stage, Steps, Thresholds, fingerprint};
use signing::digest::sha256;
use signing::encoding::hex;
use tokio::sync::Notify;
use uuid::Uuid;

use self::reports::Heard;
use self::row::{Kept, Row};
use crate::bundle::{Bundles, InForce, Invalid, MAX_BYTES, PIECE};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::kms::{Decided, Entry, Recorder};
use crate::names::shown;
use crate::paths;
use crate::seal::Seal;
use crate::sealed::{Change, Held, Vault};
use crate::stops::operation;
use crate::world::World;

pub use self::reports::OfEdge;
pub(crate) use self::row::{Enforced, announced, beside, demand_kept, demand_untouched, end_again};

mod reports;
mod row;

/// Rollouts that run at once: each doubles what edges load and call of a plugin.
const MOST_RUNNING: usize = 8;
/// Characters of a reason.
const MAX_REASON: usize = 256;
/// Between two looks at what edges report.
const BETWEEN: Duration = Duration::from_millis(250);
/// Who gives a rollout up that nobody asked to, in records.
const BY_ITSELF: &str = "signet";

/// A rollout that somebody wants to start.
#[derive(Debug)]
pub struct Start<'a> {
    /// The plugin's name.
    pub plugin: &'a str,
    /// The new version, in the binary format.
    pub component: Vec<u8>,
    /// How far it goes at each promotion.
    pub steps: Steps,
    /// When it is given up.
    pub thresholds: Thresholds,
    /// `operator:ID`
    pub by: &'a str,
}

/// How far a rollout is to go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Promotion {
    /// The percentage of callers; none: the next step.
    pub percent: Option<u8>,
    /// Whether the new version may become the bundle's though no call of it was reported here.
    pub untried: bool,
}

/// What a rollout does, or would do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// It, at its first stage.
    pub rollout: Rollout,
    /// The profiles that it judges.
    pub profiles: Vec<String>,
    /// Of the new component.
    pub bytes: usize,
}

/// A rollout, and what edges report about it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// It.
    pub rollout: Rollout,
    /// Of all edges together; once it is over, as they were then.
    pub figures: Figures,
    /// The edges that have it.
    pub edges: Vec<OfEdge>,
    /// Whether the bundle in force has the new version.
    pub in_force: bool,
}

/// All rollouts.
pub struct Rollouts {
    vault: Arc<Vault>,
    bundles: Arc<Bundles>,
    world: Arc<World>,
    clock: Clock,
    heard: Mutex<Heard>,
    woken: Notify,
}

impl Rollouts {
    /// Of a store. Nothing has been reported yet.
    pub fn new(vault: Arc<Vault>, bundles: Arc<Bundles>, world: Arc<World>, clock: Clock) -> Self {
        Self {
            vault,
            bundles,
            world,
            clock,
            heard: Mutex::default(),
            woken: Notify::new(),
        }
    }

    /// Those that run, and of each other plugin the last that is over.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self) -> Result<Vec<Seen>, Fault> {
        let row = row::read(&self.vault).await?;
        let kept = row.map(|held| held.value.rollouts).unwrap_or_default();
        let bundle = self.bundles.in_force();
        let component = |plugin: &str| bundle.bundle.plugin(plugin).map(|plugin| hex(&sha256(&plugin.wasm)));
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = kept.into_values().map(|kept| Seen {
            in_force: component(&kept.rollout.plugin).as_ref() == Some(&kept.rollout.candidate),
            figures: kept.figures.unwrap_or_else(|| heard.total(&kept.rollout.id)),
            edges: heard.edges(&kept.rollout.id),
            rollout: kept.rollout,
        });
        Ok(seen.collect())
    }

    /// Starts a rollout at its first step; with `dry_run` only tells whether it could. The inner error lists what is wrong with the
    /// new version.
    ///
    /// # Errors
    /// [`Fault::NotFound`] for a plugin that the bundle in force does not have, `conflict` while a rollout of it runs,
    /// [`Fault::Invalid`].
    pub async fn start(&self, start: Start<'_>, dry_run: bool) -> Result<Result<Plan, Invalid>, Fault> {
        start.thresholds.check().map_err(unusable)?;
        // Another authority on this store may have published since.
        self.bundles.reload().await?;
        let in_force = self.bundles.in_force();
        let rollout = self.describe(&start, &in_force)?;
        let (digest, files) = with_component(&in_force, &rollout.file, &start.component)?;
        match self.bundles.check(&files).await? {
            Ok(_) => {}
            Err(invalid) => return Ok(Err(invalid)),
        }
        let profiles = in_force.bundle.profiles.iter();
        let profiles = profiles.filter(|profile| profile.plugins.iter().any(|name| name == start.plugin));
        let plan = Plan {
            profiles: profiles.map(|profile| profile.name.clone()).collect(),
            bytes: start.component.len(),
            rollout,
        };
        let held = row::read(&self.vault).await?;
        let (row, seen) = self.with_room(held, &plan, &files)?;
        if dry_run {
            return Ok(Ok(plan));
        }
        let current = self.bundles.current().await?.filter(|(current, _)| *current == digest);
        let Some((_, stamp)) = current else {
            return Err(Fault::Raced {
                path: paths::BUNDLE.to_owned(),
            });
        };
        let change = Change::new()
            .unchanged(paths::BUNDLE, stamp)
            .set(paths::ROLLOUTS, &row, seen)
            .overwrite_bytes(paths::rollout_component(&plan.rollout.id), &start.component);
        let revision = self.vault.commit(change).await?;
        tracing::info!(
            plugin = start.plugin,
            rollout = plan.rollout.id,
            revision,
            "a rollout has started"
        );
        Ok(Ok(plan))
    }

    /// Takes a rollout to its next step, or to a percentage; at 100 the new version becomes the bundle's. Nothing is tried twice: of two
    /// who promote at the same time one is told so.
    ///
    /// # Errors
    /// [`Fault::NotFound`], [`Fault::Invalid`] where it is over or would not go forward, `untried` where it would judge everybody and has
    /// judged nothing, [`Fault::Raced`].
    pub async fn promote(&self, plugin: &str, to: Promotion, by: &str) -> Result<Result<Rollout, Invalid>, Fault> {
        let held = row::find(&self.vault, plugin).await?;
        let mut rollout = held
            .value
            .rollouts
            .get(plugin)
            .map(|kept| kept.rollout.clone())
            .ok_or_else(|| none(plugin))?;
        rollout.stage = rollout.promoted(to.percent).map_err(unusable)?;
        self.touch(&mut rollout, by);
        if rollout.stage == Stage::Enforced {
            if !to.untried {
                self.demand_tried(&rollout)?;
            }
            return self.enforce(rollout).await;
        }
        let row = held.value.with(rollout.clone(), None);
        let change = Change::new().replace(paths::ROLLOUTS, &row, held.stamp);
        let revision = self.vault.commit(change).await?;
        tracing::info!(plugin, stage = %rollout.stage, revision, "a rollout was promoted");
        Ok(Ok(rollout))
    }

    /// A version that has judged nothing has not failed either: that says nothing. Other authorities may have heard more.
    fn demand_tried(&self, rollout: &Rollout) -> Result<(), Fault> {
        if self.total(&rollout.id).candidate.total() > 0 {
            return Ok(());
        }
        let plugin = &rollout.plugin;
        let message = format!(
            "this authority has heard of no call of the new version of `{plugin}`, which would judge everybody; `signet rollout status \
             {plugin}` shows calls and edges, --untried (`untried` in the API) goes on without"
        );
        Err(Fault::state("untried", message))
    }

    async fn enforce(&self, rollout: Rollout) -> Result<Result<Rollout, Invalid>, Fault> {
        self.bundles.reload().await?;
        let path = paths::rollout_component(&rollout.id);
        let raced = || Fault::Raced { path: path.clone() };
        let component = self.vault.get_secret(&path).await?.ok_or_else(raced)?;
        let (base, files) = with_component(&self.bundles.in_force(), &rollout.file, component.expose())?;
        let done = Enforced {
            figures: self.total(&rollout.id),
            base: &base,
            rollout: &rollout,
        };
        let enforced = self.bundles.enforce(files, &done).await?;
        Ok(enforced.map(|_| rollout))
    }

    /// Gives a rollout up: the version in force judges everything again, at each edge as soon as it hears of it. One that was given
    /// up already stays as it is.
    ///
    /// # Errors
    /// [`Fault::NotFound`], `conflict` where it was enforced.
    pub async fn abort(&self, plugin: &str, reason: &str, by: &str) -> Result<Rollout, Fault> {
        if reason.chars().count() > MAX_REASON || reason.contains(char::is_control) {
            let message = format!("a reason is one line of at most {MAX_REASON} characters");
            return Err(Fault::invalid("bad_request", message));
        }
        self.end(plugin, None, reason, by).await.map(|(rollout, _)| rollout)
    }

    /// Gives a rollout up, if it is still the one of this id; answers whether this call did.
    async fn end(&self, plugin: &str, id: Option<&str>, reason: &str, by: &str) -> Result<(Rollout, bool), Fault> {
        let attempt = async || {
            let held = row::find(&self.vault, plugin).await?;
            let kept = held.value.rollouts.get(plugin);
            let mut rollout = kept.map(|kept| kept.rollout.clone()).ok_or_else(|| none(plugin))?;
            match &rollout.stage {
                Stage::Shadow | Stage::Canary { .. } if id.is_none_or(|id| id == rollout.id) => {}
                Stage::Enforced if id.is_none() => {
                    let message = format!(
                        "the new version of `{}` is the bundle's; to go back, apply the bundle with the old one and --take-back",
                        shown(plugin)
                    );
                    return Err(Fault::state("conflict", message));
                }
                _ => return Ok((rollout, false)),
            }
            rollout.stage = Stage::Aborted {
                reason: reason.to_owned(),
            };
            self.touch(&mut rollout, by);
            let figures = self.total(&rollout.id);
            let row = held.value.with(rollout.clone(), Some(figures));
            let change = Change::new()
                .replace(paths::ROLLOUTS, &row, held.stamp)
                .delete(paths::rollout_component(&rollout.id));
            let revision = self.vault.commit(change).await?;
            tracing::warn!(plugin, reason, by, revision, "a rollout was given up");
            Ok((rollout, true))
        };
        self.vault.retry(attempt).await
    }

    /// Gives up, until the process ends, what edges' reports say is broken, and puts that on record.
    pub(crate) async fn keep(self: Arc<Self>, recorder: Arc<Recorder>, seal: Arc<Seal>) {
        loop {
            self.woken.notified().await;
            if !seal.is_closed()
                && let Err(fault) = self.end_broken(&recorder).await
            {
                fault.log("giving up rollouts");
                self.woken.notify_one();
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// One look at all that run.
    pub(crate) async fn end_broken(&self, recorder: &Recorder) -> Result<(), Fault> {
        let Some(held) = row::read(&self.vault).await? else {
            return Ok(());
        };
        for kept in held.value.running() {
            let rollout = &kept.rollout;
            let Some(why) = self.broken(rollout) else { continue };
            let (plugin, id) = (rollout.plugin.as_str(), Some(rollout.id.as_str()));
            let (_, ended) = self.end(plugin, id, &why, BY_ITSELF).await?;
            if ended {
                record_end(recorder, plugin);
            }
        }
        Ok(())
    }

    fn broken(&self, rollout: &Rollout) -> Option<String> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = heard
            .edges(&rollout.id)
            .into_iter()
            .find_map(|of| Some((of.edge, of.stopped?)));
        if let Some((edge, why)) = stopped {
            return Some(format!("the edge `{edge}` stopped it: {why}"));
        }
        let counts = heard.total(&rollout.id).candidate.counts();
        let why = rollout.thresholds.broken(&counts)?;
        Some(format!("of all edges together, {why}"))
    }

    /// Takes in what a process of an edge says that it sees.
    pub(crate) fn report(&self, edge: &str, incarnation: &str, report: node::contract::RolloutReport) {
        if !self.world.has_rollout(&report.id) {
            return;
        }
        let figures = reports::read(&report.figures);
        let Some(figures) = figures else {
            tracing::warn!(edge, rollout = report.id, "the edge's figures do not read");
            return;
        };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|id| self.world.has_rollout(id));
        heard.take(&report.id, edge, incarnation, figures);
        drop(heard);
        self.woken.notify_one();
    }

    fn total(&self, id: &str) -> Figures {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).total(id)
    }

    fn touch(&self, rollout: &mut Rollout, by: &str) {
        rollout.changed_at = self.clock.now();
        by.clone_into(&mut rollout.changed_by);
    }

    fn describe(&self, start: &Start<'_>, in_force: &InForce) -> Result<Rollout, Fault> {
        let Bundle { plugins, .. } = &in_force.bundle;
        let plugin = in_force.bundle.plugin(start.plugin).ok_or_else(|| {
            let names: Vec<_> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
            Fault::not_found(format!(
                "the bundle in force has no plugin `{}`; it has {}",
                shown(start.plugin),
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            ))
        })?;
        let shares = |other: &&policies::bundle::Plugin| other.file == plugin.file && other.name != plugin.name;
        if let Some(other) = plugins.iter().find(shares) {
            let message = format!(
                "`{}` is the file of `{}` too; give `{}` a file of its own in the bundle first",
                plugin.file, other.name, plugin.name
            );
            return Err(Fault::invalid("bad_request", message));
        }
        if *plugin.wasm == *start.component {
            let message = format!("this is the version of `{}` that is in force", plugin.name);
            return Err(Fault::invalid("bad_request", message));
        }
        let now = self.clock.now();
        Ok(Rollout {
            id: Uuid::new_v4().to_string(),
            plugin: plugin.name.clone(),
            file: plugin.file.clone(),
            base: fingerprint(plugin),
            current: hex(&sha256(&plugin.wasm)),
            candidate: hex(&sha256(&start.component)),
            stage: Rollout::first_stage(&start.steps),
            steps: start.steps.clone(),
            thresholds: start.thresholds,
            started_by: start.by.to_owned(),
            started_at: now,
            changed_by: start.by.to_owned(),
            changed_at: now,
        })
    }

    /// The row with one rollout more, and what it replaces.
    fn with_room(
        &self,
        held: Option<Held<Row>>,
        plan: &Plan,
        files: &[(String, Vec<u8>)],
    ) -> Result<(Row, Option<crate::sealed::Stamp>), Fault> {
        let (row, seen) = held.map(|held| (held.value, Some(held.stamp))).unwrap_or_default();
        let plugin = plan.rollout.plugin.as_str();
        if let Some(running) = row.running().find(|kept| kept.rollout.plugin == plugin) {
            let message = format!(
                "a rollout of `{plugin}` is running ({}); promote it to the end or abort it first",
                running.rollout.stage
            );
            return Err(Fault::state("conflict", message));
        }
        if row.running().count() >= MOST_RUNNING {
            let message = format!("{MOST_RUNNING} rollouts run already; end one of them first");
            return Err(Fault::state("conflict", message));
        }
        if plan.bytes > PIECE {
            let message = format!(
                "a new version of {} bytes: at most {PIECE} go out in steps; put it into the bundle, and apply that",
                plan.bytes
            );
            return Err(Fault::invalid("bad_request", message));
        }
        // Edges are sent all of it in one message.
        let bundle = files.iter().map(|(_, content)| content.len());
        let components = row.running().map(|kept| kept.bytes);
        let total = bundle
            .chain(components)
            .chain([plan.bytes])
            .fold(0, usize::saturating_add);
        if total > MAX_BYTES {
            let message = format!("the bundle and its new versions have {total} bytes, at most {MAX_BYTES} are taken");
            return Err(Fault::invalid("bad_request", message));
        }
        let kept = Kept {
            rollout: plan.rollout.clone(),
            bytes: plan.bytes,
            figures: None,
        };
        Ok((row.started(kept), seen))
    }
}

impl std::fmt::Debug for Rollouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rollouts")
    }
}

/// The digest of the bundle in force, and its files with this one replaced.
fn with_component(
    in_force: &InForce,
    file: &str,
    component: &[u8],
) -> Result<(String, Vec<policies::bundle::File>), Fault> {
    let published = in_force.published.as_ref();
    let published = published.ok_or_else(|| Fault::not_found("no bundle is in force"))?;
    let mut files = published.files.clone();
    let replaced = files.iter_mut().find(|(path, _)| path == file);
    let (_, content) = replaced.ok_or_else(|| Fault::not_found(format!("the bundle in force has no `{file}`")))?;
    component.clone_into(content);
    Ok((published.digest.clone(), files))
}

fn record_end(recorder: &Recorder, plugin: &str) {
    let recorded = recorder.record(Entry {
        operation: operation::ABORT_ROLLOUT,
        caller: BY_ITSELF,
        account: "",
        decided: Decided {
            key: Some(plugin.to_owned()),
            ..Decided::default()
        },
        digest: None,
        refused: None,
        request_id: Uuid::new_v4(),
        headers: &http::HeaderMap::new(),
    });
    if let Err(refusal) = recorded {
        let detail = refusal.detail.unwrap_or_default();
        tracing::error!(plugin, detail, "that a rollout was given up is not on record");
    }
}

fn none(plugin: &str) -> Fault {
    Fault::not_found(format!("there is no rollout of `{}`", shown(plugin)))
}

fn unusable(mistake: policies::rollout::Mistake) -> Fault {
    Fault::invalid("bad_request", mistake.to_string())
}

#[cfg(test)]
mod tests;
