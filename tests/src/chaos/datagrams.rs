//! A UDP relay between callers and an edge that loses, doubles, delays, reorders and stops what it carries, and changes the
//! address that the edge sees callers at.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::dice::Dice;

/// How the way is at the moment. The default is a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sea {
    /// Of 1,000 datagrams so many are lost.
    pub lost: u64,
    /// And so many come twice.
    pub doubled: u64,
    /// And so many are overtaken by those that come within 20 ms.
    pub overtaken: u64,
    /// What each waits.
    pub delay: Duration,
    /// Nothing goes from callers to the edge.
    pub up_stopped: bool,
    /// Nothing goes back.
    pub down_stopped: bool,
}

/// How long a datagram is held back for others to overtake it.
const OVERTAKEN: Duration = Duration::from_millis(20);
/// Datagrams under way at most: more are lost, as on any way.
const UNDER_WAY: usize = 4_096;
/// Callers' addresses at a time; the oldest makes room.
const CALLERS: usize = 64;
/// How often a thread that waits for datagrams looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(200);

/// A relay to one address, ended when dropped.
#[derive(Debug)]
pub struct Datagrams {
    /// Where callers find it.
    pub address: SocketAddr,
    way: Arc<Way>,
}

#[derive(Debug)]
struct Way {
    target: SocketAddr,
    /// Towards callers.
    near: UdpSocket,
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug)]
struct Now {
    sea: Sea,
    dice: Dice,
    waiting: BinaryHeap<Reverse<Datagram>>,
    /// For order among those that are due at the same time.
    count: u64,
    callers: Vec<Caller>,
    ended: bool,
}

/// How the edge sees one address of a caller.
#[derive(Debug)]
struct Caller {
    near: SocketAddr,
    far: Arc<UdpSocket>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    due: Instant,
    number: u64,
    caller: SocketAddr,
    up: bool,
    bytes: Vec<u8>,
}

impl Datagrams {
    /// Listens on a free port of 127.0.0.1; what is lost is a function of the seed and of what comes.
    pub fn to(target: SocketAddr, seed: u64) -> Datagrams {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        near.set_read_timeout(Some(LOOK)).unwrap();
        let address = near.local_addr().unwrap();
        let way = Arc::new(Way::new(target, near, seed));
        let (receiving, sending) = (way.clone(), way.clone());
        std::thread::spawn(move || receiving.receive());
        std::thread::spawn(move || sending.send());
        Datagrams { address, way }
    }

    /// Changes how the way is.
    pub fn set(&self, sea: Sea) {
        self.way.lock().sea = sea;
    }

    /// From now on the edge sees every caller at another address: what a NAT does that has forgotten them. Answers to the old
    /// addresses are lost.
    pub fn rebind(&self) {
        let mut now = self.way.lock();
        for caller in &mut now.callers {
            if let Ok(far) = self.way.clone().open(caller.near) {
                caller.far = far;
            }
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        let mut now = self.way.lock();
        now.ended = true;
        now.callers.clear();
        self.way.changed.notify_all();
    }
}

impl Way {
    fn new(target: SocketAddr, near: UdpSocket, seed: u64) -> Way {
        Way {
            target,
            near,
            now: Mutex::new(Now {
                sea: Sea::default(),
                dice: Dice::new(seed),
                waiting: BinaryHeap::new(),
                count: 0,
                callers: Vec::new(),
                ended: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(self: Arc<Self>) {
        let mut bytes = vec![0; 65_536];
        loop {
            let received = self.near.recv_from(&mut bytes);
            if self.lock().ended {
                return;
            }
            // An error is a time-out, or what came back from a caller that has gone.
            if let Ok((length, caller)) = received {
                self.take(caller, true, &bytes[..length]);
            }
        }
    }

    /// A socket that the edge sees as a caller's, and a thread that takes what comes back.
    fn open(self: Arc<Self>, caller: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let far = UdpSocket::bind("127.0.0.1:0")?;
        far.set_read_timeout(Some(LOOK))?;
        far.connect(self.target)?;
        let far = Arc::new(far);
        let held = Arc::downgrade(&far);
        std::thread::spawn(move || self.take_back(caller, &held));
        Ok(far)
    }

    fn take_back(&self, caller: SocketAddr, far: &Weak<UdpSocket>) {
        let mut bytes = vec![0; 65_536];
        while let Some(far) = far.upgrade() {
            if let Ok(length) = far.recv(&mut bytes) {
                self.take(caller, false, &bytes[..length]);
            }
        }
    }

    fn take(&self, caller: SocketAddr, up: bool, bytes: &[u8]) {
        let mut now = self.lock();
        let sea = now.sea;
        let stopped = if up { sea.up_stopped } else { sea.down_stopped };
        if stopped || now.dice.below(1_000) < sea.lost {
            return;
        }
        let copies = if now.dice.below(1_000) < sea.doubled { 2 } else { 1 };
        for _ in 0..copies {
            if now.waiting.len() >= UNDER_WAY {
                return;
            }
            let held = now.dice.below(1_000) < sea.overtaken;
            let wait = sea.delay + if held { OVERTAKEN } else { Duration::ZERO };
            now.count += 1;
            let datagram = Datagram {
                due: Instant::now() + wait,
                number: now.count,
                caller,
                up,
                bytes: bytes.to_vec(),
            };
            now.waiting.push(Reverse(datagram));
        }
        self.changed.notify_all();
    }

    /// Sends what is due, until the relay has ended.
    fn send(self: Arc<Self>) {
        let mut now = self.lock();
        while !now.ended {
            let due = now.waiting.peek().map(|Reverse(next)| next.due);
            let wait = due.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()));
            if wait.is_zero() {
                if let Some(Reverse(datagram)) = now.waiting.pop() {
                    let far = datagram.up.then(|| self.clone().far(&mut now, datagram.caller));
                    drop(now);
                    // What cannot be sent is lost.
                    let _ = match far {
                        Some(far) => far.and_then(|far| far.send(&datagram.bytes)),
                        None => self.near.send_to(&datagram.bytes, datagram.caller),
                    };
                    now = self.lock();
                }
                continue;
            }
            now = match self.changed.wait_timeout(now, wait) {
                Ok((now, _)) => now,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// How the edge sees a caller.
    fn far(self: Arc<Self>, now: &mut Now, near: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        if let Some(known) = now.callers.iter().find(|caller| caller.near == near) {
            return Ok(known.far.clone());
        }
        let far = self.open(near)?;
        if now.callers.len() >= CALLERS {
            now.callers.remove(0);
        }
        now.callers.push(Caller { near, far: far.clone() });
        Ok(far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each datagram with the address it came from.
    fn mirror() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let answer = [&bytes[..length], b" ", from.to_string().as_bytes()].concat();
                let _ = socket.send_to(&answer, from);
            }
        });
        address
    }

    fn caller(relay: &Datagrams) -> UdpSocket {
        let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
        caller.connect(relay.address).unwrap();
        caller.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        caller
    }

    fn answer(caller: &UdpSocket) -> Option<String> {
        let mut bytes = [0; 64];
        let length = caller.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    fn asked(caller: &UdpSocket, what: &str) -> Option<String> {
        caller.send(what.as_bytes()).unwrap();
        answer(caller)
    }

    #[test]
    fn what_is_sent_is_doubled_stopped_or_lost() {
        let relay = Datagrams::to(mirror(), 1);
        let caller = caller(&relay);
        assert!(asked(&caller, "a").unwrap().starts_with("a "));
        relay.set(Sea {
            doubled: 1_000,
            ..Sea::default()
        });
        caller.send(b"b").unwrap();
        for _ in 0..4 {
            assert!(
                answer(&caller).unwrap().starts_with("b "),
                "twice there, each answer twice back"
            );
        }
        relay.set(Sea {
            overtaken: 1_000,
            ..Sea::default()
        });
        assert!(asked(&caller, "late").unwrap().starts_with("late "));
        caller.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        for stopped in [(true, false), (false, true)] {
            relay.set(Sea {
                up_stopped: stopped.0,
                down_stopped: stopped.1,
                ..Sea::default()
            });
            assert_eq!(asked(&caller, "c"), None);
        }
        relay.set(Sea {
            lost: 1_000,
            ..Sea::default()
        });
        assert_eq!(asked(&caller, "d"), None);
    }

    #[test]
    fn a_caller_is_seen_at_another_address_and_hears_the_answers() {
        let relay = Datagrams::to(mirror(), 1);
        let caller = caller(&relay);
        let before = asked(&caller, "a").unwrap();
        assert_eq!(asked(&caller, "a").unwrap(), before);
        relay.rebind();
        let after = asked(&caller, "a").unwrap();
        assert_ne!(after, before);
    }

    #[test]
    fn what_is_held_back_comes_after_what_is_not() {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let caller = near.local_addr().unwrap();
        let way = Way::new(caller, near, 1);
        let taken = Instant::now();
        way.lock().sea.overtaken = 1_000;
        way.take(caller, true, b"overtaken");
        way.lock().sea.delay = Duration::from_secs(3_600);
        way.take(caller, true, b"slow");
        way.lock().sea = Sea::default();
        way.take(caller, true, b"straight");
        let mut now = way.lock();
        let due = now
            .waiting
            .iter()
            .find(|Reverse(waiting)| waiting.bytes == b"overtaken");
        assert!(due.unwrap().0.due >= taken + OVERTAKEN);
        now.waiting.retain(|Reverse(waiting)| waiting.bytes != b"overtaken");
        let order = [now.waiting.pop(), now.waiting.pop()].map(|next| next.unwrap().0.bytes);
        assert_eq!(order, [b"straight".to_vec(), b"slow".to_vec()]);
    }
}
