//! What a key's signature is wrapped in: one file a format.

pub mod jwt;
pub mod raw;

use std::fmt;
use std::str::FromStr;

/// A format a delegation may name. To add one: a file here, a line in each match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// JWS compact serialization of a JWT, [`jwt`].
    Jwt,
    /// A bare signature over a digest or message, [`raw`].
    Raw,
}

impl Format {
    /// Every format there is.
    pub const ALL: [Format; 2] = [Self::Jwt, Self::Raw];

    /// The name in a delegation's scope.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Raw => "raw",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no format of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown format `{0}`, use one of jwt, raw")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let known = Self::ALL.into_iter().find(|format| format.as_str() == name);
        known.ok_or_else(|| UnknownFormat(name.chars().take(32).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        assert!("JWT".parse::<Format>().is_err());
    }
}
