//! Who may have what signed: bundles and their profiles, what a caller asks for, and the Cedar engine that answers.
//!
//! Pure but for [`testing`] and [`bundle::dir`], which read a bundle's folder. Time is passed in as Unix seconds.
//!
//! | to | call |
//! | --- | --- |
//! | read a bundle | [`Bundle::parse`], from a folder [`bundle::dir::read`] |
//! | parse what a caller asks for | [`Intent::parse_token`], [`Intent::parse_artifact`], [`intent::VerifyRequest::parse`] |
//! | decide | [`Engine::authorize`] → [`Permit`] → [`Metered`] → [`Cleared`]: nothing else makes one |
//! | decide for an edge, an operator or a principal of an account | [`Engine::authorize_delegate`], [`Engine::authorize_admin`], [`Engine::authorize_keys`] |
//! | roll out a new version of a plugin | [`rollout`] |
//! | check, test and explain policies | [`testing`] |
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

pub mod bundle;
pub mod engine;
pub mod intent;
pub mod names;
pub mod permit;
pub mod profile;
pub mod rollout;
pub mod schema;
pub mod testing;
pub mod units;

#[cfg(test)]
mod case_tests;

pub use bundle::{Bundle, BundleError};
pub use engine::{Denial, DenialCode, Engine, KeyFacts, PolicyError, Principal, RequestFacts};
pub use intent::{ArtifactIntent, Intent, IntentError, TokenIntent, VerifyIntent};
pub use permit::{Cleared, Metered, Permit};
pub use profile::Profile;
