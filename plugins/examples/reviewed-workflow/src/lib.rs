//! A rule for artifact profiles: sign only what a reviewed workflow built on a protected branch, as the job's own
//! identity says: its ref, its workflow, its environment and the event that started it.
//!
//! [`rule`] holds the rule, free of imports, and its tests; this file joins it to the host.

mod rule;

use rule::Settings;
use signet_plugin::{Guest, Refusal, Request, Verdict, config, misconfigured};

struct ReviewedWorkflow;

impl Guest for ReviewedWorkflow {
    fn evaluate(request: Request) -> Result<Verdict, Refusal> {
        match Settings::read(config::get) {
            Ok(settings) => rule::decide(&settings, &request),
            Err(problem) => misconfigured(&problem),
        }
    }
}

signet_plugin::export!(ReviewedWorkflow with_types_in signet_plugin);
