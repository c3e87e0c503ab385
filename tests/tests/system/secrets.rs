//! Secrets appear nowhere but where they belong (R10), and the process does not give them away (R25).

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use system_tests::{Curl, Dev};

fn files(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found)
        } else if path.is_file() {
            found.push(path)
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

// R10: the caller's token, the admin token and private keys are in no log at TRACE, no metric, no error and no store file.
#[test]
fn canaries_appear_in_no_log_metric_error_or_store_file() {
    let dir = tempfile::TempDir::new().unwrap();
    let data = dir.path().join("data");
    let dev = Dev::start_in(&data, &["--log", "trace"]);
    let minted = dev.mint("api", r#"{"subject":"alice","claims":{"note":"canary-claim-7d1f"}}"#);
    let refused = dev
        .anonymous("/v1/tokens/api")
        .bearer(&format!("{}x", dev.token()))
        .post(r#"{"subject":"alice"}"#);
    assert_eq!(refused.status, 401);
    let (_, signature) = minted.rsplit_once('.').unwrap();
    let (_, caller) = dev
        .token()
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let pem = std::fs::read_to_string(data.join("dev/caller-issuer.key.pem")).unwrap();
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = BASE64_STANDARD.decode(der).unwrap();
    // PKCS#8 of a P-256 key: the 32 bytes of the private key follow an OCTET STRING's tag and length.
    assert_eq!(der[34..36], [0x04, 0x20], "the canary is the private key itself");
    let canaries: Vec<(&str, Vec<u8>)> = vec![
        ("the caller's token", caller.into_bytes()),
        ("the minted token", signature.as_bytes().to_vec()),
        ("the admin token", dev.text("/admin_token").into_bytes()),
        (
            "an access key's secret",
            dev.text("/kms_credentials/secret_access_key").into_bytes(),
        ),
        ("a claim", b"canary-claim-7d1f".to_vec()),
        ("the issuer's private key", der[36..68].to_vec()),
    ];
    let signed = Curl::new(&dev.text("/kms_http"))
        .arg("--aws-sigv4")
        .arg("aws:amz:us-east-1:kms")
        .arg("--user")
        .arg(&format!(
            "{}:{}",
            dev.text("/kms_credentials/access_key_id"),
            dev.text("/kms_credentials/secret_access_key")
        ))
        .header("Content-Type: application/x-amz-json-1.1")
        .header("X-Amz-Target: TrentService.ListKeys")
        .send_body("POST", "{}");
    assert_eq!(signed.status, 200, "{signed:?}");
    let metrics = dev.anonymous("/metrics").get();
    let mut places = vec![
        ("log".to_owned(), dev.log().into_bytes()),
        ("metrics".to_owned(), metrics.body),
        ("error".to_owned(), refused.body),
    ];
    assert!(places[0].1.len() > 1000, "the log at TRACE is not empty");
    drop(dev);
    let mut found = Vec::new();
    files(&data, &mut found);
    for path in found {
        // What `signet dev` keeps for its user: tokens and keys of callers, in files of mode 0600.
        if !path.starts_with(data.join("dev")) {
            places.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    for (name, canary) in &canaries {
        for (place, content) in &places {
            assert!(!contains(content, canary), "{name} is in {place}");
        }
    }
}

#[test]
fn private_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let dev = Dev::start();
    let mut found = Vec::new();
    files(dev.data(), &mut found);
    let open: Vec<_> = found
        .iter()
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.contains("key") || name.contains("token") || name.contains("pin") || name == "node.json"
        })
        .filter(|path| path.metadata().unwrap().permissions().mode() & 0o077 != 0)
        .collect();
    assert!(open.is_empty(), "{open:?}");
}
