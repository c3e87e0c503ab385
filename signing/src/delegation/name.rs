use std::fmt;
use std::str::FromStr;

const SCHEME: &str = "signet://";

/// A logical key: what a delegation CA is named after. URI `signet://TRUST-DOMAIN/TENANT/key/KEY`.
///
/// The scheme is not `spiffe:`, so that nothing takes a delegation for a node's identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyName {
    /// Lowercase DNS-like name, 1 to 255 of `a–z 0–9 . - _`.
    pub trust_domain: String,
    /// 12 digits.
    pub tenant: String,
    /// Key id, a lowercase UUID.
    pub key: String,
}

/// One delegation. URI `signet://TRUST-DOMAIN/TENANT/key/KEY/VERSION/edge/EDGE/INCARNATION`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DelegationName {
    /// Lowercase DNS-like name, 1 to 255 of `a–z 0–9 . - _`.
    pub trust_domain: String,
    /// 12 digits.
    pub tenant: String,
    /// Key id, a lowercase UUID.
    pub key: String,
    /// Version of the logical key.
    pub version: u32,
    /// Edge id, 1 to 63 of `a–z 0–9 -`.
    pub edge: String,
    /// Which start of the edge's process, 1 to 64 of `a–z 0–9 -`.
    pub incarnation: String,
}

/// A part of a name that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The URI has another shape.
    #[error("a delegation is named signet://TRUST-DOMAIN/TENANT/key/KEY[/VERSION/edge/EDGE/INCARNATION]")]
    Shape,
    /// One part does not fit.
    #[error("the {part} `{value}` must be {rule}")]
    Part {
        /// Which part.
        part: &'static str,
        /// What it was, cut short.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
}

impl KeyName {
    /// The URI.
    ///
    /// # Errors
    /// [`NameError::Part`] when a part is not as it must be.
    pub fn uri(&self) -> Result<String, NameError> {
        self.check()?;
        Ok(format!(
            "{SCHEME}{}/{}/key/{}",
            self.trust_domain, self.tenant, self.key
        ))
    }

    fn check(&self) -> Result<(), NameError> {
        let domain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        let ends_with_dot = self.trust_domain.starts_with('.') || self.trust_domain.ends_with('.');
        let rule = "1 to 255 characters of a-z 0-9 . - _ without dots at the ends";
        part("trust domain", &self.trust_domain, rule, |v| {
            v.len() <= 255 && v.chars().all(domain) && !ends_with_dot
        })?;
        part("tenant", &self.tenant, "12 digits", |v| {
            v.len() == 12 && v.chars().all(|c| c.is_ascii_digit())
        })?;
        part("key id", &self.key, "a lowercase UUID", is_uuid)
    }
}

impl DelegationName {
    /// The logical key that was delegated.
    pub fn key_name(&self) -> KeyName {
        KeyName {
            trust_domain: self.trust_domain.clone(),
            tenant: self.tenant.clone(),
            key: self.key.clone(),
        }
    }

    /// The URI.
    ///
    /// # Errors
    /// [`NameError::Part`] when a part is not as it must be.
    pub fn uri(&self) -> Result<String, NameError> {
        let key = self.key_name().uri()?;
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let rule = "1 to 63 characters of a-z 0-9 -";
        part("edge id", &self.edge, rule, |v| v.len() <= 63 && v.chars().all(inside))?;
        let rule = "1 to 64 characters of a-z 0-9 -";
        part("incarnation", &self.incarnation, rule, |v| {
            v.len() <= 64 && v.chars().all(inside)
        })?;
        Ok(format!(
            "{key}/{}/edge/{}/{}",
            self.version, self.edge, self.incarnation
        ))
    }
}

impl FromStr for KeyName {
    type Err = NameError;

    fn from_str(uri: &str) -> Result<Self, NameError> {
        let parts: Vec<&str> = uri.strip_prefix(SCHEME).ok_or(NameError::Shape)?.split('/').collect();
        let [trust_domain, tenant, "key", key] = *parts.as_slice() else {
            return Err(NameError::Shape);
        };
        let name = Self {
            trust_domain: trust_domain.into(),
            tenant: tenant.into(),
            key: key.into(),
        };
        name.check()?;
        Ok(name)
    }
}

impl FromStr for DelegationName {
    type Err = NameError;

    fn from_str(uri: &str) -> Result<Self, NameError> {
        let parts: Vec<&str> = uri.strip_prefix(SCHEME).ok_or(NameError::Shape)?.split('/').collect();
        let [trust_domain, tenant, "key", key, version, "edge", edge, incarnation] = *parts.as_slice() else {
            return Err(NameError::Shape);
        };
        let name = Self {
            trust_domain: trust_domain.into(),
            tenant: tenant.into(),
            key: key.into(),
            version: version.parse().map_err(|_| NameError::Shape)?,
            edge: edge.into(),
            incarnation: incarnation.into(),
        };
        // One name has one URI: a sign or leading zeros in the version would make two.
        if name.uri()? == uri {
            Ok(name)
        } else {
            Err(NameError::Shape)
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/key/{}", self.trust_domain, self.tenant, self.key)
    }
}

impl fmt::Display for DelegationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/edge/{}/{}",
            self.key_name(),
            self.version,
            self.edge,
            self.incarnation
        )
    }
}

fn part(part: &'static str, value: &str, rule: &'static str, fits: impl FnOnce(&str) -> bool) -> Result<(), NameError> {
    if !value.is_empty() && fits(value) {
        return Ok(());
    }
    Err(NameError::Part {
        part,
        value: value.chars().take(64).collect(),
        rule,
    })
}

fn is_uuid(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(|group| group.chars().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "signet://example.org/000000000001/key/0b54ae66-5f2f-4a0e-9d7c-2f6c1f1b8a10/3/edge/fra-1/6f00d2";

    #[test]
    fn names_round_trip() {
        let name: DelegationName = URI.parse().unwrap();
        assert_eq!(
            (name.version, name.edge.as_str(), name.incarnation.as_str()),
            (3, "fra-1", "6f00d2")
        );
        assert_eq!(name.uri().unwrap(), URI);
        assert_eq!(name.to_string(), URI);
        let key: KeyName = "signet://example.org/000000000001/key/0b54ae66-5f2f-4a0e-9d7c-2f6c1f1b8a10"
            .parse()
            .unwrap();
        assert_eq!(key, name.key_name());
    }

    #[test]
    fn every_bad_name_is_refused() {
        let bad = [
            URI.replace("signet:", "spiffe:"),
            URI.replace("signet:", "SIGNET:"),
            URI.replace("example.org", "Example.org"),
            URI.replace("example.org", ""),
            URI.replace("example.org", ".example.org"),
            URI.replace("example.org", "user@example.org"),
            URI.replace("example.org", "example.org:443"),
            URI.replace("000000000001", "1"),
            URI.replace("000000000001", "00000000000a"),
            URI.replace("0b54ae66", "0B54AE66"),
            URI.replace("0b54ae66-", "0b54ae66"),
            URI.replace("/key/", "/keys/"),
            URI.replace("/3/", "/03/"),
            URI.replace("/3/", "/+3/"),
            URI.replace("/3/", "/-1/"),
            URI.replace("/3/", "/4294967296/"),
            URI.replace("fra-1", "fra_1"),
            URI.replace("fra-1", ""),
            URI.replace("fra-1", &"e".repeat(64)),
            URI.replace("6f00d2", ""),
            URI.replace("6f00d2", &"0".repeat(65)),
            format!("{URI}/"),
            format!("{URI}?x"),
            format!("{URI}#x"),
            format!("{URI}/extra"),
            String::new(),
        ];
        for uri in bad {
            assert!(uri.parse::<DelegationName>().is_err(), "{uri}");
        }
        assert!(URI.parse::<KeyName>().is_err());
    }
}
