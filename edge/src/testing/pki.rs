//! Keys and certificates of the fake authority.

use node::contract::{self, KeyVersion, SharedDelegation, SharedVersion};
use node::handover::{Address, Receiver, seal};
use signing::algorithm::Algorithm;
use signing::certificate::{Certificate, Validity};
use signing::delegation::{DelegationName, KeyName, Scope, prepare_key_ca, prepare_leaf, prepare_root};
use signing::jwk::Jwk;
use signing::key::{PublicKey, SigningKey, random_bytes};
use signing::revocation::{FORMAT, RevocationList, SIGNER_KEY, SIGNER_TENANT};

use super::authority::Lie;
use super::objects::Root;
use super::{EDGE, TRUST_DOMAIN, now};

pub struct Ca {
    pub key: SigningKey,
    pub certificate: Certificate,
}

pub struct Pki {
    pub root: Ca,
    /// Of nodes.
    pub nodes: Root,
    foreign: Ca,
}

/// A logical key with all its secrets.
pub struct Key {
    pub announced: contract::Key,
    pub material: Vec<SigningKey>,
}

impl Key {
    /// A shared token key with one version, which signs from now on.
    pub fn shared(alias: &str, tenant: &str, algorithm: Algorithm) -> Key {
        let mut key = Key::new(
            alias,
            tenant,
            algorithm,
            contract::Delegation::Shared,
            contract::Family::Token,
        );
        key.add_version(now() - 60, now() - 60, now() + 100_000);
        key
    }

    /// An artifact key of which each edge makes its own.
    pub fn own(alias: &str, tenant: &str, algorithm: Algorithm) -> Key {
        Key::new(
            alias,
            tenant,
            algorithm,
            contract::Delegation::Own,
            contract::Family::Artifact,
        )
    }

    /// A key with one version that the authority signs with.
    pub fn kept(alias: &str, tenant: &str, algorithm: Algorithm, family: contract::Family) -> Key {
        let mut key = Key::new(alias, tenant, algorithm, contract::Delegation::None, family);
        key.add_version(now() - 60, now() - 60, now() + 100_000);
        key
    }

    fn new(
        alias: &str,
        tenant: &str,
        algorithm: Algorithm,
        delegation: contract::Delegation,
        family: contract::Family,
    ) -> Key {
        let announced = contract::Key {
            id: uuid::Uuid::new_v4().to_string(),
            tenant: tenant.to_owned(),
            aliases: vec![alias.to_owned()],
            algorithm: algorithm.as_str().to_owned(),
            family: family.into(),
            delegation: delegation.into(),
            state: contract::KeyState::Enabled.into(),
            ..contract::Key::default()
        };
        Key {
            announced,
            material: Vec::new(),
        }
    }

    /// Publishes a version and answers its id.
    pub fn add_version(&mut self, publish_at: u64, sign_from: u64, sign_until: u64) -> String {
        let pair = SigningKey::generate(self.announced.algorithm.parse().unwrap()).unwrap();
        let kid = pair.kid().to_owned();
        self.announced.versions.push(KeyVersion {
            kid: kid.clone(),
            public_jwk: pair
                .public()
                .map(|key| Jwk::from_public(key).to_json())
                .unwrap_or_default(),
            publish_at,
            sign_from,
            sign_until,
            retire_at: sign_until.saturating_add(3600),
            compromised: false,
        });
        self.material.push(pair);
        kid
    }

    /// Every version that is not compromised, sealed to a receiving key.
    pub fn hand_out(
        &self,
        receiving_key: &[u8],
        incarnation: &str,
        lifetime: u64,
        lie: Option<Lie>,
    ) -> SharedDelegation {
        let not_after = match lie {
            Some(Lie::Ended) => now() - 10,
            _ => now() + lifetime,
        };
        let stranger = Receiver::new().unwrap();
        let mut to = Address {
            edge: EDGE,
            incarnation,
            key: &self.announced.id,
            kid: "",
            not_after,
        };
        let mut receiving_key = receiving_key;
        match lie {
            Some(Lie::SealedForOtherEdge) => to.edge = "edge-2",
            Some(Lie::SealedForOtherProcess) => to.incarnation = "0b",
            Some(Lie::SealedAsOtherKey) => to.key = "another",
            Some(Lie::SealedUntilLater) => to.not_after += 3600,
            Some(Lie::SealedToOtherReceiver) => receiving_key = stranger.public(),
            _ => {}
        }
        let announced = |kid: &str| self.announced.versions.iter().find(|version| version.kid == kid);
        let handed_out = self
            .material
            .iter()
            .filter_map(|pair| Some((pair, announced(pair.kid())?)));
        let mut versions: Vec<_> = handed_out
            .filter(|(_, version)| !version.compromised)
            .map(|(pair, version)| {
                let kid = match lie {
                    Some(Lie::SealedAsOtherVersion) => "another",
                    _ => &version.kid,
                };
                let sealed = seal(receiving_key, &Address { kid, ..to }, pair.export().unwrap().expose()).unwrap();
                SharedVersion {
                    kid: version.kid.clone(),
                    sign_from: version.sign_from,
                    sign_until: version.sign_until,
                    encapsulated: sealed.encapsulated,
                    ciphertext: sealed.ciphertext,
                }
            })
            .collect();
        match lie {
            Some(Lie::SharedTwice) => versions.push(versions[0].clone()),
            Some(Lie::SharedUnderAnotherName) => {
                let other = SigningKey::generate(self.announced.algorithm.parse().unwrap()).unwrap();
                let to = Address {
                    kid: &versions[0].kid,
                    ..to
                };
                let sealed = seal(receiving_key, &to, other.export().unwrap().expose()).unwrap();
                versions[0].encapsulated = sealed.encapsulated;
                versions[0].ciphertext = sealed.ciphertext;
            }
            Some(Lie::SharedEmpty) => versions.clear(),
            _ => {}
        }
        SharedDelegation { versions, not_after }
    }
}

impl Pki {
    pub fn new() -> Pki {
        Pki {
            root: root(),
            nodes: Root::new(),
            foreign: root(),
        }
    }

    /// Leaf, the key's CA, root.
    pub fn delegate(
        &self,
        key: &Key,
        public: &PublicKey,
        incarnation: &str,
        lifetime: u64,
        lie: Option<Lie>,
    ) -> Vec<Vec<u8>> {
        let mut name = DelegationName {
            trust_domain: TRUST_DOMAIN.into(),
            tenant: key.announced.tenant.clone(),
            key: key.announced.id.clone(),
            version: 1,
            edge: EDGE.into(),
            incarnation: incarnation.into(),
        };
        let stranger = SigningKey::generate(public.algorithm()).unwrap();
        let mut spki = public.to_spki_der();
        let mut root = &self.root;
        match lie {
            Some(Lie::OtherEdge) => name.edge = "edge-2".into(),
            Some(Lie::OtherIncarnation) => name.incarnation = "00".into(),
            Some(Lie::OtherLogicalKey) => name.key = uuid::Uuid::new_v4().to_string(),
            Some(Lie::OtherTenant) => name.tenant = "000000000009".into(),
            Some(Lie::OtherPublicKey) => spki = stranger.public().unwrap().to_spki_der(),
            Some(Lie::ForeignRoot) => root = &self.foreign,
            _ => {}
        }
        let ca = key_ca(root, &name.key_name());
        let scope = Scope {
            formats: vec!["raw".into()],
            issuer: None,
            audiences: Vec::new(),
            max_lifetime: 1,
        };
        let validity = Validity::starting(now(), lifetime);
        let leaf = prepare_leaf(
            &name,
            &scope,
            spki,
            validity,
            random_bytes().unwrap(),
            &ca.certificate,
            true,
        );
        let leaf = leaf.unwrap().sign_with(&ca.key).unwrap();
        let chain = [&leaf, &ca.certificate, &root.certificate];
        chain.into_iter().map(|one| one.der().to_vec()).collect()
    }

    /// Signs a revocation list as the authority does.
    pub fn revocations(&self, list: &RevocationList) -> String {
        let name = DelegationName {
            trust_domain: TRUST_DOMAIN.into(),
            tenant: SIGNER_TENANT.into(),
            key: SIGNER_KEY.into(),
            version: 1,
            edge: "authority".into(),
            incarnation: "a1".into(),
        };
        let scope = Scope {
            formats: vec![FORMAT.into()],
            issuer: None,
            audiences: Vec::new(),
            max_lifetime: 1,
        };
        let (ca, own) = [(); 2].map(|()| SigningKey::generate(Algorithm::Es256).unwrap()).into();
        let spki = |key: &SigningKey| key.public().unwrap().to_spki_der().to_vec();
        let (life, serial) = (Validity::starting(now(), 86_400), || random_bytes().unwrap());
        let root = &self.root;
        let issuer = prepare_key_ca(&name.key_name(), &spki(&ca), life, serial(), &root.certificate, false).unwrap();
        let issuer = issuer.sign_with(&root.key).unwrap();
        let leaf = prepare_leaf(&name, &scope, &spki(&own), life, serial(), &issuer, false).unwrap();
        let leaf = leaf.sign_with(&ca).unwrap();
        list.sign(&own, &[&leaf, &issuer, &root.certificate].map(|one| one.der().to_vec()))
            .unwrap()
    }
}

fn root() -> Ca {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let spki = key.public().unwrap().to_spki_der();
    let validity = Validity::starting(now(), 1_000_000);
    let root = prepare_root("test root", spki, validity, random_bytes().unwrap()).unwrap();
    Ca {
        certificate: root.sign_with(&key).unwrap(),
        key,
    }
}

fn key_ca(root: &Ca, name: &KeyName) -> Ca {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let spki = key.public().unwrap().to_spki_der();
    let validity = Validity::starting(now(), 500_000);
    let ca = prepare_key_ca(name, spki, validity, random_bytes().unwrap(), &root.certificate, true).unwrap();
    Ca {
        certificate: ca.sign_with(&root.key).unwrap(),
        key,
    }
}
