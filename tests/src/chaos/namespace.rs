//! A mount namespace of the harness's own: what it mounts is seen by nobody else and gone with it, however it ends. Who is not
//! root gets one inside a user namespace, where the machine allows that.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Set for the program inside.
const INSIDE: &str = "SIGNET_CHAOS_NAMESPACE";
/// As root, and as anybody else.
const WAYS: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];

/// Runs this program with its arguments anew inside one, and does not return then. Where there is none to be had it goes on here,
/// and what needs mounting counts as not done.
pub fn enter() {
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    if let Some(way) = WAYS.into_iter().find(|way| mounts(way)) {
        let mut inside = Command::new("unshare");
        inside.args(way).arg(program).args(std::env::args_os().skip(1));
        let error = inside.env(INSIDE, "1").exec();
        eprintln!("no namespace for mounts: {error}");
    }
}

/// Whether something can be mounted that way.
fn mounts(way: &[&str]) -> bool {
    let mut probe = Command::new("unshare");
    let mount = ["mount", "-t", "tmpfs", "signet-chaos", "/mnt"];
    let probe = probe.args(way).args(mount).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
