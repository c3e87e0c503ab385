use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use crate::hsm::testing;
use crate::hsm::worker::Worker;
use crate::hsm::{EcCurve, Hsm, RootRole};

#[tokio::test]
async fn a_token_is_made_once_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("state/hsm");
    let first = testing::softhsm(&place).await;
    let root = first.ensure_root(RootRole::Nodes).await.unwrap();
    drop(first);
    let pin = std::fs::read(place.join("pin")).unwrap();
    let again = testing::softhsm(&place).await;
    assert_eq!(again.root(RootRole::Nodes).await.unwrap(), root);
    assert_eq!(std::fs::read(place.join("pin")).unwrap(), pin);
    assert_eq!(std::fs::read_dir(place.join("tokens")).unwrap().count(), 1);
}

#[tokio::test]
async fn only_the_owner_can_read_the_pins_which_are_random() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    testing::softhsm_config(&one).await;
    testing::softhsm_config(&two).await;
    let mut pins = std::collections::HashSet::new();
    for place in [&one, &two] {
        assert_eq!(std::fs::metadata(place).unwrap().permissions().mode() & 0o777, 0o700);
        for file in ["pin", "so-pin", "softhsm2.conf"] {
            assert_eq!(
                std::fs::metadata(place.join(file)).unwrap().permissions().mode() & 0o777,
                0o600,
                "{file}"
            );
        }
        for file in ["pin", "so-pin"] {
            let pin = std::fs::read_to_string(place.join(file)).unwrap();
            assert_eq!(pin.len(), 32);
            pins.insert(pin);
        }
    }
    assert_eq!(pins.len(), 4);
}

// R36: a crash after the PIN files were written, or after the token was made and before its user PIN was set.
#[tokio::test]
async fn a_token_half_made_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    testing::softhsm_config(directory.path()).await;
    std::fs::remove_dir_all(directory.path().join("tokens")).unwrap();
    drop(testing::softhsm(directory.path()).await);

    std::fs::remove_dir_all(directory.path().join("tokens")).unwrap();
    std::fs::create_dir(directory.path().join("tokens")).unwrap();
    let so_pin = std::fs::read_to_string(directory.path().join("so-pin")).unwrap();
    let Some(output) = pkcs11_tool(
        directory.path(),
        &[
            "--init-token",
            "--slot-index",
            "0",
            "--label",
            "signet test",
            "--so-pin",
            &so_pin,
        ],
    ) else {
        return;
    };
    assert!(output.contains("successfully initialized"), "{output}");
    let worker = testing::softhsm(directory.path()).await;
    worker.ensure_root(RootRole::Nodes).await.unwrap();
    assert_eq!(std::fs::read_dir(directory.path().join("tokens")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_label_or_directory_that_a_token_cannot_have_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let module = find_softhsm().unwrap();
    for label in ["", "a label with more than thirty-two characters", "é"] {
        let place = directory.path().join("labels");
        let error = softhsm(&place, &module, label, testing::as_test_binary)
            .await
            .unwrap_err();
        assert_eq!(error.kind, HsmErrorKind::Misconfigured, "{error}");
    }
    let error = softhsm(&directory.path().join("a#b"), &module, "x", testing::as_test_binary)
        .await
        .unwrap_err();
    assert!(error.detail.contains("`#`"), "{error}");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = softhsm(&file, &module, "x", testing::as_test_binary).await.unwrap_err();
    assert!(error.detail.contains("cannot prepare"), "{error}");
}

#[tokio::test]
async fn pkcs11_tool_sees_roots_and_masters_that_cannot_leave_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let worker = testing::softhsm(directory.path()).await;
    for role in RootRole::ALL {
        worker.ensure_root(role).await.unwrap();
    }
    for _ in 0..3 {
        let key = worker.generate_wrapped(EcCurve::P256).await.unwrap();
        worker.sign_wrapped(&key, b"x").await.unwrap();
    }
    let Some(listed) = logged_in(directory.path(), &["--list-objects"]) else {
        return;
    };
    let mut objects: Vec<Vec<&str>> = Vec::new();
    for line in listed.lines() {
        if line.contains(" Object; ") {
            objects.push(vec![line]);
        } else if let Some(object) = objects.last_mut() {
            object.push(line.trim());
        }
    }
    let field = |object: &[&str], name: &str| {
        let value = object
            .iter()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("{name} of {object:?}"));
        value.trim().to_owned()
    };
    let mut seen: Vec<_> = objects
        .iter()
        .map(|object| {
            let class = object[0].split(" Object").next().unwrap();
            let (label, usage) = (field(object, "label:"), field(object, "Usage:"));
            format!("{class}, {label}, {usage}, {}", field(object, "Access:"))
        })
        .collect();
    seen.sort();
    let kept = "sensitive, always sensitive, never extractable, local";
    let expected = [
        format!("Private Key, signet root delegations, sign, {kept}"),
        format!("Private Key, signet root nodes, sign, {kept}"),
        "Public Key, signet root delegations, verify, local".to_owned(),
        "Public Key, signet root nodes, verify, local".to_owned(),
        format!("Secret Key, signet master sealing, encrypt, decrypt, {kept}"),
        format!("Secret Key, signet master wrapping, wrap, unwrap, {kept}"),
    ];
    assert_eq!(seen, expected, "{listed}");
}

#[tokio::test]
async fn a_root_that_can_leave_the_token_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = testing::softhsm_config(directory.path()).await;
    let made = logged_in(
        directory.path(),
        &[
            "--keypairgen",
            "--key-type",
            "EC:secp384r1",
            "--label",
            "signet root nodes",
            "--extractable",
        ],
    );
    let Some(_) = made else { return };
    let worker = Worker::start(config).await.unwrap();
    let error = worker.root(RootRole::Nodes).await.unwrap_err();
    assert_eq!(error.kind, HsmErrorKind::Misconfigured);
    assert!(error.detail.contains("is not sensitive or is extractable"), "{error}");
    assert_eq!(
        worker.ensure_root(RootRole::Nodes).await.unwrap_err().kind,
        HsmErrorKind::Misconfigured
    );
}

#[tokio::test]
async fn two_roots_of_one_name_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let worker = testing::softhsm(directory.path()).await;
    worker.ensure_root(RootRole::Nodes).await.unwrap();
    drop(worker);
    let made = logged_in(
        directory.path(),
        &[
            "--keypairgen",
            "--key-type",
            "EC:secp384r1",
            "--label",
            "signet root nodes",
            "--sensitive",
        ],
    );
    let Some(_) = made else { return };
    let error = testing::softhsm(directory.path())
        .await
        .root(RootRole::Nodes)
        .await
        .unwrap_err();
    assert!(
        error.detail.contains("2 objects") && error.detail.contains("keep one"),
        "{error}"
    );
}

// R36: a crash between the two objects of a pair.
#[tokio::test]
async fn the_public_half_of_a_root_that_was_never_finished_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    testing::softhsm_config(directory.path()).await;
    let label = ["--label", "signet root nodes"];
    let make = [&label[..], &["--keypairgen", "--key-type", "EC:secp384r1"]].concat();
    let Some(_) = logged_in(directory.path(), &make) else {
        return;
    };
    logged_in(
        directory.path(),
        &[&label[..], &["--delete-object", "--type", "privkey"]].concat(),
    )
    .unwrap();

    let worker = testing::softhsm(directory.path()).await;
    assert_eq!(
        worker.root(RootRole::Nodes).await.unwrap_err().kind,
        HsmErrorKind::NotFound
    );
    worker.ensure_root(RootRole::Nodes).await.unwrap();
    worker.sign_root(RootRole::Nodes, b"x").await.unwrap();
    let listed = logged_in(directory.path(), &["--list-objects", "--type", "pubkey"]).unwrap();
    assert_eq!(listed.matches("signet root nodes").count(), 1, "{listed}");
}

fn logged_in(directory: &Path, arguments: &[&str]) -> Option<String> {
    let pin = std::fs::read_to_string(directory.join("pin")).unwrap();
    let login = ["--login", "--token-label", "signet test", "--pin", &pin];
    pkcs11_tool(directory, &[&login, arguments].concat())
}

/// `None` where OpenSC is not installed.
fn pkcs11_tool(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("pkcs11-tool")
        .arg("--module")
        .arg(find_softhsm().unwrap())
        .args(arguments)
        .env("SOFTHSM2_CONF", directory.join("softhsm2.conf"))
        .output()
        .ok()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    Some(printed)
}
