//! What machine code is made for: a level of x86-64, and all else on which two engines must agree to exchange it.
//!
//! Left to itself, the compiler takes whatever the processor it runs on has, and code made on one machine does not run on the next.
//! The levels are those of the x86-64 psABI (3.1.1): what a fleet's machines have in common, in three steps.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha256};
use wasmtime::{Config, Engine};

use crate::engine::{self, HostError};

/// A level of x86-64, each with all that those before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    /// SSE2.
    V1,
    /// SSE4.2 and POPCNT.
    V2,
    /// AVX2, BMI and FMA.
    V3,
}

impl Level {
    const ALL: [Level; 3] = [Level::V1, Level::V2, Level::V3];

    /// The highest that this machine has.
    pub(crate) fn of_this_machine() -> Level {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let v2 = has!("sse4.2") && has!("popcnt") && has!("cmpxchg16b") && has!("ssse3") && has!("sse3");
            let v3 = has!("avx2") && has!("fma") && has!("bmi1") && has!("bmi2") && has!("lzcnt");
            match (v2 && has!("sse4.1"), v3 && has!("avx")) {
                (true, true) => return Level::V3,
                (true, false) => return Level::V2,
                (false, _) => {}
            }
        }
        Level::V1
    }

    fn name(self) -> &'static str {
        match self {
            Level::V1 => "x86-64-v1",
            Level::V2 => "x86-64-v2",
            Level::V3 => "x86-64-v3",
        }
    }

    /// As the compiling child is told.
    pub(crate) fn number(self) -> u64 {
        match self {
            Level::V1 => 1,
            Level::V2 => 2,
            Level::V3 => 3,
        }
    }

    pub(crate) fn numbered(number: u64) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.number() == number)
    }

    /// Has the compiler make code for this level, on whatever machine it runs.
    #[allow(unsafe_code, reason = "there is no other way to name a processor's features")]
    pub(crate) fn set(self, config: &mut Config) -> wasmtime::Result<()> {
        // What is named explicitly is not looked up on this machine.
        config.target(TRIPLE)?;
        // Cranelift's names for processors that have what the level asks for, and nothing more.
        let processor = match self {
            Level::V1 => return Ok(()),
            Level::V2 => "nehalem",
            Level::V3 => "haswell",
        };
        // SAFETY: flags may break what the compiler relies on. These say which instructions it may use, nothing else, and before
        // machine code is loaded the engine asks the processor for each of them.
        unsafe { config.cranelift_flag_enable(processor) };
        Ok(())
    }
}

/// The engine loads code for the system that it runs on, by its whole name.
const TRIPLE: &str = if cfg!(target_env = "musl") {
    "x86_64-unknown-linux-musl"
} else {
    "x86_64-unknown-linux-gnu"
};

/// What machine code must be made for so that a process can load it. This program can compile for each one there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub(crate) level: Level,
    compatibility: Arc<str>,
}

impl Target {
    /// What code that runs in this process is made for.
    ///
    /// # Errors
    /// [`HostError`] where there is no compiler for this machine.
    pub fn of_this_machine() -> Result<Target, HostError> {
        let level = Level::of_this_machine();
        let own = Target::all().iter().find(|target| target.level == level).cloned();
        own.ok_or(HostError::Architecture)
    }

    /// The target that another process names; none where this program's code is of no use to it.
    pub fn find(name: &str, compatibility: &str) -> Option<Target> {
        let is_it = |target: &&Target| target.name() == name && target.compatibility() == compatibility;
        Target::all().iter().find(is_it).cloned()
    }

    /// Every target that this program compiles for.
    pub fn all() -> &'static [Target] {
        static ALL: OnceLock<Vec<Target>> = OnceLock::new();
        ALL.get_or_init(|| {
            let target = |level| {
                let compatibility = compatibility(&engine::for_compiling(level).ok()?).into();
                Some(Target { level, compatibility })
            };
            Level::ALL.into_iter().filter_map(target).collect()
        })
    }

    /// Such as `x86-64-v3`.
    pub fn name(&self) -> &'static str {
        self.level.name()
    }

    /// SHA-256, hex, of the engine's version and settings: code is for engines of the same.
    pub fn compatibility(&self) -> &str {
        &self.compatibility
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an engine's machine code depends on.
fn compatibility(engine: &Engine) -> String {
    let mut hasher = Whole(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keeps all of what it is fed: 64 bits are too few where a stranger could look for a second of the same.
struct Whole(Sha256);

impl Hasher for Whole {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Host, Settings};

    #[test]
    fn a_host_runs_what_is_compiled_for_its_machine_and_for_any_that_has_less() {
        let host = Host::new(Settings::default()).unwrap();
        let own = Target::of_this_machine().unwrap();
        assert_eq!(
            compatibility(&host.0.engine),
            own.compatibility(),
            "the pool makes no difference"
        );
        let wasm = wat::parse_str("(component (core module (func (export \"f\"))))").unwrap();
        for level in Level::ALL.into_iter().filter(|level| *level <= own.level) {
            let code = engine::for_compiling(level)
                .unwrap()
                .precompile_component(&wasm)
                .unwrap();
            let artifact = crate::artifact::Artifact::of_own_child(code, [0; 32]);
            artifact.load(&host.0.engine).unwrap();
        }
    }

    #[test]
    fn targets_are_told_apart_and_strangers_are_not_known() {
        let known = Target::all();
        assert_eq!(known.len(), 3);
        for (index, target) in known.iter().enumerate() {
            assert_eq!(
                Target::find(target.name(), target.compatibility()).as_ref(),
                Some(target)
            );
            assert_eq!(Level::numbered(target.level.number()), Some(target.level));
            let next = &known[(index + 1) % known.len()];
            assert_ne!(target.compatibility(), next.compatibility());
            assert_eq!(Target::find(target.name(), next.compatibility()), None);
            assert_eq!(Target::find("x86-64-v4", target.compatibility()), None);
        }
        assert_eq!(Level::numbered(0), None);
        let again = compatibility(&engine::for_compiling(Level::V3).unwrap());
        assert_eq!(again, known[2].compatibility(), "the same for each engine");
    }
}
