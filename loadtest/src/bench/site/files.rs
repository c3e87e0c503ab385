//! What lies in a site's directory: configuration, a certificate, a bundle.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use signing::algorithm::Algorithm;
use signing::certificate::{Validity, pem_encode};
use signing::claims::Claims;
use signing::format::jwt;
use signing::jwk::Jwk;
use signing::key::{SigningKey, random_bytes};
use signing::node_certificate::prepare_node_root;

use super::super::bench;
use super::ALIAS;
use crate::LoadError;

/// The authority's configuration.
pub(super) const AUTHORITY: &str = "authority.toml";
/// The profiles, which differ in the mode of their records only.
pub(in crate::bench) const RESERVE: &str = "reserve";
/// See [`RESERVE`].
pub(in crate::bench) const COMMIT: &str = "commit";
/// See [`RESERVE`].
pub(in crate::bench) const WITNESS: &str = "witness";

const DAY: u64 = 24 * 3_600;

pub(super) fn authority(dir: &Path, grpc: u16, admin: u16, connections: usize) -> Result<(), LoadError> {
    let here = dir.display();
    let passphrase: [u8; 16] = random_bytes().map_err(bench)?;
    private(&dir.join("passphrase"), &signing::encoding::hex(&passphrase))?;
    let text = format!(
        r#"trust_domain = "bench.example"
data_dir = "{here}/authority"
[hsm]
kind = "software"
file = "{here}/hsm"
passphrase_file = "{here}/passphrase"
[grpc]
address = "127.0.0.1:{grpc}"
names = ["localhost"]
connections = {connections}
[admin]
address = "127.0.0.1:{admin}"
[rotation]
publish_lead = "0s"
"#
    );
    private(&dir.join(AUTHORITY), &text)
}

/// Answers where the configuration is. Callers come in the clear; the certificate is for a listener that nobody uses.
pub(super) fn edge(dir: &Path, name: &str, grpc: u16, (https, http): (u16, u16)) -> Result<PathBuf, LoadError> {
    let key = SigningKey::generate(Algorithm::Es256).map_err(bench)?;
    let spki = key
        .public()
        .ok_or_else(|| bench("a key without a public half"))?
        .to_spki_der();
    let serial = random_bytes().map_err(bench)?;
    let certificate = prepare_node_root("a bench's edge", spki, Validity::starting(now(), DAY), serial);
    let certificate = certificate
        .and_then(|prepared| prepared.sign_with(&key))
        .map_err(bench)?;
    let secret = key.export().map_err(bench)?;
    private(&dir.join(format!("{name}.pem")), &certificate.to_pem())?;
    private(
        &dir.join(format!("{name}.key")),
        &pem_encode("PRIVATE KEY", secret.expose()),
    )?;
    let text = edge_text(
        &format!("https://localhost:{grpc}"),
        &dir.join(name),
        (https, http),
        (&dir.join(format!("{name}.pem")), &dir.join(format!("{name}.key"))),
    );
    let path = dir.join(format!("{name}.toml"));
    private(&path, &text)?;
    Ok(path)
}

/// An edge's configuration.
pub(in crate::bench) fn edge_text(
    authority: &str,
    state: &Path,
    (https, http): (u16, u16),
    (certificate, key): (&Path, &Path),
) -> String {
    let (state, certificate, key) = (state.display(), certificate.display(), key.display());
    format!(
        r#"authority = "{authority}"
state_dir = "{state}"
public_url = "https://localhost:{https}"
[listen]
https = "127.0.0.1:{https}"
http = "127.0.0.1:{http}"
http3 = false
[tls]
certificate = "{certificate}"
key = "{key}"
"#
    )
}

/// Writes a bundle; answers a token of its only caller, good for a day.
pub(super) fn bundle(dir: &Path) -> Result<String, LoadError> {
    let key = SigningKey::generate(Algorithm::Es256).map_err(bench)?;
    let public = key.public().ok_or_else(|| bench("a key without a public half"))?;
    let keys = format!("{{\"keys\":[{}]}}", Jwk::from_public(public).to_json());
    private(&dir.join("trust/callers.jwks.json"), &keys)?;
    private(&dir.join("bundle.toml"), BUNDLE)?;
    private(&dir.join("policies/all.cedar"), POLICIES)?;
    for mode in [RESERVE, COMMIT, WITNESS] {
        let profile = profile(mode);
        private(&dir.join(format!("profiles/{mode}.toml")), &profile)?;
    }
    let claims = Claims {
        iss: Some("https://callers.bench.example".into()),
        sub: Some("bench".into()),
        aud: vec!["signet".into()],
        exp: Some(now().saturating_add(DAY)),
        iat: Some(now()),
        ..Claims::default()
    };
    jwt::mint(&key, &jwt::Header::default(), &claims).map_err(bench)
}

const BUNDLE: &str = r#"[limits]
per_address = { rate = "1000000/s", burst = 1000000 }
per_caller = { rate = "1000000/s", burst = 1000000 }
per_tenant = { rate = "1000000/s", burst = 1000000 }
[[callers.oidc]]
issuer = "https://callers.bench.example"
audiences = ["signet"]
tenant = "000000000001"
subject = "bench"
algorithms = ["ES256"]
jwks_file = "trust/callers.jwks.json"
[issuers.bench]
tenant = "000000000001"
"#;

const POLICIES: &str = r#"@id("edges-get-keys")
permit (principal is Edge, action == Action::"Delegate", resource is Key in Tenant::"000000000001");
@id("callers-sign")
permit (principal is Caller, action in Action::"Use", resource is Profile in Tenant::"000000000001");
"#;

fn profile(mode: &str) -> String {
    let generous = r#"{ rate = "1000000/s", burst = 1000000 }"#;
    format!(
        r#"tenant = "000000000001"
kind = "token"
key = "{ALIAS}"
algorithm = "EdDSA"
issuer = "bench"
audiences = ["https://app.example"]
lifetime = {{ default = "5m", max = "1h" }}
claims = {{ allowed = ["*"] }}
audit = "{mode}"
quota = {{ per_key = {generous}, per_profile = {generous} }}
"#
    )
}

/// Writes a file that only its owner reads, with the directory it is in.
pub(in crate::bench) fn private(path: &Path, text: &str) -> Result<(), LoadError> {
    if let Some(dir) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(bench)?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(bench)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
