use super::*;
use crate::testing::{Bench, DELEGATE, bundle};

async fn apply(bench: &Bench, files: Vec<(String, Vec<u8>)>) -> Result<Outcome, Invalid> {
    bench.publish(files, false).await
}

fn with(path: &str, content: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = bundle(DELEGATE);
    files.retain(|(existing, _)| existing != path);
    files.push((path.to_owned(), content.to_vec()));
    files
}

const PLUGIN: &str = "[issuers.dev]\ntenant = \"000000000001\"\n[[plugins]]\nname = \"p\"\nfile = \"plugins/p.wasm\"\n";

#[tokio::test]
async fn a_bundle_is_applied_and_found_again() {
    let bench = Bench::new().await;
    let outcome = apply(&bench, bundle(DELEGATE)).await.unwrap();
    assert!(outcome.applied && outcome.revision.is_some());
    assert_eq!(outcome.changes.len(), 4);
    assert!(
        outcome
            .warnings
            .iter()
            .any(|warning| warning.message.contains("no key `alias/token`")),
        "{:?}",
        outcome.warnings
    );
    let again = apply(&bench, bundle(DELEGATE)).await.unwrap();
    assert!(!again.applied && again.changes.is_empty());
    let bench = bench.restart().await;
    let in_force = bench.wired.bundles.in_force();
    assert_eq!(in_force.published.as_ref().unwrap().digest, outcome.digest);
    assert_eq!(in_force.bundle.profiles.len(), 2);
}

#[tokio::test]
async fn a_file_of_several_rows_is_found_again_and_goes_with_its_bundle() {
    let bench = Bench::new().await;
    let mut long = b"# rows\n".repeat(PIECE / 7);
    long.extend_from_slice(b"10.0.0.0/8,lab\n");
    assert!(long.len() > PIECE);
    let digest = apply(&bench, with("plugins/long.csv", &long)).await.unwrap().digest;
    let rows = |digest: String| {
        let store = bench.parts.store.clone();
        async move { store.scan(&format!("bundle/{digest}/"), None, 100).await.unwrap().len() }
    };
    assert_eq!(rows(digest.clone()).await, bundle(DELEGATE).len() + 2);
    let found = load(&bench.wired.vault).await.unwrap().unwrap();
    let file = found.files.iter().find(|(path, _)| path == "plugins/long.csv");
    assert!(file.unwrap().1 == long);
    apply(&bench, bundle(DELEGATE)).await.unwrap();
    assert_eq!(rows(digest).await, 0);
}

// R31
#[tokio::test]
async fn a_refused_bundle_leaves_the_last_good_one() {
    let bench = Bench::new().await;
    let good = apply(&bench, bundle(DELEGATE)).await.unwrap().digest;
    let revision = bench.parts.store.revision().await.unwrap();
    let mut module = bundle(DELEGATE);
    module.retain(|(path, _)| path != "bundle.toml");
    module.push(("bundle.toml".into(), PLUGIN.as_bytes().to_vec()));
    // A module where a component is due.
    module.push(("plugins/p.wasm".into(), b"\0asm\x01\0\0\0".to_vec()));
    let cases = vec![
        (with("bundle.toml", b"[surprise]\n"), "bundle.toml"),
        (
            with(
                "policies/test.cedar",
                b"permit (principal is Edge, action == Action::\"Dance\", resource);",
            ),
            "policies/test.cedar",
        ),
        (with("policies/test.cedar", b"permit (((("), "policies/test.cedar"),
        (
            with("policies/test.cedar", b"forbid (principal, action, resource);"),
            "policies",
        ),
        (with("profiles/api.toml", b"kind = 7"), "profiles/api.toml"),
        (with("odd.txt", b""), "odd.txt"),
        (module, "plugins/p.wasm"),
        (vec![], "bundle.toml"),
    ];
    for (files, file) in cases {
        let invalid = apply(&bench, files).await.unwrap_err();
        assert!(
            invalid.findings.iter().any(|finding| finding.file == file),
            "{file}: {invalid:?}"
        );
    }
    assert_eq!(bench.wired.bundles.in_force().published.as_ref().unwrap().digest, good);
    assert_eq!(
        bench.parts.store.revision().await.unwrap(),
        revision,
        "nothing was written"
    );
}

#[tokio::test]
async fn a_dry_run_tells_and_changes_nothing() {
    let bench = Bench::new().await;
    apply(&bench, bundle(DELEGATE)).await.unwrap();
    let before = bench.parts.store.revision().await.unwrap();
    let changed = with(
        "policies/test.cedar",
        b"permit (principal is Edge, action == Action::\"Delegate\", resource is Key);\n",
    );
    let outcome = bench.publish(changed, true).await.unwrap();
    assert!(!outcome.applied);
    assert_eq!(outcome.changes.len(), 1);
    assert!(
        outcome.changes[0]
            .diff
            .as_ref()
            .unwrap()
            .contains("-@id(\"edges-get-keys\")")
    );
    assert_eq!(bench.parts.store.revision().await.unwrap(), before);
}

// R38
#[tokio::test]
async fn a_profile_on_a_key_that_cannot_serve_it_is_refused() {
    let bench = Bench::new().await;
    bench.key("ECC_NIST_P256", "artifact", "own", "alias/token").await;
    bench.key("ECC_NIST_P384", "artifact", "own", "alias/release").await;
    let invalid = apply(&bench, bundle(DELEGATE)).await.unwrap_err();
    let text: Vec<_> = invalid.findings.iter().map(ToString::to_string).collect();
    assert!(
        text.iter()
            .any(|line| line.starts_with("profiles/api.toml: key:") && line.contains("family")),
        "{text:?}"
    );
    assert!(
        text.iter()
            .any(|line| line.starts_with("profiles/release.toml: key:") && line.contains("ES384")),
        "{text:?}"
    );
}

#[tokio::test]
async fn a_lifetime_beyond_the_cap_is_refused() {
    let bench = Bench::new().await;
    bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await;
    let profile = "tenant = \"000000000001\"\nkind = \"token\"\nkey = \"alias/token\"\nalgorithm = \"ES256\"\nissuer = \"dev\"\naudiences = [\"a\"]\nlifetime = { max = \"25h\" }\n";
    let invalid = apply(&bench, with("profiles/api.toml", profile.as_bytes()))
        .await
        .unwrap_err();
    assert!(invalid.findings[0].message.contains("86400"), "{invalid:?}");
}

// R31
#[tokio::test]
async fn more_than_an_edge_can_be_sent_is_refused() {
    let bench = Bench::new().await;
    let invalid = apply(&bench, with("trust/big.pem", &vec![0; MAX_FILE_BYTES + 1]))
        .await
        .unwrap_err();
    assert_eq!(invalid.findings[0].file, "trust/big.pem");
    let many: Vec<_> = (0..=MAX_FILES).map(|n| (format!("trust/{n}"), vec![])).collect();
    assert!(apply(&bench, many).await.is_err());
}
