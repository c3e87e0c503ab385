//! The endpoint as a client meets it, without a socket.

mod principals;
mod sts;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use node::listen::{Handler, Peer, Protocol};
use node::telemetry::Metrics;
use serde_json::{Value, json};

use super::access_key::Issued;
use super::sigv4::sign::Signer;
use super::{Kms, Recorder};
use crate::config::KmsConfig;
use crate::testing::Bench;

const REGION: &str = "eu-central-1";

/// A bench with the endpoint on it, and an access key of the account's root.
struct Site {
    bench: Bench,
    kms: Kms,
    recorder: Arc<Recorder>,
    root: Issued,
    metrics: Metrics,
}

/// What a test changes of a request before it is signed.
#[derive(Clone, Copy)]
struct Sender<'a> {
    key: &'a Issued,
    token: Option<&'a str>,
    region: &'a str,
    service: &'a str,
    /// By how much the client's clock is off, seconds.
    skew: i64,
}

impl Site {
    async fn new() -> Self {
        Self::with(KmsConfig::new("127.0.0.1:0".parse().unwrap(), None)).await
    }

    async fn with(config: KmsConfig) -> Self {
        let bench = Bench::new().await;
        let metrics = Metrics::new("test");
        let mut whole = crate::testing::config(bench.dir());
        whole.kms = Some(config.clone());
        let recorder = bench.wired.recorder(&whole, &metrics).unwrap();
        let kms = bench.wired.key_api(&config, recorder.clone());
        let root = bench.wired.access_keys.create(&bench.tenant(), None, "").await.unwrap();
        Self {
            bench,
            kms,
            recorder,
            root,
            metrics,
        }
    }

    fn sender(&self) -> Sender<'_> {
        Sender {
            key: &self.root,
            token: None,
            region: REGION,
            service: "kms",
            skew: 0,
        }
    }

    /// A signed KMS request.
    fn request(&self, sender: Sender<'_>, operation: &str, body: &str) -> Request<Bytes> {
        let target = format!("TrentService.{operation}");
        let mut fields = vec![
            ("host", "localhost"),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", target.as_str()),
        ];
        fields.extend(sender.token.map(|token| ("x-amz-security-token", token)));
        self.signed(sender, &fields, body)
    }

    fn signed(&self, sender: Sender<'_>, fields: &[(&str, &str)], body: &str) -> Request<Bytes> {
        let request = Request::post("/").body(Bytes::from(body.to_owned())).unwrap();
        let (mut parts, bytes) = request.into_parts();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            parts.headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let signer = Signer {
            access_key_id: &sender.key.record.id,
            secret: std::str::from_utf8(sender.key.secret.expose()).unwrap(),
            region: sender.region,
            service: sender.service,
            now: self.bench.now().checked_add_signed(sender.skew).unwrap(),
        };
        signer.sign(&mut parts, body.as_bytes()).unwrap();
        Request::from_parts(parts, bytes)
    }

    async fn send(&self, request: Request<Bytes>) -> Response<Bytes> {
        let peer = Peer {
            address: SocketAddr::from(([192, 0, 2, 7], 4711)),
            protocol: Protocol::Http1,
            certificates: Arc::from([]),
            secure: true,
        };
        let response = self.kms.handle(request, &peer).await;
        assert!(response.headers().contains_key("x-amzn-requestid"), "{response:?}");
        response
    }

    /// Status and body of a KMS answer.
    async fn ask(&self, sender: Sender<'_>, operation: &str, body: Value) -> (u16, Value) {
        self.answer(self.request(sender, operation, &body.to_string())).await
    }

    async fn answer(&self, request: Request<Bytes>) -> (u16, Value) {
        let response = self.send(request).await;
        assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.1");
        (
            response.status().as_u16(),
            serde_json::from_slice(response.body()).unwrap(),
        )
    }

    async fn good(&self, operation: &str, body: Value) -> Value {
        let (status, answer) = self.ask(self.sender(), operation, body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The type of a refusal.
    async fn refused(&self, request: Request<Bytes>) -> (u16, String) {
        let (status, answer) = self.answer(request).await;
        let members = answer.as_object().unwrap();
        assert!(members.len() == 2 && answer["message"].is_string(), "{answer}");
        (status, answer["__type"].as_str().unwrap().to_owned())
    }

    async fn close(&self) {
        let recorder = self.recorder.clone();
        tokio::task::spawn_blocking(move || recorder.close()).await.unwrap();
    }

    async fn new_key(&self) -> String {
        let made = self
            .good(
                "CreateKey",
                json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}),
            )
            .await;
        made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }

    /// What is on record, once everything is written; nothing can be recorded after.
    async fn records(&self) -> Vec<Value> {
        self.close().await;
        let mut tail = audit::read::tail(&self.bench.path().join("audit"), false).unwrap();
        let mut records = Vec::new();
        while let Some(record) = tail.poll() {
            let record: Value = serde_json::from_str(&record.unwrap().to_json()).unwrap();
            if record["event"] == "use" {
                records.push(record);
            }
        }
        records
    }
}
