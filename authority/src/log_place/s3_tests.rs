//! The bucket's client against a server in memory, which can lose answers, refuse, and ignore what it is asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};

use super::super::tests::contract;
use super::*;

/// An S3 server, as far as a log needs one. Clones are the same.
#[derive(Clone, Debug, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    requests: usize,
    /// Writes whose answer is lost after they took effect.
    lose: usize,
    /// Requests that fail before they take effect.
    fail: usize,
    /// Conditions of writes are not looked at.
    ignores: Option<&'static str>,
    denies: bool,
    /// Somebody removed the bucket, or there never was one.
    no_bucket: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the connection broke")]
struct Broken;

fn etag(content: &[u8]) -> String {
    format!(
        "\"{}\"",
        signing::encoding::hex(&signing::digest::sha256(content)[..16])
    )
}

fn respond(status: StatusCode, content: Vec<u8>) -> HttpResponse {
    let response = http::Response::builder().status(status);
    let response = response
        .header("etag", etag(&content))
        .header("content-length", content.len());
    let response = response.header("last-modified", "Fri, 27 Nov 2026 08:00:00 GMT");
    response.body(content.into()).unwrap()
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn bucket(&self) -> Bucket {
        let config = S3Config {
            bucket: "logs".into(),
            prefix: "a/b".into(),
            endpoint: Some("https://s3.test".into()),
            ..S3Config::default()
        };
        let credentials = |name: &str| name.starts_with("AWS_").then(|| "x".to_owned());
        let builder = builder(&config, credentials).unwrap().with_http_connector(self.clone());
        Bucket::on(Arc::new(builder.build().unwrap()), &config).unwrap()
    }
}

impl State {
    fn put(&mut self, name: String, head: &http::HeaderMap, content: Vec<u8>) -> StatusCode {
        let there = self.objects.get(&name).map(|content| etag(content));
        let asked = |name: &str| {
            head.get(name)
                .filter(|_| self.ignores != Some("all") && self.ignores != Some(name))
        };
        let holds = match (asked("if-none-match"), asked("if-match"), there) {
            (Some(_), _, there) => there.is_none(),
            (_, Some(etag), there) => there.as_deref() == etag.to_str().ok(),
            _ => true,
        };
        match holds {
            true => drop(self.objects.insert(name, content)),
            false => return StatusCode::PRECONDITION_FAILED,
        }
        StatusCode::OK
    }

    /// Of a `DeleteObjects` request.
    fn delete(&mut self, body: &[u8]) -> Vec<u8> {
        let body = String::from_utf8(body.to_vec()).unwrap();
        let mut answer = String::from("<DeleteResult>");
        for key in body.split("<Key>").skip(1) {
            let key = key.split("</Key>").next().unwrap();
            self.objects.remove(&format!("/logs/{key}"));
            answer += &format!("<Deleted><Key>{key}</Key></Deleted>");
        }
        (answer + "</DeleteResult>").into_bytes()
    }
}

impl HttpConnector for Server {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Server {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        assert!(head.headers.contains_key("authorization"), "every request is signed");
        let name = head.uri.path().to_owned();
        let mut state = self.state();
        state.requests += 1;
        let broken = || Err(HttpError::new(HttpErrorKind::Interrupted, Broken));
        if state.fail > 0 {
            state.fail -= 1;
            return broken();
        }
        if state.denies {
            return Ok(respond(
                StatusCode::FORBIDDEN,
                b"<Error><Code>AccessDenied</Code></Error>".to_vec(),
            ));
        }
        if state.no_bucket {
            let body = b"<Error><Code>NoSuchBucket</Code></Error>".to_vec();
            return Ok(respond(StatusCode::NOT_FOUND, body));
        }
        let answer = match head.method {
            Method::GET => match state.objects.get(&name) {
                Some(content) => respond(StatusCode::OK, content.clone()),
                None => respond(StatusCode::NOT_FOUND, Vec::new()),
            },
            Method::PUT => respond(state.put(name, &head.headers, body), Vec::new()),
            Method::POST => respond(StatusCode::OK, state.delete(&body)),
            method => panic!("{method} {name}"),
        };
        if state.lose > 0 && head.method == Method::PUT {
            state.lose -= 1;
            return broken();
        }
        Ok(answer)
    }
}

#[test]
fn a_bucket_keeps_the_contract_and_everything_is_under_its_prefix() {
    let server = Server::default();
    contract(&mut server.bucket().writer().unwrap());
    let state = server.state();
    assert!(
        state.objects.keys().all(|name| name.starts_with("/logs/a/b/")),
        "{:?}",
        state.objects.keys()
    );
}

#[test]
fn a_write_whose_answer_is_lost_is_made_again_without_harm() {
    let server = Server::default();
    let mut objects = server.bucket().writer().unwrap();
    for (name, lost) in [("pack/001", 1), ("pack/002", 4)] {
        server.state().lose = lost;
        // The conditional one is not sent again by the client, which cannot know.
        while let Err(error) = objects.create(name, b"one") {
            assert!(matches!(error, PutError::Write(_)), "{error:?}");
        }
        assert!(matches!(objects.create(name, b"two"), Err(PutError::Taken)));
    }
    server.state().lose = 1;
    assert!(matches!(
        objects.swap("checkpoint", None, b"1"),
        Err(PutError::Write(_))
    ));
    objects.swap("checkpoint", None, b"1").unwrap();
    server.state().lose = 1;
    assert!(matches!(
        objects.swap("checkpoint", Some(b"1"), b"2"),
        Err(PutError::Write(_))
    ));
    // Whoever does not know that it happened, and has something newer by now, finds something else than it wrote.
    assert!(matches!(
        objects.swap("checkpoint", Some(b"1"), b"3"),
        Err(PutError::Taken)
    ));
    objects.swap("checkpoint", Some(b"2"), b"3").unwrap();
    assert_eq!(objects.get("checkpoint").unwrap().unwrap(), b"3");
}

#[test]
fn of_two_writers_one_is_refused_between_any_two_requests() {
    let server = Server::default();
    let mut first = server.bucket().writer().unwrap();
    let mut second = server.bucket().writer().unwrap();
    assert_ne!(first.claim(), second.claim());
    assert_eq!(first.bucket.reader().claim(), None);
    first.create("pack/001", b"first").unwrap();
    assert!(matches!(second.create("pack/001", b"second"), Err(PutError::Taken)));
    first.swap("checkpoint", None, b"1").unwrap();
    second.swap("checkpoint", Some(b"1"), b"2").unwrap();
    assert!(matches!(
        first.swap("checkpoint", Some(b"1"), b"1a"),
        Err(PutError::Taken)
    ));
    assert!(matches!(first.swap("checkpoint", None, b"1a"), Err(PutError::Taken)));
}

#[test]
fn a_server_that_ignores_a_condition_is_not_written_to() {
    for (ignored, named) in [
        ("all", "If-None-Match"),
        ("if-none-match", "If-None-Match"),
        ("if-match", "If-Match"),
    ] {
        let server = Server::default();
        server.state().ignores = Some(ignored);
        let refused = server.bucket().writer().err().unwrap().to_string();
        assert!(
            refused.contains(named) && refused.contains("two authorities"),
            "{refused}"
        );
    }
}

#[test]
fn what_fails_is_tried_again_so_often_and_says_where_it_was() {
    let server = Server::default();
    let mut objects = server.bucket().writer().unwrap();
    objects.put("chains", b"x").unwrap();
    server.state().fail = RETRIES;
    assert_eq!(objects.get("chains").unwrap().unwrap(), b"x");
    server.state().fail = usize::MAX;
    server.state().requests = 0;
    let error = objects.get("chains").unwrap_err().to_string();
    assert!(
        error.contains("s3://logs/a/b") && error.contains("the connection broke"),
        "{error}"
    );
    assert_eq!(server.state().requests, RETRIES + 1);
    server.state().fail = 0;
    server.state().denies = true;
    let error = objects.get("chains").unwrap_err().to_string();
    assert!(error.contains("ListBucket") && !error.contains('\n'), "{error}");
}

// An object that is not there is a log that may begin; a bucket that is not there is a mistake, and no other writer's work either.
#[test]
fn a_missing_bucket_is_told_as_one() {
    let server = Server::default();
    let mut objects = server.bucket().writer().unwrap();
    objects.swap("checkpoint", None, b"1").unwrap();
    server.state().no_bucket = true;
    let opened = server.bucket().writer().err().unwrap().to_string();
    assert!(
        opened.starts_with("`s3://logs/a/b`: there is no bucket `logs`") && opened.contains("make it"),
        "{opened}"
    );
    let place = crate::log_place::LogPlace::Bucket(server.bucket());
    let read = place.view(None).err().unwrap().to_string();
    assert!(
        read.contains("no bucket `logs`") && !read.contains("checkpoint"),
        "{read}"
    );
    assert!(objects.get("checkpoint").is_err());
    for put in [
        objects.create("pack/001", b"a"),
        objects.swap("checkpoint", Some(b"1"), b"2"),
        objects.put("chains", b"a"),
    ] {
        let Err(PutError::Write(error)) = put else {
            panic!("{put:?}");
        };
        assert!(error.to_string().contains("no bucket `logs`"), "{error}");
    }
    server.state().no_bucket = false;
    objects.swap("checkpoint", Some(b"1"), b"2").unwrap();
}

#[test]
fn a_bucket_is_let_go_of_on_any_thread() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::default();
    runtime.block_on(async {
        let bucket = server.bucket();
        // Waits, and ends a runtime, where neither is allowed to tokio's own.
        assert_eq!(bucket.reader().get("none").unwrap(), None);
        drop(bucket);
    });
}

#[test]
fn without_a_region_or_an_endpoint_nobody_is_asked() {
    let config = S3Config {
        bucket: "logs".into(),
        ..S3Config::default()
    };
    let error = builder(&config, |_| None).unwrap_err();
    assert_eq!(error.0, "audit.log.s3.region");
    assert!(builder(&config, |name| (name == "AWS_REGION").then(|| "eu-1".into())).is_ok());
}
