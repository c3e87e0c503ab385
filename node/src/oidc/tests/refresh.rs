use super::*;

const PAUSE: u64 = 30;
const REFRESH: u64 = 300;
const DAY: u64 = 24 * 3600;

fn long_lived() -> Value {
    claims_with("exp", json!(NOW + 10 * DAY))
}

async fn remote(signers: &[&Signer]) -> (Server, Arc<Issuers>) {
    let server = Server::start(jwks(signers)).await;
    let issuers = Issuers::new(vec![config(&["ES256"], server.source())]).unwrap();
    (server, Arc::new(issuers))
}

/// Refreshes run in the background: asks `reached` until it is true and the server was asked `fetches` times.
async fn until(server: &Server, fetches: usize, mut reached: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !reached().await || server.fetches() < fetches {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), reached)
        .await
        .unwrap();
}

// R8
#[tokio::test]
async fn a_hundred_thousand_random_kids_cause_one_fetch() {
    let signer = Signer::new("k", "ES256");
    let (server, issuers) = remote(&[&signer]).await;
    let payload = base64url(claims().to_string());
    for number in 0..100_000_u32 {
        let header = base64url(format!(r#"{{"alg":"ES256","kid":"random-{number}"}}"#));
        let now = NOW + u64::from(number % u32::try_from(PAUSE).unwrap());
        assert_eq!(
            code(&issuers, &format!("{header}.{payload}.AAAA"), now).await,
            "unknown_key"
        );
    }
    assert_eq!(server.fetches(), 1);
    assert_eq!(code(&issuers, &signer.token("ES256", &claims()), NOW).await, "");
}

// R8
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_at_the_same_time_share_one_fetch() {
    let signer = Signer::new("k", "ES256");
    let (server, issuers) = remote(&[&signer]).await;
    let token = signer.token("ES256", &claims());
    let callers = (0..200).map(|_| {
        let (issuers, token) = (Arc::clone(&issuers), token.clone());
        tokio::spawn(async move { code(&issuers, &token, NOW).await })
    });
    for answer in futures_util::future::join_all(callers.collect::<Vec<_>>()).await {
        assert_eq!(answer.unwrap(), "");
    }
    assert_eq!(server.fetches(), 1);
}

// R8
#[tokio::test]
async fn a_new_key_is_found_after_the_pause() {
    let (old, new) = (Signer::new("old", "ES256"), Signer::new("new", "ES256"));
    let (server, issuers) = remote(&[&old]).await;
    issuers.warm(NOW).await;
    issuers.warm(NOW).await;
    assert_eq!(server.fetches(), 1);
    server.set(200, jwks(&[&old, &new]));
    let token = new.token("ES256", &claims());
    assert_eq!(code(&issuers, &token, NOW + PAUSE - 1).await, "unknown_key");
    assert_eq!(server.fetches(), 1);
    assert_eq!(code(&issuers, &token, NOW + PAUSE).await, "");
    assert_eq!(server.fetches(), 2);
}

// R5
#[tokio::test]
async fn a_key_that_leaves_the_document_takes_verified_tokens_with_it() {
    let (old, new) = (Signer::new("old", "ES256"), Signer::new("new", "ES256"));
    let (server, issuers) = remote(&[&old]).await;
    let token = old.token("ES256", &long_lived());
    assert_eq!(code(&issuers, &token, NOW).await, "");
    server.set(200, jwks(&[&new]));
    assert_eq!(
        code(&issuers, &token, NOW + REFRESH).await,
        "",
        "served while the refresh runs"
    );
    until(&server, 2, async || {
        code(&issuers, &token, NOW + REFRESH).await == "unknown_key"
    })
    .await;
}

// R8
#[tokio::test]
async fn old_keys_are_used_for_a_day_while_the_issuer_is_down() {
    let signer = Signer::new("k", "ES256");
    let (server, issuers) = remote(&[&signer]).await;
    let token = signer.token("ES256", &long_lived());
    assert_eq!(code(&issuers, &token, NOW).await, "");
    let broken = [
        (500, b"{}".to_vec()),
        (200, b"<html>".to_vec()),
        (200, b"{\"keys\":[]}".to_vec()),
        (302, jwks(&[&signer])),
    ];
    for (number, (status, document)) in broken.into_iter().enumerate() {
        server.set(status, document);
        let now = NOW + REFRESH * (number as u64 + 1);
        until(&server, number + 2, async || {
            code(&issuers, &token, now).await.is_empty()
        })
        .await;
    }
    server.set(200, vec![b' '; 256 * 1024 + 1]);
    until(&server, 6, async || {
        code(&issuers, &token, NOW + DAY - 1).await.is_empty()
    })
    .await;
    assert_eq!(code(&issuers, &token, NOW + DAY).await, "unknown_key");
    server.set(200, jwks(&[&signer]));
    assert_eq!(code(&issuers, &token, NOW + DAY + PAUSE).await, "");
}

#[tokio::test]
async fn an_issuer_that_was_down_at_first_is_tried_again_soon() {
    let signer = Signer::new("k", "ES256");
    let (server, issuers) = remote(&[&signer]).await;
    server.set(503, Vec::new());
    let token = signer.token("ES256", &claims());
    let error = issuers.authenticate(&token, NOW).await.unwrap_err();
    assert_eq!(error.code(), "unknown_key");
    assert!(error.to_string().contains("cannot be fetched"), "{error}");
    server.set(200, jwks(&[&signer]));
    assert_eq!(code(&issuers, &token, NOW + 4).await, "unknown_key");
    assert_eq!(server.fetches(), 1);
    assert_eq!(code(&issuers, &token, NOW + 5).await, "");
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_stop_refreshes() {
    let (old, new) = (Signer::new("old", "ES256"), Signer::new("new", "ES256"));
    let (server, issuers) = remote(&[&old]).await;
    assert_eq!(code(&issuers, &old.token("ES256", &claims()), NOW).await, "");
    server.set(200, jwks(&[&new]));
    let earlier = NOW - 3600;
    let token = new.token("ES256", &claims_with("iat", json!(earlier)));
    assert_eq!(code(&issuers, &token, earlier).await, "");
}

#[tokio::test]
async fn keys_survive_a_change_of_rules_while_the_issuer_is_down() {
    let signer = Signer::new("k", "ES256");
    let (server, issuers) = remote(&[&signer]).await;
    let token = signer.token("ES256", &claims());
    assert_eq!(code(&issuers, &token, NOW).await, "");
    server.set(500, Vec::new());
    let moved = IssuerConfig {
        tenant: "000000000002".into(),
        ..config(&["ES256"], server.source())
    };
    issuers.replace(vec![moved]).unwrap();
    assert_eq!(
        issuers.authenticate(&token, NOW).await.unwrap().tenant(),
        "000000000002"
    );
    assert_eq!(server.fetches(), 1);
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let (old, new) = (Signer::new("old", "ES256"), Signer::new("new", "ES256"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let issuers = Issuers::new(vec![config(&["ES256"], JwksSource::File(path.clone()))]).unwrap();
    let token = new.token("ES256", &claims());
    assert_eq!(code(&issuers, &token, NOW).await, "unknown_key", "no such file");
    std::fs::write(&path, jwks(&[&old])).unwrap();
    assert_eq!(code(&issuers, &token, NOW + 5).await, "unknown_key");
    std::fs::write(&path, jwks(&[&old, &new])).unwrap();
    assert_eq!(code(&issuers, &token, NOW + 5 + PAUSE).await, "");
    std::fs::write(&path, vec![b' '; 256 * 1024 + 1]).unwrap();
    let unknown = old.token_with(&json!({"alg": "ES256", "kid": "x"}), &claims());
    assert_eq!(code(&issuers, &unknown, NOW + 5 + 2 * PAUSE).await, "unknown_key");
    assert_eq!(code(&issuers, &token, NOW + 5 + 2 * PAUSE).await, "");
}
