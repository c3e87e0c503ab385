use serde_json::json;
use signing::algorithm::Algorithm;
use signing::claims::Claims;
use signing::digest::sha256;
use signing::key::PublicKey;

use super::*;
use crate::testing::{Bench, DELEGATE, INCARNATION};

const ID: &str = "0d6a2f6e-8a5c-4f0e-9d5b-2f4c8a3b1c22";

/// A token key and an artifact key that the authority signs with, of this custody, under a bundle that names them.
async fn bench(custody: &str) -> (Bench, KeyRecord, KeyRecord) {
    let bench = Bench::new().await;
    let mut keys = Vec::new();
    for (family, alias) in [("token", "alias/token"), ("artifact", "alias/release")] {
        let tags = [("family", family), ("delegation", "none"), ("custody", custody)];
        let tags = tags.map(|(name, value)| json!({"TagKey": format!("signet:{name}"), "TagValue": value}));
        let body = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "Tags": tags});
        let made = bench.verb("CreateKey", body).await.unwrap();
        let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        let named = json!({"AliasName": alias, "TargetKeyId": id});
        bench.verb("CreateAlias", named).await.unwrap();
        keys.push(id);
    }
    bench.settle().await;
    bench.apply(DELEGATE).await;
    // Verifiers of tokens have learnt the key.
    bench.pass(900);
    let mut records = Vec::new();
    for id in &keys {
        records.push(bench.delegations.find(id).await.unwrap().value);
    }
    let artifact = records.pop().unwrap();
    (bench, records.pop().unwrap(), artifact)
}

fn request(key: &KeyRecord, profile: &str, input: Input) -> SignInHsmRequest {
    SignInHsmRequest {
        key_id: key.id.clone(),
        kid: key.versions[0].kid.clone(),
        input: Some(input),
        profile: profile.to_owned(),
        incarnation: INCARNATION.to_owned(),
        request_id: ID.to_owned(),
        caller: "oidc:https://ci.example#repo".to_owned(),
    }
}

/// What an edge would sign for the profile `api`.
fn token(key: &KeyRecord, now: u64, change: impl FnOnce(&mut Claims)) -> Vec<u8> {
    let mut claims = Claims {
        iss: Some("https://issuer.example".into()),
        aud: vec!["https://api.example".into()],
        iat: Some(now),
        exp: Some(now + 60),
        jti: Some(ID.into()),
        ..Claims::default()
    };
    change(&mut claims);
    let kid = &key.versions[0].kid;
    let input = jwt::signing_input(Algorithm::Es256, kid, &jwt::Header::default(), &claims);
    input.unwrap().into_bytes()
}

fn public(key: &KeyRecord) -> PublicKey {
    PublicKey::from_jwk(&serde_json::from_str(&key.versions[0].public_jwk).unwrap()).unwrap()
}

async fn code(bench: &Bench, edge: &KnownEdge, request: SignInHsmRequest) -> &'static str {
    let signed = bench.delegations.sign(edge, request, &mut Decided::default()).await;
    signed.unwrap_err().code()
}

#[tokio::test]
async fn both_custodies_sign_tokens_messages_and_digests() {
    for custody in ["wrapped", "token"] {
        let (bench, token_key, release) = bench(custody).await;
        let edge = bench.edge("edge-1").await;
        let input = token(&token_key, bench.now(), |_| ());
        let cases = [
            (&token_key, "api", Input::Token(input.clone()), input),
            (
                &release,
                "release",
                Input::Message(b"firmware".to_vec()),
                b"firmware".to_vec(),
            ),
            (
                &release,
                "release",
                Input::Digest(sha256(b"firmware").to_vec()),
                b"firmware".to_vec(),
            ),
        ];
        for (key, profile, input, message) in cases {
            let mut decided = Decided::default();
            let request = request(key, profile, input);
            let signed = bench.delegations.sign(&edge, request, &mut decided).await.unwrap();
            public(key).verify(&message, &signed.signature).unwrap();
            assert_eq!(decided.key.as_deref(), Some(key.id.as_str()));
            assert_eq!(decided.kid.as_deref(), Some(signed.kid.as_str()));
            assert_eq!(decided.policies.iter().collect::<Vec<_>>(), ["edges-get-keys"]);
        }
    }
}

// R38
#[tokio::test]
async fn a_token_key_signs_tokens_of_its_profile_and_nothing_else() {
    let (bench, key, release) = bench("wrapped").await;
    let (edge, now) = (bench.edge("edge-1").await, bench.now());
    let refused = async |input: Input| code(&bench, &edge, request(&key, "api", input)).await;
    assert_eq!(refused(Input::Message(b"anything".to_vec())).await, "wrong_family");
    assert_eq!(refused(Input::Digest(vec![7; 32])).await, "wrong_family");
    let other_typ = jwt::Header {
        typ: "at+jwt".into(),
        ..jwt::Header::default()
    };
    let kid = &key.versions[0].kid;
    let written = |algorithm, kid: &str, header: &jwt::Header| {
        let claims = jwt::inspect(
            &format!("{}.", String::from_utf8(token(&key, now, |_| ())).unwrap()),
            9999,
        );
        let input = jwt::signing_input(algorithm, kid, header, &claims.unwrap().claims);
        input.unwrap().into_bytes()
    };
    let plain = jwt::Header::default();
    let cases = [
        ("bytes", b"anything at all".to_vec()),
        ("no text", vec![0xff; 40]),
        ("more behind it", [&token(&key, now, |_| ())[..], b".e30"].concat()),
        ("algorithm", written(Algorithm::Es384, kid, &plain)),
        ("version", written(Algorithm::Es256, "another", &plain)),
        ("type", written(Algorithm::Es256, kid, &other_typ)),
        (
            "issuer",
            token(&key, now, |claims| claims.iss = Some("https://other.example".into())),
        ),
        ("no issuer", token(&key, now, |claims| claims.iss = None)),
        (
            "audience",
            token(&key, now, |claims| claims.aud = vec!["https://bank.example".into()]),
        ),
        ("id", token(&key, now, |claims| claims.jti = None)),
        ("past", token(&key, now, |claims| claims.iat = Some(now - 3600))),
        (
            "future",
            token(&key, now, |claims| {
                (claims.iat, claims.exp) = (Some(now + 600), Some(now + 660))
            }),
        ),
        ("lifetime", token(&key, now, |claims| claims.exp = Some(now + 86_400))),
        ("no end", token(&key, now, |claims| claims.exp = None)),
    ];
    for (what, input) in cases {
        assert_eq!(refused(Input::Token(input)).await, "not_a_token", "{what}");
    }
    let input = Input::Token(token(&key, now, |_| ()));
    assert_eq!(
        code(&bench, &edge, request(&release, "release", input.clone())).await,
        "wrong_family"
    );
    assert_eq!(
        code(&bench, &edge, request(&key, "release", input.clone())).await,
        "no_profile"
    );
    assert_eq!(refused(Input::Message(vec![0; MAX_INPUT + 1])).await, "bad_request");
    let good = bench
        .delegations
        .sign(&edge, request(&key, "api", input), &mut Decided::default())
        .await;
    good.unwrap();
}

// R35
#[tokio::test]
async fn what_is_stopped_or_not_permitted_signs_nothing() {
    let (bench, _, key) = bench("wrapped").await;
    let edge = bench.edge("edge-1").await;
    let message = || request(&key, "release", Input::Message(b"firmware".to_vec()));
    let signed = async || bench.delegations.sign(&edge, message(), &mut Decided::default()).await;
    signed().await.unwrap();

    let id = json!({"KeyId": key.id});
    bench.verb("DisableKey", id.clone()).await.unwrap();
    assert_eq!(signed().await.unwrap_err().code(), "key_disabled");
    bench.verb("EnableKey", id.clone()).await.unwrap();
    signed().await.unwrap();

    let other = SignInHsmRequest {
        kid: "another".into(),
        ..message()
    };
    assert_eq!(code(&bench, &edge, other).await, "key_unavailable");

    let shared = bench.key("ECC_NIST_P256", "artifact", "shared", "alias/shared").await;
    let other = SignInHsmRequest {
        key_id: shared,
        ..message()
    };
    assert_eq!(code(&bench, &edge, other).await, "wrong_delegation");

    let only_shared = "@id(\"shared\")\npermit (principal is Edge, action == Action::\"Delegate\", resource is Key)\n\
                       when { context.mode == \"shared\" };\n";
    bench.apply(only_shared).await;
    assert_eq!(signed().await.unwrap_err().code(), "no_permit");
    bench.apply(DELEGATE).await;

    bench.wired.edges.revoke(edge.id(), "stolen").await.unwrap();
    assert_eq!(signed().await.unwrap_err().code(), "edge_revoked");
}
