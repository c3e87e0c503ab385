//! What the engine builds is what the schema says, and what it takes apart decides as the whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use cedar_policy::{Entities, Entity};
use proptest::prelude::*;
use signing::Algorithm;

use super::context::{self, Needs};
use super::{
    AccountFacts, AccountKind, AdminAction, AdminResource, Attribute, CallerFacts, DelegationMode, Denial, DenialCode,
    EdgeFacts, Engine, KeyAccess, KeyFacts, OperatorFacts, Principal, entities, sample,
};
use crate::intent::{ArtifactIntent, Intent, Payload, VerifyIntent};
use crate::schema::{PARSED, TYPED_ATTRIBUTES, TYPES, Typed, uid};

fn conforms(entities: Vec<Entity>) {
    Entities::from_entities(entities, Some(&PARSED)).unwrap();
}

#[test]
fn entities_conform_to_the_schema() {
    let bundle = sample::bundle("");
    let key = sample::key("000000000001");
    let mut caller = sample::caller();
    for (name, kind) in TYPED_ATTRIBUTES {
        let value = match kind {
            Typed::Text => Attribute::Text("x".to_owned()),
            Typed::Texts => Attribute::Texts(vec!["x".to_owned()]),
            Typed::Bool => Attribute::Bool(true),
        };
        caller.attributes.insert(name.to_owned(), value);
    }
    conforms(vec![entities::caller(&caller).unwrap()]);
    for name in ["session", "release"] {
        conforms(entities::profile(&sample::profile(&bundle, name), &key).unwrap());
    }
    let labels = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
    conforms(vec![
        entities::edge(&EdgeFacts {
            id: "edge-1".to_owned(),
            labels,
        })
        .unwrap(),
    ]);
    for tenant in [None, Some("000000000001".to_owned())] {
        let operator = OperatorFacts {
            id: "ada".to_owned(),
            role: "admin".to_owned(),
            tenant,
        };
        conforms(vec![entities::operator(&operator).unwrap()]);
    }
    for session in [None, Some("build-7".to_owned())] {
        let principal = AccountFacts {
            arn: "arn:aws:iam::000000000001:root".to_owned(),
            tenant: "000000000001".to_owned(),
            kind: AccountKind::Root,
            name: String::new(),
            role: String::new(),
            issuer: session.clone(),
            subject: session.clone(),
            session,
        };
        conforms(vec![entities::account(&principal).unwrap()]);
    }
    let values =
        r#"{"a":"x","b":5,"c":1.5,"d":true,"e":null,"f":["x"],"g":[1],"h":{"i":{}},"j":18446744073709551615,"k":[]}"#;
    let claims: BTreeMap<String, serde_json::Value> = serde_json::from_str(values).unwrap();
    conforms(vec![entities::claims(uid(&TYPES.claims, "request"), &claims).unwrap()]);
}

#[test]
fn contexts_conform_to_the_schema() {
    let bundle = sample::bundle("");
    let digest = signing::Digest::of(signing::DigestAlgorithm::Sha256, b"x");
    let payloads = [Payload::Digest(digest), Payload::Message(b"x".to_vec())];
    let token = VerifyIntent::Token {
        token: "a.b.c".to_owned(),
        audience: Some("x".to_owned()),
    };
    let mut intents = vec![
        sample::mint(&sample::profile(&bundle, "session")),
        Intent::Verify(token),
    ];
    for payload in payloads {
        intents.push(Intent::Artifact(ArtifactIntent {
            payload: payload.clone(),
        }));
        intents.push(Intent::Verify(VerifyIntent::Signature {
            signature: vec![0],
            payload,
        }));
    }
    for intent in intents {
        let action = uid(&TYPES.action, intent.action());
        let context = context::of_request(&intent, &sample::facts(), &Needs::all()).unwrap();
        context.validate(&PARSED, &action).unwrap();
    }
    let delegate = uid(&TYPES.action, "Delegate");
    context::of_delegation("own", 5)
        .unwrap()
        .validate(&PARSED, &delegate)
        .unwrap();
    for action in AdminAction::ALL {
        let context = match action.is_of_keys() {
            true => context::of_keys(KeyAccess::ACCOUNT, 5).unwrap(),
            false => context::of_admin(5).unwrap(),
        };
        context.validate(&PARSED, &uid(&TYPES.action, action.as_str())).unwrap();
    }
}

#[test]
fn before_the_first_bundle_only_administration_passes() {
    let engine = Engine::builtin().unwrap();
    let root = OperatorFacts {
        id: "root".to_owned(),
        role: "admin".to_owned(),
        tenant: None,
    };
    let key = sample::key("000000000001");
    for action in AdminAction::ALL {
        // Cedar does not mind a resource of another type here: the permit is by group.
        let allowed = engine
            .authorize_admin(&root, *action, AdminResource::Key(&key), 0)
            .unwrap();
        assert_eq!(allowed.policies(), [Arc::from("signet:admin")]);
    }
    let edge = EdgeFacts {
        id: "edge-1".to_owned(),
        labels: BTreeMap::new(),
    };
    let denial = engine
        .authorize_delegate(&edge, &key, DelegationMode::Own, 0)
        .unwrap_err();
    assert_eq!(denial.code, DenialCode::NoPermit);
}

#[test]
fn a_profile_or_intent_of_another_bundle_is_denied() {
    let (bundle, engine) = sample::engine("permit (principal is Caller, action, resource);");
    let session = sample::profile(&bundle, "session");
    let mut changed = (*session).clone();
    changed.tenant = "000000000002".to_owned();
    let key = sample::key("000000000001");
    let ask = |profile, intent| engine.authorize(&sample::principal(), &sample::facts(), profile, &key, intent);
    let intent = sample::mint(&session);
    assert_eq!(
        ask(Arc::new(changed), intent.clone()).unwrap_err().code,
        DenialCode::PolicyError
    );
    let release = sample::profile(&bundle, "release");
    assert_eq!(ask(release, intent.clone()).unwrap_err().code, DenialCode::PolicyError);
    let permit = ask(Arc::new((*session).clone()), intent.clone()).unwrap();
    assert_eq!(
        (permit.policies(), permit.intent()),
        ([Arc::from("test.cedar#1")].as_slice(), &intent)
    );
}

#[test]
fn new_facts_of_a_key_count_at_once() {
    let policy = r#"permit (principal is Caller, action, resource) when { resource.key.hasTag("env") && resource.key.getTag("env") == "prod" };"#;
    let (bundle, engine) = sample::engine(policy);
    let session = sample::profile(&bundle, "session");
    let principal = sample::principal();
    let ask = |key: &KeyFacts| {
        engine
            .authorize(
                &principal,
                &sample::facts(),
                Arc::clone(&session),
                key,
                sample::mint(&session),
            )
            .is_ok()
    };
    let production = sample::key("000000000001");
    let untagged = KeyFacts::new(
        production.id().to_owned(),
        production.tenant().to_owned(),
        vec![],
        BTreeMap::new(),
    );
    assert!(ask(&production) && !ask(&untagged) && ask(&production));
    let stolen = sample::key("000000000002");
    assert!(!ask(&stolen));
}

#[test]
fn an_algorithm_in_a_policy_is_the_jose_name() {
    let (bundle, _) = sample::engine("");
    assert_eq!(sample::profile(&bundle, "session").algorithm, Algorithm::Es256);
    let policy = r#"permit (principal is Caller, action, resource) when { resource.algorithm == "ES256" };"#;
    let (bundle, engine) = sample::engine(policy);
    let session = sample::profile(&bundle, "session");
    let intent = sample::mint(&session);
    engine
        .authorize(
            &sample::principal(),
            &sample::facts(),
            session,
            &sample::key("000000000001"),
            intent,
        )
        .unwrap();
}

/// Conditions that match, do not match or fail, with and without `context`.
const CONDITIONS: [&str; 14] = [
    "principal has repository && principal.repository like \"acme/*\"",
    "principal.hasTag(\"team\") && principal.getTag(\"team\").text == \"payments\"",
    "principal.hasTag(\"run\") && principal.getTag(\"run\") has number && principal.getTag(\"run\").number * 9223372036854775807 > 1",
    "resource.key.hasTag(\"env\") && resource.key.getTag(\"env\") == \"prod\"",
    "context.lifetime < 100",
    "context.lifetime * 9223372036854775807 > 1",
    "context.claims.hasTag(\"role\") && context.claims.getTag(\"role\").texts.contains(\"admin\")",
    "[\"role\", \"region\"].containsAll(context.claim_names)",
    "context has subject && context.subject == \"u-1\"",
    "context.source_ip.isInRange(ip(\"192.0.2.0/24\"))",
    "principal.subject == \"nobody\" && context.lifetime < 100",
    "(principal.kind == \"oidc\" && context.now > 5) && principal.issuer == \"https://ci.example\"",
    "if context.lifetime > 50 then principal.kind == \"oidc\" else resource.kind == \"artifact\"",
    "{whole: context}.whole.protocol == \"http1\"",
];

const SCOPES: [&str; 6] = [
    "principal is Caller, action == Action::\"Mint\", resource",
    "principal is Caller, action == Action::\"Mint\", resource == Profile::\"session\"",
    "principal is Caller, action == Action::\"Mint\", resource == Profile::\"open\"",
    "principal is Caller, action == Action::\"Mint\", resource in Tenant::\"000000000001\"",
    "principal in Tenant::\"000000000001\", action == Action::\"Mint\", resource in KeyRing::\"000000000001/production\"",
    "principal == Caller::\"somebody\", action == Action::\"Mint\", resource",
];

prop_compose! {
    fn policy()(
        forbid in prop::bool::weighted(0.3),
        scope in 0..SCOPES.len(),
        conditions in prop::collection::vec((any::<bool>(), 0..CONDITIONS.len(), 0..CONDITIONS.len()), 0..3),
    ) -> String {
        let effect = if forbid { "forbid" } else { "permit" };
        let conditions: Vec<String> = conditions
            .into_iter()
            .map(|(when, a, b)| {
                let kind = if when { "when" } else { "unless" };
                format!("{kind} {{ ({}) && ({}) }}", CONDITIONS[a], CONDITIONS[b])
            })
            .collect();
        format!("{effect} ({}) {};\n", SCOPES[scope], conditions.join(" "))
    }
}

fn summary(answer: Result<Vec<Arc<str>>, Denial>) -> (Option<DenialCode>, Vec<Arc<str>>) {
    match answer {
        Ok(policies) => (None, policies),
        Err(denial) => (Some(denial.code), denial.policies),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    // R39: taking policies apart hides no error, no forbid and no permit.
    #[test]
    fn decisions_are_those_of_the_whole_policies(
        policies in prop::collection::vec(policy(), 1..6),
        lifetime in prop::sample::select(vec![1_u32, 60, 600]),
        role in prop::sample::select(vec!["admin", "viewer"]),
        team in prop::sample::select(vec!["payments", "search"]),
        tenant in prop::sample::select(vec!["000000000001", "000000000002"]),
    ) {
        let (bundle, engine) = sample::engine(&policies.concat());
        let profile = sample::profile(&bundle, "session");
        let body = format!(r#"{{"subject":"u-1","claims":{{"role":"{role}"}},"lifetime":{lifetime}}}"#);
        let intent = Intent::parse_token(&profile, body.as_bytes()).unwrap();
        let mut caller: CallerFacts = sample::caller();
        caller.tenant = tenant.to_owned();
        caller.attributes.insert("team".to_owned(), Attribute::Text(team.to_owned()));
        let principal = Principal::new(caller);
        let key = sample::key("000000000001");
        let question = |whole| engine.question(&principal, &sample::facts(), &profile, &key, &intent, whole).unwrap();
        let apart = summary(engine.decide(&question(false)));
        prop_assert_eq!(&apart, &summary(engine.decide_whole(&question(true))));
        prop_assert_eq!(&apart, &summary(engine.decide(&question(false))));
    }
}
