//! The authority's configuration file, TOML. Unknown fields are refused.

mod audit;
mod export;
mod kms;
mod store;
mod witness;

use std::net::SocketAddr;
use std::path::PathBuf;

use node::config::{ConfigError, Duration, Seconds};
use serde::Deserialize;

use crate::names::is_trust_domain;
use crate::rotation::Schedule;

pub use self::audit::{AuditConfig, LogConfig, S3Config};
pub use self::export::{ExportConfig, FileExport, HttpExport, SyslogExport};
pub(crate) use self::kms::is_region;
pub use self::kms::{KmsAudit, KmsConfig, KmsQuota};
pub use self::store::{EtcdConfig, StoreConfig};
pub use self::witness::WitnessConfig;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Everything that `signet authority` needs to know.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The name in every SPIFFE ID and delegation, a lowercase DNS name. It cannot be changed once the roots are made.
    pub trust_domain: String,
    /// Where the embedded store is, and the software HSM's file. Losing it loses every key.
    pub data_dir: PathBuf,
    /// A file that shows that the store was not put back to an older state, on another disk at best: without it, or behind it,
    /// the authority stays sealed. Default `DATA_DIR/anchor`.
    pub anchor_file: Option<PathBuf>,
    /// Where the state is: `"redb"` (default), in the data directory, or an etcd cluster that several authorities share.
    #[serde(default)]
    pub store: StoreConfig,
    /// The region in the ARNs that operators are shown. Default `local`. KMS clients see the region that they sign for.
    #[serde(default = "default_region")]
    pub region: String,
    /// Start although memory cannot be locked and swap is on. Default false: keys could be written to the swap device, and
    /// outlive the process there.
    #[serde(default)]
    pub allow_swap: bool,
    /// The HSM.
    pub hsm: HsmConfig,
    /// For edges.
    pub grpc: GrpcConfig,
    /// For operators.
    pub admin: AdminConfig,
    /// For KMS clients; without it none are served.
    pub kms: Option<KmsConfig>,
    /// The timeline of shared token keys.
    #[serde(default)]
    pub rotation: RotationConfig,
    /// What edges are handed.
    #[serde(default)]
    pub delegation: DelegationConfig,
    /// Node identities.
    #[serde(default)]
    pub enrollment: EnrollmentConfig,
    /// Where the audit log is.
    #[serde(default)]
    pub audit: AuditConfig,
    /// Where audit records go besides the log.
    #[serde(default)]
    pub export: Vec<ExportConfig>,
    /// Who cosigns the log's checkpoints.
    #[serde(default)]
    pub witness: Vec<WitnessConfig>,
}

/// Which HSM.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum HsmConfig {
    /// A PKCS#11 token, whose module runs in a process of its own.
    Pkcs11(Pkcs11Config),
    /// A file under a passphrase, for trials.
    Software(SoftwareConfig),
}

/// A PKCS#11 token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Config {
    /// The module, a path.
    pub module: PathBuf,
    /// The token's label.
    pub label: String,
    /// A file with the user PIN, which nobody else should be able to read (mode 0600). Exactly one of this and `pin_env`.
    pub pin_file: Option<PathBuf>,
    /// An environment variable with the user PIN.
    pub pin_env: Option<String>,
    /// How long the token may take for one call. Default 5 s; too short kills healthy workers, too long keeps callers waiting.
    pub deadline: Option<Duration>,
    /// How long a worker may take to open the token. Default 15 s.
    pub start_deadline: Option<Duration>,
    /// Sessions, 1 to 64. Default 4. More than the token has makes it refuse to open.
    pub sessions: Option<u16>,
    /// Environment variables for the module, such as `SOFTHSM2_CONF`.
    #[serde(default)]
    pub environment: std::collections::BTreeMap<String, String>,
    /// The executable that runs the module. Default: this one, as `signet hsm-worker`.
    pub worker: Option<PathBuf>,
}

/// A file in place of an HSM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftwareConfig {
    /// Default `DATA_DIR/software-hsm`.
    pub file: Option<PathBuf>,
    /// A file with the passphrase, at least 12 bytes, which nobody else should be able to read. Exactly one of this and `passphrase_env`.
    pub passphrase_file: Option<PathBuf>,
    /// An environment variable with the passphrase.
    pub passphrase_env: Option<String>,
}

/// For edges.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcConfig {
    /// Where to listen. Port 0 takes a free one.
    pub address: SocketAddr,
    /// The DNS names and IP addresses under which edges reach this, for its certificate. At least one.
    pub names: Vec<String>,
    /// Most connections at once, 1 to 100,000. Default 4,096. Too few keeps edges out, too many lets them exhaust the process.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// Life of the server's own certificate, 5 min to 90 days. Default 24 h; renewed at half of it.
    #[serde(default = "one_day")]
    pub certificate_lifetime: Seconds,
}

/// For operators.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Where to listen. Port 0 takes a free one.
    pub address: SocketAddr,
    /// The server's certificate chain, PEM; read again when it changes. Without it, the certificate for edges is shown,
    /// which clients verify under the node root.
    pub certificate_file: Option<PathBuf>,
    /// Its private key, PEM. Together with `certificate_file` or not at all.
    pub key_file: Option<PathBuf>,
}

/// The timeline of shared token keys.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RotationConfig {
    /// From a version's publication to its first signature, 0 to 7 days. Default 15 min: shorter than verifiers cache the
    /// JWKS, and they refuse good tokens.
    pub publish_lead: Seconds,
    /// How long a version signs, 1 min to 365 days, at least `publish_lead`. Default 24 h.
    pub sign_period: Seconds,
    /// The longest lifetime a profile may give a token, 1 s to 30 days. Default 24 h. Versions stay in the JWKS that much longer.
    pub token_lifetime_cap: Seconds,
}

/// What edges are handed.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DelegationConfig {
    /// Life of a delegation, 1 min to 7 days. Default 1 h: how long an edge goes on without the authority, and how long a
    /// stolen delegation is good.
    pub lifetime: Seconds,
}

/// Node identities.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnrollmentConfig {
    /// Life of a node certificate, 5 min to 90 days. Default 24 h; edges renew at half of it. An edge that is away for
    /// longer has to enroll anew.
    pub certificate_lifetime: Seconds,
}

impl Default for RotationConfig {
    fn default() -> Self {
        Self {
            publish_lead: Seconds::new(900),
            sign_period: one_day(),
            token_lifetime_cap: one_day(),
        }
    }
}

impl Default for DelegationConfig {
    fn default() -> Self {
        Self {
            lifetime: Seconds::new(HOUR),
        }
    }
}

impl Default for EnrollmentConfig {
    fn default() -> Self {
        Self {
            certificate_lifetime: one_day(),
        }
    }
}

impl RotationConfig {
    /// As the pure part takes it.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            publish_lead: self.publish_lead.get(),
            sign_period: Some(self.sign_period.get()),
            lifetime_cap: self.token_lifetime_cap.get(),
        }
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &std::path::Path) -> Result<Self, ConfigError> {
        let config: Self = node::config::load(path)?;
        match config.check() {
            Ok(()) => Ok(config),
            Err((field, message)) => Err(ConfigError::new(path, field, message)),
        }
    }

    /// The first field that is out of its bounds, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !is_trust_domain(&self.trust_domain) {
            return Err(("trust_domain", "must be a lowercase DNS name".into()));
        }
        if !is_region(&self.region) {
            return Err(("region", "must have 1 to 32 of a-z 0-9 -".into()));
        }
        if self.grpc.names.is_empty() {
            return Err(("grpc.names", "needs at least one DNS name or IP address".into()));
        }
        if !(1..=100_000).contains(&self.grpc.connections) {
            return Err(("grpc.connections", "must be 1 to 100000".into()));
        }
        if self.admin.certificate_file.is_some() != self.admin.key_file.is_some() {
            return Err((
                "admin.key_file",
                "goes with `certificate_file`: give both or neither".into(),
            ));
        }
        if let Some(kms) = &self.kms {
            kms.check()?;
        }
        self.audit.check()?;
        export::check(&self.export)?;
        witness::check(&self.witness)?;
        self.store.check(&self.hsm)?;
        self.check_hsm()?;
        self.check_times()
    }

    fn check_hsm(&self) -> Result<(), (&'static str, String)> {
        let one = |a: bool, b: bool| a != b;
        match &self.hsm {
            HsmConfig::Pkcs11(token) if !one(token.pin_file.is_some(), token.pin_env.is_some()) => {
                Err(("hsm", "needs exactly one of `pin_file` and `pin_env`".into()))
            }
            HsmConfig::Software(file) if !one(file.passphrase_file.is_some(), file.passphrase_env.is_some()) => Err((
                "hsm",
                "needs exactly one of `passphrase_file` and `passphrase_env`".into(),
            )),
            HsmConfig::Pkcs11(_) | HsmConfig::Software(_) => Ok(()),
        }
    }

    fn check_times(&self) -> Result<(), (&'static str, String)> {
        let bounds = [
            ("rotation.publish_lead", self.rotation.publish_lead, 0, 7 * DAY),
            ("rotation.sign_period", self.rotation.sign_period, 60, 365 * DAY),
            (
                "rotation.token_lifetime_cap",
                self.rotation.token_lifetime_cap,
                1,
                30 * DAY,
            ),
            ("delegation.lifetime", self.delegation.lifetime, 60, 7 * DAY),
            (
                "enrollment.certificate_lifetime",
                self.enrollment.certificate_lifetime,
                300,
                90 * DAY,
            ),
            (
                "grpc.certificate_lifetime",
                self.grpc.certificate_lifetime,
                300,
                90 * DAY,
            ),
        ];
        for (field, value, min, max) in bounds {
            if !(min..=max).contains(&value.get()) {
                return Err((
                    field,
                    format!("must be {} to {}, not {value}", Seconds::new(min), Seconds::new(max)),
                ));
            }
        }
        if self.rotation.sign_period < self.rotation.publish_lead {
            let message = "must be at least `publish_lead`, or there are times without a version that signs";
            return Err(("rotation.sign_period", message.into()));
        }
        Ok(())
    }
}

fn default_region() -> String {
    "local".to_owned()
}

fn default_connections() -> usize {
    4096
}

fn one_day() -> Seconds {
    Seconds::new(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        trust_domain = "example.org"
        data_dir = "/var/lib/signet"
        [hsm]
        kind = "software"
        passphrase_env = "PASSPHRASE"
        [grpc]
        address = "127.0.0.1:0"
        names = ["localhost"]
        [admin]
        address = "127.0.0.1:0"
    "#;

    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = node::config::parse("authority.toml", text).map_err(|error| error.to_string())?;
        config
            .check()
            .map_err(|(field, message)| format!("{field}: {message}"))?;
        Ok(config)
    }

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let config = parse(GOOD).unwrap();
        let schedule = config.rotation.schedule();
        assert_eq!(
            (schedule.publish_lead, schedule.sign_period, schedule.lifetime_cap),
            (900, Some(DAY), DAY)
        );
        assert_eq!(config.delegation.lifetime.get(), HOUR);
    }

    #[test]
    fn bad_fields_are_refused_by_name() {
        let cases = [
            (
                "trust_domain = \"example.org\"",
                "trust_domain = \"Example.org\"",
                "trust_domain",
            ),
            ("data_dir", "data_dirr", "data_dir"),
            ("names = [\"localhost\"]", "names = []", "grpc.names"),
            ("kind = \"software\"", "kind = \"paper\"", "paper"),
            ("passphrase_env = \"PASSPHRASE\"", "", "passphrase"),
            ("[admin]", "[admin]\nkey_file = \"k\"", "admin.key_file"),
            (
                "[admin]",
                "[rotation]\npublish_lead = \"2d\"\n[admin]",
                "rotation.sign_period",
            ),
            (
                "[admin]",
                "[delegation]\nlifetime = \"1s\"\n[admin]",
                "delegation.lifetime",
            ),
            (
                "[admin]",
                "[delegation]\nlifetime = \"1 fortnight\"\n[admin]",
                "fortnight",
            ),
            ("[admin]", "[surprise]\n[admin]", "surprise"),
            ("[admin]", "[kms]\nport = 1\n[admin]", "port"),
            (
                "[hsm]",
                "store = {etcd=[\"http://[::1]:1\"],replica=\"a\"}\n[hsm]",
                "hsm.kind",
            ),
            (
                "[admin]",
                "[kms]\naddress = \"127.0.0.1:0\"\nplain_address = \"0.0.0.0:0\"\n[admin]",
                "kms.plain_address",
            ),
            (
                "[admin]",
                "[kms]\naddress = \"127.0.0.1:0\"\nregions = [\"EU\"]\n[admin]",
                "kms.regions",
            ),
            (
                "[admin]",
                "[kms]\naddress = \"127.0.0.1:0\"\naudit = { max_bytes = 1 }\n[admin]",
                "kms.audit.max_bytes",
            ),
            (
                "[admin]",
                "[kms]\naddress = \"127.0.0.1:0\"\nquota = { management = \"1/y\" }\n[admin]",
                "1/y",
            ),
        ];
        for (from, to, named) in cases {
            let error = parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(named), "`{to}` gave: {error}");
        }
    }
}
