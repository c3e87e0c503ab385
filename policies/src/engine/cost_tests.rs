//! What a decision costs. Times are printed, never asserted:
//! `cargo test -p policies --lib cost -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use super::question::Depth;
use super::sample;
use super::{
    AccountFacts, AccountKind, AdminAction, AdminResource, Engine, KeyAccess, KeyFacts, KeyPolicyAnswer, Principal,
    RequestFacts,
};
use crate::intent::Intent;
use crate::profile::Profile;

/// Twenty policies as a platform team writes them: all of them reach the profile `session`.
fn twenty() -> String {
    let mut text = String::from(
        r#"@id("shop") permit (principal is Caller, action == Action::"Mint", resource == Profile::"session")
           when { principal has repository && principal.repository like "acme/*" };
           @id("admins") forbid (principal is Caller, action == Action::"Mint", resource)
           when { context.claims.hasTag("role") && context.claims.getTag("role").texts.contains("admin") }
           unless { principal has roles && principal.roles.contains("admin") };
           @id("short") forbid (principal is Caller, action == Action::"Mint", resource) when { context.lifetime > 3600 };
           @id("range") forbid (principal is Caller, action in Action::"Use", resource)
           unless { context.source_ip.isInRange(ip("192.0.2.0/24")) };"#,
    );
    for n in 0..16 {
        text += &format!(
            "@id(\"team-{n}\") permit (principal is Caller, action == Action::\"Mint\", resource in Tenant::\"000000000001\")
             when {{ principal.hasTag(\"team\") && principal.getTag(\"team\").text == \"team-{n}\" && context.lifetime < 600 }};"
        );
    }
    text
}

struct Scene {
    engine: Engine,
    profile: Arc<Profile>,
    key: KeyFacts,
    facts: RequestFacts,
    intent: Intent,
}

fn scene(policies: &str) -> Scene {
    let (bundle, engine) = sample::engine(policies);
    let profile = sample::profile(&bundle, "session");
    let intent = sample::mint(&profile);
    Scene {
        engine,
        key: sample::key("000000000001"),
        facts: sample::facts(),
        intent,
        profile,
    }
}

impl Scene {
    fn ask(&self, principal: &Principal) {
        let permit = self.engine.authorize(
            black_box(principal),
            &self.facts,
            Arc::clone(&self.profile),
            &self.key,
            self.intent.clone(),
        );
        black_box(permit).unwrap();
    }
}

/// The least of seven medians' runs, in µs a call.
fn time(name: &str, mut call: impl FnMut()) {
    const CALLS: u32 = 500;
    let mut runs: Vec<f64> = (0..7)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS).for_each(|_| call());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    println!("{name:<58} {:>8.1} µs (least {:.1})", runs[3], runs[0]);
}

#[test]
#[ignore = "prints times"]
fn cost_of_a_decision() {
    let full = scene(&twenty());
    let held = sample::principal();
    time("20 policies, claims read, caller kept", || full.ask(&held));
    time("20 policies, claims read, caller new", || {
        full.ask(&sample::principal())
    });
    let plain: String = twenty().replace(
        "context.claims.hasTag(\"role\") && context.claims.getTag(\"role\").texts.contains(\"admin\")",
        "context.lifetime == 0",
    );
    let lean = scene(&plain);
    let held = sample::principal();
    time("20 policies, claims not read, caller kept", || lean.ask(&held));
    let one = scene(r#"permit (principal is Caller, action == Action::"Mint", resource == Profile::"session");"#);
    let held = sample::principal();
    time("1 policy, caller kept", || one.ask(&held));
    time("cloning the intent alone", || drop(black_box(one.intent.clone())));
    let body =
        br#"{"subject":"u-1","audience":"https://api.example","claims":{"role":"editor","region":"eu"},"lifetime":60}"#;
    time("parsing the body", || {
        drop(black_box(Intent::parse_token(&one.profile, body)))
    });
    let question = full
        .engine
        .question(&held, &full.facts, &full.profile, &full.key, &full.intent, Depth::Open)
        .unwrap();
    time("20 policies, Cedar alone", || {
        drop(black_box(full.engine.decide(&question)))
    });
    time("20 policies, question alone, caller kept", || {
        drop(black_box(full.engine.question(
            &held,
            &full.facts,
            &full.profile,
            &full.key,
            &full.intent,
            Depth::Open,
        )));
    });
}

/// What the key API asks about each request, of the same caller and key as before, and of a key that has just changed.
#[test]
#[ignore = "prints times"]
fn a_decision_about_a_key() {
    let engine = Engine::builtin().unwrap();
    let root = AccountFacts {
        arn: "arn:aws:iam::000000000001:root".to_owned(),
        tenant: "000000000001".to_owned(),
        kind: AccountKind::Root,
        name: String::new(),
        role: String::new(),
        session: None,
        issuer: None,
        subject: None,
    };
    let access = KeyAccess {
        key_policy: KeyPolicyAnswer::Delegated,
        grant: false,
    };
    let ask = |key: &KeyFacts| {
        let resource = AdminResource::Key(key);
        black_box(engine.authorize_keys(black_box(&root), AdminAction::Encrypt, resource, access, 0)).unwrap();
    };
    let held = sample::key("000000000001");
    for (name, fresh) in [("held", false), ("fresh", true), ("held", false), ("fresh", true)] {
        let start = Instant::now();
        for _ in 0..10_000 {
            match fresh {
                true => ask(&sample::key("000000000001")),
                false => ask(&held),
            }
        }
        println!("{name}: {:?} a decision", start.elapsed() / 10_000);
    }
}
