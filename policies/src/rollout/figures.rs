//! What the calls of two versions came to: counts, how long they took, and how their answers differ. No bodies, no values of
//! claims: codes and numbers only.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Counts, Thresholds};

/// Most bytes of [`Figures`] as JSON.
pub const MAX_FIGURES: usize = 32 << 10;
/// Samples that are kept of each kind of difference: the newest.
const SAMPLES: usize = 4;
/// Bytes of one text in a sample.
const MAX_TEXT: usize = 128;
/// A window begins anew after so many times [`Thresholds::min_calls`].
const WINDOW: u64 = 10;

/// What a version answered, as far as versions are compared and shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It let the request pass.
    Allowed {
        /// The longest lifetime it accepts, seconds.
        cap: Option<u32>,
        /// The claims that it adds.
        claims: BTreeMap<String, serde_json::Value>,
    },
    /// It refused, with this code.
    Refused(String),
    /// It gave no answer: the kind of failure.
    Failed(&'static str),
}

/// How the new version's answer differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It refuses what the current one lets pass.
    NewlyRefused,
    /// It lets pass what the current one refuses.
    NewlyAllowed,
    /// Both refuse, with another code.
    Code,
    /// Both let pass, with another cap of the lifetime.
    Lifetime,
    /// Both let pass, with other claims.
    Claims,
}

impl Difference {
    /// A stable word for metrics, records and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NewlyRefused => "newly_refused",
            Self::NewlyAllowed => "newly_allowed",
            Self::Code => "code",
            Self::Lifetime => "lifetime",
            Self::Claims => "claims",
        }
    }
}

impl Answer {
    /// How `candidate` differs from this answer of the current version. Where either gave no answer there is nothing to compare.
    pub fn differs(&self, candidate: &Self) -> Option<Difference> {
        match (self, candidate) {
            (Self::Failed(_), _) | (_, Self::Failed(_)) => None,
            (Self::Allowed { .. }, Self::Refused(_)) => Some(Difference::NewlyRefused),
            (Self::Refused(_), Self::Allowed { .. }) => Some(Difference::NewlyAllowed),
            (Self::Refused(current), Self::Refused(new)) => (current != new).then_some(Difference::Code),
            (
                Self::Allowed { cap, claims },
                Self::Allowed {
                    cap: new_cap,
                    claims: new_claims,
                },
            ) => {
                if cap != new_cap {
                    Some(Difference::Lifetime)
                } else {
                    (claims != new_claims).then_some(Difference::Claims)
                }
            }
        }
    }

    /// For people and samples: no values of claims.
    pub fn describe(&self) -> String {
        match self {
            Self::Allowed { cap, claims } => {
                let cap = cap.map(|cap| format!(", at most {cap} s")).unwrap_or_default();
                match claims.len() {
                    0 => format!("allow{cap}"),
                    1 => format!("allow{cap}, 1 claim"),
                    many => format!("allow{cap}, {many} claims"),
                }
            }
            Self::Refused(code) => format!("refuse {code}"),
            Self::Failed(kind) => format!("fail {kind}"),
        }
    }
}

/// One request about which the versions differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// How.
    pub kind: Difference,
    /// The request's time, Unix seconds.
    pub time: u64,
    /// The request's id: the audit log has it.
    pub request_id: String,
    /// The profile it asked for.
    pub profile: String,
    /// What the current version answered.
    pub current: String,
    /// What the new one answered.
    pub candidate: String,
}

/// How long calls took: four buckets for each power of two of microseconds, so that a percentile is at most a quarter too high.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// Calls by bucket; those that are missing at the end are 0.
    buckets: Vec<u64>,
}

/// Up to 2^20 us, a second; longer calls are in the last one.
const BUCKETS: usize = 80;

impl Histogram {
    /// Counts a call that took so many microseconds.
    pub fn count(&mut self, micros: u64) {
        let index = bucket(micros);
        if self.buckets.len() <= index {
            self.buckets.resize(index.saturating_add(1), 0);
        }
        if let Some(count) = self.buckets.get_mut(index) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len().min(BUCKETS), 0);
        }
        for (sum, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// The microseconds that `percent` of the calls took at most; none before the first call.
    pub fn quantile(&self, percent: u64) -> Option<u64> {
        let total = self.buckets.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let wanted = total.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0_u64;
        let found = self.buckets.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= wanted
        });
        found.map(bound)
    }
}

/// Which bucket: two bits behind the leading one.
fn bucket(micros: u64) -> usize {
    let micros = micros.max(4);
    let power = micros.ilog2();
    let quarter = (micros >> power.saturating_sub(2)) & 3;
    let index = u64::from(power.saturating_sub(2))
        .saturating_mul(4)
        .saturating_add(quarter);
    usize::try_from(index)
        .unwrap_or(usize::MAX)
        .min(BUCKETS.saturating_sub(1))
}

/// The largest number of microseconds in a bucket.
fn bound(index: usize) -> u64 {
    let (power, quarter) = (u32::try_from(index / 4).unwrap_or(u32::MAX), index % 4);
    let next = u64::try_from(quarter).unwrap_or(3).saturating_add(5);
    next.checked_shl(power).unwrap_or(u64::MAX).saturating_sub(1)
}

/// What the calls of one version came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// Calls that let the request pass.
    pub allowed: u64,
    /// Calls that refused it.
    pub refused: u64,
    /// Calls that gave no answer.
    pub failed: u64,
    /// Calls that took longer than [`Thresholds::max_p99_us`].
    pub slow: u64,
    /// How long they took.
    pub took: Histogram,
}

impl Calls {
    /// Counts a call.
    pub fn count(&mut self, answer: &Answer, micros: u64, thresholds: &Thresholds) {
        let counter = match answer {
            Answer::Allowed { .. } => &mut self.allowed,
            Answer::Refused(_) => &mut self.refused,
            Answer::Failed(_) => &mut self.failed,
        };
        *counter = counter.saturating_add(1);
        self.slow = self.slow.saturating_add(u64::from(micros > thresholds.max_p99_us));
        self.took.count(micros);
    }

    /// How many.
    pub fn total(&self) -> u64 {
        self.allowed.saturating_add(self.refused).saturating_add(self.failed)
    }

    /// For [`Thresholds::broken`].
    pub fn counts(&self) -> Counts {
        Counts {
            calls: self.total(),
            failed: self.failed,
            slow: self.slow,
        }
    }

    fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.allowed, other.allowed),
            (&mut self.refused, other.refused),
            (&mut self.failed, other.failed),
            (&mut self.slow, other.slow),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        self.took.add(&other.took);
    }
}

/// What one process of an edge, or all edges, saw of a rollout since it began there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Calls of the current version.
    pub current: Calls,
    /// Calls of the new one.
    pub candidate: Calls,
    /// Differences by kind.
    pub differences: BTreeMap<Difference, u64>,
    /// The newest of each kind, oldest first.
    pub samples: Vec<Sample>,
    /// Why the edge uses the new version no more, by itself.
    pub stopped: Option<String>,
}

impl Figures {
    /// Notes that the versions differ.
    pub fn differ(&mut self, sample: Sample) {
        let count = self.differences.entry(sample.kind).or_default();
        *count = count.saturating_add(1);
        self.keep(sample);
    }

    /// Adds what another edge saw.
    pub fn add(&mut self, other: &Self) {
        self.current.add(&other.current);
        self.candidate.add(&other.candidate);
        for (kind, count) in &other.differences {
            let sum = self.differences.entry(*kind).or_default();
            *sum = sum.saturating_add(*count);
        }
        other.samples.iter().cloned().for_each(|sample| self.keep(sample));
        if self.stopped.is_none() {
            self.stopped.clone_from(&other.stopped);
        }
    }

    /// Whether an edge can have sent this: nothing in it is larger than what an edge keeps.
    pub fn is_bounded(&self) -> bool {
        let text = |text: &String| text.len() <= MAX_TEXT && !text.contains(char::is_control);
        let sample = |sample: &Sample| {
            let texts = [&sample.request_id, &sample.profile, &sample.current, &sample.candidate];
            texts.into_iter().all(text)
        };
        let histograms = [&self.current.took, &self.candidate.took];
        histograms.iter().all(|took| took.buckets.len() <= BUCKETS)
            && self.samples.len() <= SAMPLES.saturating_mul(5)
            && self.samples.iter().all(sample)
            && self.stopped.as_ref().is_none_or(|why| why.len() <= 1024)
    }

    fn keep(&mut self, sample: Sample) {
        let kind = sample.kind;
        let after = self.samples.partition_point(|kept| kept.time <= sample.time);
        self.samples.insert(after, sample);
        if self.samples.iter().filter(|kept| kept.kind == kind).count() > SAMPLES
            && let Some(oldest) = self.samples.iter().position(|kept| kept.kind == kind)
        {
            self.samples.remove(oldest);
        }
    }
}

/// The calls that an edge decides by: so many that a version that was good for long is not forgiven for long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window(Counts);

impl Window {
    /// Counts a call of the new version; answers why it is to be given up, if it is.
    pub fn count(&mut self, failed: bool, micros: u64, thresholds: &Thresholds) -> Option<String> {
        if self.0.calls >= thresholds.min_calls.saturating_mul(WINDOW) {
            self.0 = Counts::default();
        }
        self.0.calls = self.0.calls.saturating_add(1);
        self.0.failed = self.0.failed.saturating_add(u64::from(failed));
        self.0.slow = self.0.slow.saturating_add(u64::from(micros > thresholds.max_p99_us));
        thresholds.broken(&self.0)
    }
}
