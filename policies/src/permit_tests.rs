//! The way from a permit to something that may be signed.

use std::cell::RefCell;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::engine::sample;

/// Takes so many, then refuses.
struct Few(RefCell<Vec<String>>, usize);

impl Quota for Few {
    fn take(&self, key_id: &str, profile: &Profile) -> Result<(), RetryAfter> {
        let mut taken = self.0.borrow_mut();
        if taken.len() >= self.1 {
            let (window, after) = (Duration::from_secs(60), Duration::from_millis(1500));
            return Err(RetryAfter {
                quota: "per_profile",
                limit: 1,
                window,
                after,
            });
        }
        taken.push(format!("{key_id} {}", profile.name));
        Ok(())
    }
}

fn permit(profile: &str) -> Permit {
    let (bundle, engine) = sample::engine("@id(\"all\") permit (principal is Caller, action, resource);");
    let profile = sample::profile(&bundle, profile);
    let intent = match profile.token() {
        Some(_) => sample::mint(&profile),
        None => Intent::parse_artifact(&profile, br#"{"message":""}"#).unwrap(),
    };
    let key = sample::key("000000000001");
    engine
        .authorize(&sample::principal(), &sample::facts(), profile, &key, intent)
        .unwrap()
}

fn metered(profile: &str) -> Metered {
    permit(profile).meter(&Few(RefCell::default(), 1)).unwrap()
}

fn ruling(lifetime_cap: Option<u32>, claims: &[(&str, Value)]) -> Ruling {
    let claims = claims
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let by = ruled("claim-guard", None);
    Ruling {
        by,
        lifetime_cap,
        claims,
    }
}

fn ruled(plugin: &str, skipped: Option<&'static str>) -> Ruled {
    Ruled {
        plugin: plugin.to_owned(),
        component: [7; 32],
        skipped,
    }
}

#[test]
fn quota_is_taken_once_for_what_was_permitted() {
    let quota = Few(RefCell::default(), 1);
    assert_eq!(permit("session").meter(&quota).unwrap().policies(), [Arc::from("all")]);
    assert_eq!(
        quota.0.borrow().as_slice(),
        [format!("{} session", sample::key("x").id())]
    );
    let refused = permit("session").meter(&quota).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the quota per_profile is used up, try again in 2 s"
    );
}

#[test]
fn rulings_narrow_the_lifetime_and_add_listed_claims() {
    let metered = metered("session");
    assert_eq!(metered.plugins(), ["claim-guard"]);
    let cleared = metered
        .clear(vec![ruling(Some(30), &[("plan", json!("free"))])])
        .unwrap();
    let Intent::Token(token) = cleared.intent() else {
        panic!("no token")
    };
    assert_eq!(
        (cleared.lifetime(), token.lifetime, &token.claims["plan"]),
        (30, 30, &json!("free"))
    );
    assert_eq!(token.claims["role"], json!("editor"));
}

#[test]
fn a_cap_never_lengthens() {
    let cleared = metered("session").clear(vec![ruling(Some(100_000), &[])]).unwrap();
    assert_eq!(cleared.lifetime(), 60);
}

#[test]
fn every_plugin_rules_once_in_order() {
    for rulings in [vec![], vec![ruling(None, &[]), ruling(None, &[])]] {
        let error = metered("session").clear(rulings).unwrap_err().error;
        assert!(
            matches!(error, ClearError::Plugins { .. }) && error.plugin().is_none(),
            "{error}"
        );
    }
    let other = Ruling {
        by: ruled("other", None),
        ..ruling(None, &[])
    };
    let error = metered("session").clear(vec![other]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the rulings are of [other], the profile asks for [claim-guard]"
    );
}

#[test]
fn plugins_cannot_reach_past_the_profile() {
    let clear = |ruling| metered("session").clear(vec![ruling]).unwrap_err().error;
    for name in ["region", "sub", "exp", "anything"] {
        let error = clear(ruling(None, &[(name, json!(1))]));
        assert!(matches!(error, ClearError::ClaimNotListed { .. }), "{error}");
        assert_eq!(error.plugin(), Some("claim-guard"));
    }
    let twice = clear(ruling(None, &[("plan", json!(1)), ("plan", json!(2))]));
    assert!(matches!(twice, ClearError::ClaimTwice { .. }), "{twice}");
    let none = clear(ruling(Some(0), &[]));
    assert!(matches!(none, ClearError::NoLifetime { .. }), "{none}");
    let large = clear(ruling(None, &[("plan", json!("x".repeat(20_000)))]));
    assert!(matches!(large, ClearError::ClaimsTooLarge { .. }), "{large}");
}

#[test]
fn only_a_profile_that_says_so_goes_on_without_a_verdict() {
    let skipped = || {
        let by = ruled("claim-guard", Some("timeout"));
        vec![Ruling {
            by,
            ..ruling(None, &[])
        }]
    };
    let NotCleared { error, ruled } = metered("session").clear(skipped()).unwrap_err();
    assert_eq!(ruled, [skipped()[0].by.clone()], "for the record of the refusal");
    assert!(matches!(error, ClearError::NotSkippable { .. }), "{error}");
    assert_eq!(error.plugin(), Some("claim-guard"));
    let mut permit = permit("session");
    let lax = Profile {
        may_skip: vec!["claim-guard".to_owned()],
        ..Profile::clone(&permit.profile)
    };
    permit.profile = Arc::new(lax);
    let metered = permit.meter(&Few(RefCell::default(), 1)).unwrap();
    assert!(metered.may_skip("claim-guard") && !metered.may_skip("other"));
    let cleared = metered.clear(skipped()).unwrap();
    assert_eq!(cleared.lifetime(), 60);
    assert_eq!(cleared.ruled(), [skipped()[0].by.clone()]);
}

#[test]
fn an_artifact_has_no_lifetime_and_takes_no_claims() {
    let cleared = metered("firmware").clear(vec![]).unwrap();
    assert_eq!((cleared.lifetime(), cleared.key_id()), (0, sample::key("x").id()));
    let mut intent = cleared.intent().clone();
    let error = apply(&mut intent, cleared.profile(), &mut ruling(None, &[("plan", json!(1))])).unwrap_err();
    assert!(matches!(error, ClearError::NotAToken { .. }), "{error}");
    apply(&mut intent, cleared.profile(), &mut ruling(Some(5), &[])).unwrap();
}
