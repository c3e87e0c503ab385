//! `signet:rule/log`: lines for the edge's log, under the target `plugin`, written when the call has ended.

use super::counted;
use crate::call::State;
use crate::limits::{MAX_LOG_LINE, MAX_LOG_LINES};
use crate::metrics::count;
use crate::plugin::Inner;
use crate::question::Question;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, WasmStr};

pub(super) const INSTANCE: &str = "signet:rule/log@1.2.0";

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ComponentType, Lift)]
#[component(enum)]
#[allow(dead_code, reason = "the derived lifting makes them from their numbers")]
#[repr(u8)]
pub(crate) enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

pub(super) fn add(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(INSTANCE)?.func_wrap("log", log)
}

/// What one call has said so far.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Log {
    lines: Vec<(Level, String)>,
    dropped: u64,
}

impl Log {
    /// The same, with every bound of a call about so many requests held again: for what another process says was logged.
    pub(crate) fn checked(self, requests: u32) -> Log {
        let mut log = Log {
            dropped: self.dropped,
            ..Log::default()
        };
        for (level, line) in &self.lines {
            log.push(*level, line, requests);
        }
        log
    }

    fn push(&mut self, level: Level, message: &str, requests: u32) {
        if self.has_room(requests) {
            self.lines.push((level, one_line(message)));
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn has_room(&self, requests: u32) -> bool {
        self.lines.len() < MAX_LOG_LINES.saturating_mul(requests as usize)
    }

    /// Writes it all. What was logged about a batch has its first request's id, and how many there are.
    pub(crate) fn write(&self, plugin: &Inner, question: Question<'_>) {
        let plugin_name = plugin.name.as_str();
        let request_id = question.first().map_or("", |request| request.request_id);
        let is_batch = matches!(question, Question::Many([_, ..]));
        let batch = is_batch.then(|| question.requests());
        plugin.metrics.log_dropped.fetch_add(self.dropped, Ordering::Relaxed);
        for (level, line) in &self.lines {
            count(&plugin.metrics.log_lines);
            match level {
                Level::Trace => tracing::trace!(target: "plugin", plugin = plugin_name, request_id, batch, "{line}"),
                Level::Debug => tracing::debug!(target: "plugin", plugin = plugin_name, request_id, batch, "{line}"),
                Level::Info => tracing::info!(target: "plugin", plugin = plugin_name, request_id, batch, "{line}"),
                Level::Warn => tracing::warn!(target: "plugin", plugin = plugin_name, request_id, batch, "{line}"),
                Level::Error => tracing::error!(target: "plugin", plugin = plugin_name, request_id, batch, "{line}"),
            }
        }
    }
}

fn log(mut context: StoreContextMut<'_, State>, (level, message): (Level, WasmStr)) -> wasmtime::Result<()> {
    let state = context.data_mut();
    counted(state)?;
    if !state.log.has_room(state.requests) {
        state.log.dropped = state.log.dropped.saturating_add(1);
        return Ok(());
    }
    let message = message.to_str(&context)?.into_owned();
    let state = context.data_mut();
    state.log.push(level, &message, state.requests);
    Ok(())
}

/// At most [`MAX_LOG_LINE`] bytes, with every control character written out, so that a guest cannot forge a line.
fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len().min(MAX_LOG_LINE));
    for character in message.chars() {
        let room = MAX_LOG_LINE.saturating_sub(line.len());
        if character.is_control() {
            let escaped = character.escape_default();
            if escaped.len() > room {
                break;
            }
            line.extend(escaped);
        } else if character.len_utf8() > room {
            break;
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    // R22
    #[test]
    fn what_another_process_says_was_logged_is_bounded_again() {
        let lines = vec![(Level::Info, "a\nERROR b".repeat(1000)); 100];
        let of = |requests| {
            let (lines, dropped) = (lines.clone(), 3);
            Log { lines, dropped }.checked(requests)
        };
        assert_eq!((of(2).lines.len(), of(2).dropped), (2 * MAX_LOG_LINES, 71));
        let log = of(1);
        assert_eq!((log.lines.len(), log.dropped), (MAX_LOG_LINES, 87));
        assert!(
            log.lines
                .iter()
                .all(|(_, line)| line.len() <= MAX_LOG_LINE && !line.contains('\n'))
        );
        let again = Log {
            lines: log.lines.clone(),
            dropped: 0,
        }
        .checked(1);
        assert_eq!(again.lines[0].1, log.lines[0].1, "what is in order stays as it is");
    }

    // R22
    #[test]
    fn a_line_is_bounded_and_cannot_forge_another() {
        assert_eq!(one_line("plain é"), "plain é");
        assert_eq!(one_line("a\nERROR b\u{1b}[0m"), "a\\nERROR b\\u{1b}[0m");
        assert_eq!(one_line(&"x".repeat(5000)).len(), MAX_LOG_LINE);
        assert!(one_line(&"é".repeat(5000)).len() <= MAX_LOG_LINE);
        assert!(one_line(&"\n".repeat(5000)).len() <= MAX_LOG_LINE);
    }
}
