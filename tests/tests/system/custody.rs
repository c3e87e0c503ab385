//! Symmetric keys that stay in the HSM, with a client that knows nothing of it.

use serde_json::Value;
use system_tests::{Dev, run};
use tempfile::TempDir;

use crate::kms::{client, script, with_root};

#[test]
fn a_tenants_new_keys_are_kept_where_it_says() {
    let dir = TempDir::new().unwrap();
    let dev = Dev::start();
    let list = dir.path().join("list");
    let path = list.display().to_string();
    let blobs = |arguments: &[&str]| {
        let mut python = script(with_root(&dev, client(&dev, "python")), "kms_blobs.py");
        run(python.args(arguments))
    };
    let custody = |key: &str| {
        let described: Value = serde_json::from_str(&dev.cli(&["keys", "describe", key, "--json"]).success()).unwrap();
        described["KeyMetadata"]["Signet"]["Custody"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let create = |arguments: &[&str]| {
        let all = [&["keys", "create", "--spec", "SYMMETRIC_DEFAULT"], arguments].concat();
        dev.cli(&all).success().trim().to_owned()
    };
    let before = create(&[]);
    let shown = dev.cli(&["tenants", "custody", "000000000001", "token"]).success();
    assert!(shown.contains("CUSTODY") && shown.contains("token"), "{shown}");
    let (kept, wrapped) = (create(&["--alias", "alias/vault"]), create(&["--custody", "wrapped"]));
    assert_eq!(
        [&before, &kept, &wrapped].map(|key| custody(key)),
        ["wrapped", "token", "wrapped"]
    );
    let large = dev.cli(&["keys", "create", "--spec", "ECC_NIST_P521"]);
    assert_eq!(large.code, 1, "{large:?}");
    for part in ["ValidationException", "the HSM keeps SYMMETRIC_DEFAULT", "`wrapped`"] {
        assert!(large.stderr.contains(part), "{part}: {large:?}");
    }

    let old = blobs(&["encrypt", "alias/vault", "2", "app=web"]).success();
    std::fs::write(&list, &old).unwrap();
    blobs(&["rotate", "alias/vault"]).success();
    assert_eq!(blobs(&["decrypt", &path, "app=web"]).success().trim(), "2");
    assert_ne!(blobs(&["decrypt", &path, "app=shop"]).code, 0, "another context");
    // In bulk under the new version, and out of the HSM's care.
    for to in ["alias/vault", &wrapped] {
        let moved = dir.path().join(format!("moved-{}", to.len())).display().to_string();
        dev.cli(&[
            "keys",
            "reencrypt",
            &path,
            "--to",
            to,
            "--out",
            &moved,
            "--context",
            "app=web",
        ])
        .success();
        assert_eq!(blobs(&["decrypt", &moved, "app=web"]).success().trim(), "2");
        assert_ne!(std::fs::read_to_string(&moved).unwrap(), old);
    }
    let nobody = dev.cli(&["tenants", "custody", "000000000009", "token"]);
    assert!(
        nobody.code == 1 && nobody.stderr.contains("there is no tenant `000000000009`"),
        "{nobody:?}"
    );
}
