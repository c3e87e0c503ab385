//! `signet:rule/log`: lines for the edge's log, under the target `plugin`, written when the call has ended.

use super::counted;
use crate::call::State;
use crate::limits::{MAX_LOG_LINE, MAX_LOG_LINES};
use crate::metrics::count;
use crate::plugin::Inner;
use std::sync::atomic::Ordering;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, WasmStr};

pub(super) const INSTANCE: &str = "signet:rule/log@1.1.0";

#[derive(Debug, Clone, Copy, ComponentType, Lift)]
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
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: Vec<(Level, String)>,
    dropped: u64,
}

impl Log {
    /// Writes it all.
    pub(crate) fn write(&self, plugin: &Inner, request_id: &str) {
        let plugin_name = plugin.name.as_str();
        plugin.metrics.log_dropped.fetch_add(self.dropped, Ordering::Relaxed);
        for (level, line) in &self.lines {
            count(&plugin.metrics.log_lines);
            match level {
                Level::Trace => tracing::trace!(target: "plugin", plugin = plugin_name, request_id, "{line}"),
                Level::Debug => tracing::debug!(target: "plugin", plugin = plugin_name, request_id, "{line}"),
                Level::Info => tracing::info!(target: "plugin", plugin = plugin_name, request_id, "{line}"),
                Level::Warn => tracing::warn!(target: "plugin", plugin = plugin_name, request_id, "{line}"),
                Level::Error => tracing::error!(target: "plugin", plugin = plugin_name, request_id, "{line}"),
            }
        }
    }
}

fn log(mut context: StoreContextMut<'_, State>, (level, message): (Level, WasmStr)) -> wasmtime::Result<()> {
    let state = context.data_mut();
    counted(state)?;
    if state.log.lines.len() >= MAX_LOG_LINES {
        state.log.dropped = state.log.dropped.saturating_add(1);
        return Ok(());
    }
    let line = one_line(&message.to_str(&context)?);
    context.data_mut().log.lines.push((level, line));
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
    fn a_line_is_bounded_and_cannot_forge_another() {
        assert_eq!(one_line("plain é"), "plain é");
        assert_eq!(one_line("a\nERROR b\u{1b}[0m"), "a\\nERROR b\\u{1b}[0m");
        assert_eq!(one_line(&"x".repeat(5000)).len(), MAX_LOG_LINE);
        assert!(one_line(&"é".repeat(5000)).len() <= MAX_LOG_LINE);
        assert!(one_line(&"\n".repeat(5000)).len() <= MAX_LOG_LINE);
    }
}
