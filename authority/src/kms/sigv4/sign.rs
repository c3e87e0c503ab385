//! The other side of verifying: a request signed as an SDK does, for commands that call a key API.

use aws_lc_rs::hmac;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use http::request::Parts;
use signing::digest::sha256;
use signing::encoding::hex;

use super::canonical::{self, RequestHash};
use super::header::{ALGORITHM, TERMINATOR};
use super::time::iso_basic;
use super::{AMZ_DATE, SigV4Error, signing_key, string_to_sign};

/// An access key with the scope and time that it signs for. A session's token goes into the request's
/// `X-Amz-Security-Token` before it is signed.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The access key's id.
    pub access_key_id: &'a str,
    /// Its secret, borrowed: who holds it wipes it.
    pub secret: &'a str,
    /// The region that the request is for.
    pub region: &'a str,
    /// `kms` or `sts`.
    pub service: &'a str,
    /// Unix seconds.
    pub now: u64,
}

impl Signer<'_> {
    /// Signs a request: sets `X-Amz-Date` and `Authorization`, which covers the host and every header but `user-agent`.
    ///
    /// # Errors
    /// `IncompleteSignature` for a query that cannot be signed, or an access key or a region that cannot stand in a header.
    pub fn sign(&self, parts: &mut Parts, body: &[u8]) -> Result<(), SigV4Error> {
        let date = HeaderValue::try_from(iso_basic(self.now)).map_err(|_| unfit("date"))?;
        parts.headers.insert(AMZ_DATE, date);
        parts.headers.remove(AUTHORIZATION);
        let mut names: Vec<String> = parts.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.retain(|name| name != "user-agent");
        names.push("host".to_owned());
        names.sort_unstable();
        names.dedup();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.sign_only(parts, body, &names)
    }

    /// Signs the headers `names`, in the order given, whether or not that makes a request that verifies.
    pub(crate) fn sign_only(&self, parts: &mut Parts, body: &[u8], names: &[&str]) -> Result<(), SigV4Error> {
        let query = canonical::query(parts)?;
        let date_time = iso_basic(self.now);
        let date = date_time.split_once('T').map_or("", |(date, _)| date);
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
        let field = HeaderValue::try_from(field).map_err(|_| unfit("access key or region"))?;
        parts.headers.remove(AUTHORIZATION);
        parts.headers.insert(AUTHORIZATION, field);
        Ok(())
    }
}

fn unfit(what: &str) -> SigV4Error {
    SigV4Error::incomplete(format!("the {what} cannot stand in a header"))
}
