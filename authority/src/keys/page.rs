//! Lists in pages: `Limit`, `Marker`, `NextMarker`, `Truncated`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{KmsError, KmsErrorType};
use crate::sealed::Vault;
use crate::store::MAX_SCAN;

/// Most items of one page, and how many there are when nothing is asked.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// Rows that one list looks at to find those it wants, in one request. A page may so be shorter than its limit, and even
/// empty, with more to come.
const MAX_ROWS: usize = 5000;

/// What every list takes.
pub(super) struct Paging {
    limit: Option<usize>,
    marker: Option<String>,
    default: usize,
    most: usize,
}

impl Paging {
    pub(super) fn new(limit: Option<usize>, marker: Option<String>) -> Self {
        Self {
            limit,
            marker,
            default: DEFAULT_LIMIT,
            most: MAX_LIMIT,
        }
    }

    /// Of lists whose bounds differ from those of most.
    pub(super) fn within(self, default: usize, most: usize) -> Self {
        Self { default, most, ..self }
    }

    /// How many items to answer.
    pub(super) fn limit(&self) -> Result<usize, KmsError> {
        match self.limit {
            None => Ok(self.default),
            Some(limit) if (1..=self.most).contains(&limit) => Ok(limit),
            Some(limit) => {
                let message = format!("`Limit` is 1 to {}, not {limit}", self.most);
                Err(KmsErrorType::Validation.because(message))
            }
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

/// The rows of one page that `wanted` picks, and the path of the last one looked at where more may come.
pub(super) async fn filtered<T: DeserializeOwned>(
    vault: &Vault,
    prefix: &str,
    paging: &Paging,
    wanted: impl Fn(&T) -> bool,
) -> Result<(Vec<(String, T)>, Option<String>), KmsError> {
    let limit = paging.limit()?;
    let mut after = paging.after(prefix)?;
    let (mut found, mut looked) = (Vec::new(), 0_usize);
    loop {
        // One row more than fits tells whether this is the last page.
        let size = limit.saturating_add(1).min(MAX_SCAN);
        let rows = vault.page::<T>(prefix, after.as_deref(), size).await?;
        let last = rows.len() < size;
        for (path, row) in rows {
            looked = looked.saturating_add(1);
            let wants = wanted(&row.value);
            if (wants && found.len() == limit) || looked > MAX_ROWS {
                return Ok((found, after));
            }
            if wants {
                found.push((path.clone(), row.value));
            }
            after = Some(path);
        }
        if last {
            return Ok((found, None));
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
