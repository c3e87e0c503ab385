//! Approvals and guarded deletion from outside: boto3 asks, people approve with the CLI, and boto3 asks again.

use std::process::Command;

use serde_json::{Value, json};
use system_tests::{Curl, Dev, Output, checkout, run, signet, tool, within};

struct Site {
    dev: Dev,
}

impl Site {
    /// Three people with a key each; ada also holds the account's root access key.
    fn start() -> Site {
        let site = Site { dev: Dev::start() };
        for (name, algorithm, principal) in [
            ("ada", "ed25519", &["--principal", "arn:aws:iam::000000000001:root"][..]),
            ("bob", "es256", &["--no-principal"]),
            ("cleo", "ed25519", &["--no-principal"]),
        ] {
            let (key, public) = (site.key(name), format!("{}.pub", site.key(name)));
            let keygen = ["approvals", "keygen", "--algorithm", algorithm, "--out", &key];
            site.dev.cli(&keygen).success();
            let add = ["approvals", "approvers", "add", name, "--public-key", &public];
            site.dev.cli(&[&add[..], principal].concat()).success();
        }
        site
    }

    fn key(&self, name: &str) -> String {
        self.dev.data().join(format!("{name}.key")).display().to_string()
    }

    fn quorum(&self, require: &str, lifetime: &str) {
        let set = ["approvals", "quorum", "--require", require, "--lifetime", lifetime];
        self.dev.cli(&set).success();
    }

    /// One call of boto3's, with the account's root access key.
    fn boto(&self, operation: &str, parameters: &Value) -> Value {
        let credential = |name: &str| self.dev.text(&format!("/kms_credentials/{name}"));
        let mut python = Command::new(tool("clients/bin/python"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            python.env_remove(name);
        }
        python
            .arg(checkout().join("tests/clients/kms_try.py"))
            .args([operation, &parameters.to_string()])
            .env("AWS_ENDPOINT_URL_KMS", self.dev.text("/kms"))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_CA_BUNDLE", self.dev.text("/ca_file"))
            .env("AWS_ACCESS_KEY_ID", credential("access_key_id"))
            .env("AWS_SECRET_ACCESS_KEY", credential("secret_access_key"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        serde_json::from_str(&run(&mut python).success()).unwrap()
    }

    /// The id of the request that a refused call of boto3's names.
    fn waits(&self, operation: &str, parameters: &Value) -> String {
        let refused = self.boto(operation, parameters);
        assert_eq!(refused["code"], "AccessDeniedException", "{refused}");
        id(refused["message"].as_str().unwrap())
    }

    fn create(&self) -> String {
        let made = self.dev.cli(&["keys", "create", "--spec", "SYMMETRIC_DEFAULT"]);
        made.success().trim().to_owned()
    }

    fn decide(&self, decision: &str, id: &str, name: &str) -> Output {
        self.dev.cli(&["approvals", decision, id, "--key", &self.key(name)])
    }

    fn status(&self, id: &str) -> String {
        let shown = self.dev.cli(&["approvals", "show", id, "--json"]).success();
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["status"].as_str().unwrap().to_owned()
    }

    fn on_record(&self, operation: &str, wanted: impl Fn(&Value) -> bool) -> bool {
        let records = self.dev.cli(&["audit", "tail", "--authority"]).success();
        let mut records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.any(|record| record["profile"] == operation && wanted(&record))
    }
}

fn id(message: &str) -> String {
    let id = message.split('`').find(|part| part.starts_with("apr-"));
    id.unwrap_or_else(|| panic!("no request is named in {message}"))
        .to_owned()
}

fn refused(output: &Output, words: &[&str]) {
    assert_eq!(output.code, 1, "{output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "`{word}` is not in {output:?}");
    }
}

// R28
#[test]
fn a_deletion_takes_two_others_and_happens_once() {
    let site = Site::start();
    site.quorum("2", "1h");
    let key = site.create();
    let seven = json!({"KeyId": key, "PendingWindowInDays": 7});
    let asked = site.waits("schedule_key_deletion", &seven);
    // The one who asked, and the same approver twice.
    refused(&site.decide("approve", &asked, "ada"), &["`ada` is who asked"]);
    let first = site.decide("approve", &asked, "bob").success();
    for word in ["ScheduleKeyDeletion", &key, "\"PendingWindowInDays\":7", "is pending"] {
        assert!(first.contains(word), "`{word}` is not in {first}");
    }
    refused(&site.decide("approve", &asked, "bob"), &["`bob` has decided already"]);
    assert_eq!(site.waits("schedule_key_deletion", &seven), asked, "one of two");
    // A signature that is not over this.
    let cleo = site.dev.cli(&["approvals", "approvers", "list", "--json"]).success();
    let cleo: Value = serde_json::from_str(&cleo).unwrap();
    let decision = json!({"key": cleo["approvers"][2]["key"], "decision": "approve",
        "signature": format!("{}==", "A".repeat(86))});
    let url = format!("{}/v1/approvals/{asked}/decisions", site.dev.text("/authority/admin"));
    let ca = site.dev.text("/ca_file");
    let post = |body: &Value| Curl::new(&url).arg("--cacert").arg(&ca).post(&body.to_string());
    let tampered = post(&decision);
    assert_eq!((tampered.status, tampered.problem().as_str()), (401, "bad_signature"));
    // An approver needs the address, the id and their own key: no admin token.
    let mut approve = Command::new(signet());
    approve
        .args(["approvals", "approve", &asked, "--key", &site.key("cleo")])
        .args(["--ca-file", &ca])
        .env("SIGNET_AUTHORITY", site.dev.text("/authority/admin"))
        .env_remove("SIGNET_ADMIN_TOKEN");
    let approved = run(&mut approve).success();
    assert!(approved.contains("the request is approved"), "{approved}");
    // Other parameters, and another requester, are other requests.
    let eight = json!({"KeyId": key, "PendingWindowInDays": 8});
    assert_ne!(site.waits("schedule_key_deletion", &eight), asked);
    let operator = site.dev.cli(&["keys", "schedule-deletion", &key, "--days", "7"]);
    refused(&operator, &["AccessDeniedException", "operator:root"]);
    assert_ne!(id(&operator.stderr), asked);
    let done = site.boto("schedule_key_deletion", &seven);
    assert_eq!(done["answer"]["KeyState"], "PendingDeletion", "{done}");
    assert_eq!(site.status(&asked), "executed");
    site.dev.cli(&["keys", "cancel-deletion", &key]).success();
    assert_ne!(site.waits("schedule_key_deletion", &seven), asked, "used up");
    // Stopping asks nobody.
    site.boto("enable_key", &json!({"KeyId": key}));
    assert_eq!(site.boto("disable_key", &json!({"KeyId": key}))["answer"], json!({}));
    within(2, "all of it is on record", || {
        let about = format!("approval:{asked}");
        let of = |record: &Value| {
            record["policies"]
                .as_array()
                .is_some_and(|all| all.contains(&json!(about)))
        };
        site.on_record("approvals:Approve", |record| {
            of(record) && record["caller"] == "approver:cleo"
        }) && site.on_record("approvals:Approve", |record| {
            record["caller"] == "approver:ada" && record["outcome"] == "refused"
        }) && site.on_record("kms:ScheduleKeyDeletion", |record| {
            of(record) && record["outcome"] == "performed"
        }) && site.on_record("kms:ScheduleKeyDeletion", |record| record["outcome"] == "refused")
            && site.on_record("admin:SetQuorum", |record| record["caller"] == "operator:root")
    });
}

// R28
#[test]
fn a_quorum_guards_itself_and_may_say_no() {
    let site = Site::start();
    site.quorum("2", "1h");
    for command in [
        &["approvals", "quorum", "--require", "0"][..],
        &["approvals", "approvers", "remove", "cleo"],
        &["keys", "deletion-guard", "--days", "0"],
    ] {
        refused(
            &site.dev.cli(command),
            &["approval_required", "signet approvals approve apr-"],
        );
    }
    let key = site.create();
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}]});
    let put = json!({"KeyId": key, "Policy": policy.to_string()});
    let asked = site.waits("put_key_policy", &put);
    let one = site.decide("reject", &asked, "cleo").success();
    assert!(
        one.contains("you rejected it; the request is rejected"),
        "ada asked, so bob alone is left: {one}"
    );
    refused(&site.decide("approve", &asked, "bob"), &["it is rejected"]);
    let again = site.boto("put_key_policy", &put);
    assert!(again["message"].as_str().unwrap().contains("was rejected"), "{again}");
    let listed = site.dev.cli(&["approvals", "list"]).success();
    assert!(
        listed.contains(&asked) && listed.contains("PutKeyPolicy") && listed.contains("rejected"),
        "{listed}"
    );
    let removal = site.dev.cli(&["approvals", "quorum", "--require", "0"]);
    for name in ["ada", "bob"] {
        site.decide("approve", &id(&removal.stderr), name).success();
    }
    site.dev.cli(&["approvals", "quorum", "--require", "0"]).success();
    assert_eq!(site.boto("put_key_policy", &put)["answer"], json!({}));
}

// R28
#[test]
fn a_request_that_nobody_approved_in_time_is_over() {
    let site = Site::start();
    site.quorum("1", "1s");
    let key = site.create();
    let asked = site.waits("schedule_key_deletion", &json!({"KeyId": key}));
    within(5, "the request expires", || site.status(&asked) == "expired");
    refused(&site.decide("approve", &asked, "bob"), &["it is expired"]);
    assert_ne!(site.waits("schedule_key_deletion", &json!({"KeyId": key})), asked);
    within(20, "its end is on record", || {
        site.on_record("approvals:Expire", |record| {
            record["policies"][0] == format!("approval:{asked}")
        })
    });
}

#[test]
fn deleting_what_is_used_or_held_or_enabling_what_leaked_takes_a_word() {
    let site = Site { dev: Dev::start() };
    let key = site.create();
    let only = json!({"KeyId": key});
    site.boto("generate_data_key", &json!({"KeyId": key, "KeySpec": "AES_256"}));
    site.dev.cli(&["keys", "deletion-guard", "--days", "30"]).success();
    let used = site.boto("schedule_key_deletion", &only);
    assert_eq!(used["code"], "KMSInvalidStateException", "{used}");
    assert!(
        used["message"]
            .as_str()
            .unwrap()
            .contains("was used for GenerateDataKey"),
        "{used}"
    );
    let schedule = ["keys", "schedule-deletion", &key];
    refused(
        &site.dev.cli(&schedule),
        &["KMSInvalidStateException", "--override REASON"],
    );
    site.dev.cli(&["keys", "hold", &key, "--reason", "case 17"]).success();
    let overriding = [&schedule[..], &["--override", "replaced"]].concat();
    refused(
        &site.dev.cli(&overriding),
        &["legal hold: case 17", "signet keys unhold"],
    );
    let held = site.boto("schedule_key_deletion", &only);
    assert_eq!(held["code"], "KMSInvalidStateException", "{held}");
    site.dev.cli(&["keys", "unhold", &key]).success();
    site.dev.cli(&overriding).success();
    site.dev.cli(&["keys", "cancel-deletion", &key]).success();
    site.dev.cli(&["keys", "enable", &key]).success();

    site.dev
        .cli(&["keys", "compromised", &key, "--reason", "laptop stolen"])
        .success();
    let enable = site.boto("enable_key", &only);
    assert_eq!(enable["code"], "KMSInvalidStateException", "{enable}");
    refused(
        &site.dev.cli(&["keys", "enable", &key]),
        &["marked as compromised", "--override REASON"],
    );
    site.dev
        .cli(&["keys", "enable", &key, "--override", "false alarm"])
        .success();
    let described = site.dev.cli(&["keys", "describe", &key]).success();
    assert!(
        described.contains("laptop stolen") && described.contains("false alarm"),
        "{described}"
    );
    within(2, "the overrides are on record", || {
        let overridden = |record: &Value| {
            record["policies"]
                .as_array()
                .is_some_and(|all| all.contains(&json!("signet:override")))
        };
        site.on_record("kms:ScheduleKeyDeletion", overridden) && site.on_record("kms:EnableKey", overridden)
    });
}

// R7
#[test]
fn trust_in_a_whole_organisation_takes_a_word() {
    let dev = Dev::start();
    let bundle = dev.data().join("wide-bundle");
    run(Command::new("cp").arg("-r").arg(dev.data().join("bundle")).arg(&bundle)).success();
    let manifest = bundle.join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let role = "\n[[roles]]\nname = \"ci\"\ntenant = \"000000000001\"\n[[roles.trust]]\nissuer = \"https://ci.example\"\n\
                audiences = [\"signet\"]\nsubject = \"repo:acme/*\"\nalgorithms = [\"ES256\"]\n\
                jwks_file = \"trust/dev-callers.jwks.json\"\n";
    std::fs::write(&manifest, format!("{text}{role}")).unwrap();
    let bundle = bundle.to_str().unwrap();
    let diff = dev.cli(&["bundle", "apply", "--diff", bundle]).success();
    assert!(
        diff.contains("! trusts a whole organisation") && diff.contains("repo:acme/*"),
        "{diff}"
    );
    refused(
        &dev.cli(&["bundle", "apply", bundle]),
        &["approval_required", "repo:acme/*", "--override REASON"],
    );
    dev.cli(&["bundle", "apply", bundle, "--override", "one team owns it all"])
        .success();
}
