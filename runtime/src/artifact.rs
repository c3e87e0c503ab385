//! Machine code of a component, and the one place where it is taken for what it says it is.

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::component::LoadFailure;
use crate::failure::detail;

/// Machine code that this program's own compiler made, for an engine like this one.
///
/// Whoever can make up one can run code in this process, so it is made here only: of what a child of ours, which is this very
/// program, answered through a pipe that nobody else has, or of a component that is loaded already.
pub(crate) struct Artifact(Vec<u8>);

impl Artifact {
    /// Of what the compiler in a child of this process answered.
    pub(crate) fn of_own_child(bytes: Vec<u8>) -> Artifact {
        Artifact(bytes)
    }

    /// Of a component that this process has.
    ///
    /// # Errors
    /// [`LoadFailure::Compiler`] where the engine keeps no image of it.
    pub(crate) fn of_component(component: &Component) -> Result<Artifact, LoadFailure> {
        let bytes = component.serialize();
        bytes
            .map(Artifact)
            .map_err(|error| LoadFailure::Compiler(detail(&error)))
    }

    /// The machine code.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Makes it callable.
    ///
    /// # Errors
    /// [`LoadFailure::Compiler`] where it is for another engine.
    #[allow(
        unsafe_code,
        reason = "machine code can be loaded in no other way; an `Artifact` is the proof of where it came from"
    )]
    pub(crate) fn component(&self, engine: &Engine) -> Result<Component, LoadFailure> {
        // SAFETY: `deserialize` demands bytes that wasmtime's own compiler made and nobody has changed. An `Artifact` holds no
        // others: its constructors say why. The bytes are in this process's memory, where no file can change under them, and
        // wasmtime itself refuses those of another version or with other settings than the engine's.
        let component = unsafe { Component::deserialize(engine, &self.0) };
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
