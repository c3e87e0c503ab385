use node::handover::Sealed;
use serde_json::json;
use signing::algorithm::Algorithm;
use signing::delegation::verify_chain;
use signing::key::SigningKey;

use super::*;
use crate::testing::{Bench, DELEGATE, INCARNATION, NODE_KEY, RECEIVER, TENANT, own, shared, shared_with};

async fn bench() -> (Bench, String, String) {
    let bench = Bench::new().await;
    let token = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let release = bench.key("ECC_NIST_P256", "artifact", "own", "alias/release").await;
    bench.apply(DELEGATE).await;
    bench.pass(900);
    (bench, token, release)
}

fn code(result: Result<DelegateResponse, Fault>) -> &'static str {
    match result.unwrap_err() {
        Fault::Denied { code, .. } | Fault::State { code, .. } | Fault::Invalid { code, .. } => code,
        Fault::NotFound { .. } => "not_found",
        other => panic!("{other:?}"),
    }
}

fn shared_versions(response: DelegateResponse) -> SharedDelegation {
    match response.mode {
        Some(delegate_response::Mode::Shared(shared)) => shared,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_own_key_gets_a_chain_that_verifies() {
    let (bench, _, release) = bench().await;
    let edge = bench.edge("edge-1").await;
    let pair = SigningKey::generate(Algorithm::Es256).unwrap();
    let response = bench
        .delegate(&edge, &release, own(&pair, "edge-1", &release))
        .await
        .unwrap();
    let Some(delegate_response::Mode::Own(own)) = response.mode else {
        panic!()
    };
    let roots = vec![bench.wired.issuer.roots().delegations.der().to_vec()];
    let verified = verify_chain(&own.certificates, &roots, bench.now()).unwrap();
    assert_eq!(
        (verified.name.key.as_str(), verified.name.edge.as_str()),
        (release.as_str(), "edge-1")
    );
    assert_eq!(verified.name.incarnation, INCARNATION);
    assert_eq!(verified.scope.formats, ["raw"]);
    assert!(verified.code_signing);
    assert_eq!(verified.public_key.thumbprint(), pair.kid());
    assert_eq!(verified.not_after, bench.now() + 3600);
    assert!(verify_chain(&own.certificates, &roots, bench.now() + 3601).is_err());
    let nodes = vec![bench.wired.issuer.roots().nodes.der().to_vec()];
    assert!(
        verify_chain(&own.certificates, &nodes, bench.now()).is_err(),
        "the node root is another"
    );
}

#[tokio::test]
async fn without_or_with_a_wrong_proof_there_is_no_delegation() {
    let (bench, _, release) = bench().await;
    let edge = bench.edge("edge-1").await;
    let pair = SigningKey::generate(Algorithm::Es256).unwrap();
    let right = |edge: &str, key: &str| match own(&pair, edge, key) {
        delegate_request::Mode::Own(own) => own,
        delegate_request::Mode::Shared(_) => panic!(),
    };
    let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
    let wrong_key = OwnKey {
        public_key: stranger.public().unwrap().to_spki_der().to_vec(),
        ..right("edge-1", &release)
    };
    let cases = [
        (
            OwnKey {
                proof: Vec::new(),
                ..right("edge-1", &release)
            },
            "no_possession",
        ),
        (
            OwnKey {
                proof: vec![1; 64],
                ..right("edge-1", &release)
            },
            "no_possession",
        ),
        (right("edge-2", &release), "no_possession"),
        (right("edge-1", "0d6a2f6e-8a5c-4f0e-9d5b-2f4c8a3b1c22"), "no_possession"),
        (wrong_key, "no_possession"),
        (
            OwnKey {
                public_key: vec![1; 91],
                ..right("edge-1", &release)
            },
            "bad_request",
        ),
        (
            OwnKey {
                public_key: vec![1; 5000],
                ..right("edge-1", &release)
            },
            "bad_request",
        ),
    ];
    for (request, wanted) in cases {
        assert_eq!(
            code(
                bench
                    .delegate(&edge, &release, delegate_request::Mode::Own(request))
                    .await
            ),
            wanted
        );
    }
    let other = SigningKey::generate(Algorithm::EdDsa).unwrap();
    assert_eq!(
        code(bench.delegate(&edge, &release, own(&other, "edge-1", &release)).await),
        "bad_request"
    );
    let request = DelegateRequest {
        key_id: release.clone(),
        incarnation: INCARNATION.into(),
        mode: None,
    };
    assert_eq!(code(bench.delegations.delegate(&edge, request).await), "bad_request");
    let request = DelegateRequest {
        key_id: release,
        incarnation: "../x".into(),
        mode: Some(shared()),
    };
    assert_eq!(code(bench.delegations.delegate(&edge, request).await), "bad_request");
}

/// What the edge reads of a version that was handed out.
fn open(version: &SharedVersion, key: &str, not_after: u64, edge: &str, incarnation: &str) -> Option<Secret> {
    let sealed = Sealed {
        encapsulated: version.encapsulated.clone(),
        ciphertext: version.ciphertext.clone(),
    };
    let to = Address {
        edge,
        incarnation,
        key,
        kid: &version.kid,
        not_after,
    };
    let opened = RECEIVER.open(&to, &sealed).ok()?;
    Some(Secret::new(opened.to_vec()))
}

#[tokio::test]
async fn a_shared_key_opens_for_one_edge_process_version_and_end() {
    let (bench, token, _) = bench().await;
    let edge = bench.edge("edge-1").await;
    let delegation = shared_versions(bench.delegate(&edge, &token, shared()).await.unwrap());
    let (version, until) = (&delegation.versions[0], delegation.not_after);
    assert!(open(version, &token, until, "edge-1", INCARNATION).is_some());
    assert!(open(version, &token, until, "edge-2", INCARNATION).is_none());
    assert!(open(version, &token, until, "edge-1", &INCARNATION.replace('0', "1")).is_none());
    assert!(open(version, &token, until + 1, "edge-1", INCARNATION).is_none());
    assert!(open(version, "another", until, "edge-1", INCARNATION).is_none());
    let renamed = SharedVersion {
        kid: delegation.versions[1].kid.clone(),
        ..version.clone()
    };
    assert!(open(&renamed, &token, until, "edge-1", INCARNATION).is_none());
}

// R10
#[tokio::test]
async fn the_material_of_a_shared_key_is_in_no_message() {
    use prost::Message;
    let (bench, token, _) = bench().await;
    let edge = bench.edge("edge-1").await;
    let response = bench.delegate(&edge, &token, shared()).await.unwrap();
    let bytes = response.encode_to_vec();
    let path = paths::key(&Tenant::parse(TENANT).unwrap(), &token);
    let key = bench.wired.vault.get::<KeyRecord>(&path).await.unwrap().unwrap().value;
    assert!(!key.versions.is_empty());
    for version in &key.versions {
        let material = secret(&bench.wired.vault, &key, version).await.unwrap();
        // 16 bytes of the private scalar, which follows the headers of PKCS#8.
        for part in material.expose().windows(16).skip(36).take(16) {
            assert!(!bytes.windows(16).any(|window| window == part));
        }
    }
}

#[tokio::test]
async fn a_receiving_key_that_the_nodes_own_key_did_not_sign_gets_nothing() {
    let (bench, token, _) = bench().await;
    let edge = bench.edge("edge-1").await;
    let delegate_request::Mode::Shared(good) = shared() else {
        panic!()
    };
    let signed = |by: &SigningKey, edge: &str, incarnation: &str| {
        let message = handover::receiving_message("example.org", edge, incarnation, &good.receiving_key);
        by.sign(&message).unwrap()
    };
    let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
    let cases = [
        (Vec::new(), "no_possession"),
        (signed(&stranger, "edge-1", INCARNATION), "no_possession"),
        (signed(&NODE_KEY, "edge-2", INCARNATION), "no_possession"),
        // A request that was recorded from another process of this edge.
        (signed(&NODE_KEY, "edge-1", "ffff"), "no_possession"),
        (vec![0; 5000], "bad_request"),
    ];
    for (signature, wanted) in cases {
        let mode = delegate_request::Mode::Shared(SharedKey {
            signature,
            ..good.clone()
        });
        assert_eq!(code(bench.delegate(&edge, &token, mode).await), wanted);
    }
    for receiving_key in [Vec::new(), vec![9; 31], vec![9; 33], RECEIVER.public()[1..].to_vec()] {
        let mode = delegate_request::Mode::Shared(SharedKey {
            receiving_key,
            ..good.clone()
        });
        assert_eq!(code(bench.delegate(&edge, &token, mode).await), "bad_request");
    }
    let zero = vec![0; handover::RECEIVING_KEY_LEN];
    let message = handover::receiving_message("example.org", "edge-1", INCARNATION, &zero);
    let mode = delegate_request::Mode::Shared(SharedKey {
        signature: NODE_KEY.sign(&message).unwrap(),
        receiving_key: zero,
    });
    assert_eq!(code(bench.delegate(&edge, &token, mode).await), "bad_request");
}

#[tokio::test]
async fn a_shared_key_is_handed_out_with_its_standby() {
    let (bench, token, _) = bench().await;
    let edge = bench.edge("edge-1").await;
    let delegation = shared_versions(bench.delegate(&edge, &token, shared()).await.unwrap());
    assert_eq!(delegation.versions.len(), 2);
    assert_eq!(delegation.not_after, bench.now() + 3600);
    for version in &delegation.versions {
        let material = open(version, &token, delegation.not_after, "edge-1", INCARNATION).unwrap();
        let pair = SigningKey::import(Algorithm::Es256, &material).unwrap();
        assert_eq!(pair.kid(), version.kid);
    }
    // What has retired verifies by its public half; its private half stays here.
    bench.pass(86_400);
    bench.upkeep().await;
    let later = shared_versions(bench.delegate(&edge, &token, shared()).await.unwrap());
    assert_eq!(later.versions.len(), 2);
    assert!(later.versions.iter().all(|version| version.sign_until > bench.now()));
}

#[tokio::test]
async fn a_secret_is_handed_out_for_verifying_too_but_not_when_compromised() {
    let (bench, _, _) = bench().await;
    let cdn = bench.key("HMAC_256", "token", "shared", "alias/cdn").await;
    let edge = bench.edge("edge-1").await;
    bench.pass(86_400 + 900);
    bench.upkeep().await;
    let edge = match bench
        .wired
        .edges
        .authenticate(&bench.enroll(edge.id().as_str()).await)
        .await
    {
        Ok(edge) => edge,
        Err(fault) => panic!("{fault}"),
    };
    let delegation = shared_versions(bench.delegate(&edge, &cdn, shared()).await.unwrap());
    assert_eq!(delegation.versions.len(), 3);
    let kid = delegation.versions[1].kid.clone();
    bench
        .verb("MarkVersionCompromised", json!({"KeyId": cdn, "Kid": kid}))
        .await
        .unwrap();
    let delegation = shared_versions(bench.delegate(&edge, &cdn, shared()).await.unwrap());
    assert!(delegation.versions.iter().all(|version| version.kid != kid));
}

#[tokio::test]
async fn disabled_deleted_unknown_and_wrong_keys_are_refused() {
    let (bench, token, release) = bench().await;
    let raw = bench.key("ECC_NIST_P256", "raw", "none", "alias/raw").await;
    let edge = bench.edge("edge-1").await;
    assert_eq!(code(bench.delegate(&edge, &raw, shared()).await), "wrong_delegation");
    assert_eq!(
        code(bench.delegate(&edge, &release, shared()).await),
        "wrong_delegation"
    );
    let pair = SigningKey::generate(Algorithm::Es256).unwrap();
    assert_eq!(
        code(bench.delegate(&edge, &token, own(&pair, "edge-1", &token)).await),
        "wrong_delegation"
    );
    for unknown in ["0d6a2f6e-8a5c-4f0e-9d5b-2f4c8a3b1c22", "alias/token", "", "../../ca"] {
        assert_eq!(code(bench.delegate(&edge, unknown, shared()).await), "not_found");
    }
    bench.verb("DisableKey", json!({"KeyId": token})).await.unwrap();
    // R19: by the row, not by the view, which may be behind.
    assert_eq!(code(bench.delegate(&edge, &token, shared()).await), "key_disabled");
    bench.verb("EnableKey", json!({"KeyId": token})).await.unwrap();
    bench.delegate(&edge, &token, shared()).await.unwrap();
    bench
        .verb("ScheduleKeyDeletion", json!({"KeyId": token}))
        .await
        .unwrap();
    assert_eq!(code(bench.delegate(&edge, &token, shared()).await), "key_disabled");
}

#[tokio::test]
async fn an_edge_that_is_revoked_meanwhile_gets_nothing() {
    let (bench, token, _) = bench().await;
    // Authenticated a moment ago, revoked since.
    let edge = bench.edge("edge-1").await;
    bench.wired.edges.revoke(edge.id(), "stolen").await.unwrap();
    assert_eq!(code(bench.delegate(&edge, &token, shared()).await), "edge_revoked");
}

#[tokio::test]
async fn policies_decide_who_gets_which_key() {
    let (bench, token, release) = bench().await;
    let edge = bench.edge("edge-1").await;
    bench
        .apply("@id(\"nobody\")\nforbid (principal, action == Action::\"Delegate\", resource);\n")
        .await;
    let fault = bench.delegate(&edge, &token, shared()).await.unwrap_err();
    let Fault::Denied {
        code: "policy_denied",
        policies,
        ..
    } = fault
    else {
        panic!("{fault:?}")
    };
    assert_eq!(policies, ["nobody"]);
    let only = format!(
        "@id(\"one\")\npermit (principal == Edge::\"edge-1\", action == Action::\"Delegate\", resource == Key::\"{token}\");\n"
    );
    bench.apply(&only).await;
    bench.delegate(&edge, &token, shared()).await.unwrap();
    let pair = SigningKey::generate(Algorithm::Es256).unwrap();
    assert_eq!(
        code(bench.delegate(&edge, &release, own(&pair, "edge-1", &release)).await),
        "no_permit"
    );
    let other = bench.edge("edge-2").await;
    assert_eq!(
        code(bench.delegate(&other, &token, shared_with(&NODE_KEY, "edge-2")).await),
        "no_permit"
    );
}

#[tokio::test]
async fn a_policy_limits_a_key_to_the_edges_of_a_region() {
    let (bench, token, _) = bench().await;
    bench
        .verb(
            "TagResource",
            json!({"KeyId": token, "Tags": [{"TagKey": "region", "TagValue": "eu"}]}),
        )
        .await
        .unwrap();
    let policy = "@id(\"by-region\")\npermit (principal is Edge, action == Action::\"Delegate\", resource is Key)\n\
                  when { principal.hasTag(\"region\") && resource.hasTag(\"region\") &&\n\
                  principal.getTag(\"region\") == resource.getTag(\"region\") };\n";
    bench.apply(policy).await;
    let of = |region: Option<&str>| {
        region
            .map(|region| ("region".to_owned(), region.to_owned()))
            .into_iter()
            .collect()
    };
    for (id, region, may) in [
        ("edge-1", Some("eu"), true),
        ("edge-2", Some("us"), false),
        ("edge-3", None, false),
    ] {
        let edge = bench.edge_with(id, of(region)).await;
        let answer = bench.delegate(&edge, &token, shared_with(&NODE_KEY, id)).await;
        if may {
            assert_eq!(shared_versions(answer.unwrap()).versions.len(), 2);
        } else {
            assert_eq!(code(answer), "no_permit", "{id}");
        }
    }
}

#[tokio::test]
async fn before_the_first_bundle_nothing_is_delegated() {
    let bench = Bench::new().await;
    let token = bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let edge = bench.edge("edge-1").await;
    assert_eq!(code(bench.delegate(&edge, &token, shared()).await), "no_permit");
}

#[tokio::test]
async fn an_own_token_keys_scope_is_what_its_profiles_allow() {
    let bench = Bench::new().await;
    let token = bench.key("ECC_NIST_P256", "token", "own", "alias/token").await;
    bench.key("ECC_NIST_P256", "artifact", "own", "alias/release").await;
    bench.apply(DELEGATE).await;
    let edge = bench.edge("edge-1").await;
    let pair = SigningKey::generate(Algorithm::Es256).unwrap();
    let response = bench
        .delegate(&edge, &token, own(&pair, "edge-1", &token))
        .await
        .unwrap();
    let Some(delegate_response::Mode::Own(own)) = response.mode else {
        panic!()
    };
    let roots = vec![bench.wired.issuer.roots().delegations.der().to_vec()];
    let verified = verify_chain(&own.certificates, &roots, bench.now()).unwrap();
    assert_eq!(verified.scope.issuer.as_deref(), Some("https://issuer.example"));
    assert_eq!(verified.scope.audiences, ["https://api.example"]);
    assert_eq!(verified.scope.max_lifetime, 3600);
    assert!(!verified.code_signing);
}

#[tokio::test]
async fn a_ca_is_certified_anew_before_a_delegation_would_outlive_it() {
    let (bench, _, release) = bench().await;
    bench.pass(5 * 365 * 86_400 - 100);
    let edge = bench.edge("edge-1").await;
    let pair = SigningKey::generate(Algorithm::Es256).unwrap();
    let response = bench
        .delegate(&edge, &release, own(&pair, "edge-1", &release))
        .await
        .unwrap();
    let Some(delegate_response::Mode::Own(own)) = response.mode else {
        panic!()
    };
    let roots = vec![bench.wired.issuer.roots().delegations.der().to_vec()];
    let verified = verify_chain(&own.certificates, &roots, bench.now() + 3000).unwrap();
    assert_eq!(verified.not_after, bench.now() + 3600);
}
