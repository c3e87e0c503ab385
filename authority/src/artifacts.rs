//! Plugins compiled for edges: once for each component and target, endorsed, and kept in a directory.
//!
//! Edges run this code as it is, so what is endorsed is what the compiler of this process answered, and nothing that was read from
//! the disk: a file there carries its endorsement, and counts for no more here than at an edge. The directory is a cache; each of
//! several authorities on a store has its own, and what is lost is made again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use runtime::{Artifact, LoadError, LoadFailure, Plugin, PluginSource, Target};
use signing::compiled::{Endorsement, Statement};
use signing::digest::sha256;

use self::kept::Directory;
use self::signer::{LIFETIME, Signers};
use crate::clock::Clock;
use crate::fault::Fault;
use crate::issue::Issuer;

mod kept;
mod signer;

/// Machine code with what the authority says of it.
#[derive(Debug)]
pub struct Compiled {
    /// What edges believe.
    pub endorsement: Endorsement,
    /// The code.
    pub artifact: Artifact,
}

/// One component for one target: whoever holds it reads or makes it, the others wait. It is in memory while somebody sends it.
type Turn = Arc<Mutex<Weak<Compiled>>>;

/// All that is compiled.
pub struct Artifacts {
    host: runtime::Host,
    directory: Directory,
    signers: Signers,
    issuer: Arc<Issuer>,
    clock: Clock,
    turns: Mutex<HashMap<([u8; 32], Target), Turn>>,
}

impl Artifacts {
    /// In this directory, which is made where it is not there. Compiled by `host`.
    ///
    /// # Errors
    /// [`Fault`] where no signer can be certified.
    pub async fn open(
        directory: PathBuf,
        host: runtime::Host,
        issuer: Arc<Issuer>,
        clock: Clock,
    ) -> Result<Arc<Self>, Fault> {
        Ok(Arc::new(Self {
            host,
            directory: Directory::new(directory),
            signers: Signers::first(&issuer).await?,
            issuer,
            clock,
            turns: Mutex::default(),
        }))
    }

    /// Replaces the signer at half of its life, until the process ends.
    pub async fn keep(self: Arc<Self>) {
        self.signers.keep(&self.issuer, &self.clock).await;
    }

    /// Loads a plugin here, from the code that edges of this machine's kind get. Blocks for as long as it compiles.
    ///
    /// # Errors
    /// What is wrong with the plugin.
    pub fn load(&self, source: PluginSource) -> Result<Plugin, LoadError> {
        match self.get(&source.wasm, self.host.target()) {
            Ok(compiled) => self.host.load_compiled(source, compiled.artifact.clone()),
            Err(reason) => Err(LoadError {
                plugin: source.name,
                reason,
            }),
        }
    }

    /// The code of a component for a target: from memory, from the directory, or made now. Blocks for as long as it compiles; of
    /// several who want the same, one compiles.
    ///
    /// # Errors
    /// Why it cannot be compiled.
    pub fn get(&self, wasm: &[u8], target: &Target) -> Result<Arc<Compiled>, LoadFailure> {
        let component = sha256(wasm);
        let turn = self.turn((component, target.clone()));
        let mut held = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = held.upgrade() {
            return Ok(compiled);
        }
        let compiled = match self.read(&component, target) {
            Some(compiled) => compiled,
            None => self.make(wasm, target)?,
        };
        let compiled = Arc::new(compiled);
        *held = Arc::downgrade(&compiled);
        Ok(compiled)
    }

    fn turn(&self, key: ([u8; 32], Target)) -> Turn {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody waits for and that nobody holds the code of.
        turns
            .retain(|_, turn| Arc::strong_count(turn) > 1 || turn.try_lock().is_ok_and(|held| held.strong_count() > 0));
        turns.entry(key).or_default().clone()
    }

    fn make(&self, wasm: &[u8], target: &Target) -> Result<Compiled, LoadFailure> {
        let begun = std::time::Instant::now();
        let artifact = self.host.compile(wasm, target)?;
        let statement = Statement {
            component: *artifact.component(),
            target: target.name().to_owned(),
            compatibility: target.compatibility().to_owned(),
            artifact: sha256(artifact.code()),
            size: u64::try_from(artifact.code().len()).unwrap_or(u64::MAX),
        };
        let compiled = Compiled {
            endorsement: self.endorse(statement)?,
            artifact,
        };
        let (component, bytes) = (signing::encoding::hex(compiled.artifact.component()), wasm.len());
        let (code, took) = (compiled.artifact.code().len(), begun.elapsed());
        tracing::info!(component, bytes, %target, code, ?took, "a component was compiled for edges");
        self.directory.write(&compiled);
        Ok(compiled)
    }

    /// What the directory has, if it is what this authority endorsed. A signer whose end is near gives way to the one of now: that
    /// is a statement which was believed said again.
    fn read(&self, component: &[u8; 32], target: &Target) -> Option<Compiled> {
        let now = self.clock.now();
        let root = self.issuer.roots().nodes.der();
        let believe = |endorsement: &Endorsement| endorsement.verify(&[root], self.issuer.trust_domain(), now);
        let (mut compiled, not_after) = self.directory.read(component, target, believe)?;
        if not_after < now.saturating_add(LIFETIME / 4) {
            compiled.endorsement = self.endorse(compiled.endorsement.statement).ok()?;
            self.directory.write(&compiled);
        }
        Some(compiled)
    }

    fn endorse(&self, statement: Statement) -> Result<Endorsement, LoadFailure> {
        let signed = self.signers.sign(statement, self.issuer.trust_domain());
        signed.map_err(|error| LoadFailure::Compiler(error.to_string()))
    }
}

impl std::fmt::Debug for Artifacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Artifacts")
    }
}

#[cfg(test)]
mod tests;
