//! Issuers we sign as: one JWKS and one discovery document each.

use std::time::Duration;

use serde::Deserialize;

use super::{BundleError, Document};
use crate::names;
use crate::units::Span;

/// An issuer whose tokens this service mints. Its JWKS holds its own token keys and no other's (R38).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its name, as in `/i/NAME/.well-known/jwks.json`.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
    /// The `iss` of its tokens; none: the edge's public URL followed by `/i/NAME`.
    pub url: Option<String>,
    /// How long verifiers may cache its JWKS: a new key is published this long before its first signature.
    pub jwks_cache: Duration,
}

/// Default of [`Issuer::jwks_cache`].
pub(super) const DEFAULT_JWKS_CACHE: Duration = Duration::from_secs(15 * 60);
const MAX_JWKS_CACHE: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIssuer {
    tenant: String,
    url: Option<String>,
    jwks_cache: Option<Span>,
}

impl RawIssuer {
    pub(super) fn build(self, name: &str, document: &Document<'_>) -> Result<Issuer, BundleError> {
        let at = |field: &str| format!("issuers.{name}.{field}");
        if !names::is_name(name) {
            let hint = "use 1 to 63 of a-z, 0-9 and -, starting with a letter or digit";
            return Err(document.error(
                &format!("issuers.{name}"),
                format!("`{name}` cannot name an issuer"),
                hint,
            ));
        }
        let tenant = super::manifest::tenant(self.tenant, document, &at("tenant"))?;
        if let Some(url) = self
            .url
            .as_deref()
            .filter(|url| !names::is_url(url) || url.ends_with('/'))
        {
            let hint = "write an https URL without query and without a slash at its end, or http on a loopback address";
            return Err(document.error(&at("url"), format!("`{url}` cannot be an issuer"), hint));
        }
        let jwks_cache = self.jwks_cache.map_or(DEFAULT_JWKS_CACHE, |span| span.0);
        if jwks_cache > MAX_JWKS_CACHE {
            return Err(document.error(
                &at("jwks_cache"),
                "more than 24 hours",
                "write a duration from 0s to 24h",
            ));
        }
        Ok(Issuer {
            name: name.to_owned(),
            tenant,
            url: self.url,
            jwks_cache,
        })
    }
}
