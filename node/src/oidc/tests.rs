//! What the tests of this folder share: signers, tokens and a server of JWKS documents.

mod keys;
mod refresh;
mod rules;
mod tokens;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const ISSUER: &str = "https://ci.example";
const TENANT: &str = "000000000001";
const NOW: u64 = 1_800_000_000;

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

enum Private {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// An issuer's key.
struct Signer {
    kid: String,
    private: Private,
}

impl Signer {
    fn new(kid: &str, algorithm: &str) -> Self {
        let private = match algorithm {
            "EdDSA" => Private::Ed25519(Ed25519KeyPair::generate().unwrap()),
            "ES256" => Private::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            "ES384" => Private::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            _ => Private::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        };
        Self {
            kid: kid.to_owned(),
            private,
        }
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            Private::P256(key) | Private::P384(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Private::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let padding = if algorithm == "PS256" {
                    &RSA_PSS_SHA256
                } else {
                    &RSA_PKCS1_SHA256
                };
                key.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// Without `alg`.
    fn jwk(&self) -> Value {
        let point = |key: &EcdsaKeyPair, curve: &str| {
            let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
            json!({"kty": "EC", "crv": curve, "x": base64url(x), "y": base64url(y)})
        };
        let mut jwk = match &self.private {
            Private::Ed25519(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key())}),
            Private::P256(key) => point(key, "P-256"),
            Private::P384(key) => point(key, "P-384"),
            Private::Rsa(key) => {
                // RSAPublicKey of 2048 bits: SEQUENCE { INTEGER (257 bytes with the leading zero), INTEGER (3 bytes) }.
                let der = key.public_key().as_ref();
                let (n, e) = (&der[9..265], &der[267..]);
                json!({"kty": "RSA", "n": base64url(n), "e": base64url(e)})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", base64url(header.to_string()), base64url(claims.to_string()));
        let algorithm = header["alg"].as_str().unwrap_or_default();
        format!("{signed}.{}", base64url(self.sign(algorithm, signed.as_bytes())))
    }

    fn token(&self, algorithm: &str, claims: &Value) -> String {
        self.token_with(&json!({"alg": algorithm, "kid": self.kid}), claims)
    }
}

fn jwks(signers: &[&Signer]) -> Vec<u8> {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({"keys": keys}).to_string().into_bytes()
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "repo:acme/app", "aud": "signet", "exp": NOW + 300, "iat": NOW, "roles": ["dev"]})
}

fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn config(algorithms: &[&str], jwks: JwksSource) -> IssuerConfig {
    IssuerConfig {
        issuer: ISSUER.into(),
        audiences: vec!["signet".into()],
        subject: "repo:acme/*".into(),
        algorithms: algorithms.iter().map(|name| (*name).to_owned()).collect(),
        tenant: TENANT.into(),
        attributes: BTreeMap::from([("roles".to_owned(), "roles".to_owned())]),
        jwks,
    }
}

fn issuers(algorithms: &[&str], signers: &[&Signer]) -> Issuers {
    Issuers::new(vec![config(algorithms, JwksSource::Inline(jwks(signers)))]).unwrap()
}

/// The code of the refusal, or the empty text.
async fn code(issuers: &Issuers, token: &str, now: u64) -> &'static str {
    issuers
        .authenticate(token, now)
        .await
        .map_or_else(|error| error.code(), |_| "")
}

/// Serves one JWKS document over HTTP on a free port, counts who asks, and can be broken.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    fetches: Arc<AtomicUsize>,
    answer: Arc<Mutex<(u16, Vec<u8>)>>,
}

impl Server {
    async fn start(document: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            fetches: Arc::default(),
            answer: Arc::new(Mutex::new((200, document))),
        };
        let shared = server.clone();
        tokio::spawn(async move {
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && tcp.read_buf(&mut request).await.unwrap() > 0 {}
                shared.fetches.fetch_add(1, Ordering::SeqCst);
                let (status, body) = shared.answer.lock().unwrap().clone();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = tcp.write_all(&[head.into_bytes(), body].concat()).await;
            }
        });
        server
    }

    fn source(&self) -> JwksSource {
        JwksSource::Url {
            url: format!("http://{}/keys", self.address),
            roots: Vec::new(),
        }
    }

    fn set(&self, status: u16, document: Vec<u8>) {
        *self.answer.lock().unwrap() = (status, document);
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}
