//! A signer, for tests: of this module and of the endpoint behind it.

use aws_lc_rs::hmac;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use http::request::Parts;
use signing::digest::sha256;
use signing::encoding::hex;

use super::canonical::{self, RequestHash};
use super::header::{ALGORITHM, TERMINATOR};
use super::time::iso_basic;
use super::{AMZ_DATE, signing_key, string_to_sign};

/// An access key with the scope and time that it signs for.
#[derive(Clone, Copy)]
pub(crate) struct Signer<'a> {
    pub access_key_id: &'a str,
    pub secret: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    /// Unix seconds.
    pub now: u64,
}

impl Signer<'_> {
    /// Signs a request as an SDK does: sets `X-Amz-Date` and signs the host and every header but `user-agent`.
    pub fn sign(&self, parts: &mut Parts, body: &[u8]) {
        parts
            .headers
            .insert(AMZ_DATE, HeaderValue::try_from(iso_basic(self.now)).unwrap());
        parts.headers.remove(AUTHORIZATION);
        let mut names: Vec<String> = parts.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.retain(|name| name != "user-agent");
        names.push("host".to_owned());
        names.sort_unstable();
        names.dedup();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.sign_only(parts, body, &names);
    }

    /// Signs the headers `names`, in the order given, whether or not that makes a request that verifies.
    pub fn sign_only(&self, parts: &mut Parts, body: &[u8], names: &[&str]) {
        let query = canonical::query(parts).unwrap();
        let date_time = iso_basic(self.now);
        let date = &date_time[..8];
        let scope = format!("{date}/{}/{}/{TERMINATOR}", self.region, self.service);
        let request = RequestHash::new(parts, &query, names, &hex(&sha256(body)));
        let key = signing_key(self.secret.as_bytes(), date, self.region, self.service);
        let signature = hmac::sign(&key, string_to_sign(&date_time, &scope, &request).as_bytes());
        let field = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={}",
            self.access_key_id,
            names.join(";"),
            hex(signature.as_ref())
        );
        parts.headers.remove(AUTHORIZATION);
        parts
            .headers
            .insert(AUTHORIZATION, HeaderValue::try_from(field).unwrap());
    }
}
