//! What both roles of Signet are made of: configuration, telemetry, TLS, listeners with their limits, caller
//! authentication, problem documents, and the gRPC contract between an edge and its authority.
//!
//! Nothing here knows what is signed. A role brings a [`listen::Handler`]; this crate brings the socket to it, bounded
//! in size and time, and takes the answer back.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        missing_docs
    )
)]

pub mod boottime;
pub mod channel;
pub mod config;
pub mod contract;
pub mod handover;
pub mod hardening;
pub mod http_client;
pub mod identity;
pub mod lease;
pub mod listen;
pub mod oidc;
pub mod problem;
pub mod sampling;
pub mod telemetry;
pub mod tls;
