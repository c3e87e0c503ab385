//! Lists in pages: `Limit`, `Marker`, `NextMarker`, `Truncated`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{KmsError, KmsErrorType};

/// Most items of one page, and how many there are when nothing is asked.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// What every list takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Paging {
    limit: Option<usize>,
    marker: Option<String>,
}

impl Paging {
    pub(super) fn new(limit: Option<usize>, marker: Option<String>) -> Self {
        Self { limit, marker }
    }

    /// How many items to answer.
    pub(super) fn limit(&self) -> Result<usize, KmsError> {
        match self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            Some(limit) => Err(KmsErrorType::Validation.because(format!("`Limit` is 1 to {MAX_LIMIT}, not {limit}"))),
        }
    }

    /// Behind which path to go on. A marker is the last path of the page before, so pages stay whole under changes.
    pub(super) fn after(&self, prefix: &str) -> Result<Option<String>, KmsError> {
        let Some(marker) = &self.marker else { return Ok(None) };
        let path = URL_SAFE_NO_PAD
            .decode(marker)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        match path {
            Some(rest) if !rest.is_empty() && rest.len() < 300 && !rest.contains(char::is_control) => {
                Ok(Some(format!("{prefix}{rest}")))
            }
            _ => Err(KmsErrorType::InvalidMarker.because("this marker came from no list")),
        }
    }
}

/// An answer with `items` under `name`; `more` is the last path of a page that is not the last.
pub(super) fn answer(name: &str, items: Vec<Value>, prefix: &str, more: Option<&str>) -> Value {
    let mut shape = Map::new();
    shape.insert(name.to_owned(), Value::Array(items));
    shape.insert("Truncated".to_owned(), json!(more.is_some()));
    if let Some(path) = more {
        let rest = path.strip_prefix(prefix).unwrap_or(path);
        shape.insert("NextMarker".to_owned(), json!(URL_SAFE_NO_PAD.encode(rest)));
    }
    Value::Object(shape)
}
