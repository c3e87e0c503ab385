//! The HSM-rooted key management service: logical keys, their roots in the HSM, delegations to edges, and the state behind them.

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

pub mod admin;
pub mod anchor;
pub mod approvals;
pub mod artifacts;
pub mod backup;
pub mod bundle;
pub mod clock;
mod collect;
pub mod config;
pub mod copy;
pub mod crypto;
pub mod delegate;
pub mod edge_trust;
pub mod edges;
pub mod enroll;
pub mod export;
pub mod fault;
mod files;
pub mod grpc;
pub mod halts;
pub mod hsm;
pub mod iam;
pub mod init;
pub mod issue;
pub mod keys;
pub mod kms;
mod leader;
pub mod leases;
pub mod log_place;
pub mod names;
pub mod paths;
pub mod restore;
pub mod revisions;
pub mod revocation;
pub mod rollout;
pub mod rotation;
pub mod samples;
pub mod seal;
pub mod sealed;
mod secret_file;
pub mod serve;
mod stops;
pub mod store;
pub mod tenants;
mod turns;
pub mod unseal;
pub mod watch;
pub mod world;

#[cfg(test)]
pub(crate) mod testing;

pub use config::Config;
pub use init::Initialised;
pub use serve::{Authority, KeyApi, Running, StartError, reserve_pool};

/// Whether the data directory belongs to an authority already.
///
/// # Errors
/// The store cannot be opened.
pub async fn is_initialised(config: &Config) -> Result<bool, StartError> {
    Authority::is_initialised(config).await
}

/// Makes the roots, the store and the admin token, once.
///
/// # Errors
/// [`StartError`]; `already_initialised` when it was done before.
pub async fn initialise(config: &Config) -> Result<Initialised, StartError> {
    Authority::initialise(config.clone()).await
}

/// Starts an authority that was initialised.
///
/// # Errors
/// [`StartError`], with all there is to say for the operator.
pub async fn start(config: Config, pool: runtime::Pool) -> Result<Running, StartError> {
    Authority::start(config, pool).await
}
