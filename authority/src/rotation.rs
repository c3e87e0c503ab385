//! The versions of a shared key over time. Pure: what is due is computed from the versions and the time, and nothing else.
//!
//! ```text
//!            publish_at      sign_from        sign_until               retire_at
//! version 1  ├── lead ──────┼── period ──────┤── token lifetime cap ──┤
//! version 2  ├── standby, published ─────────┼── period ──────────────┤── …
//! ```
//!
//! A version is in the JWKS from `publish_at` to `retire_at` and signs from `sign_from` to `sign_until`. The one after the
//! signing version is always published already, so that a switch, planned or forced, meets verifiers that know it.

use serde::{Deserialize, Serialize};

/// A time that never comes (9999-12-31T23:59:59Z), for versions that do not rotate.
pub const NEVER: u64 = 253_402_300_799;
/// Added to the lifetime cap before a version retires: verifiers allow some clock difference.
const RETIRE_MARGIN: u64 = 300;

/// How long things last, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From a version's publication to its first signature: as long as verifiers may cache the JWKS.
    pub publish_lead: u64,
    /// How long a version signs; `None`: for ever, with no standby (artifacts outlive every rotation).
    pub sign_period: Option<u64>,
    /// The longest lifetime a token can have: a version stays in the JWKS that long after its last signature.
    pub lifetime_cap: u64,
}

/// One version of a logical key. Times are Unix seconds. No secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// 1 for the first, never reused.
    pub number: u32,
    /// RFC 7638 thumbprint; random for HS256; empty where each edge has its own key; of a raw key its key material id.
    pub kid: String,
    /// The public JWK, JSON; empty for HS256 and where each edge has its own key.
    pub public_jwk: String,
    /// The DER SubjectPublicKeyInfo of a raw key in base64; empty for secrets and for keys of edges.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub public_spki: String,
    /// In the JWKS from here.
    pub publish_at: u64,
    /// Signs from here.
    pub sign_from: u64,
    /// Signs to here, exclusive.
    pub sign_until: u64,
    /// Leaves the JWKS here, exclusive: the last token it signed has expired.
    pub retire_at: u64,
    /// Left the JWKS at once and verifies nothing.
    #[serde(default)]
    pub compromised: bool,
}

impl Version {
    /// Whether it signs at `now`.
    pub fn signs(&self, now: u64) -> bool {
        !self.compromised && (self.sign_from..self.sign_until).contains(&now)
    }

    /// Whether it will sign later.
    pub fn is_standby(&self, now: u64) -> bool {
        !self.compromised && self.sign_from > now
    }

    /// Whether its signatures verify at `now`.
    pub fn verifies(&self, now: u64) -> bool {
        !self.compromised && (self.publish_at..self.retire_at).contains(&now)
    }
}

/// The times of a version that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// See [`Version::publish_at`].
    pub publish_at: u64,
    /// See [`Version::sign_from`].
    pub sign_from: u64,
    /// See [`Version::sign_until`].
    pub sign_until: u64,
    /// See [`Version::retire_at`].
    pub retire_at: u64,
}

/// What is due at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Versions to keep, with their times as they are to be.
    pub keep: Vec<Version>,
    /// Versions to make.
    pub make: Vec<Slot>,
    /// Numbers of versions that are gone: their material is to be deleted.
    pub retire: Vec<u32>,
}

impl Plan {
    /// Keeps what was to go, in its place and with its times: out of every JWKS, material and all.
    pub fn spare(&mut self, versions: &[Version]) {
        let mut kept = std::mem::take(&mut self.keep).into_iter().peekable();
        let all = versions.iter().map(|version| {
            let next = kept.next_if(|next| next.number == version.number);
            next.unwrap_or_else(|| version.clone())
        });
        self.keep = all.collect();
        self.retire.clear();
    }

    /// Whether `versions` are as this plan wants them.
    pub fn is_done(&self, versions: &[Version]) -> bool {
        self.make.is_empty() && self.retire.is_empty() && self.keep == versions
    }
}

/// What is due at `now`: retired versions go, and there is one version that signs and one that stands by.
///
/// Where nobody watched for so long that no version signs (the authority was down), the newest published one goes on
/// signing rather than leave a gap: verifiers know it. Only where there is none, callers wait for `publish_lead`.
pub fn plan(versions: &[Version], now: u64, schedule: &Schedule) -> Plan {
    let (keep, gone): (Vec<_>, Vec<_>) = versions.iter().cloned().partition(|version| now < version.retire_at);
    let mut plan = Plan {
        keep,
        make: Vec::new(),
        retire: gone.iter().map(|version| version.number).collect(),
    };
    let lead = schedule.publish_lead;
    let signing = plan.keep.iter().any(|version| version.signs(now));
    let standby = plan.keep.iter().any(|version| version.is_standby(now));
    if !signing && !standby {
        let newest = plan
            .keep
            .iter_mut()
            .filter(|version| version.verifies(now))
            .max_by_key(|version| version.sign_until);
        match newest {
            Some(version) => extend(version, now, schedule),
            None => plan.make.push(slot(now, now.saturating_add(lead), schedule)),
        }
    }
    pull_forward(&mut plan.keep, now, schedule);
    if schedule.sign_period.is_some() {
        let kept = plan
            .keep
            .iter()
            .filter(|version| !version.compromised)
            .map(|version| version.sign_until);
        let last = kept
            .chain(plan.make.iter().map(|slot| slot.sign_until))
            .max()
            .unwrap_or(now);
        let standby = plan.keep.iter().any(|version| version.is_standby(now));
        if !standby && plan.make.len() < 2 {
            plan.make.push(slot(now, last.max(now.saturating_add(lead)), schedule));
        }
    }
    plan
}

/// Takes a version out of use at once. What stands by signs as soon as verifiers know it; call [`plan`] next for a new standby.
pub fn compromise(versions: &mut [Version], kid: &str, now: u64) -> bool {
    let Some(version) = versions.iter_mut().find(|version| version.kid == kid) else {
        return false;
    };
    version.compromised = true;
    version.sign_until = version.sign_until.min(now);
    true
}

/// Ends the signing version's time now, so that the standby takes over as soon as verifiers know it. False where none stands by.
pub fn rotate_now(versions: &mut [Version], now: u64, schedule: &Schedule) -> bool {
    let known = |version: &Version| version.publish_at.saturating_add(schedule.publish_lead);
    let next = versions
        .iter()
        .filter(|version| version.is_standby(now))
        .map(|version| known(version).max(now))
        .min();
    let Some(at) = next else { return false };
    for version in versions.iter_mut().filter(|version| version.signs(now)) {
        version.sign_until = at.max(version.sign_from.saturating_add(1));
        version.retire_at = retire_at(version.sign_until, schedule);
    }
    true
}

/// When [`plan`] has something to do next, in Unix seconds.
pub fn next_due(versions: &[Version], now: u64) -> u64 {
    let times = versions
        .iter()
        .flat_map(|version| [version.sign_from, version.sign_until, version.retire_at]);
    times.filter(|time| *time > now).min().unwrap_or(NEVER)
}

/// Where nothing signs, or the signing version ends before the standby begins, the first standby takes over sooner: but
/// never before it has been published for the lead.
fn pull_forward(versions: &mut [Version], now: u64, schedule: &Schedule) {
    let end = versions
        .iter()
        .filter(|version| version.signs(now))
        .map(|version| version.sign_until)
        .max()
        .unwrap_or(now);
    let Some(first) = versions
        .iter_mut()
        .filter(|version| version.is_standby(now))
        .min_by_key(|version| version.sign_from)
    else {
        return;
    };
    let from = end.max(first.publish_at.saturating_add(schedule.publish_lead));
    if from < first.sign_from {
        let slot = slot(first.publish_at, from, schedule);
        (first.sign_from, first.sign_until, first.retire_at) = (slot.sign_from, slot.sign_until, slot.retire_at);
    }
}

fn extend(version: &mut Version, now: u64, schedule: &Schedule) {
    let slot = slot(now, now, schedule);
    (version.sign_until, version.retire_at) = (slot.sign_until, slot.retire_at);
}

fn slot(publish_at: u64, sign_from: u64, schedule: &Schedule) -> Slot {
    let sign_until = schedule
        .sign_period
        .map_or(NEVER, |period| sign_from.saturating_add(period.max(1)));
    Slot {
        publish_at,
        sign_from,
        sign_until,
        retire_at: retire_at(sign_until, schedule),
    }
}

fn retire_at(sign_until: u64, schedule: &Schedule) -> u64 {
    sign_until
        .saturating_add(schedule.lifetime_cap)
        .saturating_add(RETIRE_MARGIN)
        .min(NEVER)
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
