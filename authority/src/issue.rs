//! Issues certificates: prepared by `signing`, signed by the HSM, and verified before they leave.

use std::sync::Arc;

use signing::certificate::{Certificate, CertificateError, Prepared, Validity};
use signing::compiled::prepare_signer;
use signing::delegation::{DelegationName, KeyName, Scope, prepare_key_ca, prepare_leaf, prepare_root};
use signing::node_certificate::{TlsNames, Usage, prepare_node, prepare_node_root};
use signing::revocation;

use crate::clock::Clock;
use crate::fault::Fault;
use crate::hsm::{EcCurve, Hsm, RootRole, WrappedKey};
use crate::keys::{CaRecord, Family, KeyRecord};

const DAY: u64 = 86_400;
/// Life of a root. Roots are replaced by hand, long before.
const ROOT_LIFETIME: u64 = 20 * 365 * DAY;
/// Life of a key's CA; it is issued anew for the same key when a delegation would outlive it.
const CA_LIFETIME: u64 = 5 * 365 * DAY;

/// The two root certificates, whose keys are in the HSM.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Under which nodes are.
    pub nodes: Certificate,
    /// Under which keys' CAs are.
    pub delegations: Certificate,
}

/// Issues everything that stands under the two roots.
pub struct Issuer {
    hsm: Arc<dyn Hsm>,
    roots: Roots,
    trust_domain: String,
    clock: Clock,
}

impl Issuer {
    /// Over an HSM that holds the keys of `roots`.
    pub fn new(hsm: Arc<dyn Hsm>, roots: Roots, trust_domain: String, clock: Clock) -> Self {
        Self {
            hsm,
            roots,
            trust_domain,
            clock,
        }
    }

    /// The roots.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The trust domain in every name that is issued.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// A new CA for a key with delegation `own`. Its private key never leaves the HSM.
    pub async fn key_ca(&self, key: &KeyRecord) -> Result<CaRecord, Fault> {
        let ca_key = self.hsm.generate_wrapped(EcCurve::P256).await?;
        self.certify_ca(key, ca_key).await
    }

    /// A new certificate for the CA that a key has.
    pub async fn renew_ca(&self, key: &KeyRecord, ca: &CaRecord) -> Result<CaRecord, Fault> {
        self.certify_ca(key, ca.key.clone()).await
    }

    /// A delegation for the key in `spki`; the chain, DER: leaf, the key's CA, the delegation root.
    pub async fn delegation(
        &self,
        name: &DelegationName,
        scope: &Scope,
        spki: &[u8],
        lifetime: u64,
        ca: &CaRecord,
        code_signing: bool,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let issuer = Certificate::from_der(&ca.certificate).map_err(stored)?;
        let validity = self.validity(lifetime, &issuer);
        let serial = signing::key::random_bytes()?;
        let prepared = prepare_leaf(name, scope, spki, validity, serial, &issuer, code_signing).map_err(refused)?;
        let signature = self.hsm.sign_wrapped(&ca.key, prepared.tbs()).await?;
        let leaf = prepared.finish(&signature).map_err(from_hsm)?;
        Ok(vec![
            leaf.into_der(),
            ca.certificate.clone(),
            self.roots.delegations.der().to_vec(),
        ])
    }

    /// A certificate under the node root: an edge's, or the authority's own.
    pub async fn node(&self, names: &TlsNames, usage: Usage, spki: &[u8], lifetime: u64) -> Result<Certificate, Fault> {
        let root = &self.roots.nodes;
        let serial = signing::key::random_bytes()?;
        let prepared =
            prepare_node(names, usage, spki, self.validity(lifetime, root), serial, root).map_err(refused)?;
        sign_with_root(self.hsm.as_ref(), RootRole::Nodes, prepared).await
    }

    /// The certificate of a key that endorses compiled plugins, under the node root: the root that edges have since they enrolled.
    pub async fn plugin_compiler(&self, spki: &[u8], lifetime: u64) -> Result<Certificate, Fault> {
        let root = &self.roots.nodes;
        let (validity, serial) = (self.validity(lifetime, root), signing::key::random_bytes()?);
        let prepared = prepare_signer(&self.trust_domain, spki, validity, serial, root).map_err(refused)?;
        sign_with_root(self.hsm.as_ref(), RootRole::Nodes, prepared).await
    }

    /// A new CA for the signers of revocation lists.
    pub async fn revocation_ca(&self) -> Result<CaRecord, Fault> {
        let name = KeyName {
            trust_domain: self.trust_domain.clone(),
            tenant: revocation::SIGNER_TENANT.to_owned(),
            key: revocation::SIGNER_KEY.to_owned(),
        };
        let ca_key = self.hsm.generate_wrapped(EcCurve::P256).await?;
        self.certify(&name, ca_key, false).await
    }

    async fn certify_ca(&self, key: &KeyRecord, ca_key: WrappedKey) -> Result<CaRecord, Fault> {
        let name = KeyName {
            trust_domain: self.trust_domain.clone(),
            tenant: key.tenant.to_string(),
            key: key.id.clone(),
        };
        self.certify(&name, ca_key, key.family == Family::Artifact).await
    }

    async fn certify(&self, name: &KeyName, ca_key: WrappedKey, code_signing: bool) -> Result<CaRecord, Fault> {
        let root = &self.roots.delegations;
        let validity = self.validity(CA_LIFETIME, root);
        let serial = signing::key::random_bytes()?;
        let prepared = prepare_key_ca(name, &ca_key.spki_der, validity, serial, root, code_signing).map_err(refused)?;
        let certificate = sign_with_root(self.hsm.as_ref(), RootRole::Delegations, prepared).await?;
        Ok(CaRecord {
            key: ca_key,
            certificate: certificate.into_der(),
        })
    }

    /// From a minute ago for `lifetime` seconds, but never beyond the issuer's own end.
    fn validity(&self, lifetime: u64, issuer: &Certificate) -> Validity {
        let validity = Validity::starting(self.clock.now(), lifetime);
        Validity {
            not_after: validity.not_after.min(issuer.not_after()),
            ..validity
        }
    }
}

/// Makes both root certificates for the keys that the HSM holds, creating those that are missing.
pub async fn make_roots(hsm: &dyn Hsm, trust_domain: &str, now: u64) -> Result<Roots, Fault> {
    let validity = Validity::starting(now, ROOT_LIFETIME);
    let nodes = hsm.ensure_root(RootRole::Nodes).await?;
    let name = common_name("Signet node root", trust_domain);
    let prepared =
        prepare_node_root(&name, &nodes.spki_der, validity, signing::key::random_bytes()?).map_err(refused)?;
    let nodes = sign_with_root(hsm, RootRole::Nodes, prepared).await?;
    let delegations = hsm.ensure_root(RootRole::Delegations).await?;
    let name = common_name("Signet delegation root", trust_domain);
    let prepared =
        prepare_root(&name, &delegations.spki_der, validity, signing::key::random_bytes()?).map_err(refused)?;
    let delegations = sign_with_root(hsm, RootRole::Delegations, prepared).await?;
    Ok(Roots { nodes, delegations })
}

/// At most 64 characters (RFC 5280, ub-common-name).
fn common_name(role: &str, trust_domain: &str) -> String {
    format!("{role} {trust_domain}").chars().take(64).collect()
}

async fn sign_with_root(hsm: &dyn Hsm, role: RootRole, prepared: Prepared) -> Result<Certificate, Fault> {
    let signature = hsm.sign_root(role, prepared.tbs()).await?;
    prepared.finish(&signature).map_err(from_hsm)
}

fn refused(error: CertificateError) -> Fault {
    Fault::internal(format!("a certificate was not issued: {error}"))
}

fn from_hsm(error: CertificateError) -> Fault {
    Fault::Unavailable {
        part: "hsm",
        detail: error.to_string(),
    }
}

fn stored(error: CertificateError) -> Fault {
    Fault::Corrupt {
        detail: format!("a stored certificate does not read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use signing::algorithm::Algorithm;
    use signing::delegation::verify_chain;
    use signing::key::SigningKey;
    use tempfile::TempDir;

    use super::*;
    use crate::crypto::{KeySpec, KeyUsage};
    use crate::hsm::Verified;
    use crate::hsm::testing::softhsm;
    use crate::keys::{Custody, Delegation, Imports, Manager, Origin, Protection, Rotation, State};
    use crate::names::Tenant;

    fn key() -> KeyRecord {
        KeyRecord {
            id: "0d6a2f6e-8a5c-4f0e-9d5b-2f4c8a3b1c22".into(),
            tenant: Tenant::parse("000000000001").unwrap(),
            region: "local".into(),
            multi_region: None,
            manager: Manager::Customer,
            spec: KeySpec::EccNistEdwards25519,
            usage: KeyUsage::SignVerify,
            origin: Origin::AwsKms,
            family: Family::Artifact,
            delegation: Delegation::Own,
            custody: Custody::Token,
            state: State::Enabled,
            description: String::new(),
            policy: String::new(),
            tags: BTreeMap::new(),
            aliases: BTreeSet::new(),
            created_at: 0,
            created_by: String::new(),
            next_version: 2,
            versions: Vec::new(),
            rotation: Rotation::default(),
            imports: Imports::default(),
            protection: Protection::default(),
        }
    }

    // The whole chain with its keys in a real PKCS#11 token; the delegated key is Ed25519, which that token could not wrap.
    #[tokio::test]
    async fn a_chain_from_softhsm_verifies() {
        let dir = TempDir::new().unwrap();
        let hsm: Arc<dyn Hsm> = Arc::new(Verified::new(softhsm(dir.path()).await));
        let clock = Clock::system();
        let roots = make_roots(hsm.as_ref(), "example.org", clock.now()).await.unwrap();
        let issuer = Issuer::new(hsm, roots, "example.org".into(), clock.clone());
        let ca = issuer.key_ca(&key()).await.unwrap();
        let name = DelegationName {
            trust_domain: "example.org".into(),
            tenant: "000000000001".into(),
            key: key().id,
            version: 1,
            edge: "edge-1".into(),
            incarnation: "0".repeat(32),
        };
        let scope = Scope {
            formats: vec!["raw".into()],
            issuer: None,
            audiences: Vec::new(),
            max_lifetime: 1,
        };
        let pair = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let spki = pair.public().unwrap().to_spki_der();
        let chain = issuer.delegation(&name, &scope, spki, 3600, &ca, true).await.unwrap();
        let delegations = vec![issuer.roots().delegations.der().to_vec()];
        let verified = verify_chain(&chain, &delegations, clock.now()).unwrap();
        assert_eq!(verified.name, name);
        assert!(verified.code_signing);
        let renewed = issuer.renew_ca(&key(), &ca).await.unwrap();
        assert_eq!(renewed.key, ca.key, "the same key, certified anew");
        assert_ne!(renewed.certificate, ca.certificate);
    }
}
