//! Roles of an account that a token of a trusted OIDC issuer may assume for a while (R7).

use std::time::Duration;

use serde::Deserialize;
use signing::Algorithm;

use super::callers::{self, OidcCaller, RawOidc};
use super::{BundleError, Document, Files};
use crate::names;
use crate::units::Span;

/// One role. Whoever assumes it is a principal of its tenant; what it may there is for policies to say.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name, unique in its tenant: 1 to 64 of `A-Z a-z 0-9 + = , . @ _ -`.
    pub name: String,
    /// The account it is of, 12 digits.
    pub tenant: String,
    /// The longest session, 15 min to 12 h. Default 1 h.
    pub max_session: Duration,
    /// Whose tokens it trusts, never empty. Their `tenant` is the role's.
    pub trust: Vec<OidcCaller>,
}

/// Bounds and default of [`Role::max_session`].
const MIN_SESSION: Duration = Duration::from_secs(900);
const MAX_SESSION: Duration = Duration::from_secs(12 * 3600);
const DEFAULT_SESSION: Duration = Duration::from_secs(3600);
/// Trust rules of one role.
const MAX_TRUST: usize = 32;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRole {
    name: String,
    tenant: String,
    max_session: Option<Span>,
    #[serde(default)]
    trust: Vec<RawTrust>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTrust {
    issuer: String,
    audiences: Vec<String>,
    subject: String,
    algorithms: Vec<Algorithm>,
    jwks_file: Option<String>,
    jwks_url: Option<String>,
    jwks_ca_file: Option<String>,
}

impl Role {
    /// `arn:aws:iam::TENANT:role/NAME`, as clients name it.
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:role/{}", self.tenant, self.name)
    }

    /// Whether a token of this issuer and subject could still assume it.
    pub fn trusts(&self, issuer: &str, subject: &str) -> bool {
        self.trust
            .iter()
            .any(|rule| rule.issuer == issuer && rule.subject.matches(subject))
    }
}

impl RawRole {
    pub(super) fn build(self, index: usize, document: &Document<'_>, files: &Files<'_>) -> Result<Role, BundleError> {
        let at = |field: &str| format!("roles[{index}].{field}");
        if !names::is_role(&self.name) {
            let hint = "use 1 to 64 of A-Z, a-z, 0-9 and + = , . @ _ -";
            return Err(document.error(&at("name"), format!("`{}` cannot name a role", self.name), hint));
        }
        let tenant = super::manifest::tenant(self.tenant, document, &at("tenant"))?;
        let max_session = self.max_session.map_or(DEFAULT_SESSION, |span| span.0);
        if !(MIN_SESSION..=MAX_SESSION).contains(&max_session) || max_session.subsec_nanos() != 0 {
            let hint = "write whole seconds from 15m to 12h";
            return Err(document.error(&at("max_session"), "out of bounds", hint));
        }
        if self.trust.is_empty() || self.trust.len() > MAX_TRUST {
            let message = format!("a role has 1 to {MAX_TRUST} trust rules");
            let hint = "add [[roles.trust]] with issuer, audiences, subject and keys: nobody else can assume it";
            return Err(document.error(&at("trust"), message, hint));
        }
        let mut trust = Vec::with_capacity(self.trust.len());
        for (rule, raw) in self.trust.into_iter().enumerate() {
            let at = |field: &str| format!("roles[{index}].trust[{rule}].{field}");
            trust.push(callers::build_oidc(raw.of(&tenant), document, files, &at)?);
        }
        Ok(Role {
            name: self.name,
            tenant,
            max_session,
            trust,
        })
    }
}

impl RawTrust {
    /// The rule as one of `[[callers.oidc]]`, whose checks it shares.
    fn of(self, tenant: &str) -> RawOidc {
        RawOidc {
            issuer: self.issuer,
            audiences: self.audiences,
            tenant: tenant.to_owned(),
            subject: self.subject,
            algorithms: self.algorithms,
            jwks_file: self.jwks_file,
            jwks_url: self.jwks_url,
            jwks_ca_file: self.jwks_ca_file,
            attributes: Default::default(),
        }
    }
}
