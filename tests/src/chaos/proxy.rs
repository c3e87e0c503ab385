//! A TCP relay between two real processes that stalls, slows and cuts what it carries.
//!
//! What a stalled direction has read is kept and delivered when it goes on, as a network does whose packets are sent again: TCP
//! bytes are delayed and never lost within a connection; [`Proxy::cut`] ends connections with what was under way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a connection is at the moment. The default is a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weather {
    /// Nothing goes from the one who connects to the one who listens.
    pub up_stalled: bool,
    /// Nothing goes back.
    pub down_stalled: bool,
    /// What each piece waits, in both directions.
    pub delay: Duration,
}

/// A relay to one address, ended when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    weather: Weather,
    /// Both ends of every connection there is.
    streams: Vec<TcpStream>,
    ended: bool,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Up,
    Down,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1.
    pub fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if shared.lock().ended {
                    return;
                }
                shared.clone().carry(near, target);
            }
        });
        Proxy { address, state }
    }

    /// Changes the weather, for connections that exist as well.
    pub fn set(&self, weather: Weather) {
        self.state.lock().weather = weather;
        self.state.changed.notify_all();
    }

    /// Ends every connection there is.
    pub fn cut(&self) {
        for stream in self.state.lock().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.lock().ended = true;
        self.state.changed.notify_all();
        self.cut();
        // The listener's thread sees the end with one more connection.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry(self: Arc<Self>, near: TcpStream, target: SocketAddr) {
        let Ok(far) = TcpStream::connect(target) else {
            return;
        };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let Ok(ends) = [&near, &far, &near, &far]
            .map(TcpStream::try_clone)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
        else {
            return;
        };
        let mut ends = ends.into_iter();
        let (Some(near_too), Some(far_too)) = (ends.next(), ends.next()) else {
            return;
        };
        self.lock().streams.extend(ends);
        let (up, down) = (self.clone(), self);
        std::thread::spawn(move || up.pump(near, far, Direction::Up));
        std::thread::spawn(move || down.pump(far_too, near_too, Direction::Down));
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        let mut piece = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut piece) {
            if !self.wait(direction, Instant::now()) || to.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    /// Until what was read at `read` may go on; false when the relay has ended.
    fn wait(&self, direction: Direction, read: Instant) -> bool {
        let mut now = self.lock();
        loop {
            let stalled = match direction {
                Direction::Up => now.weather.up_stalled,
                Direction::Down => now.weather.down_stalled,
            };
            let left = now.weather.delay.saturating_sub(read.elapsed());
            if now.ended || (!stalled && left.is_zero()) {
                return !now.ended;
            }
            let wait = if stalled { Duration::from_secs(1) } else { left };
            now = match self.changed.wait_timeout(now, wait) {
                Ok((now, _)) => now,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut piece = [0; 64];
                    while let Ok(read @ 1..) = stream.read(&mut piece) {
                        let _ = stream.write_all(&piece[..read]);
                    }
                });
            }
        });
        address
    }

    #[test]
    fn a_stalled_direction_delivers_when_it_goes_on_and_a_cut_ends() {
        let proxy = Proxy::to(echo());
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        let mut piece = [0; 4];
        stream.write_all(b"ping").unwrap();
        stream.read_exact(&mut piece).unwrap();
        for stalled in [(true, false), (false, true)] {
            proxy.set(Weather {
                up_stalled: stalled.0,
                down_stalled: stalled.1,
                ..Weather::default()
            });
            stream.write_all(b"pong").unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            stream.read_exact(&mut piece).unwrap_err();
            proxy.set(Weather::default());
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.read_exact(&mut piece).unwrap();
            assert_eq!(&piece, b"pong");
        }
        proxy.cut();
        assert!(matches!(stream.read(&mut piece), Ok(0) | Err(_)));
    }
}
