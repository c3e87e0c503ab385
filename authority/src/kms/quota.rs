//! Request quotas: per account and operation, and per address for the one call that comes without a signature.
//!
//! Token buckets (GCRA) held by this process alone: two authorities on one store admit twice the rate.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use policies::bundle::Rate;

use super::refusal::Refusal;
use crate::config::KmsQuota;
use crate::names::Tenant;

/// The error of a spent quota.
pub(super) const THROTTLING: &str = "ThrottlingException";
/// Addresses held before the idle ones are forgotten at the next [`Quotas::sweep`].
const ADDRESSES_BEFORE_SWEEP: usize = 65_536;

/// The limiters.
pub(super) struct Quotas {
    cryptographic: DefaultKeyedRateLimiter<(Tenant, String)>,
    management: DefaultKeyedRateLimiter<(Tenant, String)>,
    assume_role: DefaultKeyedRateLimiter<IpAddr>,
}

/// Proof that an account's request was counted. Only [`Quotas::admit`] makes one.
#[derive(Debug)]
pub(super) struct Admitted(());

impl Quotas {
    pub(super) fn new(quota: &KmsQuota) -> Self {
        Self {
            cryptographic: RateLimiter::keyed(bucket(&quota.cryptographic)),
            management: RateLimiter::keyed(bucket(&quota.management)),
            assume_role: RateLimiter::keyed(bucket(&quota.assume_role)),
        }
    }

    /// Counts one request of an account. There are as many counts as accounts and operations, no caller makes more.
    pub(super) fn admit(&self, account: &Tenant, name: &str) -> Result<Admitted, Refusal> {
        let limiter = if is_cryptographic(name) {
            &self.cryptographic
        } else {
            &self.management
        };
        match limiter.check_key(&(account.clone(), name.to_owned())) {
            Ok(()) => Ok(Admitted(())),
            Err(_) => Err(Refusal::new(THROTTLING, "Rate exceeded")),
        }
    }

    /// Counts one unsigned request of an address, before its token is looked at. IPv6 is counted by /64, what one host is
    /// given.
    pub(super) fn address(&self, address: IpAddr) -> Result<(), Refusal> {
        let network = match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        };
        let throttled = |_| Refusal::new("Throttling", "Rate exceeded");
        self.assume_role.check_key(&network).map_err(throttled)
    }

    /// Forgets addresses whose buckets are full again. Called each second, so that a flood of addresses grows the table by
    /// no more than a second's worth.
    pub(super) fn sweep(&self) {
        if self.assume_role.len() > ADDRESSES_BEFORE_SWEEP {
            self.assume_role.retain_recent();
        }
    }
}

/// Operations that use a key's material, or make some for the caller.
fn is_cryptographic(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "Encrypt",
        "Decrypt",
        "ReEncrypt",
        "Sign",
        "Verify",
        "VerifyMac",
        "DeriveSharedSecret",
        "Encapsulate",
        "Decapsulate",
    ];
    name.starts_with("Generate") || NAMES.contains(&name)
}

fn bucket(rate: &Rate) -> Quota {
    let burst = NonZeroU32::new(rate.burst.get()).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(rate.interval())
        .unwrap_or_else(|| Quota::per_second(burst))
        .allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(text: &str) -> Quotas {
        Quotas::new(&node::config::parse("quota.toml", text).unwrap())
    }

    #[test]
    fn an_account_is_throttled_by_operation_and_no_other_account_with_it() {
        let quotas = quotas("cryptographic = { rate = \"1/h\", burst = 2 }\nmanagement = \"1/h\"");
        let account = |digits| Tenant::parse(digits).unwrap();
        let (one, two) = (account("000000000001"), account("000000000002"));
        let admit = |account, name| quotas.admit(account, name).map(drop);
        assert!(admit(&one, "Sign").is_ok() && admit(&one, "Sign").is_ok());
        let refusal = admit(&one, "Sign").unwrap_err();
        assert_eq!((refusal.code, refusal.status.as_u16()), ("ThrottlingException", 400));
        assert!(admit(&one, "GenerateMac").is_ok() && admit(&two, "Sign").is_ok());
        assert!(admit(&one, "DescribeKey").is_ok() && admit(&one, "DescribeKey").is_err());
    }

    #[test]
    fn an_address_is_throttled_with_its_network() {
        let quotas = quotas("assume_role = \"1/h\"");
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(quotas.address(address("2001:db8::1")).is_ok());
        assert!(quotas.address(address("2001:db8::2")).is_err());
        assert!(quotas.address(address("2001:db8:0:1::1")).is_ok());
        assert!(quotas.address(address("192.0.2.1")).is_ok());
        assert!(quotas.address(address("::ffff:192.0.2.1")).is_err());
        quotas.sweep();
    }
}
