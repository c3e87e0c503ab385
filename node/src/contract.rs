//! What an edge and the authority say to each other, generated from `proto/authority.proto` when the crate is built.
//!
//! The message that carries a secret prints `[redacted]` in its place (R10).

use std::fmt;

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
}
