//! An authority and an edge, set up by the commands of `docs/guides/production.md`, in a directory of their own.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use signing::algorithm::Algorithm;
use signing::claims::Claims;
use signing::format::jwt;
use signing::jwk::Jwk;
use signing::key::SigningKey;
use system_tests::{Answer, Curl, Output, checkout, run, signal, signet, within};
use tempfile::TempDir;

/// Which HSM the authority's configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hsm {
    /// A token that the guide makes with `softhsm2-util`; every default of the file is written out.
    SoftHsm,
    /// A file under a passphrase.
    Software,
}

/// A process of the site, killed when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Its id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> std::process::ExitStatus {
        self.0.wait().unwrap()
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(mut self) {
        signal(self.0.id(), rustix::process::Signal::TERM);
        self.0.wait().unwrap();
    }

    /// kill -9
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl From<Child> for Process {
    fn from(child: Child) -> Process {
        Process(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The machines of the guide, all of them this one.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
    ports: [u16; 4],
    exports: String,
    token: String,
    /// What each of the guide's commands did, in order.
    pub done: Vec<(String, Output)>,
    /// The running authority.
    pub authority: Option<Process>,
    /// The running edge.
    pub edge: Option<Process>,
}

impl Site {
    /// Configuration files, a PIN, a certificate and a CI, and nothing run yet.
    pub fn prepare(hsm: Hsm) -> Site {
        let mut site = Site {
            dir: TempDir::new().unwrap(),
            ports: free_ports(),
            exports: String::new(),
            token: String::new(),
            done: Vec::new(),
            authority: None,
            edge: None,
        };
        for dir in ["etc/tls", "tokens", "lib"] {
            std::fs::create_dir_all(site.path(dir)).unwrap();
        }
        let authority = std::fs::read_to_string(checkout().join("deploy/authority.toml")).unwrap();
        let authority = match hsm {
            Hsm::SoftHsm => written_out(&authority),
            Hsm::Software => software(&authority),
        };
        site.write("etc/authority.toml", &site.here(&authority));
        let edge = std::fs::read_to_string(checkout().join("deploy/edge.toml")).unwrap();
        site.write("etc/edge.toml", &site.here(&edge));
        for (name, content) in [("hsm.pin", "12345678\n"), ("hsm.passphrase", "correct horse battery\n")] {
            site.write(&format!("etc/{name}"), content);
            private(&site.path(&format!("etc/{name}")));
        }
        let tokens = site.path("tokens");
        let conf = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\n",
            tokens.display()
        );
        site.write("etc/softhsm2.conf", &conf);
        site.certificate("first");
        site.token = site.callers();
        site
    }

    /// Walks the guide to its end.
    pub fn walk(hsm: Hsm) -> Site {
        Site::prepare(hsm).walked(hsm)
    }

    /// Walks the guide with the files as they are.
    pub fn walked(self, hsm: Hsm) -> Site {
        let mut site = self;
        for block in blocks(&std::fs::read_to_string(checkout().join("docs/guides/production.md")).unwrap()) {
            if hsm == Hsm::Software && block.contains("softhsm2-util") {
                continue;
            }
            if block.starts_with("signet authority run") {
                site.start_authority();
            } else if block.starts_with("signet edge run") {
                site.start_edge();
            } else {
                if block.contains("/v1/tokens/") {
                    within(15, "the edge is ready", || site.get("/readyz").status == 200);
                }
                let output = site.bash(&block);
                assert_eq!(output.code, 0, "{block}\n{output:?}\n{}", site.logs());
                let exports = block.lines().filter(|line| line.starts_with("export "));
                site.exports.extend(exports.map(|line| format!("{line}\n")));
                if block.contains("> join.json") {
                    std::fs::copy(site.path("join.json"), site.path("used.json")).unwrap();
                }
                site.done.push((block, output));
            }
        }
        site
    }

    /// A file or directory of the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Where the authority listens for edges, for operators, and for KMS clients.
    pub fn authority_ports(&self) -> [u16; 3] {
        [self.ports[0], self.ports[1], self.ports[3]]
    }

    /// What a command of the guide is on this machine.
    pub fn here(&self, text: &str) -> String {
        let [grpc, admin, https, kms] = self.ports;
        let dir = self.dir.path().display();
        text.replace("/etc/signet", &format!("{dir}/etc"))
            .replace("/var/lib", &format!("{dir}/lib"))
            .replace("/usr/local/bin/signet", &signet().display().to_string())
            .replace("authority.internal:9444", &format!("localhost:{grpc}"))
            .replace("0.0.0.0:9444", &format!("127.0.0.1:{grpc}"))
            .replace("127.0.0.1:9443", &format!("127.0.0.1:{admin}"))
            .replace("localhost:9443", &format!("localhost:{admin}"))
            .replace("0.0.0.0:9445", &format!("127.0.0.1:{kms}"))
            .replace("0.0.0.0:443", &format!("127.0.0.1:{https}"))
            .replace("https://sign.example.org", &format!("https://localhost:{https}"))
            .replace("publish_lead = \"15m\"", "publish_lead = \"0s\"")
    }

    /// Runs a script of the guide.
    pub fn bash(&self, script: &str) -> Output {
        let path = std::env::var("PATH").unwrap();
        let bin = signet().parent().unwrap().display().to_string();
        let script = self.here(&format!("set -euo pipefail\n{}{script}", self.exports));
        run(Command::new("bash")
            .args(["-c", &script])
            .current_dir(self.dir.path())
            .env("PATH", format!("{bin}:/usr/sbin:{path}"))
            .env("SO_PIN", "87654321")
            .env("TOKEN", &self.token)
            .env("CURL_CA_BUNDLE", self.path("public-ca.pem")))
    }

    /// `signet authority run`, and waits until it listens.
    pub fn start_authority(&mut self) {
        self.authority = Some(self.spawn("authority", "authority"));
        let port = self.ports[1];
        within(30, "the authority listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    /// `signet edge run`, and waits until it answers.
    pub fn start_edge(&mut self) {
        self.edge = Some(self.spawn("edge", "edge"));
        within(30, "the edge answers", || self.get("/livez").status == 200);
    }

    /// `signet ROLE run` with the configuration `etc/NAME.toml`, logging to `NAME.log`.
    pub fn spawn(&self, role: &str, name: &str) -> Process {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("{name}.log")))
            .unwrap();
        let mut command = Command::new(signet());
        command
            .args([role, "run", "--config"])
            .arg(self.path(&format!("etc/{name}.toml")));
        Process(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap(),
        )
    }

    /// What both processes logged.
    pub fn logs(&self) -> String {
        let log = |role: &str| std::fs::read_to_string(self.path(&format!("{role}.log"))).unwrap_or_default();
        format!("authority:\n{}\nedge:\n{}", log("authority"), log("edge"))
    }

    fn curl(&self, path: &str) -> Curl {
        Curl::new(&format!("https://localhost:{}{path}", self.ports[2]))
            .arg("--cacert")
            .arg(&self.path("public-ca.pem").display().to_string())
    }

    /// GET from the edge.
    pub fn get(&self, path: &str) -> Answer {
        self.curl(path).get()
    }

    /// A token from the edge, or its refusal.
    pub fn mint(&self) -> Answer {
        self.curl("/v1/tokens/api")
            .bearer(&self.token)
            .post(r#"{"subject":"alice"}"#)
    }

    /// A signature from the edge, or its refusal.
    pub fn sign(&self, profile: &str, body: &str) -> Answer {
        self.curl(&format!("/v1/signatures/{profile}"))
            .bearer(&self.token)
            .post(body)
    }

    /// Puts a new certificate in place, as an operator's tool does: written beside, then renamed. The key first: for a moment
    /// the pair does not fit, and the edge must bear it.
    pub fn certificate(&self, name: &str) {
        let (request, certificate, key) = ("etc/tls/new.csr", "etc/tls/new.pem", "etc/tls/new.key");
        let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let openssl = |arguments: &[&str]| {
            run(Command::new("openssl").args(arguments).current_dir(self.dir.path())).success();
        };
        if !self.path("public-ca.pem").exists() {
            let files = ["-keyout", "public-ca.key", "-out", "public-ca.pem"];
            let ca = ["req", "-x509", "-days", "30", "-subj", "/CN=public CA"];
            openssl(&[&ca[..], &new_key, &files].concat());
        }
        let subject = format!("/CN={name}");
        let names = ["-subj", &subject, "-addext", "subjectAltName=DNS:localhost"];
        openssl(&[&["req"], &new_key[..], &names, &["-keyout", key, "-out", request]].concat());
        let ca = ["-CA", "public-ca.pem", "-CAkey", "public-ca.key", "-days", "30"];
        let copied = ["-copy_extensions", "copy", "-in", request, "-out", certificate];
        openssl(&[&["x509", "-req"], &ca[..], &copied].concat());
        std::fs::rename(self.path(key), self.path("etc/tls/privkey.pem")).unwrap();
        std::fs::rename(self.path(certificate), self.path("etc/tls/fullchain.pem")).unwrap();
    }

    /// The CI: its JWKS in a file, and a job's token.
    fn callers(&self) -> String {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let jwk = Jwk::from_public(key.public().unwrap()).to_json();
        self.write("ci.jwks.json", &format!("{{\"keys\":[{jwk}]}}"));
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let claims = Claims {
            iss: Some("https://ci.example.org".into()),
            sub: Some("repo:acme/shop".into()),
            aud: vec!["signet".into()],
            exp: Some(now + 3600),
            iat: Some(now),
            extra: [("ref".to_owned(), "refs/heads/main".into())].into(),
            ..Claims::default()
        };
        jwt::mint(&key, &jwt::Header::default(), &claims).unwrap()
    }
}

/// The commands of a page: its fences marked `bash`.
fn blocks(page: &str) -> Vec<String> {
    let fences = page.split("```bash\n").skip(1);
    fences
        .map(|rest| rest.split("\n```").next().unwrap().to_owned())
        .collect()
}

/// The file with its commented defaults in force.
fn written_out(text: &str) -> String {
    let field = |line: &str| {
        let name: String = line
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '_')
            .collect();
        line[name.len()..].starts_with(" = ") && !["certificate_file", "key_file"].contains(&name.as_str())
    };
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(default) if field(default) => default,
        _ => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

fn software(text: &str) -> String {
    let (before, rest) = text.split_once("[hsm]\n").unwrap();
    let (_, after) = rest.split_once("# For edges").unwrap();
    format!("{before}[hsm]\nkind = \"software\"\npassphrase_file = \"/etc/signet/hsm.passphrase\"\n# For edges{after}")
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Ports that are free for TCP and UDP, all held until all are found.
pub fn free_ports() -> [u16; 4] {
    let mut held = Vec::new();
    while held.len() < 4 {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if let Ok(udp) = UdpSocket::bind(("127.0.0.1", port)) {
            held.push((tcp, udp));
        }
    }
    [0, 1, 2, 3].map(|index| held[index].0.local_addr().unwrap().port())
}
