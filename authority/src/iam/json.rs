//! JSON as it was written: members in their order, and members that are given twice still there to be refused.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::names::shown;

/// Beyond this, a number that is not a 64-bit integer was rounded when it was read.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// One JSON value. `serde_json` bounds the nesting to 128.
pub(super) enum Json {
    Null,
    Bool(bool),
    /// As text.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
    }

    /// For messages: what it is.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    pub(super) fn text(self, of: &str) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(format!("`{of}` is a string, not {}", other.what())),
        }
    }

    /// One or more strings: a list's, or the one that stands alone.
    pub(super) fn texts(self, of: &str) -> Result<Vec<String>, String> {
        let items = match self {
            Self::Text(text) => return Ok(vec![text]),
            Self::List(items) => items,
            other => return Err(format!("`{of}` is a string or a list of strings, not {}", other.what())),
        };
        if items.is_empty() {
            return Err(format!("`{of}` is an empty list; name at least one"));
        }
        items.into_iter().map(|item| item.text(of)).collect()
    }

    pub(super) fn members(self, of: &str) -> Result<Members, String> {
        let Self::Object(members) = self else {
            return Err(format!("{of} is an object, not {}", self.what()));
        };
        let mut seen = BTreeSet::new();
        if let Some((name, _)) = members.iter().find(|(name, _)| !seen.insert(name)) {
            return Err(format!("`{}` is given twice", shown(name)));
        }
        Ok(Members(members))
    }
}

/// The members of an object, each named once; they are taken out until none is left.
pub(super) struct Members(Vec<(String, Json)>);

impl Members {
    pub(super) fn take(&mut self, name: &str) -> Option<Json> {
        let place = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.remove(place).1)
    }

    /// A member that nobody took.
    pub(super) fn left(&self) -> Option<&str> {
        self.0.first().map(|(name, _)| name.as_str())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_pairs(self) -> Vec<(String, Json)> {
        self.0
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        if value.abs() >= EXACT {
            return Err(E::custom("a number is too large to be exact, write it as a string"));
        }
        Ok(Json::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Json::Object(object))
    }
}
