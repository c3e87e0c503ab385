//! One request for a delegation, and what makes its answer good enough to sign with.

use std::collections::BTreeSet;
use std::time::Duration;

use node::contract::{self, DelegateRequest, delegate_request, delegate_response};
use node::handover::{self, Address, Sealed};
use signing::certificate::pem_encode;
use signing::delegation::{VerifiedDelegation, possession_message, verify_chain};
use signing::key::{Secret, SigningKey};

use crate::identity::Identity;
use crate::keyring::{Delegation, LogicalKey, OwnKey, SharedKey};
use crate::state::Edge;
use crate::uplink::Uplink;

/// The longest that the authority may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most versions of one key that an edge holds.
const MOST_VERSIONS: usize = 64;

/// Why there is no delegation.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The authority said no, or nothing.
    #[error("the authority answered {:?}: {}", .0.code(), .0.message())]
    Refused(#[from] tonic::Status),
    /// The answer is not what was asked for, or gives nothing to sign with.
    #[error("the authority's answer cannot be used: {0}")]
    Unusable(String),
    /// The cryptographic library failed, or refuses the material.
    #[error("the key cannot be made or read: {0}")]
    Key(#[from] signing::key::KeyError),
}

fn unusable(what: impl Into<String>) -> Failure {
    Failure::Unusable(what.into())
}

/// Asks for one key and takes it into use; answers until when it serves (Unix seconds).
pub async fn delegation(edge: &Edge, uplink: &Uplink, key: &LogicalKey) -> Result<u64, Failure> {
    let until = match key.delegation {
        Delegation::Own => own(edge, uplink, key).await?,
        Delegation::Shared => shared(edge, uplink, key).await?,
        Delegation::None => return Err(unusable("this key is not delegated")),
    };
    if until <= edge.now() {
        return Err(unusable("the delegation has ended already; compare the clocks"));
    }
    if edge.keyring().signs_until(key.facts.id()) <= edge.now() {
        return Err(unusable("nothing in the delegation signs, now or later"));
    }
    Ok(until)
}

async fn own(edge: &Edge, uplink: &Uplink, key: &LogicalKey) -> Result<u64, Failure> {
    let pair = SigningKey::generate(key.algorithm)?;
    let public = pair
        .public()
        .ok_or_else(|| unusable("a secret key cannot have a certificate"))?;
    let spki = public.to_spki_der();
    let identity = edge.identity();
    let message = possession_message(
        &identity.trust_domain,
        &identity.edge_id,
        edge.incarnation(),
        key.facts.id(),
        spki,
    );
    let mode = delegate_request::Mode::Own(contract::OwnKey {
        proof: pair.sign(&message)?,
        public_key: spki.to_vec(),
    });
    let Some(delegate_response::Mode::Own(answer)) = call(edge, uplink, key, mode).await? else {
        return Err(unusable("a shared key came where a certificate was asked for"));
    };
    // The chain is checked as any verifier would, and must name this very key, edge and process.
    let verified = verify_chain(&answer.certificates, &edge.delegation_roots(), edge.now())
        .map_err(|error| unusable(error.to_string()))?;
    if !names(&verified, edge, &identity, key) {
        return Err(unusable("the certificate names another key, edge or process"));
    }
    if verified.public_key.thumbprint() != public.thumbprint() {
        return Err(unusable("the certificate is for another public key"));
    }
    let certificates = answer.certificates.iter();
    let certificates = certificates.map(|der| pem_encode("CERTIFICATE", der)).collect();
    let not_after = verified.not_after;
    edge.keyring()
        .hold_own(key.facts.id(), OwnKey::new(pair, certificates, not_after));
    Ok(not_after)
}

fn names(verified: &VerifiedDelegation, edge: &Edge, identity: &Identity, key: &LogicalKey) -> bool {
    let name = &verified.name;
    name.trust_domain == identity.trust_domain
        && name.tenant == key.facts.tenant()
        && name.key == key.facts.id()
        && name.edge == identity.edge_id
        && name.incarnation == edge.incarnation()
}

async fn shared(edge: &Edge, uplink: &Uplink, key: &LogicalKey) -> Result<u64, Failure> {
    let identity = edge.identity();
    let receiving_key = edge.receiver().public();
    let message = handover::receiving_message(
        &identity.trust_domain,
        &identity.edge_id,
        edge.incarnation(),
        receiving_key,
    );
    let mode = delegate_request::Mode::Shared(contract::SharedKey {
        receiving_key: receiving_key.to_vec(),
        signature: identity.sign(&message)?,
    });
    let Some(delegate_response::Mode::Shared(answer)) = call(edge, uplink, key, mode).await? else {
        return Err(unusable("a certificate came where a shared key was asked for"));
    };
    if answer.versions.len() > MOST_VERSIONS {
        return Err(unusable(format!("it has more than {MOST_VERSIONS} versions")));
    }
    let until = answer.not_after;
    let mut kids = BTreeSet::new();
    let mut versions = Vec::with_capacity(answer.versions.len());
    for version in answer.versions {
        let secret = opened(edge, &identity, key, &version, until)?;
        let mut pair = SigningKey::import(key.algorithm, &secret)?;
        if pair.public().is_none() {
            pair = pair.with_kid(&version.kid)?;
        }
        if pair.kid() != version.kid {
            return Err(unusable(format!("the version `{}` is another key", version.kid)));
        }
        versions.push(SharedKey::new(pair));
        if let Some(twice) = kids.replace(version.kid) {
            return Err(unusable(format!("the version `{twice}` came twice")));
        }
    }
    edge.keyring().hold_shared(key.facts.id(), versions, until);
    Ok(until)
}

/// The material of a version, if it was sealed to this process as that version of this key until then.
fn opened(
    edge: &Edge,
    identity: &Identity,
    key: &LogicalKey,
    version: &contract::SharedVersion,
    not_after: u64,
) -> Result<Secret, Failure> {
    let to = Address {
        edge: &identity.edge_id,
        incarnation: edge.incarnation(),
        key: key.facts.id(),
        kid: &version.kid,
        not_after,
    };
    let sealed = Sealed {
        encapsulated: version.encapsulated.clone(),
        ciphertext: version.ciphertext.clone(),
    };
    let opened = edge.receiver().open(&to, &sealed);
    let mut opened = opened.map_err(|error| unusable(format!("the version `{}`: {error}", version.kid)))?;
    Ok(Secret::new(std::mem::take(&mut *opened)))
}

async fn call(
    edge: &Edge,
    uplink: &Uplink,
    key: &LogicalKey,
    mode: delegate_request::Mode,
) -> Result<Option<delegate_response::Mode>, Failure> {
    let request = DelegateRequest {
        key_id: key.facts.id().to_owned(),
        incarnation: edge.incarnation().to_owned(),
        mode: Some(mode),
    };
    let mut request = tonic::Request::new(request);
    request.set_timeout(PATIENCE);
    Ok(uplink.client()?.delegate(request).await?.into_inner().mode)
}
