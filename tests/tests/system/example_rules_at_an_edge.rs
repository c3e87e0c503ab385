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

use crate::example_rules::{component, names};

/// What stands behind `[[plugins]]` of each. Where settings alone make the difference, a second one refuses.
const PLUGINS: [(&str, &str, &str); 12] = [
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
        "mint-rate",
        "mint-rate",
        r#"config = { max = 1, window_seconds = 86400 }
imports = ["log", "config", "counter", "digest"]"#,
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
        "geo-fence",
        "geo-fence",
        r#"config = { allow = ["XA"] }
imports = ["log", "config", "lookup"]
tables = { geo = { file = "plugins/geo.csv", kind = "prefix" } }"#,
    ),
    (
        "geo-elsewhere",
        "geo-fence",
        r#"config = { deny = ["XA"] }
imports = ["log", "config", "lookup"]
tables = { geo = { file = "plugins/geo.csv", kind = "prefix" } }"#,
    ),
    (
        "two-person-release",
        "two-person-release",
        r#"config = { approvers = ["carol=APPROVER"], requester = "actor" }"#,
    ),
    (
        "tenant-claims",
        "tenant-claims",
        r#"config = { claims = ["plan"], attribute = "org" }
imports = ["log", "config", "lookup"]
tables = { tenants = { file = "plugins/tenants.csv", kind = "exact" } }"#,
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
    let mapped = r#"attributes = { roles = "roles", ref = "ref", workflow = "workflow", actor = "actor", approval = "approval", org = "org" }"#;
    manifest = manifest.replace(r#"attributes = { roles = "roles", ref = "ref" }"#, mapped);
    assert!(manifest.contains(mapped), "{manifest}");
    for (name, example, settings) in PLUGINS {
        let settings = settings.replace("APPROVER", approver);
        manifest.push_str(&format!(
            "\n[[plugins]]\nname = \"{name}\"\nfile = \"plugins/{example}.wasm\"\ndeadline = \"100ms\"\n{settings}\n"
        ));
        let wasm = std::fs::read(component(example)).unwrap();
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
    put(
        "plugins/geo.csv",
        b"# where the tests run\n127.0.0.0/8,XA\n::1/128,XA\n",
    );
    put("plugins/tenants.csv", b"acme/plan,gold\n");
    dev.cli(&["bundle", "apply", bundle.to_str().unwrap()]).success();
    // The edge takes it as a whole, once it has compiled what is new.
    within(60, "the edge has the bundle", || {
        dev.curl("/v1/tokens/x-canary-share").post("{").problem() == "malformed_json"
    });
}

/// Alice and the others, at one edge.
struct Callers<'a> {
    dev: &'a Dev,
    /// Carol's, who approves releases.
    approver: &'a SigningKey,
}

impl Callers<'_> {
    fn alice(&self, attributes: Value) -> String {
        caller(self.dev, "dev:alice", attributes)
    }

    /// A job of Alice's on the main branch, with the workflow as it is on `at`.
    fn job(&self, at: &str) -> String {
        self.alice(json!({"ref": "refs/heads/main", "workflow": format!("org/ci/release.yml@{at}")}))
    }

    /// What `actor` asks for, with Carol's approval of it.
    fn approved(&self, actor: &str) -> String {
        let header = json!({"alg": "EdDSA", "typ": "signet-approval", "kid": "carol"});
        let payload = json!({"digest": digest(), "profile": "x-two-person-release", "exp": now() + 3600});
        let part = |json: &Value| base64url(json.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&payload));
        let signature = base64url(&self.approver.sign(signed.as_bytes()).unwrap());
        self.alice(json!({"actor": actor, "approval": format!("{signed}.{signature}")}))
    }

    fn mint(&self, profile: &str, token: &str, body: Value) -> Answer {
        let path = format!("/v1/tokens/{profile}");
        self.dev.anonymous(&path).bearer(token).post(&body.to_string())
    }

    fn sign(&self, profile: &str, token: &str) -> Answer {
        let path = format!("/v1/signatures/{profile}");
        let body = json!({ "digest": digest() });
        self.dev.anonymous(&path).bearer(token).post(&body.to_string())
    }
}

/// Of what is released.
fn digest() -> String {
    format!("sha256:{}", "ab".repeat(32))
}

fn subject() -> Value {
    json!({"subject": "alice"})
}

fn role(role: &str) -> Value {
    json!({"subject": "alice", "claims": {"role": role}})
}

fn path(path: &str) -> Value {
    json!({"subject": "alice", "audience": "https://cdn.example", "claims": {"path": path}})
}

#[test]
fn each_rule_passes_one_request_and_refuses_another() {
    let dev = Dev::start();
    let approver = SigningKey::generate(Algorithm::EdDsa).unwrap();
    let public: Value = serde_json::from_str(&Jwk::from_public(approver.public().unwrap()).to_json()).unwrap();
    apply(&dev, public["x"].as_str().unwrap());
    let callers = Callers {
        dev: &dev,
        approver: &approver,
    };
    one_passes(&callers);
    one_is_refused(&callers);
}

fn one_passes(callers: &Callers<'_>) {
    let alice = callers.alice(json!({"ref": "refs/heads/main", "org": "acme"}));
    let passed = [
        callers.mint("api", &alice, role("editor")),
        callers.sign("protected", &alice),
        callers.mint("x-network-lifetime", &alice, subject()),
        callers.sign("x-reviewed-workflow", &callers.job("refs/heads/main")),
        callers.mint("x-mint-rate", &alice, subject()),
        callers.mint("x-cdn-scope", &alice, path("/t/alice/*")),
        callers.mint("x-change-freeze", &alice, subject()),
        callers.mint("x-geo-fence", &alice, subject()),
        callers.sign("x-two-person-release", &callers.approved("alice")),
        callers.mint("x-canary-share", &alice, subject()),
        callers.mint("x-tenant-claims", &alice, subject()),
    ];
    for answer in &passed {
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    assert_eq!(passed.len(), names().len(), "one for each example");
    let enriched = passed.last().unwrap().json();
    let verified = callers.dev.curl("/v1/verify");
    let verified = verified.post(&json!({"token": enriched["token"]}).to_string()).json();
    assert_eq!(verified["claims"]["plan"], "gold", "{verified}");
}

fn one_is_refused(callers: &Callers<'_>) {
    let alice = callers.alice(json!({"ref": "refs/heads/mine", "org": "strangers"}));
    let bob = caller(callers.dev, "dev:bob", json!({}));
    let mint = |profile, token, body| callers.mint(profile, token, body);
    let sign = |profile, token| callers.sign(profile, token);
    for (rule, code, answer) in [
        ("claim-guard", "role_not_allowed", mint("api", &alice, role("admin"))),
        ("protected-artifact", "ref_not_protected", sign("protected", &alice)),
        (
            "network-elsewhere",
            "network_not_allowed",
            mint("x-network-elsewhere", &alice, subject()),
        ),
        (
            "reviewed-workflow",
            "workflow_not_reviewed",
            sign("x-reviewed-workflow", &callers.job("refs/heads/mine")),
        ),
        // The second of alice's within the window.
        ("mint-rate", "rate_exceeded", mint("x-mint-rate", &alice, subject())),
        (
            "cdn-scope",
            "path_not_allowed",
            mint("x-cdn-scope", &alice, path("/t/bob/*")),
        ),
        (
            "change-frozen",
            "change_freeze",
            mint("x-change-frozen", &alice, subject()),
        ),
        (
            "geo-elsewhere",
            "region_not_allowed",
            mint("x-geo-elsewhere", &alice, subject()),
        ),
        (
            "two-person-release",
            "approver_is_requester",
            sign("x-two-person-release", &callers.approved("carol")),
        ),
        (
            "tenant-claims",
            "tenant_unknown",
            mint("x-tenant-claims", &alice, subject()),
        ),
        ("canary-share", "not_in_canary", mint("x-canary-share", &bob, subject())),
    ] {
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (403, "rule_refused"),
            "{rule}: {answer:?}"
        );
        let problem = answer.json();
        assert_eq!(
            (&problem["rule"], &problem["rule_code"]),
            (&json!(rule), &json!(code)),
            "{problem}"
        );
    }
}
