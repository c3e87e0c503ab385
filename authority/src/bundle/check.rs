//! Everything that can be wrong with a bundle, found before it is published.

use std::fmt;

use policies::bundle::{ConfigValue, Isolation, Plugin, PluginTable};
use policies::profile::{Kind, Profile};
use policies::{Bundle, BundleError, Engine, PolicyError};
use serde::Serialize;

use super::{MAX_BYTES, MAX_FILE_BYTES, MAX_FILES, trust};
use crate::artifacts::Artifacts;
use crate::fault::Fault;
use crate::keys::{AliasRecord, Delegation, Family, KeyRecord, KeySettings};
use crate::names::Tenant;
use crate::paths;
use crate::rotation::Schedule;
use crate::sealed::Vault;

/// One fault of a bundle, or one oddity. Its author is to blame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The field's path, where it is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    /// Of a file as a whole.
    pub fn of_file(file: &str, message: String) -> Finding {
        Finding {
            file: file.to_owned(),
            field: None,
            line: None,
            column: None,
            message,
            hint: None,
        }
    }
}

/// A bundle that is refused, with every fault that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Never empty.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl From<BundleError> for Finding {
    fn from(error: BundleError) -> Self {
        let BundleError {
            file,
            field,
            line,
            column,
            message,
            hint,
        } = error;
        Self {
            file,
            field: Some(field).filter(|field| !field.is_empty()),
            line,
            column,
            message,
            hint,
        }
    }
}

impl From<PolicyError> for Finding {
    fn from(error: PolicyError) -> Self {
        let PolicyError {
            file,
            line,
            column,
            message,
            hint,
        } = error;
        Self {
            file,
            field: None,
            line: Some(line),
            column: Some(column),
            message,
            hint: Some(hint),
        }
    }
}

/// What stored rows and messages to edges cannot hold.
pub(super) fn bounds(files: &[(String, Vec<u8>)]) -> Option<Invalid> {
    let total = files
        .iter()
        .fold(0_usize, |sum, (_, content)| sum.saturating_add(content.len()));
    let mut findings = Vec::new();
    if files.len() > MAX_FILES {
        findings.push(Finding::of_file(
            "bundle.toml",
            format!("{} files, at most {MAX_FILES} are taken", files.len()),
        ));
    }
    if total > MAX_BYTES {
        findings.push(Finding::of_file(
            "bundle.toml",
            format!("{total} bytes in all, at most {MAX_BYTES} are taken"),
        ));
    }
    for (path, content) in files.iter().filter(|(_, content)| content.len() > MAX_FILE_BYTES) {
        findings.push(Finding::of_file(
            path,
            format!("{} bytes, at most {MAX_FILE_BYTES} are taken", content.len()),
        ));
    }
    (!findings.is_empty()).then_some(Invalid { findings })
}

/// Files, policies, plugins. Blocks for as long as the plugins compile, for the machines like this one.
pub(super) fn content(files: &[(String, Vec<u8>)], artifacts: &Artifacts) -> Result<(Bundle, Engine), Invalid> {
    let bundle = Bundle::parse(files).map_err(invalid)?;
    let engine = Engine::new(&bundle).map_err(invalid)?;
    let mut findings = Vec::new();
    for plugin in &bundle.plugins {
        if let Err(error) = artifacts.load(plugin_source(plugin)) {
            findings.push(Finding::of_file(&plugin.file, error.to_string()));
        }
    }
    findings.extend(
        trust::check(&bundle)
            .err()
            .map(|why| Finding::of_file("bundle.toml", why)),
    );
    if findings.is_empty() {
        Ok((bundle, engine))
    } else {
        Err(Invalid { findings })
    }
}

/// A plugin of a bundle as a host loads it.
pub fn plugin_source(plugin: &Plugin) -> runtime::PluginSource {
    runtime::PluginSource {
        name: plugin.name.clone(),
        wasm: plugin.wasm.to_vec(),
        config: plugin
            .config
            .iter()
            .map(|(name, value)| (name.clone(), setting(value)))
            .collect(),
        imports: plugin.imports.clone(),
        tables: plugin
            .tables
            .iter()
            .map(|(name, table)| (name.clone(), lookup_table(table)))
            .collect(),
        deadline: plugin.deadline,
        memory: usize::try_from(plugin.memory).unwrap_or(usize::MAX),
        isolated: plugin.isolation == Isolation::Process,
    }
}

fn lookup_table(table: &PluginTable) -> runtime::TableSource {
    runtime::TableSource {
        file: table.file.clone(),
        kind: if table.by_prefix {
            runtime::TableKind::Prefix
        } else {
            runtime::TableKind::Exact
        },
        text: table.text.clone(),
    }
}

/// What is odd about a bundle by itself.
pub(super) fn warnings(bundle: &Bundle, engine: &Engine, files: &[(String, Vec<u8>)]) -> Vec<Finding> {
    let of_policies = engine.warnings().iter().cloned().map(Finding::from);
    of_policies
        .chain(bundle.unnamed(files).into_iter().map(Finding::from))
        .collect()
}

/// Profiles against the keys there are. A key that is not there yet is an oddity; one that cannot serve the profile is a fault (R38).
pub(super) async fn keys(
    vault: &Vault,
    bundle: &Bundle,
    settings: &KeySettings,
) -> Result<Result<Vec<Finding>, Invalid>, Fault> {
    let schedule = &settings.schedule;
    let (mut warnings, mut faults) = (Vec::new(), Vec::new());
    for profile in &bundle.profiles {
        let file = format!("profiles/{}.toml", profile.name);
        match find(vault, profile, &settings.region).await? {
            Some(key) => {
                faults.extend(mismatch(&key, profile, bundle, schedule).map(|why| in_field(&file, "key", why)))
            }
            None => {
                let message = format!("there is no key `{}` in the tenant {} yet", profile.key, profile.tenant);
                warnings.push(in_field(&file, "key", message));
            }
        }
    }
    for issuer in &bundle.issuers {
        if issuer.jwks_cache.as_secs() > schedule.publish_lead {
            let message = format!(
                "verifiers may keep the JWKS for {} s, but new versions are published only {} s ahead",
                issuer.jwks_cache.as_secs(),
                schedule.publish_lead
            );
            warnings.push(in_field(
                "bundle.toml",
                &format!("issuers.{}.jwks_cache", issuer.name),
                message,
            ));
        }
    }
    Ok(if faults.is_empty() {
        Ok(warnings)
    } else {
        Err(Invalid { findings: faults })
    })
}

async fn find(vault: &Vault, profile: &Profile, region: &str) -> Result<Option<KeyRecord>, Fault> {
    let tenant = Tenant::parse(&profile.tenant)?;
    if !vault.has_kek(&paths::Scope::Tenant(tenant.clone())).await? {
        return Ok(None);
    }
    let id = if profile.key.starts_with("alias/") {
        match vault
            .get::<AliasRecord>(&paths::alias(&tenant, region, &profile.key))
            .await?
        {
            Some(alias) => alias.value.key,
            None => return Ok(None),
        }
    } else {
        profile.key.clone()
    };
    Ok(vault
        .get::<KeyRecord>(&paths::key(&tenant, &id))
        .await?
        .map(|held| held.value))
}

fn mismatch(key: &KeyRecord, profile: &Profile, bundle: &Bundle, schedule: &Schedule) -> Option<String> {
    let family = match profile.kind() {
        Kind::Token => Family::Token,
        Kind::Artifact => Family::Artifact,
    };
    if key.family != family {
        let (has, needs) = (key.family.as_str(), family.as_str());
        return Some(format!(
            "the key `{}` is of family `{has}`, a {needs} profile needs `{needs}`",
            profile.key
        ));
    }
    if key.algorithm() != Some(profile.algorithm) {
        let is_for = key
            .algorithm()
            .map_or(key.spec.as_str(), |algorithm| algorithm.as_str());
        return Some(format!(
            "the key `{}` is for {is_for}, not {}",
            profile.key, profile.algorithm
        ));
    }
    let token = profile.token()?;
    if u64::from(token.max_lifetime) > schedule.lifetime_cap {
        let cap = schedule.lifetime_cap;
        return Some(format!(
            "its longest lifetime is {} s, this authority keeps keys for tokens of at most {cap} s",
            token.max_lifetime
        ));
    }
    let issuer = bundle.issuer(&token.issuer);
    if key.delegation == Delegation::Own && issuer.is_none_or(|issuer| issuer.url.is_none()) {
        return Some(format!(
            "the key has delegation `own`, so the issuer `{}` needs a `url` for its certificates",
            token.issuer
        ));
    }
    None
}

fn setting(value: &ConfigValue) -> runtime::Value {
    match value {
        ConfigValue::Text(text) => runtime::Value::Text(text.clone()),
        ConfigValue::Int(int) => runtime::Value::Int(*int),
        ConfigValue::Float(float) => runtime::Value::Float(*float),
        ConfigValue::Bool(bool) => runtime::Value::Bool(*bool),
        ConfigValue::Texts(texts) => runtime::Value::Texts(texts.clone()),
    }
}

fn invalid<E: Into<Finding>>(errors: Vec<E>) -> Invalid {
    Invalid {
        findings: errors.into_iter().map(Into::into).collect(),
    }
}

fn in_field(file: &str, field: &str, message: String) -> Finding {
    Finding {
        field: Some(field.to_owned()),
        ..Finding::of_file(file, message)
    }
}
