//! `profiles/NAME.toml`.

use std::collections::BTreeSet;

use serde::Deserialize;
use signing::Algorithm;

use super::{ArtifactProfile, Audiences, AuditMode, ClaimRules, Encoding, Profile, QuotaLimits, Signs, TokenProfile};
use crate::bundle::{BundleError, Document};
use crate::intent::REGISTERED;
use crate::names;
use crate::units::{Rate, Span};

/// Default of the longest lifetime, in seconds.
const DEFAULT_MAX_LIFETIME: u32 = 3600;
/// Default lifetime, in seconds.
const DEFAULT_LIFETIME: u32 = 300;
/// Bound of the longest lifetime, in seconds: seven days.
const LONGEST_LIFETIME: u32 = 7 * 86_400;
/// Most plugins of one profile.
const MAX_PLUGINS: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    tenant: String,
    kind: RawKind,
    key: String,
    algorithm: Algorithm,
    #[serde(default)]
    description: String,
    issuer: Option<String>,
    audiences: Option<Vec<String>>,
    typ: Option<String>,
    algorithm_name: Option<String>,
    lifetime: Option<RawLifetime>,
    claims: Option<RawClaims>,
    encoding: Option<RawEncoding>,
    #[serde(default)]
    plugins: Vec<String>,
    #[serde(default)]
    may_skip: Vec<String>,
    #[serde(default)]
    quota: RawQuota,
    audit: Option<RawAudit>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawAudit {
    Reserve,
    Commit,
    Witness,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawKind {
    Token,
    Artifact,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawEncoding {
    Der,
    Fixed,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLifetime {
    default: Option<Span>,
    max: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaims {
    #[serde(default)]
    required: BTreeSet<String>,
    #[serde(default)]
    allowed: BTreeSet<String>,
    #[serde(default)]
    plugin: BTreeSet<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuota {
    per_key: Option<Rate>,
    per_profile: Option<Rate>,
}

/// Reads the profile `name`.
pub(crate) fn read(name: &str, document: &Document<'_>) -> Result<Profile, BundleError> {
    let mut raw: Raw = document.read()?;
    let tenant = crate::bundle::tenant(std::mem::take(&mut raw.tenant), document, "tenant")?;
    if !names::is_key(&raw.key) {
        let hint = "write alias/NAME, or a key id (a lower-case UUID)";
        return Err(document.error("key", format!("`{}` is no key", raw.key), hint));
    }
    if !raw.algorithm.can_sign() {
        let hint = "use EdDSA, ES256, ES384 or HS256";
        return Err(document.error("algorithm", format!("{} keys only verify", raw.algorithm), hint));
    }
    let mut seen = BTreeSet::new();
    if raw.plugins.len() > MAX_PLUGINS || !raw.plugins.iter().all(|plugin| seen.insert(plugin)) {
        let message = format!("a plugin is listed twice, or more than {MAX_PLUGINS} are");
        return Err(document.error("plugins", message, "list each plugin once, in the order they run"));
    }
    if let Some(index) = raw.may_skip.iter().position(|name| !raw.plugins.contains(name)) {
        let name = raw.may_skip.get(index).map_or("", String::as_str);
        let message = format!("`{name:.64}` is none of this profile's plugins");
        return Err(document.error(
            &format!("may_skip[{index}]"),
            message,
            "list it under `plugins` too, or remove it here",
        ));
    }
    let signs = match raw.kind {
        RawKind::Token => Signs::Token(Box::new(token(&mut raw, document)?)),
        RawKind::Artifact => Signs::Artifact(artifact(&raw, document)?),
    };
    Ok(Profile {
        name: name.to_owned(),
        description: raw.description,
        tenant,
        key: raw.key,
        algorithm: raw.algorithm,
        signs,
        plugins: raw.plugins,
        may_skip: raw.may_skip,
        audit: match (raw.audit, raw.kind) {
            (Some(RawAudit::Reserve), _) | (None, RawKind::Token) => AuditMode::Reserve,
            (Some(RawAudit::Commit), _) | (None, RawKind::Artifact) => AuditMode::Commit,
            (Some(RawAudit::Witness), _) => AuditMode::Witness,
        },
        quota: QuotaLimits {
            per_key: raw.quota.per_key,
            per_profile: raw.quota.per_profile,
        },
    })
}

fn token(raw: &mut Raw, document: &Document<'_>) -> Result<TokenProfile, BundleError> {
    if raw.encoding.is_some() {
        return Err(document.error("encoding", "only artifact profiles have an encoding", "remove it"));
    }
    let Some(issuer) = raw.issuer.take() else {
        let hint = "name an issuer of bundle.toml, such as issuer = \"dev\"";
        return Err(document.error("issuer", "a token profile needs an issuer", hint));
    };
    let other_name = raw.algorithm_name.take().filter(|name| name != raw.algorithm.as_str());
    if let Some(name) = other_name.as_deref().filter(|name| !raw.algorithm.is_named(name)) {
        let hint = "the only other name is Ed25519, for EdDSA";
        let message = format!("`{name}` is no name of {}", raw.algorithm);
        return Err(document.error("algorithm_name", message, hint));
    }
    let typ = raw.typ.take().unwrap_or_else(|| "JWT".to_owned());
    if !(1..=64).contains(&typ.len()) || !typ.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-./".contains(&b)) {
        return Err(document.error(
            "typ",
            format!("`{typ}` is no type"),
            "write a media type's end, such as at+jwt",
        ));
    }
    let (default_lifetime, max_lifetime) = lifetimes(raw.lifetime.take().unwrap_or_default(), document)?;
    Ok(TokenProfile {
        issuer,
        audiences: audiences(raw.audiences.take().unwrap_or_default(), document)?,
        typ,
        algorithm_name: other_name,
        default_lifetime,
        max_lifetime,
        claims: claims(raw.claims.take().unwrap_or_default(), document)?,
    })
}

fn artifact(raw: &Raw, document: &Document<'_>) -> Result<ArtifactProfile, BundleError> {
    let foreign = [
        ("issuer", raw.issuer.is_some()),
        ("audiences", raw.audiences.is_some()),
        ("typ", raw.typ.is_some()),
        ("algorithm_name", raw.algorithm_name.is_some()),
        ("lifetime", raw.lifetime.is_some()),
        ("claims", raw.claims.is_some()),
    ];
    if let Some((field, _)) = foreign.into_iter().find(|(_, present)| *present) {
        return Err(document.error(field, format!("only token profiles have {field}"), "remove it"));
    }
    if raw.algorithm.is_symmetric() {
        let hint = "use EdDSA, ES256 or ES384: whoever verifies an artifact must not be able to sign one";
        return Err(document.error("algorithm", "artifacts are not signed with a shared secret", hint));
    }
    if raw.encoding.is_some() && !raw.algorithm.is_ecdsa() {
        return Err(document.error("encoding", "an Ed25519 signature has one form only", "remove it"));
    }
    let encoding = match raw.encoding {
        Some(RawEncoding::Fixed) => Encoding::Fixed,
        Some(RawEncoding::Der) | None => Encoding::Der,
    };
    Ok(ArtifactProfile { encoding })
}

fn audiences(listed: Vec<String>, document: &Document<'_>) -> Result<Audiences, BundleError> {
    if listed.is_empty() {
        let hint = "list the audiences callers may ask for, the default first; \"*\" takes any";
        return Err(document.error("audiences", "a token profile needs audiences", hint));
    }
    if let Some(index) = listed.iter().position(|text| text.is_empty() || text.len() > 512) {
        let field = format!("audiences[{index}]");
        return Err(document.error(
            &field,
            "an audience has 1 to 512 bytes",
            "write what verifiers expect in `aud`",
        ));
    }
    let any = listed.iter().any(|text| text == "*");
    let listed: Vec<String> = listed.into_iter().filter(|text| text != "*").collect();
    Ok(Audiences {
        default: listed.first().cloned(),
        listed,
        any,
    })
}

fn lifetimes(raw: RawLifetime, document: &Document<'_>) -> Result<(u32, u32), BundleError> {
    let seconds = |span: Option<Span>, fallback: u32, field: &str| match span {
        None => Ok(fallback),
        Some(Span(span)) => match u32::try_from(span.as_secs()) {
            Ok(seconds) if (1..=LONGEST_LIFETIME).contains(&seconds) && span.subsec_nanos() == 0 => Ok(seconds),
            _ => Err(document.error(field, "out of bounds", "write whole seconds from 1s to 7d")),
        },
    };
    let max = seconds(raw.max, DEFAULT_MAX_LIFETIME, "lifetime.max")?;
    let default = seconds(raw.default, DEFAULT_LIFETIME.min(max), "lifetime.default")?;
    if default > max {
        let hint = "lower it, or raise lifetime.max";
        return Err(document.error("lifetime.default", format!("longer than the maximum of {max} s"), hint));
    }
    Ok((default, max))
}

fn claims(raw: RawClaims, document: &Document<'_>) -> Result<ClaimRules, BundleError> {
    for (field, names) in [
        ("claims.required", &raw.required),
        ("claims.allowed", &raw.allowed),
        ("claims.plugin", &raw.plugin),
    ] {
        for name in names {
            if REGISTERED.contains(&name.as_str()) {
                let hint =
                    "registered claims are set by the service: subject, audience and lifetime have their own fields";
                return Err(document.error(field, format!("`{name}` is a registered claim"), hint));
            }
            if !names::is_claim(name) || (name == "*" && field != "claims.allowed") {
                let hint = "write 1 to 256 bytes without control characters; * stands in `allowed` only";
                return Err(document.error(field, format!("`{name}` cannot name a claim"), hint));
            }
        }
    }
    let any = raw.allowed.contains("*");
    let allowed: BTreeSet<String> = raw
        .allowed
        .into_iter()
        .filter(|name| name != "*")
        .chain(raw.required.iter().cloned())
        .collect();
    if let Some(name) = raw.plugin.iter().find(|name| allowed.contains(*name)) {
        let hint = "a claim is set by callers or by plugins: list it once";
        return Err(document.error("claims.plugin", format!("`{name}` is also the caller's to set"), hint));
    }
    Ok(ClaimRules {
        required: raw.required,
        allowed,
        any,
        plugin: raw.plugin,
    })
}
