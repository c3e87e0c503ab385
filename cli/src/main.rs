//! The `signet` binary: one file a subcommand.

mod access_keys;
mod approvals;
mod audit;
mod authority;
mod backup;
mod bundle;
mod client;
mod dev;
mod edge;
mod edges;
mod failure;
mod fence;
mod hsm_worker;
mod jwks;
mod keys;
mod load;
mod mint;
mod oci;
mod output;
mod plugin;
mod plugin_compiler;
mod plugin_worker;
mod policy;
mod progress;
mod report;
mod restore;
mod rollout;
mod sign;
mod stop;
mod store;
mod tenants;
mod verify;
mod witness;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Signs tokens and artifacts at the edge, with keys that one HSM-rooted authority delegates.
#[derive(Debug, Parser)]
#[command(name = "signet", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  signet dev                          an authority and an edge, and commands to paste
  signet mint api --subject alice     a token from the edge that `signet dev` started
  signet keys list                    the keys of its authority

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Dev),
    Mint(mint::Mint),
    Sign(sign::Sign),
    Verify(verify::Verify),
    Jwks(jwks::Jwks),
    Keys(keys::Keys),
    Tenants(tenants::Tenants),
    AccessKeys(access_keys::AccessKeys),
    Approvals(approvals::Approvals),
    Stop(stop::Stop),
    Resume(stop::Resume),
    Edges(edges::Edges),
    Bundle(bundle::Bundle),
    Rollout(rollout::Rollout),
    Policy(policy::Policy),
    Plugin(plugin::Plugin),
    Report(report::Report),
    Audit(audit::Audit),
    Load(load::Load),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Store(store::Store),
    Authority(authority::Authority),
    Edge(edge::Edge),
    Witness(witness::Witness),
    #[command(hide = true)]
    HsmWorker(hsm_worker::HsmWorker),
    #[command(hide = true)]
    PluginCompiler(plugin_compiler::PluginCompiler),
    #[command(hide = true)]
    PluginWorker(plugin_worker::PluginWorker),
}

fn main() -> ExitCode {
    let matches = with_examples(Arguments::command()).get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match arguments.command {
        Command::Dev(command) => command.run(),
        Command::Mint(command) => command.run(),
        Command::Sign(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Jwks(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Tenants(command) => command.run(),
        Command::AccessKeys(command) => command.run(),
        Command::Approvals(command) => command.run(),
        Command::Stop(command) => command.run(),
        Command::Resume(command) => command.run(),
        Command::Edges(command) => command.run(),
        Command::Bundle(command) => command.run(),
        Command::Rollout(command) => command.run(),
        Command::Policy(command) => command.run(),
        Command::Plugin(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Audit(command) => command.run(),
        Command::Load(command) => command.run(),
        Command::Backup(command) => command.run(),
        Command::Restore(command) => command.run(),
        Command::Store(command) => command.run(),
        Command::Authority(command) => command.run(),
        Command::Edge(command) => command.run(),
        Command::Witness(command) => command.run(),
        Command::HsmWorker(command) => command.run(),
        Command::PluginCompiler(command) => command.run(),
        Command::PluginWorker(command) => command.run(),
    };
    outcome.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}

/// Gives `signet keys create --help` those of the examples of `signet keys` that are about it, unless it has its own.
fn with_examples(arguments: clap::Command) -> clap::Command {
    arguments.mut_subcommands(|command| {
        let (name, help) = (command.get_name().to_owned(), command.get_after_help());
        let examples = help.map(ToString::to_string).unwrap_or_default();
        command.mut_subcommands(|verb| {
            let start = format!("  signet {name} {} ", verb.get_name());
            let own = examples.lines().filter(|line| format!("{line} ").starts_with(&start));
            let own = own.map(|line| format!("\n{line}")).collect::<String>();
            if own.is_empty() || verb.get_after_help().is_some() {
                verb
            } else {
                verb.after_help(format!("Examples:{own}"))
            }
        })
    })
}
