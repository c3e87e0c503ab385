//! The contract of [`Hsm`], on every implementation.

use std::collections::HashSet;
use std::sync::Arc;

use signing::key::Secret;

use super::*;
use crate::crypto::MacAlgorithm;

#[tokio::test]
async fn the_software_hsm_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let first = testing::software(directory.path()).await;
    let kept = keeps_the_contract(&first).await;
    drop(first);
    kept.hold_in(&testing::software(directory.path()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_softhsm_token_behind_a_worker_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let first = testing::softhsm(directory.path()).await;
    let kept = keeps_the_contract(&first).await;
    drop(first);
    kept.hold_in(&testing::softhsm(directory.path()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verified_token_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let first = Verified::new(testing::softhsm(directory.path()).await);
    let kept = keeps_the_contract(&first).await;
    drop(first);
    kept.hold_in(&Verified::new(testing::softhsm(directory.path()).await))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_may_overlap() {
    let directory = tempfile::tempdir().unwrap();
    let hsm = Arc::new(Verified::new(testing::softhsm(directory.path()).await));
    for role in RootRole::ALL {
        hsm.ensure_root(role).await.unwrap();
    }
    let mut keys = Vec::new();
    for _ in 0..6 {
        keys.push(Arc::new(hsm.generate_wrapped(EcCurve::P256).await.unwrap()));
    }
    let calls: Vec<_> = (0..120_usize)
        .map(|n| {
            let (hsm, key) = (Arc::clone(&hsm), Arc::clone(&keys[n % keys.len()]));
            tokio::spawn(async move {
                let message = n.to_be_bytes();
                match n % 3 {
                    0 => hsm.sign_root(RootRole::Nodes, &message).await.map(|_| ()),
                    1 => hsm.seal(&Secret::new(message.to_vec()), b"row").await.map(|_| ()),
                    _ => hsm.sign_wrapped(&key, &message).await.map(|_| ()),
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// What a request of a symmetric key of custody `token` costs beside the rest. Printed; a machine's mood is no test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_key_takes_so_long() {
    const CALLS: u32 = 200;
    let directory = tempfile::tempdir().unwrap();
    let hsm = Verified::new(testing::softhsm(directory.path()).await);
    hsm.ensure_root(RootRole::Nodes).await.unwrap();
    let key = hsm.generate_aes().await.unwrap();
    let began = std::time::Instant::now();
    let mut made = Vec::new();
    for _ in 0..CALLS {
        made.push(hsm.generate_data_key(&key).await.unwrap());
    }
    let generated = began.elapsed() / CALLS;
    let began = std::time::Instant::now();
    for one in &made {
        let opened = hsm.unwrap_data_key(&key, &one.wrapped).await.unwrap().unwrap();
        assert!(opened.matches(one.secret.expose()));
    }
    let opened = began.elapsed() / CALLS;
    println!(
        "SoftHSM2, one call at a time: a fresh data key, opened once for proof, {generated:?}; to open one {opened:?}"
    );
}

/// What must survive a restart.
struct Kept {
    roots: Vec<(RootRole, RootKey)>,
    keys: Vec<WrappedKey>,
    sealed: Vec<u8>,
    data_key: (WrappedAes, DataKey),
    /// A key, and its MAC of `after a restart`.
    mac: (WrappedMac, Vec<u8>),
}

async fn keeps_the_contract(hsm: &dyn Hsm) -> Kept {
    has_nothing_before_init(hsm).await;
    let roots = makes_distinct_roots_once(hsm).await;
    let keys = makes_wrapped_keys(hsm).await;
    refuses_altered_keys(hsm, &keys[0]).await;
    let data_key = wraps_data_keys(hsm, &keys[0]).await;
    let mac = makes_macs(hsm, &keys[0], &data_key.0).await;
    let sealed = seals(hsm, &keys[0]).await;
    gives_random_bytes(hsm).await;
    hsm.healthy().await.unwrap();
    Kept {
        roots,
        keys,
        sealed,
        data_key,
        mac,
    }
}

impl Kept {
    async fn hold_in(&self, hsm: &dyn Hsm) {
        for (role, key) in &self.roots {
            assert_eq!(&hsm.root(*role).await.unwrap(), key);
            assert_eq!(&hsm.ensure_root(*role).await.unwrap(), key);
        }
        for key in &self.keys {
            let signature = hsm.sign_wrapped(key, b"after a restart").await.unwrap();
            Prehashed::of(key.curve, b"after a restart")
                .verify(&key.spki_der, &signature)
                .unwrap();
        }
        let (key, mac) = &self.mac;
        assert_eq!(hsm.mac(key, b"after a restart").await.unwrap(), *mac);
        let (key, made) = &self.data_key;
        let opened = hsm.unwrap_data_key(key, &made.wrapped).await.unwrap().unwrap();
        assert!(opened.matches(made.secret.expose()));
        assert!(
            hsm.unseal(&self.sealed, b"tenants/1#7")
                .await
                .unwrap()
                .matches(b"a key-encryption key")
        );
    }
}

async fn has_nothing_before_init(hsm: &dyn Hsm) {
    assert!(["pkcs11", "software"].contains(&hsm.info().kind.as_str()));
    assert_eq!(
        hsm.root(RootRole::Nodes).await.unwrap_err().kind,
        HsmErrorKind::NotFound
    );
    assert_eq!(
        hsm.sign_root(RootRole::Nodes, b"x").await.unwrap_err().kind,
        HsmErrorKind::NotFound
    );
    assert_eq!(
        hsm.generate_wrapped(EcCurve::P256).await.unwrap_err().kind,
        HsmErrorKind::NotFound
    );
    assert_eq!(
        hsm.seal(&Secret::new(vec![1]), b"").await.unwrap_err().kind,
        HsmErrorKind::NotFound
    );
}

async fn makes_distinct_roots_once(hsm: &dyn Hsm) -> Vec<(RootRole, RootKey)> {
    let mut roots = Vec::new();
    for role in RootRole::ALL {
        let root = hsm.ensure_root(role).await.unwrap();
        assert_eq!(root.curve, EcCurve::P384);
        assert_eq!(hsm.ensure_root(role).await.unwrap(), root);
        assert_eq!(hsm.root(role).await.unwrap(), root);
        let signature = hsm.sign_root(role, b"a certificate").await.unwrap();
        let signed = Prehashed::of(root.curve, b"a certificate");
        signed.verify(&root.spki_der, &signature).unwrap();
        let other = Prehashed::of(root.curve, b"another certificate");
        assert_eq!(
            other.verify(&root.spki_der, &signature).unwrap_err().kind,
            HsmErrorKind::WrongSignature
        );
        roots.push((role, root));
    }
    assert_ne!(roots[0].1.spki_der, roots[1].1.spki_der);
    roots
}

// R24
async fn makes_wrapped_keys(hsm: &dyn Hsm) -> Vec<WrappedKey> {
    let mut keys = Vec::new();
    for curve in [EcCurve::P256, EcCurve::P384, EcCurve::P256] {
        let key = hsm.generate_wrapped(curve).await.unwrap();
        assert_eq!(key.curve, curve);
        let signature = hsm.sign_wrapped(&key, b"to be signed").await.unwrap();
        Prehashed::of(curve, b"to be signed")
            .verify(&key.spki_der, &signature)
            .unwrap();
        let public = signing::key::PublicKey::from_spki_der(&key.spki_der).unwrap();
        let fixed = signing::signature::der_to_fixed(curve.algorithm(), &signature).unwrap();
        public.verify(b"to be signed", &fixed).unwrap();
        keys.push(key);
    }
    let distinct: HashSet<_> = keys.iter().map(|key| key.spki_der.clone()).collect();
    assert_eq!(distinct.len(), keys.len());
    keys
}

async fn refuses_altered_keys(hsm: &dyn Hsm, key: &WrappedKey) {
    let digest = Prehashed::of(EcCurve::P384, b"x");
    assert_eq!(
        hsm.sign_wrapped_digest(key, &digest).await.unwrap_err().kind,
        HsmErrorKind::BadRequest
    );
    let mut blobs = vec![
        vec![],
        vec![0; 80],
        vec![1; 5000],
        key.blob[..key.blob.len() - 1].to_vec(),
        key.blob[..8].to_vec(),
    ];
    for index in [0, 1, 7, 20, key.blob.len() - 1] {
        let mut blob = key.blob.clone();
        blob[index] ^= 1;
        blobs.push(blob);
    }
    for blob in blobs {
        let altered = WrappedKey {
            blob: blob.clone(),
            ..key.clone()
        };
        let error = hsm.sign_wrapped(&altered, b"x").await.unwrap_err();
        assert_eq!(error.kind, HsmErrorKind::Tampered, "{error} for {} bytes", blob.len());
    }
    hsm.sign_wrapped(key, b"the honest key still works").await.unwrap();
}

// R24
async fn wraps_data_keys(hsm: &dyn Hsm, ec: &WrappedKey) -> (WrappedAes, DataKey) {
    let (key, other) = (hsm.generate_aes().await.unwrap(), hsm.generate_aes().await.unwrap());
    assert_ne!(key, other);
    let first = hsm.generate_data_key(&key).await.unwrap();
    let second = hsm.generate_data_key(&key).await.unwrap();
    assert_eq!(
        (first.secret.len(), first.wrapped.len()),
        (DATA_KEY_LEN, WRAPPED_DATA_KEY_LEN)
    );
    assert!(!first.secret.matches(second.secret.expose()) && first.wrapped != second.wrapped);
    for made in [&first, &second] {
        let opened = hsm.unwrap_data_key(&key, &made.wrapped).await.unwrap().unwrap();
        assert!(opened.matches(made.secret.expose()));
    }
    let refused = |wrapped: Vec<u8>| {
        let key = &key;
        async move {
            assert!(
                hsm.unwrap_data_key(key, &wrapped).await.unwrap().is_none(),
                "{wrapped:?}"
            )
        }
    };
    assert!(hsm.unwrap_data_key(&other, &first.wrapped).await.unwrap().is_none());
    for index in 0..first.wrapped.len() {
        let mut wrapped = first.wrapped.clone();
        wrapped[index] ^= 1;
        refused(wrapped).await;
    }
    let longer = [first.wrapped.as_slice(), &[0; 8]].concat();
    for wrapped in [
        vec![],
        vec![0; WRAPPED_DATA_KEY_LEN],
        first.wrapped[..32].to_vec(),
        longer,
        key.blob.clone(),
    ] {
        refused(wrapped).await;
    }
    // What is wrapped as one kind is not opened as another.
    let mut blobs = vec![vec![], first.wrapped.clone(), ec.blob.clone(), key.blob[1..].to_vec()];
    for index in [0, 7, key.blob.len() - 1] {
        let mut blob = key.blob.clone();
        blob[index] ^= 1;
        blobs.push(blob);
    }
    for blob in blobs {
        let altered = WrappedAes { blob };
        let generated = hsm.generate_data_key(&altered).await.unwrap_err();
        let unwrapped = hsm.unwrap_data_key(&altered, &first.wrapped).await.unwrap_err();
        for error in [generated, unwrapped] {
            assert_eq!(error.kind, HsmErrorKind::Tampered, "{error}");
        }
    }
    let as_ec = WrappedKey {
        blob: key.blob.clone(),
        ..ec.clone()
    };
    let error = hsm.sign_wrapped(&as_ec, b"x").await.unwrap_err();
    assert_eq!(error.kind, HsmErrorKind::Tampered, "{error}");
    (key, first)
}

// R1, R24
async fn makes_macs(hsm: &dyn Hsm, ec: &WrappedKey, aes: &WrappedAes) -> (WrappedMac, Vec<u8>) {
    let mut kept = None;
    for algorithm in MacAlgorithm::ALL.iter().copied() {
        let key = hsm.generate_mac_key(algorithm).await.unwrap();
        let other = hsm.generate_mac_key(algorithm).await.unwrap();
        assert_eq!(key.algorithm, algorithm);
        let mac = hsm.mac(&key, b"after a restart").await.unwrap();
        assert_eq!(mac.len(), algorithm.tag_len());
        assert_eq!(hsm.mac(&key, b"after a restart").await.unwrap(), mac);
        assert_ne!(hsm.mac(&key, b"After a restart").await.unwrap(), mac);
        assert_ne!(hsm.mac(&other, b"after a restart").await.unwrap(), mac);
        hsm.mac(&key, &[7; MAX_SECRET_LEN]).await.unwrap();
        let error = hsm.mac(&key, &[7; MAX_SECRET_LEN + 1]).await.unwrap_err();
        assert_eq!(error.kind, HsmErrorKind::BadRequest);
        let mut blobs = vec![vec![], ec.blob.clone(), aes.blob.clone(), key.blob[8..].to_vec()];
        for index in [0, key.blob.len() - 1] {
            let mut blob = key.blob.clone();
            blob[index] ^= 1;
            blobs.push(blob);
        }
        for blob in blobs {
            let error = hsm.mac(&WrappedMac { algorithm, blob }, b"x").await.unwrap_err();
            assert_eq!(error.kind, HsmErrorKind::Tampered, "{algorithm:?}: {error}");
        }
        kept = Some((key, mac));
    }
    kept.unwrap()
}

// R29
async fn seals(hsm: &dyn Hsm, key: &WrappedKey) -> Vec<u8> {
    let secret = Secret::new(b"a key-encryption key".to_vec());
    let sealed = hsm.seal(&secret, b"tenants/1#7").await.unwrap();
    assert!(
        hsm.unseal(&sealed, b"tenants/1#7")
            .await
            .unwrap()
            .matches(secret.expose())
    );
    assert_ne!(hsm.seal(&secret, b"tenants/1#7").await.unwrap(), sealed);
    assert!(!sealed.windows(8).any(|window| secret.expose().starts_with(window)));

    let refused = |associated: &'static [u8], blob: Vec<u8>| async move {
        let error = hsm.unseal(&blob, associated).await.unwrap_err();
        assert_eq!(error.kind, HsmErrorKind::Tampered, "{error}");
    };
    refused(b"tenants/1#8", sealed.clone()).await;
    refused(b"tenants/2#7", sealed.clone()).await;
    refused(b"", sealed.clone()).await;
    for index in 0..sealed.len() {
        let mut blob = sealed.clone();
        blob[index] ^= 0x80;
        refused(b"tenants/1#7", blob).await;
    }
    for blob in [
        vec![],
        vec![1],
        sealed[..20].to_vec(),
        sealed[..sealed.len() - 1].to_vec(),
        vec![1; 9000],
        key.blob.clone(),
    ] {
        refused(b"tenants/1#7", blob).await;
    }
    let as_key = WrappedKey {
        blob: sealed.clone(),
        ..key.clone()
    };
    assert_eq!(
        hsm.sign_wrapped(&as_key, b"x").await.unwrap_err().kind,
        HsmErrorKind::Tampered
    );

    for bad in [vec![], vec![0; MAX_SECRET_LEN + 1]] {
        assert_eq!(
            hsm.seal(&Secret::new(bad), b"").await.unwrap_err().kind,
            HsmErrorKind::BadRequest
        );
    }
    let long = vec![0; MAX_ASSOCIATED_LEN + 1];
    assert_eq!(
        hsm.seal(&secret, &long).await.unwrap_err().kind,
        HsmErrorKind::BadRequest
    );
    let longest = Secret::new(vec![7; MAX_SECRET_LEN]);
    let blob = hsm.seal(&longest, b"").await.unwrap();
    assert!(hsm.unseal(&blob, b"").await.unwrap().matches(longest.expose()));
    sealed
}

async fn gives_random_bytes(hsm: &dyn Hsm) {
    for len in [1, 16, 32, MAX_SECRET_LEN] {
        assert_eq!(hsm.random(len).await.unwrap().len(), len);
    }
    let (a, b) = (hsm.random(32).await.unwrap(), hsm.random(32).await.unwrap());
    assert!(!a.matches(b.expose()));
    for len in [0, MAX_SECRET_LEN + 1, usize::MAX] {
        assert_eq!(hsm.random(len).await.unwrap_err().kind, HsmErrorKind::BadRequest);
    }
}
