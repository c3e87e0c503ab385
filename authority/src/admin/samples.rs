//! `GET /v1/samples?from=N`: sealed samples of requests, a page at a time.

use bytes::Bytes;
use http::{Response, StatusCode};
use node::problem::Problem;
use policies::engine::{AdminAction, AdminResource};
use serde_json::json;

use super::answer::{self, Failure};
use super::{Admin, Decisions, parameter};

impl Admin {
    pub(super) async fn read_samples(
        &self,
        decisions: &Decisions,
        query: Option<&str>,
    ) -> Result<Response<Bytes>, Failure> {
        decisions.allow(AdminAction::ReadSamples, AdminResource::Authority)?;
        let from = parameter(query, "from", &[])?;
        let from = from.map_or(Ok(0), |from| from.parse::<u64>());
        let from = from.map_err(|_| Problem::new("bad_request", "`from` is a whole number, as `next` of a page"))?;
        let samples = self.samples.clone();
        let read = tokio::task::spawn_blocking(move || {
            samples.trim();
            samples.page(from)
        });
        let page = read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let (batches, next) = page.map_err(|error| Problem::internal(error.to_string()))?;
        answer::json(StatusCode::OK, &json!({ "batches": batches, "next": next }))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use signing::digest::sha256;
    use signing::encoding::hex;

    use super::super::AdminToken;
    use crate::testing::{self, Bench};

    #[tokio::test]
    async fn samples_are_for_operators_and_whoever_asked_is_on_record() {
        let bench = Bench::new().await;
        let mut admin = bench.admin().await;
        let recorder = admin.recorder.clone();
        admin.token = AdminToken::new(&hex(&sha256(b"token"))).unwrap();
        let ask = async |method: &str, path: &str, token: &str| {
            let request = Request::builder().method(method).uri(path);
            let request = request.header("authorization", format!("Bearer {token}"));
            let (head, ()) = request.body(()).unwrap().into_parts();
            admin.status(&head, b"").await
        };
        assert_eq!(ask("GET", "/v1/samples", "token").await, 200);
        assert_eq!(ask("GET", "/v1/samples?from=7", "token").await, 200);
        assert_eq!(ask("GET", "/v1/samples?from=-1", "token").await, 400);
        assert_eq!(ask("GET", "/v1/samples?form=7", "token").await, 400);
        assert_eq!(ask("POST", "/v1/samples", "token").await, 405);
        assert_eq!(ask("GET", "/v1/samples", "other").await, 401);
        tokio::task::spawn_blocking(move || recorder.close()).await.unwrap();
        let tail = audit::read::tail(&testing::config(bench.dir()).audit_dir(), false).unwrap();
        let records = tail.map(|record| record.unwrap().to_json());
        let asked: Vec<_> = records
            .filter(|record| record.contains("\"admin:ReadSamples\""))
            .collect();
        assert_eq!(asked.len(), 4, "two pages, and two that were refused: {asked:?}");
    }
}
