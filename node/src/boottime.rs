//! CLOCK_BOOTTIME: goes on while the machine is suspended and knows no steps. What leases are measured with (R34).

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine was started, suspended or not. Comparable within one machine and one start of it only.
pub fn now_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
    seconds.saturating_mul(1_000).saturating_add(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_go_back() {
        let mut last = now_ms();
        assert!(last > 0);
        for _ in 0..1_000 {
            let now = now_ms();
            assert!(now >= last);
            last = now;
        }
    }

    /// For [`time_in_suspend_counts`]: prints it, where it is asked to.
    #[test]
    fn it_is_printed() {
        if std::env::var_os("PRINT_BOOTTIME").is_some() {
            println!("boottime {}", now_ms());
        }
    }

    // R34: what sets CLOCK_BOOTTIME apart is the time in which a machine was suspended. In a time namespace of its own a process
    // has as much of that as one likes (time_namespaces(7)), and CLOCK_MONOTONIC has nothing of it.
    #[test]
    fn time_in_suspend_counts() {
        const SUSPENDED: u64 = 1_000_000;
        let mut child = std::process::Command::new("unshare");
        child.args([
            "--user",
            "--map-root-user",
            "--time",
            "--fork",
            "--boottime",
            &SUSPENDED.to_string(),
            "--",
        ]);
        child.arg(std::env::current_exe().unwrap());
        child.args(["--exact", "boottime::tests::it_is_printed", "--nocapture"]);
        let output = child.env("PRINT_BOOTTIME", "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let Some(printed) = said.lines().find_map(|line| line.split_once("boottime ")) else {
            // Where the kernel allows no namespace.
            let why = String::from_utf8_lossy(&output.stderr);
            assert!(why.contains("unshare"), "{said}{why}");
            eprintln!("not done: {why}");
            return;
        };
        let there: u64 = printed.1.trim().parse().unwrap();
        assert!(there >= now_ms() + SUSPENDED * 1_000 - 60_000, "{there}");
    }
}
