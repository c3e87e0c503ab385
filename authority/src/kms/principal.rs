//! Who calls: a [`Principal`] exists only where [`Authenticator`] verified the signature of the very request that is
//! executed (R9). Its account comes from the access key or the session token, never from anything else (R6).

use std::sync::Arc;

use http::request;
use policies::engine::{AccountFacts, AccountKind};
use signing::digest::sha256;
use signing::key::Secret;

use super::access_key::{AccessKeyRecord, AccessKeys, base32_letter};
use super::refusal::AuthFailure;
use super::session::{Session, Sessions};
use super::sigv4::{Claim, SigV4Error, Verified};
use crate::bundle::Bundles;
use crate::config::is_region;
use crate::fault::Fault;
use crate::iam;
use crate::keys::Caller;
use crate::names::Tenant;

/// A scope no request can be meant for: what a request with an unspeakable region is compared with.
const NO_REGION: &str = "us-east-1";

/// A principal of an account, who signed the request at hand. Made by [`Authenticator::authenticate`] only.
#[derive(Debug)]
pub struct Principal {
    holder: Holder,
    verified: Verified,
}

/// Whom an access key belongs to.
#[derive(Debug)]
enum Holder {
    Key(AccessKeyRecord),
    Session(Session),
}

/// Verifies requests.
pub(super) struct Authenticator {
    access_keys: Arc<AccessKeys>,
    sessions: Arc<Sessions>,
    bundles: Arc<Bundles>,
    /// The regions served; empty: any.
    regions: Vec<String>,
}

impl Authenticator {
    pub(super) fn new(
        access_keys: Arc<AccessKeys>,
        sessions: Arc<Sessions>,
        bundles: Arc<Bundles>,
        regions: Vec<String>,
    ) -> Self {
        Self {
            access_keys,
            sessions,
            bundles,
            regions,
        }
    }

    /// The principal that signed this request for `service`, at `now` (Unix seconds). The access key is read from the
    /// store each time: one that was stopped is refused at once.
    pub(super) async fn authenticate(
        &self,
        head: &request::Parts,
        body: &[u8],
        service: &str,
        now: u64,
    ) -> Result<Principal, AuthFailure> {
        let claim = Claim::read(head, now)?;
        claim.check_scope(self.region_for(claim.region()), service)?;
        let (holder, secret) = match claim.session_token() {
            None => self.by_access_key(claim.access_key_id()).await?,
            Some(token) => self.by_token(claim.access_key_id(), token, now).await?,
        };
        let verified = claim.verify(&secret, body)?;
        Ok(Principal { holder, verified })
    }

    /// The region that a request scoped to `region` must be for: itself, if it is served.
    fn region_for<'a>(&'a self, region: &'a str) -> &'a str {
        let served = match self.regions.as_slice() {
            [] => is_region(region),
            regions => regions.iter().any(|served| served == region),
        };
        if served {
            return region;
        }
        self.regions.first().map_or(NO_REGION, String::as_str)
    }

    async fn by_access_key(&self, id: &str) -> Result<(Holder, Secret), AuthFailure> {
        match self.access_keys.usable(id).await? {
            Some(issued) => Ok((Holder::Key(issued.record), issued.secret)),
            None => Err(SigV4Error::unrecognized_client("no such access key, or it is inactive").into()),
        }
    }

    /// A session lives no longer than its role, and the rule by which it was assumed.
    async fn by_token(&self, id: &str, token: &str, now: u64) -> Result<(Holder, Secret), AuthFailure> {
        let unknown = |detail: &'static str| AuthFailure::from(SigV4Error::unrecognized_client(detail));
        let opened = self.sessions.open(id, token).await?;
        let opened = opened.ok_or_else(|| unknown("the session token is not ours for this access key"))?;
        let session = &opened.session;
        if now >= session.expires_at {
            return Err(AuthFailure::Expired);
        }
        let in_force = self.bundles.in_force();
        let role = in_force.bundle.role(session.account.as_str(), &session.role);
        if role.is_none_or(|role| !role.trusts(&session.issuer, &session.subject)) {
            return Err(unknown("the session's role is gone, or trusts its subject no more"));
        }
        Ok((Holder::Session(opened.session), opened.secret))
    }
}

impl Principal {
    /// The account that it acts in.
    pub fn account(&self) -> &Tenant {
        match &self.holder {
            Holder::Key(key) => &key.account,
            Holder::Session(session) => &session.account,
        }
    }

    /// The region that the request was signed for.
    pub fn region(&self) -> &str {
        self.verified.region()
    }

    /// `arn:aws:iam::ACCOUNT:root`, `…:user/NAME` or `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    pub fn arn(&self) -> String {
        let account = self.account();
        match &self.holder {
            Holder::Key(AccessKeyRecord { user: None, .. }) => format!("arn:aws:iam::{account}:root"),
            Holder::Key(AccessKeyRecord { user: Some(user), .. }) => format!("arn:aws:iam::{account}:user/{user}"),
            Holder::Session(session) => assumed_role_arn(session),
        }
    }

    /// The id that IAM would have given it: the account's own, or one derived from its name, and for a session with its name.
    pub fn user_id(&self) -> String {
        let account = self.account();
        match &self.holder {
            Holder::Key(AccessKeyRecord { user: None, .. }) => account.to_string(),
            Holder::Key(AccessKeyRecord { user: Some(user), .. }) => unique_id("AIDA", account, user),
            Holder::Session(session) => assumed_role_id(session),
        }
    }

    /// As key policies and grants know it, with `facts` about the request.
    ///
    /// # Errors
    /// [`Fault::Internal`] where the ARN is none, which names that were checked when they were given rule out.
    pub(super) fn caller(&self, facts: iam::Context) -> Result<Caller, Fault> {
        let (role, facts) = match &self.holder {
            Holder::Key(_) => (None, facts),
            Holder::Session(session) => (
                Some(format!("arn:aws:iam::{}:role/{}", session.account, session.role)),
                facts.with("aws:FederatedProvider", session.issuer.as_str()),
            ),
        };
        let principal = iam::Caller::new(&self.arn(), role.as_deref());
        let principal = principal.map_err(|error| Fault::internal(format!("`{}`: {error}", self.arn())))?;
        Ok(Caller {
            principal,
            facts: facts.with("aws:userid", self.user_id()),
        })
    }

    /// As policies see it.
    pub(super) fn facts(&self) -> AccountFacts {
        let mut facts = AccountFacts {
            arn: self.arn(),
            tenant: self.account().to_string(),
            kind: AccountKind::Root,
            name: String::new(),
            role: String::new(),
            session: None,
            issuer: None,
            subject: None,
        };
        match &self.holder {
            Holder::Key(key) => {
                if let Some(user) = &key.user {
                    facts.kind = AccountKind::User;
                    facts.name.clone_from(user);
                    facts.role.clone_from(&key.role);
                }
            }
            Holder::Session(session) => {
                facts.kind = AccountKind::Role;
                facts.name.clone_from(&session.role);
                facts.session = Some(session.name.clone());
                facts.issuer = Some(session.issuer.clone());
                facts.subject = Some(session.subject.clone());
            }
        }
        facts
    }
}

/// `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`
pub(super) fn assumed_role_arn(session: &Session) -> String {
    let Session {
        account, role, name, ..
    } = session;
    format!("arn:aws:sts::{account}:assumed-role/{role}/{name}")
}

/// `AROA…:SESSION`
pub(super) fn assumed_role_id(session: &Session) -> String {
    format!(
        "{}:{}",
        unique_id("AROA", &session.account, &session.role),
        session.name
    )
}

/// An id for a name, the same each time: names are not reused here as IAM reuses them.
fn unique_id(prefix: &str, account: &Tenant, name: &str) -> String {
    let hash = sha256(format!("{prefix}\0{account}\0{name}").as_bytes());
    let letters = hash.into_iter().take(17).map(base32_letter);
    prefix.chars().chain(letters).collect()
}
