//! The `[kms]` section: the key API for KMS clients.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use audit::spool::{Retention, Settings};
use policies::bundle::Rate;
use policies::units::Period;
use serde::Deserialize;

/// For KMS clients. Without the section nothing is served to them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmsConfig {
    /// Where to listen with TLS, with the certificate that operators see. Port 0 takes a free one.
    pub address: SocketAddr,
    /// Where to listen in the clear: a loopback address. For clients on this machine that cannot be given a CA; whoever can
    /// read the loopback interface reads plaintexts. Default: nowhere.
    pub plain_address: Option<SocketAddr>,
    /// The regions served, as clients sign for them and ARNs name them. Default: every name. A key is found in the region
    /// that its ARN names, so a client of another region does not find it by its ARN.
    #[serde(default)]
    pub regions: Vec<String>,
    /// How many requests are taken.
    #[serde(default)]
    pub quota: KmsQuota,
    /// Bounds of the audit spool in `DATA_DIR/audit`.
    #[serde(default)]
    pub audit: KmsAudit,
}

/// Request quotas of this process. What comes above is refused with `ThrottlingException`, and clients try again by themselves.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KmsQuota {
    /// Per account and operation that uses a key. Default 10,000/s. Too low and busy accounts are slowed; too high and one
    /// account takes the processor of all.
    pub cryptographic: Rate,
    /// Per account and every other operation. Default 1,000/s.
    pub management: Rate,
    /// Per source address for `AssumeRoleWithWebIdentity`, which comes without a signature. Default 100/s. Too high and a
    /// stranger keeps the authority busy verifying tokens.
    pub assume_role: Rate,
}

/// Bounds of the audit spool.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KmsAudit {
    /// Bytes that the spool may take on disk, default 1 GiB, at least 64 MiB. At the bound, which only records reach that
    /// the audit log did not take yet, every operation is refused, unless `drop_oldest`.
    pub max_bytes: u64,
    /// Bytes of segments that stay though the audit log has them. Default 64 MiB.
    pub keep_shipped: u64,
    /// At the bound, drop the oldest segment instead: records are lost, which the spool itself records.
    pub drop_oldest: bool,
}

/// Sixteen segments of a spool.
const MIN_AUDIT: u64 = 64 << 20;

impl Default for KmsQuota {
    fn default() -> Self {
        Self {
            cryptographic: per_second(10_000),
            management: per_second(1_000),
            assume_role: per_second(100),
        }
    }
}

impl Default for KmsAudit {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            keep_shipped: 64 << 20,
            drop_oldest: false,
        }
    }
}

impl KmsAudit {
    /// As the spool takes them.
    pub fn settings(&self) -> Settings {
        Settings {
            keep_shipped: self.keep_shipped,
            retention: if self.drop_oldest {
                Retention::DropOldest
            } else {
                Retention::Stop
            },
            ..Settings::within(self.max_bytes)
        }
    }
}

impl KmsConfig {
    /// On these addresses, with every default.
    pub fn new(address: SocketAddr, plain_address: Option<SocketAddr>) -> Self {
        Self {
            address,
            plain_address,
            regions: Vec::new(),
            quota: KmsQuota::default(),
            audit: KmsAudit::default(),
        }
    }

    /// The first field that is out of its bounds, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.plain_address.is_some_and(|address| !address.ip().is_loopback()) {
            let message = "must be a loopback address: what is not encrypted stays on this machine";
            return Err(("kms.plain_address", message.into()));
        }
        if let Some(bad) = self.regions.iter().find(|region| !is_region(region)) {
            return Err(("kms.regions", format!("`{bad}` has not 1 to 32 of a-z 0-9 -")));
        }
        if self.audit.max_bytes < MIN_AUDIT {
            return Err(("kms.audit.max_bytes", format!("must be at least {MIN_AUDIT}")));
        }
        Ok(())
    }
}

/// Whether a region can stand in an ARN: 1 to 32 of `a-z 0-9 -`.
pub(crate) fn is_region(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(allowed)
}

fn per_second(count: u32) -> Rate {
    let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    Rate {
        count,
        period: Period::Second,
        burst: count,
    }
}
