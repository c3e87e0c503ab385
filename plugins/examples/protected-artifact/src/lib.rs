//! A rule for artifact profiles: sign only for a caller whose attribute `ref` is one of the setting `protected_refs`,
//! as a CI system names the branch or tag of a job. With the setting `enforce` = false it only logs.
//!
//! [`rule`] holds the rule, free of imports, and its tests; this file joins it to the host.

mod rule;

use rule::Settings;
use signet_plugin::log::{Level, log};
use signet_plugin::{Guest, Refusal, Request, Verdict, allow, config, misconfigured};

struct ProtectedArtifact;

impl Guest for ProtectedArtifact {
    fn evaluate(request: Request) -> Result<Verdict, Refusal> {
        let settings = match Settings::read(config::get) {
            Ok(settings) => settings,
            Err(problem) => return misconfigured(&problem),
        };
        match rule::decide(&settings, &request) {
            Err(refusal) if !settings.enforce => {
                log(
                    Level::Warn,
                    &format!("not enforced: {}: {}", refusal.code, refusal.message),
                );
                allow()
            }
            outcome => outcome,
        }
    }
}

signet_plugin::export!(ProtectedArtifact with_types_in signet_plugin);
