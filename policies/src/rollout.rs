//! Rolling a new version of a plugin out: the stages, who is judged by which version, and when a new version is given up.
//!
//! Pure, and shared: an edge decides by this for itself, and the authority for all edges.
//!
//! | to | call |
//! | --- | --- |
//! | go from one stage to the next | [`Steps::parse`], [`Rollout::promoted`] |
//! | know which version judges a caller | [`Stage::judges`] |
//! | compare what two versions answer | [`Answer::differs`] |
//! | count, and know when to give up | [`Figures`], [`Thresholds::broken`], [`Window`] |

mod figures;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bundle::{Isolation, Plugin};

pub use figures::{Answer, Calls, Difference, Figures, Histogram, MAX_FIGURES, Sample, Window};

/// Most steps of a rollout.
const MAX_STEPS: usize = 16;
/// All callers, in the unit of [`share`].
const ALL: u32 = 10_000;

/// A request of an operator that a rollout does not follow; the text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Mistake(String);

fn mistake<T>(text: impl Into<String>) -> Result<T, Mistake> {
    Err(Mistake(text.into()))
}

/// How far a new version is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "lowercase", deny_unknown_fields)]
pub enum Stage {
    /// Asked beside the current version, and compared; its answers have no effect.
    Shadow,
    /// The only one asked about this percentage of callers.
    Canary {
        /// 1 to 99.
        percent: u8,
    },
    /// It became the bundle's: the rollout is over.
    Enforced,
    /// It was given up: the rollout is over.
    Aborted {
        /// Why, for people.
        reason: String,
    },
}

/// What a version has to do with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The current version decides; the new one is not asked.
    Current,
    /// The current version decides, and the new one is asked for comparison.
    Compare,
    /// The new version decides.
    Candidate,
}

impl Stage {
    /// The stage at a percentage: 0 is the shadow, 100 the end.
    pub fn at(percent: u8) -> Self {
        match percent {
            0 => Self::Shadow,
            1..=99 => Self::Canary { percent },
            _ => Self::Enforced,
        }
    }

    /// The percentage of callers that the new version decides about.
    pub fn percent(&self) -> u8 {
        match self {
            Self::Shadow | Self::Aborted { .. } => 0,
            Self::Canary { percent } => *percent,
            Self::Enforced => 100,
        }
    }

    /// Whether the rollout goes on.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Shadow | Self::Canary { .. })
    }

    /// Which version judges a request of `caller` (its id, as records show it) to `plugin`. The same caller gets the same
    /// version at every edge, and whoever is in a percentage is in every larger one.
    pub fn judges(&self, plugin: &str, caller: &str) -> Part {
        match self {
            Self::Shadow => Part::Compare,
            Self::Canary { percent } if share(plugin, caller) < u32::from(*percent).saturating_mul(ALL / 100) => {
                Part::Candidate
            }
            Self::Canary { .. } | Self::Enforced | Self::Aborted { .. } => Part::Current,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shadow => f.write_str("shadow"),
            Self::Canary { percent } => write!(f, "canary {percent}%"),
            Self::Enforced => f.write_str("enforced"),
            Self::Aborted { .. } => f.write_str("aborted"),
        }
    }
}

/// Where a caller is among all callers of a plugin: 0 to 9,999, evenly spread.
pub fn share(plugin: &str, caller: &str) -> u32 {
    // Names of plugins have no zero byte.
    let digest =
        signing::digest::sha256(&[b"signet rollout v1\0", plugin.as_bytes(), b"\0", caller.as_bytes()].concat());
    let [a, b, c, d, ..] = digest;
    // The rest of 2^32 / 10,000 favours some callers by less than 3 in a million.
    u32::from_be_bytes([a, b, c, d]) % ALL
}

/// The percentages of a rollout, in order, each larger than the one before: 0 (the shadow) or more first, 100 last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Steps(Vec<u8>);

impl Default for Steps {
    /// `shadow,1%,10%,50%,100%`
    fn default() -> Self {
        Self(vec![0, 1, 10, 50, 100])
    }
}

impl Steps {
    /// Reads `shadow,1%,10%,100%`.
    ///
    /// # Errors
    /// [`Mistake`] for anything else.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let step = |word: &str| match word.trim() {
            "shadow" => Ok(0),
            percent => match percent.strip_suffix('%').and_then(|number| number.parse().ok()) {
                Some(0) | None => mistake(format!(
                    "`{word:.32}` is no step; write `shadow` or a whole percentage such as `10%`"
                )),
                Some(percent) => Ok(percent),
            },
        };
        text.split(',').map(step).collect::<Result<Vec<u8>, _>>()?.try_into()
    }

    fn first(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }

    fn after(&self, percent: u8) -> Option<u8> {
        self.0.iter().copied().find(|step| *step > percent)
    }
}

impl TryFrom<Vec<u8>> for Steps {
    type Error = Mistake;

    fn try_from(steps: Vec<u8>) -> Result<Self, Mistake> {
        let grows = steps.is_sorted_by(|a, b| a < b);
        if !grows || steps.last() != Some(&100) || steps.len() > MAX_STEPS {
            return mistake(format!(
                "steps grow and end with 100%, at most {MAX_STEPS}; write them as `shadow,1%,10%,50%,100%`"
            ));
        }
        if steps.len() < 2 {
            return mistake("a rollout has a step before 100%; to change the plugin at once, apply the bundle");
        }
        Ok(Self(steps))
    }
}

impl From<Steps> for Vec<u8> {
    fn from(steps: Steps) -> Self {
        steps.0
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.0.iter().map(|step| match step {
            0 => "shadow".to_owned(),
            percent => format!("{percent}%"),
        });
        f.write_str(&words.collect::<Vec<_>>().join(","))
    }
}

/// When a new version is given up without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// The share of its calls that may fail, in hundredths of a percent: 0 to 10,000, default 100 (1 %). A refusal is no failure.
    pub max_failures: u32,
    /// How long 99 of 100 of its calls may take at most, microseconds: 1 to 1,000,000, default 5,000. Waits count: a small
    /// value gives a good version up on a busy machine.
    pub max_p99_us: u64,
    /// The calls that shares are taken of at least: 1 to 1,000,000, default 100. Fewer give up sooner, and by chance.
    pub min_calls: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_failures: 100,
            max_p99_us: 5_000,
            min_calls: 100,
        }
    }
}

impl Thresholds {
    /// Whether each is in its bounds.
    ///
    /// # Errors
    /// [`Mistake`], with the bounds.
    pub fn check(&self) -> Result<(), Mistake> {
        if self.max_failures > ALL {
            return mistake("the share of failures is 0% to 100%");
        }
        if !(1..=1_000_000).contains(&self.max_p99_us) {
            return mistake("the longest p99 is 1us to 1s");
        }
        if !(1..=1_000_000).contains(&self.min_calls) {
            return mistake("the fewest calls are 1 to 1000000");
        }
        Ok(())
    }

    /// Why these calls of the new version are too many failures or too many slow ones, if they are. A share is taken of
    /// [`Thresholds::min_calls`] at least: what is too much for so many is known before they are all made.
    pub fn broken(&self, calls: &Counts) -> Option<String> {
        let of = calls.calls.max(self.min_calls);
        let most = |share: u32| {
            u128::from(of)
                .saturating_mul(share.into())
                .checked_div(ALL.into())
                .unwrap_or(0)
        };
        let too_many = |count: u64, what: &str, share: u32| {
            let (calls, most, share) = (calls.calls, most(share), percent(share));
            format!("{count} of {calls} calls {what}; of {of}, at most {most} may ({share})")
        };
        if u128::from(calls.failed) > most(self.max_failures) {
            return Some(too_many(calls.failed, "failed", self.max_failures));
        }
        // The 99th percentile is above a bound when more than one call in a hundred is.
        (u128::from(calls.slow) > most(100)).then(|| {
            let what = format!("took longer than {} us", self.max_p99_us);
            too_many(calls.slow, &what, 100)
        })
    }
}

/// Hundredths of a percent, for people.
pub fn percent(hundredths: u32) -> String {
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match rest {
        0 => format!("{whole}%"),
        rest if rest.is_multiple_of(10) => format!("{whole}.{}%", rest / 10),
        rest => format!("{whole}.{rest:02}%"),
    }
}

/// What thresholds are asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that ended.
    pub calls: u64,
    /// Of these, those that gave no answer.
    pub failed: u64,
    /// Of these, those that took longer than [`Thresholds::max_p99_us`].
    pub slow: u64,
}

/// One rollout, as the authority keeps it. Its component is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Fresh for each start.
    pub id: String,
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's file in the bundle, which the new version replaces in the end.
    pub file: String,
    /// [`fingerprint`] of the plugin that it began beside.
    pub base: String,
    /// SHA-256 of the current component, hex.
    pub current: String,
    /// SHA-256 of the new component, hex.
    pub candidate: String,
    /// The steps.
    pub steps: Steps,
    /// When to give up.
    pub thresholds: Thresholds,
    /// How far it is.
    pub stage: Stage,
    /// Who started it.
    pub started_by: String,
    /// Unix seconds.
    pub started_at: u64,
    /// Who changed it last.
    pub changed_by: String,
    /// Unix seconds.
    pub changed_at: u64,
}

impl Rollout {
    /// The first stage of these steps.
    pub fn first_stage(steps: &Steps) -> Stage {
        Stage::at(steps.first())
    }

    /// The stage that promoting it leads to: the next step, or `percent`.
    ///
    /// # Errors
    /// [`Mistake`] where it is over, or would not go forward.
    pub fn promoted(&self, percent: Option<u8>) -> Result<Stage, Mistake> {
        let (plugin, now) = (&self.plugin, self.stage.percent());
        if !self.stage.is_running() {
            return mistake(format!(
                "the rollout of `{plugin}` is over ({}); start another one",
                self.stage
            ));
        }
        let Some(next) = percent.or_else(|| self.steps.after(now)) else {
            return mistake(format!("the rollout of `{plugin}` has no step after {now}%"));
        };
        if next > 100 || next <= now {
            return mistake(format!(
                "`{next}` is no step forward: `{plugin}` is at {now}%, and 100 is the most; to go back, abort the rollout"
            ));
        }
        Ok(Stage::at(next))
    }
}

/// What of a plugin a rollout must not see changed, as SHA-256 in hex: its component, settings, bounds and tables.
pub fn fingerprint(plugin: &Plugin) -> String {
    let mut parts = vec![
        plugin.name.clone(),
        plugin.file.clone(),
        signing::encoding::hex(&signing::digest::sha256(&plugin.wasm)),
        format!(
            "{:?} {} {:?} {:?} {:?}",
            plugin.deadline, plugin.memory, plugin.config, plugin.imports, plugin.on_failure
        ),
    ];
    // Nothing where it is as ever, so that edges and authorities of two versions agree about that.
    if plugin.isolation != Isolation::Shared {
        parts.push(format!("{:?}", plugin.isolation));
    }
    for (name, table) in &plugin.tables {
        let text = signing::encoding::hex(&signing::digest::sha256(&table.text));
        parts.push(format!("{name} {} {} {text}", table.file, table.by_prefix));
    }
    let mut message = b"signet plugin v1".to_vec();
    for part in parts {
        message.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        message.extend_from_slice(part.as_bytes());
    }
    signing::encoding::hex(&signing::digest::sha256(&message))
}

#[cfg(test)]
mod tests;
