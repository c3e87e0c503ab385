//! A rule that completes tokens: the table `tenants` of the bundle has, for each tenant, the claims that it gets.
//!
//! [`rule`] holds the rule, free of imports, and its tests; this file joins it to the host.

mod rule;

use rule::Settings;
use signet_plugin::{Guest, Refusal, Request, Verdict, config, lookup, misconfigured};

struct TenantClaims;

impl Guest for TenantClaims {
    fn evaluate(request: Request) -> Result<Verdict, Refusal> {
        let settings = match Settings::read(config::get) {
            Ok(settings) => settings,
            Err(problem) => return misconfigured(&problem),
        };
        let tenant = rule::tenant(&settings, &request)?;
        let mut claims = Vec::new();
        for name in &settings.claims {
            match lookup::get("tenants", &rule::key(tenant, name)) {
                Ok(value) => claims.push((name.clone(), value)),
                Err(_) => return misconfigured("the plugin needs a table `tenants` of the kind `exact`"),
            }
        }
        rule::decide(&settings, claims)
    }
}

signet_plugin::export!(TenantClaims with_types_in signet_plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use signet_plugin::Value;
    use signet_plugin::testing::{self, Host};

    fn ask(host: Host, org: &str) -> Result<Vec<(String, Value)>, String> {
        let text = |text: &str| Value::Text(text.into());
        let mut host = host
            .setting("claims", Value::Texts(vec!["plan".into()]))
            .setting("attribute", text("org"));
        host.evaluate::<TenantClaims>(&testing::token(&[], &[("org", text(org))]))
            .map(|verdict| verdict.claims)
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_tenant_gets_what_its_row_says() {
        let rows = [("acme/plan", "gold"), ("umbrella/plan", "free")];
        let ask = |org| ask(Host::new().exact("tenants", &rows), org);
        assert_eq!(ask("acme"), Ok(vec![("plan".into(), Value::Text("gold".into()))]));
        assert_eq!(ask("umbrella"), Ok(vec![("plan".into(), Value::Text("free".into()))]));
        assert_eq!(ask("acme/plan"), Err("tenant_unknown".into()));
    }

    #[test]
    fn without_its_table_nobody_passes() {
        assert_eq!(ask(Host::new(), "acme"), Err("rule_misconfigured".into()));
        let prefixes = Host::new().prefix("tenants", &[("192.0.2.0/24", "gold")]);
        assert_eq!(ask(prefixes, "acme"), Err("rule_misconfigured".into()));
    }
}
