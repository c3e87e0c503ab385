//! A rule for token profiles.
//!
//! - A token with the claim `role` = `admin` is refused unless the caller's attribute `roles` lists `admin`.
//! - A token with `role` = `editor` lives for at most the setting `editor_max_seconds`.
//! - Every token gets the claim `plan` from the setting of that name; the profile must list it as plugin-writable.
//!
//! [`rule`] holds the rule, free of imports, and its tests; this file joins it to the host.

mod rule;

use rule::Settings;
use signet_plugin::{Guest, Refusal, Request, Verdict, config, misconfigured};

struct ClaimGuard;

impl Guest for ClaimGuard {
    fn evaluate(request: Request) -> Result<Verdict, Refusal> {
        match Settings::read(config::get) {
            Ok(settings) => rule::decide(&settings, &request),
            Err(problem) => misconfigured(&problem),
        }
    }
}

signet_plugin::export!(ClaimGuard with_types_in signet_plugin);
