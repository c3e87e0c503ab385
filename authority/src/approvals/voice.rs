//! An approver's decision: heard where its signature verifies, and counted once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signing::approval::Decision;

use super::Approvals;
use super::record::{Approval, Given, How, Safeguards};
use super::standing::Standing;
use crate::fault::Fault;
use crate::paths;
use crate::sealed::{Change, Held};

/// Tries of a voice that others kept overtaking.
const TRIES: usize = 8;

/// Proof that an approver signed a decision about a request. Only [`Approvals::hear`] makes one.
#[derive(Debug)]
pub struct Voice {
    approval: Held<Approval>,
    safeguards: Held<Safeguards>,
    given: Given,
    signature: Vec<u8>,
    is_requester: bool,
}

impl Voice {
    /// The approver's name.
    pub fn approver(&self) -> &str {
        &self.given.approver
    }

    /// The request.
    pub fn approval(&self) -> &Approval {
        &self.approval.value
    }
}

impl Approvals {
    /// Reads an approver's decision: `kid` names the key that signed the request as it is stored.
    ///
    /// # Errors
    /// `NotFound` without such a request, [`Fault::Denied`] where the key is no approver's or did not sign this.
    pub async fn hear(&self, id: &str, kid: &str, decision: Decision, signature: &[u8]) -> Result<Voice, Fault> {
        let approval = self.find(id).await?;
        let unknown = || {
            Fault::denied(
                "unknown_key",
                "this key is no approver's here; see `signet approvals approvers list`",
            )
        };
        let safeguards = self.held(&approval.value.domain).await?.ok_or_else(unknown)?;
        let approver = safeguards.value.approvers.iter().find(|approver| approver.kid == kid);
        let approver = approver.ok_or_else(unknown)?;
        let message = approval.value.statement(&self.trust_domain).message(decision);
        let is_signed = approver
            .key()
            .is_some_and(|key| key.verify(&message, signature).is_ok());
        if !is_signed {
            let message = "the signature is not over this request and decision; fetch the request again";
            return Err(Fault::denied("bad_signature", message));
        }
        let given = Given {
            approver: approver.name.clone(),
            kid: kid.to_owned(),
            approves: decision == Decision::Approve,
            signature: STANDARD.encode(signature),
            at: self.clock.now(),
        };
        let is_requester = approver.is(&approval.value.requester);
        Ok(Voice {
            approval,
            safeguards,
            given,
            signature: signature.to_vec(),
            is_requester,
        })
    }

    /// Counts a voice, durable when answered; answers the request and how it stands now.
    ///
    /// # Errors
    /// [`Fault::Denied`] for the requester's own, [`Fault::State`] where the request is over or the approver has decided.
    pub async fn count(&self, mut voice: Voice) -> Result<(Approval, Standing), Fault> {
        for _ in 1..TRIES {
            match self.try_count(&voice).await {
                // Another approver was a moment earlier.
                Err(Fault::Raced { .. }) => {
                    let (id, given) = (&voice.approval.value.id, &voice.given);
                    voice = self.hear(id, &given.kid, given.decision(), &voice.signature).await?;
                }
                counted => return counted,
            }
        }
        self.try_count(&voice).await
    }

    async fn try_count(&self, voice: &Voice) -> Result<(Approval, Standing), Fault> {
        let (mut approval, given) = (voice.approval.clone(), voice.given.clone());
        let safeguards = &voice.safeguards;
        let conflict = |message: String| Err(Fault::state("conflict", message));
        let name = &given.approver;
        if voice.is_requester {
            let message = format!("`{name}` is who asked for this, and somebody else approves it");
            return Err(Fault::denied("forbidden", message));
        }
        if let Standing::Ended(how) = self.stands(&safeguards.value, &approval.value) {
            return conflict(format!("the request has ended: it is {}", how.as_str()));
        }
        let decided = |old: &Given| old.approver == given.approver || old.kid == given.kid;
        if approval.value.given.iter().any(decided) {
            return conflict(format!(
                "`{name}` has decided already; a decision counts once and stays"
            ));
        }
        approval.value.given.push(given);
        let stands = self.stands(&safeguards.value, &approval.value);
        if stands == Standing::Ended(How::Rejected) {
            approval.value.ended = Some((How::Rejected, self.clock.now()));
        }
        let change = Change::new()
            .unchanged(paths::safeguards(&approval.value.domain), safeguards.stamp)
            .replace(paths::approval(&approval.value), &approval.value, approval.stamp);
        self.vault.commit(change).await?;
        Ok((approval.value, stands))
    }
}
