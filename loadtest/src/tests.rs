mod server;

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use rustls::RootCertStore;
use signing::key::Secret;

use crate::{LoadError, Options, Protocol, Report, Until, http3, run};
use server::Server;

fn options(server: &Server, protocol: Protocol, profile: &str) -> Options {
    Options {
        url: server.https.clone(),
        profile: profile.to_owned(),
        token: Secret::new(b"caller-token".to_vec()),
        protocol,
        connections: 3,
        until: Until::Requests(200),
        body: r#"{"subject":"load"}"#.to_owned(),
        ca_file: Some(server.ca_file()),
        verify_every: 10,
        jwks_url: None,
    }
}

fn check(report: &Report) {
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.requests, report.answered()), (200, 200));
    assert_eq!(report.verified.as_ref().unwrap().valid, 20);
    assert!(report.rate > 0.0 && report.p50_us > 0);
    let row = [
        report.p50_us,
        report.p90_us,
        report.p99_us,
        report.p999_us,
        report.max_us,
    ];
    assert!(row.is_sorted(), "{row:?}");
}

#[tokio::test]
async fn all_three_protocols_mint_and_the_sample_verifies() {
    let server = Server::start().await;
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Http3] {
        let report = run(options(&server, protocol, "good")).await.unwrap();
        check(&report);
        assert_eq!(report.protocol, protocol.as_str());
    }
    assert_eq!(server.seen(), ["http/1.1", "h2", "h3"]);
}

#[tokio::test]
async fn connections_are_kept_alive() {
    let server = Server::start().await;
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Http3] {
        run(options(&server, protocol, "good")).await.unwrap();
    }
    assert_eq!(server.peers(), 9, "three connections a protocol");
}

#[tokio::test]
async fn cleartext_speaks_http1_and_http2() {
    let server = Server::start().await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let plain = Options {
            url: server.http.clone(),
            ca_file: None,
            ..options(&server, protocol, "good")
        };
        check(&run(plain).await.unwrap());
    }
    let plain = Options {
        url: server.http.clone(),
        ..options(&server, Protocol::Http3, "good")
    };
    assert!(matches!(run(plain).await, Err(LoadError::Url { .. })));
}

#[tokio::test]
async fn forged_tokens_are_found() {
    let server = Server::start().await;
    let report = run(options(&server, Protocol::Http1, "forged")).await.unwrap();
    let sample = report.verified.as_ref().unwrap();
    assert_eq!((sample.valid, sample.invalid.values().sum::<u64>()), (0, 20));
    assert!(!report.is_clean());
    assert!(report.to_string().contains("20 invalid: "), "{report}");
}

#[tokio::test]
async fn refusals_count_by_their_code() {
    let server = Server::start().await;
    let refused = Options {
        verify_every: 0,
        ..options(&server, Protocol::Http2, "refused")
    };
    let report = run(refused).await.unwrap();
    assert_eq!(report.errors.get("policy_denied"), Some(&200));
    assert_eq!(
        (report.answered(), report.p50_us, report.verified.is_none()),
        (0, 0, true)
    );
    let odd = Options {
        verify_every: 0,
        ..options(&server, Protocol::Http3, "odd")
    };
    assert_eq!(run(odd).await.unwrap().errors.get("http_500"), Some(&200));
    let value: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(value["errors"]["policy_denied"], 200);
}

#[tokio::test]
async fn an_answer_without_a_token_is_an_error_where_tokens_are_verified() {
    let server = Server::start().await;
    let error = run(options(&server, Protocol::Http1, "empty")).await.unwrap_err();
    assert!(matches!(error, LoadError::Jwks(_)), "{error}");
}

#[tokio::test]
async fn a_key_set_that_cannot_be_had_is_an_error() {
    let server = Server::start().await;
    let jwks_url = Some(format!("{}/nowhere", server.http));
    let error = run(Options {
        jwks_url,
        ..options(&server, Protocol::Http1, "good")
    })
    .await
    .unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
}

#[tokio::test]
async fn a_run_by_time_ends() {
    let server = Server::start().await;
    let until = Until::Elapsed(Duration::from_millis(200));
    let report = run(Options {
        until,
        ..options(&server, Protocol::Http1, "good")
    })
    .await
    .unwrap();
    assert!(
        report.is_clean() && report.requests > 0 && report.seconds >= 0.2,
        "{report}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_counts_as_errors() {
    let server = Server::start().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let until = Until::Requests(3);
    let report = run(Options {
        url,
        until,
        verify_every: 0,
        ..options(&server, Protocol::Http1, "good")
    })
    .await;
    assert_eq!(report.unwrap().errors.get("connect"), Some(&3));
}

#[tokio::test]
async fn a_server_under_another_authority_is_not_believed() {
    let (server, other) = (Server::start().await, Server::start().await);
    for protocol in [Protocol::Http1, Protocol::Http2, Protocol::Http3] {
        let until = Until::Requests(3);
        let ca_file = Some(other.ca_file());
        let options = Options {
            ca_file,
            until,
            verify_every: 0,
            ..options(&server, protocol, "good")
        };
        assert_eq!(
            run(options).await.unwrap().errors.get("connect"),
            Some(&3),
            "{protocol:?}"
        );
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn bad_options_are_refused() {
    let server = Server::start().await;
    let good = || options(&server, Protocol::Http1, "good");
    let bad = [
        Options {
            connections: 0,
            ..good()
        },
        Options {
            connections: 5000,
            ..good()
        },
        Options {
            token: Secret::new(b"line\nbreak".to_vec()),
            ..good()
        },
        Options {
            url: "nowhere".into(),
            ..good()
        },
        Options {
            profile: "a b".into(),
            ..good()
        },
        Options {
            ca_file: Some("/does/not/exist".into()),
            ..good()
        },
    ];
    for options in bad {
        let shown = format!("{options:?}");
        let error = run(options).await.unwrap_err().to_string();
        assert!(
            !shown.contains("line") && !error.contains("line\nbreak"),
            "R10: {shown} {error}"
        );
    }
    assert!(server.seen().is_empty());
    assert!("h4".parse::<Protocol>().is_err());
}

fn get(url: String) -> http3::Request {
    http3::Request {
        method: Method::GET,
        url,
        headers: http::HeaderMap::new(),
        body: Bytes::new(),
    }
}

#[tokio::test]
async fn one_request_over_http3() {
    let server = Server::start().await;
    let (url, roots) = (format!("{}/i/test/.well-known/jwks.json", server.https), server.roots());
    let answer = http3::once(get(url), roots, Duration::from_secs(30), 1 << 20)
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.body().starts_with(b"{\"keys\":"));
    assert_eq!(server.seen(), ["h3"]);
}

#[tokio::test]
async fn one_request_over_http3_is_bounded() {
    let server = Server::start().await;
    let url = format!("{}/i/test/.well-known/jwks.json", server.https);
    let large = http3::once(get(url.clone()), server.roots(), Duration::from_secs(30), 10).await;
    assert!(
        matches!(large, Err(LoadError::TooLarge { max_bytes: 10, .. })),
        "{large:?}"
    );
    let late = http3::once(
        get(format!("{}/never", server.https)),
        server.roots(),
        Duration::from_millis(300),
        10,
    )
    .await;
    assert!(matches!(late, Err(LoadError::Timeout { .. })), "{late:?}");
    let strange = http3::once(get(url), RootCertStore::empty(), Duration::from_secs(30), 10).await;
    assert!(matches!(strange, Err(LoadError::Connect { .. })), "{strange:?}");
}

#[tokio::test]
async fn the_floor_of_the_bench_answers() {
    let (send, receive) = tokio::sync::oneshot::channel();
    let floor = tokio::spawn(crate::bench::floor::serve(|address| send.send(address).unwrap()));
    let url = format!("http://{}", receive.await.unwrap());
    let server = Server::start().await;
    let body = r#"{"subject":"a","audience":"b","lifetime":60}"#.to_owned();
    let asked = Options {
        url: url.clone(),
        body,
        verify_every: 0,
        ..options(&server, Protocol::Http1, "bench")
    };
    let report = run(asked).await.unwrap();
    assert!(report.is_clean() && report.answered() == 200, "{report}");
    let broken = Options {
        url,
        body: "{}".to_owned(),
        verify_every: 0,
        ..options(&server, Protocol::Http1, "bench")
    };
    assert_eq!(run(broken).await.unwrap().errors.get("http_400"), Some(&200));
    floor.abort();
}
