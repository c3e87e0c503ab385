//! The floor: a server that does the least a signing server can. It parses the request's JSON, signs a JWT with Ed25519
//! and answers; it knows no caller, no policy, no limit and no record. Any GET answers its key set, for the warm-up's sample.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::fill;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::net::TcpListener;

use crate::LoadError;

const KID: &str = "floor";

#[derive(Deserialize)]
struct Ask {
    subject: String,
    audience: String,
    #[serde(default)]
    claims: Map<String, Value>,
    lifetime: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: &'a str,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Answer<'a> {
    token: &'a str,
    kid: &'a str,
    expires_at: u64,
    id: &'a str,
}

struct Signer {
    key: Ed25519KeyPair,
    header: String,
    issuer: String,
}

/// Serves on a free port of 127.0.0.1 until the process ends. `ready` is told the address.
///
/// # Errors
/// [`LoadError::Bench`] where there is no port or no key.
pub async fn serve(ready: impl FnOnce(SocketAddr)) -> Result<Infallible, LoadError> {
    let failed = |error: std::io::Error| LoadError::Bench(error.to_string());
    let key = Ed25519KeyPair::generate().map_err(|_| LoadError::Bench("no key could be made".to_owned()))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let signer = Arc::new(Signer::new(key, format!("http://{address}")));
    ready(address);
    loop {
        let (stream, _) = listener.accept().await.map_err(failed)?;
        let _ = stream.set_nodelay(true);
        let signer = Arc::clone(&signer);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&signer), request));
            // A connection that breaks is its client's to report.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(signer: Arc<Signer>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if request.method() == Method::GET {
        return Ok(Response::new(Full::new(Bytes::from(signer.key_set()))));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let (status, text) = match serde_json::from_slice::<Ask>(&body) {
        Ok(ask) => (StatusCode::CREATED, signer.mint(&ask)),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string().into_bytes()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

impl Signer {
    fn new(key: Ed25519KeyPair, issuer: String) -> Signer {
        let header = format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{KID}"}}"#);
        Signer {
            key,
            header: BASE64_URL_SAFE_NO_PAD.encode(header),
            issuer,
        }
    }

    fn key_set(&self) -> String {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.key.public_key());
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"{KID}","alg":"EdDSA","use":"sig"}}]}}"#)
    }

    fn mint(&self, ask: &Ask) -> Vec<u8> {
        let iat = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let expires_at = iat.saturating_add(ask.lifetime);
        let mut id = [0; 16];
        if fill(&mut id).is_err() {
            std::process::abort();
        }
        let id = BASE64_URL_SAFE_NO_PAD.encode(id);
        let claims = Claims {
            iss: &self.issuer,
            sub: &ask.subject,
            aud: &ask.audience,
            iat,
            nbf: iat,
            exp: expires_at,
            jti: &id,
            extra: &ask.claims,
        };
        let mut token = self.header.clone();
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(&claims).unwrap_or_default(), &mut token);
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        serde_json::to_vec(&Answer {
            token: &token,
            kid: KID,
            expires_at,
            id: &id,
        })
        .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    #[test]
    fn the_floor_signs_real_tokens() {
        let key = Ed25519KeyPair::generate().unwrap();
        let public = key.public_key().as_ref().to_vec();
        let signer = Signer::new(key, "https://floor.example".to_owned());
        let ask: Ask = serde_json::from_str(super::super::BODY).unwrap();
        let answer: Value = serde_json::from_slice(&signer.mint(&ask)).unwrap();
        let token = answer["token"].as_str().unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ED25519, public)
            .verify(signed.as_bytes(), &signature)
            .unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD
            .decode(signed.split_once('.').unwrap().1)
            .unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!((&claims["sub"], &claims["role"]), (&"user-42".into(), &"viewer".into()));
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    }
}
