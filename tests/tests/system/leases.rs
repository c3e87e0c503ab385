//! What was stopped stays stopped: fences, leases that run out, emergency stops. Times are printed; what is asserted of them
//! is the promise's own bound.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use system_tests::{Answer, Dev, signal, within};

use crate::production::site::{Hsm, Site};

/// 5 s · 1.01 / 0.99 + 250 ms, rounded up to what the documentation says.
const BOUND: Duration = Duration::from_millis(5_400);

fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status, answer.problem())
}

fn mint(dev: &Dev) -> Answer {
    dev.curl("/v1/tokens/api").post(r#"{"subject":"alice"}"#)
}

/// The guide's site, whose profile signs with a key that is leased for 5 s.
fn site_with_short_leases() -> Site {
    let site = Site::walk(Hsm::Software);
    let create =
        "signet keys create --alias alias/short --spec ECC_NIST_P256 --family token --delegation shared --lease 5s";
    site.bash(create).success();
    site.bash("sed -i 's,^key = .*,key = \"alias/short\",' bundle/profiles/api.toml && signet bundle apply ./bundle")
        .success();
    let described = site.bash("signet keys describe alias/short").success();
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["KeyMetadata"]["Signet"]["LeaseSeconds"], 5);
    let kid = described["KeyMetadata"]["Signet"]["Versions"][0]["Kid"]
        .as_str()
        .unwrap()
        .to_owned();
    within(20, "the edge signs with the key", || {
        let answer = site.mint();
        answer.status == 201 && answer.json()["kid"] == kid.as_str()
    });
    site
}

// R34, R35: a partition.
#[test]
fn an_edge_that_is_cut_off_stops_when_its_lease_ends_and_goes_on_when_it_is_back() {
    let site = site_with_short_leases();
    let authority = site.authority.as_ref().unwrap().pid();
    signal(authority, Signal::STOP);
    let begun = Instant::now();
    let mut last = Duration::ZERO;
    let refused = loop {
        let asked = begun.elapsed();
        let answer = site.mint();
        if answer.status != 201 {
            break answer;
        }
        last = asked;
        assert!(asked < Duration::from_secs(30), "it signs and signs");
    };
    println!("cut off, the last token was asked for after {last:?}; the bound is {BOUND:?}");
    assert!(last <= BOUND, "{last:?}");
    assert_eq!(refusal(&refused), (503, "key_unavailable".to_owned()));
    assert!(
        refused.json()["detail"].as_str().unwrap().contains("lease"),
        "{refused:?}"
    );
    assert_eq!(refused.field("retry-after").as_deref(), Some("1"));
    let ready = site.get("/readyz");
    assert_eq!(
        (ready.status, ready.json()["authority"]["leases_end_in_seconds"].clone()),
        (503, json!(0))
    );
    signal(authority, Signal::CONT);
    within(20, "it signs again", || site.mint().status == 201);
}

// R35: a frozen process.
#[test]
fn an_edge_that_was_frozen_past_a_fence_signs_nothing_when_it_runs_again() {
    let site = site_with_short_leases();
    let edge = site.edge.as_ref().unwrap().pid();
    signal(edge, Signal::STOP);
    let begun = Instant::now();
    let fenced = site.bash("signet keys disable --wait alias/short").success();
    println!("with the edge frozen, fenced after {:?}", begun.elapsed());
    assert!(fenced.contains("fenced; no edge signs"), "{fenced}");
    signal(edge, Signal::CONT);
    let answer = site.mint();
    let (status, code) = refusal(&answer);
    assert!(
        matches!(
            (status, code.as_str()),
            (409, "key_disabled") | (503, "key_unavailable")
        ),
        "{answer:?}"
    );
    within(20, "it hears of it", || {
        refusal(&site.mint()) == (409, "key_disabled".to_owned())
    });
}

// R35: kill -9 of the edge that holds a lease, and of the authority that granted it.
#[test]
fn a_fence_after_a_restart_waits_for_what_may_have_been_granted_before() {
    let mut site = site_with_short_leases();
    site.authority.take().unwrap().kill();
    site.edge.take().unwrap().kill();
    site.start_authority();
    let begun = Instant::now();
    site.bash("signet keys disable alias/short").success();
    let asked = site.bash("signet keys fence alias/short --json").success();
    let asked: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(
        (&asked["fenced"], &asked["awaiting"][0]["edge"]),
        (&json!(false), &json!("edge-fra-1"))
    );
    assert!(asked["left_ms"].as_u64().unwrap() <= 5_400, "{asked}");
    let fenced = site.bash("signet keys fence --wait alias/short").success();
    println!("after kill -9 of both, fenced after {:?}", begun.elapsed());
    assert!(fenced.contains("fenced; no edge signs"), "{fenced}");
}

#[test]
fn a_connected_edge_is_fenced_at_once_and_refuses() {
    let dev = Dev::start();
    assert_eq!(mint(&dev).status, 201);
    let begun = Instant::now();
    let fenced = dev
        .cli(&["keys", "disable", "--wait", "--json", "alias/dev-api"])
        .success();
    println!("with the edge connected, fenced after {:?}", begun.elapsed());
    let fenced: Value = serde_json::from_str(&fenced).unwrap();
    assert_eq!((&fenced["fenced"], &fenced["awaiting"]), (&json!(true), &json!([])));
    assert_eq!(refusal(&mint(&dev)), (409, "key_disabled".to_owned()));
    dev.cli(&["keys", "enable", "alias/dev-api"]).success();
    let refused = dev.cli(&["keys", "fence", "alias/dev-api"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("is not stopped"), "{refused:?}");
    within(5, "it signs again", || mint(&dev).status == 201);
    let metrics = String::from_utf8_lossy(&dev.anonymous("/metrics").get().body).into_owned();
    assert!(
        metrics.contains("signet_edge_lease_renewals_total{code=\"granted\"}"),
        "{metrics}"
    );
}

// R35
#[test]
fn a_tenant_a_caller_and_a_delegation_are_stopped_and_resumed() {
    let dev = Dev::start();
    let token = dev.mint("api", r#"{"subject":"alice"}"#);
    let fenced = dev
        .cli(&["stop", "--tenant", "000000000001", "--reason", "drill", "--wait"])
        .success();
    assert!(fenced.contains("fenced"), "{fenced}");
    assert_eq!(refusal(&mint(&dev)), (403, "forbidden".to_owned()));
    let random = dev
        .admin("/v1/keys/GenerateRandom?tenant=000000000001")
        .post(r#"{"NumberOfBytes":8}"#);
    assert_eq!(random.json()["__type"], "AccessDeniedException", "{random:?}");
    let listed = dev.cli(&["stop", "--list"]).success();
    assert!(
        listed.contains("tenant/000000000001") && listed.contains("drill"),
        "{listed}"
    );
    let keys = dev.cli(&["keys", "list"]).success();
    assert!(keys.contains("Enabled, stopped by tenant/000000000001"), "{keys}");
    // Whoever asks for the key alone is told what stops it.
    let of_key = dev.cli(&["keys", "fence", "--wait", "alias/dev-api"]);
    assert_eq!(of_key.code, 1, "{of_key:?}");
    assert!(of_key.stderr.contains("`tenant/000000000001` stops it"), "{of_key:?}");
    let typed_wrong = dev.cli(&["stop", "--tenant", "000000000010"]);
    assert_eq!(typed_wrong.code, 1, "{typed_wrong:?}");
    assert!(typed_wrong.stderr.contains("signet tenants list"), "{typed_wrong:?}");
    dev.cli(&["resume", "--tenant", "000000000001"]).success();
    within(10, "it signs again", || mint(&dev).status == 201);
    let verified = dev.curl("/v1/verify").post(&json!({"token": token}).to_string()).json();
    assert_eq!(verified["valid"], true, "what was signed before goes on verifying");

    let mut caller = String::new();
    within(10, "the caller is on record", || {
        let tail = dev.cli(&["audit", "tail"]).success();
        let record: Value = serde_json::from_str(tail.lines().last().unwrap()).unwrap();
        caller = record["caller"].as_str().unwrap_or_default().to_owned();
        !caller.is_empty()
    });
    dev.cli(&["stop", "--caller", &caller, "--wait"]).success();
    assert_eq!(refusal(&mint(&dev)), (403, "forbidden".to_owned()));
    dev.cli(&["resume", "--caller", &caller]).success();
    within(10, "the caller is back", || mint(&dev).status == 201);

    dev.cli(&["keys", "revoke-delegation", "alias/dev-api", "--wait"])
        .success();
    assert_eq!(refusal(&mint(&dev)), (409, "key_disabled".to_owned()));
    dev.mint("session", r#"{"subject":"alice"}"#);
    let keys = dev.cli(&["keys", "list"]).success();
    assert_eq!(keys.matches("Enabled, stopped by delegation/").count(), 1, "{keys}");
    dev.cli(&["keys", "restore-delegation", "alias/dev-api"]).success();
    within(60, "the delegation is back", || mint(&dev).status == 201);
    dev.cli(&["keys", "create", "--alias", "alias/raw"]).success();
    let not_delegated = dev.cli(&["keys", "revoke-delegation", "alias/raw", "--wait"]);
    assert_eq!(not_delegated.code, 1, "it would go on signing: {not_delegated:?}");
    assert!(
        not_delegated.stderr.contains("signet keys disable"),
        "{not_delegated:?}"
    );
    let nothing = dev.cli(&["resume", "--all"]);
    assert!(
        nothing.code == 1 && nothing.stderr.contains("`all` is not stopped"),
        "{nothing:?}"
    );
    assert_eq!(dev.cli(&["stop"]).code, 2);
}

#[test]
fn people_are_told_when_a_key_is_deleted_and_which_are_marked_as_compromised() {
    let dev = Dev::start();
    let told = dev
        .cli(&["keys", "schedule-deletion", "alias/dev-cdn", "--days", "7"])
        .success();
    let described = dev.cli(&["keys", "describe", "alias/dev-cdn"]).success();
    let described: Value = serde_json::from_str(&described).unwrap();
    let begins = "alias/dev-cdn is pending deletion, and stopped; it is deleted at ";
    let at = told
        .strip_prefix(begins)
        .and_then(|rest| rest.split_once(" unless `signet keys cancel-deletion`"));
    let (at, _) = at.unwrap_or_else(|| panic!("{told}"));
    let seconds = std::process::Command::new("date")
        .args(["-u", "+%s", "-d", at])
        .output()
        .unwrap();
    let seconds = String::from_utf8_lossy(&seconds.stdout).trim().parse::<u64>().unwrap();
    assert_eq!(described["KeyMetadata"]["DeletionDate"], json!(seconds), "{told}");
    dev.cli(&["keys", "compromised", "alias/dev-api", "--reason", "drill"])
        .success();
    let keys = dev.cli(&["keys", "list"]).success();
    let state_of = |alias: &str| {
        let line = keys.lines().find(|line| line.contains(alias)).unwrap();
        line.split("  ").last().unwrap().trim().to_owned()
    };
    assert_eq!(state_of("alias/dev-cdn"), format!("PendingDeletion, at {at}"));
    assert_eq!(state_of("alias/dev-api"), "Disabled, compromised");
    assert_eq!(state_of("alias/dev-session"), "Enabled");
}

// R35
#[test]
fn a_stricter_bundle_is_fenced() {
    let dev = Dev::start();
    mint(&dev);
    let bundle = dev.data().join("bundle");
    std::fs::write(
        bundle.join("policies/no-alice.cedar"),
        "@id(\"no-alice\")\nforbid (principal, action == Action::\"Mint\", resource) when { context has subject && context.subject == \"alice\" };\n",
    )
    .unwrap();
    let applied = dev.cli(&["bundle", "apply", "--fence", bundle.to_str().unwrap()]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert!(applied.stdout.contains("fenced"), "{applied:?}");
    let answer = mint(&dev);
    let (status, code) = refusal(&answer);
    assert!(
        matches!((status, code.as_str()), (403, "policy_denied") | (503, "not_ready")),
        "{answer:?}"
    );
    within(20, "the new bundle is in use", || {
        refusal(&mint(&dev)) == (403, "policy_denied".to_owned())
    });
}

#[test]
fn a_compromised_key_leaves_the_jwks_at_once_and_offline_verifiers_hear_of_it() {
    let dev = Dev::start();
    let token = dev.mint("api", r#"{"subject":"alice"}"#);
    let kid = mint(&dev).json()["kid"].as_str().unwrap().to_owned();
    let published = || String::from_utf8_lossy(&dev.anonymous("/i/dev/.well-known/jwks.json").get().body).into_owned();
    assert!(published().contains(&kid));
    let list = format!("{}/v1/revocations", dev.text("/edge/https"));
    let root = dev.text("/ca_file").replace("ca.pem", "delegation-root.pem");
    let verify = |revocations: &str| {
        dev.cli(&[
            "verify",
            &token,
            "--revocations",
            revocations,
            "--delegation-root",
            &root,
        ])
    };
    within(10, "there is a list", || {
        dev.anonymous("/v1/revocations").get().status == 200
    });
    let saved = dev.data().join("revocations.jwt");
    std::fs::write(&saved, dev.anonymous("/v1/revocations").get().body).unwrap();
    assert_eq!(verify(&list).code, 0, "{:?}", verify(&list));
    assert_eq!(verify(saved.to_str().unwrap()).code, 0);
    dev.cli(&["keys", "compromised", "alias/dev-api", "--reason", "laptop stolen"])
        .success();
    within(1, "it leaves the JWKS", || !published().contains(&kid));
    within(5, "it is on the list", || {
        std::fs::write(&saved, dev.anonymous("/v1/revocations").get().body).unwrap();
        let told = verify(saved.to_str().unwrap());
        told.code == 1
    });
    let authority = dev.admin("/v1/revocations").get();
    assert_eq!(
        (authority.status, authority.field("content-type").as_deref()),
        (200, Some("application/jwt"))
    );
    std::fs::write(&saved, "a.b.c").unwrap();
    let forged = verify(saved.to_str().unwrap());
    assert!(forged.code == 1 && forged.stderr.contains("malformed"), "{forged:?}");
}

#[test]
fn a_compromised_version_leaves_the_jwks_at_once_and_the_next_one_signs() {
    let dev = Dev::start();
    let kid = mint(&dev).json()["kid"].as_str().unwrap().to_owned();
    let published = || String::from_utf8_lossy(&dev.anonymous("/i/dev/.well-known/jwks.json").get().body).into_owned();
    assert!(published().contains(&kid));
    let mark = |kid: &str| dev.cli(&["keys", "compromised", "alias/dev-api", "--kid", kid]);
    let unknown = mark("nobody");
    assert!(unknown.code == 1 && unknown.stderr.contains("nobody"), "{unknown:?}");
    let said = mark(&kid).success();
    assert!(said.contains("rid of that version"), "{said}");
    within(1, "it leaves the JWKS", || !published().contains(&kid));
    within(20, "the next version signs", || {
        let answer = mint(&dev);
        answer.status == 201 && answer.json()["kid"] != kid.as_str()
    });
}

#[test]
fn a_stop_that_is_asked_of_the_wrong_port_or_stops_nobody_is_no_success() {
    let site = Site::walk(Hsm::Software);
    let [grpc, ..] = site.authority_ports();
    for command in [
        "stop --all --reason x",
        "keys disable alias/api",
        "keys compromised alias/api",
        "edges revoke edge-fra-1",
        "keys list",
    ] {
        let said = site.bash(&format!("signet {command} --authority https://localhost:{grpc}"));
        assert!(
            said.code == 1 && said.stdout.is_empty() && said.stderr.contains("nothing is known to have been done"),
            "{command}: {said:?}"
        );
    }
    assert_eq!(site.mint().status, 201);
    let nobody = site.bash("signet stop --caller 'https://ci.example#repo:app'");
    assert!(
        nobody.code == 1 && nobody.stderr.contains("oidc:ISSUER#SUBJECT"),
        "{nobody:?}"
    );
    assert!(site.bash("signet keys list").success().contains("alias/api"));
}
