//! The queue in front of an HSM: as many calls at once as it has sessions, and turns that are fair to tenants. What would wait
//! for too long is told so at once, rather than after everything before it (R37).

use std::time::Duration;

use async_trait::async_trait;
use signing::key::Secret;
use tokio::time::timeout;

use super::{
    DataKey, EcCurve, Hsm, HsmError, HsmErrorKind, HsmInfo, Prehashed, RootKey, RootRole, WrappedAes, WrappedKey,
    WrappedMac,
};
use crate::crypto::MacAlgorithm;
use crate::names::Tenant;
use crate::turns::{Turn, Turns};

/// The longest that a call waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);

tokio::task_local! {
    /// Whose request the running task serves.
    static TENANT: Tenant;
}

/// Runs `call` with its calls of the HSM queued as this tenant's. What it spawns is not: that is the service's own.
pub(crate) async fn on_behalf_of<F: Future>(tenant: &Tenant, call: F) -> F::Output {
    TENANT.scope(tenant.clone(), call).await
}

/// An HSM with its queue. Calls that are on nobody's behalf (nodes' certificates, the store's own keys) are one tenant more.
pub struct Queued<H> {
    inner: H,
    turns: Turns,
}

impl<H: Hsm> Queued<H> {
    /// At most `at_once` calls of `inner` at a time.
    pub fn new(inner: H, at_once: usize) -> Self {
        Self {
            inner,
            turns: Turns::new(at_once.max(1)),
        }
    }

    async fn turn(&self) -> Result<Turn<'_>, HsmError> {
        let tenant = TENANT.try_with(Tenant::clone).ok();
        match timeout(PATIENCE, self.turns.take(tenant)).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(HsmErrorKind::Busy.because("too many calls of one tenant wait for it; try again later")),
            Err(_) => {
                Err(HsmErrorKind::Busy.because(format!("no session was free within {PATIENCE:?}; try again later")))
            }
        }
    }
}

#[cfg(test)]
impl<H: Hsm> Queued<H> {
    /// Takes one of its turns, as a call that does not end.
    pub(crate) async fn hold(&self) -> Turn<'_> {
        self.turns.take(None).await.unwrap()
    }

    /// Whether a call of this tenant is under way or waits.
    pub(crate) fn is_asked_by(&self, tenant: &Tenant) -> bool {
        self.turns.knows(&Some(tenant.clone()))
    }
}

#[async_trait]
impl<H: Hsm> Hsm for Queued<H> {
    fn info(&self) -> HsmInfo {
        self.inner.info()
    }

    async fn ensure_root(&self, role: RootRole) -> Result<RootKey, HsmError> {
        let _turn = self.turn().await?;
        self.inner.ensure_root(role).await
    }

    async fn root(&self, role: RootRole) -> Result<RootKey, HsmError> {
        let _turn = self.turn().await?;
        self.inner.root(role).await
    }

    async fn sign_root(&self, role: RootRole, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        let _turn = self.turn().await?;
        self.inner.sign_root(role, message).await
    }

    async fn generate_wrapped(&self, curve: EcCurve) -> Result<WrappedKey, HsmError> {
        let _turn = self.turn().await?;
        self.inner.generate_wrapped(curve).await
    }

    async fn sign_wrapped_digest(&self, key: &WrappedKey, digest: &Prehashed) -> Result<Vec<u8>, HsmError> {
        let _turn = self.turn().await?;
        self.inner.sign_wrapped_digest(key, digest).await
    }

    async fn generate_aes(&self) -> Result<WrappedAes, HsmError> {
        let _turn = self.turn().await?;
        self.inner.generate_aes().await
    }

    async fn generate_data_key(&self, key: &WrappedAes) -> Result<DataKey, HsmError> {
        let _turn = self.turn().await?;
        self.inner.generate_data_key(key).await
    }

    async fn unwrap_data_key(&self, key: &WrappedAes, wrapped: &[u8]) -> Result<Option<Secret>, HsmError> {
        let _turn = self.turn().await?;
        self.inner.unwrap_data_key(key, wrapped).await
    }

    async fn generate_mac_key(&self, algorithm: MacAlgorithm) -> Result<WrappedMac, HsmError> {
        let _turn = self.turn().await?;
        self.inner.generate_mac_key(algorithm).await
    }

    async fn mac(&self, key: &WrappedMac, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        let _turn = self.turn().await?;
        self.inner.mac(key, message).await
    }

    async fn seal(&self, plaintext: &Secret, associated: &[u8]) -> Result<Vec<u8>, HsmError> {
        let _turn = self.turn().await?;
        self.inner.seal(plaintext, associated).await
    }

    async fn unseal(&self, blob: &[u8], associated: &[u8]) -> Result<Secret, HsmError> {
        let _turn = self.turn().await?;
        self.inner.unseal(blob, associated).await
    }

    async fn random(&self, len: usize) -> Result<Secret, HsmError> {
        let _turn = self.turn().await?;
        self.inner.random(len).await
    }

    /// Without a turn: that many are waiting says nothing about the token's health.
    async fn healthy(&self) -> Result<(), HsmError> {
        self.inner.healthy().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use tokio::sync::Semaphore;

    use super::*;

    /// Answers `random` when it is let, one call for each permit; everything else never.
    struct Held {
        let_through: Semaphore,
        begun: std::sync::Mutex<Vec<usize>>,
    }

    #[async_trait]
    impl Hsm for Held {
        fn info(&self) -> HsmInfo {
            HsmInfo {
                kind: "held".into(),
                label: String::new(),
                model: String::new(),
            }
        }

        async fn ensure_root(&self, _: RootRole) -> Result<RootKey, HsmError> {
            std::future::pending().await
        }

        async fn root(&self, _: RootRole) -> Result<RootKey, HsmError> {
            std::future::pending().await
        }

        async fn sign_root(&self, _: RootRole, _: &[u8]) -> Result<Vec<u8>, HsmError> {
            std::future::pending().await
        }

        async fn generate_wrapped(&self, _: EcCurve) -> Result<WrappedKey, HsmError> {
            std::future::pending().await
        }

        async fn sign_wrapped_digest(&self, _: &WrappedKey, _: &Prehashed) -> Result<Vec<u8>, HsmError> {
            std::future::pending().await
        }

        async fn generate_aes(&self) -> Result<WrappedAes, HsmError> {
            std::future::pending().await
        }

        async fn generate_data_key(&self, _: &WrappedAes) -> Result<DataKey, HsmError> {
            std::future::pending().await
        }

        async fn unwrap_data_key(&self, _: &WrappedAes, _: &[u8]) -> Result<Option<Secret>, HsmError> {
            std::future::pending().await
        }

        async fn generate_mac_key(&self, _: MacAlgorithm) -> Result<WrappedMac, HsmError> {
            std::future::pending().await
        }

        async fn mac(&self, _: &WrappedMac, _: &[u8]) -> Result<Vec<u8>, HsmError> {
            std::future::pending().await
        }

        async fn seal(&self, _: &Secret, _: &[u8]) -> Result<Vec<u8>, HsmError> {
            std::future::pending().await
        }

        async fn unseal(&self, _: &[u8], _: &[u8]) -> Result<Secret, HsmError> {
            std::future::pending().await
        }

        async fn random(&self, len: usize) -> Result<Secret, HsmError> {
            self.begun.lock().unwrap().push(len);
            self.let_through.acquire().await.unwrap().forget();
            Ok(Secret::new(vec![0; len]))
        }

        async fn healthy(&self) -> Result<(), HsmError> {
            Ok(())
        }
    }

    fn tenant(digit: u32) -> Tenant {
        Tenant::parse(&format!("{digit:012}")).unwrap()
    }

    fn queued(at_once: usize) -> Arc<Queued<Held>> {
        let held = Held {
            let_through: Semaphore::new(0),
            begun: std::sync::Mutex::default(),
        };
        Arc::new(Queued::new(held, at_once))
    }

    fn call(hsm: &Arc<Queued<Held>>, of: u32, len: usize) -> tokio::task::JoinHandle<Result<Secret, HsmError>> {
        let hsm = hsm.clone();
        tokio::spawn(async move { on_behalf_of(&tenant(of), hsm.random(len)).await })
    }

    async fn until(holds: impl Fn() -> bool) {
        while !holds() {
            tokio::task::yield_now().await;
        }
    }

    // R37
    #[tokio::test]
    async fn one_tenants_flood_is_told_to_come_back_and_delays_another_by_one_call() {
        let hsm = queued(1);
        let flood: Vec<_> = (0..100).map(|_| call(&hsm, 1, 1)).collect();
        until(|| flood.iter().filter(|call| call.is_finished()).count() == 67).await;
        let other = call(&hsm, 2, 2);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        hsm.inner.let_through.add_permits(2);
        assert!(other.await.unwrap().is_ok());
        assert_eq!(hsm.inner.begun.lock().unwrap()[..2], [1, 2]);
        assert!(hsm.healthy().await.is_ok(), "however many wait");
        hsm.inner.let_through.add_permits(100);
        let mut kinds = Vec::new();
        for call in flood {
            kinds.extend(call.await.unwrap().err().map(|error| error.kind));
        }
        assert_eq!(kinds, [HsmErrorKind::Busy; 67]);
    }

    // R27
    #[tokio::test]
    async fn behind_a_token_that_hangs_nobody_waits_for_long() {
        let hsm = queued(2);
        let hung = [call(&hsm, 1, 1), call(&hsm, 1, 1)];
        until(|| hsm.inner.begun.lock().unwrap().len() == 2).await;
        let before = Instant::now();
        let error = call(&hsm, 2, 2).await.unwrap().unwrap_err();
        assert_eq!(error.kind, HsmErrorKind::Busy);
        assert!(before.elapsed() >= PATIENCE && before.elapsed() < 3 * PATIENCE);
        assert!(hung.iter().all(|call| !call.is_finished()));
    }
}
