//! What a registry asks for (RFC 9110 section 11.6.1), and the bearer token that its token server gives for it
//! (the distribution project's token authentication).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use serde::Deserialize;
use signing::key::Secret;

use crate::failure::{Context, Failure};

/// How a registry wants to be told who asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// By name and password with each request.
    Basic,
    /// By a token of the server at `realm`.
    Bearer {
        /// The token server's URL.
        realm: String,
        /// For whom the token is; may be empty.
        service: String,
    },
}

impl Challenge {
    /// The best one of an answer's fields that we know.
    pub fn of(headers: &HeaderMap) -> Option<Challenge> {
        let fields = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|field| field.to_str().ok());
        let known: Vec<_> = fields.filter_map(Challenge::read).collect();
        let is_bearer = |challenge: &Challenge| matches!(challenge, Challenge::Bearer { .. });
        let place = known.iter().position(is_bearer).unwrap_or(0);
        known.into_iter().nth(place)
    }

    fn read(field: &str) -> Option<Challenge> {
        let (scheme, rest) = field.trim().split_once(' ').unwrap_or((field.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameters = parameters(rest);
        let value = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        Some(Challenge::Bearer {
            realm: value("realm")?,
            service: value("service").unwrap_or_default(),
        })
    }
}

/// `key=token` and `key="quoted \"text\""`, with commas between.
fn parameters(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([' ', '\t', ',']).to_owned();
        let (value, more) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (token, more) = after.split_once(',').unwrap_or((after, ""));
                (token.trim().to_owned(), more)
            }
        };
        found.push((key, value));
        rest = more;
    }
    found
}

/// A quoted text behind its first quote, and what follows its last.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut escaped = false;
    for (place, character) in text.char_indices() {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, text.get(place..).unwrap_or_default().trim_start_matches('"')),
            _ => value.push(character),
        }
    }
    (value, "")
}

/// The URL that a token for `scope` is asked at.
pub fn token_url(realm: &str, service: &str, scope: &str) -> String {
    let sign = if realm.contains('?') { '&' } else { '?' };
    let service = match service {
        "" => String::new(),
        service => format!("service={}&", escaped(service)),
    };
    format!("{realm}{sign}{service}scope={}", escaped(scope))
}

/// The form by which a refresh token is exchanged (RFC 6749 section 6).
pub fn refresh_form(service: &str, scope: &str, token: &Secret) -> Result<Vec<u8>, Failure> {
    let token = std::str::from_utf8(token.expose()).context(|| "the registry's identity token".to_owned())?;
    let (service, scope, token) = (escaped(service), escaped(scope), escaped(token));
    let form =
        format!("grant_type=refresh_token&client_id=signet&service={service}&scope={scope}&refresh_token={token}");
    Ok(form.into_bytes())
}

/// The token of a token server's answer.
///
/// # Errors
/// There is none in it. What was in it is not told: it may be half a token.
pub fn token(answer: &[u8]) -> Result<Secret, Failure> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let none = || Failure::new("the token server's answer has no token");
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| none())?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    Ok(Secret::new(token.ok_or_else(none)?.into_bytes()))
}

/// Percent-encoded (RFC 3986 section 2.1), but for the unreserved.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(fields: &[&str]) -> Option<Challenge> {
        let fields = fields
            .iter()
            .map(|field| (WWW_AUTHENTICATE, HeaderValue::from_str(field).unwrap()));
        let mut headers = HeaderMap::new();
        fields.for_each(|(name, value)| {
            headers.append(name, value);
        });
        Challenge::of(&headers)
    }

    #[test]
    fn a_challenge_is_read_however_it_is_written() {
        let bearer = |realm: &str, service: &str| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.to_owned(),
            })
        };
        assert_eq!(
            of(&[
                r#"Bearer realm="https://auth.example/token",service="registry, the \"one\"",scope="repository:a:pull""#
            ]),
            bearer("https://auth.example/token", r#"registry, the "one""#)
        );
        assert_eq!(
            of(&["bearer service=r , realm=https://a/t"]),
            bearer("https://a/t", "r")
        );
        assert_eq!(
            of(&["Basic realm=\"x\"", "Bearer realm=\"https://a/t\""]),
            bearer("https://a/t", "")
        );
        assert_eq!(of(&["Basic"]), Some(Challenge::Basic));
        for none in ["Negotiate", "Bearer", "Bearer service=\"r\"", "Bearer realm"] {
            assert_eq!(of(&[none]), None, "{none}");
        }
    }

    #[test]
    fn a_token_is_asked_for_by_what_the_challenge_says() {
        assert_eq!(
            token_url("https://a/t", "reg istry", "repository:acme/rule:pull,push"),
            "https://a/t?service=reg%20istry&scope=repository%3Aacme%2Frule%3Apull%2Cpush"
        );
        assert_eq!(token_url("https://a/t?x=1", "", "s"), "https://a/t?x=1&scope=s");
        let form = refresh_form("r", "s", &Secret::new(b"a&b".to_vec())).unwrap();
        assert!(String::from_utf8(form).unwrap().ends_with("&refresh_token=a%26b"));
        assert_eq!(token(br#"{"access_token":"t"}"#).unwrap().expose(), b"t");
        let refused = token(br#"{"token":"","hint":"s3cret"}"#).unwrap_err().to_string();
        assert!(
            refused.contains("has no token") && !refused.contains("s3cret"),
            "{refused}"
        );
    }
}
