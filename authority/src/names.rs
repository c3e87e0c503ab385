//! The names that rows, certificates and events are keyed by, checked once where they enter.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// A tenant: 12 digits, as AWS accounts are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

impl Tenant {
    /// Refuses anything but 12 digits.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if policies::names::is_tenant(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Fault::invalid(
                "bad_request",
                format!("a tenant has 12 digits, `{}` has not", shown(text)),
            ))
        }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An edge: 1 to 63 of `a-z 0-9 -`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EdgeId(String);

impl EdgeId {
    /// Refuses names that would not fit into a URI path segment.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if policies::names::is_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            let message = format!("an edge id has 1 to 63 of a-z 0-9 -, `{}` has not", shown(text));
            Err(Fault::invalid("bad_request", message))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = Fault;
            fn try_from(text: String) -> Result<Self, Fault> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}
text!(Tenant);
text!(EdgeId);

/// 128 bits in lowercase hex: a start of an edge process.
pub fn check_incarnation(text: &str) -> Result<(), Fault> {
    let fits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    if fits {
        Ok(())
    } else {
        Err(Fault::invalid(
            "bad_request",
            "an incarnation has 32 lowercase hex digits",
        ))
    }
}

/// A DNS name of at least one label, lowercase, at most 253 bytes: what may be a trust domain.
pub fn is_trust_domain(text: &str) -> bool {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// User input, cut to what a message can carry.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_fit_are_refused() {
        for bad in ["", "1", "00000000000a", "0000000000001", "../000000001"] {
            assert!(Tenant::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "-a", "A", "a/b", "a b", "é", &"a".repeat(64)] {
            assert!(EdgeId::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "00", &"G".repeat(32), &"A".repeat(32), &"0".repeat(33)] {
            assert!(check_incarnation(bad).is_err(), "{bad}");
        }
        for bad in ["", ".", "a..b", "A.b", "a_b", "-a", "a-", "a/b"] {
            assert!(!is_trust_domain(bad), "{bad}");
        }
        assert!(is_trust_domain("example.org") && is_trust_domain("signet"));
    }
}
