//! The bundle's trust rules as an edge will compile them, and those of roles as this authority will: a bundle that either
//! would refuse is refused here, where its author sees it.

use node::identity::TrustRuleError;
use node::identity::spiffe::{SpiffeRule, TrustDomains};
use node::oidc::{IssuerConfig, Issuers, JwksSource};
use policies::Bundle;
use policies::bundle::{OidcCaller, SpiffeCaller, SubjectPin, TrustedKeys};
use rustls::pki_types::CertificateDer;
use signing::certificate::pem_decode;

/// Why no edge would take the rules into use. Nothing is fetched.
pub(super) fn check(bundle: &Bundle) -> Result<(), String> {
    let oidc = bundle.callers.oidc.iter().map(oidc_rule).collect::<Result<_, _>>()?;
    let spiffe = bundle
        .callers
        .spiffe
        .iter()
        .map(spiffe_rule)
        .collect::<Result<_, _>>()?;
    let said = |error: TrustRuleError| error.to_string();
    Issuers::new(oidc).map_err(said)?;
    TrustDomains::new(spiffe).map_err(said)?;
    for role in &bundle.roles {
        let rules = role.trust.iter().map(oidc_rule).collect::<Result<_, _>>()?;
        Issuers::new(rules).map_err(|error| format!("role `{}`: {error}", role.name))?;
    }
    Ok(())
}

/// A trust rule as the verifier of tokens takes it.
pub(crate) fn oidc_rule(rule: &OidcCaller) -> Result<IssuerConfig, String> {
    let jwks = match &rule.keys {
        TrustedKeys::Inline(jwks) => JwksSource::Inline(jwks.as_bytes().to_vec()),
        TrustedKeys::Url { url, ca_pem } => JwksSource::Url {
            url: url.clone(),
            roots: ca_pem.as_deref().map(roots).transpose()?.unwrap_or_default(),
        },
    };
    Ok(IssuerConfig {
        issuer: rule.issuer.clone(),
        audiences: rule.audiences.clone(),
        subject: pattern(&rule.subject),
        algorithms: rule
            .algorithms
            .iter()
            .map(|algorithm| algorithm.as_str().to_owned())
            .collect(),
        tenant: rule.tenant.clone(),
        attributes: rule.attributes.clone(),
        jwks,
    })
}

fn spiffe_rule(rule: &SpiffeCaller) -> Result<SpiffeRule, String> {
    Ok(SpiffeRule {
        trust_domain: rule.trust_domain.clone(),
        path: pattern(&rule.path),
        tenant: rule.tenant.clone(),
        roots: roots(&rule.ca_pem)?,
        crls: Vec::new(),
    })
}

fn roots(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let blocks = pem_decode("CERTIFICATE", pem).map_err(|error| error.to_string())?;
    Ok(blocks.into_iter().map(CertificateDer::from).collect())
}

fn pattern(pin: &SubjectPin) -> String {
    match pin {
        SubjectPin::Exact(exact) => exact.clone(),
        SubjectPin::Prefix(prefix) => format!("{prefix}*"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
[[callers.oidc]]
issuer = "https://ci.example"
audiences = ["signet"]
tenant = "000000000001"
subject = "repo:acme/*"
algorithms = ["EdDSA"]
jwks_file = "trust/ci.jwks.json"
"#;
    const PUBLIC: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn verdict(manifest: &str, key: &str) -> Result<(), String> {
        let jwks = format!("{{\"keys\":[{key}]}}");
        let bundle = Bundle::parse(&[
            ("bundle.toml".to_owned(), manifest.as_bytes().to_vec()),
            ("trust/ci.jwks.json".to_owned(), jwks.into_bytes()),
        ]);
        check(&bundle.unwrap())
    }

    #[test]
    fn what_an_edge_would_refuse_is_refused_before_it_is_published() {
        assert_eq!(verdict(RULES, PUBLIC), Ok(()));
        // Not of the rule's algorithms, and no key at all.
        let other = r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#;
        for unusable in [other, "1"] {
            assert!(
                verdict(RULES, unusable).unwrap_err().contains("no usable key"),
                "{unusable}"
            );
        }
        // Two rules of one issuer that one token could match.
        let overlapping = format!("{RULES}{}", RULES.replace("repo:acme/*", "repo:acme/web"));
        assert!(verdict(&overlapping, PUBLIC).is_err());
        // The same in a role.
        let rule = RULES
            .replace("[[callers.oidc]]", "[[roles.trust]]")
            .replace("tenant = \"000000000001\"\n", "");
        let role = format!("[[roles]]\nname = \"ci\"\ntenant = \"000000000001\"\n{rule}");
        assert_eq!(verdict(&role, PUBLIC), Ok(()));
        let overlapping = format!("{role}{}", rule.replace("repo:acme/*", "repo:acme/web"));
        assert!(verdict(&overlapping, PUBLIC).unwrap_err().contains("role `ci`"));
    }
}
