use node::contract::{EnrollRequest, RenewRequest};
use signing::algorithm::Algorithm;
use signing::key::SigningKey;
use signing::node_certificate::{TlsNames, Usage};

use super::*;
use crate::testing::{Bench, csr};

async fn token(bench: &Bench, id: &str, ttl: u64) -> String {
    let id = EdgeId::parse(id).unwrap();
    bench
        .wired
        .edges
        .create_token(&id, ttl, BTreeMap::new())
        .await
        .unwrap()
        .0
}

fn request(token: &str) -> EnrollRequest {
    EnrollRequest {
        join_token: token.to_owned(),
        csr: csr(),
        ..EnrollRequest::default()
    }
}

fn der(certificates: &[Vec<u8>]) -> Vec<CertificateDer<'static>> {
    certificates
        .iter()
        .map(|der| CertificateDer::from(der.clone()))
        .collect()
}

async fn refused(bench: &Bench, certificates: &[CertificateDer<'static>]) -> String {
    bench
        .wired
        .edges
        .authenticate(certificates)
        .await
        .unwrap_err()
        .to_string()
}

#[tokio::test]
async fn a_join_token_makes_an_edge_once() {
    let bench = Bench::new().await;
    let token = token(&bench, "edge-1", 600).await;
    let response = bench.enrollment.enroll(&request(&token)).await.unwrap();
    assert_eq!(response.spiffe_id, "spiffe://example.org/edge/edge-1");
    let edge = bench
        .wired
        .edges
        .authenticate(&der(&response.certificates))
        .await
        .unwrap();
    assert_eq!(edge.id().as_str(), "edge-1");
    let fault = bench.enrollment.enroll(&request(&token)).await.unwrap_err();
    assert!(
        matches!(&fault, Fault::Unauthenticated { message } if message.contains("used before")),
        "{fault}"
    );
}

#[tokio::test]
async fn two_that_use_one_token_at_once_make_one_edge() {
    let bench = Bench::new().await;
    let token = token(&bench, "edge-1", 600).await;
    let (one, two) = (request(&token), request(&token));
    let (one, two) = tokio::join!(bench.enrollment.enroll(&one), bench.enrollment.enroll(&two));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
}

#[tokio::test]
async fn expired_unknown_and_malformed_tokens_are_refused() {
    let bench = Bench::new().await;
    let old = token(&bench, "edge-1", 60).await;
    bench.pass(60);
    for (bad, why) in [
        (old.clone(), "expired"),
        (format!("{TOKEN_PREFIX}{}", "A".repeat(43)), "unknown"),
        (String::new(), "no join token"),
        ("x".repeat(10_000), "no join token"),
        (format!("{old} "), "unknown"),
    ] {
        let fault = bench.enrollment.enroll(&request(&bad)).await.unwrap_err();
        assert!(
            matches!(&fault, Fault::Unauthenticated { message } if message.contains(why)),
            "{fault}"
        );
        assert!(!fault.to_string().contains(old.as_str()), "R10");
    }
    let id = EdgeId::parse("edge-1").unwrap();
    for ttl in [0, 7 * 86_400 + 1] {
        assert!(bench.wired.edges.create_token(&id, ttl, BTreeMap::new()).await.is_err());
    }
}

#[tokio::test]
async fn no_edge_is_called_as_an_authoritys_recorder_is() {
    let bench = Bench::new().await;
    let said = |fault: Fault| assert!(fault.to_string().contains("kept for authorities"), "{fault}");
    for id in ["authority", "authority-a"] {
        let id = EdgeId::parse(id).unwrap();
        said(
            bench
                .wired
                .edges
                .create_token(&id, 600, BTreeMap::new())
                .await
                .unwrap_err(),
        );
        // A token from before such names were refused.
        let token = format!("{TOKEN_PREFIX}{id}");
        let record = TokenRecord {
            edge_id: id,
            labels: BTreeMap::new(),
            expires_at: bench.now() + 600,
            used_at: None,
        };
        let change = Change::new().create(token_path(&token), &record);
        bench.wired.vault.commit(change).await.unwrap();
        said(bench.enrollment.enroll(&request(&token)).await.unwrap_err());
    }
    token(&bench, "authority2", 600).await;
}

#[tokio::test]
async fn a_bad_request_for_a_certificate_does_not_use_the_token_up() {
    let bench = Bench::new().await;
    let token = token(&bench, "edge-1", 600).await;
    let wide = signing::csr::create(&SigningKey::generate(Algorithm::Es384).unwrap()).unwrap();
    let mut unsigned = csr();
    *unsigned.last_mut().unwrap() ^= 1;
    for csr in [Vec::new(), vec![0; 100], wide, unsigned] {
        let fault = bench
            .enrollment
            .enroll(&EnrollRequest {
                join_token: token.clone(),
                csr,
                ..EnrollRequest::default()
            })
            .await
            .unwrap_err();
        assert!(matches!(fault, Fault::Invalid { .. }), "{fault}");
    }
    bench.enrollment.enroll(&request(&token)).await.unwrap();
}

// R10
#[tokio::test]
async fn a_token_is_stored_as_its_hash() {
    let bench = Bench::new().await;
    let token = token(&bench, "edge-1", 600).await;
    let file = std::fs::read(bench.path().join("store.redb")).unwrap();
    assert!(!file.windows(token.len()).any(|window| window == token.as_bytes()));
    let rows = bench.parts.store.scan(paths::TOKENS, None, 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(!rows[0].0.contains(&token));
}

#[tokio::test]
async fn a_certificate_is_renewed_and_the_old_one_counts_until_its_end() {
    let bench = Bench::new().await;
    let first = bench.enroll("edge-1").await;
    bench.pass(43_200);
    let edge = bench.wired.edges.authenticate(&first).await.unwrap();
    let renewed = bench
        .enrollment
        .renew(&edge, &RenewRequest { csr: csr() })
        .await
        .unwrap();
    let renewed = der(&renewed.certificates);
    bench.wired.edges.authenticate(&first).await.unwrap();
    bench.pass(43_201);
    // R19: asked again for each request, with the time of that request.
    assert!(refused(&bench, &first).await.contains("outside its validity"));
    bench.wired.edges.authenticate(&renewed).await.unwrap();
}

#[tokio::test]
async fn a_revoked_edge_stays_out_until_it_enrolls_anew() {
    let bench = Bench::new().await;
    let certificates = bench.enroll("edge-1").await;
    let id = EdgeId::parse("edge-1").unwrap();
    bench.wired.edges.revoke(&id, "stolen").await.unwrap();
    let fault = bench.wired.edges.authenticate(&certificates).await.unwrap_err();
    assert!(matches!(
        fault,
        Fault::Denied {
            code: "edge_revoked",
            ..
        }
    ));
    let bench = bench.restart().await;
    let fault = bench.wired.edges.authenticate(&certificates).await.unwrap_err();
    assert!(
        matches!(
            fault,
            Fault::Denied {
                code: "edge_revoked",
                ..
            }
        ),
        "durable"
    );
    let again = bench.enroll("edge-1").await;
    bench.wired.edges.authenticate(&again).await.unwrap();
    assert!(
        refused(&bench, &certificates).await.contains("replaced"),
        "the old certificate is good by its dates only"
    );
    let unknown = EdgeId::parse("edge-2").unwrap();
    assert!(matches!(
        bench.wired.edges.revoke(&unknown, "").await,
        Err(Fault::NotFound { .. })
    ));
}

// R18
#[tokio::test]
async fn only_an_edges_own_certificate_of_this_trust_domain_counts() {
    let bench = Bench::new().await;
    bench.enroll("edge-1").await;
    assert!(refused(&bench, &[]).await.contains("needed"));
    assert!(
        refused(&bench, &[CertificateDer::from(vec![1, 2, 3])])
            .await
            .contains("does not read")
    );
    for (id, why) in [
        ("spiffe://example.org/authority", "not an edge's"),
        ("spiffe://example.org.evil.test/edge/edge-1", "not an edge's"),
        ("spiffe://other.org/edge/edge-1", "not an edge's"),
        ("spiffe://example.org/edge/edge-1/more", "not an edge's"),
        ("spiffe://example.org/edge/unknown", "not known"),
        ("spiffe://example.org/edge/edge-1", "replaced"),
    ] {
        let names = TlsNames {
            common_name: "x".into(),
            spiffe_id: Some(id.into()),
            ..TlsNames::default()
        };
        let pair = SigningKey::generate(Algorithm::Es256).unwrap();
        let made = bench
            .wired
            .issuer
            .node(&names, Usage::NODE, pair.public().unwrap().to_spki_der(), 3600)
            .await
            .unwrap();
        let text = refused(&bench, &[CertificateDer::from(made.into_der())]).await;
        assert!(text.contains(why), "{id}: {text}");
    }
}

#[tokio::test]
async fn old_tokens_are_forgotten() {
    let bench = Bench::new().await;
    token(&bench, "edge-1", 60).await;
    assert_eq!(bench.wired.edges.sweep_tokens().await.unwrap(), 0);
    bench.pass(61 + TOKEN_MEMORY);
    assert_eq!(bench.wired.edges.sweep_tokens().await.unwrap(), 1);
}
