use node::contract::KeyState;
use serde_json::json;

use crate::testing::{Rig, now, until};

// R38
#[tokio::test]
async fn a_jwks_holds_one_issuers_token_keys_and_no_others() {
    let rig = Rig::ready().await;
    assert_eq!(
        rig.jwks("dev").await,
        [rig.kid("api")],
        "neither the HS256 secret nor the artifact keys"
    );
    assert_eq!(rig.jwks("second").await, [rig.kid("second")]);
    assert_eq!(rig.jwks("other").await, [rig.kid("other")]);
    let text = rig.get("/i/dev/.well-known/jwks.json").await.text;
    assert!(
        !text.contains("\"oct\"") && !text.contains("\"d\"") && !text.contains("\"k\""),
        "{text}"
    );
    assert_eq!(
        rig.get("/i/nobody/.well-known/jwks.json").await.code(),
        (404, "not_found")
    );
    assert_eq!(
        rig.get("/i/nobody/.well-known/openid-configuration").await.code(),
        (404, "not_found")
    );
}

/// Whatever the authority says of it, a secret is never published. R1
#[tokio::test]
async fn an_hs256_key_with_a_public_key_is_left_out() {
    let rig = Rig::ready().await;
    let public = {
        let state = rig.authority.state();
        state.keys[&rig.keys["api"]].announced.versions[0].clone()
    };
    rig.authority
        .change_key(&rig.keys["cdn"], |key| key.announced.versions = vec![public.clone()]);
    until("applied", async || {
        rig.edge.keyring().signs_until(&rig.keys["cdn"]) == 0
    })
    .await;
    assert_eq!(rig.jwks("dev").await, [rig.kid("api")]);
    // And neither is a public key under another one's id, nor one without its public half.
    for change in [json!("another"), json!("")] {
        let rig = Rig::ready().await;
        rig.authority
            .change_key(&rig.keys["second"], |key| match change.as_str() {
                Some("") => key.announced.versions[0].public_jwk.clear(),
                _ => key.announced.versions[0].kid = "another".into(),
            });
        until("applied", async || rig.jwks("second").await.is_empty()).await;
    }
}

#[tokio::test]
async fn a_jwks_shows_standby_disabled_and_retired_versions_while_they_verify() {
    let rig = Rig::ready().await;
    let first = rig.kid("api");
    let (mut standby, mut later) = (String::new(), String::new());
    rig.authority.change_key(&rig.keys["api"], |key| {
        key.announced.versions[0].sign_until = now() + 500;
        key.announced.versions[0].retire_at = now() + 1_000;
        standby = key.add_version(now(), now() + 500, now() + 50_000);
        later = key.add_version(now() + 700, now() + 900, now() + 50_000);
    });
    until("published", async || {
        rig.jwks("dev").await == [first.clone(), standby.clone()]
    })
    .await;
    rig.authority
        .change_key(&rig.keys["api"], |key| key.announced.state = KeyState::Disabled.into());
    until("disabled", async || {
        rig.post("/v1/tokens/plain", json!({})).await.code().1 == "key_disabled"
    })
    .await;
    assert_eq!(rig.jwks("dev").await, [first.clone(), standby.clone()]);
    rig.advance(800);
    assert_eq!(
        rig.jwks("dev").await,
        [first, standby.clone(), later.clone()],
        "retired, and its tokens not expired"
    );
    rig.advance(300);
    assert_eq!(rig.jwks("dev").await, [standby, later]);
}

#[tokio::test]
async fn verifiers_can_cache_what_they_read() {
    let rig = Rig::ready().await;
    let path = "/i/dev/.well-known/jwks.json";
    let first = rig.get(path).await;
    assert_eq!(first.headers["cache-control"], "public, max-age=300");
    let etag = first.headers["etag"].to_str().unwrap().to_owned();
    for (seen, status) in [
        (etag.clone(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"x\", {etag}"), 304),
        ("*".into(), 304),
        ("\"x\"".into(), 200),
        (etag.trim_matches('"').to_owned(), 200),
    ] {
        let request = http::Request::get(path).header("if-none-match", &seen);
        let answer = rig.send(request.body(bytes::Bytes::new()).unwrap()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.is_empty()),
            (status, status == 304),
            "{seen}"
        );
        assert_eq!(answer.headers["etag"], etag.as_str());
    }
    let document = rig.get("/i/dev/.well-known/openid-configuration").await.body;
    assert_eq!(document["issuer"], "https://edge.test/i/dev");
    assert_eq!(document["jwks_uri"], "https://edge.test/i/dev/.well-known/jwks.json");
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256"]));
}
