//! Starts, stops, kills; keys that are disabled, edges that are revoked.

use serde_json::{Value, json};
use system_tests::{Dev, within};

fn jwks(dev: &Dev) -> Value {
    let answer = dev.anonymous("/i/dev/.well-known/jwks.json").get();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn kids(jwks: &Value) -> Vec<String> {
    let mut kids: Vec<_> = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect();
    kids.sort();
    kids
}

// R36: what was promised survives kill -9 of everything.
#[test]
fn a_second_start_finds_keys_and_profiles_again() {
    let dir = tempfile::TempDir::new().unwrap();
    let data = dir.path().join("data");
    let dev = Dev::start_in(&data, &[]);
    let token = dev.mint("api", r#"{"subject":"alice"}"#);
    let before = kids(&jwks(&dev));
    within(2, "the record of the token is on disk", || {
        dev.cli(&["audit", "tail"]).success().contains("\"signed\"")
    });
    dev.kill();
    let dev = Dev::start_in(&data, &[]);
    assert_eq!(kids(&jwks(&dev)), before);
    let verified = dev.curl("/v1/verify").post(&json!({"token": token}).to_string()).json();
    assert_eq!(verified["valid"], true, "{verified}");
    dev.mint("api", r#"{"subject":"bob"}"#);
    assert!(dev.stop().success());
    let dev = Dev::start_in(&data, &[]);
    dev.mint("session", r#"{"subject":"carol"}"#);
}

#[test]
fn ctrl_c_stops_quietly() {
    let dev = Dev::start();
    dev.mint("api", r#"{"subject":"alice"}"#);
    let (status, log) = dev.interrupt();
    assert!(status.success(), "{status:?}\n{log}");
    assert_eq!(log, "", "nothing went wrong, so nothing is said");
}

#[test]
fn two_processes_do_not_share_a_data_directory() {
    let dir = tempfile::TempDir::new().unwrap();
    let data = dir.path().join("data");
    let dev = Dev::start_in(&data, &[]);
    let second = dev.cli(&["dev", "--json"]);
    assert_ne!(second.code, 0, "{second:?}");
    assert!(second.stderr.contains("in use"), "{second:?}");
}

#[test]
fn a_disabled_key_is_refused_within_a_second_and_stays_in_the_jwks() {
    let dev = Dev::start();
    let token = dev.mint("api", r#"{"subject":"alice"}"#);
    let before = kids(&jwks(&dev));
    dev.cli(&["keys", "disable", "alias/dev-api"]).success();
    within(1, "the edge refuses the disabled key", || {
        let answer = dev.curl("/v1/tokens/api").post(r#"{"subject":"alice"}"#);
        answer.status == 409 && answer.problem() == "key_disabled"
    });
    assert_eq!(kids(&jwks(&dev)), before);
    assert_eq!(
        dev.curl("/v1/verify").post(&json!({"token": token}).to_string()).json()["valid"],
        true
    );
    dev.mint("session", r#"{"subject":"alice"}"#);
    dev.cli(&["keys", "enable", "alias/dev-api"]).success();
    within(5, "the enabled key signs again", || {
        dev.curl("/v1/tokens/api").post(r#"{"subject":"alice"}"#).status == 201
    });
}

#[test]
fn a_revoked_edge_signs_nothing_within_a_second() {
    let dev = Dev::start();
    dev.mint("api", r#"{"subject":"alice"}"#);
    let edges: Value = serde_json::from_str(&dev.cli(&["edges", "list", "--json"]).success()).unwrap();
    let edge = edges["edges"][0]["id"].as_str().unwrap().to_owned();
    dev.cli(&["edges", "revoke", &edge]).success();
    within(1, "the revoked edge refuses", || {
        let answer = dev.curl("/v1/tokens/api").post(r#"{"subject":"alice"}"#);
        answer.status == 503 && answer.problem() == "edge_revoked"
    });
    let ready = dev.anonymous("/readyz").get();
    assert_eq!(ready.status, 503, "{ready:?}");
    assert_eq!(dev.anonymous("/livez").get().status, 200);
}

#[test]
fn discovery_and_jwks_are_cacheable_and_hold_one_issuer() {
    let dev = Dev::start();
    let answer = dev.anonymous("/i/dev/.well-known/jwks.json").get();
    let etag = answer.field("etag").unwrap();
    assert!(
        answer.field("cache-control").unwrap().contains("max-age="),
        "{answer:?}"
    );
    let again = dev
        .anonymous("/i/dev/.well-known/jwks.json")
        .header(&format!("If-None-Match: {etag}"))
        .get();
    assert_eq!(again.status, 304, "{again:?}");
    let keys = answer.json();
    for key in keys["keys"].as_array().unwrap() {
        for member in ["kty", "kid", "alg", "use"] {
            assert!(key[member].is_string(), "{member} in {key}");
        }
        for secret in ["d", "k", "x5c"] {
            assert!(key.get(secret).is_none(), "{secret} in {key}");
        }
    }
    let discovery = dev.anonymous("/i/dev/.well-known/openid-configuration").get().json();
    assert!(
        discovery["jwks_uri"]
            .as_str()
            .unwrap()
            .ends_with("/i/dev/.well-known/jwks.json")
    );
    assert_eq!(
        dev.anonymous("/i/nobody/.well-known/jwks.json").get().problem(),
        "not_found"
    );
    let openapi = dev.anonymous("/openapi.json").get().json();
    assert_eq!(openapi["openapi"], "3.1.0");
    assert!(String::from_utf8_lossy(&dev.anonymous("/metrics").get().body).contains("signet_"));
}

#[test]
fn a_bad_bundle_is_refused_and_the_last_good_one_stays() {
    let dev = Dev::start();
    let bundle = dev.data().join("bad-bundle");
    let copied = system_tests::run(
        std::process::Command::new("cp")
            .arg("-r")
            .arg(dev.data().join("bundle"))
            .arg(&bundle),
    );
    assert_eq!(copied.code, 0, "{copied:?}");
    std::fs::write(
        bundle.join("policies/bad.cedar"),
        "permit(principal, action, resource)\nwhen { context.nonsense };\n",
    )
    .unwrap();
    let bundle = bundle.to_str().unwrap();
    let refused = dev.cli(&["bundle", "apply", bundle]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(
        refused.stderr.contains("policies/bad.cedar") && refused.stderr.contains('2'),
        "{refused:?}"
    );
    dev.mint("api", r#"{"subject":"alice"}"#);
    std::fs::remove_file(format!("{bundle}/policies/bad.cedar")).unwrap();
    std::fs::remove_file(format!("{bundle}/profiles/limited.toml")).unwrap();
    let diff = dev.cli(&["bundle", "apply", "--diff", bundle]).success();
    assert!(diff.contains("limited"), "{diff}");
    dev.cli(&["bundle", "apply", bundle]).success();
    within(5, "the edge has the new bundle", || {
        dev.curl("/v1/tokens/limited").post(r#"{"subject":"alice"}"#).status == 404
    });
}
