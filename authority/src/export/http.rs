//! Batches by POST: Splunk's HTTP event collector, and OTLP.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use audit::export::{collector_events, otlp_logs};
use audit::record::Record;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use node::http_client::Client;
use node::tls::ReloadingCertificate;

use super::{Sink, identity, renew, roots};
use crate::config::HttpExport;

const TIMEOUT: Duration = Duration::from_secs(20);
/// An answer is a word or two.
const MAX_ANSWER: usize = 64 * 1024;

/// What the receiver speaks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Collector,
    Otlp,
}

pub(super) struct Http {
    client: Client,
    identity: Option<Arc<ReloadingCertificate>>,
    url: String,
    authorization_file: Option<PathBuf>,
    form: Form,
}

impl Http {
    pub(super) fn new(config: &HttpExport, form: Form) -> Result<Self, String> {
        // In the clear there is nobody to believe.
        let roots = match config.url.starts_with("https://") {
            true => roots(config.ca_file.as_deref())?,
            false => rustls::RootCertStore::empty(),
        };
        let identity = identity(config.certificate_file.as_deref(), config.key_file.as_deref())?;
        let client = match identity.clone() {
            Some(identity) => Client::with_identity(roots, identity),
            None => Client::new(roots),
        };
        let sink = Self {
            client: client.map_err(|error| error.to_string())?,
            identity,
            url: config.url.clone(),
            authorization_file: config.authorization_file.clone(),
            form,
        };
        sink.headers()?;
        Ok(sink)
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(file) = &self.authorization_file {
            let wrong = |error: &dyn std::fmt::Display| format!("`{}`: {error}", file.display());
            let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
            let mut value = HeaderValue::from_str(text.trim()).map_err(|_| wrong(&"not a header field's value"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

#[async_trait]
impl Sink for Http {
    async fn send(&mut self, records: &[Record]) -> Result<usize, String> {
        let body = match self.form {
            Form::Collector => collector_events(records),
            Form::Otlp => otlp_logs(records),
        };
        renew(self.identity.as_deref());
        let request = self.client.request(
            Method::POST,
            &self.url,
            self.headers()?,
            Bytes::from(body),
            TIMEOUT,
            MAX_ANSWER,
        );
        let answer = request.await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            let said = String::from_utf8_lossy(answer.body());
            let said: String = said
                .chars()
                .filter(|character| !character.is_control())
                .take(200)
                .collect();
            return Err(format!("it answered {}: {said}", answer.status()));
        }
        Ok(match self.form {
            Form::Collector => 0,
            Form::Otlp => rejected(answer.body()).min(records.len()),
        })
    }
}

/// `partialSuccess.rejectedLogRecords` of an OTLP answer: a receiver that says so must not be sent the batch again.
fn rejected(answer: &[u8]) -> usize {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let count = answer.pointer("/partialSuccess/rejectedLogRecords");
    // 64-bit integers are text in OTLP's JSON, and some senders write numbers.
    count
        .and_then(|count| count.as_u64().or_else(|| count.as_str()?.parse().ok()))
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(0)
}
