//! Approvals: what takes k of n people, none of them the one who asks (R28).
//!
//! | | |
//! | --- | --- |
//! | [`Approvals::demand`] | the gate: [`Approved`], or the refusal that names the request to be approved |
//! | [`Approvals::hear`], [`Approvals::count`] | an approver's signature makes a [`Voice`], and a voice is counted |
//! | [`Approvals::change`] | a domain's [`Safeguards`]: quorum, approvers, deletion guard. Under its own quorum, once it has one |
//! | [`Approvals::expire`] | what time ends |
//! | [`standing()`] | the decision, pure |
//!
//! Whoever does what needs approval adds [`Approved::spend`] to the change that has the effect: both happen, once, or
//! neither. Stopping something never comes here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::clock::{Clock, rfc3339};
use crate::fault::Fault;
use crate::names::shown;
use crate::paths;
use crate::sealed::{Change, Held, Stamp, Vault};

pub use self::change::SafeguardChange;
pub use self::record::{Approval, Approver, Domain, Given, How, Safeguards};
pub use self::standing::{Standing, standing};
pub use self::voice::Voice;
pub use self::wanted::{Parameters, Wanted};

mod change;
mod record;
mod standing;
mod voice;
mod wanted;

#[cfg(test)]
mod tests;

/// Requests of one domain that wait at a time, and of one requester: nobody alone keeps the others out. All sessions of a
/// role are one requester here.
const MAX_PENDING: usize = 64;
const MAX_OF_ONE: usize = 16;
/// Requests of one domain that are kept, those that ended included: the oldest of these make room.
const MAX_KEPT: usize = 128;

/// The code of a refusal that an approval would lift.
pub const REQUIRED: &str = "approval_required";

/// The approvals of all domains.
pub struct Approvals {
    vault: Arc<Vault>,
    clock: Clock,
    trust_domain: String,
    /// One request is asked about at a time, so that the same one is not stored twice and bounds hold; among several authorities
    /// the row at [`paths::asking`] sees to that.
    asking: Mutex<()>,
}

/// How many requests a domain has had.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Turn(u64);

/// Proof that something may be done: its domain has no quorum, or as many as it takes have approved. Only
/// [`Approvals::demand`] makes one.
#[derive(Debug)]
pub struct Approved {
    safeguards: (String, Option<Stamp>),
    spent: Option<(Approval, Stamp)>,
}

impl Approved {
    /// Adds to the change that has the effect what makes it happen once: the approval is used up, and the safeguards are
    /// those that were asked.
    #[must_use]
    pub fn spend(&self, change: Change) -> Change {
        let (path, seen) = &self.safeguards;
        let change = match seen {
            Some(seen) => change.unchanged(path.clone(), *seen),
            None => change.absent(path.clone()),
        };
        match &self.spent {
            Some((approval, seen)) => change.replace(paths::approval(approval), approval, *seen),
            None => change,
        }
    }

    /// The request that was approved; none where the domain has no quorum.
    pub fn id(&self) -> Option<&str> {
        self.spent.as_ref().map(|(approval, _)| approval.id.as_str())
    }
}

impl Approvals {
    /// Over the authority's state.
    pub fn new(vault: Arc<Vault>, clock: Clock, trust_domain: &str) -> Self {
        Self {
            vault,
            clock,
            trust_domain: trust_domain.to_owned(),
            asking: Mutex::new(()),
        }
    }

    /// The trust domain that approvers sign for.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Asks whether something may be done now. The first time it may not, a request is stored that approvers can answer;
    /// the same again by the same requester, once it is approved, may.
    ///
    /// # Errors
    /// [`Fault::Denied`] with the code [`REQUIRED`], which names the request and says how it stands.
    pub async fn demand(&self, wanted: &Wanted<'_>) -> Result<Approved, Fault> {
        let safeguards = self.held(wanted.domain).await?;
        let mut approved = Approved {
            safeguards: (
                paths::safeguards(wanted.domain),
                safeguards.as_ref().map(|held| held.stamp),
            ),
            spent: None,
        };
        let Some(safeguards) = safeguards.filter(|held| held.value.required > 0) else {
            return Ok(approved);
        };
        let _one_at_a_time = self.asking.lock().await;
        let turn = self.vault.get::<Turn>(&paths::asking(wanted.domain)).await?;
        let rows = self.rows(wanted.domain).await?;
        let now = self.clock.now();
        let mut asked = None;
        for held in rows.iter().filter(|held| wanted.is(&held.value)) {
            match self.stands(&safeguards.value, &held.value) {
                Standing::Approved { .. } => {
                    let mut approval = held.value.clone();
                    approval.ended = Some((How::Executed, now));
                    approved.spent = Some((approval, held.stamp));
                    return Ok(approved);
                }
                Standing::Pending { .. } => asked = Some(&held.value),
                // Who was told no does not ask again at once.
                Standing::Ended(How::Rejected) if now < held.value.expires_at => asked = Some(&held.value),
                Standing::Ended(_) => {}
            }
        }
        let asked = match asked {
            Some(asked) => asked.clone(),
            None => self.ask(wanted, &safeguards, &rows, turn).await?,
        };
        Err(refusal(&asked, &self.stands(&safeguards.value, &asked)))
    }

    /// A request, by its id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, id: &str) -> Result<Approval, Fault> {
        Ok(self.find(id).await?.value)
    }

    /// A domain's requests, the oldest first.
    pub async fn list(&self, domain: &Domain) -> Result<Vec<Approval>, Fault> {
        let rows = self.rows(domain).await?;
        Ok(rows.into_iter().map(|held| held.value).collect())
    }

    /// A domain's safeguards.
    pub async fn safeguards(&self, domain: &Domain) -> Result<Safeguards, Fault> {
        Ok(self.held(domain).await?.map(|held| held.value).unwrap_or_default())
    }

    /// How a request stands now.
    pub fn stands(&self, safeguards: &Safeguards, approval: &Approval) -> Standing {
        standing(safeguards, approval, &self.trust_domain, self.clock.now())
    }

    /// Changes a domain's safeguards, durable when answered. Once it has a quorum, that takes the quorum's approval.
    ///
    /// # Errors
    /// `Invalid` or `State` for what would leave no working quorum, and what [`Approvals::demand`] says.
    pub async fn change(
        &self,
        domain: &Domain,
        change: &SafeguardChange,
        requester: &str,
    ) -> Result<(Safeguards, Approved), Fault> {
        let attempt = || async {
            let held = self.held(domain).await?;
            let mut safeguards = held.as_ref().map(|held| held.value.clone()).unwrap_or_default();
            change.apply(&mut safeguards, requester)?;
            let approved = self
                .demand(&Wanted {
                    domain,
                    region: "",
                    operation: change.operation(),
                    resource: &format!("safeguards/{domain}"),
                    parameters: change.parameters(),
                    requester,
                    // A setting of a few seconds must not lock everybody out of changing it.
                    lifetime: Some(record::DEFAULT_LIFETIME),
                })
                .await?;
            let stamp = held.as_ref().map(|held| held.stamp);
            let write = approved
                .spend(Change::new())
                .set(paths::safeguards(domain), &safeguards, stamp);
            self.vault.commit(write).await?;
            Ok((safeguards, approved))
        };
        self.vault.retry(attempt).await
    }

    /// Ends what has waited too long; answers what it ended.
    ///
    /// # Errors
    /// [`Fault`] of the store; what is left is ended at the next look.
    pub async fn expire(&self) -> Result<Vec<Approval>, Fault> {
        let now = self.clock.now();
        let mut ended = Vec::new();
        for (path, mut held) in self.vault.all::<Approval>(paths::APPROVALS).await? {
            if held.value.ended.is_some() || now < held.value.expires_at {
                continue;
            }
            held.value.ended = Some((How::Expired, held.value.expires_at));
            match self
                .vault
                .commit(Change::new().replace(path, &held.value, held.stamp))
                .await
            {
                Ok(_) => ended.push(held.value),
                // Another authority on the same store was first.
                Err(Fault::Raced { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(ended)
    }

    /// Stores a new request; what ended longest ago makes room.
    async fn ask(
        &self,
        wanted: &Wanted<'_>,
        safeguards: &Held<Safeguards>,
        rows: &[Held<Approval>],
        turn: Option<Held<Turn>>,
    ) -> Result<Approval, Fault> {
        let waiting =
            |held: &&Held<Approval>| !matches!(self.stands(&safeguards.value, &held.value), Standing::Ended(_));
        let asker = record::asker(wanted.requester);
        let own = |held: &&Held<Approval>| record::asker(&held.value.requester) == asker;
        let (all, of_one) = (
            rows.iter().filter(waiting).count(),
            rows.iter().filter(waiting).filter(own).count(),
        );
        if all >= MAX_PENDING || of_one >= MAX_OF_ONE {
            let message = format!("{all} requests wait for approval, {of_one} of them yours; have some decided first");
            return Err(Fault::denied(REQUIRED, message));
        }
        let id = Approval::new_id(wanted.domain)?;
        let now = self.clock.now();
        let lifetime = wanted.lifetime.unwrap_or(safeguards.value.lifetime);
        let approval = wanted.request(id, now, now.saturating_add(lifetime))?;
        let next = Turn(turn.as_ref().map_or(1, |turn| turn.value.0.wrapping_add(1)));
        let mut change = Change::new().create(paths::approval(&approval), &approval).set(
            paths::asking(wanted.domain),
            &next,
            turn.map(|turn| turn.stamp),
        );
        let room = rows.len().saturating_add(1).saturating_sub(MAX_KEPT);
        for old in rows.iter().filter(|held| !waiting(held)).take(room) {
            change = change.delete(paths::approval(&old.value));
        }
        self.vault.commit(change).await?;
        tracing::info!(
            id = approval.id,
            operation = approval.operation,
            resource = approval.resource,
            requester = approval.requester,
            "waits for approval"
        );
        Ok(approval)
    }

    async fn held(&self, domain: &Domain) -> Result<Option<Held<Safeguards>>, Fault> {
        self.vault.get(&paths::safeguards(domain)).await
    }

    async fn rows(&self, domain: &Domain) -> Result<Vec<Held<Approval>>, Fault> {
        let rows = self.vault.all::<Approval>(&paths::approvals(domain)).await?;
        let mut rows: Vec<_> = rows.into_iter().map(|(_, held)| held).collect();
        rows.sort_by(|a, b| (a.value.created_at, &a.value.id).cmp(&(b.value.created_at, &b.value.id)));
        Ok(rows)
    }

    async fn find(&self, id: &str) -> Result<Held<Approval>, Fault> {
        let missing = || Fault::not_found(format!("there is no request `{}`", shown(id)));
        let domain = Approval::domain_of(id).ok_or_else(missing)?;
        let row = self.vault.get(&paths::approval_by_id(&domain, id)).await?;
        row.ok_or_else(missing)
    }
}

impl std::fmt::Debug for Approvals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Approvals")
    }
}

/// What the requester is told.
fn refusal(approval: &Approval, stands: &Standing) -> Fault {
    let (id, until) = (&approval.id, rfc3339(approval.expires_at));
    let message = match stands {
        Standing::Ended(_) => format!("the request `{id}` was rejected; it can be made again after {until}"),
        Standing::Pending { given, needed } => {
            let plural = if *needed == 1 { "" } else { "s" };
            format!(
                "it takes {needed} approval{plural} and has {given}: the request `{id}` waits until {until}; have it approved \
                 with `signet approvals approve {id}`, then send it again"
            )
        }
        Standing::Approved { .. } => format!("the request `{id}` was just approved; send it again"),
    };
    Fault::Denied {
        code: REQUIRED,
        message,
        policies: vec![format!("approval:{id}")],
    }
}
