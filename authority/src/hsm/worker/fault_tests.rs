//! R27: a token or a worker that hangs, crashes, forgets or babbles costs the calls in progress and nothing else.

use std::path::Path;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::super::testing;
use super::*;

/// A worker with one session, a root and a key.
async fn ready(directory: &Path) -> (Arc<Worker>, WrappedKey) {
    let worker = testing::impatient(directory).await;
    worker.ensure_root(RootRole::Delegations).await.unwrap();
    let key = worker.generate_wrapped(EcCurve::P256).await.unwrap();
    (Arc::new(worker), key)
}

fn signal(process_id: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(process_id).unwrap()).unwrap(), signal).unwrap();
}

async fn signs(worker: &Worker, key: &WrappedKey) {
    let signature = worker.sign_wrapped(key, b"x").await.unwrap();
    Prehashed::of(key.curve, b"x")
        .verify(&key.spki_der, &signature)
        .unwrap();
}

/// Polls until the process has stopped, as the kernel shows it.
async fn until_stopped(process_id: u32) {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap();
        if stat.rsplit_once(") ").unwrap().1.starts_with('T') {
            return;
        }
        tokio::task::yield_now().await;
    }
}

// R27
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_worker_is_killed_at_the_deadline_and_the_next_call_works() {
    let directory = tempfile::tempdir().unwrap();
    let (worker, key) = ready(directory.path()).await;
    let hung = worker.process_id().unwrap();
    signal(hung, Signal::STOP);
    until_stopped(hung).await;

    let before = Instant::now();
    let error = worker.sign_wrapped(&key, b"x").await.unwrap_err();
    assert_eq!(error.kind, HsmErrorKind::Unavailable);
    assert!(error.detail.contains("did not answer within 2s"), "{error}");
    assert!(before.elapsed() >= Duration::from_secs(2));

    signs(&worker, &key).await;
    assert_ne!(worker.process_id().unwrap(), hung);
    assert!(
        !Path::new(&format!("/proc/{hung}")).exists(),
        "the hung worker was neither killed nor reaped"
    );
}

// R27
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_in_the_middle_of_a_call_fails_that_call_and_the_next_works() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = testing::softhsm_config(directory.path()).await;
    config.deadline = Duration::from_secs(60);
    let worker = Arc::new(Worker::start(config).await.unwrap());
    worker.ensure_root(RootRole::Delegations).await.unwrap();
    let key = worker.generate_wrapped(EcCurve::P384).await.unwrap();

    let killed = worker.process_id().unwrap();
    signal(killed, Signal::STOP);
    until_stopped(killed).await;
    let call = tokio::spawn({
        let (worker, key) = (Arc::clone(&worker), key.clone());
        async move { worker.sign_wrapped(&key, b"x").await }
    });
    while worker.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    signal(killed, Signal::KILL);

    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.kind, HsmErrorKind::Unavailable);
    assert!(
        error.detail.contains("ended") && error.detail.contains("signal: 9"),
        "{error}"
    );
    signs(&worker, &key).await;
    assert_ne!(worker.process_id().unwrap(), killed);
}

// R27
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_again_and_again_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let (worker, key) = ready(directory.path()).await;
    for _ in 0..5 {
        signal(worker.process_id().unwrap(), Signal::KILL);
        loop {
            match worker.sign_wrapped(&key, b"x").await {
                Ok(_) => break,
                Err(error) => assert_eq!(error.kind, HsmErrorKind::Unavailable, "{error}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_ends_within_twice_the_deadline_when_the_only_session_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let (worker, key) = ready(directory.path()).await;
    let hung = worker.process_id().unwrap();
    signal(hung, Signal::STOP);
    until_stopped(hung).await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (worker, key) = (Arc::clone(&worker), key.clone());
            tokio::spawn(async move { worker.sign_wrapped(&key, b"x").await })
        })
        .collect();
    let mut failed = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_eq!(error.kind, HsmErrorKind::Unavailable, "{error}");
            failed += 1;
        }
    }
    assert!(failed >= 1, "the call that met the hung worker cannot have succeeded");
    signs(&worker, &key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_caller_has_gone_harms_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (worker, key) = ready(directory.path()).await;
    let process = worker.process_id();
    for _ in 0..20 {
        let abandoned = tokio::spawn({
            let (worker, key) = (Arc::clone(&worker), key.clone());
            async move { worker.sign_wrapped(&key, b"abandoned").await }
        });
        abandoned.abort();
        signs(&worker, &key).await;
    }
    assert_eq!(worker.process_id(), process);
}

// R27: CKR_OBJECT_HANDLE_INVALID, CKR_KEY_HANDLE_INVALID and CKR_USER_NOT_LOGGED_IN from a token that was restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_login_is_mended_inside_the_worker() {
    let directory = tempfile::tempdir().unwrap();
    let (worker, key) = ready(directory.path()).await;
    let process = worker.process_id();
    let sealed = worker.seal(&Secret::new(b"secret".to_vec()), b"row").await.unwrap();
    for _ in 0..3 {
        worker.call(Call::LoseLogin).await.unwrap();
        signs(&worker, &key).await;
        worker.call(Call::LoseLogin).await.unwrap();
        worker.sign_root(RootRole::Delegations, b"x").await.unwrap();
        worker.call(Call::LoseLogin).await.unwrap();
        assert!(worker.unseal(&sealed, b"row").await.unwrap().matches(b"secret"));
        worker.call(Call::LoseLogin).await.unwrap();
        worker.ensure_root(RootRole::Nodes).await.unwrap();
        worker.call(Call::LoseLogin).await.unwrap();
        worker.healthy().await.unwrap();
    }
    assert_eq!(
        worker.process_id(),
        process,
        "the worker was restarted instead of its session"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_module_prints_does_not_reach_the_protocol() {
    let directory = tempfile::tempdir().unwrap();
    let (worker, key) = ready(directory.path()).await;
    let process = worker.process_id();
    worker.call(Call::PrintNoise).await.unwrap();
    signs(&worker, &key).await;
    assert_eq!(worker.process_id(), process);
}

// R10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_sees_little_of_its_environment_and_shows_no_pin() {
    let directory = tempfile::tempdir().unwrap();
    let (worker, _) = ready(directory.path()).await;
    let Answer::Bytes(names) = worker.call(Call::Environment).await.unwrap() else {
        panic!("another answer")
    };
    let names = String::from_utf8(names).unwrap();
    for name in names.split_whitespace() {
        assert!(
            ["SOFTHSM2_CONF", "SIGNET_TEST_HSM_WORKER", "RUST_LOG", "RUST_BACKTRACE"].contains(&name),
            "{name}"
        );
    }
    let pin = std::fs::read_to_string(directory.path().join("pin")).unwrap();
    let process = worker.process_id().unwrap();
    for file in ["cmdline", "environ"] {
        let shown = std::fs::read(format!("/proc/{process}/{file}")).unwrap();
        assert!(
            !shown.windows(pin.len()).any(|window| window == pin.as_bytes()),
            "the pin is in {file}"
        );
    }
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(cores.split_whitespace().nth(4), Some("0"), "{cores}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_keys_than_the_cache_holds_still_sign() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = testing::softhsm_config(directory.path()).await;
    (config.sessions, config.cached_keys) = (1, 3);
    let worker = Worker::start(config).await.unwrap();
    worker.ensure_root(RootRole::Delegations).await.unwrap();
    let mut keys = Vec::new();
    for _ in 0..8 {
        keys.push(worker.generate_wrapped(EcCurve::P256).await.unwrap());
    }
    for _ in 0..3 {
        for key in &keys {
            signs(&worker, key).await;
        }
    }
}

// R27: a token that is gone and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_vanishes_is_unavailable_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let (worker, key) = ready(directory.path()).await;
    let token = std::fs::read_dir(directory.path().join("tokens"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let away = directory.path().join("away");
    std::fs::rename(&token, &away).unwrap();
    signal(worker.process_id().unwrap(), Signal::KILL);
    loop {
        let error = worker
            .sign_wrapped(&key, b"x")
            .await
            .expect_err("signed without a token");
        assert_eq!(error.kind, HsmErrorKind::Unavailable, "{error}");
        if error.detail.contains("no token is labelled") {
            break;
        }
    }
    std::fs::rename(&away, &token).unwrap();
    while worker.sign_wrapped(&key, b"x").await.is_err() {}
    signs(&worker, &key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_refused_at_a_restart_is_not_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (worker, key) = ready(directory.path()).await;
    std::fs::write(directory.path().join("pin"), "0000wrong").unwrap();
    signal(worker.process_id().unwrap(), Signal::KILL);
    loop {
        match worker.sign_wrapped(&key, b"x").await.unwrap_err() {
            error if error.kind == HsmErrorKind::PinRefused => break,
            error => assert_eq!(error.kind, HsmErrorKind::Unavailable, "{error}"),
        }
    }
    assert_eq!(worker.process_id(), None);
    assert_eq!(worker.healthy().await.unwrap_err().kind, HsmErrorKind::PinRefused);
}
