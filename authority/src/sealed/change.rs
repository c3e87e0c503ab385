//! A set of changes to sealed rows that happen together or not at all.

use serde::Serialize;
use signing::key::Secret;
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::store::Compare;
use crate::store::sums::Sums;

/// Which state of a row was read: what a later change of it is conditional on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The row's own version: 1 when made, raised by each change, sealed with it.
    pub version: u64,
    /// The store's revision that put it.
    pub revision: u64,
}

/// Changes to be committed. Every write is conditional on what was read, so that nothing is overwritten unseen.
#[derive(Clone, Default)]
pub struct Change {
    pub(super) compares: Vec<Compare>,
    pub(super) writes: Vec<Pending>,
    pub(super) failed: Option<Fault>,
    pub(super) at_least: u64,
    pub(super) begin: Option<(u64, Sums)>,
}

#[derive(Clone)]
pub(super) enum Pending {
    /// To be sealed when committed.
    Put {
        path: String,
        version: u64,
        plaintext: Zeroizing<Vec<u8>>,
    },
    /// Sealed by the HSM already.
    Raw {
        path: String,
        value: Vec<u8>,
    },
    Delete {
        path: String,
    },
}

impl Change {
    /// No changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a row that must not exist yet.
    #[must_use]
    pub fn create(self, path: impl Into<String>, value: &impl Serialize) -> Self {
        let path = path.into();
        self.absent(path.clone()).put(path, 1, encode(value))
    }

    /// Makes a row of secret bytes that must not exist yet.
    #[must_use]
    pub fn create_secret(self, path: impl Into<String>, secret: &Secret) -> Self {
        let path = path.into();
        self.absent(path.clone())
            .put(path, 1, Ok(Zeroizing::new(secret.expose().to_vec())))
    }

    /// Makes a row of plain bytes, or overwrites it: for content that is named by its own digest.
    #[must_use]
    pub fn overwrite_bytes(self, path: impl Into<String>, bytes: &[u8]) -> Self {
        self.put(path.into(), 1, Ok(Zeroizing::new(bytes.to_vec())))
    }

    /// Replaces a row that must still be as it was read.
    #[must_use]
    pub fn replace(self, path: impl Into<String>, value: &impl Serialize, seen: Stamp) -> Self {
        let path = path.into();
        self.unchanged(path.clone(), seen)
            .put(path, seen.version.saturating_add(1), encode(value))
    }

    /// Makes the row, or replaces it as it was read.
    #[must_use]
    pub fn set(self, path: impl Into<String>, value: &impl Serialize, seen: Option<Stamp>) -> Self {
        match seen {
            Some(seen) => self.replace(path, value, seen),
            None => self.create(path, value),
        }
    }

    /// Deletes a row, there or not.
    #[must_use]
    pub fn delete(mut self, path: impl Into<String>) -> Self {
        self.writes.push(Pending::Delete { path: path.into() });
        self
    }

    /// Raises the store's revision to `revision` at least, see [`crate::store::Transaction::raise_to`].
    #[must_use]
    pub fn raise_to(mut self, revision: u64) -> Self {
        self.at_least = revision;
        self
    }

    /// Takes the rows of the store at `revision` as they are: the sums over them are kept from here on.
    #[must_use]
    pub(super) fn begin_sums(mut self, revision: u64, sums: Sums) -> Self {
        self.begin = Some((revision, sums));
        self
    }

    /// Demands that a row is as it was read.
    #[must_use]
    pub fn unchanged(mut self, path: impl Into<String>, seen: Stamp) -> Self {
        self.compares.push(Compare {
            path: path.into(),
            revision: Some(seen.revision),
        });
        self
    }

    /// Demands that a row does not exist.
    #[must_use]
    pub fn absent(mut self, path: impl Into<String>) -> Self {
        self.compares.push(Compare {
            path: path.into(),
            revision: None,
        });
        self
    }

    /// Adds a key-encryption key that the HSM sealed; see [`super::Vault::new_kek`].
    #[must_use]
    pub(super) fn create_raw(self, path: String, value: Vec<u8>) -> Self {
        let mut change = self.absent(path.clone());
        change.writes.push(Pending::Raw { path, value });
        change
    }

    fn put(mut self, path: String, version: u64, plaintext: Result<Zeroizing<Vec<u8>>, Fault>) -> Self {
        match plaintext {
            Ok(plaintext) => self.writes.push(Pending::Put {
                path,
                version,
                plaintext,
            }),
            Err(fault) => self.failed = Some(fault),
        }
        self
    }
}

fn encode(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    serde_json::to_vec(value)
        .map(Zeroizing::new)
        .map_err(|error| Fault::internal(format!("a row cannot be written: {error}")))
}
