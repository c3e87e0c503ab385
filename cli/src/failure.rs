//! How a subcommand fails: one line on standard error that says what was wrong and what to do, and exit code 1, unless its page says another.

use std::fmt;
use std::process::ExitCode;

/// A failure with its text. Anything with a `Display` becomes one.
#[derive(Debug)]
pub struct Failure {
    text: String,
    code: u8,
}

/// The exit code of whatever has none of its own; 2 is for what the command line means nothing by.
const CODE: u8 = 1;

impl Failure {
    /// A failure with this text: lowercase, without a full stop.
    pub fn new(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            code: CODE,
        }
    }

    /// The same failure with an exit code of its own, which the command's page says.
    pub fn with_code(self, code: u8) -> Failure {
        Failure { code, ..self }
    }

    /// The same failure, with what had happened before it.
    pub fn after(self, before: &str) -> Failure {
        Failure {
            text: format!("{before}: {}", self.text),
            ..self
        }
    }

    /// Writes it to standard error.
    pub fn report(self) -> ExitCode {
        crate::output::note(&self.text);
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        Failure::new(text)
    }
}

/// Puts what was being done in front of an error.
pub trait Context<T> {
    /// `WHAT: ERROR`
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| error.into().after(&what()))
    }
}
