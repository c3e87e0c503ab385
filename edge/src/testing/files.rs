//! The bundle of the tests: two tenants, each with an issuer, callers and keys of its own; both name a key `alias/api`.

use signing::jwk::{Jwk, Jwks};
use signing::key::SigningKey;

pub const TENANT: &str = "000000000001";
pub const OTHER_TENANT: &str = "000000000002";

const MANIFEST: &str = r#"
[[callers.oidc]]
issuer = "https://callers.example"
audiences = ["signet"]
tenant = "000000000001"
subject = "dev:*"
algorithms = ["ES256"]
jwks_file = "trust/callers.json"
attributes = { roles = "roles", ref = "ref" }
[[callers.oidc]]
issuer = "https://others.example"
audiences = ["signet"]
tenant = "000000000002"
subject = "dev:*"
algorithms = ["ES256"]
jwks_file = "trust/callers.json"
attributes = { roles = "roles" }
[issuers.dev]
tenant = "000000000001"
jwks_cache = "5m"
[issuers.second]
tenant = "000000000001"
[issuers.kept]
tenant = "000000000001"
[issuers.other]
tenant = "000000000002"
[[plugins]]
name = "claim-guard"
file = "plugins/claim-guard.wasm"
deadline = "100ms"
[plugins.config]
editor_max_seconds = 120
plan = "dev"
[[plugins]]
name = "protected-artifact"
file = "plugins/protected-artifact.wasm"
deadline = "100ms"
[plugins.config]
enforce = true
protected_refs = ["refs/heads/main"]
"#;

const POLICIES: &str = r#"
@id("developers") permit (principal is Caller, action in Action::"Use", resource is Profile)
when { principal has roles && principal.roles.contains("developer") };
@id("no-root") @reason("nobody is root") forbid (principal is Caller, action == Action::"Mint", resource is Profile)
when { context has subject && context.subject == "root" };
@id("no-verify") forbid (principal is Caller, action == Action::"Verify", resource is Profile)
when { principal has roles && principal.roles.contains("blind") };
"#;

const PROFILES: [(&str, &str); 12] = [
    (
        "api",
        r#"key = "alias/api"
algorithm = "ES256"
kind = "token"
issuer = "dev"
audiences = ["https://api.example", "*"]
lifetime = { default = "5m", max = "1h" }
claims = { allowed = ["*"], plugin = ["plan"] }
plugins = ["claim-guard"]"#,
    ),
    (
        "plain",
        r#"key = "alias/api"
algorithm = "ES256"
kind = "token"
issuer = "dev"
audiences = ["https://api.example"]"#,
    ),
    (
        "witnessed",
        r#"key = "alias/api"
algorithm = "ES256"
kind = "token"
issuer = "dev"
audit = "witness"
audiences = ["https://api.example"]"#,
    ),
    (
        "limited",
        r#"key = "alias/api"
algorithm = "ES256"
kind = "token"
issuer = "dev"
audiences = ["https://api.example"]
quota = { per_profile = { rate = "2/h", burst = 2 } }"#,
    ),
    (
        "cdn",
        r#"key = "alias/cdn"
algorithm = "HS256"
kind = "token"
issuer = "dev"
audiences = ["https://cdn.example"]"#,
    ),
    (
        "second",
        r#"key = "alias/second"
algorithm = "EdDSA"
kind = "token"
issuer = "second"
audiences = ["https://api.example"]"#,
    ),
    (
        "release",
        r#"key = "alias/release"
algorithm = "ES256"
kind = "artifact""#,
    ),
    (
        "protected",
        r#"key = "alias/release"
algorithm = "ES256"
kind = "artifact"
plugins = ["protected-artifact"]"#,
    ),
    (
        "package",
        r#"key = "alias/package"
algorithm = "EdDSA"
kind = "artifact""#,
    ),
    (
        "vault",
        r#"key = "alias/vault"
algorithm = "ES256"
kind = "token"
issuer = "kept"
audiences = ["https://api.example"]"#,
    ),
    (
        "notary",
        r#"key = "alias/notary"
algorithm = "ES256"
kind = "artifact""#,
    ),
    (
        "other",
        r#"key = "alias/api"
algorithm = "ES256"
kind = "token"
issuer = "other"
audiences = ["https://api.example"]"#,
    ),
];

/// The files, with `limits` as the manifest's beginning; callers' tokens are signed with `caller`.
pub fn bundle(caller: &SigningKey, limits: &str) -> Vec<(String, Vec<u8>)> {
    let callers = Jwks {
        keys: vec![Jwk::from_public(caller.public().unwrap())],
    };
    let mut files = vec![
        ("bundle.toml".into(), format!("{limits}\n{MANIFEST}").into_bytes()),
        ("policies/all.cedar".into(), POLICIES.into()),
        ("trust/callers.json".into(), serde_json::to_vec(&callers).unwrap()),
        (
            "plugins/claim-guard.wasm".into(),
            include_bytes!("../../../deploy/dev/bundle/plugins/claim-guard.wasm").to_vec(),
        ),
        (
            "plugins/protected-artifact.wasm".into(),
            include_bytes!("../../../deploy/dev/bundle/plugins/protected-artifact.wasm").to_vec(),
        ),
    ];
    for (name, profile) in PROFILES {
        let tenant = if name == "other" { OTHER_TENANT } else { TENANT };
        let text = format!("tenant = \"{tenant}\"\n{profile}\n");
        files.push((format!("profiles/{name}.toml"), text.into_bytes()));
    }
    files
}
