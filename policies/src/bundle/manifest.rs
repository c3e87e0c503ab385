//! `bundle.toml`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::callers::RawCallers;
use super::issuers::RawIssuer;
use super::plugins::{Isolation, MAX_ISOLATED, RawPlugin};
use super::roles::RawRole;
use super::sampling::RawSampling;
use super::{Bundle, BundleError, Document, Files, Plugin};
use crate::names;
use crate::units::Rate;

/// Rates that hold before anything else is looked at. None: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests of one source address.
    pub per_address: Option<Rate>,
    /// Requests of one authenticated caller.
    pub per_caller: Option<Rate>,
    /// Requests of one tenant's callers together.
    pub per_tenant: Option<Rate>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    callers: RawCallers,
    #[serde(default)]
    issuers: BTreeMap<String, RawIssuer>,
    #[serde(default)]
    plugins: Vec<RawPlugin>,
    #[serde(default)]
    roles: Vec<RawRole>,
    sampling: Option<RawSampling>,
}

/// Reads `bundle.toml` into the bundle and adds what is wrong to `errors`.
pub(super) fn parse(content: &[u8], files: &Files<'_>, bundle: &mut Bundle, errors: &mut Vec<BundleError>) {
    let document = match Document::new("bundle.toml", content) {
        Ok(document) => document,
        Err(error) => return errors.push(error),
    };
    let raw: RawManifest = match document.read() {
        Ok(raw) => raw,
        Err(error) => return errors.push(error),
    };
    bundle.limits = raw.limits;
    bundle.callers = raw.callers.build(&document, files, errors);
    for (name, issuer) in raw.issuers {
        match issuer.build(&name, &document) {
            Ok(issuer) => bundle.issuers.push(issuer),
            Err(error) => errors.push(error),
        }
    }
    for (index, plugin) in raw.plugins.into_iter().enumerate() {
        if bundle.plugin(&plugin.name).is_some() {
            let message = format!("two plugins are called `{}`", plugin.name);
            errors.push(document.error(&format!("plugins[{index}].name"), message, "rename one"));
            continue;
        }
        match plugin.build(index, &document, files) {
            Ok(plugin) => bundle.plugins.push(plugin),
            Err(error) => errors.push(error),
        }
    }
    let isolated = |plugin: &&Plugin| plugin.isolation == Isolation::Process;
    let isolated = bundle.plugins.iter().filter(isolated).count();
    if isolated > MAX_ISOLATED {
        let message = format!("{isolated} plugins have isolation = \"process\", at most {MAX_ISOLATED} may");
        let hint = "each has several processes at every edge: keep it for those that you trust least";
        errors.push(document.error("plugins", message, hint));
    }
    match raw.sampling.map(|sampling| sampling.build(&document, &bundle.plugins)) {
        Some(Ok(sampling)) => bundle.sampling = Some(Arc::new(sampling)),
        Some(Err(error)) => errors.push(error),
        None => {}
    }
    for (index, role) in raw.roles.into_iter().enumerate() {
        match role.build(index, &document, files) {
            Ok(role) if bundle.role(&role.tenant, &role.name).is_some() => {
                let message = format!("the tenant {} has two roles `{}`", role.tenant, role.name);
                let hint = "rename one, or give one role both trust rules";
                errors.push(document.error(&format!("roles[{index}].name"), message, hint));
            }
            Ok(role) => bundle.roles.push(role),
            Err(error) => errors.push(error),
        }
    }
}

/// Checks a tenant's form.
pub(crate) fn tenant(text: String, document: &Document<'_>, field: &str) -> Result<String, BundleError> {
    if names::is_tenant(&text) {
        return Ok(text);
    }
    Err(document.error(
        field,
        format!("`{text}` is no tenant"),
        "write 12 digits in quotes, such as \"000000000001\"",
    ))
}
