//! A new version of a plugin on its way: it is asked beside the current one (shadow) or in its place (canary), counted, and no
//! longer used at once when it fails too often or takes too long.
//!
//! The current version is the bundle's, and decides wherever the new one does not: for callers outside the percentage, where a
//! call of the new one gave no answer, and for everybody once it is given up. Which of them judges a caller, and when it is given
//! up, is decided in [`policies::rollout`].

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use node::contract;
use policies::bundle::Plugin as Declaration;
use policies::permit::Metered;
use policies::rollout::{Answer, Calls, Figures, Part, Sample, Stage, Thresholds, Window, fingerprint};
use prometheus_client::metrics::counter::Counter;
use runtime::{BreakerChange, Plugin, Request, RuleError, Verdict};
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::world::{LoadError, Version, World};

/// Wakes whoever tells the authority.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<Notify>);

impl Reports {
    /// Until an edge stops using a version by itself.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}

/// A new version of one plugin.
#[derive(Debug)]
pub struct Trial {
    id: String,
    plugin: String,
    stage: Stage,
    thresholds: Thresholds,
    /// None where it does not load; then it was stopped before its first call.
    candidate: Option<Version>,
    tally: Arc<Tally>,
    window: Mutex<Window>,
}

/// What all stages of one rollout have in common in this process.
#[derive(Debug)]
struct Tally {
    /// The new version is used no more, whatever the stage says.
    stopped: AtomicBool,
    figures: Mutex<Figures>,
    /// Rollouts that this edge stopped.
    counter: Counter,
    reports: Reports,
}

/// One answer of one version.
struct Judged {
    result: Result<Verdict, RuleError>,
    answer: Answer,
    micros: u64,
}

impl Trial {
    /// Takes a rollout up beside the plugin that the bundle declares; none if it was given up or is for another plugin. `before` is
    /// what this edge had of it, `load` compiles. A version that does not load is reported, and nothing else fails by it.
    pub fn begin(
        rollout: &contract::Rollout,
        declaration: &Declaration,
        before: Option<&Arc<Trial>>,
        load: impl FnOnce(&Declaration) -> Result<Version, LoadError>,
        metrics: &Metrics,
        reports: &Reports,
    ) -> Option<Arc<Trial>> {
        if rollout.aborted || rollout.base != fingerprint(declaration) {
            return None;
        }
        let stage = Stage::at(u8::try_from(rollout.percent).unwrap_or(100));
        let thresholds = Thresholds {
            max_failures: rollout.max_failures,
            max_p99_us: rollout.max_p99_us,
            min_calls: rollout.min_calls,
        };
        let before = before.filter(|before| before.id == rollout.id);
        if let Some(before) = before.filter(|before| before.stage == stage && before.thresholds == thresholds) {
            return Some(before.clone());
        }
        let tally = before.map(|before| before.tally.clone()).unwrap_or_else(|| {
            Arc::new(Tally {
                stopped: AtomicBool::new(false),
                figures: Mutex::default(),
                counter: metrics.rollouts_stopped(&rollout.plugin),
                reports: reports.clone(),
            })
        });
        let loaded = load(&Declaration {
            wasm: rollout.component.as_slice().into(),
            ..declaration.clone()
        });
        let mut trial = Trial {
            id: rollout.id.clone(),
            plugin: rollout.plugin.clone(),
            stage,
            thresholds,
            candidate: None,
            tally,
            window: Mutex::default(),
        };
        match loaded {
            Ok(version) => trial.candidate = Some(version),
            Err(error) => trial.stop(format!("it does not load: {error}")),
        }
        Some(Arc::new(trial))
    }

    /// The rollout's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The new version.
    pub fn candidate(&self) -> Option<&Version> {
        self.candidate.as_ref()
    }

    /// What this process saw since it first heard of the rollout.
    pub fn figures(&self) -> Figures {
        self.lock().clone()
    }

    /// The authority gave it up: the current version judges from now on.
    pub fn abort(&self) {
        self.tally.stopped.store(true, Ordering::Relaxed);
    }

    /// Asks the version that judges this caller, and says which it was. `current` is the bundle's; `told` hears of its breaker.
    pub async fn judge<'t>(
        &'t self,
        current: &'t Plugin,
        request: &Request<'_>,
        metered: &Metered,
        told: impl FnOnce(BreakerChange),
    ) -> (&'t Plugin, Result<Verdict, RuleError>) {
        let part = self.stage.judges(&self.plugin, request.caller.id);
        let candidate = self
            .candidate
            .as_ref()
            .map(|candidate| &*candidate.plugin)
            .filter(|_| part != Part::Current && !self.is_stopped());
        if let (Some(candidate), Part::Candidate) = (candidate, part) {
            let judged = self.ask_candidate(candidate, request, metered).await;
            if !matches!(judged.answer, Answer::Failed(_)) {
                return (candidate, judged.result);
            }
            // The current version is the rule in force: what it says is as strict as ever.
        }
        let decided = self.ask_current(current, request, metered, told).await;
        // Another call may have stopped it in the meantime.
        if let (Some(candidate), Part::Compare) = (candidate, part)
            && !self.is_stopped()
        {
            let compared = self.ask_candidate(candidate, request, metered).await;
            self.compare(&decided.answer, &compared.answer, request);
        }
        (current, decided.result)
    }

    async fn ask_current(
        &self,
        plugin: &Plugin,
        request: &Request<'_>,
        metered: &Metered,
        told: impl FnOnce(BreakerChange),
    ) -> Judged {
        let judged = ask(plugin.serve(request, told), metered).await;
        self.lock()
            .current
            .count(&judged.answer, judged.micros, &self.thresholds);
        judged
    }

    async fn ask_candidate(&self, plugin: &Plugin, request: &Request<'_>, metered: &Metered) -> Judged {
        // Without the breaker: what stops a new version that fails is its rollout.
        let judged = ask(plugin.evaluate(request), metered).await;
        let mut figures = self.lock();
        let calls = &mut figures.candidate;
        calls.count(&judged.answer, judged.micros, &self.thresholds);
        let failures = calls.failed;
        drop(figures);
        let failed = match judged.answer {
            Answer::Failed(kind) => Some(kind),
            _ => None,
        };
        // Nobody is denied by it, so no refusal tells; not each one, where many are let pass.
        if let Some(kind) = failed.filter(|_| failures.is_power_of_two()) {
            let detail = judged.result.as_ref().err().map(ToString::to_string);
            let (plugin, rollout) = (&self.plugin, &self.id);
            tracing::warn!(
                plugin,
                rollout,
                failures,
                kind,
                detail,
                "a call of a new version failed"
            );
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = window.count(failed.is_some(), judged.micros, &self.thresholds);
        drop(window);
        if let Some(why) = broken {
            self.stop(match failed {
                Some(kind) => format!("{why}; the last one with `{kind}`"),
                None => why,
            });
        }
        judged
    }

    fn compare(&self, current: &Answer, candidate: &Answer, request: &Request<'_>) {
        let Some(kind) = current.differs(candidate) else { return };
        self.lock().differ(Sample {
            kind,
            time: request.time,
            request_id: request.request_id.to_owned(),
            profile: request.profile.to_owned(),
            current: current.describe(),
            candidate: candidate.describe(),
        });
    }

    /// This edge gives it up by itself, once.
    fn stop(&self, why: String) {
        if self.tally.stopped.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::error!(
            plugin = self.plugin,
            rollout = self.id,
            why,
            "a new version is used no more; the current one stays"
        );
        self.lock().stopped = Some(why);
        self.tally.counter.inc();
        self.tally.reports.0.notify_one();
    }

    fn is_stopped(&self) -> bool {
        self.tally.stopped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.tally.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(call: impl Future<Output = Result<Verdict, RuleError>>, metered: &Metered) -> Judged {
    let began = Instant::now();
    let result = call.await;
    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let answer = match &result {
        Ok(verdict) if !metered.takes_claims(verdict.claims.iter().map(|(name, _)| name)) => {
            Answer::Failed("claims_not_listed")
        }
        Ok(verdict) => Answer::Allowed {
            cap: verdict.lifetime_cap,
            claims: verdict.claims.iter().cloned().collect(),
        },
        Err(RuleError::Refused { code, .. }) => Answer::Refused(code.clone()),
        Err(RuleError::Failed { kind, .. }) => Answer::Failed(kind.as_str()),
    };
    Judged { result, answer, micros }
}

/// The part of the text of `/metrics` about rollouts.
pub fn render(text: &mut String, world: &World) -> std::fmt::Result {
    const CALLS: &str = "signet_edge_rollout_calls";
    const DIFFERENCES: &str = "signet_edge_rollout_differences";
    const STOPPED: &str = "signet_edge_rollout_stopped";
    let trials: Vec<(&Trial, Figures)> = world.trials().map(|trial| (trial, trial.figures())).collect();
    writeln!(
        text,
        "# HELP {CALLS} Calls of each version of a plugin under rollout, by outcome."
    )?;
    writeln!(text, "# TYPE {CALLS} counter")?;
    for (trial, figures) in &trials {
        let outcomes = |calls: &Calls| {
            [
                ("allowed", calls.allowed),
                ("refused", calls.refused),
                ("failed", calls.failed),
            ]
        };
        for (version, calls) in [("current", &figures.current), ("candidate", &figures.candidate)] {
            for (outcome, count) in outcomes(calls) {
                let plugin = &trial.plugin;
                writeln!(
                    text,
                    "{CALLS}_total{{plugin=\"{plugin}\",version=\"{version}\",outcome=\"{outcome}\"}} {count}"
                )?;
            }
        }
    }
    writeln!(
        text,
        "# HELP {DIFFERENCES} Requests about which the versions in shadow differ, by kind."
    )?;
    writeln!(text, "# TYPE {DIFFERENCES} counter")?;
    for (trial, figures) in &trials {
        for (kind, count) in &figures.differences {
            let (plugin, kind) = (&trial.plugin, kind.as_str());
            writeln!(
                text,
                "{DIFFERENCES}_total{{plugin=\"{plugin}\",kind=\"{kind}\"}} {count}"
            )?;
        }
    }
    writeln!(text, "# HELP {STOPPED} 1 where this edge uses the new version no more.")?;
    writeln!(text, "# TYPE {STOPPED} gauge")?;
    for (trial, _) in &trials {
        writeln!(
            text,
            "{STOPPED}{{plugin=\"{}\"}} {}",
            trial.plugin,
            u8::from(trial.is_stopped())
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
