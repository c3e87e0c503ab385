use std::collections::BTreeMap;

use super::*;
use crate::backup::format::{MAGIC, Reader};
use crate::testing::{Bench, TENANT};

/// The whole file.
pub(crate) async fn take(vault: &Vault, audit: Option<format::AuditPosition>) -> Vec<u8> {
    let circumstances = Circumstances {
        trust_domain: "example.org".to_owned(),
        now: crate::testing::START,
        audit,
    };
    let (mut backup, mut file) = Backup::begin(vault, circumstances).await.unwrap();
    while let Some((chunk, _)) = backup.next(vault).await.unwrap() {
        file.extend(chunk);
    }
    file
}

pub(crate) async fn with_key(bench: &Bench) -> key::Made {
    let made = make_key(5, 3, bench.now()).unwrap();
    put(bench, &made.key, &made.authentication).await;
    made
}

async fn put(bench: &Bench, key: &BackupKey, authentication: &Secret) {
    let approvals = bench.wired.keys.approvals();
    let set = set_key(&bench.wired.vault, approvals, (key, authentication), "operator:root").await;
    assert!(set.unwrap().id().is_none(), "no quorum, no approval");
}

/// Everything in it, or the first thing that is wrong with it.
async fn read(file: &[u8], hsm: &dyn Hsm) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let reader = Reader::open(file)?;
    let keys = Keys::by_hsm(&reader.header, hsm).await?;
    let mut rows = reader.rows(&keys.rows)?;
    let mut all = BTreeMap::new();
    while let Some(entries) = rows.next()? {
        all.extend(entries.into_iter().map(|entry| (entry.path, entry.value)));
    }
    Ok(all)
}

/// The file's head and its chunks, each with its length.
fn pieces(file: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let block = |at: usize| at + 4 + u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let head = block(MAGIC.len());
    let (mut at, mut chunks) = (head, Vec::new());
    while at < file.len() {
        chunks.push(file[at..block(at)].to_vec());
        at = block(at);
    }
    (file[..head].to_vec(), chunks)
}

#[tokio::test]
async fn a_backup_is_one_state_of_the_store_while_it_goes_on() {
    let bench = Bench::new().await;
    let id = bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let (vault, store) = (&bench.wired.vault, &bench.parts.store);
    let before = store.scan("", None, MAX_SCAN).await.unwrap();
    let circumstances = Circumstances {
        trust_domain: "example.org".to_owned(),
        now: 7,
        audit: None,
    };
    let (mut backup, mut file) = Backup::begin(vault, circumstances).await.unwrap();
    bench.raw("HMAC_256", "GENERATE_VERIFY_MAC").await;
    bench
        .verb("DisableKey", serde_json::json!({"KeyId": id}))
        .await
        .unwrap();
    while let Some((chunk, _)) = backup.next(vault).await.unwrap() {
        file.extend(chunk);
    }
    assert_eq!(backup.header().rows, before.len() as u64);
    let rows = read(&file, bench.parts.hsm.as_ref()).await.unwrap();
    let before: BTreeMap<_, _> = before.into_iter().map(|(path, row)| (path, row.value)).collect();
    assert_eq!(rows, before);
}

#[tokio::test]
async fn a_backup_that_was_altered_anywhere_is_refused() {
    let bench = Bench::new().await;
    with_key(&bench).await;
    bench.raw("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT").await;
    let hsm = bench.parts.hsm.as_ref();
    let file = take(&bench.wired.vault, None).await;
    read(&file, hsm).await.unwrap();
    for at in (0..file.len()).step_by(7) {
        let mut bad = file.clone();
        bad[at] ^= 1;
        assert!(read(&bad, hsm).await.is_err(), "byte {at} of {}", file.len());
    }
    for len in (0..file.len()).step_by(11) {
        assert!(read(&file[..len], hsm).await.is_err(), "cut to {len}");
    }
    let (head, chunks) = pieces(&file);
    assert_eq!(chunks.len(), 2, "the rows, and an end");
    let put = |order: &[usize]| {
        let chunks = order.iter().flat_map(|at| chunks[*at].clone());
        head.iter().copied().chain(chunks).collect::<Vec<u8>>()
    };
    assert!(read(&put(&[0, 1]), hsm).await.is_ok());
    for order in [&[0][..], &[1], &[1, 0], &[0, 0, 1], &[0, 1, 1], &[]] {
        let fault = read(&put(order), hsm).await.unwrap_err().to_string();
        assert!(
            fault.starts_with("this backup was altered or is incomplete"),
            "{order:?}: {fault}"
        );
    }
    // The chunks of another backup of the same state, under this one's head.
    let (_, others) = pieces(&take(&bench.wired.vault, None).await);
    let mixed = [head.clone(), others[0].clone(), chunks[1].clone()].concat();
    assert!(read(&mixed, hsm).await.is_err());
    for (not_ours, why) in [
        (&b"PK\x03\x04 something else"[..], "not a backup"),
        (b"signet backup v2\n....", "later version"),
    ] {
        let fault = Reader::open(not_ours).map(drop).unwrap_err().to_string();
        assert!(fault.contains(why), "{fault}");
    }
}

// R10
#[tokio::test]
async fn a_backup_holds_no_secret_and_no_name_in_the_clear() {
    let bench = Bench::new().await;
    let made = with_key(&bench).await;
    let key = bench.raw("HMAC_256", "GENERATE_VERIFY_MAC").await;
    let (vault, hsm) = (&bench.wired.vault, bench.parts.hsm.as_ref());
    let secret = crate::store::Store::scan(bench.parts.store.as_ref(), "material/", None, 1);
    let (path, _) = secret.await.unwrap().remove(0);
    let access = bench.wired.access_keys.create(&bench.tenant(), None, "").await.unwrap();
    let file = take(vault, None).await;
    let mut canaries = vec![
        ("the account", TENANT.as_bytes().to_vec()),
        ("a key's id", key.into_bytes()),
        ("an access key", access.record.id.clone().into_bytes()),
        ("an access key's secret", access.secret.expose().to_vec()),
        (
            "a key's material",
            vault.get_secret(&path).await.unwrap().unwrap().expose().to_vec(),
        ),
        ("the authentication secret", made.authentication.expose().to_vec()),
        ("the same in digits", hex(made.authentication.expose()).into_bytes()),
    ];
    for share in &made.shares {
        let text = share.to_text();
        let value = text.split(':').nth(5).unwrap().to_owned();
        canaries.push(("a share", from_hex(&value).unwrap()));
        canaries.push(("a share's digits", value.into_bytes()));
    }
    let mut keks = 0;
    for (path, row) in bench.parts.store.scan(KEKS, None, MAX_SCAN).await.unwrap() {
        let kek = vault.unseal_kek(&path, &row.value).await.unwrap();
        canaries.push(("a key-encryption key", kek.expose().to_vec()));
        keks += 1;
    }
    assert_eq!(keks, 2);
    let rows = read(&file, hsm).await.unwrap();
    let opened: Vec<u8> = rows.into_values().flatten().collect();
    for (name, canary) in canaries {
        let within = |bytes: &[u8]| bytes.windows(canary.len()).any(|window| window == canary);
        assert!(!within(&file), "{name} is in the backup");
        assert!(!within(&opened), "{name} is in its rows");
    }
}

#[tokio::test]
async fn who_knows_the_public_half_alone_forges_no_backup() {
    let bench = Bench::new().await;
    let made = with_key(&bench).await;
    let forger = make_key(5, 3, 0).unwrap();
    // As an authority that was given the public half, and has made up the rest.
    put(&bench, &made.key, &forger.authentication).await;
    let file = take(&bench.wired.vault, None).await;
    let reader = Reader::open(file.as_slice()).unwrap();
    let combined = made.key.combine(&made.shares[..3]).unwrap();
    let keys = Keys::by_shares(&reader.header, &combined).unwrap();
    let mut rows = reader.rows(&keys.rows).unwrap();
    assert!(rows.next().map(drop).is_err());
}

#[tokio::test]
async fn the_newest_backup_wins_and_one_that_is_over_is_not_gone_on_with() {
    let bench = Bench::new().await;
    let backups = service::Backups::new(bench.wired.vault.clone());
    let circumstances = || Circumstances {
        trust_domain: "example.org".to_owned(),
        now: 7,
        audit: None,
    };
    let (first, _) = backups.begin(circumstances()).await.unwrap();
    let (second, mut file) = backups.begin(circumstances()).await.unwrap();
    assert!(matches!(
        backups.next(&first.id).await.map(drop),
        Err(Fault::NotFound { .. })
    ));
    let mut done = 0;
    loop {
        let piece = backups.next(&second.id).await.unwrap();
        file.extend(piece.bytes);
        done += piece.rows;
        if piece.last {
            break;
        }
    }
    assert_eq!(done, second.rows);
    read(&file, bench.parts.hsm.as_ref()).await.unwrap();
    assert!(matches!(
        backups.next(&second.id).await.map(drop),
        Err(Fault::NotFound { .. })
    ));
}
