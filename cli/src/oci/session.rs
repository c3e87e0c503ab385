//! Requests to a registry, as whom it asks for.
//!
//! Credentials go to the registry itself and to the token server that it names, never on with a redirect to another
//! origin (scheme, host, port), and never from https to http.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use node::http_client::{Client, ClientError};
use serde_json::Value;

use super::challenge::{Challenge, refresh_form, token, token_url};
use super::credentials::{self, Credential};
use super::origin::{is_loopback, origin_of};
use crate::client::{Target, runtime};
use crate::failure::Failure;
use crate::progress::Progress;

/// Of a call that carries a component: 32 MiB over a slow line.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of an answer that is an error or a token.
pub const MOST_ANSWER: usize = 256 << 10;
/// Registries send to their object storage; that sends nowhere.
const MOST_REDIRECTS: usize = 3;
/// The best-known registry is elsewhere than its name says, and so are its credentials.
const HUB: [&str; 2] = ["docker.io", "index.docker.io"];
const HUB_HOST: &str = "registry-1.docker.io";
const HUB_CREDENTIALS: &str = "https://index.docker.io/v1/";

/// What is to be done in a repository: what a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    PullAndPush,
}

/// A registry, and the way there.
pub struct Session {
    client: Client,
    tasks: tokio::runtime::Runtime,
    progress: Progress,
    /// As the user wrote it, for messages.
    host: String,
    /// `https://HOST:PORT`
    origin: String,
    /// Whether others than this machine may be spoken to in the clear.
    plain_http: bool,
    /// What a token is asked for.
    scope: String,
    /// What the registry is told with each request, once it has asked.
    authorization: Option<HeaderValue>,
    /// Whether there are credentials of this registry.
    has_credentials: bool,
}

/// One request.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its whole URL.
    pub url: String,
    /// Its fields, but for who asks.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Bytes of its answer.
    pub most: usize,
}

impl Access {
    fn scope(self, repository: &str) -> String {
        let actions = match self {
            Access::Pull => "pull",
            Access::PullAndPush => "pull,push",
        };
        format!("repository:{repository}:{actions}")
    }
}

impl Session {
    /// The registry at `host`, for one of its repositories. On this machine it is spoken to in the clear unless a CA is
    /// named; elsewhere only where `plain_http` says so.
    pub fn new(
        host: &str,
        repository: &str,
        access: Access,
        plain_http: bool,
        ca_file: Option<&Path>,
    ) -> Result<Session, Failure> {
        let scheme = match plain_http || (is_loopback(host) && ca_file.is_none()) {
            true => "http",
            false => "https",
        };
        let server = if HUB.contains(&host) { HUB_HOST } else { host };
        let url = format!("{scheme}://{server}");
        let trust = Target {
            url: url.clone(),
            token: String::new(),
            ca_file: ca_file.map(Path::to_owned),
        };
        let roots = match scheme {
            "http" => rustls::RootCertStore::empty(),
            _ => trust.roots()?,
        };
        Ok(Session {
            client: Client::new(roots)?,
            tasks: runtime()?,
            progress: Progress::new("registry", "bytes"),
            host: host.to_owned(),
            origin: origin_of(&url)?,
            plain_http,
            scope: access.scope(repository),
            authorization: None,
            has_credentials: false,
        })
    }

    /// `https://HOST:PORT`
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Sends a request, as whom the registry asks for: its first challenge is answered, the second is its refusal.
    pub fn ask(&mut self, request: &Request) -> Result<Response<Bytes>, Failure> {
        let answer = self.send(request)?;
        if answer.status() != StatusCode::UNAUTHORIZED || origin_of(&request.url)? != self.origin {
            return Ok(answer);
        }
        let Some(challenge) = Challenge::of(answer.headers()) else {
            return Ok(answer);
        };
        match self.authorize(&challenge)? {
            Some(authorization) => self.authorization = Some(authorization),
            None => return Ok(answer),
        }
        self.send(request)
    }

    /// Sends a request once. Who it is from is told to the registry's own origin alone.
    fn send(&mut self, request: &Request) -> Result<Response<Bytes>, Failure> {
        let mut headers = request.headers.clone();
        if let Some(authorization) = &self.authorization
            && origin_of(&request.url)? == self.origin
        {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let (client, url) = (self.client.clone(), request.url.clone());
        let (method, body, most) = (request.method.clone(), request.body.clone(), request.most);
        let sent = async move { client.request(method, &url, headers, body, TIMEOUT, most).await };
        self.wait("is waited for", sent)
            .map_err(|error| explained(error, &request.url))
    }

    fn wait<T>(&mut self, what: &str, work: impl Future<Output = T>) -> T {
        let what = format!("`{}` {what}", self.host);
        self.tasks.block_on(self.progress.during(&what, work))
    }

    /// What answers a challenge; `None` where that takes credentials and there are none.
    fn authorize(&mut self, challenge: &Challenge) -> Result<Option<HeaderValue>, Failure> {
        let called = match HUB.contains(&self.host.as_str()) {
            true => HUB_CREDENTIALS.to_owned(),
            false => self.host.clone(),
        };
        let credential = self.wait("is looked up in docker's credentials", credentials::find(&called))?;
        self.has_credentials = credential.is_some();
        match (challenge, credential) {
            (Challenge::Basic, Some(Credential::Password(basic))) => field("Basic", basic.expose()).map(Some),
            (Challenge::Basic, Some(Credential::Identity(_))) => Err(Failure::new(format!(
                "`{}` takes a name and a password, not an identity token",
                self.host
            ))),
            (Challenge::Basic, None) => Ok(None),
            (Challenge::Bearer { realm, service }, credential) => self.token(realm, service, credential).map(Some),
        }
    }

    /// Asks the token server; without credentials it may still give a token for what everybody may read.
    fn token(&mut self, realm: &str, service: &str, credential: Option<Credential>) -> Result<HeaderValue, Failure> {
        self.must_be_as_safe(realm)?;
        let mut request = Request::new(Method::GET, token_url(realm, service, &self.scope), MOST_ANSWER);
        match credential {
            Some(Credential::Password(basic)) => {
                request.headers.insert(AUTHORIZATION, field("Basic", basic.expose())?);
            }
            Some(Credential::Identity(secret)) => {
                request.method = Method::POST;
                request.url = realm.to_owned();
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                request.headers.insert(CONTENT_TYPE, form);
                request.body = refresh_form(service, &self.scope, &secret)?.into();
            }
            None => {}
        }
        // What the registry was told before is not for its token server.
        self.authorization = None;
        let answer = self.send(&request)?;
        if !answer.status().is_success() {
            return Err(self.refused("has a token server that refused", &answer));
        }
        field("Bearer", token(answer.body())?.expose())
    }

    /// A GET that follows redirects: what comes from elsewhere is checked by its digest.
    pub fn get(&mut self, mut request: Request) -> Result<Response<Bytes>, Failure> {
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.ask(&request)?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            request.url = self.location(&request.url, &answer)?;
        }
        Err(Failure::new(format!(
            "`{}` redirects more than {MOST_REDIRECTS} times",
            self.host
        )))
    }

    /// Where an answer sends to. From https to http nothing goes.
    pub fn location(&self, from: &str, answer: &Response<Bytes>) -> Result<String, Failure> {
        let location = answer.headers().get(LOCATION).and_then(|field| field.to_str().ok());
        let location = location.ok_or_else(|| self.refused("does not say where to go on", answer))?;
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(format!("{}{location}", origin_of(from)?));
        }
        self.must_be_as_safe(location)?;
        Ok(location.to_owned())
    }

    /// That a place that the registry sends to is no less safe than the registry itself was to be.
    fn must_be_as_safe(&self, url: &str) -> Result<(), Failure> {
        let there = origin_of(url)?;
        let Some(host) = there.strip_prefix("http://") else {
            return Ok(());
        };
        let may = self.origin.starts_with("http://") && (self.plain_http || is_loopback(host));
        match may {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "`{}` sends on to `{there:.200}`, which is in the clear",
                self.host
            ))),
        }
    }

    /// What the registry says of its refusal, and what to do.
    pub fn refused(&self, what: &str, answer: &Response<Bytes>) -> Failure {
        let host = &self.host;
        let text = format!("`{host}` {what}: {}{}", answer.status(), said(answer.body()));
        match (answer.status(), self.has_credentials) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, false) => Failure::new(format!(
                "{text}; it wants credentials: `docker login {host}` leaves some"
            )),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, true) => Failure::new(format!(
                "{text}; the credentials of `docker login {host}` do not suffice"
            )),
            _ => Failure::new(text),
        }
    }
}

impl Request {
    /// One without fields and body.
    pub fn new(method: Method, url: String, most: usize) -> Request {
        Request {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            most,
        }
    }
}

fn explained(error: ClientError, url: &str) -> Failure {
    let is_tls = matches!(&error, ClientError::Connect { .. }) && url.starts_with("https://");
    let failure = Failure::from(error);
    match is_tls {
        true => Failure::new(format!(
            "{failure}; if its CA is not the system's, name it by --registry-ca-file; if it has no TLS, say --plain-http"
        )),
        false => failure,
    }
}

/// An `Authorization` field, which no log shows.
fn field(scheme: &str, secret: &[u8]) -> Result<HeaderValue, Failure> {
    let bad = |_| Failure::new("the registry's credentials cannot stand in a header");
    let text = [scheme.as_bytes(), b" ", secret].concat();
    let mut value = HeaderValue::from_bytes(&text).map_err(bad)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The errors of a registry's answer, in one line.
fn said(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = answer.get("errors").and_then(Value::as_array).into_iter().flatten();
    let error = |error: &Value| {
        let member = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!(", {} ({})", member("message"), member("code"))
    };
    let text: String = errors.take(3).map(error).collect();
    text.chars()
        .filter(|character| !character.is_control())
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_clear_is_spoken_on_this_machine_or_where_it_is_said() {
        let origin = |host: &str, plain: bool| Session::new(host, "r", Access::Pull, plain, None).unwrap().origin;
        assert_eq!(origin("localhost:5000", false), "http://localhost:5000");
        assert_eq!(origin("[::1]:5000", false), "http://[::1]:5000");
        assert_eq!(origin("registry.example:5000", true), "http://registry.example:5000");
    }

    #[test]
    fn nothing_goes_on_to_where_it_is_less_safe() {
        let session = |host, plain| Session::new(host, "r", Access::Pull, plain, None).unwrap();
        let (here, plain) = (session("localhost:5000", false), session("registry.example", true));
        for (session, url, may) in [
            (&here, "http://127.0.0.1:5001/token", true),
            (&here, "https://auth.example/token", true),
            (&here, "http://auth.example/token", false),
            (&here, "http://127.0.0.1@auth.example/", false),
            (&plain, "http://auth.example/token", true),
        ] {
            assert_eq!(session.must_be_as_safe(url).is_ok(), may, "{url}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_one_line() {
        let body = br#"{"errors":[{"code":"DENIED","message":"not\nyours"},{"code":"X"}]}"#;
        assert_eq!(said(body), ", notyours (DENIED),  (X)");
        assert_eq!(said(b"<html>"), "");
    }
}
