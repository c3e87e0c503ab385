//! The host of Signet's plugins: WebAssembly components of the WIT world `signet:rule@1`, 1.0.0 to 1.2.0.
//!
//! A plugin may refuse a request, cap a token's lifetime or add the claims its profile lists as plugin-writable.
//! It cannot do anything else: there is no WASI, no network, no file and no clock behind its imports
//! (`log`, `config`, `counter`, `lookup`, `digest`), and it has those that the bundle grants it.
//!
//! ```no_run
//! # async fn example(wasm: Vec<u8>, request: runtime::Request<'_>) -> Result<(), Box<dyn std::error::Error>> {
//! let host = runtime::Host::new(runtime::Settings::default())?;
//! let plugin = host.load(runtime::PluginSource::new("claim-guard", wasm))?;
//! let verdict = plugin.evaluate(&request).await?;
//! # Ok(()) }
//! ```
//!
//! What holds, whatever a plugin does:
//!
//! - **Fresh state.** Each call has its own store and instance, and memory is reset between them: nothing of one
//!   request is visible to the next (R21).
//! - **A budget.** Running time, memory, tables, stack, host calls, log lines and output are bounded (R22). A call
//!   that runs for longer than 1 ms yields every 250 µs, only a few such calls run at a time ([`Settings::slow_lanes`]), and a
//!   plugin that makes them has threads apart.
//! - **One request.** A trap, a time-out, a bad output or a panic of the host denies that request with
//!   [`RuleError::Failed`]; the next call is served as ever. With [`Plugin::serve`], one that fails again and again is not
//!   called for a while.
//!
//! - **A process, where asked for.** An [isolated](PluginSource::isolated) plugin runs in processes that hold no keys and can make
//!   hardly any system call ([`run_worker`]); what they answer is checked as if it were the plugin's own.
//!
//! `docs/reference/plugins.md` says the same to authors of plugins.
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

mod apart;
mod artifact;
mod batch;
mod breaker;
mod call;
mod compile;
mod component;
mod engine;
mod failure;
mod give_way;
mod import;
mod limits;
mod metrics;
mod pace;
mod plugin;
mod prepare;
mod question;
mod request;
pub mod sample;
mod seldom;
mod slice;
mod stolen;
mod table;
mod target;
mod ticker;
mod value;
mod verdict;
mod worker;

pub use artifact::{Artifact, MAX_ARTIFACT, Mismatch};
pub use breaker::BreakerChange;
pub use compile::helper::{Compiler, run_compiler};
pub use component::{LoadError, LoadFailure, PluginSource};
pub use engine::{Host, HostError, Pool, Settings};
pub use failure::{FailureKind, RuleError};
pub use import::{DEFAULT_IMPORTS, grantable};
pub use metrics::Metrics;
pub use plugin::Plugin;
pub use prepare::{Interpreter, PrepareError, prepare};
pub use question::MAX_BATCH;
pub use request::{Argument, ArtifactForm, ArtifactRequest, Caller, Payload, Protocol, Request, TokenRequest};
pub use table::{TableKind, TableSource};
pub use target::Target;
pub use value::Value;
pub use verdict::Verdict;
pub use worker::{Workers, run_worker};
