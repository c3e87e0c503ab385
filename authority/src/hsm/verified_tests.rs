use super::*;
use crate::hsm::software::Software;
use crate::hsm::testing;

/// How a token lies.
#[derive(Clone, Copy)]
enum Lie {
    /// One bit of each signature is flipped.
    Bit,
    /// It signs something else.
    OtherMessage,
    /// It signs with another key.
    OtherKey,
    /// It seals something else.
    Sealing,
    /// It wraps another data key than it answers.
    DataKey,
    /// Its generator is stuck.
    Random,
    /// It answers too few random bytes.
    ShortRandom,
    /// Its root changes after the first answer.
    Root,
}

struct Liar {
    honest: Software,
    lie: Lie,
    other: WrappedKey,
    asked: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Hsm for Liar {
    fn info(&self) -> HsmInfo {
        self.honest.info()
    }

    async fn ensure_root(&self, role: RootRole) -> Result<RootKey, HsmError> {
        self.honest.ensure_root(role).await
    }

    async fn root(&self, role: RootRole) -> Result<RootKey, HsmError> {
        let again = self.asked.swap(true, std::sync::atomic::Ordering::Relaxed);
        match self.lie {
            Lie::Root if again => self.honest.root(RootRole::Nodes).await,
            _ => self.honest.root(role).await,
        }
    }

    async fn sign_root(&self, role: RootRole, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        match self.lie {
            Lie::OtherMessage => self.honest.sign_root(role, b"other").await,
            Lie::OtherKey => self.honest.sign_root(RootRole::Nodes, message).await,
            Lie::Bit => self.honest.sign_root(role, message).await.map(flip),
            _ => self.honest.sign_root(role, message).await,
        }
    }

    async fn generate_wrapped(&self, curve: EcCurve) -> Result<WrappedKey, HsmError> {
        self.honest.generate_wrapped(curve).await
    }

    async fn sign_wrapped_digest(&self, key: &WrappedKey, digest: &Prehashed) -> Result<Vec<u8>, HsmError> {
        match self.lie {
            Lie::OtherMessage => self.honest.sign_wrapped(key, b"other").await,
            Lie::OtherKey => self.honest.sign_wrapped_digest(&self.other, digest).await,
            Lie::Bit => self.honest.sign_wrapped_digest(key, digest).await.map(flip),
            _ => self.honest.sign_wrapped_digest(key, digest).await,
        }
    }

    async fn generate_aes(&self) -> Result<WrappedAes, HsmError> {
        self.honest.generate_aes().await
    }

    async fn generate_data_key(&self, key: &WrappedAes) -> Result<DataKey, HsmError> {
        let made = self.honest.generate_data_key(key).await?;
        let secret = match self.lie {
            Lie::DataKey => self.honest.random(DATA_KEY_LEN).await?,
            Lie::Random => Secret::new(vec![0xAA; DATA_KEY_LEN]),
            Lie::ShortRandom => self.honest.random(DATA_KEY_LEN - 1).await?,
            _ => made.secret,
        };
        Ok(DataKey {
            secret,
            wrapped: made.wrapped,
        })
    }

    async fn unwrap_data_key(&self, key: &WrappedAes, wrapped: &[u8]) -> Result<Option<Secret>, HsmError> {
        self.honest.unwrap_data_key(key, wrapped).await
    }

    async fn generate_mac_key(&self, algorithm: MacAlgorithm) -> Result<WrappedMac, HsmError> {
        self.honest.generate_mac_key(algorithm).await
    }

    async fn mac(&self, key: &WrappedMac, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        let mac = self.honest.mac(key, message).await?;
        let again = self.asked.fetch_xor(true, std::sync::atomic::Ordering::Relaxed);
        match self.lie {
            Lie::Bit if again => Ok(flip(mac)),
            Lie::ShortRandom => Ok(mac[1..].to_vec()),
            _ => Ok(mac),
        }
    }

    async fn seal(&self, plaintext: &Secret, associated: &[u8]) -> Result<Vec<u8>, HsmError> {
        match self.lie {
            Lie::Sealing => {
                self.honest
                    .seal(&Secret::new(vec![0; plaintext.len()]), associated)
                    .await
            }
            _ => self.honest.seal(plaintext, associated).await,
        }
    }

    async fn unseal(&self, blob: &[u8], associated: &[u8]) -> Result<Secret, HsmError> {
        self.honest.unseal(blob, associated).await
    }

    async fn random(&self, len: usize) -> Result<Secret, HsmError> {
        match self.lie {
            Lie::Random => Ok(Secret::new(vec![0xAA; len])),
            Lie::ShortRandom => self.honest.random(len - 1).await,
            _ => self.honest.random(len).await,
        }
    }

    async fn healthy(&self) -> Result<(), HsmError> {
        self.honest.healthy().await
    }
}

fn flip(mut signature: Vec<u8>) -> Vec<u8> {
    *signature.last_mut().unwrap() ^= 1;
    signature
}

async fn liar(directory: &std::path::Path, lie: Lie) -> (Verified<Liar>, WrappedKey) {
    let honest = testing::software(directory).await;
    for role in RootRole::ALL {
        honest.ensure_root(role).await.unwrap();
    }
    let key = honest.generate_wrapped(EcCurve::P256).await.unwrap();
    let other = honest.generate_wrapped(EcCurve::P256).await.unwrap();
    (
        Verified::new(Liar {
            honest,
            lie,
            other,
            asked: Default::default(),
        }),
        key,
    )
}

// R27
#[tokio::test]
async fn no_wrong_signature_leaves() {
    for lie in [Lie::Bit, Lie::OtherMessage, Lie::OtherKey] {
        let directory = tempfile::tempdir().unwrap();
        let (hsm, key) = liar(directory.path(), lie).await;
        let errors = [
            hsm.sign_root(RootRole::Delegations, b"x").await.unwrap_err(),
            hsm.sign_wrapped(&key, b"x").await.unwrap_err(),
            hsm.sign_wrapped_digest(&key, &Prehashed::of(EcCurve::P256, b"x"))
                .await
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind, HsmErrorKind::WrongSignature);
            assert!(error.detail.contains("withheld"));
        }
    }
}

// R24
#[tokio::test]
async fn a_new_key_that_does_not_sign_for_its_public_half_is_refused() {
    for lie in [Lie::Bit, Lie::OtherMessage, Lie::OtherKey] {
        let directory = tempfile::tempdir().unwrap();
        let (hsm, _) = liar(directory.path(), lie).await;
        assert_eq!(
            hsm.generate_wrapped(EcCurve::P256).await.unwrap_err().kind,
            HsmErrorKind::WrongSignature
        );
    }
}

#[tokio::test]
async fn a_blob_beside_another_public_key_signs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let hsm = Verified::new(testing::software(directory.path()).await);
    hsm.ensure_root(RootRole::Delegations).await.unwrap();
    let (a, b) = (
        hsm.generate_wrapped(EcCurve::P256).await.unwrap(),
        hsm.generate_wrapped(EcCurve::P256).await.unwrap(),
    );
    let swapped = WrappedKey { blob: b.blob, ..a };
    assert_eq!(
        hsm.sign_wrapped(&swapped, b"x").await.unwrap_err().kind,
        HsmErrorKind::WrongSignature
    );
}

#[tokio::test]
async fn a_secret_sealed_wrongly_is_noticed_while_it_is_still_known() {
    let directory = tempfile::tempdir().unwrap();
    let (hsm, _) = liar(directory.path(), Lie::Sealing).await;
    let error = hsm.seal(&Secret::new(b"secret".to_vec()), b"row").await.unwrap_err();
    assert!(error.detail.contains("another secret"), "{error}");
}

// R27
#[tokio::test]
async fn no_wrong_mac_leaves() {
    for lie in [Lie::Bit, Lie::ShortRandom] {
        let directory = tempfile::tempdir().unwrap();
        let (hsm, _) = liar(directory.path(), lie).await;
        let error = hsm.generate_mac_key(MacAlgorithm::HmacSha256).await.unwrap_err();
        assert_eq!(error.kind, HsmErrorKind::WrongSignature, "{error}");
        let key = hsm.inner().generate_mac_key(MacAlgorithm::HmacSha256).await.unwrap();
        let error = hsm.mac(&key, b"x").await.unwrap_err();
        assert!(error.detail.contains("withheld"), "{error}");
    }
}

// R27
#[tokio::test]
async fn a_data_key_wrapped_wrongly_is_noticed_before_anything_is_encrypted_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (hsm, _) = liar(directory.path(), Lie::DataKey).await;
    let key = hsm.inner().generate_aes().await.unwrap();
    for error in [
        hsm.generate_aes().await.unwrap_err(),
        hsm.generate_data_key(&key).await.unwrap_err(),
    ] {
        assert!(error.detail.contains("another data key"), "{error}");
    }
}

// R24
#[tokio::test]
async fn a_stuck_generator_is_an_error() {
    for lie in [Lie::Random, Lie::ShortRandom] {
        let directory = tempfile::tempdir().unwrap();
        let (hsm, _) = liar(directory.path(), lie).await;
        assert!(hsm.random(32).await.unwrap_err().detail.contains("generator"));
        assert!(hsm.generate_aes().await.unwrap_err().detail.contains("generator"));
    }
}

#[tokio::test]
async fn a_root_that_changes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (hsm, _) = liar(directory.path(), Lie::Root).await;
    hsm.root(RootRole::Delegations).await.unwrap();
    assert!(
        hsm.root(RootRole::Delegations)
            .await
            .unwrap_err()
            .detail
            .contains("has changed")
    );
}
