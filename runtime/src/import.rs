//! What a guest may call. One file each; to add one, write its file and its interface in `plugins/wit/rule.wit`, and
//! name both here.

mod config;
mod log;

#[cfg(test)]
pub(crate) use log::Level;
pub(crate) use log::Log;

use crate::call::State;
use crate::failure::HostCallRefused;
use crate::limits::MAX_HOST_CALLS;
use wasmtime::component::Linker;

/// The instances a component may import. The first holds types only.
pub(crate) const ALLOWED: [&str; 3] = ["signet:rule/types@1.0.0", log::INSTANCE, config::INSTANCE];

pub(crate) fn add_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    log::add(linker)?;
    config::add(linker)
}

/// Counts a call of any import; a guest that makes too many traps.
fn counted(state: &mut State) -> wasmtime::Result<()> {
    state.host_calls = state.host_calls.saturating_add(1);
    if state.host_calls > MAX_HOST_CALLS {
        return Err(HostCallRefused("too many calls of the host in one evaluation").into());
    }
    Ok(())
}
