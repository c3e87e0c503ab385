//! A key that the authority signs with, through the whole edge.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use node::contract::sign_in_hsm_request::Input;
use node::contract::{FAULT_CODE, Key, KeyState};
use serde_json::json;
use signing::format::jwt;
use signing::key::Verifier;
use tonic::Code;

use crate::testing::authority::Lie;
use crate::testing::{Answer, Rig, until};

fn asked(rig: &Rig) -> usize {
    rig.authority.state().signed.len()
}

fn digest() -> serde_json::Value {
    json!({"digest": format!("sha256:{}", "ab".repeat(32))})
}

fn change(rig: &Rig, key: &str, change: impl FnOnce(&mut Key)) {
    rig.authority
        .change_key(&rig.keys[key], |key| change(&mut key.announced));
}

async fn becomes(rig: &Rig, code: (u16, &str)) {
    until("another answer", async || {
        rig.post("/v1/tokens/vault", json!({})).await.code() == code
    })
    .await;
}

fn retry_after(answer: &Answer) -> &str {
    answer.headers["retry-after"].to_str().unwrap()
}

// R38
#[tokio::test]
async fn a_token_is_signed_at_the_authority_and_recorded_here() {
    let rig = Rig::ready().await;
    let answer = rig.post("/v1/tokens/vault", json!({"subject": "svc"})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let kid = rig.kid("vault");
    assert_eq!(answer.body["kid"], kid.as_str());
    assert_eq!(rig.jwks("kept").await.iter().filter(|one| **one == kid).count(), 1);
    let token = answer.body["token"].as_str().unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let pair = rig.authority.state().keys[&rig.keys["vault"]].material[0]
        .public()
        .cloned();
    let signature = signing::encoding::from_base64url(signature).unwrap();
    Verifier::Public(pair.unwrap())
        .verify(input.as_bytes(), &signature)
        .unwrap();
    let seen = jwt::inspect(token, jwt::DEFAULT_MAX_LEN).unwrap();
    assert_eq!(seen.claims.iss.as_deref(), Some("https://edge.test/i/kept"));
    {
        let state = rig.authority.state();
        let [request] = state.signed.as_slice() else {
            panic!("{:?}", state.signed)
        };
        assert_eq!(request.input, Some(Input::Token(input.as_bytes().to_vec())));
        assert_eq!(
            (request.profile.as_str(), request.request_id.as_str()),
            ("vault", answer.body["id"].as_str().unwrap())
        );
        assert_eq!(request.caller, rig.records().last().unwrap().caller);
        assert!(
            !state.delegated.contains(&rig.keys["vault"]),
            "nobody asks for a delegation"
        );
    }
    let records = rig.records();
    let record = records.last().unwrap();
    assert_eq!(record.kid.as_deref(), Some(kid.as_str()));
    assert_eq!(record.digest, Some(signing::digest::sha256(input.as_bytes())));
}

#[tokio::test]
async fn an_artifact_comes_with_a_public_key_and_without_a_chain() {
    let rig = Rig::ready().await;
    let answer = rig.post("/v1/signatures/notary", digest()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.body["certificates"], json!([]));
    let pem = answer.body["public_key"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----"), "{pem}");
    let kid = rig.kid("notary");
    let shown = rig.get(&format!("/v1/delegations/{kid}")).await;
    assert_eq!(
        (&shown.body["public_key"], &shown.body["state"]),
        (&json!(pem), &json!("active"))
    );
    let signature = answer.body["signature"].as_str().unwrap();
    assert_eq!(BASE64_STANDARD.decode(signature).unwrap()[0], 0x30, "DER");
    let mut asked = digest();
    asked["signature"] = json!(signature);
    asked["profile"] = json!("notary");
    let verified = rig.post("/v1/verify", asked.clone()).await;
    assert_eq!(
        (&verified.body["valid"], &verified.body["kid"]),
        (&json!(true), &json!(kid)),
        "{}",
        verified.text
    );
    asked["digest"] = json!(format!("sha256:{}", "cd".repeat(32)));
    assert_eq!(rig.post("/v1/verify", asked).await.body["code"], "bad_signature");
}

#[tokio::test]
async fn the_elements_of_a_batch_are_signed_each() {
    let rig = Rig::ready().await;
    let requests = vec![json!({}); 20];
    let answer = rig.post("/v1/tokens/vault/batch", json!({"requests": requests})).await;
    let results = answer.body["results"].as_array().unwrap();
    assert!(
        results.len() == 20 && results.iter().all(|one| one["token"].is_string()),
        "{}",
        answer.text
    );
    assert_eq!(asked(&rig), 20);
}

// R27
#[tokio::test]
async fn a_wrong_signature_is_withheld() {
    let rig = Rig::ready().await;
    rig.authority.state().lie = Some(Lie::WrongSignature);
    for (path, body) in [("/v1/tokens/vault", json!({})), ("/v1/signatures/notary", digest())] {
        assert_eq!(rig.post(path, body).await.code(), (503, "key_unavailable"));
    }
}

#[tokio::test]
async fn what_is_known_as_stopped_is_not_asked_for() {
    let rig = Rig::ready().await;
    change(&rig, "vault", |key| key.set_state(KeyState::Disabled));
    becomes(&rig, (409, "key_disabled")).await;
    let before = asked(&rig);
    assert_eq!(
        rig.post("/v1/tokens/vault", json!({})).await.code(),
        (409, "key_disabled")
    );
    assert_eq!(asked(&rig), before);
    assert_eq!(rig.jwks("kept").await.len(), 1, "it stays for verifying");
}

#[tokio::test]
async fn an_authority_that_says_nothing_costs_a_bounded_wait() {
    let rig = Rig::ready().await;
    rig.authority.state().silent = true;
    let begun = tokio::time::Instant::now();
    let answer = rig.post("/v1/tokens/vault", json!({})).await;
    assert_eq!(answer.code(), (503, "key_unavailable"), "{}", answer.text);
    assert!(answer.text.contains("signs at the authority"), "{}", answer.text);
    assert_eq!(retry_after(&answer), "1");
    assert!(begun.elapsed() <= super::PATIENCE + super::PATIENCE / 10);
}

// R37
#[tokio::test]
async fn what_the_authority_refuses_is_answered_as_it_would_be_here() {
    let rig = Rig::ready().await;
    let cases = [
        (Code::ResourceExhausted, "overloaded", (503, "key_unavailable"), true),
        (Code::Unavailable, "unavailable", (503, "key_unavailable"), true),
        (Code::Internal, "internal", (503, "key_unavailable"), true),
        (Code::FailedPrecondition, "key_disabled", (409, "key_disabled"), false),
        (
            Code::FailedPrecondition,
            "key_unavailable",
            (503, "key_unavailable"),
            false,
        ),
        (Code::PermissionDenied, "edge_revoked", (503, "edge_revoked"), false),
        (Code::PermissionDenied, "no_permit", (503, "key_unavailable"), false),
    ];
    for (status, code, answered, again) in cases {
        let mut refusal = tonic::Status::new(status, "no");
        refusal.metadata_mut().insert(FAULT_CODE, code.parse().unwrap());
        rig.authority.state().refusal = Some(refusal);
        let answer = rig.post("/v1/tokens/vault", json!({})).await;
        assert_eq!(answer.code(), answered, "{code}: {}", answer.text);
        let retry = answer.headers.get("retry-after");
        assert_eq!(retry.map(|seconds| seconds == "1"), again.then_some(true), "{code}");
    }
    rig.authority.state().refusal = None;
    assert_eq!(rig.post("/v1/tokens/vault", json!({})).await.status, 201);
}
