//! A rule against floods from one place: each subject, or each caller, so often in a window of time.
//!
//! [`rule`] holds the rule, free of imports, and its tests; this file joins it to the host.

mod rule;

use rule::Settings;
use signet_plugin::{Guest, Refusal, Request, Verdict, config, counter, digest, misconfigured};

struct MintRate;

impl Guest for MintRate {
    fn evaluate(request: Request) -> Result<Verdict, Refusal> {
        match Settings::read(config::get) {
            Ok(settings) => rule::decide(&settings, &request, |name| {
                counter::increment(&rule::key(&digest::sha256(name.as_bytes())), settings.window_seconds).ok()
            }),
            Err(problem) => misconfigured(&problem),
        }
    }
}

signet_plugin::export!(MintRate with_types_in signet_plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use signet_plugin::testing::{self, Host};
    use signet_plugin::{Payload, Value};

    fn host() -> Host {
        Host::new()
            .setting("max", Value::Int(2))
            .setting("window_seconds", Value::Int(60))
    }

    fn ask(host: &mut Host, subject: &str, time: u64) -> Result<(), String> {
        let mut request = testing::token(&[], &[]);
        request.time = time;
        if let Payload::Token(token) = &mut request.payload {
            token.subject = Some(subject.into());
        }
        host.evaluate::<MintRate>(&request)
            .map(drop)
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn each_subject_has_a_window_of_its_own() {
        let mut host = host();
        // Longer than a counter's key may be.
        let long = "x".repeat(300);
        for subject in ["alice", "bob", &long] {
            assert_eq!(ask(&mut host, subject, 1_000), Ok(()));
            assert_eq!(ask(&mut host, subject, 1_010), Ok(()));
            assert_eq!(ask(&mut host, subject, 1_020), Err("rate_exceeded".into()));
        }
        assert_eq!(ask(&mut host, "alice", 2_000), Ok(()));
    }

    #[test]
    fn whom_the_edge_cannot_count_is_refused() {
        assert_eq!(ask(&mut host().full(), "alice", 1_000), Err("rate_unknown".into()));
    }

    #[test]
    fn without_settings_nobody_passes() {
        assert_eq!(ask(&mut Host::new(), "alice", 1_000), Err("rule_misconfigured".into()));
    }
}
