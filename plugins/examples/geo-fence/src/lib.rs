//! A rule that serves some regions only: the table `geo` of the bundle says which region a source address is in.
//!
//! [`rule`] holds the rule, free of imports, and its tests; this file joins it to the host.

mod rule;

use rule::Settings;
use signet_plugin::{Guest, Refusal, Request, Verdict, config, lookup, misconfigured};

struct GeoFence;

impl Guest for GeoFence {
    fn evaluate(request: Request) -> Result<Verdict, Refusal> {
        let settings = match Settings::read(config::get) {
            Ok(settings) => settings,
            Err(problem) => return misconfigured(&problem),
        };
        match lookup::prefix("geo", &request.source_address) {
            Ok(region) => rule::decide(&settings, region.as_deref()),
            Err(_) => misconfigured("the plugin needs a table `geo` of the kind `prefix`"),
        }
    }
}

signet_plugin::export!(GeoFence with_types_in signet_plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use signet_plugin::Value;
    use signet_plugin::testing::{self, Host};

    fn ask(host: Host, address: &str) -> Result<(), String> {
        let mut request = testing::token(&[], &[]);
        request.source_address = address.into();
        let mut host = host.setting("allow", Value::Texts(vec!["DE".into()]));
        host.evaluate::<GeoFence>(&request)
            .map(drop)
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn the_longest_prefix_says_where_an_address_is() {
        let rows = [
            ("192.0.2.0/24", "DE"),
            ("192.0.2.128/25", "US"),
            ("2001:db8::/32", "DE"),
        ];
        let ask = |address| ask(Host::new().prefix("geo", &rows), address);
        assert_eq!(ask("192.0.2.1"), Ok(()));
        assert_eq!(ask("2001:db8::1"), Ok(()));
        assert_eq!(ask("192.0.2.129"), Err("region_not_allowed".into()));
        assert_eq!(ask("198.51.100.1"), Err("region_unknown".into()));
    }

    #[test]
    fn without_its_table_nobody_passes() {
        assert_eq!(ask(Host::new(), "192.0.2.1"), Err("rule_misconfigured".into()));
        let exact = Host::new().exact("geo", &[("192.0.2.1", "DE")]);
        assert_eq!(ask(exact, "192.0.2.1"), Err("rule_misconfigured".into()));
    }
}
