//! What a rule writes to its log, for whoever tests it. The runtime hands the lines to `tracing` as at an edge; here they
//! are kept.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber, dispatcher};

/// What the runtime writes the lines of rules under.
const TARGET: &str = "plugin";

/// Lines that are kept of one case, the last ones: what a failing call said is among them.
const MOST: usize = 256;

/// One line; its message has no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    level: String,
    message: String,
}

/// What the calls of one case have written, in order.
#[derive(Debug, Default, Clone)]
pub struct Log {
    lines: VecDeque<Line>,
    /// Lines over the bound of a call, or over [`MOST`].
    left_out: u64,
}

impl Log {
    /// So many lines of a call were over the runtime's bound.
    pub fn dropped(&mut self, count: u64) {
        self.left_out = self.left_out.saturating_add(count);
    }

    fn push(&mut self, line: Line) {
        if self.lines.len() >= MOST {
            self.lines.pop_front();
            self.dropped(1);
        }
        self.lines.push_back(line);
    }

    /// For people, a text for each line.
    pub fn texts(&self) -> Vec<String> {
        let lines = self.lines.iter();
        let mut texts: Vec<_> = lines
            .map(|line| format!("log {}: {}", line.level, line.message))
            .collect();
        if self.left_out > 0 {
            texts.push(format!(
                "log: {} more lines, which are left out; 16 of a call and the last {MOST} of a case are shown",
                self.left_out
            ));
        }
        texts
    }

    /// The lines for programs.
    pub fn json(&self) -> Value {
        let lines = self.lines.iter();
        lines
            .map(|line| json!({"level": line.level, "message": line.message}))
            .collect()
    }
}

/// Hears the lines that are written while it listens.
#[derive(Debug)]
pub struct Listener {
    dispatch: Dispatch,
    heard: Heard,
}

/// Where a [`Collector`], which `tracing` owns, puts them.
type Heard = Arc<Mutex<Vec<Line>>>;

impl Listener {
    /// For the thread that it is used on.
    pub fn new() -> Listener {
        let heard = Heard::default();
        let dispatch = Dispatch::new(Collector(heard.clone()));
        Listener { dispatch, heard }
    }

    /// Does something, and puts what rules write on this thread meanwhile into `log`.
    pub fn during<T>(&self, log: &mut Log, work: impl FnOnce() -> T) -> T {
        let done = dispatcher::with_default(&self.dispatch, || {
            // What was logged where nobody listened, as when a plugin is loaded, was noted as of interest to nobody.
            tracing::callsite::rebuild_interest_cache();
            work()
        });
        let lines = std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner));
        lines.into_iter().for_each(|line| log.push(line));
        done
    }
}

/// Takes events of rules and nothing else.
#[derive(Debug)]
struct Collector(Heard);

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == TARGET
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let level = event.metadata().level().as_str().to_lowercase();
        let Message(message) = message;
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(Line { level, message });
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(count: usize) {
        for number in 0..count {
            tracing::error!(target: "plugin", plugin = "a", request_id = "r", "{number} \"x\"");
            tracing::trace!(target: "other", "not a rule's");
        }
    }

    #[test]
    fn lines_of_rules_are_heard_in_order_and_only_meanwhile() {
        say(1);
        let (listener, mut log) = (Listener::new(), Log::default());
        say(1);
        listener.during(&mut log, || say(2));
        listener.during(&mut log, || tracing::trace!(target: "plugin", "low"));
        assert_eq!(
            log.texts(),
            ["log error: 0 \"x\"", "log error: 1 \"x\"", "log trace: low"]
        );
        assert_eq!(log.json()[2], json!({"level": "trace", "message": "low"}));
    }

    #[test]
    fn the_last_lines_are_kept_and_the_others_counted() {
        let (listener, mut log) = (Listener::new(), Log::default());
        listener.during(&mut log, || say(MOST + 3));
        log.dropped(4);
        let texts = log.texts();
        assert_eq!((texts.len(), texts[0].as_str()), (MOST + 1, "log error: 3 \"x\""));
        assert!(texts[MOST].contains("7 more lines"), "{texts:?}");
    }
}
