//! What a fleet is set up with: keys, profiles, a bundle, a certificate and the configuration file of each process.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use signing::algorithm::Algorithm;
use signing::claims::Claims;
use signing::format::jwt;
use signing::jwk::Jwk;
use signing::key::SigningKey;

use crate::run;

/// What a profile's record promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A durable reservation precedes the signature.
    Reserve,
    /// The record is durable before the signature leaves.
    Commit,
}

/// A key that profiles sign with.
#[derive(Debug)]
pub struct Key {
    /// Its alias.
    pub alias: &'static str,
    /// What it signs.
    pub family: &'static str,
    /// How edges come by it.
    pub delegation: &'static str,
}

/// The keys that the operator stops.
pub const KEYS: [Key; 2] = [
    Key {
        alias: "alias/api",
        family: "token",
        delegation: "shared",
    },
    Key {
        alias: "alias/release",
        family: "artifact",
        delegation: "own",
    },
];

/// What callers ask for.
#[derive(Debug)]
pub struct Profile {
    /// The key's alias.
    pub key: &'static str,
    /// How it is recorded.
    pub mode: Mode,
    /// Of the request.
    pub path: &'static str,
    /// Of the request: JSON.
    pub body: &'static str,
}

/// One of each family, and so of each mode.
pub const PROFILES: [Profile; 2] = [
    Profile {
        key: "alias/api",
        mode: Mode::Reserve,
        path: "/v1/tokens/api",
        body: r#"{"subject":"alice"}"#,
    },
    Profile {
        key: "alias/release",
        mode: Mode::Commit,
        path: "/v1/signatures/release",
        body: r#"{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#,
    },
];

/// How HSM and store of a fleet are configured.
#[derive(Debug)]
pub struct Backing {
    /// `[hsm]`
    pub hsm: String,
    /// `[store]` of each authority; empty: a file.
    pub stores: Vec<String>,
}

/// Where processes listen.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Of each authority: for edges, and for operators.
    pub authorities: Vec<(u16, u16)>,
    /// Of each edge: in the clear, and over TLS (TCP and UDP).
    pub edges: Vec<(u16, u16)>,
}

impl Ports {
    /// Ports that are free for TCP and UDP, all held until all are found.
    pub fn find(authorities: usize, edges: usize) -> Ports {
        let mut held = Vec::new();
        while held.len() < 2 * (authorities + edges) {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = tcp.local_addr().unwrap().port();
            if let Ok(udp) = UdpSocket::bind(("127.0.0.1", port)) {
                held.push((port, tcp, udp));
            }
        }
        let pairs: Vec<_> = held.chunks(2).map(|pair| (pair[0].0, pair[1].0)).collect();
        let (first, rest) = pairs.split_at(authorities);
        Ports {
            authorities: first.to_vec(),
            edges: rest.to_vec(),
        }
    }
}

/// An authority's name, which is its directory's.
pub fn authority(number: usize) -> String {
    format!("authority-{number}")
}

/// An edge's id, which is its directory's name.
pub fn edge(number: usize) -> String {
    format!("edge-{number}")
}

/// A port of this machine.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The configuration of one authority; answers its path.
pub fn write_authority(dir: &Path, number: usize, ports: &Ports, backing: &Backing) -> PathBuf {
    let (here, name) = (dir.display(), authority(number));
    let ((grpc, admin), hsm) = (ports.authorities[number], &backing.hsm);
    let store = backing.stores.get(number).map_or("", String::as_str);
    let text = format!(
        r#"trust_domain = "example.org"
data_dir = "{here}/{name}"
[hsm]
{hsm}[grpc]
address = "127.0.0.1:{grpc}"
names = ["localhost"]
[admin]
address = "127.0.0.1:{admin}"
[rotation]
publish_lead = "0s"
{store}"#
    );
    write(dir, &format!("{name}.toml"), &text)
}

/// The configuration of one edge, with where it finds each authority; answers its path.
pub fn write_edge(dir: &Path, number: usize, ports: &Ports, authorities: &[SocketAddr]) -> PathBuf {
    let (here, name) = (dir.display(), edge(number));
    let (http, https) = ports.edges[number];
    let urls = authorities
        .iter()
        .map(|at| format!("\"https://localhost:{}\"", at.port()));
    let urls = urls.collect::<Vec<_>>().join(", ");
    let text = format!(
        r#"authority = [{urls}]
state_dir = "{here}/{name}"
public_url = "https://localhost:{https}"
[listen]
https = "127.0.0.1:{https}"
http = "127.0.0.1:{http}"
[tls]
certificate = "{here}/tls.pem"
key = "{here}/tls.key"
"#
    );
    write(dir, &format!("{name}.toml"), &text)
}

/// The certificate that edges show to callers: `tls.pem` and `tls.key`.
pub fn write_certificate(dir: &Path) {
    let new = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ];
    let names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    let end = ["-addext", "basicConstraints=critical,CA:FALSE", "-days", "3650"];
    let files = ["-subj", "/CN=localhost", "-keyout", "tls.key", "-out", "tls.pem"];
    let mut command = Command::new("openssl");
    command.args(new).args(names).args(end).args(files);
    run(command.current_dir(dir)).success();
}

/// A file that only this user can read; answers its path.
pub fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).unwrap();
    path
}

/// What every edge goes by, in `bundle/`; answers the token of a caller.
pub fn write_bundle(dir: &Path) -> String {
    let write = |name: &str, text: String| write(dir, name, &text);
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let jwk = Jwk::from_public(key.public().unwrap()).to_json();
    write("bundle/trust/ci.jwks.json", format!("{{\"keys\":[{jwk}]}}"));
    let generous = "{ rate = \"1000000/s\", burst = 1000000 }";
    write(
        "bundle/bundle.toml",
        format!(
            r#"[limits]
per_address = {generous}
per_caller = {generous}
per_tenant = {generous}
[[callers.oidc]]
issuer = "https://ci.example.org"
audiences = ["signet"]
tenant = "000000000001"
subject = "repo:acme/shop"
algorithms = ["ES256"]
jwks_file = "trust/ci.jwks.json"
[issuers.acme]
tenant = "000000000001"
"#
        ),
    );
    write(
        "bundle/profiles/api.toml",
        r#"tenant = "000000000001"
kind = "token"
key = "alias/api"
algorithm = "ES256"
issuer = "acme"
audiences = ["https://api.example.org"]
lifetime = { default = "5m", max = "1h" }
"#
        .into(),
    );
    write(
        "bundle/profiles/release.toml",
        r#"tenant = "000000000001"
kind = "artifact"
key = "alias/release"
algorithm = "ES256"
encoding = "der"
"#
        .into(),
    );
    write(
        "bundle/policies/all.cedar",
        r#"@id("edges-get-keys")
permit (principal is Edge, action == Action::"Delegate", resource is Key in Tenant::"000000000001");
@id("ci-signs")
permit (principal is Caller, action in Action::"Use", resource is Profile in Tenant::"000000000001");
"#
        .into(),
    );
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = Claims {
        iss: Some("https://ci.example.org".into()),
        sub: Some("repo:acme/shop".into()),
        aud: vec!["signet".into()],
        exp: Some(now + 86_400),
        iat: Some(now),
        ..Claims::default()
    };
    jwt::mint(&key, &jwt::Header::default(), &claims).unwrap()
}
