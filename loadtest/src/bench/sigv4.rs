//! AWS Signature Version 4 (header form), as far as a bench needs it: one operation of the key API, signed once and sent
//! for as long as the signature is good (5 minutes).

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use signing::digest::sha256;
use signing::encoding::hex;

use crate::LoadError;
use crate::client::Message;
use crate::target::Target;

const CONTENT: &str = "application/x-amz-json-1.1";
const SIGNED: &str = "content-type;host;x-amz-date;x-amz-target";
const REGION: &str = "us-east-1";

/// An access key.
pub(super) struct AccessKey {
    pub(super) id: String,
    pub(super) secret: String,
}

impl AccessKey {
    /// `operation` with the JSON `body`, signed at `date`, which is `YYYYMMDDTHHMMSSZ` in UTC.
    pub(super) fn sign(&self, target: &Target, operation: &str, body: &str, date: &str) -> Result<Message, LoadError> {
        let operation = format!("TrentService.{operation}");
        let authorization = self.authorization(target.authority(), &operation, body, date);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
        for (name, value) in [
            (HeaderName::from_static("x-amz-target"), &operation),
            (HeaderName::from_static("x-amz-date"), &date.to_owned()),
            (AUTHORIZATION, &authorization),
        ] {
            let value = HeaderValue::from_str(value);
            headers.insert(name, value.map_err(|error| LoadError::Bench(error.to_string()))?);
        }
        Message::new(target, "/", headers, Bytes::copy_from_slice(body.as_bytes()))
    }

    fn authorization(&self, host: &str, operation: &str, body: &str, date: &str) -> String {
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{REGION}/kms/aws4_request");
        let hash = |bytes: &[u8]| hex(&sha256(bytes));
        let request = format!(
            "POST\n/\n\ncontent-type:{CONTENT}\nhost:{host}\nx-amz-date:{date}\nx-amz-target:{operation}\n\n{SIGNED}\n{}",
            hash(body.as_bytes())
        );
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hash(request.as_bytes()));
        let first = format!("AWS4{}", self.secret).into_bytes();
        let key = [day, REGION, "kms", "aws4_request"]
            .iter()
            .fold(first, |key, part| mac(&key, part.as_bytes()));
        let signature = hex(&mac(&key, to_sign.as_bytes()));
        let id = &self.id;
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={SIGNED}, Signature={signature}")
    }
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message).as_ref().to_vec()
}
