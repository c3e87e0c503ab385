//! What a guest may call. One file each; to add one, write its file and its interface in `plugins/wit/`, and name both here.
//!
//! The host links the newest version of each interface. A component names the one it was built for, and the linker finds
//! the newest of the same major version, which has all that the older one had.

mod config;
pub(crate) mod counter;
mod digest;
mod log;
mod lookup;

#[cfg(test)]
pub(crate) use log::Level;
pub(crate) use log::Log;

use crate::call::State;
use crate::failure::HostCallRefused;
use crate::limits::MAX_HOST_CALLS;
use wasmtime::component::Linker;

/// An interface that a component may import, and the versions of it that this host serves.
struct Interface {
    name: &'static str,
    versions: &'static [&'static str],
    /// Whether it holds types only, which nobody has to grant.
    types: bool,
}

const SINCE_1_0: &[&str] = &["1.0.0", "1.1.0", "1.2.0"];
const SINCE_1_1: &[&str] = &["1.1.0", "1.2.0"];

const fn interface(name: &'static str, versions: &'static [&'static str]) -> Interface {
    let types = false;
    Interface { name, versions, types }
}

const INTERFACES: [Interface; 6] = [
    Interface {
        types: true,
        ..interface("types", SINCE_1_0)
    },
    interface("log", SINCE_1_0),
    interface("config", SINCE_1_0),
    interface("counter", SINCE_1_1),
    interface("lookup", SINCE_1_1),
    interface(digest::NAME, SINCE_1_1),
];

/// What a plugin is granted that names nothing.
pub const DEFAULT_IMPORTS: [&str; 2] = ["log", "config"];

/// Every interface that a plugin can be granted.
pub fn grantable() -> impl Iterator<Item = &'static str> {
    INTERFACES
        .iter()
        .filter(|interface| !interface.types)
        .map(|interface| interface.name)
}

pub(crate) fn add_all(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    log::add(linker)?;
    config::add(linker)?;
    counter::add(linker)?;
    lookup::add(linker)?;
    digest::add(linker)
}

/// The interface that an import such as `signet:rule/log@1.0.0` names, in a version that is served. None: it is not there.
pub(crate) fn served(import: &str) -> Option<&'static str> {
    let (name, version) = import.strip_prefix("signet:rule/")?.split_once('@')?;
    let interface = INTERFACES.iter().find(|interface| interface.name == name)?;
    interface.versions.contains(&version).then_some(interface.name)
}

/// Whether an interface must be granted before a component may import it.
pub(crate) fn needs_grant(name: &str) -> bool {
    grantable().any(|known| known == name)
}

/// Counts a call of any import; a guest that makes too many traps.
fn counted(state: &mut State) -> wasmtime::Result<()> {
    state.host_calls = state.host_calls.saturating_add(1);
    if state.host_calls > MAX_HOST_CALLS.saturating_mul(state.requests) {
        return Err(HostCallRefused("too many calls of the host").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_minor_version_up_to_ours_is_served_and_no_later_one() {
        assert_eq!(served("signet:rule/log@1.0.0"), Some("log"));
        assert_eq!(served("signet:rule/log@1.1.0"), Some("log"));
        assert_eq!(served("signet:rule/log@1.2.0"), Some("log"));
        assert_eq!(served("signet:rule/digest@1.1.0"), Some("digest"));
        assert_eq!(served("signet:rule/digest@1.2.0"), Some("digest"));
        for none in [
            "signet:rule/digest@1.0.0",
            "signet:rule/log@1.3.0",
            "signet:rule/log@2.0.0",
            "signet:rule/log@0.9.0",
            "signet:rule/log",
            "signet:rule/exec@1.2.0",
            "wasi:rule/log@1.0.0",
        ] {
            assert_eq!(served(none), None, "{none}");
        }
        assert!(!needs_grant("types") && needs_grant("log"));
    }
}
