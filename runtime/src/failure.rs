//! How a rule says no, and how it fails to say anything.

use crate::limits::DeadlineExceeded;
use serde::{Deserialize, Serialize};
use wasmtime::{PoolConcurrencyLimitError, Trap};

/// Why a request may not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The rule refused. Both fields were checked, and are safe to show to the caller.
    #[error("refused with `{code}`: {message}")]
    Refused {
        /// 1 to 64 of `a`–`z`, `0`–`9` and `_`.
        code: String,
        /// One line of at most 512 bytes.
        message: String,
    },
    /// The rule itself failed: the request is denied, and the fault is the plugin's (or, with
    /// [`FailureKind::HostPanic`], ours). The detail is for the log, never for the caller.
    #[error("{kind}: {detail}")]
    Failed {
        /// What went wrong.
        kind: FailureKind,
        /// For the log.
        detail: String,
    },
}

/// What went wrong in a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum FailureKind {
    /// The guest trapped, overflowed its stack, or broke a rule of a host call.
    #[error("the plugin trapped")]
    Trap,
    /// The guest ran longer than its deadline.
    #[error("the plugin ran out of time")]
    Timeout,
    /// The guest ended after it was denied more memory.
    #[error("the plugin ran out of memory")]
    Memory,
    /// What the guest handed back breaks the interface: over-size, not UTF-8, out of bounds, not as documented.
    #[error("the plugin handed back something invalid")]
    BadOutput,
    /// The host panicked while it served the guest.
    #[error("the plugin host panicked")]
    HostPanic,
    /// The worker process of an isolated plugin ended, or answered what no worker answers.
    #[error("the plugin's worker process failed")]
    Worker,
    /// As many calls of this plugin, or of all plugins, are running as may; or none of its workers came free.
    #[error("too many plugin calls at once")]
    Busy,
    /// The plugin was not called: it failed again and again ([`crate::Plugin::serve`]).
    #[error("the plugin failed again and again, and is not called for a while")]
    Open,
}

impl FailureKind {
    /// A stable word for logs, metrics and audit.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Trap => "trap",
            FailureKind::Timeout => "timeout",
            FailureKind::Memory => "memory",
            FailureKind::BadOutput => "bad_output",
            FailureKind::HostPanic => "host_panic",
            FailureKind::Worker => "worker",
            FailureKind::Busy => "busy",
            FailureKind::Open => "open",
        }
    }

    /// Whether the plugin is to blame, and not this host or its load. Only then may a profile go on without its verdict:
    /// or who floods an edge would get past its rules.
    pub fn is_plugins_own(self) -> bool {
        !matches!(self, FailureKind::HostPanic | FailureKind::Busy)
    }
}

impl RuleError {
    pub(crate) fn failed(kind: FailureKind, detail: impl Into<String>) -> RuleError {
        RuleError::Failed {
            kind,
            detail: detail.into(),
        }
    }

    pub(crate) fn bad_output(detail: impl Into<String>) -> RuleError {
        RuleError::failed(FailureKind::BadOutput, detail)
    }

    /// Sorts an error of the engine. `memory_denied`: whether the guest had asked for more memory than it may have.
    pub(crate) fn from_engine(error: &wasmtime::Error, memory_denied: bool) -> RuleError {
        let kind = if error.is::<DeadlineExceeded>() {
            FailureKind::Timeout
        } else if error.is::<PoolConcurrencyLimitError>() {
            FailureKind::Busy
        } else if memory_denied {
            FailureKind::Memory
        } else if error.is::<Trap>() || error.is::<HostCallRefused>() {
            FailureKind::Trap
        } else {
            FailureKind::BadOutput
        };
        RuleError::failed(kind, detail(error))
    }
}

/// A guest broke a bound of a host call.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HostCallRefused(pub(crate) &'static str);

const DETAIL_BYTES: usize = 1024;

/// The error and its causes on one line, without what could forge a line of a log: names of functions come from
/// the guest.
pub(crate) fn detail(error: &wasmtime::Error) -> String {
    one_line(&format!("{error:#}"))
}

/// At most so much of a text as a detail may have, on one line.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(DETAIL_BYTES));
    for character in text.chars() {
        if line.len() >= DETAIL_BYTES {
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_errors_are_sorted_by_their_cause() {
        let kind = |error: wasmtime::Error, denied| match RuleError::from_engine(&error, denied) {
            RuleError::Failed { kind, .. } => kind,
            refused => panic!("{refused}"),
        };
        assert_eq!(kind(Trap::UnreachableCodeReached.into(), false), FailureKind::Trap);
        assert_eq!(kind(Trap::UnreachableCodeReached.into(), true), FailureKind::Memory);
        assert_eq!(kind(wasmtime::Error::new(DeadlineExceeded), true), FailureKind::Timeout);
        assert_eq!(
            kind(wasmtime::Error::new(HostCallRefused("x")), false),
            FailureKind::Trap
        );
        assert_eq!(
            kind(wasmtime::Error::msg("string pointer out of bounds"), false),
            FailureKind::BadOutput
        );
    }

    // R22
    #[test]
    fn neither_load_nor_a_defect_of_the_host_is_the_plugins_own() {
        use FailureKind::{BadOutput, Busy, HostPanic, Memory, Open, Timeout, Trap, Worker};
        for kind in [Trap, Timeout, Memory, BadOutput, Worker, Open] {
            assert!(kind.is_plugins_own(), "{kind}");
        }
        assert!(!Busy.is_plugins_own() && !HostPanic.is_plugins_own());
    }

    #[test]
    fn a_detail_is_one_bounded_line() {
        let error = wasmtime::Error::msg(format!("a\nb\u{1b}[31m{}", "x".repeat(5000)));
        let text = detail(&error);
        assert!(text.starts_with("a b [31m"), "{text}");
        assert!(text.len() <= DETAIL_BYTES + 4);
    }
}
