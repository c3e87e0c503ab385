//! Configuration files: TOML, every field typed, unknown fields refused, and errors that say where and what to do.
//!
//! A configuration type derives `Deserialize` with `deny_unknown_fields` and uses the unit types of this module, so that
//! a number never stands without its unit. [`load`] adds to whatever serde has to say the file, the line, the path of
//! the field, and the nearest known name when a field's name is unknown.

mod hint;
mod units;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use units::{ByteSize, Duration, Seconds};

/// A configuration file larger than this is refused, in bytes.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// A configuration that cannot be started with. Its text is one line: file, line, field, what is wrong, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line in the file, from 1, where it is known.
    pub line: Option<usize>,
    /// Path of the field, such as `limits.connections`; empty when the file as a whole is at fault.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl ConfigError {
    /// An error about the file as a whole, or about what several fields say together.
    pub fn new(file: impl Into<PathBuf>, field: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError {
            file: file.into(),
            line: None,
            field: field.into(),
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> ConfigError {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reads a TOML file of at most [`MAX_FILE_BYTES`] into a configuration type.
///
/// # Errors
/// The file is missing, unreadable, too large, not UTF-8, not TOML, or does not fit the type.
pub fn load<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T, ConfigError> {
    let path = path.as_ref();
    let unreadable = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path",
            std::io::ErrorKind::PermissionDenied => "check the owner and mode of the file and its folders",
            _ => "check that it is a regular file",
        };
        ConfigError::new(path, "", format!("cannot be read: {error}")).with_hint(hint)
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > MAX_FILE_BYTES {
        return Err(ConfigError::new(
            path,
            "",
            format!("has {length} bytes, at most {MAX_FILE_BYTES} are read"),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(path, &text)
}

/// Reads TOML text into a configuration type; `file` is only for the error.
///
/// # Errors
/// The text is not TOML, or does not fit the type.
pub fn parse<T: DeserializeOwned>(file: impl AsRef<Path>, text: &str) -> Result<T, ConfigError> {
    let file = file.as_ref();
    let document = toml::Deserializer::parse(text).map_err(|error| from_toml(file, text, String::new(), &error))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let path = error.path().to_string();
        from_toml(
            file,
            text,
            if path == "." { String::new() } else { path },
            error.inner(),
        )
    })
}

fn from_toml(file: &Path, text: &str, path: String, error: &toml::de::Error) -> ConfigError {
    let message = error.message().lines().collect::<Vec<_>>().join(" ");
    let (message, hint) = hint::explain(&message);
    let line = error.span().map(|span| line_of(text, span.start));
    ConfigError {
        file: file.to_owned(),
        line,
        field: path,
        message,
        hint,
    }
}

/// The line, from 1, of a byte offset.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        name: String,
        limits: Limits,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limits {
        #[serde(default)]
        connections: u32,
        header: Duration,
        body: ByteSize,
    }

    fn error(text: &str) -> ConfigError {
        parse::<Config>("edge.toml", text).unwrap_err()
    }

    #[test]
    fn a_good_file_is_read() {
        let config: Config = parse(
            "edge.toml",
            "name = \"a\"\n[limits]\nconnections = 3\nheader = \"5s\"\nbody = \"64KiB\"\n",
        )
        .unwrap();
        assert_eq!((config.name.as_str(), config.limits.connections), ("a", 3));
        assert_eq!(config.limits.header.get(), std::time::Duration::from_secs(5));
        assert_eq!(config.limits.body.bytes(), 65_536);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_place_and_the_nearest_name() {
        let error = error("name = \"a\"\n[limits]\nconections = 3\nheader = \"5s\"\nbody = \"1KiB\"\n");
        assert_eq!((error.line, error.field.as_str()), (Some(3), "limits.conections"));
        assert_eq!(error.hint.as_deref(), Some("did you mean `connections`?"));
        let text = error.to_string();
        assert!(
            text.starts_with("edge.toml:3: limits.conections: unknown field `conections`"),
            "{text}"
        );
    }

    #[test]
    fn a_bad_unit_names_the_field_and_the_units() {
        let error = error("name = \"a\"\n[limits]\nheader = \"5 parsecs\"\nbody = \"1KiB\"\n");
        assert_eq!((error.line, error.field.as_str()), (Some(3), "limits.header"));
        assert!(
            error.message.contains("`5 parsecs`") && error.message.contains("ms, s, m, h, d"),
            "{error}"
        );
    }

    #[test]
    fn wrong_types_missing_fields_and_broken_toml_are_placed() {
        let wrong = error("name = 7\n[limits]\nheader = \"5s\"\nbody = \"1KiB\"\n");
        assert_eq!((wrong.line, wrong.field.as_str()), (Some(1), "name"));
        let missing = error("name = \"a\"\n[limits]\nheader = \"5s\"\n");
        assert_eq!(missing.field, "limits");
        assert!(missing.message.contains("missing field `body`"), "{missing}");
        let broken = error("name = \"a\"\n[limits\n");
        assert_eq!(broken.line, Some(2));
        let twice = error("name = \"a\"\nname = \"b\"\n");
        assert_eq!(twice.line, Some(2));
        assert!(twice.message.contains("duplicate"), "{twice}");
    }

    #[test]
    fn a_missing_or_oversized_file_says_so() {
        let error = load::<Config>("no/such/file.toml").unwrap_err();
        assert!(
            error.to_string().starts_with("no/such/file.toml: cannot be read:"),
            "{error}"
        );
        assert_eq!(error.hint.as_deref(), Some("check the path"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big.toml");
        std::fs::write(&path, "#".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() + 1)).unwrap();
        assert!(load::<Config>(&path).unwrap_err().message.contains("1048576"));
    }
}
