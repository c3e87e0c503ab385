//! HSMs for this crate's tests: real SoftHSM2 tokens behind real worker processes, and software ones. The worker is the test
//! binary itself, started again with a variable that turns one test function into `signet hsm-worker`.

use std::path::Path;
use std::time::Duration;

use signing::key::Secret;

use super::HsmError;
use super::provision;
use super::software::{Cost, Software};
use super::worker::{Worker, WorkerConfig, run_worker};

const VARIABLE: &str = "SIGNET_TEST_HSM_WORKER";

/// What the worker process runs; nothing when run as a test.
#[test]
fn worker_process() {
    if std::env::var_os(VARIABLE).is_some() {
        let code = run_worker();
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

/// Makes this test binary the worker.
pub(crate) fn as_test_binary(config: &mut WorkerConfig) {
    let this_module = module_path!().split_once("::").unwrap().1;
    config.arguments = [&format!("{this_module}::worker_process"), "--exact", "--nocapture"]
        .map(Into::into)
        .to_vec();
    config.environment.push((VARIABLE.into(), "1".into()));
}

/// The configuration of a worker for the token in `directory`, made unless it exists. Needs the Debian package `softhsm2`.
pub(crate) async fn softhsm_config(directory: &Path) -> WorkerConfig {
    let module = provision::find_softhsm().expect("SoftHSM2 is not installed: apt install softhsm2");
    provision::softhsm(directory, &module, "signet test", as_test_binary)
        .await
        .unwrap()
        .0
}

/// A worker for the token in `directory`, without roots until they are made.
pub(crate) async fn softhsm(directory: &Path) -> Worker {
    Worker::start(softhsm_config(directory).await).await.unwrap()
}

/// A worker with one session and a short deadline, for faults.
pub(crate) async fn impatient(directory: &Path) -> Worker {
    let mut config = softhsm_config(directory).await;
    config.sessions = 1;
    config.deadline = Duration::from_secs(2);
    Worker::start(config).await.unwrap()
}

/// A software HSM in `directory` whose passphrase costs next to nothing.
pub(crate) async fn software(directory: &Path) -> Software {
    software_with(directory, "correct horse battery").await.unwrap()
}

/// As [`software`], with another passphrase.
pub(crate) async fn software_with(directory: &Path, passphrase: &str) -> Result<Software, HsmError> {
    let cheap = Cost {
        memory_kib: 8,
        passes: 1,
    };
    Software::open_with(
        directory.join("software-hsm.json"),
        Secret::new(passphrase.into()),
        cheap,
    )
    .await
}
