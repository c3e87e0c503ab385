//! What an edge and the authority say to each other, generated from `proto/authority.proto` when the crate is built.
//!
//! The message that carries a secret prints `[redacted]` in its place (R10).

use std::fmt;

use tonic::Status;
use tonic::metadata::MetadataValue;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "generated code; its documentation is the .proto file"
)]
mod generated {
    tonic::include_proto!("signet.authority.v1");
}

pub use generated::*;

/// The field of a refusal's metadata with the authority's code for it, such as `key_disabled`: what gRPC's own codes have no word for.
pub const FAULT_CODE: &str = "signet-code";

/// The fields of a refusal's metadata with the revision of the state that it is of, and what proves that.
const REVISION: &str = "signet-revision";
const REVISION_PROOF: &str = "signet-revision-proof-bin";

/// Says of which revision's state a refusal is.
pub fn tell_revision(status: &mut Status, revision: u64, proof: &[u8]) {
    let metadata = status.metadata_mut();
    metadata.insert(REVISION, revision.into());
    metadata.insert_bin(REVISION_PROOF, MetadataValue::from_bytes(proof));
}

/// What [`tell_revision`] said.
pub fn told_revision(status: &Status) -> Option<(u64, Vec<u8>)> {
    let revision = status.metadata().get(REVISION)?.to_str().ok()?.parse().ok()?;
    let proof = status.metadata().get_bin(REVISION_PROOF)?.to_bytes().ok()?;
    Some((revision, proof.to_vec()))
}

impl fmt::Debug for EnrollRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnrollRequest")
            .field("join_token", &"[redacted]")
            .field("csr", &self.csr.len())
            .field("oidc_token", &"[redacted]")
            .field("trust_rule", &self.trust_rule)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R10
    #[test]
    fn messages_with_secrets_do_not_print_them() {
        let enroll = EnrollRequest {
            join_token: "canary-join".into(),
            csr: vec![1],
            oidc_token: "canary-oidc".into(),
            trust_rule: "fleet".into(),
        };
        assert!(!format!("{enroll:?}").contains("canary"));
    }

    #[test]
    fn a_refusal_tells_its_revision_if_it_has_one() {
        let mut status = Status::permission_denied("revoked");
        assert_eq!(told_revision(&status), None);
        tell_revision(&mut status, u64::MAX, &[0, 255, 7]);
        assert_eq!(told_revision(&status), Some((u64::MAX, vec![0, 255, 7])));
    }
}
