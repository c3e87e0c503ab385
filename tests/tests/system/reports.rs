//! A rotation that is finished, and what the reports say of it: boto3 makes and reads the blobs, `signet` moves them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use system_tests::{Curl, Dev, Output, run, signet, within};
use tempfile::TempDir;

use crate::kms::{client, script, with_root};

fn blobs(dev: &Dev, arguments: &[&str]) -> String {
    let mut python = script(with_root(dev, client(dev, "python")), "kms_blobs.py");
    run(python.args(arguments)).success()
}

fn parsed(output: Output) -> Value {
    serde_json::from_str(&output.success()).unwrap()
}

/// The rows of a report.
fn report(dev: &Dev, arguments: &[&str]) -> Vec<Value> {
    let report = parsed(dev.cli(&[&["report"][..], arguments, &["--json"]].concat()));
    report["rows"].as_array().unwrap().clone()
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Version, decryptions, share and what was re-encrypted from it.
type Share = (u64, u64, Option<f64>, u64);

/// All versions, and the figure of success.
fn rotations(dev: &Dev) -> (Vec<Share>, Option<f64>) {
    let shown = parsed(dev.cli(&["keys", "rotations", "alias/data", "--json"]));
    let versions = shown["versions"].as_array().unwrap().iter().map(|row| {
        let number = |name: &str| row[name].as_u64().unwrap();
        (
            number("version"),
            number("decryptions"),
            row["share"].as_f64(),
            number("reencryptions"),
        )
    });
    (versions.collect(), shown["success"].as_f64())
}

#[test]
fn a_rotation_is_finished_by_a_run_that_was_killed_in_between() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    let dev = Dev::start_in(&path("data"), &[]);
    dev.cli(&["keys", "create", "--spec", "SYMMETRIC_DEFAULT", "--alias", "alias/data"])
        .success();
    let list = blobs(&dev, &["encrypt", "alias/data", "300", "app=web"]);
    std::fs::write(path("list"), &list).unwrap();
    blobs(&dev, &["rotate", "alias/data"]);
    assert_eq!(blobs(&dev, &["decrypt", &text("list"), "app=web"]).trim(), "300");
    let behind = (vec![(1, 300, Some(1.0), 0), (2, 0, Some(0.0), 0)], Some(0.0));
    assert_eq!(rotations(&dev), behind);

    // What would happen; it changes nothing.
    let arguments = ["keys", "reencrypt", "--to", "alias/data", "--context", "app=web"];
    let summary = parsed(dev.cli(&[&arguments[..], &[&text("list"), "--dry-run", "--json"]].concat()));
    assert_eq!((&summary["lines"], &summary["reencrypted"]), (&json!(300), &json!(300)));
    assert_eq!(rotations(&dev), behind);

    // The first batch is durable when the second is waited for, and there the run is killed.
    let mut child = Command::new(signet())
        .args(arguments)
        .args(["-", "--out", &text("moved"), "--data"])
        .arg(dev.data())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let first: String = list.lines().take(256).map(|line| format!("{line}\n")).collect();
    let mut input = child.stdin.take().unwrap();
    input.write_all(first.as_bytes()).unwrap();
    within(30, "a batch is written", || lines(&path("moved")).len() == 256);
    child.kill().unwrap();
    child.wait().unwrap();
    drop(input);
    // As if the kill had come in the middle of a line.
    let mut moved = std::fs::read(path("moved")).unwrap();
    moved.extend_from_slice(b"UwD");
    std::fs::write(path("moved"), moved).unwrap();

    let (from, out) = (text("list"), text("moved"));
    let into = [&arguments[..], &[&from, "--out", &out]].concat();
    let again = dev.cli(&into);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("--resume"), "{again:?}");
    let summary = parsed(dev.cli(&[&into[..], &["--resume", "--json"]].concat()));
    let counts = ["resumed_after", "lines", "reencrypted", "failed"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [256, 44, 44, 0]);
    assert!(!path("moved.errors").exists());
    assert_eq!(blobs(&dev, &["decrypt", &text("moved"), "app=web"]).trim(), "300");
    // All of it is under the current version now, so nothing is left to do, and the figure says how far readers are.
    let summary = parsed(dev.cli(&[&arguments[..], &[&text("moved"), "--dry-run", "--json"]].concat()));
    assert_eq!(summary["kept"], 300);
    let done = (vec![(1, 300, Some(0.5), 300), (2, 300, Some(0.5), 0)], Some(0.5));
    assert_eq!(rotations(&dev), done);
    let shown = dev.cli(&["keys", "rotations", "alias/data"]).success();
    assert!(
        shown.contains("rotation success 50.0 %: version 2's part of 600"),
        "{shown}"
    );
    // An authority that stops in order has lost none of it when it is there again.
    assert!(dev.stop().success());
    let dev = Dev::start_in(&path("data"), &[]);
    assert_eq!(rotations(&dev), done);
}

#[test]
fn lines_that_fail_are_named_and_stay_as_they_were() {
    let (dev, dir) = (Dev::start(), TempDir::new().unwrap());
    let path = |name: &str| dir.path().join(name);
    let text = |name: &str| path(name).display().to_string();
    for alias in ["alias/old", "alias/new"] {
        dev.cli(&["keys", "create", "--spec", "SYMMETRIC_DEFAULT", "--alias", alias])
            .success();
    }
    let blob = |context: &str| blobs(&dev, &["encrypt", "alias/old", "1", context]).trim().to_owned();
    let (bare, bound) = (blob(""), blob("user=7"));
    let list = [
        bare.clone(),
        json!({"id": "row-2", "ciphertext": bound, "context": {"user": "7"}, "table": "users"}).to_string(),
        String::new(),
        json!({"id": "row-4", "ciphertext": bound}).to_string(),
        "not a blob".to_owned(),
        "{".to_owned(),
    ];
    // The last line has no end.
    std::fs::write(path("list"), list.join("\n")).unwrap();
    let session = session(&dev);
    let reencrypt = |arguments: &[&str]| {
        let mut command = Command::new(signet());
        command.args(["keys", "reencrypt", "--to", "alias/new"]).args(arguments);
        // As a pipeline does it: an address, the credentials of a role, no admin token.
        command
            .env("AWS_ENDPOINT_URL_KMS", dev.text("/kms"))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_CA_BUNDLE", dev.text("/ca_file"));
        for (name, value) in &session {
            command.env(name, value);
        }
        run(&mut command)
    };
    let output = reencrypt(&[&text("list"), "--out", &text("out"), "--json"]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(
        output.stderr.contains("3 lines failed and stayed as they were"),
        "{output:?}"
    );
    let summary: Value = serde_json::from_str(&output.stdout).unwrap();
    let counts = ["lines", "reencrypted", "blank", "failed"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [6, 2, 1, 3]);
    let out = lines(&path("out"));
    assert_eq!(out.len(), 6);
    assert_ne!(out[0], list[0]);
    let second: Value = serde_json::from_str(&out[1]).unwrap();
    assert_eq!(
        (&second["id"], &second["table"], &second["context"]["user"]),
        (&json!("row-2"), &json!("users"), &json!("7"))
    );
    assert_ne!(second["ciphertext"], bound);
    assert_eq!(out[2..], list[2..]);
    let errors: Vec<Value> = lines(&path("out.errors"))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let places: Vec<_> = errors
        .iter()
        .map(|error| (error["line"].as_u64().unwrap(), error["id"].clone()))
        .collect();
    assert_eq!(places, [(4, json!("row-4")), (5, Value::Null), (6, Value::Null)]);
    assert!(
        errors[0]["error"].as_str().unwrap().contains("encryption context"),
        "{errors:?}"
    );
    // To standard output, with the errors beside it; and a list that is the output of before does the rest.
    std::fs::write(path("rest"), out[..2].join("\n")).unwrap();
    let output = reencrypt(&[&text("rest")]);
    assert_eq!((output.code, output.stdout), (0, format!("{}\n", out[..2].join("\n"))));
    let output = reencrypt(&["/dev/null"]);
    assert_eq!((output.code, output.stdout.as_str()), (0, ""));
    let output = reencrypt(&[&text("list")]);
    assert_eq!((output.code, output.stdout.lines().count()), (1, 6), "{output:?}");
    assert!(output.stderr.contains("line 6: "), "{output:?}");
    // Another list than the one that the run began with; and nobody at the address.
    std::fs::write(path("short"), "x\n").unwrap();
    let output = reencrypt(&[&text("short"), "--out", &text("out"), "--resume"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("not the list"), "{output:?}");
    let output = reencrypt(&[&text("rest"), "--endpoint", "http://127.0.0.1:1"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("127.0.0.1:1"), "{output:?}");
}

/// Temporary credentials of the role that development policies let use keys, as a pipeline gets them.
fn session(dev: &Dev) -> Vec<(&'static str, String)> {
    let form = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=pipeline&RoleArn=arn:aws:iam::000000000001:role/developer\
         &WebIdentityToken={}",
        dev.token()
    );
    let answer = Curl::new(&dev.text("/kms"))
        .arg("--cacert")
        .arg(&dev.text("/ca_file"))
        .header("Content-Type: application/x-www-form-urlencoded")
        .send_body("POST", &form);
    let xml = String::from_utf8(answer.body).unwrap();
    let member = |name: &str| {
        let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{xml}"));
        rest.split('<').next().unwrap().to_owned()
    };
    vec![
        ("AWS_ACCESS_KEY_ID", member("AccessKeyId")),
        ("AWS_SECRET_ACCESS_KEY", member("SecretAccessKey")),
        ("AWS_SESSION_TOKEN", member("SessionToken")),
    ]
}

#[test]
fn reports_say_who_may_who_did_and_what_is_unused() {
    let dir = TempDir::new().unwrap();
    let dev = Dev::start_in(&dir.path().join("data"), &["--account", "123456789012"]);
    let tenant = ["--tenant", "123456789012"];
    let cli = |arguments: &[&str]| dev.cli(&[arguments, &tenant].concat());
    let create = ["keys", "create", "--spec", "SYMMETRIC_DEFAULT"];
    let named = [
        "--alias",
        "alias/data",
        "--owner",
        "=cmd|' /C calc'!A0",
        "--contact",
        "data, \"ops\"",
    ];
    let key = cli(&[&create[..], &named].concat()).success().trim().to_owned();
    cli(&["access-keys", "create", "--user", "ada", "--role", "admin"]).success();
    cli(&["access-keys", "create", "--user", "bob"]).success();
    blobs(&dev, &["encrypt", "alias/data", "3", ""]);
    let elsewhere = run(with_root(&dev, client(&dev, "aws")).args(["kms", "create-key", "--region", "eu-central-1"]));
    let elsewhere: Value = serde_json::from_str(&elsewhere.success()).unwrap();
    let arn = elsewhere["KeyMetadata"]["Arn"].as_str().unwrap();

    let rows = report(&dev, &[&["access", "alias/data"][..], &tenant].concat());
    let of = |kind: &str| {
        let rows = rows.iter().filter(|row| row["kind"] == kind);
        let principal = |row: &Value| {
            row["principal"]
                .as_str()
                .unwrap()
                .rsplit(':')
                .next()
                .unwrap()
                .to_owned()
        };
        rows.map(|row| (principal(row), row["uses"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("decision"), [("root".to_owned(), 3), ("user/ada".to_owned(), 0)]);
    assert_eq!(of("statement"), [("root".to_owned(), 3)]);
    assert_eq!(of("use"), [("root".to_owned(), 3)]);
    // A key of another region by its ARN; the maker is its owner.
    let rows = report(&dev, &[&["access", arn][..], &tenant].concat());
    assert_eq!(rows[0]["region"], "eu-central-1");
    assert_eq!(rows[0]["owner"], "arn:aws:iam::123456789012:root");

    let csv = cli(&["report", "access", "--csv"]).success();
    let head = "tenant,region,key,aliases,owner,kind,effect,principal,name,operations,conditional,uses,first_used,last_used\r\n";
    assert!(csv.starts_with(head), "{csv}");
    let owner = format!(
        "123456789012,us-east-1,{key},alias/data,\"'=cmd|' /C calc'!A0\",use,,arn:aws:iam::123456789012:root,,Encrypt=3,"
    );
    assert!(csv.contains(&owner), "{csv}");
    let described = parsed(cli(&["keys", "describe", "alias/data"]));
    assert_eq!(described["KeyMetadata"]["Signet"]["Contact"], "data, \"ops\"");
    cli(&["keys", "owner", "alias/data", "--owner", "data"]).success();
    let shown = cli(&["keys", "owner", "alias/data", "--contact", "ops@example.org"]).success();
    assert_eq!(shown, "owner data, contact ops@example.org\n");

    let usage = report(
        &dev,
        &["usage", "--days", "1", "--by", "tenant,operation", "--all-tenants"],
    );
    let encrypts = usage
        .iter()
        .find(|row| row["tenant"] == "123456789012" && row["operation"] == "Encrypt");
    assert_eq!(encrypts.unwrap()["performed"], 3);
    assert!(usage.iter().any(|row| row["tenant"] == "000000000001"));
    assert!(report(&dev, &[&["unused", "--days", "1"][..], &tenant].concat()).is_empty());
    let table = cli(&["report", "usage", "--by", "operation"]).success();
    assert!(table.starts_with("OPERATION"), "{table}");
    // Only operators: the token is asked for before anything is read.
    let open = Curl::new(&format!(
        "{}/v1/reports/access?tenant=123456789012",
        dev.text("/authority/admin")
    ));
    let refused = open.arg("--cacert").arg(&dev.text("/ca_file")).post("{}");
    assert_eq!((refused.status, refused.problem()), (401, "bad_admin_token".to_owned()));
    let paged = dev
        .admin("/v1/reports/rotation?tenant=123456789012")
        .post(r#"{"limit":1,"days":7}"#);
    assert_eq!(paged.status, 200, "{paged:?}");
    assert!(paged.json()["next"].is_string() && paged.json()["rows"].as_array().unwrap().len() == 1);
    let wrong = dev
        .admin("/v1/reports/usage?tenant=123456789012")
        .post(r#"{"limit":501}"#);
    assert_eq!((wrong.status, wrong.problem()), (400, "bad_request".to_owned()));
}
