//! Where the authority and the edge are, and how to talk to them.
//!
//! `--data DIR` (default `signet-data`) takes everything from a running `signet dev`; otherwise addresses and credentials
//! come from options or the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use node::http_client::{Client, add_pem_roots, system_roots};
use rustls::RootCertStore;
use serde_json::Value;

use crate::failure::{Context, Failure};
use crate::progress::Progress;

pub mod key_api;

/// What `signet dev` leaves in its data directory for its own commands.
pub const INFO: &str = "dev/info.json";
const TIMEOUT: Duration = Duration::from_secs(30);
/// Of calls that the authority works on: plugins of a bundle that are compiled, one after the other.
const LONG: Duration = Duration::from_secs(1_800);
const MOST: usize = 64 << 20;

/// How to reach the authority's admin API.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// The data directory of a `signet dev` on this machine.
    #[arg(long, value_name = "DIR", default_value = "signet-data", global = true)]
    data: PathBuf,
    /// The admin API's address, https://HOST:PORT, instead of `--data`.
    #[arg(long, value_name = "URL", env = "SIGNET_AUTHORITY", global = true)]
    authority: Option<String>,
    /// A file with the admin token; SIGNET_ADMIN_TOKEN holds the token itself.
    #[arg(long, value_name = "FILE", global = true)]
    admin_token_file: Option<PathBuf>,
    /// CA certificates (PEM) to trust instead of the system's.
    #[arg(long, value_name = "FILE", env = "SIGNET_CA_FILE", global = true)]
    ca_file: Option<PathBuf>,
}

/// How to reach an edge.
#[derive(Debug, Clone, Args)]
pub struct EdgeArgs {
    /// The data directory of a `signet dev` on this machine.
    #[arg(long, value_name = "DIR", default_value = "signet-data", global = true)]
    data: PathBuf,
    /// The edge's address, https://HOST:PORT, instead of `--data`.
    #[arg(long, value_name = "URL", env = "SIGNET_EDGE", global = true)]
    edge: Option<String>,
    /// A file with the caller's token; SIGNET_TOKEN holds the token itself.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// CA certificates (PEM) to trust instead of the system's.
    #[arg(long, value_name = "FILE", env = "SIGNET_CA_FILE", global = true)]
    ca_file: Option<PathBuf>,
}

/// An address, a bearer token and whom to trust.
#[derive(Debug, Clone)]
pub struct Target {
    /// `https://HOST:PORT`
    pub url: String,
    /// The bearer token; empty: none.
    pub token: String,
    /// CA certificates to trust, PEM; none: the system's.
    pub ca_file: Option<PathBuf>,
}

impl AdminArgs {
    /// For a command whose own options have other names.
    pub fn new(data: PathBuf, url: Option<String>, token_file: Option<PathBuf>, ca_file: Option<PathBuf>) -> AdminArgs {
        AdminArgs {
            data,
            authority: url,
            admin_token_file: token_file,
            ca_file,
        }
    }

    /// Where the admin API is.
    pub fn target(&self) -> Result<Target, Failure> {
        let token = secret("SIGNET_ADMIN_TOKEN", self.admin_token_file.as_deref())?;
        if let Some(url) = &self.authority {
            let token =
                token.ok_or_else(|| Failure::new("no admin token; set SIGNET_ADMIN_TOKEN or --admin-token-file"))?;
            return Ok(Target {
                url: url.clone(),
                token,
                ca_file: self.ca_file.clone(),
            });
        }
        let info = info(&self.data, "--authority or SIGNET_AUTHORITY")?;
        Ok(Target {
            url: text(&info, "/authority/admin")?,
            token: token.map_or_else(|| text(&info, "/admin_token"), Ok)?,
            ca_file: Some(
                self.ca_file
                    .clone()
                    .map_or_else(|| text(&info, "/ca_file").map(PathBuf::from), Ok)?,
            ),
        })
    }

    /// Where the admin API is, for what needs no admin token.
    pub fn anonymous(&self) -> Result<Target, Failure> {
        let target = match &self.authority {
            Some(url) => Target {
                url: url.clone(),
                token: String::new(),
                ca_file: self.ca_file.clone(),
            },
            None => self.target()?,
        };
        Ok(Target {
            token: String::new(),
            ..target
        })
    }

    /// One call of the admin API; the answer's JSON, or its error as a failure.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.target()?.call(method, path, body)
    }
}

impl EdgeArgs {
    /// Where the edge is, for what needs no credentials.
    pub fn public(&self) -> Result<Target, Failure> {
        match &self.edge {
            Some(url) => Ok(Target {
                url: url.clone(),
                token: String::new(),
                ca_file: self.ca_file.clone(),
            }),
            None => self.target(),
        }
    }

    /// What is at a URL, as text: for what is signed, so that nobody is asked for credentials.
    pub fn fetch(&self, url: &str) -> Result<String, Failure> {
        let client = Client::new(self.public()?.roots()?)?;
        let response = client.request(Method::GET, url, HeaderMap::new(), Bytes::new(), TIMEOUT, MOST);
        let response = runtime()?.block_on(response).context(|| format!("`{url}`"))?;
        if !response.status().is_success() {
            return Err(Failure::new(format!("`{url}` answered {}", response.status())));
        }
        Ok(String::from_utf8(response.body().to_vec())?)
    }

    /// Where the edge is.
    pub fn target(&self) -> Result<Target, Failure> {
        let token = secret("SIGNET_TOKEN", self.token_file.as_deref())?;
        if let Some(url) = &self.edge {
            let token = token.ok_or_else(|| Failure::new("no caller token; set SIGNET_TOKEN or --token-file"))?;
            return Ok(Target {
                url: url.clone(),
                token,
                ca_file: self.ca_file.clone(),
            });
        }
        let info = info(&self.data, "--edge or SIGNET_EDGE")?;
        Ok(Target {
            url: text(&info, "/edge/https")?,
            token: token.map_or_else(|| text(&info, "/token"), Ok)?,
            ca_file: Some(
                self.ca_file
                    .clone()
                    .map_or_else(|| text(&info, "/ca_file").map(PathBuf::from), Ok)?,
            ),
        })
    }
}

fn secret(variable: &str, file: Option<&Path>) -> Result<Option<String>, Failure> {
    match file {
        Some(file) => {
            let text = std::fs::read_to_string(file).context(|| format!("`{}`", file.display()))?;
            Ok(Some(text.trim().to_owned()))
        }
        None => Ok(std::env::var(variable).ok().filter(|value| !value.is_empty())),
    }
}

/// What a `signet dev` wrote; `option` names an address in its place.
fn info(data: &Path, option: &str) -> Result<Value, Failure> {
    let path = data.join(INFO);
    let content = std::fs::read(&path).map_err(|error| {
        Failure::new(format!(
            "`{}`: {error}; start `signet dev --data {}`, or name another address with {option}",
            path.display(),
            data.display(),
        ))
    })?;
    serde_json::from_slice(&content).context(|| format!("`{}`", path.display()))
}

fn text(info: &Value, pointer: &str) -> Result<String, Failure> {
    let text = info.pointer(pointer).and_then(Value::as_str);
    Ok(text
        .ok_or_else(|| Failure::new(format!("`{INFO}` has no {pointer}; start `signet dev` again")))?
        .to_owned())
}

impl Target {
    /// One call; the answer's JSON, or its problem as a failure.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let (status, answer) = runtime()?.block_on(self.send(method, path, body))?;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        Err(Failure::new(describe(status, &answer)))
    }

    /// As [`Target::call`], of a call that takes minutes, while `progress` says what for.
    pub fn call_long(
        &self,
        (method, path): (&str, &str),
        body: &Value,
        progress: &mut Progress,
        what: &str,
    ) -> Result<Value, Failure> {
        let answer = self.send_within(method, path, Some(body), LONG);
        let (status, answer) = runtime()?.block_on(progress.during(what, answer))?;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        Err(Failure::new(describe(status, &answer)))
    }

    /// One call over HTTP/1.1 or HTTP/2; status and JSON.
    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value), Failure> {
        self.send_within(method, path, body, TIMEOUT).await
    }

    async fn send_within(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        time: Duration,
    ) -> Result<(u16, Value), Failure> {
        let client = Client::new(self.roots()?)?;
        let method: Method = method.parse()?;
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let url = format!("{}{path}", self.url);
        let response = client
            .request(method, &url, self.headers()?, Bytes::from(body), time, MOST)
            .await?;
        Ok((response.status().as_u16(), self.content(&response)?))
    }

    /// One call over HTTP/3; status and JSON.
    pub async fn send_http3(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value), Failure> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let url = format!("{}{path}", self.url);
        let request = loadtest::http3::Request {
            method: method.parse()?,
            url,
            headers: self.headers()?,
            body: body.into(),
        };
        let response = loadtest::http3::once(request, self.roots()?, TIMEOUT, MOST).await?;
        Ok((response.status().as_u16(), self.content(&response)?))
    }

    /// The JSON of an answer. Every answer has some: without it nothing that the command would say was done has been said, such as by
    /// a port for gRPC, which answers any call with 200 and no body.
    fn content(&self, response: &http::Response<Bytes>) -> Result<Value, Failure> {
        serde_json::from_slice(response.body()).map_err(|_| {
            let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            Failure::new(format!(
                "{} answered {} with {} and no JSON, as no API of signet for this does; nothing is known to have been done. Is the address \
                 right? An authority's port for operators is another than the one for edges",
                self.url,
                response.status().as_u16(),
                kind.unwrap_or("nothing"),
            ))
        })
    }

    fn headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if !self.token.is_empty() {
            let mut token = HeaderValue::from_str(&format!("Bearer {}", self.token))?;
            token.set_sensitive(true);
            headers.insert(AUTHORIZATION, token);
        }
        Ok(headers)
    }

    /// Whom to trust.
    pub fn roots(&self) -> Result<RootCertStore, Failure> {
        let Some(file) = &self.ca_file else {
            return Ok(system_roots()?);
        };
        let pem = std::fs::read(file).context(|| format!("`{}`", file.display()))?;
        let mut roots = RootCertStore::empty();
        add_pem_roots(&mut roots, &pem).context(|| format!("`{}`", file.display()))?;
        Ok(roots)
    }
}

/// A problem document (RFC 9457) or a KMS error, in one line.
pub fn describe(status: u16, answer: &Value) -> String {
    let member = |name: &str| answer.get(name).and_then(Value::as_str);
    let code = member("code").or_else(|| member("__type")).unwrap_or("error");
    let detail = member("detail")
        .or_else(|| member("message"))
        .or_else(|| member("title"))
        .unwrap_or("no detail");
    let mut text = format!("{status} {code}: {detail}");
    for name in ["policies", "rule", "rule_code", "request_id"] {
        match answer.get(name) {
            Some(Value::String(value)) => text.push_str(&format!("; {name} {value}")),
            Some(Value::Array(values)) if !values.is_empty() => {
                let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
                text.push_str(&format!("; {name} {}", values.join(", ")));
            }
            _ => {}
        }
    }
    if let Some(errors) = answer.get("errors").and_then(Value::as_array) {
        for error in errors {
            text.push_str("\n  ");
            text.push_str(error.as_str().unwrap_or_default());
        }
    }
    text
}

/// A runtime with a thread for each processor this process may use. Where that is one, it needs no way to hand tasks from
/// one thread to another.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    Ok(builder.worker_threads(threads).enable_all().build()?)
}
