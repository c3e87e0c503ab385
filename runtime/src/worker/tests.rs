//! What workers do to a call. Each is this test binary, started again with a variable that turns one test into the worker.

use super::pool::Pool;
use super::*;
use crate::{
    Caller, FailureKind, Host, LoadError, LoadFailure, Payload, Plugin, PluginSource, Protocol, Request, RuleError,
    Settings, TokenRequest, Verdict,
};
use rustix::process::Signal;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const IS_WORKER: &str = "SIGNET_TEST_WORKER";

/// No test of its own: the worker.
#[test]
fn the_worker() {
    if std::env::var_os(IS_WORKER).is_some() {
        run_worker().unwrap();
        std::process::exit(0);
    }
}

fn shell(script: &str) -> Host {
    let settings = Settings {
        max_calls: 4,
        workers: Workers {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            each: 1,
        },
        ..Settings::default()
    };
    Host::new(settings).unwrap()
}

fn own() -> Host {
    let program = std::env::current_exe().unwrap();
    let test = "worker::tests::the_worker";
    shell(&format!(
        "{IS_WORKER}=1 exec '{}' --exact {test} --nocapture --quiet",
        program.display()
    ))
}

fn component(rule: &str) -> Vec<u8> {
    let world = include_str!("../../tests/hostile/world.wat");
    let memory = include_str!("../../tests/hostile/memory.wat");
    wat::parse_str(world.replace("{{memory}}", memory).replace("{{rule}}", rule)).unwrap()
}

fn load(host: &Host, name: &str) -> Result<Plugin, LoadError> {
    let wasm = component(include_str!("../../tests/hostile/good.wat"));
    let isolated = true;
    host.load(PluginSource {
        isolated,
        ..PluginSource::new(name, wasm)
    })
}

fn request() -> Request<'static> {
    let caller = Caller {
        id: "a",
        kind: "oidc",
        issuer: "b",
        subject: "c",
        attributes: vec![],
    };
    let token = TokenRequest {
        subject: None,
        audience: vec![],
        lifetime: 1,
        claims: vec![],
    };
    Request {
        profile: "p",
        key: "k",
        format: "jwt",
        tenant: "000000000001",
        caller,
        payload: Payload::Token(token),
        time: 0,
        request_id: "r",
        trace_id: None,
        source_address: "192.0.2.1",
        protocol: Protocol::Http1,
    }
}

fn workers(plugin: &Plugin) -> &Pool {
    plugin.0.workers.as_ref().unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        tokio::task::yield_now().await;
    }
}

fn kind(outcome: &Result<Verdict, RuleError>) -> Option<FailureKind> {
    match outcome {
        Err(RuleError::Failed { kind, .. }) => Some(*kind),
        _ => None,
    }
}

// R22
#[tokio::test]
async fn a_worker_killed_within_a_call_denies_that_one_and_the_next_is_served() {
    let host = own();
    let plugin = load(&host, "good").unwrap();
    assert_eq!(plugin.serve(&request(), |_| ()).await, Ok(Verdict::default()));
    for restarts in 1..=3 {
        // One that is stopped takes the call and answers nothing.
        workers(&plugin).stop();
        let asked = request();
        let mut call = pin!(plugin.serve(&asked, |_| ()));
        tokio::select! {
            biased;
            outcome = &mut call => panic!("{outcome:?}"),
            () = until("the worker has the call", || workers(&plugin).idle() == 0) => {}
        }
        workers(&plugin).signal(Signal::KILL);
        let outcome = call.await;
        assert_eq!(kind(&outcome), Some(FailureKind::Worker), "{outcome:?}");
        until("another is started", || plugin.restarts() == restarts).await;
        until("it is ready", || workers(&plugin).idle() == 1).await;
        assert_eq!(plugin.serve(&request(), |_| ()).await, Ok(Verdict::default()));
    }
    assert_eq!(plugin.metrics().worker_failed.load(Ordering::Relaxed), 3);
    assert_eq!(plugin.metrics().allowed.load(Ordering::Relaxed), 4);
}

// R22
#[tokio::test]
async fn an_idle_worker_that_dies_is_replaced_and_costs_nobody_a_call() {
    let host = own();
    let plugin = load(&host, "good").unwrap();
    for restarts in 1..=3 {
        assert_eq!(plugin.evaluate(&request()).await, Ok(Verdict::default()));
        workers(&plugin).signal(Signal::KILL);
        until("another is started", || plugin.restarts() == restarts).await;
        until("it is ready", || workers(&plugin).idle() == 1).await;
    }
    assert_eq!(plugin.evaluate(&request()).await, Ok(Verdict::default()));
}

// R22
#[tokio::test]
async fn one_that_hangs_is_killed_by_the_parents_own_deadline() {
    let host = own();
    let plugin = load(&host, "good").unwrap();
    workers(&plugin).stop();
    let outcome = plugin.evaluate(&request()).await;
    assert_eq!(kind(&outcome), Some(FailureKind::Timeout), "{outcome:?}");
    until("another is started", || plugin.restarts() == 1).await;
    until("it is ready", || workers(&plugin).idle() == 1).await;
    assert_eq!(plugin.evaluate(&request()).await, Ok(Verdict::default()));
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_worker_in_service() {
    let host = own();
    let plugin = load(&host, "good").unwrap();
    workers(&plugin).stop();
    {
        let asked = request();
        let mut call = pin!(plugin.evaluate(&asked));
        tokio::select! {
            biased;
            outcome = &mut call => panic!("{outcome:?}"),
            () = until("the worker has the call", || workers(&plugin).idle() == 0) => {}
        }
    }
    workers(&plugin).signal(Signal::CONT);
    until("it has answered nobody", || workers(&plugin).idle() == 1).await;
    assert_eq!(plugin.evaluate(&request()).await, Ok(Verdict::default()));
    assert_eq!(plugin.restarts(), 0);
}

// R22
#[tokio::test]
async fn a_worker_that_talks_nonsense_is_not_believed() {
    // Ready, and then the head of a frame of 4 GiB before anybody asked for one.
    let host = shell("printf '\\0\\0\\0\\001\\0\\377\\377\\377\\377' >&0; exec sleep 1000");
    let plugin = load(&host, "good").unwrap();
    let outcome = plugin.evaluate(&request()).await;
    assert_eq!(kind(&outcome), Some(FailureKind::Worker), "{outcome:?}");
    until("it is replaced", || plugin.restarts() == 1).await;
}

#[test]
fn a_plugin_whose_workers_are_never_ready_is_not_loaded() {
    let refused = |script: &str| load(&shell(script), "good").unwrap_err();
    let error = refused("echo canary >&2; exit 7");
    assert!(
        matches!(&error.reason, LoadFailure::Worker(why) if why.contains("exit status: 7: canary")),
        "{error}"
    );
    let missing = Settings {
        workers: Workers {
            program: "/nonexistent/signet".into(),
            ..Workers::default()
        },
        ..Settings::default()
    };
    let error = load(&Host::new(missing).unwrap(), "good").unwrap_err();
    assert!(error.to_string().contains("/nonexistent/signet"), "{error}");
}

// R22
#[test]
fn the_workers_of_a_host_are_bounded() {
    let host = own();
    let taken = host.0.seats.clone().try_acquire_many_owned(255).unwrap();
    let one = load(&host, "one").unwrap();
    let error = load(&host, "two").unwrap_err();
    assert!(matches!(error.reason, LoadFailure::TooManyWorkers(256)), "{error}");
    drop(one);
    let end = Instant::now() + Duration::from_secs(60);
    while host.0.seats.available_permits() == 0 {
        assert!(Instant::now() < end, "its worker ends with it");
        std::thread::yield_now();
    }
    load(&host, "two").unwrap();
    drop(taken);
}
