//! What edges publish for verifiers, all through a run: a key that is in a set for a moment counts as published.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signing::jwk::Jwks;
use signing::key::PublicKey;

use super::fleet::{EDGES, Fleet};
use super::http::Client;

const JWKS: &str = "/i/acme/.well-known/jwks.json";
const PAUSE: Duration = Duration::from_millis(500);

/// Asks every edge for its key set again and again until it is over, and once more then; the keys by their ids.
pub fn collect(fleet: &Fleet, over: &AtomicBool) -> HashMap<String, PublicKey> {
    std::thread::scope(|scope| {
        // Each by itself: a frozen one keeps the others from nothing.
        let edges = (0..EDGES).map(|edge| scope.spawn(move || collect_from(Client::new(fleet.http(edge)), over)));
        let edges: Vec<_> = edges.collect();
        edges.into_iter().flat_map(|edge| edge.join().unwrap()).collect()
    })
}

fn collect_from(mut edge: Client, over: &AtomicBool) -> HashMap<String, PublicKey> {
    let mut keys = HashMap::new();
    loop {
        let is_last = over.load(Ordering::Relaxed);
        if let Ok((200, body)) = edge.get(JWKS) {
            keys.extend(Jwks::parse(&body).unwrap().keys.iter().map(|jwk| {
                let kid = jwk.kid.clone().unwrap();
                (kid, PublicKey::from_jwk(jwk).unwrap())
            }));
        }
        if is_last {
            return keys;
        }
        std::thread::sleep(PAUSE);
    }
}
