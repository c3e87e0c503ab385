use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::hsm::testing;

async fn with_roots(directory: &Path) -> PathBuf {
    let hsm = testing::software(directory).await;
    for role in RootRole::ALL {
        hsm.ensure_root(role).await.unwrap();
    }
    hsm.path().to_owned()
}

async fn refusal(directory: &Path, passphrase: &str) -> HsmError {
    match testing::software_with(directory, passphrase).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_wrong_passphrase_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    with_roots(directory.path()).await;
    let error = refusal(directory.path(), "correct horse batterx").await;
    assert_eq!(error.kind, HsmErrorKind::Tampered);
    assert!(
        error.detail.contains("passphrase") && !error.detail.contains("horse"),
        "{error}"
    );
    let error = refusal(directory.path(), "short").await;
    assert_eq!(error.kind, HsmErrorKind::Misconfigured);
}

#[tokio::test]
async fn a_file_altered_anywhere_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = with_roots(directory.path()).await;
    let good = std::fs::read_to_string(&path).unwrap();
    let sealed = good.find("\"sealed\": \"").unwrap() + 30;
    let flipped = if good.as_bytes()[sealed] == b'A' { "B" } else { "A" };
    let mut altered = good.clone();
    altered.replace_range(sealed..=sealed, flipped);
    for bad in [
        altered,
        good.replace("\"passes\": 1", "\"passes\": 2"),
        good.replace("\"passes\": 1", "\"passes\": 4000000000"),
        good.replace("\"memory_kib\": 8", "\"memory_kib\": 4000000000"),
        good.replace("\"signet_software_hsm\": 1", "\"signet_software_hsm\": 2"),
        good.replace("\"salt\"", "\"pepper\""),
        good.replace("\"salt\": \"", "\"salt\": \"*"),
        good[..good.len() / 2].to_owned(),
        String::new(),
    ] {
        std::fs::write(&path, &bad).unwrap();
        let error = refusal(directory.path(), "correct horse battery").await;
        assert!(
            [HsmErrorKind::Tampered, HsmErrorKind::Misconfigured].contains(&error.kind),
            "{error} for {bad}"
        );
    }
    std::fs::write(&path, good).unwrap();
    testing::software(directory.path())
        .await
        .root(RootRole::Nodes)
        .await
        .unwrap();
}

// R10
#[tokio::test]
async fn the_file_is_the_owners_and_shows_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = with_roots(directory.path()).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    let hsm = testing::software(directory.path()).await;
    let keys = hsm.with_keys(|keys| Ok(keys.clone())).unwrap();
    for secret in [&keys.sealing, &keys.wrapping, keys.root(RootRole::Nodes).unwrap()] {
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &secret.0);
        assert!(!text.contains(&encoded[4..20]));
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }
    assert!(!text.contains("horse"));
}

#[tokio::test]
async fn two_processes_cannot_share_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let first = testing::software(directory.path()).await;
    let error = refusal(directory.path(), "correct horse battery").await;
    assert!(error.detail.contains("another process"), "{error}");
    drop(first);
    testing::software(directory.path()).await;
}

// R36: a crash leaves a file written aside, whole or not.
#[tokio::test]
async fn what_a_crash_left_aside_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let path = with_roots(directory.path()).await;
    std::fs::write(path.with_extension("new"), "{\"signet_software").unwrap();
    let hsm = testing::software(directory.path()).await;
    for role in RootRole::ALL {
        hsm.root(role).await.unwrap();
    }
}

#[tokio::test]
async fn a_root_that_cannot_be_written_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let hsm = testing::software(directory.path()).await;
    std::fs::create_dir(hsm.path().with_extension("new")).unwrap();
    assert_eq!(
        hsm.ensure_root(RootRole::Nodes).await.unwrap_err().kind,
        HsmErrorKind::Unavailable
    );
    assert_eq!(
        hsm.root(RootRole::Nodes).await.unwrap_err().kind,
        HsmErrorKind::NotFound
    );
}

#[test]
fn the_default_cost_is_that_of_rfc_9106() {
    assert_eq!(
        Cost::default(),
        Cost {
            memory_kib: 65536,
            passes: 3
        }
    );
}
