//! `signet hsm-worker`: the process in which a PKCS#11 library lives. Started by an authority, never by hand.

use std::process::ExitCode;

use clap::Args;

use crate::failure::Failure;

/// Serve PKCS#11 calls on standard input and output.
#[derive(Debug, Args)]
pub struct HsmWorker {}

impl HsmWorker {
    /// Serves until standard input closes.
    pub fn run(self) -> Result<(), Failure> {
        match authority::hsm::worker::run_worker() {
            code if code == ExitCode::SUCCESS => Ok(()),
            _ => Err(Failure::new("the worker ended with an error")),
        }
    }
}
