//! Whether the caller may: what the key's policy and grants say is one fact of the decision, and the gate decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use policies::KeyFacts;
use policies::engine::{AdminAction, AdminResource, KeyAccess, KeyPolicyAnswer};

use super::grant::{self, GrantRecord, Handed};
use super::{KeyRecord, Keys, KmsError, KmsErrorType, Session};
use crate::crypto::blob::EncryptionContext;
use crate::fault::Fault;
use crate::names::Tenant;
use crate::sealed::Held;
use crate::{halts, iam, paths, stops};

/// Bytes of memory that a key's facts take, about: 50 tags of 384 characters, and its aliases.
const FACTS_BYTES: usize = 32 << 10;

/// A principal of an account, as key policies and grants know it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its ARN, its account and, for a session, its role.
    pub principal: iam::Caller,
    /// What is known of the request beside the call itself: where it came from, how, with what tags. Not the time, the
    /// region and what follows from the principal: that is known here.
    pub facts: iam::Context,
}

/// One question to a [`Gate`].
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What is to be done.
    pub action: AdminAction,
    /// On what.
    pub resource: AdminResource<'a>,
    /// What the key's policy and grants say of it to the gate's caller.
    pub access: KeyAccess,
}

/// Whoever decides whether a caller may: Cedar, behind the admin API or the key API.
pub trait Gate: Send + Sync {
    /// Who asks, for the key policies' sake; none for an operator, of whom they say nothing.
    fn caller(&self) -> Option<&Caller>;

    /// Who asks, as approvals name it: a principal's ARN, or `operator:ID`.
    fn requester(&self) -> String {
        match self.caller() {
            Some(caller) => caller.principal.arn().to_owned(),
            None => "operator:root".to_owned(),
        }
    }

    /// Takes down for the record what decided beside policies: `approval:ID`, `signet:override`.
    fn note(&self, _what: &str) {}

    /// Takes down for the record which version of the key it was about.
    fn note_version(&self, _kid: &str) {}

    /// Takes down for the record the SHA-256 of what was signed.
    fn note_digest(&self, _digest: [u8; 32]) {}

    /// `Denied` when no policy permits what is asked.
    ///
    /// # Errors
    /// [`Fault::Denied`].
    fn allow(&self, asked: &Asked<'_>) -> Result<(), Fault>;
}

/// What a request says that policies and grants look at.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    conditions: Vec<(String, Vec<iam::Value>)>,
    /// None where the operation has none: constraints on it are then met by nothing.
    pub(super) encryption_context: Option<EncryptionContext>,
    grant_tokens: Vec<String>,
    /// A grant lets the caller do this to itself: retire it.
    pub(super) granted: bool,
    /// What a new grant hands on.
    pub(super) handed: Option<Handed>,
}

impl Facts {
    /// Of a request with these grant tokens, which may be none.
    pub(super) fn new(grant_tokens: &[String]) -> Self {
        Self {
            grant_tokens: grant_tokens.to_vec(),
            ..Self::default()
        }
    }

    /// With one more condition key.
    pub(super) fn with(mut self, key: &str, value: impl Into<iam::Value>) -> Self {
        self.conditions.push((key.to_owned(), vec![value.into()]));
        self
    }

    /// With these values more for a condition key.
    pub(super) fn with_all<V: Into<iam::Value>>(mut self, key: &str, values: impl IntoIterator<Item = V>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.conditions.push((key.to_owned(), values));
        self
    }

    /// With the request's encryption context.
    pub(super) fn encrypting(mut self, context: &EncryptionContext) -> Self {
        self.encryption_context = Some(context.clone());
        self
    }

    /// With `aws:RequestTag/KEY` and `aws:TagKeys`.
    pub(super) fn tagging(mut self, tags: &BTreeMap<String, String>) -> Self {
        for (key, value) in tags {
            self = self
                .with(&format!("aws:RequestTag/{key}"), value.as_str())
                .with("aws:TagKeys", key.as_str());
        }
        self
    }
}

impl Session<'_> {
    /// Whether the caller may do this in its account.
    pub(super) fn allow_tenant(&self) -> Result<(), KmsError> {
        Ok(self.gate.allow(&Asked {
            action: self.action,
            resource: AdminResource::Tenant(self.tenant.as_str()),
            access: match self.gate.caller() {
                Some(_) => KeyAccess::ACCOUNT,
                None => KeyAccess::OPERATOR,
            },
        })?)
    }
}

impl Keys {
    /// Refuses what an emergency stop of an account forbids: whatever its own callers ask for, and whatever others do with its
    /// keys. What stops more is done.
    pub(super) async fn demand_running(&self, session: &Session<'_>, account: &Tenant) -> Result<(), KmsError> {
        if stops::needs_no_record(&format!("kms:{}", session.verb)) || !halts::stands(&self.vault, account).await? {
            return Ok(());
        }
        let message = format!("The keys and callers of account {account} are stopped by an operator.");
        Err(KmsErrorType::AccessDenied.because(message))
    }

    /// Asks the gate whether the caller may do with the key what the session is for. `alias` is what it was called by.
    pub(super) async fn decide(
        &self,
        session: &Session<'_>,
        key: &Held<KeyRecord>,
        alias: Option<&str>,
        facts: &Facts,
    ) -> Result<(), KmsError> {
        grant::check_tokens(&facts.grant_tokens)?;
        if key.value.tenant != *session.tenant {
            self.demand_running(session, &key.value.tenant).await?;
        }
        let access = match session.gate.caller() {
            Some(caller) => self.access(session.action, caller, key, alias, facts).await?,
            None => KeyAccess::OPERATOR,
        };
        Ok(session.gate.allow(&Asked {
            action: session.action,
            resource: AdminResource::Key(&self.facts(key)),
            access,
        })?)
    }

    /// What policies see of a key, for its row as it is.
    fn facts(&self, key: &Held<KeyRecord>) -> Arc<KeyFacts> {
        let (record, revision) = (&key.value, key.stamp.revision);
        let path = paths::key(&record.tenant, &record.row());
        if let Some(facts) = self.cached.facts.get(&path, 0, revision) {
            return facts;
        }
        let facts = Arc::new(record.facts());
        self.cached.facts.put(&path, 0, revision, facts.clone(), FACTS_BYTES);
        facts
    }

    /// What the key's policy and grants say to a caller's request.
    pub(super) async fn access(
        &self,
        action: AdminAction,
        caller: &Caller,
        key: &Held<KeyRecord>,
        alias: Option<&str>,
        facts: &Facts,
    ) -> Result<KeyAccess, KmsError> {
        let key_policy = self.key_policy(action, caller, key, alias, facts)?;
        // A policy that allows or denies by itself needs no grant: nothing is read for it.
        let grants = match asks_grants(action, key_policy, facts) {
            true => self.grants_to(&key.value, caller).await?,
            false => Vec::new(),
        };
        Ok(with_grants(action, key_policy, &grants, facts))
    }

    /// As [`Keys::access`], with the grants on the key that name the caller: for who asks about several actions.
    pub(super) fn access_by(
        &self,
        action: AdminAction,
        caller: &Caller,
        key: &Held<KeyRecord>,
        grants: &[GrantRecord],
    ) -> Result<KeyAccess, KmsError> {
        let facts = Facts::default();
        let key_policy = self.key_policy(action, caller, key, None, &facts)?;
        Ok(with_grants(action, key_policy, grants, &facts))
    }

    fn key_policy(
        &self,
        action: AdminAction,
        caller: &Caller,
        key: &Held<KeyRecord>,
        alias: Option<&str>,
        facts: &Facts,
    ) -> Result<KeyPolicyAnswer, KmsError> {
        let operation = action.kms_name().unwrap_or(action.as_str());
        let context = self.conditions(caller, &key.value, alias, facts);
        let request = iam::Request {
            action: &format!("kms:{operation}"),
            resource: &self.arn(&key.value),
            caller: &caller.principal,
            account: key.value.tenant.as_str(),
            context: &context,
        };
        Ok(answer(&self.policy(key)?.decide(&request)))
    }

    /// Everything that conditions may ask about: the caller's facts, the request's, the key's.
    pub(super) fn conditions(
        &self,
        caller: &Caller,
        key: &KeyRecord,
        alias: Option<&str>,
        facts: &Facts,
    ) -> iam::Context {
        let now = i64::try_from(self.clock.now()).unwrap_or(i64::MAX);
        let mut context = caller
            .facts
            .clone()
            .at(now)
            .with("aws:RequestedRegion", self.region.as_str())
            .with("kms:KeySpec", key.spec.as_str())
            .with("kms:CustomerMasterKeySpec", key.spec.as_str())
            .with("kms:KeyUsage", key.usage.as_str())
            .with("kms:CustomerMasterKeyUsage", key.usage.as_str())
            .with("kms:KeyOrigin", key.origin.as_str())
            .with("kms:MultiRegion", key.multi_region.is_some())
            .with_all("kms:ResourceAliases", key.aliases.iter().map(String::as_str));
        if let Some(alias) = alias {
            context = context.with("kms:RequestAlias", alias);
        }
        if let Some(all) = &key.multi_region {
            let kind = if all.primary == key.region {
                "PRIMARY"
            } else {
                "REPLICA"
            };
            context = context.with("kms:MultiRegionKeyType", kind);
        }
        for (name, value) in key.free_tags() {
            context = context.with(&format!("aws:ResourceTag/{name}"), value);
        }
        for (name, values) in &facts.conditions {
            context = context.with_all(name, values.iter().cloned());
        }
        if let Some(pairs) = &facts.encryption_context {
            context = context.encryption_context(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        }
        context
    }

    /// Whether the caller could change the key's policy again if it were `document`: KMS's lock-out check.
    pub(super) fn could_put_policy(&self, caller: &Caller, key: &KeyRecord, document: &iam::Document) -> bool {
        let context = self.conditions(caller, key, None, &Facts::default());
        document.permits_put_key_policy(&iam::Request {
            action: "kms:PutKeyPolicy",
            resource: &self.arn(key),
            caller: &caller.principal,
            account: key.tenant.as_str(),
            context: &context,
        })
    }
}

/// Whether the answer to a request rests on the grants that name the caller.
fn asks_grants(action: AdminAction, key_policy: KeyPolicyAnswer, facts: &Facts) -> bool {
    let is_settled = matches!(key_policy, KeyPolicyAnswer::Deny | KeyPolicyAnswer::Allow);
    // A grant is retired by what it says itself, not by what another one does.
    !(is_settled || facts.granted || action == AdminAction::RetireGrant)
}

fn with_grants(action: AdminAction, key_policy: KeyPolicyAnswer, grants: &[GrantRecord], facts: &Facts) -> KeyAccess {
    let operation = action.kms_name().unwrap_or(action.as_str());
    let (context, handed) = (facts.encryption_context.as_ref(), facts.handed.as_ref());
    let allows = |grant: &GrantRecord| grant.allows(operation, context, handed);
    let by_grant = asks_grants(action, key_policy, facts) && grants.iter().any(allows);
    KeyAccess {
        key_policy,
        grant: facts.granted || by_grant,
    }
}

fn answer(decision: &iam::Decision) -> KeyPolicyAnswer {
    match decision {
        iam::Decision::Deny(_) => KeyPolicyAnswer::Deny,
        iam::Decision::Allow(_) => KeyPolicyAnswer::Allow,
        iam::Decision::Delegated(_) => KeyPolicyAnswer::Delegated,
        iam::Decision::Silent => KeyPolicyAnswer::Silent,
    }
}
