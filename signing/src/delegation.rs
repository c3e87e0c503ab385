//! Delegation: a short-lived certificate that lets one process of one edge sign with one logical key.
//!
//! ```text
//! delegation root (HSM)  →  the logical key's own CA (HSM)  →  the edge's key (memory, hours)
//!                           signet://TD/TENANT/key/KEY         signet://TD/TENANT/key/KEY/VERSION/edge/EDGE/INCARNATION
//!                                                              + scope: formats, issuer, audiences, maximum lifetime
//! ```
//!
//! The form is written down in `docs/reference/delegation.md`. Any X.509 library can check the path; what the
//! extension and the names say is Signet's to check, and [`verify_chain`] does.

mod issue;
mod name;
mod scope;
mod verify;

use der::asn1::ObjectIdentifier;

pub use issue::{prepare_key_ca, prepare_leaf, prepare_root};
pub use name::{DelegationName, KeyName, NameError};
pub use scope::{ANY_AUDIENCE, Scope, ScopeError};
pub use verify::{DelegationError, VerifiedDelegation, verify_chain};

/// The extension with what the key may sign. Under 1.3.6.1.4.1.32473, which RFC 5612 sets aside for documentation:
/// whoever deploys Signet beyond its own verifiers should have a number of their own.
pub const SCOPE_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1.1");
/// The extended key usage of delegations and of the CAs that issue them.
pub const DELEGATION_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.32473.1.2");
/// The value octets of [`DELEGATION_PURPOSE`].
const DELEGATION_PURPOSE_VALUE: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x81, 0xfd, 0x59, 0x01, 0x02];

/// What an edge signs with its new key to prove that it holds it, before it gets a delegation.
///
/// Every part has its length before it (32 bits, big-endian), so that no two requests have the same bytes, and the
/// first part names the purpose, so that no other message has them either.
pub fn possession_message(trust_domain: &str, edge_id: &str, incarnation: &str, key_id: &str, spki: &[u8]) -> Vec<u8> {
    let parts: [&[u8]; 6] = [
        b"signet delegation v1",
        trust_domain.as_bytes(),
        edge_id.as_bytes(),
        incarnation.as_bytes(),
        key_id.as_bytes(),
        spki,
    ];
    let mut message = Vec::with_capacity(256);
    for part in parts {
        message.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

#[cfg(test)]
mod tests;
