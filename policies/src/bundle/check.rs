//! What must hold between the files of a bundle.

use std::collections::BTreeMap;

use super::{Bundle, BundleError, Document, Files, OnFailure};
use crate::profile::{Profile, Signs};

/// Adds every contradiction between files to `errors`.
pub(super) fn across(bundle: &Bundle, files: &Files<'_>, errors: &mut Vec<BundleError>) {
    // Without a readable bundle.toml every reference would look broken.
    let manifest_is_whole = !errors.iter().any(|error| error.file == "bundle.toml");
    let mut keys: BTreeMap<(&str, &str), &Profile> = BTreeMap::new();
    for profile in &bundle.profiles {
        let path = format!("profiles/{}.toml", profile.name);
        let Some(document) = files
            .get(path.as_str())
            .and_then(|content| Document::new(&path, content).ok())
        else {
            continue;
        };
        if manifest_is_whole {
            references(profile, bundle, &document, errors);
        }
        let first = *keys
            .entry((profile.tenant.as_str(), profile.key.as_str()))
            .or_insert(profile);
        errors.extend(one_purpose(profile, first, &document));
    }
    issuer_urls(bundle, files, errors);
    if errors.is_empty() {
        skips_that_nothing_allows(bundle, files, errors);
    }
}

fn references(profile: &Profile, bundle: &Bundle, document: &Document<'_>, errors: &mut Vec<BundleError>) {
    if let Signs::Token(token) = &profile.signs {
        match bundle.issuer(&token.issuer) {
            None => errors.push(document.error(
                "issuer",
                format!("there is no issuer `{}`", token.issuer),
                format!(
                    "add [issuers.{}] to bundle.toml, or name one of its issuers",
                    token.issuer
                ),
            )),
            Some(issuer) if issuer.tenant != profile.tenant => errors.push(document.error(
                "issuer",
                format!("the issuer `{}` belongs to the tenant {}", issuer.name, issuer.tenant),
                "a profile signs only as an issuer of its own tenant",
            )),
            Some(_) => {}
        }
    }
    for (index, name) in profile.may_skip.iter().enumerate() {
        if bundle
            .plugin(name)
            .is_some_and(|plugin| plugin.on_failure == OnFailure::Deny)
        {
            errors.push(document.error(
                &format!("may_skip[{index}]"),
                format!("bundle.toml does not let the plugin `{name}` be skipped"),
                "write on_failure = \"skip\" in its [[plugins]], or remove it here",
            ));
        }
    }
    for (index, name) in profile.plugins.iter().enumerate() {
        if bundle.plugin(name).is_none() {
            errors.push(document.error(
                &format!("plugins[{index}]"),
                format!("there is no plugin `{name}`"),
                "add it to [[plugins]] in bundle.toml",
            ));
        }
    }
}

/// One key has one purpose, one issuer and one algorithm (R38).
fn one_purpose(profile: &Profile, first: &Profile, document: &Document<'_>) -> Option<BundleError> {
    let other = &first.name;
    let (message, hint) = match (&profile.signs, &first.signs) {
        (Signs::Token(ours), Signs::Token(theirs)) if ours.issuer != theirs.issuer => (
            format!("the profile `{other}` uses this key for the issuer `{}`", theirs.issuer),
            "one key signs for one issuer: make a key for each",
        ),
        (Signs::Token(_), Signs::Artifact(_)) | (Signs::Artifact(_), Signs::Token(_)) => (
            format!("the profile `{other}` uses this key for the other kind of signature"),
            "a key signs tokens or artifacts, never both: make a key for each",
        ),
        _ if profile.algorithm != first.algorithm => (
            format!("the profile `{other}` uses this key with {}", first.algorithm),
            "a key has one algorithm: make a key for each",
        ),
        _ => return None,
    };
    Some(document.error("key", message, hint))
}

/// `on_failure = "skip"` of a plugin that every profile denies for: whoever wrote it believes otherwise.
fn skips_that_nothing_allows(bundle: &Bundle, files: &Files<'_>, errors: &mut Vec<BundleError>) {
    let Some(document) = files
        .get("bundle.toml")
        .and_then(|content| Document::new("bundle.toml", content).ok())
    else {
        return;
    };
    for (index, plugin) in bundle.plugins.iter().enumerate() {
        let allowed = || {
            bundle
                .profiles
                .iter()
                .any(|profile| profile.may_skip.contains(&plugin.name))
        };
        if plugin.on_failure == OnFailure::Skip && !allowed() {
            errors.push(document.error(
                &format!("plugins[{index}].on_failure"),
                format!("no profile lets the plugin `{}` be skipped", plugin.name),
                format!(
                    "write may_skip = [\"{}\"] in those that may, or remove this",
                    plugin.name
                ),
            ));
        }
    }
}

fn issuer_urls(bundle: &Bundle, files: &Files<'_>, errors: &mut Vec<BundleError>) {
    let Some(document) = files
        .get("bundle.toml")
        .and_then(|content| Document::new("bundle.toml", content).ok())
    else {
        return;
    };
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for issuer in &bundle.issuers {
        let Some(url) = issuer.url.as_deref() else { continue };
        if let Some(other) = seen.insert(url, &issuer.name) {
            errors.push(document.error(
                &format!("issuers.{}.url", issuer.name),
                format!("the issuer `{other}` has this URL too"),
                "verifiers tell issuers apart by their URL: give each its own",
            ));
        }
    }
}
