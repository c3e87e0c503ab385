//! A rule for artifact profiles: sign only for a caller whose attribute `ref` is one of the setting `protected_refs`,
//! as a CI system names the branch or tag of a job. With the setting `enforce` = false it only logs.
//!
//! [`rule`] holds the rule, free of imports, and its tests; this file joins it to the host.

mod rule;

wit_bindgen::generate!({ world: "rule", path: "../../wit" });

use rule::Settings;
use signet::rule::config;
use signet::rule::log::{Level, log};

struct ProtectedArtifact;

impl Guest for ProtectedArtifact {
    fn evaluate(request: Request) -> Result<Verdict, Refusal> {
        let settings = Settings::read(config::get).map_err(|problem| {
            log(Level::Error, &problem);
            Refusal {
                code: "rule_misconfigured".into(),
                message: "the rule's settings are wrong; tell the operator".into(),
            }
        })?;
        match rule::decide(&settings, &request) {
            Err(refusal) if !settings.enforce => {
                log(
                    Level::Warn,
                    &format!("not enforced: {}: {}", refusal.code, refusal.message),
                );
                Ok(Verdict {
                    lifetime_cap: None,
                    claims: Vec::new(),
                })
            }
            Err(refusal) => Err(refusal),
            Ok(()) => Ok(Verdict {
                lifetime_cap: None,
                claims: Vec::new(),
            }),
        }
    }
}

export!(ProtectedArtifact);
