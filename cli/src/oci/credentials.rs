//! A registry's credentials, from where `docker login` left them: `config.json`, or the helper that it names.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;
use signing::key::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::read_file;
use crate::failure::{Context, Failure};

/// Bytes of a configuration.
const MOST_CONFIG: usize = 1 << 20;
/// Bytes of a helper's answer.
const MOST_ANSWER: u64 = 64 << 10;
/// A helper may ask a person.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);
/// What a helper says that knows nothing of a registry (docker-credential-helpers).
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user name of a secret that is an identity token.
const IDENTITY_USER: &str = "<token>";

/// What a registry is told.
#[derive(Debug)]
pub enum Credential {
    /// A name and a password.
    Password(Basic),
    /// A refresh token for the registry's token server.
    Identity(Secret),
}

/// A name and a password, as an `Authorization` field has them.
#[derive(Debug)]
pub struct Basic(Secret);

/// Where a configuration says that a registry's credentials are.
#[derive(Debug)]
enum Place {
    Here(Credential),
    Helper(String),
    Nowhere,
}

impl Basic {
    fn new(user: &str, password: &[u8]) -> Basic {
        let plain = Secret::new([user.as_bytes(), b":", password].concat());
        Basic(Secret::new(BASE64_STANDARD.encode(plain.expose()).into_bytes()))
    }

    /// Base64 of `NAME:PASSWORD` (RFC 7617).
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

/// The credentials for a registry, called `host` as docker calls it; `None` where there are none.
///
/// # Errors
/// The configuration cannot be read, or the helper that it names fails: then nothing is tried without.
pub async fn find(host: &str) -> Result<Option<Credential>, Failure> {
    let Some(path) = config_path() else { return Ok(None) };
    let Some(config) = read(&path)? else { return Ok(None) };
    match place(&config, host).context(|| format!("`{}`", path.display()))? {
        Place::Here(credential) => Ok(Some(credential)),
        Place::Helper(name) => ask(&name, host).await.context(|| format!("docker-credential-{name}")),
        Place::Nowhere => Ok(None),
    }
}

/// `$DOCKER_CONFIG/config.json`, or that of the home directory.
fn config_path() -> Option<PathBuf> {
    let dir = std::env::var_os("DOCKER_CONFIG")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    dir.or_else(home).map(|dir| dir.join("config.json"))
}

fn read(path: &Path) -> Result<Option<Value>, Failure> {
    let Some(content) = read_file(path, MOST_CONFIG)?.map(Secret::new) else {
        return Ok(None);
    };
    // Not the parser's own words: they may quote what is there.
    let bad = |error: serde_json::Error| {
        let (path, line) = (path.display(), error.line());
        Failure::new(format!("`{path}` is no JSON, line {line}"))
    };
    serde_json::from_slice(content.expose()).map(Some).map_err(bad)
}

/// Looks as docker does: the helper for this registry, the helper for all, what is written here.
fn place(config: &Value, host: &str) -> Result<Place, Failure> {
    let own = config.get("credHelpers").and_then(|helpers| helpers.get(host));
    let helper = own.or_else(|| config.get("credsStore")).and_then(Value::as_str);
    if let Some(name) = helper.filter(|name| !name.is_empty()) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !name.bytes().all(is_plain) {
            return Err(Failure::new(format!("`{name:.64}` cannot name a credential helper")));
        }
        return Ok(Place::Helper(name.to_owned()));
    }
    let entries = config.get("auths").and_then(Value::as_object).into_iter().flatten();
    let mut entries = entries.filter(|(key, _)| key.as_str() == host || registry_of(key) == registry_of(host));
    let Some((_, entry)) = entries.next() else {
        return Ok(Place::Nowhere);
    };
    let member = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = member("identitytoken") {
        return Ok(Place::Here(Credential::Identity(Secret::new(
            token.as_bytes().to_vec(),
        ))));
    }
    if let Some(auth) = member("auth") {
        let bad = || {
            Failure::new(format!(
                "`auth` of `{host}` is not base64 of NAME:PASSWORD; run `docker login {host}`"
            ))
        };
        let plain = Secret::new(BASE64_STANDARD.decode(auth).map_err(|_| bad())?);
        let text = std::str::from_utf8(plain.expose()).map_err(|_| bad())?;
        let (user, password) = text.split_once(':').ok_or_else(bad)?;
        return Ok(Place::Here(Credential::Password(Basic::new(
            user,
            password.trim_end_matches('\0').as_bytes(),
        ))));
    }
    match (member("username"), member("password")) {
        (Some(user), Some(password)) => Ok(Place::Here(Credential::Password(Basic::new(user, password.as_bytes())))),
        _ => Ok(Place::Nowhere),
    }
}

/// `https://index.docker.io/v1/` and `ghcr.io` are written either way.
fn registry_of(key: &str) -> &str {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
}

/// Runs `docker-credential-NAME get`, which reads the registry's name and answers JSON.
async fn ask(name: &str, host: &str) -> Result<Option<Credential>, Failure> {
    let mut child = tokio::process::Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context(|| "cannot be started".to_owned())?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let exchange = async {
        if let Some(mut input) = input {
            // A helper that reads nothing has its own reasons: its answer counts.
            let _ = input.write_all(format!("{host}\n").as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(output) = output {
            output.take(MOST_ANSWER).read_to_end(&mut answer).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, Secret::new(answer)))
    };
    let late = |_| Failure::new(format!("did not answer within {} s", HELPER_TIMEOUT.as_secs()));
    let (status, answer) = tokio::time::timeout(HELPER_TIMEOUT, exchange).await.map_err(late)??;
    if status.success() {
        return answered(&answer).map(Some);
    }
    let said = String::from_utf8_lossy(answer.expose());
    if said.contains(NOT_FOUND) {
        return Ok(None);
    }
    Err(Failure::new(format!("failed ({status}): {}", told(&said))))
}

/// What a helper that failed said, for a person: a line of text, and no JSON, which would be credentials.
fn told(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default().trim();
    let line: String = line
        .chars()
        .filter(|character| !character.is_control())
        .take(200)
        .collect();
    match line.starts_with('{') || line.is_empty() {
        true => "it said nothing to be shown".to_owned(),
        false => line,
    }
}

fn answered(answer: &Secret) -> Result<Credential, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let bad = |_| Failure::new("answered no JSON with `Username` and `Secret`");
    let answer: Answer = serde_json::from_slice(answer.expose()).map_err(bad)?;
    let secret = Secret::new(answer.secret.into_bytes());
    match answer.username.as_str() {
        IDENTITY_USER => Ok(Credential::Identity(secret)),
        user => Ok(Credential::Password(Basic::new(user, secret.expose()))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(config: &Value, host: &str) -> String {
        match place(config, host) {
            Ok(Place::Here(Credential::Password(basic))) => {
                let plain = BASE64_STANDARD.decode(basic.expose()).unwrap();
                format!("password {}", String::from_utf8(plain).unwrap())
            }
            Ok(Place::Here(Credential::Identity(token))) => {
                format!("identity {}", std::str::from_utf8(token.expose()).unwrap())
            }
            Ok(Place::Helper(name)) => format!("helper {name}"),
            Ok(Place::Nowhere) => "nowhere".to_owned(),
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn a_registry_is_found_as_docker_finds_it() {
        let auth = |text: &str| json!({"auth": BASE64_STANDARD.encode(text)});
        let mut config = json!({
            "auths": {
                "ghcr.io": auth("alice:s3:cret"),
                "https://index.docker.io/v1/": auth("bob:pw"),
                "127.0.0.1:5000": {"username": "carol", "password": "pw"},
                "token.example": {"auth": BASE64_STANDARD.encode("x:"), "identitytoken": "refresh"},
                "bad.example": {"auth": "%"},
                "empty.example": {},
            },
            "credHelpers": {"ecr.example": "ecr-login", "evil.example": "../evil"},
        });
        for (host, expected) in [
            ("ghcr.io", "password alice:s3:cret"),
            ("https://index.docker.io/v1/", "password bob:pw"),
            ("127.0.0.1:5000", "password carol:pw"),
            ("127.0.0.1:5001", "nowhere"),
            ("token.example", "identity refresh"),
            ("empty.example", "nowhere"),
            ("ecr.example", "helper ecr-login"),
            ("evil.example", "`../evil` cannot name a credential helper"),
        ] {
            assert_eq!(shown(&config, host), expected, "{host}");
        }
        assert!(shown(&config, "bad.example").contains("docker login bad.example"));
        config["credsStore"] = json!("pass");
        assert_eq!(shown(&config, "ghcr.io"), "helper pass");
        assert_eq!(shown(&json!({}), "ghcr.io"), "nowhere");
    }

    // R10
    #[test]
    fn a_helpers_answer_is_read_and_never_shown() {
        let answer = |text: &str| answered(&Secret::new(text.as_bytes().to_vec()));
        assert!(matches!(
            answer(r#"{"ServerURL":"h","Username":"<token>","Secret":"t"}"#),
            Ok(Credential::Identity(token)) if token.expose() == b"t"
        ));
        let refused = answer(r#"{"Secret":"s3cret"}"#).unwrap_err().to_string();
        assert!(!refused.contains("s3cret"), "{refused}");
        let debug = format!("{:?}", answer(r#"{"Username":"a","Secret":"s3cret"}"#).unwrap());
        assert!(debug.contains("[redacted]") && !debug.contains("s3cret"), "{debug}");
        assert_eq!(told("error: locked\nmore"), "error: locked");
        assert_eq!(told(r#"{"Secret":"s3cret"}"#), "it said nothing to be shown");
    }
}
