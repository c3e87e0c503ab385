//! Isolated plugins: the processes that they run in, `signet plugin-worker`, this end of them and the other.
//!
//! A guest that breaks out of its sandbox in this process is among the keys. In a worker it is among its own machine code, its
//! settings and the request that it was given: a worker has no keys, no environment and no file, and once it is ready it can make
//! hardly any system call ([`confine`]). What it answers is data from a stranger: bounded, and checked as what a guest answers is.
//!
//! Each plugin has a few workers ([`pool`]), which make one call at a time. A worker that dies, hangs or talks nonsense costs the
//! request that it had, is killed, and another takes its place.

use std::ffi::OsString;
use std::path::PathBuf;

pub use self::child::run_worker;
pub(crate) use self::pool::Pool;
pub(crate) use self::protocol::Channel;

mod child;
mod confine;
mod pool;
mod process;
mod protocol;

/// Worker processes of one host: those of the bundle in use, of new versions that are tried, and of bundles that end.
pub(crate) const MAX_WORKERS: usize = 256;
/// Most of [`Workers::each`] that a machine has by default.
const EACH: usize = 4;

/// How the workers of isolated plugins are started, and how many.
#[derive(Debug, Clone)]
pub struct Workers {
    /// The executable, which calls [`run_worker`] when it is started like this. Default the running one, even when an upgrade has
    /// replaced its file: both ends must be of one version.
    pub program: PathBuf,
    /// Its arguments. Default `plugin-worker`.
    pub arguments: Vec<OsString>,
    /// Workers of each plugin, 1 to 16: so many calls of it are made at the same time, others wait. Default: one for each core, at
    /// most 4.
    pub each: usize,
}

impl Default for Workers {
    fn default() -> Workers {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Workers {
            program: PathBuf::from("/proc/self/exe"),
            arguments: vec!["plugin-worker".into()],
            each: cores.min(EACH),
        }
    }
}

#[cfg(test)]
mod tests;
