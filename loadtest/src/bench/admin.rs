//! The admin API of an authority, as a bench uses it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method};
use node::http_client::{Client, add_pem_roots};
use rustls::RootCertStore;
use serde_json::{Value, json};

use super::{bench, text};
use crate::LoadError;

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 64 << 20;
/// The only one there is.
const TENANT: &str = "000000000001";

/// Its address and the administrator's token.
#[derive(Clone)]
pub(super) struct Admin {
    client: Client,
    origin: String,
    headers: HeaderMap,
}

impl Admin {
    /// `out` is what `signet authority init --out` made.
    pub(super) fn new(port: u16, out: &Path) -> Result<Admin, LoadError> {
        let read = |name: &str| std::fs::read(out.join(name)).map_err(bench);
        let mut roots = RootCertStore::empty();
        add_pem_roots(&mut roots, &read("node-root.pem")?).map_err(bench)?;
        let token = [b"Bearer ", read("admin-token")?.trim_ascii()].concat();
        let mut token = HeaderValue::from_bytes(&token).map_err(bench)?;
        token.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        Ok(Admin {
            client: Client::new(roots).map_err(bench)?,
            origin: format!("https://localhost:{port}"),
            headers: HeaderMap::from_iter([(AUTHORIZATION, token), (CONTENT_TYPE, json)]),
        })
    }

    /// `https://HOST:PORT`
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// The answer's JSON; a refusal is an error.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, LoadError> {
        let (method, body) = (Method::POST, Bytes::from(body.to_string()));
        let url = format!("{}{path}", self.origin);
        let answer = self
            .client
            .request(method, &url, self.headers.clone(), body, TIMEOUT, MAX_ANSWER);
        let answer = answer.await.map_err(bench)?;
        if !answer.status().is_success() {
            let said = String::from_utf8_lossy(answer.body()).into_owned();
            return Err(bench(format!(
                "POST {path} was answered with {}: {said}",
                answer.status()
            )));
        }
        serde_json::from_slice(answer.body()).map_err(bench)
    }

    /// Whether an operator gets an answer now.
    pub(super) async fn answers(&self) -> bool {
        let url = format!("{}/v1/tenants", self.origin);
        let asked = self.client.request(
            Method::GET,
            &url,
            self.headers.clone(),
            Bytes::new(),
            TIMEOUT,
            MAX_ANSWER,
        );
        asked.await.is_ok_and(|answer| answer.status().is_success())
    }

    pub(super) async fn create_tenant(&self) -> Result<(), LoadError> {
        let tenant = json!({"id": TENANT, "name": "bench"});
        self.post("/v1/tenants", &tenant).await.map(drop)
    }

    /// A shared Ed25519 key for tokens; its id.
    pub(super) async fn create_key(&self, lease_seconds: u64, alias: Option<&str>) -> Result<String, LoadError> {
        let tag = |name: &str, value: &str| json!({"TagKey": format!("signet:{name}"), "TagValue": value});
        let lease = format!("{lease_seconds}s");
        let tags = [
            tag("family", "token"),
            tag("delegation", "shared"),
            tag("lease", &lease),
        ];
        let made = json!({"KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY", "Tags": tags});
        let id = text(&self.key("CreateKey", &made).await?, "/KeyMetadata/KeyId")?;
        if let Some(alias) = alias {
            let alias = json!({"AliasName": alias, "TargetKeyId": id});
            self.key("CreateAlias", &alias).await?;
        }
        Ok(id)
    }

    /// A P-256 key that this API signs with; its id.
    pub(super) async fn create_raw_key(&self) -> Result<String, LoadError> {
        let made = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"});
        text(&self.key("CreateKey", &made).await?, "/KeyMetadata/KeyId")
    }

    /// Signs a message with a key of [`Admin::create_raw_key`].
    pub(super) async fn sign(&self, key: &str) -> Result<(), LoadError> {
        let message = json!({"KeyId": key, "Message": "aGVsbG8=", "SigningAlgorithm": "ECDSA_SHA_256"});
        self.key("Sign", &message).await.map(drop)
    }

    /// `EnableKey`, `DisableKey`: answered when it is committed.
    pub(super) async fn set(&self, verb: &str, key: &str) -> Result<(), LoadError> {
        self.key(verb, &json!({"KeyId": key})).await.map(drop)
    }

    async fn key(&self, verb: &str, body: &Value) -> Result<Value, LoadError> {
        self.post(&format!("/v1/keys/{verb}?tenant={TENANT}"), body).await
    }

    /// Whether no edge can sign with a disabled key any more.
    pub(super) async fn is_fenced(&self, key: &str) -> Result<bool, LoadError> {
        let answer = self.post("/v1/fence", &json!({"of": format!("key/{key}")})).await?;
        let fenced = answer.get("fenced").and_then(Value::as_bool);
        fenced.ok_or_else(|| bench("the answer to a fence does not say whether it is"))
    }

    /// What `signet edges token` prints.
    pub(super) async fn join_token(&self, edge: &str) -> Result<Value, LoadError> {
        let asked = json!({"edge_id": edge, "ttl_seconds": 3_600});
        self.post("/v1/edges/tokens", &asked).await
    }
}
