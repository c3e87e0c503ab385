//! One authority and two edges as processes of their own, each edge behind a [`Proxy`], set up by the commands an operator
//! would give.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use signing::algorithm::Algorithm;
use signing::claims::Claims;
use signing::format::jwt;
use signing::jwk::Jwk;
use signing::key::SigningKey;
use tempfile::TempDir;

use super::check::{Records, Violation};
use super::disk::Disk;
use super::proxy::Proxy;
use crate::etcd::{Etcd, MEMBERS};
use crate::{Curl, Output, run, signal, signet, within};

/// How many edges there are.
pub const EDGES: usize = 2;

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
    family: &'static str,
    delegation: &'static str,
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
        body: r#"{"digest":{"sha256":"ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZY="}}"#,
    },
];

/// The shortest lease there is, so that fences are short.
const LEASE: &str = "5s";

/// Where the authority keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A file of its own.
    File,
    /// Three members of etcd.
    Etcd,
}

/// Running processes, ended when dropped.
#[derive(Debug)]
pub struct Fleet {
    ports: Vec<u16>,
    authority: Process,
    pub(super) edges: Vec<Process>,
    /// Under each edge's state, where this process may mount.
    pub(super) disks: Vec<Option<Disk>>,
    /// Between each edge and the authority.
    pub links: Vec<Proxy>,
    pub(super) etcd: Option<Etcd>,
    token: String,
    /// Dropped last: what is mounted in it is gone by then.
    dir: TempDir,
}

/// A process that is started again after it was killed.
#[derive(Debug)]
pub(super) struct Process {
    role: &'static str,
    config: PathBuf,
    log: PathBuf,
    child: Child,
}

/// The command line of an operator.
#[derive(Debug, Clone)]
pub struct Cli {
    authority: String,
    admin: PathBuf,
}

impl Fleet {
    /// Sets everything up and waits until every edge can sign for every profile.
    pub fn start(store: Store) -> Fleet {
        let dir = TempDir::new().unwrap();
        let ports = free_ports(2 + EDGES * 2);
        let (grpc, admin) = (ports[0], ports[1]);
        let token = write_files(dir.path(), &ports);
        let config = dir.path().join("authority.toml");
        let etcd = (store == Store::Etcd).then(Etcd::start);
        if let Some(etcd) = &etcd {
            share(dir.path(), &config, etcd);
        }
        let out = dir.path().join("admin");
        succeed(
            Command::new(signet())
                .args(["authority", "init", "--config"])
                .arg(&config)
                .arg("--out")
                .arg(&out),
        );
        let authority = Process::start("authority", config, dir.path().join("authority.log"));
        let mut fleet = Fleet {
            ports,
            authority,
            edges: Vec::new(),
            disks: Vec::new(),
            links: Vec::new(),
            etcd,
            token,
            dir,
        };
        let cli = fleet.operator();
        within(30, "the authority answers", || {
            cli.run(&["keys", "list"]).code == 0 || is_listening(admin)
        });
        cli.run(&["tenants", "create", "000000000001", "--name", "acme"])
            .success();
        for key in &KEYS {
            let kind = ["--family", key.family, "--delegation", key.delegation, "--lease", LEASE];
            let key = [
                &["keys", "create", "--alias", key.alias, "--spec", "ECC_NIST_P256"],
                &kind[..],
            ]
            .concat();
            cli.run(&key).success();
        }
        for edge in 0..EDGES {
            let link = Proxy::to(SocketAddr::from(([127, 0, 0, 1], grpc)));
            fleet.start_edge(&cli, edge, &link);
            fleet.links.push(link);
        }
        cli.run(&["bundle", "apply", &fleet.path("bundle").display().to_string()])
            .success();
        fleet.wait_until_ready();
        fleet
    }

    fn start_edge(&mut self, cli: &Cli, edge: usize, link: &Proxy) {
        self.disks.push(Disk::mount(&self.path(&name(edge))));
        let config = self.path(&format!("edge{edge}.toml"));
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("LINK", &link.address.port().to_string())).unwrap();
        let join = self.path(&format!("join{edge}.json"));
        std::fs::write(&join, cli.run(&["edges", "token", &name(edge)]).success()).unwrap();
        let mut command = Command::new(signet());
        command
            .args(["edge", "join", "--config"])
            .arg(&config)
            .arg("--join")
            .arg(&join);
        succeed(&mut command);
        self.edges
            .push(Process::start("edge", config, self.path(&format!("edge{edge}.log"))));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The operator's command line.
    pub fn operator(&self) -> Cli {
        Cli {
            authority: format!("https://localhost:{}", self.ports[1]),
            admin: self.path("admin"),
        }
    }

    /// Where each edge's callers connect.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..EDGES)
            .map(|edge| SocketAddr::from(([127, 0, 0, 1], self.ports[2 + edge * 2])))
            .collect()
    }

    /// The callers' token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// kill -9 of an edge, and a new start.
    pub fn kill_edge(&mut self, edge: usize) {
        self.edges[edge].restart();
    }

    /// kill -9 of the authority, and a new start.
    pub fn kill_authority(&mut self) {
        self.authority.restart();
    }

    /// SIGSTOP of an edge, or of the authority, for a time.
    pub fn freeze(&self, edge: Option<usize>, time: Duration) {
        let process = edge.map_or(&self.authority, |edge| &self.edges[edge]);
        signal(process.child.id(), Signal::STOP);
        std::thread::sleep(time);
        signal(process.child.id(), Signal::CONT);
    }

    /// Every link is good again, and every edge follows.
    pub fn heal(&self) {
        self.links
            .iter()
            .for_each(|link| link.set(super::proxy::Weather::default()));
    }

    /// kill -9 of everything; how many that were.
    pub fn kill_everything(&mut self) -> usize {
        self.authority.kill();
        self.edges.iter_mut().for_each(Process::kill);
        let members = self.etcd.as_mut().map_or(0, |etcd| {
            (0..MEMBERS).for_each(|member| etcd.kill(member));
            MEMBERS
        });
        1 + self.edges.len() + members
    }

    /// Starts everything and waits until it works.
    pub fn start_everything(&mut self) {
        if let Some(etcd) = &mut self.etcd {
            (0..MEMBERS).for_each(|member| etcd.begin(member));
            etcd.leader();
        }
        self.authority.start_again();
        self.edges.iter_mut().for_each(Process::start_again);
        let admin = self.ports[1];
        within(60, "the authority listens again", || is_listening(admin));
        for address in self.addresses() {
            within(60, "the edge answers again", || ready(address) != 0);
        }
    }

    fn wait_until_ready(&self) {
        for address in self.addresses() {
            within(60, "the edge is ready", || ready(address) == 200);
        }
    }

    /// What is on record, by edge.
    pub fn records(&self) -> Vec<Records> {
        (0..EDGES).map(|edge| self.records_of(edge)).collect()
    }

    /// In the edge's own spool, or in the authority's log, which has what the spool has let go of.
    fn records_of(&self, edge: usize) -> Records {
        let mut records = Records::default();
        let mut reserved = HashMap::new();
        for dir in [self.spool(edge), self.log()] {
            let lines = run(Command::new(signet()).args(["audit", "tail", "--dir"]).arg(dir)).success();
            let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            for record in lines.filter(|record| record["edge"] == name(edge).as_str()) {
                if record["outcome"] == "signed" {
                    records.signed.insert(record["request_id"].as_str().unwrap().to_owned());
                }
                let range = record.pointer("/predecessor/unaccounted").and_then(Value::as_array);
                if let Some([first, last]) = range.map(Vec::as_slice) {
                    let width = last.as_u64().unwrap() - first.as_u64().unwrap() + 1;
                    reserved.insert(record["incarnation"].as_str().unwrap().to_owned(), width);
                }
            }
        }
        records.reserved = reserved.values().sum();
        records
    }

    fn log(&self) -> PathBuf {
        self.path("authority/log")
    }

    fn spool(&self, edge: usize) -> PathBuf {
        self.path(&name(edge)).join("audit")
    }

    /// What `signet audit verify` says against a spool, or against the log.
    pub fn broken_chains(&self) -> Vec<Violation> {
        let spools = (0..EDGES).map(|edge| (name(edge), self.spool(edge)));
        let spools = spools.chain([("authority".to_owned(), self.path("authority/audit"))]);
        let mut checks: Vec<_> = spools
            .map(|(of, dir)| {
                let mut command = Command::new(signet());
                command.args(["audit", "verify", "--dir"]).arg(dir);
                (of, command)
            })
            .collect();
        let key = self.operator().audit(&["key"]).success();
        let mut log = Command::new(signet());
        log.args(["audit", "verify", "--key", key.trim(), "--dir"])
            .arg(self.log());
        checks.push(("the log".to_owned(), log));
        let broken = checks.into_iter().filter_map(|(of, mut command)| {
            let verified = run(&mut command);
            (verified.code != 0).then(|| Violation::BrokenChain {
                of,
                said: verified.stdout + &verified.stderr,
            })
        });
        broken.collect()
    }

    /// The state of every key, by id and by alias.
    pub fn keys(&self) -> HashMap<String, String> {
        let list = self.operator().run(&["keys", "list", "--json"]).success();
        let list: Value = serde_json::from_str(&list).unwrap();
        let mut states = HashMap::new();
        for key in list["keys"].as_array().unwrap() {
            let state = key["KeyState"].as_str().unwrap();
            let aliases = key["Signet"]["Aliases"].as_array().unwrap().iter();
            for name in aliases.chain([&key["KeyId"]]) {
                states.insert(name.as_str().unwrap().to_owned(), state.to_owned());
            }
        }
        states
    }

    /// Leaves the directory where it is, with a copy of what lies on disks of the run, and says where.
    pub fn keep(&mut self) {
        for edge in 0..EDGES {
            let state = self.path(&name(edge));
            succeed(
                Command::new("cp")
                    .arg("-r")
                    .arg(&state)
                    .arg(state.with_extension("kept")),
            );
        }
        self.dir.disable_cleanup(true);
        eprintln!("the fleet's files stay in `{}`", self.dir.path().display());
    }
}

impl Process {
    fn start(role: &'static str, config: PathBuf, log: PathBuf) -> Process {
        write_clock(&config, 0);
        let child = spawn(role, &config, &log);
        Process {
            role,
            config,
            log,
            child,
        }
    }

    /// Its wall clock is so many seconds off, within a second from now; the clock that counts from the boot is not.
    pub(super) fn set_clock(&self, off: i64) {
        write_clock(&self.config, off);
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn start_again(&mut self) {
        self.child = spawn(self.role, &self.config, &self.log);
    }

    fn restart(&mut self) {
        self.kill();
        self.start_again();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Cli {
    /// `signet ARGUMENTS` against the fleet's authority.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.ask(arguments, "--authority")
    }

    /// `signet audit ARGUMENTS` of the authority's log.
    pub fn audit(&self, arguments: &[&str]) -> Output {
        self.ask(&[&["audit"], arguments].concat(), "--url")
    }

    fn ask(&self, arguments: &[&str], address: &str) -> Output {
        let mut command = Command::new(signet());
        command.args(arguments).args([address, &self.authority]);
        command.arg("--admin-token-file").arg(self.admin.join("admin-token"));
        run(command.arg("--ca-file").arg(self.admin.join("node-root.pem")))
    }
}

fn name(edge: usize) -> String {
    format!("edge-{edge}")
}

fn spawn(role: &str, config: &Path, log: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(signet());
    command.args([role, "run", "--config"]).arg(config);
    let clock = config.with_extension("clock");
    let faked = [("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("FAKETIME_CACHE_DURATION", "1")];
    command
        .envs(faked)
        .env("FAKETIME_TIMESTAMP_FILE", clock)
        .env("LD_PRELOAD", clock_library());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn write_clock(config: &Path, off: i64) {
    std::fs::write(config.with_extension("clock"), format!("{off:+}\n")).unwrap();
}

/// The library between a process and its wall clock.
fn clock_library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap().map_while(Result::ok);
    let libraries = places.map(|place| place.path().join("faketime/libfaketimeMT.so.1"));
    let found = libraries.into_iter().find(|library| library.exists());
    found.expect("libfaketime is not there: `scripts/setup test` installs it")
}

/// The authority's state in etcd, and its keys in a token of SoftHSM2: the software HSM is of one process.
fn share(dir: &Path, config: &Path, etcd: &Etcd) {
    let (here, conf) = (dir.display(), dir.join("softhsm2.conf"));
    std::fs::create_dir(dir.join("tokens")).unwrap();
    let text = format!("directories.tokendir = {here}/tokens\nobjectstore.backend = file\n");
    std::fs::write(&conf, text).unwrap();
    let pin = "12345678";
    let token = [
        "--init-token",
        "--free",
        "--label",
        "chaos",
        "--so-pin",
        pin,
        "--pin",
        pin,
    ];
    succeed(Command::new("softhsm2-util").args(token).env("SOFTHSM2_CONF", &conf));
    let text = std::fs::read_to_string(config).unwrap();
    let software =
        format!("kind = \"software\"\nfile = \"{here}/authority-hsm\"\npassphrase_file = \"{here}/passphrase\"\n");
    let hsm = format!(
        r#"kind = "pkcs11"
module = "/usr/lib/softhsm/libsofthsm2.so"
label = "chaos"
pin_file = "{here}/passphrase"
environment = {{ SOFTHSM2_CONF = "{here}/softhsm2.conf" }}
"#
    );
    assert!(text.contains(&software), "{text}");
    std::fs::write(dir.join("passphrase"), pin).unwrap();
    std::fs::write(config, text.replace(&software, &hsm) + &etcd.store("a")).unwrap();
}

fn succeed(command: &mut Command) {
    run(command).success();
}

fn is_listening(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn ready(address: SocketAddr) -> u16 {
    Curl::new(&format!("http://{address}/readyz")).get().status
}

/// Ports that are free for TCP, all held until all are found.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect()
}

/// Configuration files, a certificate and a bundle; answers the callers' token.
fn write_files(dir: &Path, ports: &[u16]) -> String {
    let here = dir.display();
    let write = |path: &str, text: String| {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, private).unwrap();
    };
    let (grpc, admin) = (ports[0], ports[1]);
    write("passphrase", "correct horse battery\n".into());
    write(
        "authority.toml",
        format!(
            r#"trust_domain = "example.org"
data_dir = "{here}/authority"
[hsm]
kind = "software"
file = "{here}/authority-hsm"
passphrase_file = "{here}/passphrase"
[grpc]
address = "127.0.0.1:{grpc}"
names = ["localhost"]
[admin]
address = "127.0.0.1:{admin}"
[rotation]
publish_lead = "0s"
"#
        ),
    );
    let new = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ];
    let files = ["-subj", "/CN=localhost", "-keyout", "tls.key", "-out", "tls.pem"];
    succeed(Command::new("openssl").args(new).args(files).current_dir(dir));
    for edge in 0..EDGES {
        let (http, https) = (ports[2 + edge * 2], ports[3 + edge * 2]);
        write(
            &format!("edge{edge}.toml"),
            format!(
                r#"authority = "https://localhost:LINK"
state_dir = "{here}/{}"
public_url = "https://localhost:{https}"
[listen]
https = "127.0.0.1:{https}"
http = "127.0.0.1:{http}"
http3 = false
[tls]
certificate = "{here}/tls.pem"
key = "{here}/tls.key"
"#,
                name(edge)
            ),
        );
    }
    write_bundle(&write)
}

fn write_bundle(write: &dyn Fn(&str, String)) -> String {
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
