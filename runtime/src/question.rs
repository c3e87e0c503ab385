//! What one call of a plugin is about, and what it answers before any of it is believed: one request and one answer, or several of a
//! batch and as many answers. The forms that are owned are read from a frame, of threads or of a process.

use crate::failure::{FailureKind, RuleError};
use crate::request::{Payload, Request};
use crate::verdict::{self, RawRefusal, RawVerdict, Verdict};
use serde::{Deserialize, Serialize};

/// Requests of one call of `evaluate-batch`.
pub const MAX_BATCH: usize = 16;

/// What a plugin is asked.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum Question<'a> {
    /// By `evaluate`.
    One(&'a Request<'a>),
    /// By `evaluate-batch`. None where nobody asks: an instance is only started.
    Many(&'a [Request<'a>]),
}

/// A question as it is read where a [`Question`] was written.
#[derive(Debug, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "there is one, on the stack of its call")]
pub(crate) enum Asked<'a> {
    One(#[serde(borrow)] Request<'a>),
    Many(#[serde(borrow)] Vec<Request<'a>>),
}

impl Asked<'_> {
    pub(crate) fn question(&self) -> Question<'_> {
        match self {
            Asked::One(request) => Question::One(request),
            Asked::Many(requests) => Question::Many(requests),
        }
    }
}

impl<'a> Question<'a> {
    /// How many requests it is about: a call has the bounds of one request so many times, and of one where there is none.
    pub(crate) fn requests(&self) -> u32 {
        match self {
            Question::One(_) => 1,
            Question::Many(requests) => u32::try_from(requests.len()).unwrap_or(u32::MAX).max(1),
        }
    }

    /// The request that the call is known by. All of a batch have the same time.
    pub(crate) fn first(&self) -> Option<&'a Request<'a>> {
        match self {
            Question::One(request) => Some(request),
            Question::Many(requests) => requests.first(),
        }
    }

    /// When it was asked, in Unix seconds.
    pub(crate) fn time(&self) -> u64 {
        self.first().map_or(0, |request| request.time)
    }
}

/// An answer to one request, as a guest lays it out.
pub(crate) type Raw = Result<RawVerdict, RawRefusal>;

/// What a plugin answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    One(Raw),
    Many(Vec<Raw>),
}

impl Answer {
    /// The verdict about one request.
    pub(crate) fn about(self, request: &Request<'_>) -> Result<Verdict, RuleError> {
        match self {
            Answer::One(raw) => check(raw, request),
            Answer::Many(_) => Err(other_function()),
        }
    }

    /// The verdicts and refusals about several. One that is out of bounds spoils them all: who does not keep to the interface for
    /// one of them is not believed about the others.
    pub(crate) fn about_all(self, requests: &[Request<'_>]) -> Result<Vec<Result<Verdict, RuleError>>, RuleError> {
        let Answer::Many(raw) = self else {
            return Err(other_function());
        };
        if raw.len() != requests.len() {
            let (answers, asked) = (raw.len(), requests.len());
            return Err(RuleError::bad_output(format!("{answers} answers to {asked} requests")));
        }
        let checked = raw
            .into_iter()
            .zip(requests)
            .map(|(raw, request)| match check(raw, request) {
                Err(failed @ RuleError::Failed { .. }) => Err(failed),
                answer => Ok(answer),
            });
        checked.collect()
    }
}

fn check(raw: Raw, request: &Request<'_>) -> Result<Verdict, RuleError> {
    verdict::check(raw, matches!(request.payload, Payload::Token(_)))
}

/// Only a worker that was taken over answers so.
fn other_function() -> RuleError {
    RuleError::failed(
        FailureKind::Worker,
        "its worker answers another function than was called",
    )
}
