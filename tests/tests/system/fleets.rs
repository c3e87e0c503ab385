//! Edges that enroll by themselves, with a token that their platform gives them, by the real binary.

use signing::algorithm::Algorithm;
use signing::claims::Claims;
use signing::format::jwt;
use signing::jwk::Jwk;
use signing::key::SigningKey;
use system_tests::{Output, run, signet, within};

use crate::production::site::{Hsm, Process, Site};

const ISSUER: &str = "https://cluster.example.org";
const SUBJECT: &str = "system:serviceaccount:edge:signet";

/// A cluster that gives each pod a token.
struct Cluster(SigningKey);

impl Cluster {
    fn new(site: &Site) -> Cluster {
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let jwk = Jwk::from_public(key.public().unwrap()).to_json();
        site.write("cluster.jwks.json", &format!("{{\"keys\":[{jwk}]}}"));
        Cluster(key)
    }

    /// Gives the pod `name` a new token.
    fn project(&self, site: &Site, name: &str) {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let claims = Claims {
            iss: Some(ISSUER.into()),
            sub: Some(SUBJECT.into()),
            aud: vec!["signet-edges".into()],
            iat: Some(now),
            exp: Some(now + 3600),
            jti: Some(format!(
                "{name}-{:x}",
                std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()
            )),
            ..Claims::default()
        };
        let token = jwt::mint(&self.0, &jwt::Header::default(), &claims).unwrap();
        site.write(&format!("etc/{name}.token"), &format!("{token}\n"));
    }
}

/// The configuration of the pod `name`, with a token and a state directory of its own.
fn pod(site: &Site, name: &str) {
    let text = std::fs::read_to_string(site.path("etc/edge.toml")).unwrap();
    let text = text.replace("lib/signet-edge", &format!("lib/{name}"));
    let (before, listen) = text.split_once("https = \"").unwrap();
    let (_, after) = listen.split_once('"').unwrap();
    let join = "[join]\noidc_token_file = \"/etc/signet/NAME.token\"\ntrust_rule = \"k8s\"\nnode_root_file = \
                \"/etc/signet/admin/node-root.pem\"\n";
    let join = site.here(&join.replace("NAME", name));
    site.write(
        &format!("etc/{name}.toml"),
        &format!("{before}https = \"127.0.0.1:0\"{after}\n{join}"),
    );
}

fn start(site: &Site, name: &str) -> Process {
    site.spawn("edge", name)
}

fn edges(site: &Site) -> Vec<serde_json::Value> {
    let listed = site.bash("signet edges list --json").success();
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let all = listed["edges"].as_array().unwrap().clone();
    all.into_iter().filter(|edge| edge["enrolled_by"] == "k8s").collect()
}

fn ran(site: &Site, name: &str) -> Output {
    run(std::process::Command::new(signet())
        .args(["edge", "run", "--config"])
        .arg(site.path(&format!("etc/{name}.toml"))))
}

const ADD: &str = "signet edges trust add k8s --issuer https://cluster.example.org --audience signet-edges \
                   --algorithm ES256 --jwks-file cluster.jwks.json --label region=eu --prefix pod";

// R7
#[test]
fn a_fleet_enrolls_by_its_platforms_tokens_and_is_revoked_as_one() {
    let site = Site::walk(Hsm::Software);
    let cluster = Cluster::new(&site);
    let wide = site.bash(&format!("{ADD} --subject 'system:serviceaccount:*'"));
    assert!(wide.code == 1 && wide.stderr.contains("whole organisation"), "{wide:?}");
    site.bash(&format!("{ADD} --subject {SUBJECT}")).success();
    let listed = site.bash("signet edges trust list").success();
    assert!(listed.contains(SUBJECT) && listed.contains("enrolls"), "{listed}");

    for name in ["one", "two", "three"] {
        pod(&site, name);
        cluster.project(&site, name);
    }
    let (one, two) = (start(&site, "one"), start(&site, "two"));
    let connected = || edges(&site).iter().filter(|edge| edge["connected"] == true).count();
    within(30, "both are edges", || connected() == 2);
    for edge in edges(&site) {
        assert!(edge["id"].as_str().unwrap().starts_with("pod-"), "{edge}");
        assert_eq!(edge["labels"]["region"], "eu");
    }

    // A restarted edge has its identity; a token makes no second one.
    one.kill();
    let one = start(&site, "one");
    within(30, "it is back", || connected() == 2);
    assert_eq!(edges(&site).len(), 2);
    std::fs::copy(site.path("etc/one.token"), site.path("etc/three.token")).unwrap();
    let used = ran(&site, "three");
    assert!(used.code == 1 && used.stderr.contains("used before"), "{used:?}");
    std::fs::remove_file(site.path("etc/three.token")).unwrap();
    let none = ran(&site, "three");
    assert!(
        none.code == 1 && none.stderr.contains("join.oidc_token_file"),
        "{none:?}"
    );

    let revoked = site
        .bash("signet edges revoke --trust k8s --reason 'the cluster is lost'")
        .success();
    assert!(revoked.contains("2 edges"), "{revoked}");
    assert!(edges(&site).iter().all(|edge| edge["state"] == "revoked"));
    cluster.project(&site, "three");
    let stopped = ran(&site, "three");
    assert!(
        stopped.code == 1 && stopped.stderr.contains("was stopped"),
        "{stopped:?}"
    );
    let listed = site.bash("signet edges trust list").success();
    assert!(listed.contains("stopped at"), "{listed}");
    // The edge that an operator let in is none of the rule's.
    assert_eq!(site.mint().status, 201);
    site.bash("signet edges trust remove k8s").success();
    drop((one, two));
}
