//! `witness.toml`. Unknown fields are refused.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use audit::note::VerifierKey;
use node::config::ConfigError;
use serde::Deserialize;

use crate::failure::Failure;

/// Logs at most.
const MOST: usize = 1_000;

/// Everything that `signet witness` needs to know.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The key and the last checkpoints. Losing it loses the witness; an older copy of it would cosign what must not be.
    pub state_dir: PathBuf,
    /// Verifier keys of the logs that are witnessed, as `signet audit key` prints them; 1 to 1,000.
    #[serde(default)]
    logs: Vec<String>,
    /// Without it, `listen` is on a loopback address.
    pub tls: Option<Tls>,
    /// Start although memory cannot be locked and swap is on. Default false: the key could be written to the swap device.
    #[serde(default)]
    pub allow_swap: bool,
}

/// The server's certificate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The chain, PEM; read again when it changes.
    pub certificate_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let config: Config = node::config::load(path)?;
        if config.tls.is_none() && !config.listen.ip().is_loopback() {
            let message = "must be a loopback address without a `[tls]` section";
            return Err(ConfigError::new(path, "listen", message));
        }
        if config.logs.len() > MOST {
            return Err(ConfigError::new(path, "logs", format!("has at most {MOST} keys")));
        }
        match config.keys() {
            Ok(_) => Ok(config),
            Err(error) => Err(ConfigError::new(path, "logs", error.to_string())),
        }
    }

    /// The logs, of which there is at least one.
    pub fn logs(&self) -> Result<Vec<VerifierKey>, Failure> {
        match self.logs.is_empty() {
            true => Err(Failure::new(
                "no log to witness: put what `signet audit key` prints into `logs` of the configuration",
            )),
            false => Ok(self.keys()?),
        }
    }

    fn keys(&self) -> Result<Vec<VerifierKey>, audit::note::NoteError> {
        self.logs.iter().map(|log| log.parse()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_wrong_is_named() {
        const LOG: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let good = format!("listen = \"127.0.0.1:0\"\nstate_dir = \"w\"\nlogs = [\"{LOG}\"]\n");
        assert_eq!(load(&good).unwrap().logs().unwrap().len(), 1);
        assert!(load(&good.replace(LOG, "x")).unwrap_err().contains("logs"));
        assert!(
            load(&good.replace("127.0.0.1", "0.0.0.0"))
                .unwrap_err()
                .contains("listen")
        );
        let tls = "[tls]\ncertificate_file = \"c\"\nkey_file = \"k\"\n";
        assert!(load(&format!("{}{tls}", good.replace("127.0.0.1", "0.0.0.0"))).is_ok());
        assert!(load(&format!("surprise = 1\n{good}")).unwrap_err().contains("surprise"));
        let none = load("listen = \"127.0.0.1:0\"\nstate_dir = \"w\"\n").unwrap();
        assert!(format!("{:?}", none.logs().unwrap_err()).contains("signet audit key"));
    }
}
