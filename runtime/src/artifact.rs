//! Machine code of a component, and the one place where it is taken for what it says it is.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use signing::compiled::Endorsed;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::component::LoadFailure;
use crate::failure::detail;
use crate::target::Target;

/// Most bytes of machine code: about ten times the largest component.
pub const MAX_ARTIFACT: usize = 320 << 20;

/// Machine code that the compiler of this program made, of a component, for an engine like one of this program's.
///
/// Whoever can make up one can run code in this process. There are three ways to one: what a compiler of ours answered, a child that
/// is this very program, through a pipe that nobody else has; what an authority endorsed, byte for byte; and what this process has
/// loaded already. Cheap to clone.
#[derive(Clone)]
pub struct Artifact {
    code: Arc<Vec<u8>>,
    component: [u8; 32],
}

/// Why machine code is not what was endorsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It is of another component.
    #[error("the machine code is of another component")]
    Component,
    /// It is for another processor, or another version of the engine.
    #[error("the machine code is for {0}, made by a program that is not compatible with this one")]
    Target(String),
    /// These are other bytes.
    #[error("the machine code is not what was endorsed")]
    Bytes,
}

impl Artifact {
    /// Of what the compiler in a child of this process answered, or the one on a thread of it.
    pub(crate) fn of_own_child(code: Vec<u8>, component: [u8; 32]) -> Artifact {
        let code = Arc::new(code);
        Artifact { code, component }
    }

    /// Of what an authority endorsed as code of this component (SHA-256) for this target.
    ///
    /// # Errors
    /// [`Mismatch`] where these bytes are something else.
    pub fn endorsed(
        code: Vec<u8>,
        endorsed: &Endorsed,
        component: &[u8; 32],
        target: &Target,
    ) -> Result<Artifact, Mismatch> {
        Artifact::demand(endorsed, component, target)?;
        let digest: [u8; 32] = Sha256::digest(&code).into();
        if digest != endorsed.statement().artifact {
            return Err(Mismatch::Bytes);
        }
        Ok(Artifact::of_own_child(code, *component))
    }

    /// Whether an endorsement is about code of this component for this target, before the code is there.
    ///
    /// # Errors
    /// [`Mismatch`]
    pub fn demand(endorsed: &Endorsed, component: &[u8; 32], target: &Target) -> Result<(), Mismatch> {
        let statement = endorsed.statement();
        if statement.component != *component {
            return Err(Mismatch::Component);
        }
        if statement.target != target.name() || statement.compatibility != target.compatibility() {
            return Err(Mismatch::Target(statement.target.chars().take(64).collect()));
        }
        Ok(())
    }

    /// The machine code: an ELF image of wasmtime's.
    pub fn code(&self) -> &[u8] {
        &self.code
    }

    /// SHA-256 of the component that it is of.
    pub fn component(&self) -> &[u8; 32] {
        &self.component
    }

    /// Of a component that this process has, whose bytes' SHA-256 is `digest`.
    ///
    /// # Errors
    /// [`LoadFailure::Compiler`] where the engine keeps no image of it.
    pub(crate) fn of_component(component: &Component, digest: [u8; 32]) -> Result<Artifact, LoadFailure> {
        let code = component.serialize();
        code.map(|code| Artifact::of_own_child(code, digest))
            .map_err(|error| LoadFailure::Compiler(detail(&error)))
    }

    /// Makes it callable.
    ///
    /// # Errors
    /// [`LoadFailure::Compiler`] where it is for another engine.
    #[allow(
        unsafe_code,
        reason = "machine code can be loaded in no other way; an `Artifact` is the proof of where it came from"
    )]
    pub(crate) fn load(&self, engine: &Engine) -> Result<Component, LoadFailure> {
        // SAFETY: `deserialize` demands bytes that wasmtime's own compiler made and nobody has changed. An `Artifact` holds no
        // others: its constructors say why. The bytes are in this process's memory, where no file can change under them, and
        // wasmtime itself refuses those of another version or with other settings than the engine's.
        let component = unsafe { Component::deserialize(engine, self.code()) };
        component.map_err(|error| LoadFailure::Compiler(detail(&error)))
    }

    /// What a worker's parent gives it as its standard output: a file of machine code that nobody can change any more. All workers
    /// of a plugin share its pages.
    ///
    /// # Errors
    /// [`LoadFailure::Compiler`] where it is for another engine.
    #[allow(
        unsafe_code,
        reason = "machine code can be loaded in no other way; only a worker, which was started by its parent, calls this"
    )]
    pub(crate) fn component_of_parent(engine: &Engine) -> Result<Component, LoadFailure> {
        // SAFETY: as above. The bytes are those of an `Artifact` of the parent, which is this very program; the file is in memory
        // and sealed against writing, so it cannot change under us.
        let component = unsafe { Component::deserialize_file(engine, "/proc/self/fd/1") };
        component.map_err(|error| LoadFailure::Compiler(detail(&error)))
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact")
            .field("bytes", &self.code.len())
            .finish_non_exhaustive()
    }
}
