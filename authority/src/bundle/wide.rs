//! Trust in a whole organisation (R7): a rule that pins no less than that is taken only when it was approved.

use std::collections::BTreeSet;

use policies::Bundle;
use policies::bundle::{OidcCaller, SubjectPin};

use crate::approvals::{Approvals, Approved, Domain, Parameters, REQUIRED, Wanted};
use crate::fault::Fault;

/// Who applies a bundle, as approvals know it.
pub struct Applicant<'a> {
    /// Whose approvals count.
    pub approvals: &'a Approvals,
    /// `operator:ID`
    pub requester: &'a str,
    /// Why rules as wide as an organisation are right, where the service has no quorum that would say so.
    pub reason: Option<&'a str>,
    /// Whether what edges decided by the bundle before is withdrawn at once, whether it was signed already or not.
    pub fence: bool,
    /// Whether it may bring back the version of a plugin that a rollout has replaced.
    pub take_back: bool,
}

/// The rules of `new` that are as wide as an organisation and that `old` does not have, in words.
pub(super) fn rules(old: &Bundle, new: &Bundle) -> Vec<String> {
    let known = all(old);
    all(new).into_iter().filter(|rule| !known.contains(rule)).collect()
}

fn all(bundle: &Bundle) -> BTreeSet<String> {
    let callers = bundle
        .callers
        .oidc
        .iter()
        .map(|rule| (rule, "callers of an edge".to_owned()));
    let roles = bundle.roles.iter();
    let roles = roles.flat_map(|role| role.trust.iter().map(|rule| (rule, role.arn())));
    callers
        .chain(roles)
        .filter_map(|(rule, who)| wide(rule, &who))
        .collect()
}

fn wide(rule: &OidcCaller, who: &str) -> Option<String> {
    let SubjectPin::Prefix(prefix) = &rule.subject else {
        return None;
    };
    let (issuer, audiences, tenant) = (&rule.issuer, rule.audiences.join(" "), &rule.tenant);
    let text = format!("{who} in {tenant}: subjects {prefix}* of {issuer} for {audiences}");
    rule.subject.is_wide().then_some(text)
}

impl Applicant<'_> {
    /// Demands approval of a bundle, by its digest, that brings such rules.
    pub(super) async fn demand(&self, digest: &str, rules: &[String]) -> Result<Option<Approved>, Fault> {
        if rules.is_empty() {
            return Ok(None);
        }
        let resource = format!("bundle/{digest}");
        let wanted = Wanted {
            domain: &Domain::Authority,
            region: "",
            operation: "ApplyBundle",
            resource: &resource,
            parameters: Parameters::default().with("WideTrust", rules.to_vec()),
            requester: self.requester,
            lifetime: None,
        };
        let approved = self.approvals.demand(&wanted).await?;
        match (approved.id(), self.reason) {
            (None, None) => {
                let rules = rules.join("; ");
                let message = format!(
                    "the bundle would trust a whole organisation ({rules}): pin the repository or group, or say why with \
                     `signet bundle apply --override REASON`"
                );
                Err(Fault::denied(REQUIRED, message))
            }
            (None, Some(reason)) => {
                tracing::info!(digest, ?rules, reason, "an operator trusts whole organisations");
                Ok(Some(approved))
            }
            (Some(_), _) => Ok(Some(approved)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approvals::SafeguardChange;
    use crate::testing::{Bench, DELEGATE, bundle};

    fn with_subject(subject: &str) -> Vec<(String, Vec<u8>)> {
        let key = signing::key::SigningKey::generate(signing::Algorithm::Es256).unwrap();
        let jwks = serde_json::json!({"keys": [key.public().unwrap().to_jwk()]}).to_string();
        let mut files = bundle(DELEGATE);
        let rule = format!(
            "[[callers.oidc]]\nissuer = \"https://ci.example\"\naudiences = [\"signet\"]\ntenant = \"000000000001\"\n\
             subject = \"{subject}\"\nalgorithms = [\"ES256\"]\njwks_file = \"trust/ci.json\"\n"
        );
        for (path, content) in &mut files {
            if path == "bundle.toml" {
                content.extend_from_slice(rule.as_bytes());
            }
        }
        files.push(("trust/ci.json".to_owned(), jwks.into_bytes()));
        files
    }

    async fn apply(bench: &Bench, files: &[(String, Vec<u8>)], reason: Option<&str>) -> Result<bool, Fault> {
        let applicant = Applicant {
            approvals: bench.wired.keys.approvals(),
            requester: "operator:root",
            reason,
            fence: false,
            take_back: false,
        };
        let outcome = bench.wired.bundles.apply(files.to_vec(), false, &applicant).await?;
        Ok(outcome.unwrap().applied)
    }

    // R7
    #[tokio::test]
    async fn trust_in_an_organisation_is_approved_or_at_least_explained() {
        let bench = Bench::new().await;
        assert!(apply(&bench, &with_subject("repo:acme/web:*"), None).await.unwrap());
        let wide = with_subject("repo:acme/*");
        let refused = apply(&bench, &wide, None).await.unwrap_err();
        assert!(matches!(&refused, Fault::Denied { code: REQUIRED, .. }), "{refused:?}");
        assert!(refused.to_string().contains("repo:acme/*"), "{refused}");
        assert!(apply(&bench, &wide, Some("one team owns it all")).await.unwrap());
        // What is in force already is not asked about again.
        let mut more = wide.clone();
        more.push(("policies/more.cedar".to_owned(), Vec::new()));
        assert!(apply(&bench, &more, None).await.unwrap());
    }

    // R7 R28
    #[tokio::test]
    async fn with_a_quorum_a_reason_is_not_enough() {
        let bench = Bench::new().await;
        let approvals = bench.wired.keys.approvals();
        let key = signing::key::SigningKey::generate(signing::Algorithm::EdDsa).unwrap();
        let pem = signing::certificate::pem_encode("PUBLIC KEY", key.public().unwrap().to_spki_der());
        let changes = [
            SafeguardChange::add("ada", &pem, Vec::new(), 0).unwrap(),
            SafeguardChange::Quorum {
                required: 1,
                lifetime: 60,
            },
        ];
        for change in &changes {
            approvals
                .change(&Domain::Authority, change, "operator:root")
                .await
                .unwrap();
        }
        let wide = with_subject("repo:acme/*");
        let refused = apply(&bench, &wide, Some("I say so")).await.unwrap_err();
        let Fault::Denied { policies, .. } = refused else {
            panic!("{refused:?}")
        };
        let id = policies[0].strip_prefix("approval:").unwrap();
        let asked = approvals.get(id).await.unwrap();
        let signature = key
            .sign(
                &asked
                    .statement("example.org")
                    .message(signing::approval::Decision::Approve),
            )
            .unwrap();
        let voice = approvals
            .hear(id, key.kid(), signing::approval::Decision::Approve, &signature)
            .await
            .unwrap();
        approvals.count(voice).await.unwrap();
        // Another bundle is another request.
        assert!(apply(&bench, &with_subject("repo:other/*"), None).await.is_err());
        assert!(apply(&bench, &wide, None).await.unwrap());
    }
}
