//! Which callers are believed: OIDC issuers and SPIFFE trust domains, each bound to one tenant (R7).

use std::collections::BTreeMap;

use serde::Deserialize;
use signing::Algorithm;

use super::{BundleError, Document, Files};
use crate::names;

/// Every rule by which a caller is believed.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    /// Callers with tokens of an OpenID Connect issuer.
    pub oidc: Vec<OidcCaller>,
    /// Callers with a client certificate that carries a SPIFFE ID.
    pub spiffe: Vec<SpiffeCaller>,
}

/// One trusted OIDC issuer. Exact issuer, audience and subject pin are always there (R7).
#[derive(Clone, Debug)]
pub struct OidcCaller {
    /// The exact `iss`.
    pub issuer: String,
    /// Accepted `aud` values, never empty.
    pub audiences: Vec<String>,
    /// The tenant of every caller this rule admits.
    pub tenant: String,
    /// Which `sub` is admitted.
    pub subject: SubjectPin,
    /// Accepted signature algorithms, never empty, never an HMAC.
    pub algorithms: Vec<Algorithm>,
    /// Where the issuer's keys are.
    pub keys: TrustedKeys,
    /// Claim → name of the caller's attribute.
    pub attributes: BTreeMap<String, String>,
}

/// Which subject, or SPIFFE path, a rule admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectPin {
    /// Exactly this text.
    Exact(String),
    /// Every text that begins with this one, which is never empty. Written with a `*` at its end.
    Prefix(String),
}

/// Where an issuer's JWKS comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedKeys {
    /// The content of a file under `trust/`.
    Inline(String),
    /// A URL that the node fetches, with the PEM of the CA that its server is checked against; none: the system's.
    Url {
        /// Absolute URL.
        url: String,
        /// PEM certificates.
        ca_pem: Option<String>,
    },
}

/// One trusted SPIFFE trust domain.
#[derive(Clone, Debug)]
pub struct SpiffeCaller {
    /// The trust domain, without `spiffe://`.
    pub trust_domain: String,
    /// Which path, beginning with `/`, is admitted.
    pub path: SubjectPin,
    /// The tenant of every caller this rule admits.
    pub tenant: String,
    /// PEM of the CAs its certificates must chain to.
    pub ca_pem: String,
}

impl SubjectPin {
    /// Whether `text` is admitted.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
        }
    }

    /// Whether it admits a whole organisation or more: of `ORG/REPOSITORY…`, or of `https://HOST/ORG/REPOSITORY…`, it fixes
    /// no repository. Subjects in other forms count as wide when they are prefixes.
    pub fn is_wide(&self) -> bool {
        let Self::Prefix(prefix) = self else { return false };
        let (path, least) = match prefix.split_once("://") {
            Some((_, path)) => (path, 3),
            None => (prefix.as_str(), 2),
        };
        path.split('/').filter(|part| !part.is_empty()).count() < least
    }

    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('*') {
            Some(prefix) if prefix.trim_matches('/').is_empty() || prefix.contains('*') => None,
            Some(prefix) => Some(Self::Prefix(prefix.to_owned())),
            None if text.is_empty() || text.contains('*') => None,
            None => Some(Self::Exact(text.to_owned())),
        }
    }
}

/// As written in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCallers {
    #[serde(default)]
    oidc: Vec<RawOidc>,
    #[serde(default)]
    spiffe: Vec<RawSpiffe>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOidc {
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    pub(super) tenant: String,
    pub(super) subject: String,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) jwks_file: Option<String>,
    pub(super) jwks_url: Option<String>,
    pub(super) jwks_ca_file: Option<String>,
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpiffe {
    trust_domain: String,
    path: String,
    tenant: String,
    ca_file: String,
}

impl RawCallers {
    pub(super) fn build(self, document: &Document<'_>, files: &Files<'_>, errors: &mut Vec<BundleError>) -> Callers {
        let mut callers = Callers::default();
        for (index, raw) in self.oidc.into_iter().enumerate() {
            let at = |field: &str| format!("callers.oidc[{index}].{field}");
            match build_oidc(raw, document, files, &at) {
                Ok(rule) => callers.oidc.push(rule),
                Err(error) => errors.push(error),
            }
        }
        for (index, raw) in self.spiffe.into_iter().enumerate() {
            let at = |field: &str| format!("callers.spiffe[{index}].{field}");
            match build_spiffe(raw, document, files, &at) {
                Ok(rule) => callers.spiffe.push(rule),
                Err(error) => errors.push(error),
            }
        }
        callers
    }
}

pub(super) fn build_oidc(
    raw: RawOidc,
    document: &Document<'_>,
    files: &Files<'_>,
    at: &dyn Fn(&str) -> String,
) -> Result<OidcCaller, BundleError> {
    if !names::is_url(&raw.issuer) {
        let message = format!("`{}` is no issuer", raw.issuer);
        let hint = "write the exact `iss` of its tokens, an https URL without query, or http on a loopback address";
        return Err(document.error(&at("issuer"), message, hint));
    }
    if raw.audiences.is_empty()
        || raw
            .audiences
            .iter()
            .any(|audience| audience.is_empty() || audience == "*")
    {
        let hint = "list at least one exact `aud` value, or tokens made for others would be taken";
        return Err(document.error(&at("audiences"), "a trusted issuer needs an audience", hint));
    }
    let tenant = super::manifest::tenant(raw.tenant, document, &at("tenant"))?;
    let subject = SubjectPin::parse(&raw.subject).ok_or_else(|| {
        let hint =
            "write an exact `sub`, or a prefix that ends in *, such as repo:acme/*; a bare * would admit everyone";
        document.error(&at("subject"), format!("`{}` pins no subject", raw.subject), hint)
    })?;
    if raw.algorithms.is_empty() || raw.algorithms.iter().any(|algorithm| algorithm.is_symmetric()) {
        let hint = "list what the issuer signs with: EdDSA, ES256, ES384, RS256 or PS256";
        return Err(document.error(&at("algorithms"), "public-key algorithms are needed", hint));
    }
    let keys = match (raw.jwks_file, raw.jwks_url) {
        (Some(path), None) if raw.jwks_ca_file.is_none() => TrustedKeys::Inline(trust_file(
            &path,
            files,
            document,
            &at("jwks_file"),
            is_jwks,
            "a JWKS with public keys only",
        )?),
        (None, Some(url)) if names::is_url(&url) => {
            let ca_pem = raw.jwks_ca_file.map(|path| {
                trust_file(
                    &path,
                    files,
                    document,
                    &at("jwks_ca_file"),
                    is_certificate,
                    "a PEM certificate",
                )
            });
            TrustedKeys::Url {
                url,
                ca_pem: ca_pem.transpose()?,
            }
        }
        (None, Some(url)) => {
            let hint = "write an https URL without query, or http on a loopback address";
            return Err(document.error(&at("jwks_url"), format!("`{url}` is no JWKS URL"), hint));
        }
        _ => {
            let hint = "give either jwks_file, or jwks_url with an optional jwks_ca_file";
            return Err(document.error(&at("jwks_file"), "the issuer's keys come from one place", hint));
        }
    };
    let attributes = attributes(raw.attributes, document, &at("attributes"))?;
    Ok(OidcCaller {
        issuer: raw.issuer,
        audiences: raw.audiences,
        tenant,
        subject,
        algorithms: raw.algorithms,
        keys,
        attributes,
    })
}

fn attributes(
    raw: BTreeMap<String, String>,
    document: &Document<'_>,
    field: &str,
) -> Result<BTreeMap<String, String>, BundleError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in raw.values() {
        if !names::is_attribute(name) {
            let hint = "use 1 to 64 of a-z, 0-9 and _, starting with a letter; the claim stands on the left";
            return Err(document.error(field, format!("`{name}` cannot name an attribute"), hint));
        }
        if !seen.insert(name) {
            let hint = "map each attribute from one claim";
            return Err(document.error(field, format!("two claims are mapped to the attribute `{name}`"), hint));
        }
    }
    Ok(raw)
}

fn build_spiffe(
    raw: RawSpiffe,
    document: &Document<'_>,
    files: &Files<'_>,
    at: &dyn Fn(&str) -> String,
) -> Result<SpiffeCaller, BundleError> {
    let domain = &raw.trust_domain;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
    if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(allowed) {
        let hint = "write it without spiffe://, in a-z, 0-9, - . and _";
        return Err(document.error(&at("trust_domain"), format!("`{domain}` is no trust domain"), hint));
    }
    let path = Some(raw.path.as_str())
        .filter(|path| path.starts_with('/'))
        .and_then(SubjectPin::parse);
    let path = path.ok_or_else(|| {
        let hint = "write a path such as /ci/builder, or a prefix such as /ci/*; /* would admit everyone";
        document.error(&at("path"), format!("`{}` pins no path", raw.path), hint)
    })?;
    let tenant = super::manifest::tenant(raw.tenant, document, &at("tenant"))?;
    let ca_pem = trust_file(
        &raw.ca_file,
        files,
        document,
        &at("ca_file"),
        is_certificate,
        "a PEM certificate",
    )?;
    Ok(SpiffeCaller {
        trust_domain: raw.trust_domain,
        path,
        tenant,
        ca_pem,
    })
}

fn trust_file(
    path: &str,
    files: &Files<'_>,
    document: &Document<'_>,
    field: &str,
    fits: fn(&str) -> bool,
    what: &str,
) -> Result<String, BundleError> {
    let Some(content) = files.get(path).filter(|_| path.starts_with("trust/")) else {
        let hint = "put the file into the bundle's trust/ folder and write its path, such as trust/ca.pem";
        return Err(document.error(field, format!("the bundle has no file `{path}` under trust/"), hint));
    };
    match std::str::from_utf8(content) {
        Ok(text) if fits(text) => Ok(text.to_owned()),
        _ => Err(document.error(field, format!("`{path}` is not {what}"), "replace the file")),
    }
}

/// A set with a key in it, and no private or shared one: every edge and whoever reads the bundle gets a copy.
fn is_jwks(text: &str) -> bool {
    let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
    let is_public = |key: &serde_json::Value| key.get("d").is_none() && key.get("k").is_none();
    parsed.is_ok_and(|value| {
        let keys = value.get("keys").and_then(serde_json::Value::as_array);
        keys.is_some_and(|keys| !keys.is_empty() && keys.iter().all(is_public))
    })
}

fn is_certificate(text: &str) -> bool {
    text.contains("-----BEGIN CERTIFICATE-----") && text.contains("-----END CERTIFICATE-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    // R7
    #[test]
    fn a_prefix_without_a_repository_is_wide() {
        let is_wide = |text: &str| SubjectPin::parse(text).unwrap().is_wide();
        for wide in [
            "repo:acme/*",
            "repo:ac*",
            "dev:*",
            "https://ci.example/acme/*",
            "https://ci.example/*",
        ] {
            assert!(is_wide(wide), "{wide}");
        }
        for pinned in [
            "repo:acme/web:*",
            "repo:acme/web/*",
            "repo:acme/web",
            "dev:alice",
            "https://ci.example/acme/web/*",
        ] {
            assert!(!is_wide(pinned), "{pinned}");
        }
    }

    // R7
    #[test]
    fn a_pin_is_exact_or_a_prefix_and_never_everyone() {
        assert_eq!(
            SubjectPin::parse("repo:acme/web"),
            Some(SubjectPin::Exact("repo:acme/web".to_owned()))
        );
        let prefix = SubjectPin::parse("repo:acme/*").unwrap();
        assert!(
            prefix.matches("repo:acme/web") && !prefix.matches("repo:acme-evil/web") && !prefix.matches("repo:acme")
        );
        for bad in ["", "*", "/*", "**", "a*b", "*a", "a**"] {
            assert_eq!(SubjectPin::parse(bad), None, "{bad}");
        }
    }
}
