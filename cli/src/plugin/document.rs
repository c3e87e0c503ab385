//! A file of TOML that is read with the line of each mistake.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::failure::{Context, Failure};

/// A file, and where it lies.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    text: String,
}

impl Document {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Document, Failure> {
        let text = std::fs::read_to_string(path).context(|| format!("`{}`", path.display()))?;
        let path = path.to_owned();
        Ok(Document { path, text })
    }

    /// What it says; a mistake is named as `FILE:LINE: WHAT`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        toml::from_str(&self.text).map_err(|error| self.error(error.span().unwrap_or_default(), error.message()))
    }

    /// A mistake at these bytes: `FILE:LINE: WHAT`.
    pub fn error(&self, span: Range<usize>, what: &str) -> Failure {
        Failure::new(format!("{}:{}: {what}", self.path.display(), self.line(&span)))
    }

    /// The line, from 1, on which these bytes begin.
    pub fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or_default();
        before.matches('\n').count().saturating_add(1)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that paths in it begin at.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// A text of the user's for an error message.
pub fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
