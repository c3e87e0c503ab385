//! Plugins as a bundle brings them: hostile ones, written as text in `tests/hostile/`, and the two examples.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used
)]
#![allow(clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "plugins/batch.rs"]
mod batch;
#[path = "plugins/compat.rs"]
mod compat;
#[path = "plugins/composed.rs"]
mod composed;
#[path = "plugins/examples.rs"]
mod examples;
#[path = "plugins/hostile.rs"]
mod hostile;
#[path = "plugins/imports.rs"]
mod imports;
#[path = "plugins/isolation.rs"]
mod isolation;
#[path = "plugins/mutated.rs"]
mod mutated;
#[path = "plugins/scheduling.rs"]
mod scheduling;
#[path = "plugins/support.rs"]
mod support;
#[path = "plugins/workers.rs"]
mod workers;
