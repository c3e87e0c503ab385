//! What operations demand of a key: its state, its usage, its family. In the words clients look for.

use super::decide::Facts;
use super::{Family, KeyRecord, Keys, KmsError, KmsErrorType, Session, State};
use crate::crypto::KeyUsage;
use crate::sealed::Held;

impl Keys {
    /// Finds a key for a cryptographic operation: named in any way, permitted, of the usage, and enabled.
    pub(super) async fn find_usable(
        &self,
        session: &Session<'_>,
        reference: &str,
        facts: &Facts,
        usage: KeyUsage,
    ) -> Result<Held<KeyRecord>, KmsError> {
        let key = self.find(session, reference, facts).await?;
        self.demand_use(session, &key.value, usage)?;
        Ok(key)
    }

    /// Refuses keys of another usage or family, and keys that may not be used now.
    pub(super) fn demand_use(&self, session: &Session<'_>, key: &KeyRecord, usage: KeyUsage) -> Result<(), KmsError> {
        self.demand_usage(session, key, usage)?;
        self.demand_usable(key)
    }

    /// Refuses keys that are for something else (R1, R38).
    pub(super) fn demand_usage(&self, session: &Session<'_>, key: &KeyRecord, usage: KeyUsage) -> Result<(), KmsError> {
        if key.family != Family::Raw {
            let family = key.family.as_str();
            return Err(KmsErrorType::InvalidKeyUsage.because(format!(
                "{} is for the family `{family}` and signs nothing else; it signs through an edge's profiles",
                self.arn(key)
            )));
        }
        if key.usage != usage {
            return Err(self.not_valid(session, key, &format!("usage is {}", key.usage)));
        }
        Ok(())
    }

    /// That what the key is does not go with the operation.
    pub(super) fn not_valid(&self, session: &Session<'_>, key: &KeyRecord, what: &str) -> KmsError {
        let operation = session.verb();
        KmsErrorType::InvalidKeyUsage.because(format!(
            "{} key {what} which is not valid for {operation}.",
            self.arn(key)
        ))
    }

    /// Refuses keys that may not be used now.
    pub(super) fn demand_usable(&self, key: &KeyRecord) -> Result<(), KmsError> {
        match key.state {
            State::Enabled if self.is_expired(key) => {
                let message = format!("{} is pending import.", self.arn(key));
                Err(KmsErrorType::InvalidState.because(message))
            }
            State::Enabled => Ok(()),
            State::Disabled => Err(KmsErrorType::Disabled.because(format!("{} is disabled.", self.arn(key)))),
            _ => Err(self.in_state(key)),
        }
    }

    /// Refuses changes of keys that are on their way out.
    pub(super) fn demand_not_pending(&self, key: &KeyRecord) -> Result<(), KmsError> {
        if key.state.is_pending_deletion() {
            return Err(self.in_state(key));
        }
        Ok(())
    }

    /// Refuses keys that are on their way out or have no material.
    pub(super) fn demand_material(&self, key: &KeyRecord) -> Result<(), KmsError> {
        match key.state {
            State::Enabled | State::Disabled => Ok(()),
            _ => Err(self.in_state(key)),
        }
    }

    /// That the key is in the state that it is in.
    pub(super) fn in_state(&self, key: &KeyRecord) -> KmsError {
        let state = match key.state {
            State::Enabled => "enabled",
            State::Disabled => "disabled",
            State::PendingDeletion { .. } => "pending deletion",
            State::PendingImport => "pending import",
            State::PendingReplicaDeletion { .. } => "pending replica deletion",
        };
        KmsErrorType::InvalidState.because(format!("{} is {state}.", self.arn(key)))
    }
}

/// Ends a request that was only to be tried, after every check.
pub(super) fn end_dry_run(dry_run: bool) -> Result<(), KmsError> {
    if dry_run {
        let message = "The request would have succeeded, but the DryRun option is set.";
        return Err(KmsErrorType::DryRun.because(message));
    }
    Ok(())
}
