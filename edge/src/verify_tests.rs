use audit::record::Outcome;
use serde_json::{Value, json};

use crate::testing::{Rig, until};

async fn mint(rig: &Rig, profile: &str) -> String {
    let answer = rig.post(&format!("/v1/tokens/{profile}"), json!({})).await;
    answer.body["token"].as_str().unwrap().to_owned()
}

async fn verdict(rig: &Rig, body: Value) -> (bool, String) {
    let answer = rig.post("/v1/verify", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let code = answer.body["code"].as_str().unwrap_or_default();
    (answer.body["valid"].as_bool().unwrap(), code.to_owned())
}

fn no(code: &str) -> (bool, String) {
    (false, code.to_owned())
}

fn yes() -> (bool, String) {
    (true, String::new())
}

#[tokio::test]
async fn a_token_verifies_with_its_own_key_and_claims() {
    let rig = Rig::ready().await;
    for (profile, algorithm) in [("plain", "ES256"), ("cdn", "HS256"), ("second", "EdDSA")] {
        let token = mint(&rig, profile).await;
        let answer = rig.post("/v1/verify", json!({"token": token})).await;
        assert_eq!(
            (&answer.body["valid"], &answer.body["algorithm"]),
            (&json!(true), &json!(algorithm))
        );
        assert_eq!(answer.body["claims"]["sub"], Value::Null);
        assert_eq!(verdict(&rig, json!({"token": token, "profile": profile})).await, yes());
    }
    let token = mint(&rig, "plain").await;
    // Three profiles sign with that key: the first by name is asked, each time.
    for _ in 0..20 {
        assert_eq!(
            rig.post("/v1/verify", json!({"token": token})).await.body["profile"],
            "api"
        );
    }
    let at = token.len() - 10;
    let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
    let tampered = format!("{}{other}{}", &token[..at], &token[at + 1..]);
    assert!(!verdict(&rig, json!({"token": tampered})).await.0);
    let right = json!({"token": token, "audience": "https://api.example"});
    assert_eq!(verdict(&rig, right).await, yes());
    let wrong = json!({"token": token, "audience": "https://else.example"});
    assert_eq!(verdict(&rig, wrong).await, no("wrong_audience"));
    assert_eq!(verdict(&rig, json!({"token": "a.b.c"})).await.0, no("").0);
    rig.advance(310);
    assert_eq!(verdict(&rig, json!({"token": token})).await, no("token_expired"));
}

// R5
#[tokio::test]
async fn key_issuer_and_tenant_are_checked_at_every_verification() {
    let rig = Rig::ready().await;
    let other = rig.token_of("https://others.example", "dev:eve", json!({"roles": ["developer"]}));
    let theirs = rig.post_as(&other, "/v1/tokens/other", json!({})).await.body["token"].clone();
    assert_eq!(verdict(&rig, json!({"token": theirs})).await, no("unknown_key"));
    assert_eq!(
        verdict(&rig, json!({"token": theirs, "profile": "plain"})).await,
        no("unknown_key")
    );
    let asked = rig
        .post("/v1/verify", json!({"token": theirs, "profile": "other"}))
        .await;
    assert_eq!(asked.code(), (404, "unknown_profile"));
    // Of this tenant, and of another issuer of it.
    let second = mint(&rig, "second").await;
    assert_eq!(
        verdict(&rig, json!({"token": second, "profile": "plain"})).await,
        no("unknown_key")
    );
    // The caller's own token is signed by nobody that this edge signs as.
    let foreign = rig.token(&["developer"]);
    assert_eq!(verdict(&rig, json!({"token": foreign})).await, no("unknown_key"));
    // Beyond the key's own validity even a token that has not expired is no longer good.
    let token = mint(&rig, "plain").await;
    rig.authority.change_key(&rig.keys["api"], |key| {
        key.announced.versions[0].retire_at = crate::testing::now();
    });
    crate::testing::until("retired", async || {
        verdict(&rig, json!({"token": token})).await == no("unknown_key")
    })
    .await;
}

#[tokio::test]
async fn a_signature_verifies_under_its_chain() {
    let rig = Rig::ready().await;
    let digest = format!("sha256:{}", "ab".repeat(32));
    let signed = rig.post("/v1/signatures/release", json!({"digest": digest})).await.body;
    let (signature, chain) = (&signed["signature"], &signed["certificates"]);
    let body = json!({"digest": digest, "signature": signature, "certificates": chain});
    assert_eq!(verdict(&rig, body.clone()).await, yes());
    let mut wrong = body.clone();
    wrong["digest"] = json!(format!("sha256:{}", "cd".repeat(32)));
    assert_eq!(verdict(&rig, wrong).await, no("bad_signature"));
    let mut wrong = body.clone();
    wrong["certificates"] = json!([chain[1], chain[2]]);
    assert_eq!(verdict(&rig, wrong).await, no("bad_chain"));
    let mut wrong = body.clone();
    wrong["certificates"] = json!(["not PEM"]);
    assert_eq!(verdict(&rig, wrong).await, no("bad_chain"));
    let mut wrong = body.clone();
    wrong["profile"] = json!("package");
    assert_eq!(rig.post("/v1/verify", wrong).await.code(), (422, "unsupported_digest"));
    let other = rig.token_of("https://others.example", "dev:eve", json!({"roles": ["developer"]}));
    let answer = rig.post_as(&other, "/v1/verify", body.clone()).await;
    assert_eq!(
        answer.body["code"], "unknown_key",
        "another tenant learns nothing of the key"
    );
    rig.advance(4_000);
    assert_eq!(verdict(&rig, body).await, no("bad_chain"));
}

#[tokio::test]
async fn policy_decides_who_may_ask() {
    let rig = Rig::ready().await;
    let token = mint(&rig, "plain").await;
    let blind = rig.token(&["developer", "blind"]);
    let answer = rig.post_as(&blind, "/v1/verify", json!({"token": token})).await;
    assert_eq!(answer.code(), (403, "policy_denied"));
    let records = rig.records();
    assert_eq!(
        records.last().unwrap().outcome,
        Outcome::Refused {
            code: "policy_denied".into()
        }
    );
    assert_eq!(rig.post("/v1/verify", json!({})).await.code(), (422, "invalid_request"));
    assert_eq!(
        rig.post("/v1/verify", json!({"token": token, "else": 1})).await.code(),
        (400, "bad_request")
    );
}

#[tokio::test]
async fn a_token_of_a_compromised_key_is_told_apart_from_one_of_an_unknown_key() {
    let rig = Rig::ready().await;
    let token = mint(&rig, "plain").await;
    rig.authority
        .change_key(&rig.keys["api"], |key| key.announced.versions[0].compromised = true);
    until("it is known", async || {
        verdict(&rig, json!({"token": token})).await == no("revoked")
    })
    .await;
    let named = json!({"token": token, "profile": "plain"});
    assert_eq!(verdict(&rig, named).await, no("revoked"));
}
