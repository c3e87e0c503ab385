//! What keeps the keys in a process's memory from being copied elsewhere (R25): no core dump, no debugger of the same user, no
//! page on a swap device.
//!
//! Keys that lie in the heaps of C libraries are covered as well, since all of the memory is. Nothing here has to be done about
//! forks: a child of ours executes another program at once, and locks do not pass to it, so each program does this for itself.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// CAP_IPC_LOCK (capabilities(7)): no limit on locked memory holds.
const CAP_IPC_LOCK: u32 = 14;

/// Whether the memory of this process is locked.
static LOCKED: AtomicBool = AtomicBool::new(false);

/// Where a process's memory may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Nowhere: it is locked.
    Locked,
    /// Nowhere as long as no swap is turned on: it is not locked.
    Unswapped,
    /// To a swap device, which the configuration allows.
    Swappable,
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Memory::Locked => "locked",
            Memory::Unswapped => "not locked, and no swap is on",
            Memory::Swappable => "not locked, and swap is on",
        })
    }
}

/// Why a process must not hold keys.
#[derive(Debug, thiserror::Error)]
pub enum HardenError {
    /// The kernel refuses what it never does.
    #[error("core dumps cannot be turned off: {0}")]
    Dumps(io::Error),
    /// Keys could be written to a swap device.
    #[error(
        "memory cannot be locked ({why}) and swap is on, so keys could be written to it: set LimitMEMLOCK=infinity in the \
         service's unit (`ulimit -l unlimited`), or MemorySwapMax=0, or turn swap off; `allow_swap = true` accepts it"
    )]
    Swap {
        /// Why not.
        why: String,
    },
}

/// Makes this process fit to hold keys: call it before the first one comes. Where keys may be swapped, the log says so.
///
/// # Errors
/// [`HardenError::Swap`] when memory can be locked by no means and swap is on, unless `allow_swap`.
pub fn harden(allow_swap: bool) -> Result<Memory, HardenError> {
    forbid_dumps().map_err(HardenError::Dumps)?;
    let locked = may_lock(&raised_lock_limit(), &status()).and_then(|()| lock_all());
    let memory = decide(&locked, swap_is_on(), allow_swap)?;
    LOCKED.store(memory == Memory::Locked, Ordering::SeqCst);
    if let (Memory::Swappable, Err(why)) = (memory, &locked) {
        tracing::warn!(
            why,
            "memory is not locked and swap is on: keys may be written to it (`allow_swap`)"
        );
    }
    Ok(memory)
}

/// No core dump of this process, and no debugger but root's.
///
/// # Errors
/// The kernel refuses, which it never does.
pub fn forbid_dumps() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}

/// Runs `make` with what it maps left unlocked, where memory is locked: for memory that is reserved by the terabyte, given back
/// by page, and never holds a key. What other threads map meanwhile is not locked either: a process that locks its memory calls this
/// before it has other threads, for a reservation that starts none.
pub fn aside<T>(make: impl FnOnce() -> T) -> T {
    if !LOCKED.load(Ordering::SeqCst) {
        return make();
    }
    let relock = |flags| {
        if let Err(error) = mlockall(flags | MlockAllFlags::ONFAULT) {
            tracing::warn!(%error, "memory that is mapped from now on is not locked");
        }
    };
    // Without FUTURE, later mappings are not locked.
    relock(MlockAllFlags::CURRENT);
    let made = make();
    relock(MlockAllFlags::FUTURE);
    made
}

/// ONFAULT: pages are locked when they are first touched, so that reserving memory still costs none.
fn lock_all() -> Result<(), String> {
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(all).map_err(|error| error.to_string())
}

/// The soft limit on locked memory in bytes, raised to the hard one; none when there is none.
fn raised_lock_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Memlock);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Memlock, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// With a limit, locking may work now and allocations fail later, so a limit counts as a no.
fn may_lock(limit: &Option<u64>, status: &str) -> Result<(), String> {
    match limit {
        None => Ok(()),
        Some(_) if has_capability(status, CAP_IPC_LOCK) => Ok(()),
        Some(bytes) => Err(format!("RLIMIT_MEMLOCK is {bytes} bytes")),
    }
}

fn decide(locked: &Result<(), String>, swap: bool, allow_swap: bool) -> Result<Memory, HardenError> {
    match locked {
        Ok(()) => Ok(Memory::Locked),
        Err(_) if !swap => Ok(Memory::Unswapped),
        Err(_) if allow_swap => Ok(Memory::Swappable),
        Err(why) => Err(HardenError::Swap { why: why.clone() }),
    }
}

fn status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// Whether `CapEff` of a `/proc/PID/status` has a capability.
fn has_capability(status: &str, capability: u32) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|set| set.checked_shr(capability).unwrap_or(0) & 1 == 1)
}

/// Whether a page of this process may be written to a swap device. What cannot be read counts as on.
fn swap_is_on() -> bool {
    let devices = fs::read_to_string("/proc/swaps");
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let most = swap_file(&group).and_then(|path| fs::read_to_string(path).ok());
    has_swap(devices.ok().as_deref(), most.as_deref())
}

/// The file with the swap limit of the control group, version 2, that `/proc/self/cgroup` names.
fn swap_file(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(format!("/sys/fs/cgroup{}/memory.swap.max", path.trim_end_matches('/')))
}

/// By `/proc/swaps`, which begins with a line of headings, and the group's limit.
fn has_swap(devices: Option<&str>, most: Option<&str>) -> bool {
    devices.is_none_or(|text| text.lines().count() > 1) && most.is_none_or(|most| most.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADINGS: &str = "Filename\tType\tSize\tUsed\tPriority\n";

    // R25
    #[test]
    fn memory_that_may_be_swapped_is_refused_unless_it_is_accepted() {
        let no = Err("RLIMIT_MEMLOCK is 8388608 bytes".to_owned());
        assert_eq!(decide(&Ok(()), true, false).unwrap(), Memory::Locked);
        assert_eq!(decide(&no, false, false).unwrap(), Memory::Unswapped);
        assert_eq!(decide(&no, true, true).unwrap(), Memory::Swappable);
        let refused = decide(&no, true, false).unwrap_err().to_string();
        for said in [
            "8388608",
            "LimitMEMLOCK=infinity",
            "MemorySwapMax=0",
            "allow_swap = true",
        ] {
            assert!(refused.contains(said), "{said}: {refused}");
        }
    }

    #[test]
    fn a_limit_counts_as_a_no_unless_the_capability_lifts_it() {
        let status = |set: &str| format!("Name:\tsignet\nCapEff:\t{set}\nCapBnd:\t000001ffffffffff\n");
        let (all, none) = (status("000001ffffffffff"), status("0000000000000000"));
        assert!(may_lock(&None, &none).is_ok());
        assert!(may_lock(&Some(8 << 20), &all).is_ok());
        assert!(may_lock(&Some(8 << 20), &status("0000000000004000")).is_ok());
        for lacking in [none, status("0000000000003fff"), status("x"), String::new()] {
            assert_eq!(
                may_lock(&Some(8 << 20), &lacking).unwrap_err(),
                "RLIMIT_MEMLOCK is 8388608 bytes"
            );
        }
    }

    #[test]
    fn swap_is_off_without_devices_or_where_the_group_may_have_none() {
        let on = format!("{HEADINGS}/dev/sda2\tpartition\t1048572\t0\t-2\n");
        assert!(!has_swap(Some(HEADINGS), None) && !has_swap(Some(&on), Some("0\n")));
        assert!(has_swap(Some(&on), None) && has_swap(Some(&on), Some("max\n")));
        assert!(has_swap(None, None), "what cannot be read counts as on");
        let group = "1:name=systemd:/x\n0::/system.slice/signet.service\n";
        assert_eq!(
            swap_file(group).unwrap(),
            "/sys/fs/cgroup/system.slice/signet.service/memory.swap.max"
        );
        assert_eq!(swap_file("0::/\n").unwrap(), "/sys/fs/cgroup/memory.swap.max");
        assert_eq!(swap_file("4:memory:/x\n"), None);
    }

    #[test]
    fn nothing_is_relocked_where_nothing_is_locked() {
        assert_eq!(aside(|| 7), 7);
    }
}
