//! Entities of one principal of an account and one key, kept while both are as they were: made anew they cost more than the
//! decision itself.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use cedar_policy::Entities;

use super::facts::AccountFacts;

/// Sets of entities that are kept. Beyond it all are dropped, and those in use come back with the next question.
const CAPACITY: usize = 1024;

/// What the entities are for beside the principal: an action's policies, and the key as it was, by their stamps.
pub(super) type Subject = (u64, u64);

/// What was made. Entities are a function of their subject and the principal's facts, so that nothing kept is ever stale: a
/// key that changes has another stamp, and a bundle that changes another engine.
#[derive(Debug, Default)]
pub(super) struct Kept(RwLock<Sets>);

#[derive(Debug, Default)]
struct Sets {
    by_subject: HashMap<Subject, HashMap<AccountFacts, Arc<Entities>>>,
    count: usize,
}

impl Kept {
    /// The entities of `subject` and `principal`, made by `make` unless they are there.
    pub(super) fn get(
        &self,
        subject: Subject,
        principal: &AccountFacts,
        make: impl FnOnce() -> Result<Entities, String>,
    ) -> Result<Arc<Entities>, String> {
        let sets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entities) = sets.by_subject.get(&subject).and_then(|of| of.get(principal)) {
            return Ok(Arc::clone(entities));
        }
        drop(sets);
        let entities = Arc::new(make()?);
        let mut sets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if sets.count >= CAPACITY {
            *sets = Sets::default();
        }
        let of = sets.by_subject.entry(subject).or_default();
        if of.insert(principal.clone(), Arc::clone(&entities)).is_none() {
            sets.count = sets.count.saturating_add(1);
        }
        Ok(entities)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::AccountKind;

    fn principal(name: &str) -> AccountFacts {
        AccountFacts {
            arn: format!("arn:aws:iam::000000000001:user/{name}"),
            tenant: "000000000001".to_owned(),
            kind: AccountKind::User,
            name: name.to_owned(),
            role: String::new(),
            session: None,
            issuer: None,
            subject: None,
        }
    }

    // R37
    #[test]
    fn each_is_made_once_and_as_many_are_kept_as_may_be() {
        let kept = Kept::default();
        let mut made = 0;
        let mut ask = |subject: Subject, name: &str| {
            let make = || {
                made += 1;
                Ok(Entities::empty())
            };
            kept.get(subject, &principal(name), make).unwrap();
            made
        };
        assert_eq!(ask((1, 1), "ada"), 1);
        assert_eq!(ask((1, 1), "ada"), 1);
        assert_eq!(ask((1, 2), "ada"), 2, "the key has changed");
        assert_eq!(ask((2, 1), "ada"), 3, "another action");
        assert_eq!(ask((1, 1), "bob"), 4, "another principal");
        for key in 0..3 * CAPACITY as u64 {
            ask((3, key), "ada");
        }
        let sets = kept.0.read().unwrap();
        let held: usize = sets.by_subject.values().map(HashMap::len).sum();
        assert!(held <= CAPACITY && held == sets.count, "{held}");
    }

    #[test]
    fn what_cannot_be_made_is_not_kept() {
        let kept = Kept::default();
        let failed = kept.get((1, 1), &principal("ada"), || Err("no".to_owned()));
        assert_eq!(failed.unwrap_err(), "no");
        kept.get((1, 1), &principal("ada"), || Ok(Entities::empty())).unwrap();
    }
}
