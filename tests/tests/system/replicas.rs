//! A multi-Region key of one authority in a region of another: two of them, and clients of both.

use serde_json::Value;
use system_tests::{Dev, run};
use tempfile::TempDir;

use crate::kms::{client, script, with_root};

#[test]
fn a_key_goes_from_one_authority_to_another_by_a_file() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (a, b) = (
        Dev::start_in(&dir.path().join("a"), &[]),
        Dev::start_in(&dir.path().join("b"), &[]),
    );
    let aws = |dev: &Dev, arguments: &[&str]| -> Value {
        let output = run(with_root(dev, client(dev, "aws")).args(arguments));
        serde_json::from_str(&output.success()).unwrap()
    };
    let blobs = |dev: &Dev, region: &str, arguments: &[&str]| {
        let mut python = script(with_root(dev, client(dev, "python")), "kms_blobs.py");
        run(python.args(arguments).env("AWS_REGION", region))
    };
    let create = ["keys", "create", "--spec", "SYMMETRIC_DEFAULT", "--multi-region"];
    let made = a.cli(&create).success();
    let id = made.trim();
    assert!(id.starts_with("mrk-"), "{id}");
    for (dev, name) in [(&a, "a.json"), (&b, "b.json")] {
        let identity = dev.cli(&["keys", "replica-identity"]);
        assert!(identity.stderr.contains("fingerprint"), "{identity:?}");
        std::fs::write(path(name), identity.success()).unwrap();
    }
    std::fs::write(
        path("list"),
        blobs(&a, "us-east-1", &["encrypt", id, "2", "app=web"]).success(),
    )
    .unwrap();
    let (recipient, sender, bundle) = (path("b.json"), path("a.json"), path("bundle"));
    let export = ["keys", "export-replica", id, "--for", &recipient, "--out", &bundle];
    let shown = a.cli(&export).success();
    assert!(shown.contains(id), "{shown}");
    let import = [
        "keys",
        "import-replica",
        &bundle,
        "--from",
        &sender,
        "--region",
        "eu-west-1",
    ];
    // The wrong way round, and from the wrong one.
    for (dev, from) in [(&a, &sender), (&b, &recipient)] {
        let refused = dev.cli(&[
            "keys",
            "import-replica",
            &bundle,
            "--from",
            from,
            "--region",
            "eu-west-1",
        ]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("ValidationException"), "{refused:?}");
    }
    let shown = b.cli(&import).success();
    assert!(
        shown.starts_with("arn:aws:kms:eu-west-1:000000000001:key/mrk-"),
        "{shown}"
    );
    assert_eq!(
        blobs(&b, "eu-west-1", &["decrypt", &path("list"), "app=web"])
            .success()
            .trim(),
        "2"
    );
    let again = b.cli(&import);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("export the key again"), "{again:?}");
    // A rotation follows with the next file.
    blobs(&a, "us-east-1", &["rotate", id]).success();
    std::fs::write(
        path("list"),
        blobs(&a, "us-east-1", &["encrypt", id, "1", ""]).success(),
    )
    .unwrap();
    assert_ne!(blobs(&b, "eu-west-1", &["decrypt", &path("list"), ""]).code, 0);
    a.cli(&export).success();
    b.cli(&import).success();
    assert_eq!(
        blobs(&b, "eu-west-1", &["decrypt", &path("list"), ""]).success().trim(),
        "1"
    );
    let described = aws(&b, &["kms", "describe-key", "--key-id", id, "--region", "eu-west-1"]);
    let regions = &described["KeyMetadata"]["MultiRegionConfiguration"];
    assert_eq!(
        (&regions["MultiRegionKeyType"], &regions["PrimaryKey"]["Region"]),
        (&"REPLICA".into(), &"us-east-1".into())
    );
    let junk = b.cli(&["keys", "import-replica", &recipient, "--from", &sender]);
    assert_eq!(junk.code, 1, "{junk:?}");
    let no_identity = a.cli(&["keys", "export-replica", id, "--for", &bundle, "--out", &path("x")]);
    assert!(
        no_identity.code == 1 && no_identity.stderr.contains("replica-identity"),
        "{no_identity:?}"
    );
}
