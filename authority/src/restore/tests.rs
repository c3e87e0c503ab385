use std::collections::BTreeMap;

use serde_json::json;
use signing::key::Secret;
use tempfile::TempDir;

use super::*;
use crate::backup::key::Made;
use crate::backup::tests::{take, with_key};
use crate::clock::held_at;
use crate::hsm::Verified;
use crate::seal::Seal;
use crate::store::MAX_SCAN;
use crate::testing::{self, Bench, START};

/// Where a backup is restored to.
struct Target {
    dir: TempDir,
    config: Config,
    clock: Clock,
}

impl Target {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self {
            config: testing::config(&dir),
            clock: held_at(START + 60).0,
            dir,
        }
    }

    /// With the HSM that `from` has, or a new one.
    async fn restore(&self, file: &[u8], hsm_of: Option<&Bench>, shares: &[Share]) -> Result<Report, StartError> {
        let hsm = match hsm_of {
            Some(bench) => bench.parts.hsm.clone(),
            None => Arc::new(Verified::new(crate::hsm::testing::software(self.dir.path()).await)) as Arc<dyn Hsm>,
        };
        let backup = Reader::open(file)?;
        restore_into(&self.config, &self.clock, hsm, backup, shares, &mut |_, _| {}).await
    }

    async fn vault(&self, hsm: Arc<dyn Hsm>) -> Vault {
        Vault::new(open_store(&store_path(&self.config)).await.unwrap(), hsm)
    }

    fn holds_a_store(&self) -> bool {
        store_path(&self.config).exists()
    }

    fn leaves_nothing(&self) {
        assert!(!self.holds_a_store());
        assert!(!store_path(&self.config).with_extension("restoring").exists());
    }
}

fn refused<T>(result: Result<T, StartError>) -> String {
    result.map(drop).unwrap_err().to_string()
}

async fn rows(store: &dyn Store) -> BTreeMap<String, Vec<u8>> {
    let rows = store.scan("", None, MAX_SCAN).await.unwrap();
    rows.into_iter().map(|(path, row)| (path, row.value)).collect()
}

/// A bench with a key of each kind, and its backup.
async fn furnished() -> (Bench, Made, BTreeMap<&'static str, String>, Vec<u8>) {
    let bench = Bench::new().await;
    let made = with_key(&bench).await;
    let mut keys = BTreeMap::new();
    keys.insert("symmetric", bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await);
    keys.insert(
        "shared",
        bench.key("ECC_NIST_P256", "token", "shared", "alias/token").await,
    );
    keys.insert(
        "own",
        bench.key("ECC_NIST_P256", "artifact", "own", "alias/release").await,
    );
    let tags = json!([{"TagKey": "signet:custody", "TagValue": "token"}]);
    let token = json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "Tags": tags.clone()});
    let token = bench.verb("CreateKey", token).await.unwrap();
    keys.insert("token", token["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned());
    let kept = bench.verb("CreateKey", json!({"Tags": tags})).await.unwrap();
    keys.insert("kept", kept["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned());
    bench.enroll("edge-1").await;
    let file = take(&bench.wired.vault, None).await;
    (bench, made, keys, file)
}

/// What a restore changes of a store's rows on purpose.
fn is_changed(path: &str) -> bool {
    let prefixes = [
        "tokens/",
        "system/sessions",
        "system/admin",
        "system/seal",
        "system/anchor",
        "system/sums",
    ];
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

#[tokio::test]
async fn into_the_same_hsm_every_row_comes_back_as_it_was() {
    let (bench, _, keys, file) = furnished().await;
    let target = Target::new();
    let report = target.restore(&file, Some(&bench), &[]).await.unwrap();
    assert!(report.same_hsm && report.lost.is_empty());
    assert_eq!(report.keys, keys.len() as u64);
    let vault = target.vault(bench.parts.hsm.clone()).await;
    let (mut before, mut after) = (
        rows(bench.parts.store.as_ref()).await,
        rows(vault.store().as_ref()).await,
    );
    assert!(before.keys().any(|path| path.starts_with("tokens/")));
    assert!(
        !after.keys().any(|path| path.starts_with("tokens/")),
        "no join token of before"
    );
    assert_ne!(before["system/admin"], after["system/admin"], "a new admin token");
    before.retain(|path, _| !is_changed(path));
    after.retain(|path, _| !is_changed(path));
    assert_eq!(before, after);
    let seal = Seal::examine(&vault, &target.config.anchor()).await.unwrap();
    assert!(matches!(seal.reason(), Some(Reason::Restored { .. })));
    // Beyond all that the store can have had since the backup, so that no edge takes it for old.
    assert!(report.revision >= next_life(bench.parts.store.revision().await.unwrap(), 0));
}

#[tokio::test]
async fn into_a_new_hsm_what_can_come_back_does_and_the_rest_is_listed() {
    let (bench, made, keys, file) = furnished().await;
    let target = Target::new();
    let shares: Vec<Share> = made.shares.into_iter().skip(1).take(3).collect();
    let report = target.restore(&file, None, &shares).await.unwrap();
    assert!(!report.same_hsm);
    assert_eq!(report.keys, keys.len() as u64 - 2);
    let lost: Vec<_> = report.lost.iter().map(|lost| (lost.what, lost.key.clone())).collect();
    let key = |name: &str| Some(keys[name].clone());
    assert_eq!(lost.len(), 4, "{lost:?}");
    let stopped = [("key", key("token")), ("key", key("kept"))];
    for expected in [("roots", None), ("key_ca", key("own"))].into_iter().chain(stopped) {
        assert!(lost.contains(&expected), "{expected:?} in {lost:?}");
    }
    let hsm: Arc<dyn Hsm> = Arc::new(Verified::new(crate::hsm::testing::software(target.dir.path()).await));
    let vault = target.vault(hsm).await;
    let (before, after) = (
        rows(bench.parts.store.as_ref()).await,
        rows(vault.store().as_ref()).await,
    );
    // Every secret is byte-exact: the same rows, under key-encryption keys that are the same.
    let mut secrets = 0;
    for (path, row) in before.iter().filter(|(path, _)| path.starts_with("material/")) {
        assert_eq!(&after[path], row, "{path}");
        assert!(vault.get_secret(path).await.unwrap().is_some());
        secrets += 1;
    }
    assert!(secrets >= 3, "{secrets}");
    for (path, row) in before.iter().filter(|(path, _)| path.starts_with("kek/")) {
        assert_ne!(&after[path], row, "`{path}` is under the new HSM");
        let old = bench.wired.vault.unseal_kek(path, row).await.unwrap();
        let new = vault.unseal_kek(path, &after[path]).await.unwrap();
        assert!(old.matches(new.expose()));
    }
    init::load_roots(&vault, "example.org").await.unwrap();
}

#[tokio::test]
async fn without_the_hsm_or_enough_shares_nothing_is_restored() {
    let (bench, made, _, file) = furnished().await;
    let target = Target::new();
    let none = refused(target.restore(&file, None, &[]).await);
    assert!(none.contains("give 3 of the 5 shares"), "{none}");
    let few = refused(target.restore(&file, None, &made.shares[..2]).await);
    assert!(few.starts_with("3 different shares"), "{few}");
    let others = crate::backup::make_key(5, 3, 0).unwrap();
    let foreign = refused(target.restore(&file, None, &others.shares[..3]).await);
    assert!(foreign.contains(&others.key.id), "{foreign}");
    target.leaves_nothing();
    let unkeyed = Bench::new().await;
    let file = take(&unkeyed.wired.vault, None).await;
    let unkeyed = refused(target.restore(&file, Some(&bench), &made.shares).await);
    assert!(unkeyed.contains("without a backup key"), "{unkeyed}");
    target.leaves_nothing();
}

// R36
#[tokio::test]
async fn a_restore_that_ends_early_leaves_nothing_and_can_be_done_again() {
    let (bench, made, _, file) = furnished().await;
    let target = Target::new();
    for len in [file.len() - 1, file.len() - 40, file.len() / 2] {
        let cut = refused(target.restore(&file[..len], Some(&bench), &[]).await);
        assert!(cut.contains("altered or is incomplete"), "{cut}");
        let cut = refused(target.restore(&file[..len], None, &made.shares[..3]).await);
        assert!(cut.contains("altered or is incomplete"), "{cut}");
        target.leaves_nothing();
    }
    // As kill -9 would leave it: a store aside, with some of the rows.
    let aside = store_path(&target.config).with_extension("restoring");
    let half = open_store(&aside).await.unwrap();
    half.commit(Transaction::new().put("kek/system", "half")).await.unwrap();
    Arc::into_inner(half).unwrap().close();
    assert!(
        !crate::is_initialised(&target.config).await.unwrap(),
        "nothing starts from it"
    );
    let first = target.restore(&file, Some(&bench), &[]).await.unwrap();
    assert!(!aside.exists());
    // What is there is not overwritten.
    let occupied = demand_empty(&target.config).await.unwrap_err().to_string();
    assert!(occupied.contains("needs an empty data directory"), "{occupied}");
    // Removed by hand and restored again, beside an anchor that has seen the first restore: beyond that.
    std::fs::remove_file(store_path(&target.config)).unwrap();
    let second = target.restore(&file, Some(&bench), &[]).await.unwrap();
    assert!(second.revision > first.revision);
    let vault = target.vault(bench.parts.hsm.clone()).await;
    let seal = Seal::examine(&vault, &target.config.anchor()).await.unwrap();
    assert!(matches!(seal.reason(), Some(Reason::Restored { .. })));
}

#[tokio::test]
async fn a_backup_of_another_trust_domain_is_refused() {
    let (_, _, _, file) = furnished().await;
    let target = Target::new();
    let other = Reader::open(file.as_slice()).unwrap().header;
    let refused = demand_trust_domain(&other, "example.net").unwrap_err().to_string();
    assert!(
        refused.contains("`example.org`") && refused.contains("`example.net`"),
        "{refused}"
    );
    target.leaves_nothing();
}

#[tokio::test]
async fn the_new_admin_token_is_the_only_one() {
    let (bench, _, _, file) = furnished().await;
    let target = Target::new();
    let report = target.restore(&file, Some(&bench), &[]).await.unwrap();
    let vault = target.vault(bench.parts.hsm.clone()).await;
    let hash = init::admin_token_hash(&vault).await.unwrap();
    let shown = signing::digest::sha256(report.admin_token.as_bytes());
    assert_eq!(hash, signing::encoding::hex(&shown));
    // R10
    let printed = serde_json::to_string(&report).unwrap();
    assert!(!printed.contains(report.admin_token.as_str()));
    assert!(Secret::new(report.admin_token.as_bytes().to_vec()).len() > 32);
}
