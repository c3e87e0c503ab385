//! Keys that no edge holds: the authority signs with them for what an edge has cleared.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use system_tests::{signal, within};

use crate::production::site::{Hsm, Site};

/// A site whose profile `api` signs with such a key of the tenant, of this custody.
fn site(custody: &str) -> Site {
    let site = Site::walk(Hsm::Software);
    site.bash(&format!(
        "signet keys create --alias alias/vault --spec ECC_NIST_P256 --family token --delegation none --custody {custody}"
    ))
    .success();
    site.bash("sed -i 's,^key = .*,key = \"alias/vault\",' bundle/profiles/api.toml")
        .success();
    notary(&site);
    let described = site.bash("signet keys describe alias/vault").success();
    let described: Value = serde_json::from_str(&described).unwrap();
    let kid = described["KeyMetadata"]["Signet"]["Versions"][0]["Kid"].clone();
    within(30, "the edge signs with the key", || {
        let answer = site.mint();
        answer.status == 201 && answer.json()["kid"] == kid
    });
    site
}

/// One more key that no edge holds, and a profile `notary` that signs artifacts with it.
pub fn notary(site: &Site) {
    site.bash(
        "signet keys create --alias alias/notary --spec ECC_NIST_P256 --family artifact --delegation none --custody token
         printf '%s\\n' 'tenant = \"000000000001\"' 'kind = \"artifact\"' 'key = \"alias/notary\"' 'algorithm = \"ES256\"' \
             > bundle/profiles/notary.toml
         printf '%s\\n' '@id(\"notary\") permit (principal is Caller, action == Action::\"SignArtifact\", resource == Profile::\"notary\");' \
             > bundle/policies/notary.cedar
         signet bundle apply ./bundle",
    )
    .success();
}

// R35, R38
#[test]
fn the_authority_signs_for_an_edge_until_it_is_told_to_stop() {
    for custody in ["token", "wrapped"] {
        let site = site(custody);
        let jwks = site.get("/i/acme/.well-known/jwks.json").json();
        let kid = site.mint().json()["kid"].clone();
        assert!(
            jwks["keys"].as_array().unwrap().iter().any(|key| key["kid"] == kid),
            "{jwks}"
        );

        // Another implementation, which has the key from the authority.
        site.write("firmware", "firmware 1.2.3");
        let body = json!({"message": "ZmlybXdhcmUgMS4yLjM="}).to_string();
        let answer = site.sign("notary", &body);
        assert_eq!(answer.status, 201, "{answer:?}");
        let answer = answer.json();
        assert_eq!(answer["certificates"], json!([]));
        site.write("firmware.b64", answer["signature"].as_str().unwrap());
        site.write("notary.pem", answer["public_key"].as_str().unwrap());
        let verified = site.bash(
            "base64 -d firmware.b64 > firmware.sig
             openssl dgst -sha256 -verify notary.pem -signature firmware.sig firmware",
        );
        assert!(verified.success().contains("Verified OK"));

        let fenced = site.bash("signet keys disable --wait alias/vault").success();
        assert!(fenced.contains("fenced; no edge signs"), "{fenced}");
        let refused = site.mint();
        assert_eq!((refused.status, refused.problem()), (409, "key_disabled".to_owned()));
        assert_eq!(site.sign("notary", &body).status, 201, "the other key goes on");
    }
}

// R37
#[test]
fn an_authority_that_hangs_costs_a_bounded_wait() {
    let site = site("token");
    let authority = site.authority.as_ref().unwrap().pid();
    signal(authority, Signal::STOP);
    let begun = Instant::now();
    let refused = site.mint();
    let waited = begun.elapsed();
    println!("with the authority stopped, refused after {waited:?}");
    assert!(waited < Duration::from_secs(7), "{waited:?}");
    assert_eq!((refused.status, refused.problem()), (503, "key_unavailable".to_owned()));
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("signs at the authority"),
        "{refused:?}"
    );
    assert_eq!(refused.field("retry-after").as_deref(), Some("1"));
    signal(authority, Signal::CONT);
    within(20, "it signs again", || site.mint().status == 201);
    let revoked = site.bash("signet edges revoke edge-fra-1 --reason stolen");
    revoked.success();
    within(10, "a revoked edge has nothing signed", || {
        site.mint().problem() == "edge_revoked"
    });
}
