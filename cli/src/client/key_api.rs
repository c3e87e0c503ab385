//! The key API as AWS KMS clients see it: where it is, with whose access key, one signed call.

use std::path::PathBuf;
use std::time::Duration;

use authority::kms::sigv4::Signer;
use bytes::Bytes;
use clap::Args;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Request};
use node::http_client::Client;
use serde_json::Value;
use signing::key::Secret;

use super::{AdminArgs, Target, info, text};
use crate::failure::Failure;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const MOST: usize = 1 << 20;
/// Tries of a call, and the pause after the first, which doubles: 13 seconds in all.
const TRIES: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// What the same call may not be answered the next time.
const PASSING: [&str; 6] = [
    "ThrottlingException",
    "KMSInternalException",
    "KeyUnavailableException",
    "DependencyTimeoutException",
    "ServiceUnavailableException",
    "RequestTimeoutException",
];

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// How to reach the key API.
#[derive(Debug, Clone, Args)]
pub struct KeyApiArgs {
    /// The key API's address, instead of `--data`: AWS_ENDPOINT_URL says it too. The access key is then taken from
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for a session, AWS_SESSION_TOKEN.
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_KMS")]
    endpoint: Option<String>,
    /// The region that requests are signed for; AWS_DEFAULT_REGION says it too.
    #[arg(long, env = "AWS_REGION")]
    region: Option<String>,
}

/// A key API and the access key to call it with.
pub struct KeyApi {
    client: Client,
    url: String,
    region: String,
    access_key_id: String,
    secret: Secret,
    session_token: Option<HeaderValue>,
}

/// Why a call was not answered.
#[derive(Debug)]
pub enum CallError {
    /// By the service: this request is not for it.
    Refused {
        /// `…Exception`
        code: String,
        /// In the service's words.
        message: String,
    },
    /// Not by this request's fault: nobody answered, or too late, or only that it is too much, however often it was tried.
    Unanswered(String),
}

impl KeyApiArgs {
    /// The key API that the options, the environment or a running `signet dev` name, in this order.
    pub fn open(&self, admin: &AdminArgs) -> Result<KeyApi, Failure> {
        let region = self.region.clone().or_else(|| variable("AWS_DEFAULT_REGION"));
        match self.endpoint.clone().or_else(|| variable("AWS_ENDPOINT_URL")) {
            Some(url) => {
                let needed = |name: &str| {
                    variable(name).ok_or_else(|| {
                        Failure::new(format!("{name} is not set; `signet access-keys create` issues one"))
                    })
                };
                let ca_file = admin
                    .ca_file
                    .clone()
                    .or_else(|| variable("AWS_CA_BUNDLE").map(PathBuf::from));
                let token = variable("AWS_SESSION_TOKEN")
                    .map(|token| HeaderValue::from_str(&token))
                    .transpose()?;
                KeyApi::new(
                    url,
                    region.ok_or_else(|| Failure::new("no region; set AWS_REGION or --region"))?,
                    needed("AWS_ACCESS_KEY_ID")?,
                    needed("AWS_SECRET_ACCESS_KEY")?,
                    ca_file,
                )
                .map(|api| KeyApi {
                    session_token: token,
                    ..api
                })
            }
            None => {
                let info = info(&admin.data, "--endpoint or AWS_ENDPOINT_URL_KMS")?;
                let credential = |name: &str| text(&info, &format!("/kms_credentials/{name}"));
                let ca_file = admin
                    .ca_file
                    .clone()
                    .map_or_else(|| text(&info, "/ca_file").map(PathBuf::from), Ok)?;
                KeyApi::new(
                    text(&info, "/kms")?,
                    region.unwrap_or_else(|| crate::dev::REGION.to_owned()),
                    credential("access_key_id")?,
                    credential("secret_access_key")?,
                    Some(ca_file),
                )
            }
        }
    }
}

impl KeyApi {
    fn new(
        url: String,
        region: String,
        access_key_id: String,
        secret: String,
        ca_file: Option<PathBuf>,
    ) -> Result<KeyApi, Failure> {
        let trust = Target {
            url: url.clone(),
            token: String::new(),
            ca_file,
        };
        Ok(KeyApi {
            client: Client::new(trust.roots()?)?,
            url: format!("{}/", url.trim_end_matches('/')),
            region,
            access_key_id,
            secret: Secret::new(secret.into_bytes()),
            session_token: None,
        })
    }

    /// One operation. What may pass by itself is tried again, with pauses.
    pub async fn call(&self, operation: &str, input: &Value) -> Result<Value, CallError> {
        let mut pause = FIRST_PAUSE;
        for left in (0..TRIES).rev() {
            let why = match self.once(operation, input).await {
                Err(CallError::Unanswered(why)) => why,
                Err(CallError::Refused { code, message }) if PASSING.contains(&code.as_str()) => {
                    format!("{code}: {message}")
                }
                answered => return answered,
            };
            if left == 0 {
                return Err(CallError::Unanswered(why));
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        Err(CallError::Unanswered("it was not tried".to_owned()))
    }

    /// One operation, tried once.
    pub async fn once(&self, operation: &str, input: &Value) -> Result<Value, CallError> {
        let failed = |why: String| CallError::Unanswered(why);
        let body = Bytes::from(input.to_string());
        let head = self.signed(operation, &body);
        let head = head.map_err(|message| CallError::Refused {
            code: "IncompleteSignatureException".to_owned(),
            message,
        })?;
        let sent = self
            .client
            .request(Method::POST, &self.url, head.headers, body, TIMEOUT, MOST);
        let response = sent.await.map_err(|error| failed(error.to_string()))?;
        let status = response.status();
        let answer: Option<Value> = serde_json::from_slice(response.body()).ok();
        match (status.is_success(), answer) {
            (true, Some(answer)) => Ok(answer),
            (false, Some(answer)) if answer.get("__type").is_some() => {
                let member = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                Err(CallError::Refused {
                    code: member("__type"),
                    message: member("message"),
                })
            }
            _ => Err(failed(format!(
                "`{}` answered {status}, and not as a key API does",
                self.url
            ))),
        }
    }

    fn signed(&self, operation: &str, body: &[u8]) -> Result<http::request::Parts, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let mut request = Request::post(self.url.as_str())
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header(TARGET, format!("TrentService.{operation}"));
        if let Some(token) = &self.session_token {
            request = request.header(SECURITY_TOKEN, token);
        }
        let (mut head, ()) = request.body(()).map_err(|error| text(&error))?.into_parts();
        let signer = Signer {
            access_key_id: &self.access_key_id,
            secret: std::str::from_utf8(self.secret.expose()).map_err(|error| text(&error))?,
            region: &self.region,
            service: "kms",
            now: crate::dev::now(),
        };
        signer.sign(&mut head, body).map_err(|error| text(&error))?;
        Ok(head)
    }
}

impl CallError {
    /// Whether no other request would fare better: the access key, not the request, is refused.
    pub fn is_of_credentials(&self) -> bool {
        let codes = [
            "UnrecognizedClientException",
            "InvalidSignatureException",
            "IncompleteSignatureException",
            "MissingAuthenticationTokenException",
            "ExpiredTokenException",
        ];
        matches!(self, Self::Refused { code, .. } if codes.contains(&code.as_str()))
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused { code, message } if message.is_empty() => f.write_str(code),
            Self::Refused { code, message } => write!(f, "{code}: {message}"),
            Self::Unanswered(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CallError {}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
