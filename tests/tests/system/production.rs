//! Authority and edge as two processes, from the configuration files of `deploy/`, by the commands of the guide.

#[path = "production/site.rs"]
pub mod site;

use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use system_tests::{Output, run, signet, within};

use site::{Hsm, Site};

fn after<'a>(site: &'a Site, command: &str) -> &'a str {
    let (_, output) = site.done.iter().find(|(block, _)| block.contains(command)).unwrap();
    &output.stdout
}

fn check_the_walk(site: &Site) {
    assert!(
        after(site, "bundle apply --diff").contains("+ profiles/api.toml\n"),
        "{:?}",
        site.done
    );
    assert!(
        after(site, "bundle apply --diff").contains("in force: "),
        "{:?}",
        site.done
    );
    let answer: Value = serde_json::from_str(after(site, "/v1/tokens/api")).unwrap();
    assert_eq!(answer["token"].as_str().unwrap().split('.').count(), 3, "{answer}");
    // The second time there is nothing to change.
    let again = site.bash("signet bundle apply --diff ./bundle").success();
    assert!(again.starts_with("nothing changes"), "{again}");
    // An issuer's keys need no token.
    let keys = site.bash("signet jwks pem acme --edge https://sign.example.org --ca-file \"$CURL_CA_BUNDLE\"");
    assert!(keys.success().starts_with("-----BEGIN PUBLIC KEY-----"));
    let edges = site.bash("signet edges list").success();
    assert!(edges.contains("edge-fra-1") && edges.contains("true"), "{edges}");
}

#[test]
fn the_guide_works_with_a_pkcs11_token() {
    let site = Site::walk(Hsm::SoftHsm);
    check_the_walk(&site);
    let twice = site.bash("signet authority init --config /etc/signet/authority.toml");
    assert_eq!(twice.code, 1, "{twice:?}");
}

#[test]
fn the_guide_works_with_the_software_hsm_and_join_tokens_are_good_once() {
    let site = Site::walk(Hsm::Software);
    check_the_walk(&site);
    assert!(site.logs().contains("software"), "it is said loudly: {}", site.logs());

    let edge = std::fs::read_to_string(site.path("etc/edge.toml")).unwrap();
    site.write("etc/second.toml", &edge.replace("signet-edge", "second-edge"));
    let join = |file: &str| {
        site.bash(&format!(
            "signet edge join --config /etc/signet/second.toml --join {file}"
        ))
    };
    let refused = |output: Output, why: &str| {
        assert_eq!(output.code, 1, "{output:?}");
        assert!(output.stderr.contains(why), "{why}: {output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    };
    refused(join("used.json"), "was used before");

    let mut unknown: Value = serde_json::from_slice(&std::fs::read(site.path("used.json")).unwrap()).unwrap();
    unknown["join_token"] = format!("signet-join-{}", "A".repeat(43)).into();
    site.write("unknown.json", &unknown.to_string());
    refused(join("unknown.json"), "is unknown");

    let begun = Instant::now();
    site.bash("signet edges token edge-late --ttl 1 > late.json").success();
    within(10, "the token's second is over", || begun.elapsed().as_secs() >= 3);
    refused(join("late.json"), "expired");

    site.write("broken.json", "{");
    refused(join("broken.json"), "broken.json");
    refused(join("absent.json"), "absent.json");
    let run_first = site.bash("signet edge run --config /etc/signet/second.toml");
    refused(run_first, "signet edge join --config FILE --join join.json");
}

#[test]
fn a_replaced_certificate_is_served_without_a_restart() {
    let site = Site::walk(Hsm::Software);
    let shown = || {
        let server = "openssl s_client -connect 0.0.0.0:443 -servername localhost </dev/null 2>/dev/null";
        site.bash(&format!("{server} | openssl x509 -noout -subject")).stdout
    };
    assert!(shown().contains("first"), "{}", shown());
    site.certificate("second");
    within(20, "the new certificate is served", || shown().contains("second"));
    assert_eq!(site.mint().status, 201);
    // One that cannot be used leaves the last good one.
    let good = std::fs::read(site.path("etc/tls/fullchain.pem")).unwrap();
    site.write("etc/tls/fullchain.pem", "nonsense");
    within(20, "the bad file is logged", || {
        site.logs().contains("certificate not reloaded")
    });
    assert!(shown().contains("second"), "{}", shown());
    std::fs::write(site.path("etc/tls/fullchain.pem"), good).unwrap();
    assert_eq!(site.mint().status, 201);
}

#[test]
fn either_may_be_killed_and_started_again() {
    let mut site = Site::walk(Hsm::SoftHsm);
    site.authority.take().unwrap().kill();
    within(5, "the edge sees that the authority is gone", || {
        site.logs().contains("the watch stream ended")
    });
    for _ in 0..20 {
        assert_eq!(site.mint().status, 201, "{}", site.logs());
    }
    let down = site.bash("signet keys list");
    assert_eq!(down.code, 1, "{down:?}");
    assert!(down.stderr.contains("cannot connect to `localhost:"), "{down:?}");

    site.start_authority();
    site.bash("signet keys disable alias/api").success();
    within(15, "the edge follows again", || {
        let answer = site.mint();
        answer.status == 409 && answer.problem() == "key_disabled"
    });
    site.bash("signet keys enable alias/api").success();
    within(15, "the key signs again", || site.mint().status == 201);

    site.edge.take().unwrap().kill();
    site.start_edge();
    within(15, "the edge has its keys again", || site.mint().status == 201);
    let records = site.bash("signet audit verify --dir /var/lib/signet-edge/audit");
    assert_eq!(records.code, 0, "{records:?}");
}

#[test]
fn a_wrong_configuration_is_refused_at_the_start_by_file_and_field() {
    let site = Site::prepare(Hsm::Software);
    let cases = [
        (
            "authority",
            "[delegation]",
            "[delegation]\nlifetimes = \"1h\"",
            "delegation.lifetimes",
        ),
        ("authority", "trust_domain", "surprise = 1\ntrust_domain", "surprise"),
        (
            "authority",
            "lifetime = \"1h\"",
            "lifetime = \"1 hour\"",
            "delegation.lifetime",
        ),
        (
            "authority",
            "lifetime = \"1h\"",
            "lifetime = \"400d\"",
            "delegation.lifetime",
        ),
        (
            "authority",
            "sign_period = \"24h\"",
            "sign_period = 24",
            "rotation.sign_period",
        ),
        ("authority", "[admin]", "[admin]\nkey_file = \"x\"", "admin.key_file"),
        ("authority", "kind = \"software\"", "kind = \"paper\"", "hsm"),
        (
            "edge",
            "http3 = true",
            "http3 = true\nhttp = \"0.0.0.0:8080\"",
            "listen.http",
        ),
        ("edge", "http3 = true", "http3 = \"yes\"", "listen.http3"),
        ("edge", "[audit]", "[limits]\nidle = \"soon\"\n[audit]", "limits.idle"),
        (
            "edge",
            "[audit]",
            "[limits]\nconnections = 0\n[audit]",
            "limits: `connections`",
        ),
        ("edge", "[tls]", "[tls]\nca = \"x\"", "tls.ca"),
        ("edge", "authority = \"https", "authority = \"http", "authority"),
    ];
    for (role, from, to, field) in cases {
        let text = std::fs::read_to_string(site.path(&format!("etc/{role}.toml"))).unwrap();
        assert!(text.contains(from), "{from}");
        site.write("etc/wrong.toml", &text.replacen(from, to, 1));
        let output = started(&site, role, "etc/wrong.toml");
        for word in ["etc/wrong.toml", field] {
            assert!(output.stderr.contains(word), "{word} for `{to}`: {output:?}");
        }
        let absent = started(&site, role, "etc/absent.toml");
        assert!(absent.stderr.contains("etc/absent.toml: cannot be read"), "{absent:?}");
    }
}

#[test]
fn a_file_that_a_configuration_names_and_that_is_not_there_is_named() {
    let site = Site::walk(Hsm::Software);
    let text = std::fs::read_to_string(site.path("etc/edge.toml")).unwrap();
    site.write("etc/other.toml", &text.replace("fullchain.pem", "nowhere.pem"));
    // Its state directory is in use; the certificate is what this is about, so it has one of its own.
    run(Command::new("cp")
        .arg("-r")
        .arg(site.path("lib/signet-edge"))
        .arg(site.path("lib/copy")))
    .success();
    let text = std::fs::read_to_string(site.path("etc/other.toml")).unwrap();
    site.write("etc/other.toml", &text.replace("lib/signet-edge", "lib/copy"));
    let output = started(&site, "edge", "etc/other.toml");
    assert!(output.stderr.contains("tls/nowhere.pem"), "{output:?}");

    let text = std::fs::read_to_string(site.path("etc/authority.toml")).unwrap();
    site.write(
        "etc/other.toml",
        &text
            .replace("hsm.passphrase", "hsm.nowhere")
            .replace("lib/signet-authority", "lib/other"),
    );
    let output = started(&site, "authority", "etc/other.toml");
    assert!(output.stderr.contains("etc/hsm.nowhere"), "{output:?}");
}

fn started(site: &Site, role: &str, config: &str) -> Output {
    let output = run(Command::new(signet())
        .args([role, "run", "--config"])
        .arg(site.path(config)));
    assert_eq!(output.code, 1, "{output:?}");
    output
}
