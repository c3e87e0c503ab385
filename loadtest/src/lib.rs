//! Load for an edge, and what it costs the edge.
//!
//! - [`run`]: a closed loop of token requests over HTTP/1.1, 2 or 3, with latency percentiles and a verified sample.
//! - [`http3`]: one request over HTTP/3, for the command line.
//! - [`bench`]: CPU time a request of a whole edge beside a bare server that only signs.
//!
//! Closed loop: a connection sends its next request when it has the answer to the last, so a server that stalls is asked
//! less, and the percentiles hide the requests that were not sent meanwhile.
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

pub mod bench;
mod client;
mod error;
pub mod histogram;
pub mod http3;
mod options;
mod report;
mod run;
mod sample;
mod target;

#[cfg(test)]
mod tests;

pub use error::LoadError;
pub use options::{Options, Protocol, Until};
pub use report::{Report, Verification};
pub use run::run;
