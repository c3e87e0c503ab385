//! One statement, and whether it is about a request.

use super::Effect;
use super::condition::Condition;
use super::context::Facts;
use super::principal::{Reach, Who};
use super::template::{ActionPattern, ResourcePattern};

/// What all have to agree for a statement to apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// Its `Sid`, or `#` and its place from 1.
    pub name: String,
    pub effect: Effect,
    pub who: Who,
    pub actions: Listed<ActionPattern>,
    pub resources: Listed<ResourcePattern>,
    pub conditions: Vec<Condition>,
}

/// An element, or its `Not…` form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listed<T> {
    In(Vec<T>),
    NotIn(Vec<T>),
}

impl Statement {
    /// How the statement reaches the caller, none when it does not apply. `action` in lower case.
    pub(super) fn applies(&self, action: &str, facts: &Facts<'_>) -> Option<Reach> {
        let acted = match &self.actions {
            Listed::In(actions) => actions.iter().any(|own| own.fits(action)),
            Listed::NotIn(actions) => !actions.iter().any(|own| own.fits(action)),
        };
        let holds = acted
            && self.has_resource(facts)
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(self.effect, facts));
        if holds { self.who.reach(facts) } else { None }
    }

    /// A resource with a variable that has no value matches nothing (IAM User Guide, variables); behind `NotResource` an
    /// `Allow` does not apply then, since what it leaves out is not known.
    fn has_resource(&self, facts: &Facts<'_>) -> bool {
        let resource = facts.request.resource;
        match &self.resources {
            Listed::In(own) => own.iter().any(|own| own.fits(resource, facts) == Some(true)),
            Listed::NotIn(own) => own.iter().all(|own| match own.fits(resource, facts) {
                Some(fits) => !fits,
                None => self.effect == Effect::Deny,
            }),
        }
    }
}
