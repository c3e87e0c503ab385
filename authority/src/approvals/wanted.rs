//! What somebody wants to do, as approvals compare it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::record::{Approval, Domain};
use crate::fault::Fault;

/// Bytes of a request's parameters: the largest key policy, escaped.
const MAX_PARAMETERS: usize = 200 * 1024;

/// A request's parameters: names and values, in the one form that is signed.
#[derive(Clone, Debug, Default)]
pub struct Parameters(BTreeMap<&'static str, Value>);

impl Parameters {
    /// With one more. Values are texts, whole numbers, flags, and lists of these.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.insert(name, value.into());
        self
    }

    /// A JSON object, members sorted by name, without white space.
    fn text(&self) -> Result<String, Fault> {
        let text = serde_json::to_string(&self.0);
        text.map_err(|error| Fault::internal(format!("parameters cannot be written: {error}")))
    }
}

/// What somebody wants to do. The same again is what is equal in all but its lifetime.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Whose approvers it takes.
    pub domain: &'a Domain,
    /// Of the resource; empty where there is none.
    pub region: &'a str,
    /// The verb.
    pub operation: &'a str,
    /// An ARN, or what else names the thing.
    pub resource: &'a str,
    /// Everything else that matters to the effect.
    pub parameters: Parameters,
    /// A principal's ARN, or `operator:ID`.
    pub requester: &'a str,
    /// Seconds for which a new request waits; none: as the domain's safeguards say.
    pub lifetime: Option<u64>,
}

impl Wanted<'_> {
    /// Whether a stored request asked for this.
    pub(super) fn is(&self, asked: &Approval) -> bool {
        (&asked.domain, asked.region.as_str(), asked.operation.as_str()) == (self.domain, self.region, self.operation)
            && (asked.resource.as_str(), asked.requester.as_str()) == (self.resource, self.requester)
            && self.parameters.text().is_ok_and(|text| text == asked.parameters)
    }

    /// The request that is stored.
    pub(super) fn request(&self, id: String, created_at: u64, expires_at: u64) -> Result<Approval, Fault> {
        let parameters = self.parameters.text()?;
        if parameters.len() > MAX_PARAMETERS {
            let message = format!("a request that waits for approval has at most {MAX_PARAMETERS} bytes of parameters");
            return Err(Fault::invalid("bad_request", message));
        }
        Ok(Approval {
            id,
            domain: self.domain.clone(),
            region: self.region.to_owned(),
            operation: self.operation.to_owned(),
            resource: self.resource.to_owned(),
            parameters,
            requester: self.requester.to_owned(),
            created_at,
            expires_at,
            given: Vec::new(),
            ended: None,
        })
    }
}
