//! What keeps a key from being lost or used again by one person's word: legal holds, the deletion guard, the mark of a
//! compromise, and the approvals of the tenant's quorum. `HoldKey`, `ReleaseKey` and `MarkKeyCompromised` are not KMS's.
//!
//! Holding and marking stop something, so they need nobody's approval; releasing does, once there is a quorum.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decide::Facts;
use super::reference::KeyOnly;
use super::rotate::without_compromised;
use super::state::{SECONDS_PER_DAY, saving};
use super::{Family, KeyRecord, Keys, KmsError, KmsErrorType, Session, State};
use crate::approvals::{Approved, Domain, Parameters, REQUIRED, Wanted};
use crate::clock::rfc3339;
use crate::fault::Fault;
use crate::rotation;
use crate::sealed::{Change, Held};

/// Characters of a reason.
const MAX_REASON: usize = 256;
/// In records: an operator went past a safeguard.
pub const OVERRIDE: &str = "signet:override";

/// What was said about a key beside its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// Nothing of the key is deleted, by nobody and by no time, while it is there.
    pub hold: Option<Note>,
    /// Somebody else may have the key. The mark stays; to enable the key again takes the quorum.
    pub compromised: Option<Note>,
    /// The last time that an operator went past a safeguard.
    pub overridden: Option<Note>,
}

/// Who said what, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// At most 256 characters; may be empty where nobody has to say why.
    pub reason: String,
    /// `operator:ID`, or a principal's ARN.
    pub by: String,
    /// Unix seconds.
    pub at: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct HoldRequest {
    key_id: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CompromisedRequest {
    key_id: String,
    #[serde(default)]
    reason: String,
}

pub(super) async fn hold_key(keys: &Keys, session: &Session<'_>, request: HoldRequest) -> Result<Value, KmsError> {
    let reason = check_reason("Reason", request.reason)?;
    let mut key = keys
        .find_for_operator(session, &request.key_id, &Facts::default())
        .await?;
    key.value.protection.hold = Some(note(keys, session, reason));
    keys.save(&key).await?;
    tracing::info!(key = key.value.id, "key put under legal hold");
    Ok(json!({ "KeyMetadata": keys.metadata(session, &key.value) }))
}

pub(super) async fn release_key(keys: &Keys, session: &Session<'_>, request: KeyOnly) -> Result<Value, KmsError> {
    let mut key = keys
        .find_for_operator(session, &request.key_id, &Facts::default())
        .await?;
    let Some(hold) = key.value.protection.hold.take() else {
        let message = format!("{} is under no legal hold.", keys.arn(&key.value));
        return Err(KmsErrorType::InvalidState.because(message));
    };
    let parameters = Parameters::default().with("HeldBecause", hold.reason);
    let approved = keys.demand_approval(session, &key.value, parameters).await?;
    // What the hold kept of compromised versions goes now; what has retired, at the next look.
    let change = without_compromised(approved.spend(Change::new()), &key.value);
    keys.vault.commit(saving(change, &key)).await?;
    tracing::info!(key = key.value.id, "legal hold lifted");
    Ok(json!({ "KeyMetadata": keys.metadata(session, &key.value) }))
}

/// Marks a key and disables it, in every region that it is in: the material is the same. What of it is in a JWKS leaves.
pub(super) async fn mark_key_compromised(
    keys: &Keys,
    session: &Session<'_>,
    request: CompromisedRequest,
) -> Result<Value, KmsError> {
    if !request.reason.is_empty() {
        check_reason("Reason", request.reason.clone())?;
    }
    let mut key = keys
        .find_for_operator(session, &request.key_id, &Facts::default())
        .await?;
    let mark = note(keys, session, request.reason);
    let now = keys.clock.now();
    let mut change = Change::new();
    for mut relative in keys.relatives(&key.value).await? {
        compromise(&mut relative.value, &mark, now);
        change = saving(change, &relative);
    }
    compromise(&mut key.value, &mark, now);
    keys.vault.commit(saving(change, &key)).await?;
    tracing::warn!(key = key.value.id, "key marked as compromised, and disabled");
    Ok(json!({ "KeyMetadata": keys.metadata(session, &key.value) }))
}

/// Marks the key and disables it; what of it is in a JWKS leaves. `now` is in Unix seconds.
pub(crate) fn compromise(key: &mut KeyRecord, mark: &Note, now: u64) {
    key.protection.compromised.get_or_insert_with(|| mark.clone());
    if key.state == State::Enabled {
        key.state = State::Disabled;
    }
    if key.is_announced() {
        let kids: Vec<_> = key.versions.iter().map(|version| version.kid.clone()).collect();
        for kid in kids {
            rotation::compromise(&mut key.versions, &kid, now);
        }
    }
}

/// An operator's reason to go past a safeguard; principals of accounts cannot.
pub(super) fn override_of(session: &Session<'_>, given: Option<String>) -> Result<Option<String>, KmsError> {
    match (given, session.gate.caller()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(KmsErrorType::Validation.because("`Override` is for operators of the admin API")),
        (Some(reason), None) => check_reason("Override", reason).map(Some),
    }
}

fn check_reason(member: &str, reason: String) -> Result<String, KmsError> {
    let length = reason.chars().count();
    if reason.trim().is_empty() || length > MAX_REASON || reason.contains(char::is_control) {
        let message = format!("`{member}` says why, in 1 to {MAX_REASON} characters without control characters");
        return Err(KmsErrorType::Validation.because(message));
    }
    Ok(reason)
}

fn note(keys: &Keys, session: &Session<'_>, reason: String) -> Note {
    Note {
        reason,
        by: session.gate.requester(),
        at: keys.clock.now(),
    }
}

impl Keys {
    /// Refuses the deletion of a key that is held, and without a reason of an operator's that of one lately used. The key
    /// remembers the reason; saving it is the caller's.
    pub(super) async fn demand_deletable(
        &self,
        session: &Session<'_>,
        key: &mut KeyRecord,
        reason: Option<&str>,
    ) -> Result<(), KmsError> {
        let (arn, id) = (self.arn(key), &key.id);
        if let Some(hold) = &key.protection.hold {
            let message = format!(
                "{arn} is under legal hold: {}. An operator lifts it with `signet keys unhold {id}`.",
                hold.reason
            );
            return Err(KmsErrorType::InvalidState.because(message));
        }
        let domain = Domain::Tenant(key.tenant.clone());
        let days = self.approvals.safeguards(&domain).await?.deletion_guard_days;
        let Some(used) = self.recent_use(key, days).await? else {
            return Ok(());
        };
        let Some(reason) = reason else {
            let message = format!(
                "{arn} {used}, and this account deletes nothing that was used within {days} days. An operator can: \
                 `signet keys schedule-deletion {id} --override REASON`."
            );
            return Err(KmsErrorType::InvalidState.because(message));
        };
        self.overrides(session, key, reason);
        Ok(())
    }

    /// What is known of a use within the last `days`; none when there was none.
    async fn recent_use(&self, key: &KeyRecord, days: u32) -> Result<Option<String>, KmsError> {
        if days == 0 {
            return Ok(None);
        }
        if key.family != Family::Raw {
            return Ok(Some("is used by edges, which do not tell when".to_owned()));
        }
        let since = self
            .clock
            .now()
            .saturating_sub(u64::from(days).saturating_mul(SECONDS_PER_DAY));
        let used = self.use_of(key).await?.filter(|used| used.at >= since);
        Ok(used.map(|used| format!("was used for {} at {}", used.operation, rfc3339(used.at))))
    }

    /// Refuses to enable a key that is marked as compromised, unless the quorum approved; where there is none, unless an
    /// operator says why. None where the key needs no such proof.
    pub(super) async fn demand_enabling(
        &self,
        session: &Session<'_>,
        key: &mut KeyRecord,
        reason: Option<&str>,
    ) -> Result<Option<Approved>, KmsError> {
        if key.protection.compromised.is_none() {
            return Ok(None);
        }
        let approved = self.demand_approval(session, key, overriding(reason)).await?;
        if approved.id().is_none() {
            let Some(reason) = reason else {
                let message = format!(
                    "{} is marked as compromised. An operator can enable it: `signet keys enable {} --override REASON`.",
                    self.arn(key),
                    key.id
                );
                return Err(KmsErrorType::InvalidState.because(message));
            };
            self.overrides(session, key, reason);
        }
        Ok(Some(approved))
    }

    fn overrides(&self, session: &Session<'_>, key: &mut KeyRecord, reason: &str) {
        session.gate.note(OVERRIDE);
        tracing::warn!(
            key = key.id,
            verb = session.verb(),
            reason,
            "an operator went past a safeguard"
        );
        key.protection.overridden = Some(note(self, session, reason.to_owned()));
    }

    /// Demands what the tenant's quorum says of the session's verb on this key (R28): the last check before its effect.
    pub(super) async fn demand_approval(
        &self,
        session: &Session<'_>,
        key: &KeyRecord,
        parameters: Parameters,
    ) -> Result<Approved, KmsError> {
        let (arn, requester) = (self.arn(key), session.gate.requester());
        let domain = Domain::Tenant(key.tenant.clone());
        let wanted = Wanted {
            domain: &domain,
            region: &key.region,
            operation: session.verb(),
            resource: &arn,
            parameters,
            requester: &requester,
            lifetime: None,
        };
        match self.approvals.demand(&wanted).await {
            Ok(approved) => {
                if let Some(id) = approved.id() {
                    session.gate.note(&format!("approval:{id}"));
                }
                Ok(approved)
            }
            Err(Fault::Denied {
                code: REQUIRED,
                message,
                policies,
            }) => {
                policies.iter().for_each(|policy| session.gate.note(policy));
                Err(KmsErrorType::AccessDenied.because(format!(
                    "User: {requester} is not authorized to perform: kms:{} on resource: {arn} because {message}",
                    session.verb()
                )))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Stores a key that must be as it was read, and uses the approval up.
    pub(super) async fn save_approved(&self, approved: &Approved, key: &Held<KeyRecord>) -> Result<(), KmsError> {
        self.vault.commit(approved.spend(saving(Change::new(), key))).await?;
        Ok(())
    }
}

/// The parameters that every verb with an override has: approvers see why.
pub(super) fn overriding(reason: Option<&str>) -> Parameters {
    match reason {
        Some(reason) => Parameters::default().with("Override", reason),
        None => Parameters::default(),
    }
}
