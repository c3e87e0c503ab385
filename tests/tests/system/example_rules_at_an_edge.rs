//! Every example rule at a real edge: one bundle has them all, and each passes one request and refuses another.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use signing::algorithm::Algorithm;
use signing::certificate::pem_decode;
use signing::claims::Claims;
use signing::encoding::base64url;
use signing::format::jwt;
use signing::jwk::Jwk;
use signing::key::{Secret, SigningKey};
use system_tests::{Answer, Dev, within};

use crate::example_rules::{examples, names};

/// What stands behind `[[plugins]]` of each. Where settings alone make the difference, a second one refuses.
const PLUGINS: [(&str, &str, &str); 8] = [
    (
        "network-lifetime",
        "network-lifetime",
        r#"config = { inside = ["127.0.0.0/8", "::1"], outside_max_seconds = 0 }"#,
    ),
    (
        "network-elsewhere",
        "network-lifetime",
        r#"config = { inside = ["192.0.2.0/24"], outside_max_seconds = 0 }"#,
    ),
    (
        "reviewed-workflow",
        "reviewed-workflow",
        r#"config = { refs = ["refs/heads/main"], workflows = ["org/ci/release.yml@refs/heads/main"] }"#,
    ),
    (
        "cdn-scope",
        "cdn-scope",
        r#"config = { audiences = ["https://cdn.example"], paths = ["/t/{subject}/"] }"#,
    ),
    (
        "change-freeze",
        "change-freeze",
        r#"config = { utc_offset_minutes = 0, days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from = "00:00", until = "24:00" }"#,
    ),
    (
        "change-frozen",
        "change-freeze",
        r#"config = { utc_offset_minutes = 0, days = ["mon"], from = "00:00", until = "24:00", freezes = ["1970-01-01..9999-12-31"] }"#,
    ),
    (
        "two-person-release",
        "two-person-release",
        r#"config = { approvers = ["carol=APPROVER"], requester = "actor" }"#,
    ),
    (
        "canary-share",
        "canary-share",
        r#"config = { percent = 50, salt = "2027-01" }"#,
    ),
];

const TOKENS: &str = r#"tenant = "000000000001"
kind = "token"
key = "alias/dev-api"
algorithm = "ES256"
issuer = "dev"
audiences = ["https://api.example", "*"]
lifetime = { default = "5m", max = "1h" }
claims = { allowed = ["*"], plugin = ["plan"] }
"#;

const ARTIFACTS: &str = r#"tenant = "000000000001"
kind = "artifact"
key = "alias/dev-release"
algorithm = "ES256"
"#;

/// Profiles that sign artifacts; the others mint tokens.
const OF_ARTIFACTS: [&str; 2] = ["reviewed-workflow", "two-person-release"];

/// Unix seconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A caller's token of the development issuer, which maps these claims to attributes.
fn caller(dev: &Dev, subject: &str, attributes: Value) -> String {
    let pem = std::fs::read_to_string(dev.data().join("dev/caller-issuer.key.pem")).unwrap();
    let der = pem_decode("PRIVATE KEY", &pem).unwrap().remove(0);
    let key = SigningKey::import(Algorithm::Es256, &Secret::new(der)).unwrap();
    let mut extra = attributes;
    extra["roles"] = json!(["developer"]);
    let claims = Claims {
        iss: Some("https://dev.signet.internal".into()),
        sub: Some(subject.into()),
        aud: vec!["signet".into()],
        exp: Some(now() + 3600),
        iat: Some(now()),
        extra: serde_json::from_value(extra).unwrap(),
        ..Claims::default()
    };
    jwt::mint(&key, &jwt::Header::default(), &claims).unwrap()
}

/// Puts all of them into the bundle, with a profile of its own for each, and applies it.
fn apply(dev: &Dev, approver: &str) {
    let bundle = dev.data().join("bundle");
    let put = |path: &str, text: &[u8]| std::fs::write(bundle.join(path), text).unwrap();
    let mut manifest = std::fs::read_to_string(bundle.join("bundle.toml")).unwrap();
    let mapped = r#"attributes = { roles = "roles", ref = "ref", workflow = "workflow", actor = "actor", approval = "approval" }"#;
    manifest = manifest.replace(r#"attributes = { roles = "roles", ref = "ref" }"#, mapped);
    assert!(manifest.contains(mapped), "{manifest}");
    for (name, example, settings) in PLUGINS {
        let settings = settings.replace("APPROVER", approver);
        manifest.push_str(&format!(
            "\n[[plugins]]\nname = \"{name}\"\nfile = \"plugins/{example}.wasm\"\ndeadline = \"100ms\"\n{settings}\n"
        ));
        let wasm = std::fs::read(examples().join(example).join(format!("{example}.wasm"))).unwrap();
        put(&format!("plugins/{example}.wasm"), &wasm);
        let kind = if OF_ARTIFACTS.contains(&name) {
            ARTIFACTS
        } else {
            TOKENS
        };
        put(
            &format!("profiles/x-{name}.toml"),
            format!("{kind}plugins = [\"{name}\"]\n").as_bytes(),
        );
    }
    put("bundle.toml", manifest.as_bytes());
    dev.cli(&["bundle", "apply", bundle.to_str().unwrap()]).success();
    // The edge takes it as a whole, once it has compiled what is new.
    within(60, "the edge has the bundle", || {
        dev.curl("/v1/tokens/x-canary-share").post("{").problem() == "malformed_json"
    });
}

fn refused(answer: &Answer, rule: &str, code: &str) {
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (403, "rule_refused"),
        "{answer:?}"
    );
    let problem = answer.json();
    assert_eq!(
        (&problem["rule"], &problem["rule_code"]),
        (&json!(rule), &json!(code)),
        "{problem}"
    );
}

/// Carol's approval of a digest for the profile of the example.
fn approval(carol: &SigningKey, digest: &str) -> String {
    let header = json!({"alg": "EdDSA", "typ": "signet-approval", "kid": "carol"});
    let payload = json!({"digest": digest, "profile": "x-two-person-release", "exp": now() + 3600});
    let part = |json: &Value| base64url(json.to_string().as_bytes());
    let signed = format!("{}.{}", part(&header), part(&payload));
    let signature = carol.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", base64url(&signature))
}

#[test]
fn each_rule_passes_one_request_and_refuses_another() {
    let dev = Dev::start();
    let carol = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let public: Value = serde_json::from_str(&Jwk::from_public(carol.public().unwrap()).to_json()).unwrap();
    apply(&dev, public["x"].as_str().unwrap());
    let alice = |attributes: Value| caller(&dev, "dev:alice", attributes);
    let mint = |profile: &str, token: &str, body: Value| {
        let path = format!("/v1/tokens/{profile}");
        dev.anonymous(&path).bearer(token).post(&body.to_string())
    };
    let sign = |profile: &str, token: &str, digest: &str| {
        let path = format!("/v1/signatures/{profile}");
        dev.anonymous(&path)
            .bearer(token)
            .post(&json!({ "digest": digest }).to_string())
    };
    let digest = format!("sha256:{}", "ab".repeat(32));
    let nothing = || alice(json!({}));
    let bob = caller(&dev, "dev:bob", json!({}));
    let workflow = |at: &str| alice(json!({"ref": "refs/heads/main", "workflow": format!("org/ci/release.yml@{at}")}));
    let approved = |actor: &str| alice(json!({"actor": actor, "approval": approval(&carol, &digest)}));
    let role = |role: &str| json!({"subject": "alice", "claims": {"role": role}});
    let path = |path: &str| json!({"subject": "alice", "audience": "https://cdn.example", "claims": {"path": path}});
    let subject = || json!({"subject": "alice"});

    let passed = [
        mint("api", &nothing(), role("editor")),
        sign("protected", &alice(json!({"ref": "refs/heads/main"})), &digest),
        mint("x-network-lifetime", &nothing(), subject()),
        sign("x-reviewed-workflow", &workflow("refs/heads/main"), &digest),
        mint("x-cdn-scope", &nothing(), path("/t/alice/*")),
        mint("x-change-freeze", &nothing(), subject()),
        sign("x-two-person-release", &approved("alice"), &digest),
        mint("x-canary-share", &nothing(), subject()),
    ];
    for answer in &passed {
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    assert_eq!(passed.len(), names().len(), "one for each example");
    refused(
        &mint("api", &nothing(), role("admin")),
        "claim-guard",
        "role_not_allowed",
    );
    let branch = alice(json!({"ref": "refs/heads/mine"}));
    refused(
        &sign("protected", &branch, &digest),
        "protected-artifact",
        "ref_not_protected",
    );
    refused(
        &mint("x-network-elsewhere", &nothing(), subject()),
        "network-elsewhere",
        "network_not_allowed",
    );
    let unreviewed = sign("x-reviewed-workflow", &workflow("refs/heads/mine"), &digest);
    refused(&unreviewed, "reviewed-workflow", "workflow_not_reviewed");
    refused(
        &mint("x-cdn-scope", &nothing(), path("/t/bob/*")),
        "cdn-scope",
        "path_not_allowed",
    );
    refused(
        &mint("x-change-frozen", &nothing(), subject()),
        "change-frozen",
        "change_freeze",
    );
    let own = sign("x-two-person-release", &approved("carol"), &digest);
    refused(&own, "two-person-release", "approver_is_requester");
    refused(
        &mint("x-canary-share", &bob, subject()),
        "canary-share",
        "not_in_canary",
    );
}
