use node::contract::{EnrollRequest, EnrollResponse};
use serde_json::{Value, json};
use signing::algorithm::Algorithm;
use signing::claims::Claims;
use signing::format::jwt;
use signing::jwk::Jwk;
use signing::key::SigningKey;

use super::*;
use crate::edges::{Edges, IssuedCertificate};
use crate::testing::{Bench, csr};

const ISSUER: &str = "https://cluster.example";
const SUBJECT: &str = "system:serviceaccount:edge:signet";

struct Cluster(SigningKey);

impl Cluster {
    fn new() -> Self {
        Self(SigningKey::generate(Algorithm::Es256).unwrap())
    }

    fn terms(&self) -> Value {
        let jwk = Jwk::from_public(self.0.public().unwrap()).to_json();
        json!({
            "issuer": ISSUER, "audiences": ["signet-edges"], "subject": SUBJECT, "algorithms": ["ES256"],
            "jwks": format!("{{\"keys\":[{jwk}]}}"), "labels": {"region": "eu"}, "prefix": "k8s"
        })
    }

    fn token(&self, now: u64, id: &str, change: impl FnOnce(&mut Claims)) -> String {
        let mut claims = Claims {
            iss: Some(ISSUER.into()),
            sub: Some(SUBJECT.into()),
            aud: vec!["signet-edges".into()],
            iat: Some(now),
            exp: Some(now + 600),
            jti: Some(id.into()),
            ..Claims::default()
        };
        change(&mut claims);
        jwt::mint(&self.0, &jwt::Header::default(), &claims).unwrap()
    }
}

fn name(text: &str) -> EdgeId {
    EdgeId::parse(text).unwrap()
}

fn terms(cluster: &Cluster, change: &[(&str, Value)]) -> Terms {
    let mut terms = cluster.terms();
    for (member, value) in change {
        terms[member] = value.clone();
    }
    serde_json::from_value(terms).unwrap()
}

async fn enroll(bench: &Bench, rule: &str, token: &str) -> Result<EnrollResponse, Fault> {
    let request = EnrollRequest {
        oidc_token: token.to_owned(),
        trust_rule: rule.to_owned(),
        csr: csr(),
        ..EnrollRequest::default()
    };
    bench.enrollment.enroll(&request).await
}

fn said<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
    result.unwrap_err().to_string()
}

// R7
#[tokio::test]
async fn a_rule_without_its_pins_is_refused_when_it_is_made() {
    let (bench, cluster) = (Bench::new().await, Cluster::new());
    let rules = &bench.wired.edge_trust;
    for (member, value, why) in [
        ("issuer", json!(""), "iss"),
        ("issuer", json!("https://*.example"), "iss"),
        ("audiences", json!([]), "audience"),
        ("audiences", json!(["*"]), "audience"),
        ("subject", json!(""), "subject"),
        ("subject", json!("*"), "subject"),
        ("subject", json!("system:serviceaccount:*"), "whole organisation"),
        ("subject", json!("repo:acme/*"), "whole organisation"),
        ("algorithms", json!([]), "algorithms"),
        ("algorithms", json!(["HS256"]), "HS256"),
        ("algorithms", json!(["none"]), "none"),
        ("jwks", json!("{}"), "jwks"),
        ("jwks", Value::Null, "jwks"),
        ("jwks_url", json!("https://x.example/jwks"), "one place"),
        ("max_edges", json!(0), "at least 1"),
        ("per_minute", json!(0), "at least 1"),
        ("prefix", json!("Not An Id"), "id"),
        ("prefix", json!("authority"), "kept for authorities"),
        ("prefix", json!("authority-b"), "kept for authorities"),
        ("prefix", json!("a".repeat(41)), "at most 40"),
        ("labels", json!({"region": "x".repeat(300)}), "labels"),
    ] {
        let refused = said(
            rules
                .add(name("k8s"), terms(&cluster, &[(member, value.clone())]))
                .await,
        );
        assert!(refused.contains(why), "{member} {value}: {refused}");
        assert!(!refused.contains("callers.oidc"), "it is no caller's rule: {refused}");
    }
    rules.add(name("k8s"), terms(&cluster, &[])).await.unwrap();
    assert!(said(rules.add(name("k8s"), terms(&cluster, &[])).await).contains("already"));
}

#[tokio::test]
async fn a_token_makes_one_edge_with_the_rules_labels() {
    let (bench, cluster) = (Bench::new().await, Cluster::new());
    bench
        .wired
        .edge_trust
        .add(name("fleet"), terms(&cluster, &[]))
        .await
        .unwrap();
    let token = cluster.token(bench.now(), "a", |_| ());
    let enrolled = enroll(&bench, "fleet", &token).await.unwrap();
    assert!(
        enrolled.edge_id.starts_with("k8s-") && enrolled.edge_id.len() == 20,
        "{}",
        enrolled.edge_id
    );
    let record = bench.wired.edges.list().await.unwrap().remove(0);
    assert_eq!(record.labels["region"], "eu");
    assert_eq!(record.enrolled_by, Some(name("fleet")));
    assert!(said(enroll(&bench, "fleet", &token).await).contains("used before"));
    // The same claims under another good signature are the same token.
    let (signed, _) = token.rsplit_once('.').unwrap();
    let again = signing::encoding::base64url(&cluster.0.sign(signed.as_bytes()).unwrap());
    assert!(said(enroll(&bench, "fleet", &format!("{signed}.{again}")).await).contains("used before"));
    // Once it is forgotten it has long expired.
    bench.pass(8 * 86_400);
    bench.wired.edges.sweep_tokens().await.unwrap();
    assert!(said(enroll(&bench, "fleet", &token).await).contains("expired"));
}

#[tokio::test]
async fn of_two_at_once_with_one_token_one_gets_in() {
    let (bench, cluster) = (Bench::new().await, Cluster::new());
    bench
        .wired
        .edge_trust
        .add(name("fleet"), terms(&cluster, &[]))
        .await
        .unwrap();
    let token = cluster.token(bench.now(), "a", |_| ());
    let (one, two) = tokio::join!(enroll(&bench, "fleet", &token), enroll(&bench, "fleet", &token));
    let refused = if one.is_ok() { two } else { one };
    assert!(said(refused).contains("used before"));
    assert_eq!(bench.wired.edges.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_rule_does_not_pin_is_refused() {
    let (bench, cluster) = (Bench::new().await, Cluster::new());
    bench
        .wired
        .edge_trust
        .add(name("fleet"), terms(&cluster, &[]))
        .await
        .unwrap();
    let now = bench.now();
    type Change = fn(&mut Claims);
    let cases: [(Change, &str); 4] = [
        (
            |claims| claims.sub = Some("system:serviceaccount:edge:other".into()),
            "no rule allows",
        ),
        (|claims| claims.aud = vec!["signet".into()], "another audience"),
        (
            |claims| claims.iss = Some("https://other.example".into()),
            "not trusted",
        ),
        (|claims| claims.exp = Some(claims.iat.unwrap() - 1), "expired"),
    ];
    for (change, why) in cases {
        let refused = said(enroll(&bench, "fleet", &cluster.token(now, "a", change)).await);
        assert!(refused.contains(why), "{why}: {refused}");
    }
    let stranger = Cluster::new();
    assert!(said(enroll(&bench, "fleet", &stranger.token(now, "a", |_| ())).await).contains("refused"));
    let good = cluster.token(now, "a", |_| ());
    for rule in ["other", "", "../../keys", "FLEET"] {
        assert!(
            said(enroll(&bench, rule, &good).await).contains("is not here"),
            "{rule}"
        );
    }
    let both = EnrollRequest {
        oidc_token: good,
        trust_rule: "fleet".into(),
        join_token: "signet-join-x".into(),
        csr: csr(),
    };
    assert!(said(bench.enrollment.enroll(&both).await).contains("one of"));
    assert!(bench.wired.edges.list().await.unwrap().is_empty());
}

// R37
#[tokio::test]
async fn a_rule_has_no_more_edges_than_it_says_and_no_faster() {
    let (bench, cluster) = (Bench::new().await, Cluster::new());
    let bounds = [("max_edges", json!(3)), ("per_minute", json!(2))];
    bench
        .wired
        .edge_trust
        .add(name("fleet"), terms(&cluster, &bounds))
        .await
        .unwrap();
    let next = async |id: &str| enroll(&bench, "fleet", &cluster.token(bench.now(), id, |_| ())).await;
    next("a").await.unwrap();
    next("b").await.unwrap();
    assert!(matches!(next("c").await, Err(Fault::Busy { .. })));
    bench.pass(61);
    next("c").await.unwrap();
    bench.pass(61);
    assert!(matches!(next("d").await, Err(Fault::Busy { .. })), "three are there");
    // An edge whose certificate has ended makes room, and is forgotten a week later.
    bench.pass(86_400);
    next("e").await.unwrap();
    bench.pass(9 * 86_400);
    bench.wired.edges.sweep_tokens().await.unwrap();
    assert!(bench.wired.edges.list().await.unwrap().is_empty());
}

/// One of them.
fn take<'a>(
    edges: &'a Edges,
    left: &mut Vec<Admission>,
    first: &IssuedCertificate,
) -> impl Future<Output = Result<(), Fault>> + use<'a> {
    edges.admit(left.pop().unwrap(), first.clone())
}

// R37
#[tokio::test]
async fn many_at_once_do_not_pass_a_rules_bounds() {
    for (bounds, most) in [
        ([("max_edges", json!(2)), ("per_minute", json!(60))], 2),
        ([("max_edges", json!(60)), ("per_minute", json!(3))], 3),
    ] {
        let (bench, cluster) = (Bench::new().await, Cluster::new());
        let rules = &bench.wired.edge_trust;
        rules.add(name("fleet"), terms(&cluster, &bounds)).await.unwrap();
        // Two authorities over one store; each has let three in to have their certificates made.
        let vault = bench.wired.vault.clone();
        let other = Edges::new(vault, bench.clock(), "example.org".into());
        let first = IssuedCertificate {
            serial: "01".into(),
            not_after: bench.now() + 600,
        };
        let mut admissions = Vec::new();
        for id in ["a", "b", "c", "d", "e", "f"] {
            let token = cluster.token(bench.now(), id, |_| ());
            admissions.push(rules.admission("fleet", &token).await.unwrap());
        }
        let own = &bench.wired.edges;
        let left = &mut admissions;
        let ended = tokio::join!(
            take(own, left, &first),
            take(&other, left, &first),
            take(own, left, &first),
            take(&other, left, &first),
            take(own, left, &first),
            take(&other, left, &first),
        );
        let refused = [ended.0, ended.1, ended.2, ended.3, ended.4, ended.5]
            .into_iter()
            .filter_map(Result::err)
            .collect::<Vec<_>>();
        assert_eq!(refused.len(), 6 - most, "{refused:?}");
        assert!(
            refused.iter().all(|fault| matches!(fault, Fault::Busy { .. })),
            "{refused:?}"
        );
        assert_eq!(own.list().await.unwrap().len(), most);
    }
}

#[tokio::test]
async fn all_edges_of_a_rule_are_revoked_as_one_and_it_makes_no_more() {
    let (bench, cluster) = (Bench::new().await, Cluster::new());
    let rules = bench.wired.edge_trust.clone();
    for rule in ["fleet", "other"] {
        rules.add(name(rule), terms(&cluster, &[])).await.unwrap();
    }
    let mut certificates = Vec::new();
    for (id, rule) in [("a", "fleet"), ("b", "fleet"), ("c", "other")] {
        let enrolled = enroll(&bench, rule, &cluster.token(bench.now(), id, |_| ()))
            .await
            .unwrap();
        let chain: Vec<_> = enrolled.certificates.into_iter().map(CertificateDer::from).collect();
        certificates.push(chain);
    }
    assert!(said(rules.stop(&name("flet")).await).contains("there is no"));
    let edges = rules.stop(&name("fleet")).await.unwrap();
    assert_eq!(edges.len(), 2);
    for edge in &edges {
        bench.wired.edges.revoke(edge, "the cluster is lost").await.unwrap();
    }
    for (chain, stands) in certificates.iter().zip([false, false, true]) {
        assert_eq!(bench.wired.edges.authenticate(chain).await.is_ok(), stands);
    }
    let refused = said(enroll(&bench, "fleet", &cluster.token(bench.now(), "d", |_| ())).await);
    assert!(refused.contains("was stopped"), "{refused}");
    enroll(&bench, "other", &cluster.token(bench.now(), "d", |_| ()))
        .await
        .unwrap();
    // Removed and made anew, it enrolls again; the edges of before stay revoked.
    rules.remove(&name("fleet")).await.unwrap();
    assert!(said(rules.remove(&name("fleet")).await).contains("there is no"));
    rules.add(name("fleet"), terms(&cluster, &[])).await.unwrap();
    enroll(&bench, "fleet", &cluster.token(bench.now(), "e", |_| ()))
        .await
        .unwrap();
    assert!(bench.wired.edges.authenticate(&certificates[0]).await.is_err());
}
