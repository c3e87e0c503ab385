use der::{Decode, Encode, Sequence};

use crate::format::Format;

/// The audience that stands for every audience.
pub const ANY_AUDIENCE: &str = "*";
const VERSION: u8 = 1;
const MAX_FORMATS: usize = 8;
const MAX_AUDIENCES: usize = 64;
const MAX_TEXT: usize = 512;
/// The longest lifetime a scope can name: 366 days.
const MAX_LIFETIME: u32 = 366 * 86_400;

/// What a delegated key may sign, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Names of [`Format`]s, 1 to 8.
    pub formats: Vec<String>,
    /// The only `iss` its tokens may have; none where it signs no tokens.
    pub issuer: Option<String>,
    /// The audiences its tokens may be for, at most 64; [`ANY_AUDIENCE`] for any; none where it signs no tokens.
    pub audiences: Vec<String>,
    /// The longest life of a token, in seconds, 1 to 31,622,400.
    pub max_lifetime: u32,
}

/// A scope that is not as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not the extension's DER, or of a version this program does not know.
    #[error("the scope extension cannot be read")]
    Malformed,
    /// No format, too many, or a name that is none.
    #[error("a scope has 1 to 8 formats, each 1 to 32 characters of a-z 0-9 -")]
    Formats,
    /// The issuer is empty or too long, or missing although tokens are in scope.
    #[error("a scope with the format jwt has an issuer of 1 to 512 bytes")]
    Issuer,
    /// Too many audiences, or an empty or long one.
    #[error("a scope has at most 64 audiences of 1 to 512 bytes each")]
    Audiences,
    /// The lifetime is 0 or more than 366 days.
    #[error("a scope's lifetime is 1 to 31622400 seconds")]
    Lifetime,
}

#[derive(Sequence)]
struct Encoded {
    version: u8,
    formats: Vec<String>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    issuer: Option<String>,
    audiences: Vec<String>,
    max_lifetime: u32,
}

impl Scope {
    /// The extension's value, DER.
    ///
    /// # Errors
    /// [`ScopeError`] when a field exceeds its bounds.
    pub fn to_der(&self) -> Result<Vec<u8>, ScopeError> {
        self.check()?;
        let encoded = Encoded {
            version: VERSION,
            formats: self.formats.clone(),
            issuer: self.issuer.clone(),
            audiences: self.audiences.clone(),
            max_lifetime: self.max_lifetime,
        };
        encoded.to_der().map_err(|_| ScopeError::Malformed)
    }

    /// Reads the extension's value.
    ///
    /// # Errors
    /// [`ScopeError`] for anything but strict DER of version 1 within its bounds.
    pub fn from_der(der: &[u8]) -> Result<Self, ScopeError> {
        let encoded = Encoded::from_der(der).map_err(|_| ScopeError::Malformed)?;
        if encoded.version != VERSION {
            return Err(ScopeError::Malformed);
        }
        let scope = Self {
            formats: encoded.formats,
            issuer: encoded.issuer,
            audiences: encoded.audiences,
            max_lifetime: encoded.max_lifetime,
        };
        scope.check()?;
        Ok(scope)
    }

    /// Whether this format is in scope.
    pub fn allows(&self, format: Format) -> bool {
        self.formats.iter().any(|name| name == format.as_str())
    }

    /// Whether a token may be for this audience.
    pub fn allows_audience(&self, audience: &str) -> bool {
        self.audiences
            .iter()
            .any(|allowed| allowed == ANY_AUDIENCE || allowed == audience)
    }

    fn check(&self) -> Result<(), ScopeError> {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let format = |name: &String| (1..=32).contains(&name.len()) && name.chars().all(inside);
        if !(1..=MAX_FORMATS).contains(&self.formats.len()) || !self.formats.iter().all(format) {
            return Err(ScopeError::Formats);
        }
        let text = |value: &String| (1..=MAX_TEXT).contains(&value.len());
        if !self.issuer.as_ref().map_or(!self.allows(Format::Jwt), text) {
            return Err(ScopeError::Issuer);
        }
        if self.audiences.len() > MAX_AUDIENCES || !self.audiences.iter().all(text) {
            return Err(ScopeError::Audiences);
        }
        if !(1..=MAX_LIFETIME).contains(&self.max_lifetime) {
            return Err(ScopeError::Lifetime);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token_scope() -> Scope {
        Scope {
            formats: vec!["jwt".into()],
            issuer: Some("https://edge.example/i/dev".into()),
            audiences: vec!["cdn".into(), "api".into()],
            max_lifetime: 3600,
        }
    }

    #[test]
    fn der_round_trips_and_is_as_documented() {
        let artifact = Scope {
            formats: vec!["raw".into()],
            issuer: None,
            audiences: vec![],
            max_lifetime: 1,
        };
        assert_eq!(
            artifact.to_der().unwrap(),
            [
                0x30, 0x0f, 2, 1, 1, 0x30, 5, 0x0c, 3, b'r', b'a', b'w', 0x30, 0, 2, 1, 1
            ]
        );
        for scope in [artifact, token_scope()] {
            assert_eq!(Scope::from_der(&scope.to_der().unwrap()), Ok(scope));
        }
    }

    #[test]
    fn bounds_hold_both_ways() {
        let cases = [
            (
                Scope {
                    formats: vec![],
                    ..token_scope()
                },
                ScopeError::Formats,
            ),
            (
                Scope {
                    formats: vec!["JWT".into()],
                    ..token_scope()
                },
                ScopeError::Formats,
            ),
            (
                Scope {
                    formats: vec!["raw".into(); 9],
                    ..token_scope()
                },
                ScopeError::Formats,
            ),
            (
                Scope {
                    issuer: None,
                    ..token_scope()
                },
                ScopeError::Issuer,
            ),
            (
                Scope {
                    issuer: Some(String::new()),
                    ..token_scope()
                },
                ScopeError::Issuer,
            ),
            (
                Scope {
                    issuer: Some("x".repeat(513)),
                    ..token_scope()
                },
                ScopeError::Issuer,
            ),
            (
                Scope {
                    audiences: vec![String::new()],
                    ..token_scope()
                },
                ScopeError::Audiences,
            ),
            (
                Scope {
                    audiences: vec!["a".into(); 65],
                    ..token_scope()
                },
                ScopeError::Audiences,
            ),
            (
                Scope {
                    max_lifetime: 0,
                    ..token_scope()
                },
                ScopeError::Lifetime,
            ),
            (
                Scope {
                    max_lifetime: u32::MAX,
                    ..token_scope()
                },
                ScopeError::Lifetime,
            ),
        ];
        for (scope, error) in cases {
            assert_eq!(scope.to_der(), Err(error), "{scope:?}");
        }
    }

    #[test]
    fn other_versions_and_trailing_bytes_are_refused() {
        let der = token_scope().to_der().unwrap();
        let mut later = der.clone();
        assert_eq!(later[4], 1);
        later[4] = 2;
        assert_eq!(Scope::from_der(&later), Err(ScopeError::Malformed));
        assert_eq!(Scope::from_der(&[&der[..], &[0]].concat()), Err(ScopeError::Malformed));
        assert_eq!(Scope::from_der(&[]), Err(ScopeError::Malformed));
    }

    #[test]
    fn an_audience_is_allowed_only_when_named() {
        assert!(token_scope().allows_audience("cdn") && !token_scope().allows_audience("cd"));
        assert!(!token_scope().allows_audience("*"));
        let any = Scope {
            audiences: vec![ANY_AUDIENCE.into()],
            ..token_scope()
        };
        assert!(any.allows_audience("whoever"));
        assert!(
            !Scope {
                audiences: vec![],
                ..token_scope()
            }
            .allows_audience("cdn")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(scope) = Scope::from_der(&bytes) {
                prop_assert_eq!(scope.to_der().unwrap(), bytes);
            }
        }
    }
}
