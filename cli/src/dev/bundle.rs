//! The development bundle of `deploy/dev/bundle`, carried in the binary, so that `signet dev` needs no checkout.

use std::path::Path;

use crate::dev::files;
use crate::dev::pki::Pki;
use crate::failure::Failure;

macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/dev/bundle/", $path)).as_slice())),*]
    };
}

const FILES: &[(&str, &[u8])] = files![
    "bundle.toml",
    "policies/bench.cedar",
    "policies/callers.cedar",
    "policies/edges.cedar",
    "policies/roles.cedar",
    "profiles/api.toml",
    "profiles/bench.toml",
    "profiles/cdn.toml",
    "profiles/limited.toml",
    "profiles/load.toml",
    "profiles/package.toml",
    "profiles/protected.toml",
    "profiles/release.toml",
    "profiles/session.toml",
    "plugins/claim-guard.wasm",
    "plugins/protected-artifact.wasm",
];

/// The keys that the development profiles name: alias, KMS key spec, family, delegation, custody.
pub const KEYS: &[(&str, &str, &str, &str, &str)] = &[
    ("alias/dev-api", "ECC_NIST_P256", "token", "shared", "wrapped"),
    (
        "alias/dev-session",
        "ECC_NIST_EDWARDS25519",
        "token",
        "shared",
        "wrapped",
    ),
    ("alias/dev-cdn", "HMAC_256", "token", "shared", "wrapped"),
    ("alias/dev-release", "ECC_NIST_P256", "artifact", "own", "token"),
    ("alias/dev-package", "ECC_NIST_EDWARDS25519", "artifact", "own", "token"),
];

/// Writes the bundle into `dir` if there is none: from then on it is the user's to change. The trust files follow the
/// development CA and issuer at each start; answers whether they changed.
pub fn ensure(dir: &Path, pki: &Pki) -> Result<bool, Failure> {
    if !dir.join("bundle.toml").exists() {
        for (path, content) in FILES {
            let path = dir.join(path);
            if let Some(parent) = path.parent() {
                files::private_dir(parent)?;
            }
            files::private_file(&path, content)?;
        }
    }
    files::private_dir(&dir.join("trust"))?;
    let ca = replace(&dir.join("trust/dev-ca.pem"), &pki.ca_pem()?)?;
    let callers = replace(&dir.join("trust/dev-callers.jwks.json"), &pki.caller_jwks()?)?;
    Ok(ca || callers)
}

fn replace(path: &Path, content: &str) -> Result<bool, Failure> {
    if std::fs::read_to_string(path).is_ok_and(|before| before == content) {
        return Ok(false);
    }
    files::private_file(path, content.as_bytes())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_carries_every_file_of_the_bundle() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/dev/bundle");
        let mut found: Vec<_> = policies::bundle::dir::read(&root)
            .unwrap()
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        found.retain(|path| !path.starts_with("trust/"));
        let mut carried: Vec<_> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        carried.sort();
        assert_eq!(found, carried);
    }
}
