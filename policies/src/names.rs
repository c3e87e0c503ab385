//! The names a bundle may use: who owns them and which characters they take.

/// Whether `text` is a tenant: 12 digits, as AWS accounts are.
pub fn is_tenant(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether `text` names a profile, an issuer, a plugin or an edge: 1 to 63 of `a-z 0-9 -`, starting with a letter or digit.
pub fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether `text` names a role or a user of an account: 1 to 64 of `A-Z a-z 0-9 + = , . @ _ -`, as in IAM.
pub fn is_role(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b))
}

/// Whether `text` names a caller's attribute: 1 to 64 of `a-z 0-9 _`, starting with a letter.
pub fn is_attribute(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Whether `text` names a claim: 1 to 256 bytes without control characters.
pub fn is_claim(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Whether `text` is a key reference: `alias/NAME` (KMS's characters, `A-Z a-z 0-9 / _ -`, at most 256) or a UUID.
pub fn is_key(text: &str) -> bool {
    match text.strip_prefix("alias/") {
        Some(name) => {
            (1..=250).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-'))
        }
        None => is_uuid(text),
    }
}

/// Whether `text` is a UUID in its usual form, lower case, with hyphens.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || matches!(b, b'a'..=b'f'),
        })
}

/// Whether `text` is an `https` URL with a host and without user information, query or fragment; `http` counts for a
/// loopback host only. At most 512 bytes, printable ASCII.
pub fn is_url(text: &str) -> bool {
    let (rest, secure) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (rest, true),
        (None, Some(rest)) => (rest, false),
        (None, None) => return false,
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    text.len() <= 512
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'"' | b'\\' | b'@' | b'<' | b'>'))
        && !host.is_empty()
        && (secure || matches!(host, "localhost" | "127.0.0.1" | "::1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_characters() {
        assert!(is_tenant("000000000001") && !is_tenant("00000000001") && !is_tenant("00000000000a"));
        assert!(
            is_name("web-session") && !is_name("-x") && !is_name("") && !is_name("Web") && !is_name(&"a".repeat(64))
        );
        assert!(is_attribute("ref_name") && !is_attribute("9x") && !is_attribute("a-b"));
        assert!(is_claim("https://example/x") && !is_claim("") && !is_claim("a\nb"));
        assert!(is_key("alias/dev/es256") && !is_key("alias/") && !is_key("alias/a b") && !is_key("es256"));
        assert!(is_key("0d6a2f6e-8a5c-4f0e-9d5b-2f4c8a3b1c22") && !is_key("0D6A2F6E-8A5C-4F0E-9D5B-2F4C8A3B1C22"));
    }

    #[test]
    fn urls_are_https_or_loopback() {
        for good in [
            "https://ci.example",
            "https://ci.example:8443/a/b",
            "http://127.0.0.1:9",
            "http://[::1]:9/x",
        ] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "",
            "ci.example",
            "http://ci.example",
            "https://",
            "https:///x",
            "https://a?b",
            "https://u@h",
            "ftp://h",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
