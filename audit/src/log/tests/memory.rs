//! Objects in memory that fail, crash and lie on command. Clones are the same storage.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::objects::{Objects, PutError};

#[derive(Clone, Default)]
pub(super) struct Memory {
    state: Arc<Mutex<State>>,
    claim: Option<String>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    writes: usize,
    /// Ends after so many writes; the last of them may have happened though it was not acknowledged.
    crash: Option<(usize, bool)>,
    failure: Failure,
    corrupt: Option<&'static str>,
}

#[derive(Default, Clone, Copy, PartialEq)]
pub(super) enum Failure {
    #[default]
    None,
    Write,
    Sync,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn writes(&self) -> usize {
        self.lock().writes
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    pub(super) fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.lock().objects.get(name).cloned()
    }

    pub(super) fn set(&self, name: &str, content: &[u8]) {
        self.lock().objects.insert(name.into(), content.into());
    }

    pub(super) fn erase(&self, name: &str) {
        self.lock().objects.remove(name);
    }

    /// As it is now, on its own.
    pub(super) fn snapshot(&self) -> Memory {
        let objects = self.lock().objects.clone();
        let state = State {
            objects,
            ..State::default()
        };
        Memory {
            state: Arc::new(Mutex::new(state)),
            claim: None,
        }
    }

    /// The same storage, for a writer of this name that cannot keep others out.
    pub(super) fn shared_by(&self, writer: &str) -> Memory {
        Memory {
            claim: Some(writer.to_owned()),
            ..self.clone()
        }
    }

    pub(super) fn crash_after(&self, writes: usize, happened: bool) {
        self.lock().crash = Some((writes, happened));
    }

    pub(super) fn restart(&self) {
        self.lock().crash = None;
    }

    pub(super) fn fail(&self, failure: Failure) {
        self.lock().failure = failure;
    }

    /// Flips a bit of everything that is written under this name from now on.
    pub(super) fn corrupt(&self, names: &'static str) {
        self.lock().corrupt = Some(names);
    }
}

impl Objects for Memory {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.content(name))
    }

    fn put(&mut self, name: &str, content: &[u8]) -> Result<(), PutError> {
        let mut state = self.lock();
        match state.failure {
            Failure::None => {}
            Failure::Write => return Err(PutError::Write(io::ErrorKind::StorageFull.into())),
            Failure::Sync => return Err(PutError::Sync(io::Error::other("lost"))),
        }
        let mut content = content.to_vec();
        if state.corrupt.is_some_and(|names| name.starts_with(names)) {
            *content.last_mut().unwrap() ^= 1;
        }
        if let Some((writes, happened)) = state.crash
            && state.writes >= writes
        {
            if happened && state.writes == writes {
                state.objects.insert(name.to_owned(), content);
                state.writes += 1;
            }
            return Err(PutError::Write(io::Error::other("crashed")));
        }
        state.objects.insert(name.to_owned(), content);
        state.writes += 1;
        Ok(())
    }

    fn remove(&mut self, names: &[String]) -> io::Result<()> {
        names.iter().for_each(|name| self.erase(name));
        Ok(())
    }

    fn claim(&self) -> Option<&str> {
        self.claim.as_deref()
    }
}
