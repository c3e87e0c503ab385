//! Callers that ask each edge for signatures, one after the other, whatever happens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fleet::{Fleet, PROFILES, Profile};
use super::http::Client;

/// What came of one request. Times count from the beginning of the run.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Which edge was asked.
    pub edge: usize,
    /// For what.
    pub profile: &'static Profile,
    /// Before the request was written.
    pub asked: Duration,
    /// When the answer was there.
    pub answered: Duration,
    /// The signature's id, if there was one.
    pub signature: Option<String>,
}

/// Running callers.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Vec<Answer>>>,
}

impl Load {
    /// A caller for each edge and profile.
    pub fn start(fleet: &Fleet, begun: Instant) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let places = fleet.addresses().into_iter().enumerate();
        let pairs = places.flat_map(|place| PROFILES.iter().map(move |profile| (place, profile)));
        let callers = pairs.map(|((edge, address), profile)| {
            let (stop, token) = (stop.clone(), fleet.token().to_owned());
            std::thread::spawn(move || {
                let caller = Caller {
                    edge,
                    address,
                    profile,
                    token,
                    begun,
                };
                caller.ask_until(&stop)
            })
        });
        Load {
            callers: callers.collect(),
            stop,
        }
    }

    /// Ends the callers; everything they saw.
    pub fn finish(self) -> Vec<Answer> {
        self.stop.store(true, Ordering::Relaxed);
        self.callers
            .into_iter()
            .flat_map(|caller| caller.join().unwrap())
            .collect()
    }
}

struct Caller {
    edge: usize,
    address: SocketAddr,
    profile: &'static Profile,
    token: String,
    begun: Instant,
}

impl Caller {
    fn ask_until(self, stop: &AtomicBool) -> Vec<Answer> {
        let mut client = Client::new(self.address);
        let mut seen = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let asked = self.begun.elapsed();
            let answer = client.post(self.profile.path, &self.token, self.profile.body);
            let signature = match &answer {
                Ok((201, body)) => {
                    let body: Value = serde_json::from_slice(body).unwrap();
                    Some(body["id"].as_str().unwrap().to_owned())
                }
                _ => None,
            };
            // Neither a refusal nor a dead edge is asked again at full speed, and a good one leaves room for the others.
            let pause = if signature.is_some() { 2 } else { 25 };
            seen.push(Answer {
                edge: self.edge,
                profile: self.profile,
                asked,
                answered: self.begun.elapsed(),
                signature,
            });
            std::thread::sleep(Duration::from_millis(pause));
        }
        seen
    }
}
