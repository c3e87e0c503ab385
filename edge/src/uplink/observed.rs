//! A channel that says how its calls ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::transport::{Channel, Error};
use tower::Service;

use super::choice::Choice;

/// The channel to one authority. Calls that are not answered, or given up by who waits, tell the choice among them.
#[derive(Clone, Debug)]
pub struct Observed {
    channel: Channel,
    choice: Arc<Choice>,
    number: usize,
}

impl Observed {
    pub(super) fn new(channel: Channel, choice: Arc<Choice>, number: usize) -> Self {
        Self {
            channel,
            choice,
            number,
        }
    }
}

impl Service<Request<Body>> for Observed {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = self.channel.call(request);
        let waiting = Waiting {
            choice: self.choice.clone(),
            number: self.number,
            is_answered: false,
        };
        Box::pin(async move {
            let answer = call.await;
            waiting.end(answer.as_ref().is_ok_and(is_answer));
            answer
        })
    }
}

/// A call under way; dropped before it was answered, it has failed.
struct Waiting {
    choice: Arc<Choice>,
    number: usize,
    is_answered: bool,
}

impl Waiting {
    fn end(mut self, is_answered: bool) {
        self.is_answered = is_answered;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_answered {
            self.choice.answered(self.number);
        } else {
            self.choice.failed(self.number);
        }
    }
}

/// Whatever the authority decided; not that it cannot decide now (`Unavailable`, in the head of an answer without messages).
fn is_answer(response: &Response<Body>) -> bool {
    let status = response.headers().get("grpc-status");
    status.is_none_or(|status| status.as_bytes() != b"14")
}
