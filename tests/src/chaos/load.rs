//! Callers that ask each edge for signatures, one after the other, whatever happens: in the clear over TCP, and over QUIC through
//! the relay that harms datagrams.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use signing::certificate::pem_decode;
use signing::delegation::verify_chain;

use super::check::{TOLERANCE, Violation};
use super::fleet::{EDGES, Fleet};
use super::site::{PROFILES, Profile};
use super::{http, http3};

/// How a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/3
    Http3,
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http3 => "HTTP/3",
        })
    }
}

/// What came of one request. Times count from the beginning of the run.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Which edge was asked.
    pub edge: usize,
    /// How.
    pub protocol: Protocol,
    /// For what.
    pub profile: &'static Profile,
    /// Before the request was written.
    pub asked: Duration,
    /// When the answer was there.
    pub answered: Duration,
    /// The signature's id, if there was one.
    pub signature: Option<String>,
    /// The signature itself.
    pub signed: Option<Signed>,
    /// How far a token's `iat` is ahead of this machine's time, seconds: of when it was answered, and of when it was asked for.
    pub ahead: Option<(i64, i64)>,
}

/// What a caller received.
#[derive(Debug, Clone)]
pub enum Signed {
    /// A JWS.
    Token(String),
    /// A signature of an artifact.
    Artifact {
        /// DER.
        signature: Vec<u8>,
        /// Of the key: PEM, the leaf first.
        chain: Arc<str>,
    },
}

/// Running callers.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Vec<Answer>>>,
}

impl Load {
    /// A caller for each edge, profile and protocol.
    pub fn start(fleet: &Fleet, begun: Instant) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let callers = callers(fleet, begun).map(|caller| {
            let stop = stop.clone();
            std::thread::spawn(move || caller.ask_until(&stop))
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

/// Asks every edge for every profile over every protocol until there is a signature that holds now, within a minute; what was
/// answered, and who had none.
pub fn recover(fleet: &Fleet, begun: Instant) -> (Vec<Answer>, Vec<Violation>) {
    let until = Instant::now() + Duration::from_secs(60);
    let root = std::fs::read_to_string(fleet.path("admin/delegation-root.pem")).unwrap();
    let (mut answers, mut missing) = (Vec::new(), Vec::new());
    for mut caller in callers(fleet, begun) {
        loop {
            let (answer, mut said) = caller.ask();
            if answer.signature.is_some() {
                said = wrong_now(&answer, &said, &root).unwrap_or_default();
            }
            answers.push(answer);
            if said.is_empty() {
                break;
            }
            if Instant::now() >= until {
                missing.push(Violation::NotBack {
                    edge: caller.edge,
                    profile: caller.profile.path,
                    protocol: caller.protocol,
                    said,
                });
                break;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }
    (answers, missing)
}

/// Asks an edge once, over HTTP/1.1; `written` comes between the request and its answer.
pub fn ask_and(
    fleet: &Fleet,
    (edge, profile): (usize, &Profile),
    begun: Instant,
    written: impl FnOnce(&TcpStream),
) -> Answer {
    let is_it = |caller: &Caller| {
        caller.edge == edge && caller.profile.path == profile.path && caller.protocol == Protocol::Http1
    };
    let mut caller = callers(fleet, begun).find(is_it).unwrap();
    caller
        .ask_by(|client, (path, token, body)| match client {
            Client::Http1(client) => client.post_and((path, token, body), written),
            Client::Http3(client) => client.post(path, token, body),
        })
        .0
}

/// Why a verifier would not take a signature now: the time of a token, or the chain of an artifact's key.
fn wrong_now(answer: &Answer, body: &str, root: &str) -> Option<String> {
    if let Some((least, most)) = answer.ahead {
        let is_now = (least - TOLERANCE..=most + TOLERANCE).contains(&0);
        return (!is_now).then(|| format!("a token that is {most} s ahead"));
    }
    let body: Value = serde_json::from_str(body).unwrap();
    let der = |pem: &str| pem_decode("CERTIFICATE", pem).unwrap();
    let chain = der(&chain(&body));
    let verified = verify_chain(&chain, &der(root), u64::try_from(now()).unwrap());
    verified
        .err()
        .map(|error| format!("an artifact's signature whose chain does not verify: {error}"))
}

/// PEM, the leaf first.
fn chain(body: &Value) -> String {
    let chain = body["certificates"].as_array().unwrap().iter();
    chain.map(|pem| pem.as_str().unwrap()).collect()
}

fn callers(fleet: &Fleet, begun: Instant) -> impl Iterator<Item = Caller> {
    let profiles = (0..EDGES).flat_map(|edge| PROFILES.iter().map(move |profile| (edge, profile)));
    let protocols = [Protocol::Http1, Protocol::Http3];
    let ways = profiles.flat_map(move |way| protocols.map(|protocol| (way, protocol)));
    ways.map(move |((edge, profile), protocol)| Caller {
        edge,
        protocol,
        client: match protocol {
            Protocol::Http1 => Client::Http1(http::Client::new(fleet.http(edge))),
            Protocol::Http3 => {
                let address = fleet.seas[edge].address;
                Client::Http3(Box::new(http3::Client::new(address, &fleet.certificate())))
            }
        },
        profile,
        token: fleet.caller().to_owned(),
        begun,
        chains: HashSet::new(),
    })
}

enum Client {
    Http1(http::Client),
    Http3(Box<http3::Client>),
}

struct Caller {
    edge: usize,
    protocol: Protocol,
    client: Client,
    profile: &'static Profile,
    token: String,
    begun: Instant,
    /// That it was shown: each is kept once.
    chains: HashSet<Arc<str>>,
}

impl Caller {
    fn ask_until(mut self, stop: &AtomicBool) -> Vec<Answer> {
        let mut seen = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let (answer, _) = self.ask();
            // Neither a refusal nor a dead edge is asked again at full speed, and a good one leaves room for the others.
            let pause = if answer.signature.is_some() { 4 } else { 25 };
            seen.push(answer);
            std::thread::sleep(Duration::from_millis(pause));
        }
        seen
    }

    /// Asks once; what came of it, and the answer's words.
    fn ask(&mut self) -> (Answer, String) {
        self.ask_by(|client, (path, token, body)| match client {
            Client::Http1(client) => client.post(path, token, body),
            Client::Http3(client) => client.post(path, token, body),
        })
    }

    /// By a way of asking with a path, a token and a body.
    fn ask_by(
        &mut self,
        post: impl FnOnce(&mut Client, (&str, &str, &str)) -> io::Result<(u16, Vec<u8>)>,
    ) -> (Answer, String) {
        let (asked, asked_at) = (self.begun.elapsed(), now());
        let Profile { path, body, .. } = self.profile;
        let answer = post(&mut self.client, (path, &self.token, body));
        let (answered, answered_at) = (self.begun.elapsed(), now());
        let (mut signature, mut signed, mut ahead) = (None, None, None);
        let said = match answer {
            Ok((201, body)) => {
                let said = String::from_utf8_lossy(&body).into_owned();
                let body: Value = serde_json::from_slice(&body).unwrap();
                signed = Some(self.signed(&body));
                signature = Some(body["id"].as_str().unwrap().to_owned());
                ahead = body["token"].as_str().map(|token| {
                    let issued = issued(token);
                    (issued - answered_at, issued - asked_at)
                });
                said
            }
            Ok((status, body)) => format!("{status} {}", String::from_utf8_lossy(&body)),
            Err(error) => error.to_string(),
        };
        let answer = Answer {
            edge: self.edge,
            protocol: self.protocol,
            profile: self.profile,
            asked,
            answered,
            signature,
            signed,
            ahead,
        };
        (answer, said)
    }

    fn signed(&mut self, body: &Value) -> Signed {
        if let Some(token) = body["token"].as_str() {
            return Signed::Token(token.to_owned());
        }
        let shown: Arc<str> = chain(body).into();
        let chain = match self.chains.get(&shown) {
            Some(known) => known.clone(),
            None => {
                self.chains.insert(shown.clone());
                shown
            }
        };
        let signature = body["signature"].as_str().unwrap();
        Signed::Artifact {
            signature: BASE64_STANDARD.decode(signature).unwrap(),
            chain,
        }
    }
}

/// Unix seconds, by this machine's clock, which no fault touches.
fn now() -> i64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    i64::try_from(now).unwrap()
}

/// A token's `iat`.
fn issued(token: &str) -> i64 {
    let claims = token.split('.').nth(1).unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["iat"].as_i64().unwrap()
}
