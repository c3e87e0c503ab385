//! OCI registries on this machine: Debian's `docker-registry`, and one of a few lines that does what no honest one does.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use signing::Algorithm;
use signing::certificate::pem_decode;
use signing::encoding::base64url;
use signing::key::{Secret, SigningKey};
use tempfile::TempDir;

use crate::pki::Pki;

/// Who may use the registry.
pub const USER: &str = "alice";
/// Her password.
pub const PASSWORD: &str = "s3cret-of-push";
/// Its bcrypt hash, as `htpasswd -B` writes it.
const HASH: &str = "$2b$04$qxfCqddcb8adhQARBkVqMejOJUi.wx4MAuYWMLsIgRBy.Mfdrut.W";

/// Debian's registry, with a directory of its own; ended when dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    /// `127.0.0.1:PORT`, or `localhost:PORT` over TLS.
    pub host: String,
    _dir: TempDir,
}

impl Registry {
    /// One that wants [`USER`] and [`PASSWORD`] for everything.
    pub fn with_password() -> Registry {
        let dir = TempDir::new().unwrap();
        let htpasswd = dir.path().join("htpasswd");
        std::fs::write(&htpasswd, format!("{USER}:{HASH}\n")).unwrap();
        let auth = json!({"htpasswd": {"realm": "tests", "path": htpasswd}});
        Registry::start(dir, json!({"auth": auth}))
    }

    /// One over TLS, as `localhost`, that asks nobody who he is.
    pub fn with_tls(pki: &Pki) -> Registry {
        pki.issue("registry", "localhost");
        let tls = json!({"certificate": pki.file("registry.pem"), "key": pki.file("registry.key")});
        let mut registry = Registry::start(TempDir::new().unwrap(), json!({"http": {"tls": tls}}));
        registry.host = registry.host.replace("127.0.0.1", "localhost");
        registry
    }

    /// One that wants tokens of [`token_server`] with the same `pki`, which is at `realm`.
    pub fn with_tokens(pki: &Pki, realm: &str) -> Registry {
        let token = json!({
            "realm": realm, "service": "tests", "issuer": "token-server", "rootcertbundle": pki.file("ca.pem"),
        });
        Registry::start(TempDir::new().unwrap(), json!({"auth": {"token": token}}))
    }

    fn start(dir: TempDir, own: Value) -> Registry {
        let mut config = json!({
            "version": "0.1", "log": {"level": "info"}, "http": {"addr": "127.0.0.1:0"},
            "storage": {"filesystem": {"rootdirectory": dir.path().join("data")}},
        });
        for (part, settings) in own.as_object().unwrap() {
            for (name, setting) in settings.as_object().unwrap() {
                config[part][name] = setting.clone();
            }
        }
        // JSON is YAML.
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config.to_string()).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child =
            child.unwrap_or_else(|error| panic!("docker-registry: {error}; `scripts/setup test` installs it"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = |line: &String| {
            Some(
                line.split_once("listening on ")?
                    .1
                    .split(['"', ' ', ','])
                    .next()?
                    .to_owned(),
            )
        };
        let host = lines.by_ref().map_while(Result::ok).find_map(|line| said(&line));
        // Its log is read on, or it would wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Registry {
            child,
            host: host.expect("docker-registry ended without listening"),
            _dir: dir,
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A token server that gives [`USER`] what she asks for, by the distribution project's token authentication; with a
/// certificate of this `pki`.
pub fn token_server(pki: &Pki) -> Fake {
    pki.issue("tokens", "tokens.example");
    let der = |name: &str, label: &str| {
        let pem = std::fs::read_to_string(pki.file(name)).unwrap();
        pem_decode(label, &pem).unwrap().remove(0)
    };
    let chain = BASE64_STANDARD.encode(der("tokens.pem", "CERTIFICATE"));
    let key = SigningKey::import(Algorithm::Es256, &Secret::new(der("tokens.key", "PRIVATE KEY"))).unwrap();
    let part = |value: Value| base64url(value.to_string().as_bytes());
    Fake::start(move |asked| {
        if asked.authorization != basic(USER, PASSWORD) {
            return (401, Vec::new(), Vec::new());
        }
        let scope = asked.path.split("scope=").nth(1).unwrap();
        let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
        let words: Vec<_> = scope.split(':').collect();
        let actions: Vec<_> = words[2].split(',').collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let head = part(json!({"typ": "JWT", "alg": "ES256", "x5c": [chain]}));
        let claims = part(json!({
            "iss": "token-server", "sub": USER, "aud": "tests", "nbf": now - 60, "iat": now, "exp": now + 300, "jti": "1",
            "access": [{"type": words[0], "name": words[1], "actions": actions}],
        }));
        let message = format!("{head}.{claims}");
        let signature = base64url(&key.sign(message.as_bytes()).unwrap());
        let answer = json!({"token": format!("{message}.{signature}")});
        (200, Vec::new(), answer.to_string().into_bytes())
    })
}

/// The `Authorization` field of a name and a password (RFC 7617).
pub fn basic(user: impl Display, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// What `docker login HOST` leaves in `dir`, for [`USER`].
pub fn log_in(dir: &Path, host: &str) {
    let auth = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let config = json!({"auths": {host: {"auth": auth}}});
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

/// A request that [`Fake`] got.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// `GET`
    pub method: String,
    /// With its query.
    pub path: String,
    /// The `Authorization` field; empty: none.
    pub authorization: String,
}

/// What [`Fake`] answers: a status, header lines, a body.
pub type Said = (u16, Vec<String>, Vec<u8>);

/// A server of one connection a request; its thread ends with the process.
#[derive(Debug)]
pub struct Fake {
    /// Where it is.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Answers each request with what `answer` says.
    pub fn start(answer: impl Fn(&Asked) -> Said + Send + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else { continue };
                log.lock().unwrap().push(request.clone());
                write(&stream, &request, answer(&request));
            }
        });
        Fake { address, asked }
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let mut asked = Asked {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        authorization: String::new(),
    };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => asked.authorization = value.to_owned(),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    Some(asked)
}

fn write(mut stream: &TcpStream, asked: &Asked, (status, headers, body): Said) {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Said\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let body: &[u8] = if asked.method == "HEAD" { &[] } else { &body };
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}
