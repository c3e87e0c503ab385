//! Requests that a fence catches on their way: what the load has by chance, each run has once at each edge and for certain.

use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Instant;

use super::act::Stage;
use super::fleet::{EDGES, Fleet};
use super::load::{Answer, ask_and};
use super::operator::History;
use super::plan::Machine;
use super::site::PROFILES;
use crate::within;

/// With nothing else under way, and every key started. What callers received; the last key stays stopped.
pub fn play(fleet: &Fleet, stage: &Stage<'_>, history: &mut History, begun: Instant) -> Vec<Answer> {
    let mut answers = Vec::new();
    for edge in 0..EDGES {
        answers.push(with_its_answer(fleet, edge, history, begun));
        history.start_all(&fleet.operator(), begun);
    }
    in_a_frozen_edge(fleet, stage, (history, &mut answers), begun);
    let is_fenced = history.stops.last().is_some_and(|stop| stop.fenced.is_some());
    stage.note("edges frozen until a fence, with a request in flight", is_fenced);
    answers
}

/// The answer has left the edge, and its caller reads it after the fence: it was signed and recorded before.
fn with_its_answer(fleet: &Fleet, edge: usize, history: &mut History, begun: Instant) -> Answer {
    let profile = &PROFILES[edge % PROFILES.len()];
    ask_and(fleet, (edge, profile), begun, |stream: &TcpStream| {
        // Waits for the first byte, and leaves it there.
        if stream.peek(&mut [0]).is_ok() {
            history.fence(&fleet.operator(), profile.key, begun);
        }
    })
}

/// The edge signs, is frozen before the next request comes, and goes on after the fence: whatever it signs then is too late.
fn in_a_frozen_edge(
    fleet: &Fleet,
    stage: &Stage<'_>,
    (history, answers): (&mut History, &mut Vec<Answer>),
    begun: Instant,
) {
    let profile = &PROFILES[0];
    within(60, "the edge signs with a key that was started again", || {
        answers.push(ask_and(fleet, (0, profile), begun, |_| ()));
        answers.last().is_some_and(|answer| answer.signature.is_some())
    });
    let (written, is_written) = channel();
    std::thread::scope(|scope| {
        let frozen = stage.freeze(Machine::Edge(0), || {
            let tell = move |_: &TcpStream| written.send(()).unwrap();
            let asking = scope.spawn(move || ask_and(fleet, (0, profile), begun, tell));
            if is_written.recv().is_ok() {
                history.fence(&fleet.operator(), profile.key, begun);
            }
            asking
        });
        answers.extend(frozen.map(|asking| asking.join().unwrap()));
    });
}
