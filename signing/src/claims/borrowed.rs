//! Claims as they are written: borrowed, since a token that is minted needs no copy of what its request holds.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;

use super::{AUDIENCE, Claims, ClaimsError, DATE, MAX_AUDIENCES, MAX_DATE, MAX_LEN, check_extra};
use crate::json::JsonError;

/// The claims of a token that is about to be minted: [`Claims`], field for field.
#[derive(Clone, Copy, Debug)]
pub struct ClaimsRef<'a> {
    /// Who issues it.
    pub iss: Option<&'a str>,
    /// Whom it speaks of.
    pub sub: Option<&'a str>,
    /// For whom it is.
    pub aud: &'a [String],
    /// From this Unix second on it counts no more.
    pub exp: Option<u64>,
    /// Before this Unix second it does not count yet.
    pub nbf: Option<u64>,
    /// When it was made, Unix seconds.
    pub iat: Option<u64>,
    /// Its id.
    pub jti: Option<&'a str>,
    /// All others.
    pub extra: &'a BTreeMap<String, Value>,
}

impl<'a> From<&'a Claims> for ClaimsRef<'a> {
    fn from(claims: &'a Claims) -> Self {
        Self {
            iss: claims.iss.as_deref(),
            sub: claims.sub.as_deref(),
            aud: &claims.aud,
            exp: claims.exp,
            nbf: claims.nbf,
            iat: claims.iat,
            jti: claims.jti.as_deref(),
            extra: &claims.extra,
        }
    }
}

impl ClaimsRef<'_> {
    /// Writes a token's payload: registered claims first, in RFC 7519's order, then the others by name.
    ///
    /// # Errors
    /// [`ClaimsError`] when a bound is exceeded or `extra` holds a registered name.
    pub fn encode(&self) -> Result<Vec<u8>, ClaimsError> {
        check_extra(self.extra)?;
        if self.aud.len() > MAX_AUDIENCES {
            return Err(ClaimsError::Malformed {
                name: "aud",
                expected: AUDIENCE,
            });
        }
        for (name, value) in [("exp", self.exp), ("nbf", self.nbf), ("iat", self.iat)] {
            if value.is_some_and(|seconds| seconds > MAX_DATE) {
                return Err(ClaimsError::Malformed { name, expected: DATE });
            }
        }
        let mut payload = Vec::with_capacity(512);
        serde_json::to_writer(&mut payload, self).map_err(JsonError::from)?;
        if payload.len() > MAX_LEN {
            return Err(ClaimsError::TooLarge(payload.len()));
        }
        Ok(payload)
    }
}

impl Serialize for ClaimsRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let mut text = |name, value: Option<&str>| match value {
            Some(value) => map.serialize_entry(name, value),
            None => Ok(()),
        };
        text("iss", self.iss)?;
        text("sub", self.sub)?;
        match self.aud {
            [] => {}
            [one] => map.serialize_entry("aud", one)?,
            many => map.serialize_entry("aud", many)?,
        }
        for (name, value) in [("exp", self.exp), ("nbf", self.nbf), ("iat", self.iat)] {
            if let Some(value) = value {
                map.serialize_entry(name, &value)?;
            }
        }
        if let Some(value) = self.jti {
            map.serialize_entry("jti", value)?;
        }
        for (name, value) in self.extra {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
