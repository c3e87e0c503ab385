//! The authority's own server certificate: a fresh key in memory, certified by the node root, renewed before it ends.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use node::tls::ReloadingCertificate;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use signing::algorithm::Algorithm;
use signing::key::SigningKey;
use signing::node_certificate::{TlsNames, Usage};

use crate::clock::Clock;
use crate::fault::Fault;
use crate::issue::Issuer;

/// Between two tries when the HSM is away.
const RETRY: Duration = Duration::from_secs(10);

/// A certificate under the node root that replaces itself.
pub struct OwnCertificate {
    issuer: Arc<Issuer>,
    clock: Clock,
    names: TlsNames,
    lifetime: u64,
    certificate: Arc<ReloadingCertificate>,
    not_after: AtomicU64,
}

impl OwnCertificate {
    /// Issues the first one, for `spiffe://TRUST-DOMAIN/authority` and for the names under which edges reach it: DNS names
    /// and IP addresses. It lives for `lifetime` seconds.
    pub async fn issue(issuer: Arc<Issuer>, clock: Clock, names: &[String], lifetime: u64) -> Result<Arc<Self>, Fault> {
        let mut tls_names = TlsNames {
            common_name: "Signet authority".to_owned(),
            spiffe_id: Some(format!("spiffe://{}/authority", issuer.trust_domain())),
            ..TlsNames::default()
        };
        for name in names {
            match name.parse::<IpAddr>() {
                Ok(ip) => tls_names.ips.push(ip),
                Err(_) => tls_names.dns.push(name.clone()),
            }
        }
        let (chain, key, not_after) = make(&issuer, &tls_names, lifetime).await?;
        let certificate =
            ReloadingCertificate::in_memory(chain, key).map_err(|error| Fault::internal(error.to_string()))?;
        let not_after = AtomicU64::new(not_after);
        Ok(Arc::new(Self {
            issuer,
            clock,
            names: tls_names,
            lifetime,
            certificate,
            not_after,
        }))
    }

    /// When the current one ends, Unix seconds.
    pub fn not_after(&self) -> u64 {
        self.not_after.load(Ordering::Relaxed)
    }

    /// What TLS configurations serve; it changes inside.
    pub fn certificate(&self) -> Arc<ReloadingCertificate> {
        self.certificate.clone()
    }

    /// Renews it where less than half of its life is left. True when it did.
    pub async fn renew_if_due(&self) -> Result<bool, Fault> {
        let left = self.not_after().saturating_sub(self.clock.now());
        if left > self.lifetime / 2 {
            return Ok(false);
        }
        let (chain, key, not_after) = make(&self.issuer, &self.names, self.lifetime).await?;
        self.certificate
            .replace(chain, key)
            .map_err(|error| Fault::internal(error.to_string()))?;
        self.not_after.store(not_after, Ordering::Relaxed);
        tracing::info!(not_after, "the authority's own certificate was renewed");
        Ok(true)
    }

    /// Keeps it fresh until the process ends.
    pub async fn keep(self: Arc<Self>) {
        loop {
            if let Err(fault) = self.renew_if_due().await {
                fault.log("renewing the authority's certificate");
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

type Made = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, u64);

async fn make(issuer: &Issuer, names: &TlsNames, lifetime: u64) -> Result<Made, Fault> {
    let pair = SigningKey::generate(Algorithm::Es256)?;
    let spki = pair
        .public()
        .map(|public| public.to_spki_der().to_vec())
        .unwrap_or_default();
    let certificate = issuer.node(names, Usage::SERVER, &spki, lifetime).await?;
    let not_after = certificate.not_after();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.export()?.expose().to_vec()));
    let chain = vec![
        certificate.into_der().into(),
        issuer.roots().nodes.der().to_vec().into(),
    ];
    Ok((chain, key, not_after))
}
