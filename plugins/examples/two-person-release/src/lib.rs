//! A rule for releases: sign only what a second person approved, who signed the approval for this very digest.
//!
//! [`rule`] holds the rule, free of imports; [`settings`] the approvers and their keys; [`approval`] what an approval is,
//! and the proof that somebody signed it. This file joins them to the host.

mod approval;
mod rule;
mod settings;

use settings::Settings;
use signet_plugin::{Guest, Refusal, Request, Verdict, config, misconfigured};

struct TwoPersonRelease;

impl Guest for TwoPersonRelease {
    fn evaluate(request: Request) -> Result<Verdict, Refusal> {
        match Settings::read(config::get) {
            Ok(settings) => rule::decide(&settings, &request),
            Err(problem) => misconfigured(&problem),
        }
    }
}

signet_plugin::export!(TwoPersonRelease with_types_in signet_plugin);
