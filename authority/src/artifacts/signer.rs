//! Who endorses: a key in this process's memory that signs nothing else, certified under the root of nodes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use signing::algorithm::Algorithm;
use signing::certificate::Certificate;
use signing::compiled::{Endorsement, Statement};
use signing::key::{KeyError, SigningKey};

use crate::clock::Clock;
use crate::fault::Fault;
use crate::issue::Issuer;

/// Life of a signer's certificate, seconds; it is replaced at half of it.
pub(super) const LIFETIME: u64 = 30 * 86_400;
/// Between two looks at whether it is time.
const LOOK: Duration = Duration::from_secs(60);

/// The signer of now.
pub(super) struct Signers(ArcSwap<Signer>);

struct Signer {
    key: SigningKey,
    certificate: Certificate,
}

impl Signers {
    pub(super) async fn first(issuer: &Issuer) -> Result<Self, Fault> {
        Ok(Self(ArcSwap::from_pointee(Signer::certified(issuer).await?)))
    }

    pub(super) fn sign(&self, statement: Statement, trust_domain: &str) -> Result<Endorsement, KeyError> {
        let signer = self.0.load();
        Endorsement::sign(statement, trust_domain, &signer.key, &signer.certificate)
    }

    /// Looks until the process ends.
    pub(super) async fn keep(&self, issuer: &Issuer, clock: &Clock) {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(fault) = self.renew(issuer, clock).await {
                fault.log("certifying the signer of machine code");
            }
        }
    }

    pub(super) async fn renew(&self, issuer: &Issuer, clock: &Clock) -> Result<(), Fault> {
        let left = self.0.load().certificate.not_after().saturating_sub(clock.now());
        if left < LIFETIME / 2 {
            self.0.store(Arc::new(Signer::certified(issuer).await?));
        }
        Ok(())
    }
}

impl Signer {
    async fn certified(issuer: &Issuer) -> Result<Self, Fault> {
        let key = SigningKey::generate(Algorithm::Es256)?;
        let public = key.public();
        let public = public.ok_or_else(|| Fault::internal("an ES256 key has no public half"))?;
        let certificate = issuer.plugin_compiler(public.to_spki_der(), LIFETIME).await?;
        Ok(Self { key, certificate })
    }
}
