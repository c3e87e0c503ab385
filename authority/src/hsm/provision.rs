//! A SoftHSM2 token of its own for `signet dev` and `signet authority init`: made once in a directory, found again afterwards.
//!
//! ```text
//! DIR/softhsm2.conf   the module's configuration, which the worker gets by SOFTHSM2_CONF
//! DIR/tokens/         the token
//! DIR/pin, DIR/so-pin random, mode 0600
//! ```

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::worker::{PinSource, WorkerConfig, initialize_token};
use super::{HsmError, HsmErrorKind, HsmInfo};

/// Where distributions install SoftHSM2's module.
const MODULES: [&str; 7] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/libsofthsm2.so",
    "/usr/lib/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// SoftHSM2's module, where it is installed (Debian package `softhsm2`).
pub fn find_softhsm() -> Option<PathBuf> {
    MODULES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// Makes a token labelled `label` in `directory`, or finds the one that is there, and answers the configuration of a worker for it.
/// A crash in the middle is mended by the next call. `worker` may change how the worker is started; its module, label, PIN
/// and `SOFTHSM2_CONF` are set here.
pub async fn softhsm(
    directory: &Path,
    module: &Path,
    label: &str,
    worker: impl FnOnce(&mut WorkerConfig),
) -> Result<(WorkerConfig, HsmInfo), HsmError> {
    let failed = |error: io::Error| {
        HsmErrorKind::Misconfigured.because(format!(
            "cannot prepare the token's directory `{}`: {error}",
            directory.display()
        ))
    };
    make_directory(directory).map_err(failed)?;
    let directory = directory.canonicalize().map_err(failed)?;
    let tokens = directory.join("tokens");
    make_directory(&tokens).map_err(failed)?;
    let pin = random_file(&directory.join("pin"))?;
    let so_pin = random_file(&directory.join("so-pin"))?;
    let configuration = directory.join("softhsm2.conf");
    write_atomically(&configuration, softhsm_configuration(&tokens)?.as_bytes()).map_err(failed)?;

    let mut config = WorkerConfig::new(module, label, PinSource::File(pin));
    worker(&mut config);
    config
        .environment
        .push(("SOFTHSM2_CONF".into(), configuration.into_os_string()));
    let info = initialize_token(&config, &PinSource::File(so_pin)).await?;
    Ok((config, info))
}

fn softhsm_configuration(tokens: &Path) -> Result<String, HsmError> {
    let tokens = tokens
        .to_str()
        .filter(|path| !path.contains(['\n', '\r', '#']))
        .ok_or_else(|| {
            HsmErrorKind::Misconfigured.because("softhsm2 cannot use a directory whose path has a line end or a `#`")
        })?;
    Ok(format!(
        "directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\nslots.mechanisms = ALL\nlibrary.reset_on_fork = false\n"
    ))
}

/// A file with 32 random hexadecimal digits, made unless it exists.
fn random_file(path: &Path) -> Result<PathBuf, HsmError> {
    let failed = |error: io::Error| HsmErrorKind::Misconfigured.because(format!("`{}`: {error}", path.display()));
    if !path.exists() {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| HsmErrorKind::Token.because("this machine's random source failed"))?;
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        write_atomically(path, digits.as_bytes()).map_err(failed)?;
    }
    Ok(path.to_owned())
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Durable before it is seen: a token whose PIN was lost in a crash could not be opened again.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
#[path = "provision_tests.rs"]
mod tests;
