//! How a thread that holds a core for long lets those that serve have it.
//!
//! To be asked for a core is not enough. The kernel looks who should have one when a thread wakes or sleeps, and at its own tick,
//! every 4 ms on many machines: one that serves, is interrupted by a third that wakes, and has had its share for the moment, waits for
//! that tick behind a thread that does neither, also while another core is idle. So a thread that holds a core sleeps for a moment now
//! and then, also in the middle of one instruction that fills memory. To yield (sched_yield(2)) would cost it the rest of its slice:
//! beside a busy thread that leaves it next to nothing of a core, where one that sleeps keeps its share.

use std::cell::{Cell, OnceCell};
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a thread holds a core at most before it sleeps, but for what the kernel does for it in one call.
const HELD: Duration = Duration::from_micros(500);
/// What counts as holding it: calls of some microseconds add up to it.
const ENOUGH: Duration = Duration::from_micros(200);
/// The sleep. One of a nanosecond is over before the thread is asleep.
const PAUSE: Duration = Duration::from_micros(10);
/// How late the kernel may wake it: by default 50 µs.
const SLACK: u64 = 1_000;

thread_local! {
    static TIMER: OnceCell<Timer> = const { OnceCell::new() };
    /// What the thread has held a core for since it slept.
    static HOLDS: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static SLOW: Cell<bool> = const { Cell::new(false) };
}

/// Lets threads that serve go first, and leaves this one a quarter of a core that it shares with one of them (sched(7), nice): enough
/// for a rule that is slow by its nature, as an interpreted one. All of this is a courtesy: a kernel that refuses it is served all
/// the same.
pub(crate) fn stay_behind() {
    const NICE: i32 = 5;
    if let Ok(nice) = rustix::process::nice(NICE) {
        ask_for_long_slices(nice);
    }
    be_interrupted();
}

/// From now on what this thread does in [`giving_way`] is interrupted by sleeps.
pub(crate) fn be_interrupted() {
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(SLACK));
    match Timer::new() {
        Ok(timer) => TIMER.with(|own| own.set(timer).unwrap_or_default()),
        Err(error) => tracing::debug!(%error, "long calls of plugins are not interrupted"),
    }
}

/// Runs `work`, which sleeps every 500 µs, and sleeps after it where it was long.
pub(crate) fn giving_way<T>(work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let interrupted = Interrupted::begin();
    let result = work();
    drop(interrupted);
    let held = HOLDS.get().saturating_add(began.elapsed());
    let is_enough = held >= ENOUGH;
    HOLDS.set(if is_enough { Duration::ZERO } else { held });
    if is_enough {
        std::thread::sleep(PAUSE);
    }
    result
}

/// As [`giving_way`] where what this thread did last was long: to be interrupted costs one that is short some microseconds.
pub(crate) fn giving_way_if_slow<T>(work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = if SLOW.get() { giving_way(work) } else { work() };
    SLOW.set(began.elapsed() >= ENOUGH);
    result
}

/// Until it is dropped, also in a panic, the thread is interrupted.
struct Interrupted;

impl Interrupted {
    fn begin() -> Interrupted {
        Interrupted::every(HELD);
        Interrupted
    }

    fn every(time: Duration) {
        TIMER.with(|timer| {
            if let Some(timer) = timer.get() {
                timer.set(time);
            }
        });
    }
}

impl Drop for Interrupted {
    fn drop(&mut self) {
        Interrupted::every(Duration::ZERO);
    }
}

/// One of the kernel's, whose signal interrupts the thread that made it.
#[derive(Debug)]
struct Timer(libc::timer_t);

/// Ignored where nobody handles it, so that one which comes late harms nobody.
const SIGNAL: libc::c_int = libc::SIGURG;

#[allow(unsafe_code, reason = "no library has these timers of the system")]
impl Timer {
    fn new() -> io::Result<Timer> {
        static HANDLED: OnceLock<bool> = OnceLock::new();
        if !HANDLED.get_or_init(handle) {
            return Err(io::Error::other("its signal cannot be handled"));
        }
        // SAFETY: all of it is numbers, for which zeros are good.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGNAL;
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_pid();
        let mut timer = std::ptr::null_mut();
        // SAFETY: it reads `event` and writes `timer`, both of which are this function's.
        match unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) } {
            0 => Ok(Timer(timer)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Every so often from now on, or not at all.
    fn set(&self, every: Duration) {
        let every = libc::timespec {
            tv_sec: 0,
            tv_nsec: every.subsec_nanos().into(),
        };
        let times = libc::itimerspec {
            it_interval: every,
            it_value: every,
        };
        // SAFETY: it reads `times`, and the timer is there until this is dropped.
        let _ = unsafe { libc::timer_settime(self.0, 0, &raw const times, std::ptr::null_mut()) };
    }
}

#[allow(unsafe_code, reason = "as above")]
impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more.
        let _ = unsafe { libc::timer_delete(self.0) };
    }
}

/// Once for the process. On the stack for signals, as a guest's own may be used up; what it interrupts in the kernel goes on.
#[allow(unsafe_code, reason = "as above")]
fn handle() -> bool {
    // SAFETY: all of it is numbers, for which zeros are good: no other signal is held back meanwhile.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int) = sleep;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: `sleep` does nothing but what a handler may (signal-safety(7)).
    unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) == 0 }
}

/// Allocates nothing, takes no lock, and leaves what the thread was told by the system last as it was.
#[allow(unsafe_code, reason = "as above")]
extern "C" fn sleep(_: libc::c_int) {
    let pause = libc::timespec {
        tv_sec: 0,
        tv_nsec: PAUSE.subsec_nanos().into(),
    };
    // SAFETY: the place of `errno` is the thread's own, and `nanosleep` reads `pause`.
    unsafe {
        let place = libc::__errno_location();
        let before = *place;
        libc::nanosleep(&raw const pause, std::ptr::null_mut());
        *place = before;
    }
}

/// Asks for long slices, so that a thread that serves, and wants short ones, has the core at once when it wakes (Linux 6.12 and later;
/// before, nothing comes of it).
#[allow(unsafe_code, reason = "no library has this call of the system")]
fn ask_for_long_slices(nice: i32) {
    let attributes = libc::sched_attr {
        sched_nice: nice,
        sched_runtime: SLICE,
        ..attributes()
    };
    // SAFETY: it reads `attributes`, as long as that says it is, and 0 is the calling thread.
    let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// In nanoseconds.
const SLICE: u64 = 20_000_000;

/// Of an ordinary thread. `sched_runtime` is the slice that it asks for.
fn attributes() -> libc::sched_attr {
    libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0),
        sched_policy: u32::try_from(libc::SCHED_OTHER).unwrap_or(0),
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    }
}

/// Whether this thread has long slices; none where the kernel does not say.
#[cfg(test)]
#[allow(unsafe_code, reason = "as above")]
pub(crate) fn has_long_slices() -> Option<bool> {
    let mut attributes = attributes();
    let (into, size) = (&raw mut attributes, attributes.size);
    // SAFETY: it writes as much of `attributes` as `size` says at most, and 0 is the calling thread.
    let _ = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, into, size, 0) };
    (attributes.sched_runtime > 0).then_some(attributes.sched_runtime == SLICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So often has this thread slept.
    fn sleeps() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }

    fn processor() -> Duration {
        Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)).unwrap()
    }

    fn busy(time: Duration) {
        let began = processor();
        while processor() - began < time {
            std::hint::spin_loop();
        }
    }

    fn slept_in(work: impl FnOnce()) -> u64 {
        let before = sleeps();
        work();
        sleeps() - before
    }

    // R22
    #[test]
    fn a_thread_that_holds_a_core_sleeps_in_the_middle_of_its_work() {
        let held = || slept_in(|| giving_way(|| busy(20 * HELD)));
        // What is not in memory yet is waited for.
        held();
        assert_eq!(held(), 1, "only after it");
        std::thread::spawn(move || {
            be_interrupted();
            let slept = held();
            assert!(slept >= 10, "{slept}");
            let beyond = slept_in(|| busy(4 * HELD));
            assert_eq!(beyond, 0, "it is not interrupted any more");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn calls_that_are_short_add_up_to_a_sleep() {
        let some = || {
            for _ in 0..20 {
                giving_way(|| busy(ENOUGH / 5));
            }
        };
        let slept = slept_in(some);
        assert!((2..=20).contains(&slept), "{slept}");
    }

    #[test]
    fn a_thread_that_stays_behind_keeps_its_share_beside_a_busy_one() {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        let may = sched_getaffinity(None).unwrap();
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|cpu| may.is_set(*cpu)).unwrap());
        let end = Instant::now() + Duration::from_millis(600);
        let had = move |is_behind: bool| {
            std::thread::spawn(move || {
                sched_setaffinity(None, &one).unwrap();
                if is_behind {
                    stay_behind();
                }
                let began = processor();
                while Instant::now() < end {
                    match is_behind {
                        true => giving_way(|| busy(ENOUGH)),
                        false => busy(ENOUGH),
                    }
                }
                processor() - began
            })
        };
        let (slow, other) = (had(true), had(false));
        let (slow, other) = (slow.join().unwrap(), other.join().unwrap());
        assert!(slow * 8 > other, "{slow:?} beside {other:?}: a third is its share");
    }

    #[test]
    fn one_that_was_long_gives_way_the_next_time() {
        let slept = |time| slept_in(|| giving_way_if_slow(|| busy(time)));
        // What is not in memory yet is waited for.
        let _ = [slept(ENOUGH), slept(ENOUGH), slept(Duration::ZERO)];
        assert_eq!([slept(ENOUGH), slept(ENOUGH), slept(Duration::ZERO)], [0, 1, 0]);
        assert_eq!(slept(2 * ENOUGH), 0, "the last was short");
    }

    #[test]
    fn an_interrupted_call_of_the_system_goes_on() {
        std::thread::spawn(|| {
            be_interrupted();
            let (mut reader, mut writer) = std::io::pipe().unwrap();
            let after = Duration::from_millis(20);
            let writes = std::thread::spawn(move || {
                std::thread::sleep(after);
                io::Write::write_all(&mut writer, b"x").unwrap();
            });
            let (began, mut byte) = (Instant::now(), [0]);
            let read = giving_way(|| io::Read::read(&mut reader, &mut byte));
            assert_eq!((read.unwrap(), byte), (1, *b"x"));
            assert!(began.elapsed() >= after, "it waited");
            writes.join().unwrap();
        })
        .join()
        .unwrap();
    }
}
