//! The edge node: it authenticates callers, judges what they ask for, and signs with keys that the authority delegated.
//!
//! The request is [`pipeline`], top to bottom. What feeds it: [`follow`] (the authority's changes), [`delegate`] (keys),
//! [`world`] (the bundle), [`fetch`] (its large files and its machine code), [`rollout`] (new versions of rules on their way), [`keyring`] (where keys live). [`ship`] brings its records to the authority, [`prove`] the
//! proofs of some back; [`serve`] wires them.
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

mod announced;
mod answer;
mod api;
mod clock;
pub mod config;
mod delegate;
mod discovery;
mod fetch;
mod follow;
mod forward;
mod health;
mod identity;
mod ids;
mod jitter;
mod join;
mod keyring;
mod metrics;
mod openapi;
mod pipeline;
mod prove;
mod receive;
mod record;
mod rollout;
mod route;
mod rules;
mod sample;
pub mod serve;
mod ship;
mod state;
#[cfg(test)]
mod testing;
mod throttle;
mod trust;
mod uplink;
mod verify;
mod world;

pub use config::Config;
pub use identity::{Identity, IdentityError, enrolled};
pub use join::{Credential, JoinError, join_by_itself};
pub use serve::{Running, StartError, reserve_pool, start};
pub use uplink::{UplinkError, join};
