//! `signet dev`: an authority and an edge in one process, on embedded defaults, for a first look and for tests.
//!
//! The two talk over gRPC on loopback, exactly as two machines would. What is special here is only how they are set up:
//! a development CA, an issuer of callers' tokens, keys and a bundle, all in one data directory.

mod bundle;
pub(crate) mod files;
mod kms;
mod pki;
mod print;
mod roles;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use self::kms::REGION;
use self::pki::Pki;
use self::roles::{Addresses, Roles};
use crate::client::{INFO, runtime};
use crate::failure::{Context, Failure};
use crate::output;

/// Run an authority and an edge on this machine, and print commands to paste.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet dev                                          free ports, state in ./signet-data
  signet dev --edge-port 8443 --plain-port 8080
  signet dev --account 123456789012                   the account of the KMS endpoint
  signet dev --json --data /tmp/s                     one JSON object on stdout once everything is ready")]
pub struct Dev {
    /// Where all state is; made if it is not there, found again at the next start.
    #[arg(long, value_name = "DIR", default_value = "signet-data")]
    data: PathBuf,
    /// Print one JSON object instead of commands, and nothing else on standard output.
    #[arg(long)]
    json: bool,
    /// The edge's TLS port, TCP and UDP; 0 takes the one of the last start if it is free, else any.
    #[arg(long, default_value_t = 0)]
    edge_port: u16,
    /// The edge's cleartext port on loopback; 0 as above.
    #[arg(long, default_value_t = 0)]
    plain_port: u16,
    /// The authority's admin port; 0 as above.
    #[arg(long, default_value_t = 0)]
    authority_port: u16,
    /// The authority's port for edges (gRPC); 0 as above.
    #[arg(long, default_value_t = 0)]
    grpc_port: u16,
    /// The port of the key API, which AWS KMS clients speak to, TLS; 0 as above.
    #[arg(long, default_value_t = 0)]
    kms_port: u16,
    /// The same in the clear on loopback; 0 as above.
    #[arg(long, default_value_t = 0)]
    kms_plain_port: u16,
    /// The account of KMS clients, 12 digits: a tenant that is made if it is not there.
    #[arg(long, value_name = "DIGITS", default_value = roles::TENANT)]
    account: String,
    /// Log level or filter, as `debug` or `info,edge=trace`.
    #[arg(long, default_value = "warn", env = "SIGNET_LOG")]
    log: String,
}

impl Dev {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        node::telemetry::init(node::telemetry::LogFormat::Text, &self.log)?;
        node::hardening::forbid_dumps()?;
        kms::check_account(&self.account)?;
        files::private_dir(&self.data)?;
        let data = self
            .data
            .canonicalize()
            .context(|| format!("`{}`", self.data.display()))?;
        let _lock = lock(&data)?;
        runtime()?.block_on(self.serve(&data))
    }

    async fn serve(&self, data: &Path) -> Result<(), Failure> {
        let pki = Pki::ensure(&data.join("dev"), now())?;
        let ports = [
            self.edge_port,
            self.plain_port,
            self.authority_port,
            self.grpc_port,
            self.kms_port,
            self.kms_plain_port,
        ];
        let addresses = Addresses::choose(ports, last_ports(data))?;
        if !self.json {
            output::note(&format!("starting in {}", data.display()));
        }
        let roles = Roles::start(data, &pki, &addresses, &self.account).await?;
        let info = self.info(data, &pki, &roles)?;
        files::private_file(&data.join(INFO), serde_json::to_string_pretty(&info)?.as_bytes())?;
        // Whoever reads that it is ready may stop it at once.
        let interrupted = interrupted()?;
        if self.json {
            output::line(&info.to_string())?;
        } else {
            let program = std::env::current_exe().map_or_else(|_| "signet".into(), |path| path.display().to_string());
            output::text(&print::commands(&info, &data.display().to_string(), &program))?;
        }
        interrupted.await;
        if !self.json {
            output::note("draining");
        }
        roles.stop().await;
        Ok(())
    }

    fn info(&self, data: &Path, pki: &Pki, roles: &Roles) -> Result<Value, Failure> {
        let addresses = &roles.addresses;
        let file = |name: &str| pki.path(name).display().to_string();
        let https = addresses.https_url();
        let kms = format!("https://localhost:{}", addresses.kms);
        Ok(json!({
            "edge": {"https": https, "http": format!("http://127.0.0.1:{}", addresses.plain)},
            "authority": {
                "admin": format!("https://localhost:{}", addresses.admin),
                "grpc": format!("https://localhost:{}", addresses.grpc),
                "kms": kms,
            },
            "kms": kms,
            "kms_http": format!("http://127.0.0.1:{}", addresses.kms_plain),
            "kms_credentials": roles.kms.json(),
            "ca_file": file("ca.pem"),
            "token": pki.caller_token(now())?,
            "client_cert": file("client.pem"),
            "client_key": file("client.key.pem"),
            "admin_token": roles.admin_token,
            "profiles": profiles(&data.join("bundle"), &https)?,
        }))
    }
}

/// The configuration of the authority of a data directory, for what is done to it while it is stopped.
pub async fn authority_of(data: &Path) -> Result<authority::Config, Failure> {
    let pki = Pki::ensure(&data.join("dev"), now())?;
    roles::authority_config(data, &pki, &Addresses::choose([0; 6], last_ports(data))?).await
}

/// The profiles of the bundle's directory, as the JSON lists them.
fn profiles(dir: &Path, https: &str) -> Result<Vec<Value>, Failure> {
    let files = policies::bundle::dir::read(dir)?;
    let bundle = policies::Bundle::parse(&files)
        .map_err(|errors| Failure::new(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    // The ones that everybody wants first, the special ones after them.
    const FIRST: [&str; 5] = ["api", "session", "cdn", "release", "package"];
    let place = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    let mut profiles = bundle.profiles.clone();
    profiles.sort_by_key(|profile| (place(&profile.name), profile.name.clone()));
    let listed = profiles.iter().map(|profile| {
        let issuer = profile.issuer().map(|name| {
            let declared = bundle
                .issuers
                .iter()
                .find(|issuer| issuer.name == name)
                .and_then(|issuer| issuer.url.clone());
            declared.unwrap_or_else(|| format!("{https}/i/{name}"))
        });
        json!({
            "name": profile.name,
            "kind": profile.kind().as_str(),
            "alg": profile.algorithm.as_str(),
            "key": profile.key,
            "issuer": issuer,
            "jwks_uri": issuer.as_ref().map(|issuer| format!("{issuer}/.well-known/jwks.json")),
        })
    });
    Ok(listed.collect())
}

/// One process a data directory. The lock goes with the process, however it ends.
pub fn lock(data: &Path) -> Result<File, Failure> {
    let path = data.join("lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .context(|| format!("`{}`", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Failure::new(format!(
            "`{}` is in use by another signet; stop it or choose another --data",
            data.display()
        ))),
        Err(TryLockError::Error(error)) => Err(error).context(|| format!("`{}`", path.display())),
    }
}

/// The ports of the last start: edge, plain, admin, gRPC, KMS, KMS in the clear.
fn last_ports(data: &Path) -> [u16; 6] {
    let info = std::fs::read(data.join(INFO))
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let port = |pointer: &str| {
        let url = info.as_ref()?.pointer(pointer)?.as_str()?;
        url.rsplit(':').next()?.parse().ok()
    };
    let urls = [
        "/edge/https",
        "/edge/http",
        "/authority/admin",
        "/authority/grpc",
        "/kms",
        "/kms_http",
    ];
    urls.map(|pointer| port(pointer).unwrap_or(0))
}

/// Until Ctrl-C or SIGTERM, neither of which ends the process by itself from now on.
pub fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Unix seconds.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
