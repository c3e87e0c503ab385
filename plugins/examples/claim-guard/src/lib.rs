//! A rule for token profiles.
//!
//! - A token with the claim `role` = `admin` is refused unless the caller's attribute `roles` lists `admin`.
//! - A token with `role` = `editor` lives for at most the setting `editor_max_seconds`.
//! - Every token gets the claim `plan` from the setting of that name; the profile must list it as plugin-writable.
//!
//! [`rule`] holds the rule, free of imports, and its tests; this file joins it to the host.

mod rule;

wit_bindgen::generate!({ world: "rule", path: "../../wit" });

use rule::Settings;
use signet::rule::config;
use signet::rule::log::{Level, log};

struct ClaimGuard;

impl Guest for ClaimGuard {
    fn evaluate(request: Request) -> Result<Verdict, Refusal> {
        let settings = Settings::read(config::get).map_err(|problem| {
            log(Level::Error, &problem);
            Refusal {
                code: "rule_misconfigured".into(),
                message: "the rule's settings are wrong; tell the operator".into(),
            }
        })?;
        rule::decide(&settings, &request)
    }
}

export!(ClaimGuard);
