//! `signet plugin`: write, build, prove, measure and look at a rule on a laptop, without a server; and keep it, signed,
//! where others find it.

mod bench;
mod build;
mod bundled;
mod case;
mod changes;
mod component;
mod document;
mod entry;
mod exports;
mod inspect;
mod javascript;
mod log;
mod manifest;
mod new;
mod outcome;
mod project;
mod pull;
mod push;
mod replay;
mod request;
pub mod runner;
mod samples;
mod sampling_key;
mod table;
mod test;
mod toolchain;
mod watch;

use clap::{Args, Subcommand};

pub use self::pull::{fetch, signed};
use crate::failure::Failure;

/// Write, build, test, measure, inspect, publish and replay rules that are WebAssembly components.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet plugin new short-lived --lang rust     a directory with a rule, its cases and a README
  signet plugin build short-lived               writes short-lived/short-lived.wasm
  signet plugin test short-lived                runs short-lived/cases
  signet plugin test short-lived --watch        again whenever a source, a case or a setting changes
  signet plugin test short-lived --verbose      with what the rule writes to its log
  signet plugin bench short-lived               time and memory of each case, against the budget
  signet plugin bench short-lived --isolated    the same in a worker process
  signet plugin inspect short-lived             or a component's file
  signet plugin push short-lived.wasm oci://ghcr.io/acme/short-lived:1.0 --key alias/plugins
  signet plugin push short-lived.wasm ./artifacts:1.0 --key alias/plugins      an OCI image layout
  signet plugin pull oci://ghcr.io/acme/short-lived:1.0 --key plugins.pub --out short-lived.wasm
  signet plugin verify oci://ghcr.io/acme/short-lived:1.0 --key plugins.pub
  signet plugin sampling-key sampling.key       the key for [sampling] in the bundle
  signet plugin samples --out today.samples     what edges sampled, sealed
  signet plugin replay short-lived --samples today.samples --key sampling.key")]
pub struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::New),
    Build(build::Build),
    Test(test::Test),
    Bench(bench::Bench),
    Inspect(inspect::Inspect),
    Push(push::Push),
    Pull(pull::Pull),
    Verify(pull::Verify),
    SamplingKey(sampling_key::SamplingKey),
    Samples(samples::Samples),
    Replay(replay::Replay),
}

impl Plugin {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::New(command) => command.run(),
            Command::Build(command) => command.run(),
            Command::Test(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Push(command) => command.run(),
            Command::Pull(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::SamplingKey(command) => command.run(),
            Command::Samples(command) => command.run(),
            Command::Replay(command) => command.run(),
        }
    }
}
