//! Limits before a request is understood (address, caller, tenant) and quotas once it is permitted (key, profile).
//!
//! All are token buckets (GCRA, crate `governor`) held by this edge alone: a fleet of N edges admits up to N times the rate.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use node::identity::Caller;
use policies::bundle::{Limits, Rate};
use policies::permit::{Quota as QuotaSource, RetryAfter};
use policies::profile::Profile;

/// A keyed limiter holding more keys than this forgets the idle ones at the next [`Throttle::sweep`].
const KEYS_BEFORE_SWEEP: usize = 65_536;

/// Which limit refused, and when to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// `address`, `caller`, `tenant`, `key` or `profile`.
    pub policy: &'static str,
    /// The limit's burst size: what the `RateLimit-Policy` field calls `q`.
    pub quota: u32,
    /// Seconds for which the quota is spent at its rate: the policy's window, `w`.
    pub window: u64,
    /// How long until what was asked for is there, rounded up to a second in `Retry-After`; none when it never will be,
    /// because it is more than the burst.
    pub retry_after: Option<Duration>,
}

/// Proof that a caller was admitted under the address, caller and tenant limits. Only [`Throttle::admit`] makes one.
#[derive(Debug)]
pub struct Admitted {
    caller: Arc<Caller>,
}

impl Admitted {
    /// Who was admitted.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }
}

/// The limiters of one bundle. Those whose rate a new bundle leaves alone keep their counts.
#[derive(Debug, Default)]
pub struct Throttle {
    address: Option<Keyed<IpAddr>>,
    caller: Option<Keyed<u64>>,
    tenant: Option<Keyed<u64>>,
    quotas: HashMap<String, ProfileQuotas>,
}

#[derive(Debug, Clone)]
struct ProfileQuotas {
    profile: Option<Direct>,
    key: Option<Keyed<u64>>,
}

impl Throttle {
    /// Builds the limiters of a bundle, taking over from `previous` each one whose rate has not changed.
    pub fn new(limits: &Limits, profiles: &[Arc<Profile>], previous: Option<&Throttle>) -> Throttle {
        let quotas = profiles.iter().map(|profile| {
            let old = previous.and_then(|old| old.quotas.get(&profile.name));
            let quotas = ProfileQuotas {
                profile: Direct::reuse(
                    profile.quota.per_profile.as_ref(),
                    old.and_then(|old| old.profile.as_ref()),
                ),
                key: Keyed::reuse(profile.quota.per_key.as_ref(), old.and_then(|old| old.key.as_ref())),
            };
            (profile.name.clone(), quotas)
        });
        Throttle {
            quotas: quotas.collect(),
            address: Keyed::reuse(
                limits.per_address.as_ref(),
                previous.and_then(|old| old.address.as_ref()),
            ),
            caller: Keyed::reuse(limits.per_caller.as_ref(), previous.and_then(|old| old.caller.as_ref())),
            tenant: Keyed::reuse(limits.per_tenant.as_ref(), previous.and_then(|old| old.tenant.as_ref())),
        }
    }

    /// Counts one request of an address, before anything of it is believed. IPv6 is counted by /64, what one host is given.
    pub fn address(&self, address: IpAddr) -> Result<(), Limited> {
        match &self.address {
            Some(limiter) => limiter.take(&network(address), 1, "address"),
            None => Ok(()),
        }
    }

    /// Counts one request against the caller and its tenant.
    pub fn admit(&self, caller: Arc<Caller>) -> Result<Admitted, Limited> {
        self.count(caller, 1)
    }

    /// Counts the other elements of a batch of `elements`, the first of which the request itself was counted for.
    pub fn admit_batch(&self, first: &Admitted, elements: u32) -> Result<(), Limited> {
        for (limiter, policy) in [(&self.caller, "caller"), (&self.tenant, "tenant")] {
            if let Some(limiter) = limiter.as_ref().filter(|limiter| elements > limiter.rate.burst.get()) {
                return Err(limited(&limiter.rate, policy, None));
            }
        }
        match elements.saturating_sub(1) {
            0 => Ok(()),
            others => self.count(first.caller.clone(), others).map(drop),
        }
    }

    fn count(&self, caller: Arc<Caller>, units: u32) -> Result<Admitted, Limited> {
        if let Some(limiter) = &self.caller {
            limiter.take(&hash(caller.id()), units, "caller")?;
        }
        if let Some(limiter) = &self.tenant {
            limiter.take(&hash(caller.tenant()), units, "tenant")?;
        }
        Ok(Admitted { caller })
    }
}

impl Throttle {
    /// Forgets addresses and callers whose buckets are full again. Called each second, off the request path, so that a
    /// flood of addresses grows the tables by no more than a second's worth.
    pub fn sweep(&self) {
        if let Some(limiter) = &self.address {
            limiter.sweep();
        }
        for limiter in [&self.caller, &self.tenant].into_iter().flatten() {
            limiter.sweep();
        }
    }
}

impl QuotaSource for Throttle {
    fn take(&self, key_id: &str, profile: &Profile) -> Result<(), RetryAfter> {
        let Some(quotas) = self.quotas.get(&profile.name) else {
            return Ok(());
        };
        if let Some(limiter) = &quotas.profile {
            limiter.take("profile").map_err(retry)?;
        }
        if let Some(limiter) = &quotas.key {
            limiter.take(&hash(key_id), 1, "key").map_err(retry)?;
        }
        Ok(())
    }
}

fn retry(limited: Limited) -> RetryAfter {
    let (quota, limit) = (limited.policy, limited.quota);
    // One signature at a time is asked for, and no burst is smaller.
    let after = limited.retry_after.unwrap_or_default();
    RetryAfter {
        quota,
        limit,
        window: Duration::from_secs(limited.window),
        after,
    }
}

/// The network a limit counts: an IPv4 address, or the /64 of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// Limiter keys are 64-bit hashes keyed by a per-process secret: short to store, and a caller cannot aim at another's.
fn hash(text: &str) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    static STATE: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::new);
    STATE.hash_one(text)
}

fn quota(rate: &Rate) -> Quota {
    let burst = NonZeroU32::new(rate.burst.get()).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(rate.interval())
        .unwrap_or_else(|| Quota::per_second(burst))
        .allow_burst(burst)
}

fn window(rate: &Rate) -> u64 {
    let seconds = rate.interval().saturating_mul(rate.burst.get());
    seconds.as_secs().max(1)
}

#[derive(Debug, Clone)]
struct Keyed<K: std::hash::Hash + Eq + Clone> {
    rate: Rate,
    limiter: Arc<DefaultKeyedRateLimiter<K>>,
}

impl<K: std::hash::Hash + Eq + Clone> Keyed<K> {
    fn reuse(rate: Option<&Rate>, old: Option<&Keyed<K>>) -> Option<Keyed<K>> {
        let rate = rate?;
        match old {
            Some(old) if old.rate == *rate => Some(old.clone()),
            _ => Some(Keyed {
                rate: *rate,
                limiter: Arc::new(RateLimiter::keyed(quota(rate))),
            }),
        }
    }

    fn sweep(&self) {
        if self.limiter.len() > KEYS_BEFORE_SWEEP {
            self.limiter.retain_recent();
        }
    }

    fn take(&self, key: &K, units: u32, policy: &'static str) -> Result<(), Limited> {
        let units = NonZeroU32::new(units).unwrap_or(NonZeroU32::MIN);
        let answer = self.limiter.check_key_n(key, units);
        let answer = answer.map_err(|_| limited(&self.rate, policy, None))?;
        answer.map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            limited(&self.rate, policy, Some(wait))
        })
    }
}

#[derive(Debug, Clone)]
struct Direct {
    rate: Rate,
    limiter: Arc<DefaultDirectRateLimiter>,
}

impl Direct {
    fn reuse(rate: Option<&Rate>, old: Option<&Direct>) -> Option<Direct> {
        let rate = rate?;
        match old {
            Some(old) if old.rate == *rate => Some(old.clone()),
            _ => Some(Direct {
                rate: *rate,
                limiter: Arc::new(RateLimiter::direct(quota(rate))),
            }),
        }
    }

    fn take(&self, policy: &'static str) -> Result<(), Limited> {
        self.limiter.check().map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            limited(&self.rate, policy, Some(wait))
        })
    }
}

fn limited(rate: &Rate, policy: &'static str, retry_after: Option<Duration>) -> Limited {
    Limited {
        policy,
        quota: rate.burst.get(),
        window: window(rate),
        retry_after,
    }
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
