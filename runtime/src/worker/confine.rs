//! What a worker gives up before a guest runs in it, for good.
//!
//! After [`confine`] the process has the descriptors and threads that it has, may take some more memory, and can read, write, wait
//! and end. Everything else that it asks of the kernel kills it: to open, connect, execute, fork, signal, trace, or make memory
//! executable. The list is of what wasmtime, tokio's single-threaded runtime and the allocator do once all is loaded.

use std::collections::BTreeMap;
use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

/// Memory that the host's side of a worker may take beyond what it has and what one call may have, in bytes.
const HEADROOM: u64 = 64 << 20;

/// Calls that are allowed whatever their arguments.
const ALLOWED: [libc::c_long; 25] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_timer_settime,
    libc::SYS_timer_delete,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// `PR_SET_VMA` (prctl(2)): the allocator names its memory.
const PR_SET_VMA: u64 = 0x5356_4d41;
/// `PIDFD_SELF` of linux/pidfd.h, -10000: wasmtime clears memory of this process in one call.
const PIDFD_SELF: u64 = 0xffff_d8f0;

/// Calls that are allowed where an argument (its place, from 0) has, of these bits, those.
const ALLOWED_WITH: [(libc::c_long, u8, u64, u64); 5] = [
    (libc::SYS_mmap, 2, EXECUTABLE, 0),
    (libc::SYS_mprotect, 2, EXECUTABLE, 0),
    (libc::SYS_prctl, 0, ALL, PR_SET_VMA),
    (libc::SYS_process_madvise, 0, ALL, PIDFD_SELF),
    (libc::SYS_fcntl, 1, ALL, GET_FLAGS),
];
/// `PROT_EXEC` (mmap(2)).
const EXECUTABLE: u64 = 4;
/// `F_GETFD` (fcntl(2)): the standard library looks whether a descriptor is open before it closes it, in debug builds.
const GET_FLAGS: u64 = 1;
const ALL: u64 = u32::MAX as u64;

/// First of all: nobody but root looks into this process, and it leaves no core dump.
pub(super) fn hide() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    limit(Resource::Core, 0)
}

/// Once everything is loaded, and before a guest runs that may have `memory` bytes.
///
/// # Errors
/// The kernel refuses: then no guest may run.
pub(super) fn confine(memory: usize) -> io::Result<()> {
    let more = u64::try_from(memory).unwrap_or(u64::MAX).saturating_add(HEADROOM);
    let status = std::fs::read_to_string("/proc/self/status")?;
    for (resource, line) in [(Resource::As, "VmSize:"), (Resource::Data, "VmData:")] {
        let now = kibibytes(&status, line)?.saturating_mul(1024);
        limit(resource, now.saturating_add(more))?;
    }
    for none in [Resource::Nofile, Resource::Nproc, Resource::Fsize] {
        limit(none, 0)?;
    }
    apply_filter_all_threads(&filter()?).map_err(io::Error::other)
}

fn kibibytes(status: &str, name: &str) -> io::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("/proc/self/status has no `{name}`")))
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}

fn filter() -> io::Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|number| (*number, Vec::new())).collect();
    for (number, place, bits, value) in ALLOWED_WITH {
        let operator = SeccompCmpOp::MaskedEq(bits);
        let condition = SeccompCondition::new(place, SeccompCmpArgLen::Dword, operator, value);
        let rule = condition.and_then(|condition| SeccompRule::new(vec![condition]));
        rules.insert(number, vec![rule.map_err(io::Error::other)?]);
    }
    let architecture = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture);
    filter.and_then(BpfProgram::try_from).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Output};
    use std::time::Duration;

    const DOES: &str = "SIGNET_TEST_CONFINED";
    const MEMORY: usize = 16 << 20;
    const SIGSYS: i32 = 31;

    /// No test of its own: the child, which confines itself and then does one thing.
    #[test]
    fn the_confined() {
        let Some(does) = std::env::var_os(DOES) else { return };
        hide().unwrap();
        confine(MEMORY).unwrap();
        let error = match does.to_str().unwrap() {
            "its work" => {
                let memory = vec![1_u8; MEMORY];
                std::thread::sleep(Duration::from_millis(1));
                std::thread::yield_now();
                println!("{}", memory.iter().step_by(4096).count());
                std::process::exit(0)
            }
            "open" => std::fs::File::open("/etc/hostname").err(),
            "socket" => std::os::unix::net::UnixDatagram::unbound().err(),
            "connect" => std::net::TcpStream::connect("127.0.0.1:9").err(),
            "exec" => Some(Command::new("/bin/true").exec()),
            "fork" => Command::new("/bin/true").spawn().err(),
            "thread" => std::thread::Builder::new().spawn(|| ()).err(),
            "kill" => rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
                .err()
                .map(Into::into),
            "file in memory" => rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC)
                .err()
                .map(Into::into),
            "executable memory" => executable().err(),
            "dumpable" => set_dumpable_behavior(DumpableBehavior::Dumpable).err().map(Into::into),
            "memory" => {
                let reserved = Vec::<u8>::new().try_reserve_exact(MEMORY + (HEADROOM as usize) * 4);
                assert!(reserved.is_err(), "more than it may have");
                std::process::exit(0)
            }
            other => panic!("{other}"),
        };
        println!("it lives: {error:?}");
        std::process::exit(0);
    }

    #[allow(unsafe_code)]
    fn executable() -> io::Result<()> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let protection = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
        // SAFETY: nobody uses the memory, wherever it is.
        unsafe { mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE)? };
        Ok(())
    }

    fn does(what: &str) -> Output {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([
            "--exact",
            "worker::confine::tests::the_confined",
            "--nocapture",
            "--quiet",
        ]);
        child.env(DOES, what).output().unwrap()
    }

    // R22
    #[test]
    fn the_confined_work_and_take_no_more_memory_than_they_may() {
        for what in ["its work", "memory"] {
            let output = does(what);
            assert!(output.status.success(), "{what}: {output:?}");
        }
    }

    // R22
    #[test]
    fn whatever_else_they_ask_of_the_kernel_kills_them() {
        let asked = [
            "open",
            "socket",
            "connect",
            "exec",
            "fork",
            "thread",
            "kill",
            "file in memory",
            "executable memory",
            "dumpable",
        ];
        for what in asked {
            let output = does(what);
            assert_eq!(output.status.signal(), Some(SIGSYS), "{what}: {output:?}");
        }
    }
}
