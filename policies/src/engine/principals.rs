//! Principals of callers that were verified already, so that what a caller's facts settle is found once.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::facts::{CallerFacts, Principal};

/// A bounded set of principals, each kept with the verified caller it was made of (any type `T`). The caller is told
/// apart by its allocation, which the set keeps alive: two callers never share a principal.
///
/// Whether the caller is still valid is for whoever hands it in: ask for its expiry at each use (R19).
#[derive(Debug)]
pub struct Principals<T> {
    kept: RwLock<HashMap<usize, Kept<T>>>,
    most: usize,
}

#[derive(Debug)]
struct Kept<T> {
    /// Never read: it keeps the address from being given to another caller.
    _caller: Arc<T>,
    principal: Arc<Principal>,
}

impl<T> Principals<T> {
    /// Keeps at most `most` principals; when full it forgets all of them and begins anew.
    pub fn new(most: usize) -> Self {
        Self {
            kept: RwLock::default(),
            most,
        }
    }

    /// The principal of `caller`, made with `facts` if it is not kept.
    pub fn of(&self, caller: &Arc<T>, facts: impl FnOnce(&T) -> CallerFacts) -> Arc<Principal> {
        let address = Arc::as_ptr(caller).addr();
        if let Some(found) = self.kept.read().unwrap_or_else(PoisonError::into_inner).get(&address) {
            return Arc::clone(&found.principal);
        }
        let principal = Arc::new(Principal::new(facts(caller)));
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= self.most {
            kept.clear();
        }
        kept.insert(
            address,
            Kept {
                _caller: Arc::clone(caller),
                principal: Arc::clone(&principal),
            },
        );
        principal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sample;

    #[test]
    fn a_caller_keeps_its_principal_until_the_set_is_full() {
        let principals = Principals::new(2);
        let caller = Arc::new("one");
        let first = principals.of(&caller, |_| sample::caller());
        assert!(Arc::ptr_eq(&first, &principals.of(&caller, |_| panic!("made twice"))));
        for name in ["two", "three"] {
            let other = principals.of(&Arc::new(name), |_| sample::caller());
            assert!(!Arc::ptr_eq(&first, &other));
        }
        assert!(principals.kept.read().unwrap().len() <= 2);
        assert!(!Arc::ptr_eq(&first, &principals.of(&caller, |_| sample::caller())));
    }
}
