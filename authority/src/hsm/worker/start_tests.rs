//! What is refused when a worker starts, and how one ends.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::super::protocol::{self, Hello, Task};
use super::super::testing;
use super::*;

async fn refusal(config: WorkerConfig) -> HsmError {
    match Worker::start(config).await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_wrong_pin_label_or_module_is_refused_with_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let good = testing::softhsm_config(directory.path()).await;

    let pin = directory.path().join("wrong-pin");
    std::fs::write(&pin, "00000000\n").unwrap();
    let error = refusal(WorkerConfig {
        pin: PinSource::File(pin),
        ..good.clone()
    })
    .await;
    assert_eq!(error.kind, HsmErrorKind::PinRefused, "{error}");
    assert!(
        error.detail.contains("PinIncorrect") && !error.detail.contains("00000000"),
        "{error}"
    );

    let error = refusal(WorkerConfig {
        label: "another".to_owned(),
        ..good.clone()
    })
    .await;
    assert_eq!(error.kind, HsmErrorKind::Misconfigured);
    assert!(
        error.detail.contains("`another`") && error.detail.contains("`signet test`"),
        "{error}"
    );

    for module in ["/nonexistent/module.so", "/etc/passwd"] {
        let error = refusal(WorkerConfig {
            module: module.into(),
            ..good.clone()
        })
        .await;
        assert_eq!(error.kind, HsmErrorKind::Misconfigured);
        assert!(error.detail.contains(module), "{error}");
    }
    let error = refusal(WorkerConfig {
        sessions: 0,
        ..good.clone()
    })
    .await;
    assert_eq!(error.kind, HsmErrorKind::Misconfigured);
}

#[tokio::test]
async fn a_missing_or_empty_pin_is_refused_before_the_token_sees_it() {
    let directory = tempfile::tempdir().unwrap();
    let good = testing::softhsm_config(directory.path()).await;
    let empty = directory.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let sources = [
        PinSource::File(directory.path().join("nowhere")),
        PinSource::File(empty),
        PinSource::Environment("SIGNET_TEST_NO_SUCH_VARIABLE".to_owned()),
    ];
    for pin in sources {
        let error = refusal(WorkerConfig { pin, ..good.clone() }).await;
        assert_eq!(error.kind, HsmErrorKind::Misconfigured, "{error}");
    }
}

#[tokio::test]
async fn a_program_that_is_no_worker_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut good = testing::softhsm_config(directory.path()).await;
    good.start_deadline = Duration::from_secs(2);
    for (program, arguments, says) in [
        ("/bin/false", &[][..], "ended"),
        ("/bin/cat", &[][..], "did not open"),
        ("/bin/sh", &["-c", "exec cat /dev/zero"][..], "protocol"),
        (
            "/bin/sh",
            &["-c", "printf '\\nsignet-hsm-worker/1\\n\\377\\377\\377\\377'; exec cat"][..],
            "at most",
        ),
        ("/nonexistent/program", &[][..], "cannot start"),
    ] {
        let arguments = arguments.iter().map(Into::into).collect();
        let error = refusal(WorkerConfig {
            program: Some(program.into()),
            arguments,
            ..good.clone()
        })
        .await;
        assert!(error.detail.contains(says), "{program}: {error}");
    }
}

#[tokio::test]
async fn a_mechanism_that_the_token_lacks_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let good = testing::softhsm_config(directory.path()).await;
    let configuration = directory.path().join("softhsm2.conf");
    let text = std::fs::read_to_string(&configuration).unwrap();
    let needed = [
        "CKM_EC_KEY_PAIR_GEN",
        "CKM_ECDSA",
        "CKM_AES_KEY_GEN",
        "CKM_AES_GCM",
        "CKM_AES_KEY_WRAP_PAD",
    ];
    for lacking in needed {
        let others = needed
            .into_iter()
            .filter(|name| *name != lacking)
            .collect::<Vec<_>>()
            .join(",");
        let less = text.replace("slots.mechanisms = ALL", &format!("slots.mechanisms = {others}"));
        std::fs::write(&configuration, less).unwrap();
        let error = refusal(good.clone()).await;
        assert_eq!(error.kind, HsmErrorKind::Unsupported, "{error}");
        assert!(error.detail.contains(&format!("lacks {lacking} (for ")), "{error}");
        assert_eq!(error.detail.matches("CKM_").count(), 1, "{error}");
    }
}

#[tokio::test]
async fn a_worker_ends_when_its_stdin_closes() {
    let directory = tempfile::tempdir().unwrap();
    let config = testing::softhsm_config(directory.path()).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(&config.arguments)
        .envs(config.environment.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pin = std::fs::read(directory.path().join("pin")).unwrap();
    let hello = Hello {
        module: config.module.to_str().unwrap().to_owned(),
        label: config.label.clone(),
        pin: Sensitive(pin),
        task: Task::Serve {
            sessions: 3,
            cached_keys: 8,
        },
    };
    let mut stdin = child.stdin.take().unwrap();
    protocol::write(&mut stdin, &hello).unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(protocol::PREAMBLE) {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        seen.extend(byte);
    }
    let opened: protocol::Response = protocol::read(&mut stdout).unwrap().unwrap();
    assert!(matches!(opened.outcome, Ok(Answer::Opened(_))));
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn a_bad_frame_ends_the_worker() {
    let directory = tempfile::tempdir().unwrap();
    let config = testing::softhsm_config(directory.path()).await;
    for garbage in [&[0xff; 64][..], &[4, 0, 0, 0, 9, 9, 9, 9][..]] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(&config.arguments)
            .envs(config.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(garbage).unwrap();
        assert!(!child.wait().unwrap().success());
    }
}

#[tokio::test]
async fn dropping_the_worker_ends_its_process() {
    let directory = tempfile::tempdir().unwrap();
    let worker = testing::softhsm(directory.path()).await;
    let process = format!("/proc/{}", worker.process_id().unwrap());
    assert!(std::path::Path::new(&process).exists());
    drop(worker);
    while std::fs::read_to_string(format!("{process}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::task::yield_now().await;
    }
}
