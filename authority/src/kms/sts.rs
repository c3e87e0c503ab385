//! The two calls of STS that go with KMS (query protocol, version 2011-06-15): `AssumeRoleWithWebIdentity`, so that a
//! pipeline needs no stored secret, and `GetCallerIdentity`.

mod assume;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use node::identity::Caller;

use self::assume::AssumeRole;
use super::form::Form;
use super::gate::Decided;
use super::principal::{assumed_role_arn, assumed_role_id};
use super::record::{Entry, Recorded};
use super::refusal::{AuthFailure, Refusal};
use super::session::{Credentials, Session};
use super::xml::Element;
use super::{Call, Endpoint, answer, respond};
use crate::bundle::InForce;
use crate::clock::rfc3339;
use crate::names::Tenant;

const VERSION: &str = "2011-06-15";
const ASSUME_ROLE: &str = "AssumeRoleWithWebIdentity";
/// Roles of an account whose issuers are asked about a token for a role that is not there.
const MAX_ROLES: usize = 16;
const CALLER_IDENTITY: &str = "GetCallerIdentity";

impl Endpoint {
    pub(super) async fn sts(&self, call: &Call) -> Response<Bytes> {
        let result = match action(call) {
            Ok((ASSUME_ROLE, form)) => self.assume_role(call, &form).await.map(|result| (ASSUME_ROLE, result)),
            Ok((action, _)) => self.caller_identity(call).await.map(|result| (action, result)),
            Err(refusal) => Err(refusal),
        };
        match result {
            Ok((action, result)) => answer::query(action, result, call.id),
            Err(refusal) => {
                let refusal = refusal.in_query_words();
                refusal.log(call);
                answer::query_refusal(&refusal, call.id)
            }
        }
    }

    async fn caller_identity(&self, call: &Call) -> Result<Vec<Element>, Refusal> {
        let principal = self
            .authenticator
            .authenticate(&call.head, &call.body, "sts", self.clock.now())
            .await
            .map_err(AuthFailure::query)?;
        let admitted = self.quotas.admit(principal.account(), CALLER_IDENTITY);
        let recorded = self.recorder.record(Entry {
            operation: "sts:GetCallerIdentity",
            caller: &principal.arn(),
            account: principal.account().as_str(),
            decided: Decided::default(),
            digest: None,
            refused: admitted.as_ref().err().map(|refusal| refusal.code),
            request_id: call.id,
            headers: &call.head.headers,
        })?;
        let _admitted = respond(admitted, recorded)?;
        Ok(vec![
            Element::text("Arn", &principal.arn()),
            Element::text("UserId", &principal.user_id()),
            Element::text("Account", principal.account().as_str()),
        ])
    }

    /// A token of a trusted issuer becomes credentials of a role. Comes without a signature: the token is all there is.
    async fn assume_role(&self, call: &Call, form: &Form) -> Result<Vec<Element>, Refusal> {
        self.quotas.address(call.address.ip())?;
        let request = AssumeRole::read(form)?;
        let in_force = self.bundles.in_force();
        let now = self.clock.now();
        let Some(role) = in_force.bundle.role(request.account, request.role) else {
            let (caller, refusal) = self.without_role(&in_force, &request, now).await;
            if let Some(caller) = caller {
                self.record_assumption(call, &request, &caller, Some(refusal.code))?;
            }
            return Err(refusal);
        };
        let issuers = self.roles.issuers(&in_force, role)?;
        let caller = issuers.authenticate(request.token, now).await;
        let caller = caller.map_err(|error| assume::token_refusal(&error))?;
        let result = match request.session(role, &caller, now) {
            Ok(session) => self.credentials(session).await,
            Err(refusal) => Err(refusal),
        };
        let refused = result.as_ref().err().map(|refusal| refusal.code);
        let recorded = self.record_assumption(call, &request, &caller, refused)?;
        let (session, credentials) = respond(result, recorded)?;
        tracing::info!(request_id = %call.id, caller = caller.id(), role = role.arn(), session = session.name,
            access_key_id = credentials.access_key_id, peer = %call.address, "role assumed");
        shape(&session, &credentials)
    }

    /// Records what came of a token that was believed.
    fn record_assumption(
        &self,
        call: &Call,
        request: &AssumeRole<'_>,
        caller: &Caller,
        refused: Option<&'static str>,
    ) -> Result<Recorded, Refusal> {
        self.recorder.record(Entry {
            operation: "sts:AssumeRoleWithWebIdentity",
            caller: caller.id(),
            account: request.account,
            decided: Decided::default(),
            digest: None,
            refused,
            request_id: call.id,
            headers: &call.head.headers,
        })
    }

    /// What is said of a role that is not there, and to whom, where the token is believed: to a token that none of the
    /// account's roles would believe the same as of one that is, so that nobody learns the names of roles without such a token.
    async fn without_role(
        &self,
        in_force: &InForce,
        request: &AssumeRole<'_>,
        now: u64,
    ) -> (Option<Arc<Caller>>, Refusal) {
        let roles = in_force
            .bundle
            .roles
            .iter()
            .filter(|role| role.tenant == request.account);
        for role in roles.take(MAX_ROLES) {
            let issuers = match self.roles.issuers(in_force, role) {
                Ok(issuers) => issuers,
                Err(fault) => return (None, fault.into()),
            };
            match issuers.authenticate(request.token, now).await {
                Ok(caller) => return (Some(caller), assume::not_authorized()),
                Err(error) if assume::is_believed(&error) => return (None, assume::token_refusal(&error)),
                Err(_) => {}
            }
        }
        (None, assume::not_believed())
    }

    async fn credentials(&self, session: Session) -> Result<(Session, Credentials), Refusal> {
        self.seal.demand_open()?;
        self.recorder.ready()?;
        let credentials = self.sessions.issue(&session).await?;
        Ok((session, credentials))
    }
}

/// Which call it is.
fn action(call: &Call) -> Result<(&'static str, Form), Refusal> {
    let form = Form::parse(&call.body)?;
    let (name, version) = (
        form.get("Action").unwrap_or_default(),
        form.get("Version").unwrap_or(VERSION),
    );
    let known = [ASSUME_ROLE, CALLER_IDENTITY].into_iter().find(|known| *known == name);
    match known {
        Some(action) if version == VERSION && call.head.method == Method::POST && call.head.uri.path() == "/" => {
            Ok((action, form))
        }
        _ => {
            let (name, version) = (crate::names::shown(name), crate::names::shown(version));
            let message = format!("Could not find operation {name} for version {version}");
            Err(Refusal::new("InvalidAction", message))
        }
    }
}

fn shape(session: &Session, credentials: &Credentials) -> Result<Vec<Element>, Refusal> {
    let secret = std::str::from_utf8(credentials.secret.expose())
        .map_err(|_| Refusal::internal("a session's secret is not text"))?;
    Ok(vec![
        Element::text("SubjectFromWebIdentityToken", &session.subject),
        Element::parent(
            "AssumedRoleUser",
            vec![
                Element::text("Arn", &assumed_role_arn(session)),
                Element::text("AssumedRoleId", &assumed_role_id(session)),
            ],
        ),
        Element::parent(
            "Credentials",
            vec![
                Element::text("AccessKeyId", &credentials.access_key_id),
                Element::text("SecretAccessKey", secret),
                Element::text("SessionToken", &credentials.token),
                Element::text("Expiration", &rfc3339(session.expires_at)),
            ],
        ),
        Element::text("Provider", &session.issuer),
    ])
}
