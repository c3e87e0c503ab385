//! A witness that watches an authority's audit log, as processes of their own.

use serde_json::Value;
use system_tests::{Curl, within};

use crate::production::site::{Hsm, Site, free_ports};

fn configure(site: &Site, port: u16, logs: &str) {
    let state = site.path("lib/witness").display().to_string();
    let text = format!("listen = \"127.0.0.1:{port}\"\nstate_dir = \"{state}\"\nlogs = [{logs}]\n");
    site.write("etc/witness.toml", &text);
}

/// Leaves of the newest checkpoint that the authority has with the witness's cosignature; 0 without any.
fn cosigned(site: &Site, witness: &str) -> u64 {
    let header = "-H \"authorization: Bearer $SIGNET_ADMIN_TOKEN\"";
    let answer = site.bash(&format!(
        "curl -sS --cacert \"$SIGNET_CA_FILE\" {header} https://localhost:9443/v1/audit/log"
    ));
    let answer: Value = serde_json::from_str(&answer.success()).unwrap();
    let note = answer["cosigned"][witness].as_str();
    note.map_or(0, |note| note.lines().nth(1).unwrap().parse().unwrap())
}

// R29
#[test]
fn a_witness_cosigns_the_log_and_shows_that_it_was_put_back() {
    let site = Site::prepare(Hsm::Software);
    let port = free_ports()[0];
    configure(&site, port, "");
    let init = "signet witness init --config /etc/signet/witness.toml --name w.example/1";
    let witness = site.bash(init).success().trim().to_owned();
    assert_eq!(site.bash(init).code, 1, "never replaced");
    let no_log = site.bash("signet witness run --config /etc/signet/witness.toml");
    assert!(
        no_log.code == 1 && no_log.stderr.contains("signet audit key"),
        "{no_log:?}"
    );
    let authority = std::fs::read_to_string(site.path("etc/authority.toml")).unwrap();
    let section = format!("\n[[witness]]\nurl = \"http://127.0.0.1:{port}\"\nkey = \"{witness}\"\n");
    site.write("etc/authority.toml", &(authority + &section));

    // A witness that is down delays nothing.
    let mut site = site.walked(Hsm::Software);
    assert_eq!(site.mint().status, 201, "{}", site.logs());
    within(15, "it is said that there is no witness", || {
        site.logs().contains("a witness does not cosign the audit log")
    });
    let key = site.bash("signet audit key --url \"$SIGNET_AUTHORITY\"").success();
    let key = key.trim();
    let verify = format!("signet audit verify --dir /var/lib/signet-authority/log --key '{key}'");
    let with_witness = format!("{verify} --witness '{witness}'");
    let none = site.bash(&with_witness);
    assert!(
        none.code == 1 && none.stderr.contains("no checkpoint of this log"),
        "{none:?}"
    );
    let id = site.mint().json()["id"].as_str().unwrap().to_owned();
    let prove = format!("signet audit prove --url \"$SIGNET_AUTHORITY\" --request {id} --out proof.json");
    let proven = format!("signet audit verify --proof proof.json --key '{key}' --witness '{witness}'");
    within(15, "it is on record", || site.bash(&prove).code == 0);
    let alone = site.bash(&proven);
    assert!(
        alone.code == 1 && alone.stdout.is_empty() && alone.stderr.contains("by the witness `w.example/1`"),
        "{alone:?}"
    );
    configure(&site, port, &format!("\"{key}\""));
    let running = site.spawn("witness", "witness");
    within(90, "the log is cosigned", || cosigned(&site, &witness) > 0);
    let shown = site.bash(&with_witness).success();
    assert!(
        shown.contains("w.example/1 cosigned ") && shown.contains("grew from"),
        "{shown}"
    );
    within(30, "the record's proof is cosigned", || {
        site.bash(&format!("rm proof.json && {prove} && {proven}")).code == 0
    });
    check_the_protocol(&site, port);

    site.authority.take().unwrap().stop();
    site.bash("cp -r /var/lib/signet-authority/log before").success();
    let before = std::fs::read_to_string(site.path("before/checkpoint")).unwrap();
    let before: u64 = before.lines().nth(1).unwrap().parse().unwrap();
    site.start_authority();
    site.bash("signet tenants create 000000000002 --name other").success();
    within(30, "what was done is cosigned", || cosigned(&site, &witness) > before);
    site.authority.take().unwrap().stop();
    site.bash("rm -r /var/lib/signet-authority/log && mv before /var/lib/signet-authority/log")
        .success();
    assert_eq!(site.bash(&verify).code, 0, "by itself the older log is in order");
    let found = site.bash(&with_witness);
    assert!(
        found.code == 1 && found.stdout.contains("the log was rolled back"),
        "{found:?}"
    );

    // Nor does the authority write on.
    site.start_authority();
    within(30, "the log takes nothing", || {
        let logs = site.logs();
        logs.contains("`witness w.example/1` has seen a checkpoint that it did not grow from")
    });
    running.stop();
    let again = site
        .bash("signet witness key --config /etc/signet/witness.toml")
        .success();
    assert_eq!(again.trim(), witness);
}

/// What another implementation of the protocol sees.
fn check_the_protocol(site: &Site, port: u16) {
    let ask = || Curl::new(&format!("http://127.0.0.1:{port}/add-checkpoint"));
    let checkpoint = std::fs::read_to_string(site.path("lib/signet-authority/log/checkpoint")).unwrap();
    let stale = ask().post(&format!("old 0\n\n{checkpoint}"));
    assert_eq!(
        (stale.status, stale.field("content-type")),
        (409, Some("text/x.tlog.size".into()))
    );
    let size = String::from_utf8(stale.body).unwrap();
    assert!(
        size.ends_with('\n') && size.trim().parse::<u64>().is_ok_and(|size| size > 0),
        "{size}"
    );
    let (text, signature) = checkpoint.split_once("\n\n").unwrap();
    let changed = format!("old 0\n\n{}\n\n{signature}", text.replacen('\n', "\n1", 1));
    assert_eq!(ask().post(&changed).status, 403);
    assert_eq!(ask().post(&format!("old 0\n\nother.{checkpoint}")).status, 404);
    assert_eq!(ask().post("hello").status, 400);
    assert_eq!(ask().get().status, 405);
    assert_eq!(Curl::new(&format!("http://127.0.0.1:{port}/")).get().status, 404);
}
