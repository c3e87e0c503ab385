//! An approval: a compact JWS (RFC 7515) with Ed25519 (RFC 8037), whose header and payload are flat JSON objects of texts
//! and whole numbers. That is all an approval needs, so nothing else is read: no nesting, no escapes, no name twice.

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signature, VerifyingKey};

/// The longest approval, in bytes.
const MAX_LENGTH: usize = 2048;
/// What the header's `typ` must be, so that nothing else that an approver signed can pass for an approval.
pub const TYPE: &str = "signet-approval";

/// An approval whose signature is not verified yet.
#[derive(Debug)]
pub struct Unverified<'a> {
    signed: &'a str,
    payload: &'a str,
    signature: Signature,
    /// Whose it claims to be.
    pub kid: String,
}

/// What an approver signed.
#[derive(Debug, PartialEq, Eq)]
pub struct Approval {
    /// As `sha256:` and hexadecimal digits.
    pub digest: String,
    /// The profile that may sign.
    pub profile: String,
    /// Unix seconds from which on it is void.
    pub exp: u64,
}

impl<'a> Unverified<'a> {
    /// Takes it apart. None: it is no approval.
    pub fn parse(jws: &'a str) -> Option<Unverified<'a>> {
        if jws.len() > MAX_LENGTH {
            return None;
        }
        let (signed, signature) = jws.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header = Object::parse(&decode(header)?)?;
        let algorithm = header.text("alg")?;
        if header.text("typ")? != TYPE || !matches!(algorithm, "EdDSA" | "Ed25519") {
            return None;
        }
        // A header that must be understood (RFC 7515, section 4.1.11) is none that this understands.
        if header.has("crit") || header.has("b64") {
            return None;
        }
        let signature = Base64UrlUnpadded::decode_vec(signature).ok()?;
        Some(Unverified {
            signed,
            payload,
            signature: Signature::from_slice(&signature).ok()?,
            kid: header.text("kid")?.to_owned(),
        })
    }

    /// Whether this key signed it. Signatures that some implementations take and others refuse are refused.
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        key.verify_strict(self.signed.as_bytes(), &self.signature).is_ok()
    }

    /// What it says; to be believed only once [`Unverified::is_signed_by`] holds.
    pub fn read(&self) -> Option<Approval> {
        let payload = Object::parse(&decode(self.payload)?)?;
        Some(Approval {
            digest: payload.text("digest")?.to_owned(),
            profile: payload.text("profile")?.to_owned(),
            exp: payload.number("exp")?,
        })
    }
}

fn decode(part: &str) -> Option<String> {
    String::from_utf8(Base64UrlUnpadded::decode_vec(part).ok()?).ok()
}

#[derive(Debug)]
enum Member {
    Text(String),
    Number(u64),
}

/// A flat JSON object, each name once.
#[derive(Debug)]
struct Object(Vec<(String, Member)>);

impl Object {
    fn parse(json: &str) -> Option<Object> {
        let mut rest = json.trim_matches(is_space).strip_prefix('{')?.strip_suffix('}')?;
        let mut members: Vec<(String, Member)> = Vec::new();
        loop {
            let (name, after) = text(rest)?;
            if members.iter().any(|(known, _)| *known == name) {
                return None;
            }
            let (member, after) = member(after.trim_start_matches(is_space).strip_prefix(':')?)?;
            members.push((name, member));
            rest = after.trim_start_matches(is_space);
            if rest.is_empty() {
                return Some(Object(members));
            }
            rest = rest.strip_prefix(',')?;
        }
    }

    fn find(&self, name: &str) -> Option<&Member> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, member)| member)
    }

    fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.find(name)? {
            Member::Text(text) => Some(text),
            Member::Number(_) => None,
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        match self.find(name)? {
            Member::Number(number) => Some(*number),
            Member::Text(_) => None,
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// A string without escapes, and what follows it.
fn text(json: &str) -> Option<(String, &str)> {
    let (text, after) = json.trim_start_matches(is_space).strip_prefix('"')?.split_once('"')?;
    let plain = !text.chars().any(|c| c == '\\' || c.is_control());
    plain.then(|| (text.to_owned(), after))
}

/// A string or a whole number, and what follows it.
fn member(json: &str) -> Option<(Member, &str)> {
    let json = json.trim_start_matches(is_space);
    if let Some((text, after)) = text(json) {
        return Some((Member::Text(text), after));
    }
    let (digits, after) = json.split_at(json.find(|c: char| !c.is_ascii_digit()).unwrap_or(json.len()));
    let is_json = digits == "0" || !digits.starts_with('0');
    let number = digits.parse().ok().filter(|_| is_json)?;
    Some((Member::Number(number), after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    fn jws(header: &str, payload: &str) -> String {
        let signed = format!(
            "{}.{}",
            Base64UrlUnpadded::encode_string(header.as_bytes()),
            Base64UrlUnpadded::encode_string(payload.as_bytes())
        );
        let signature = SigningKey::from_bytes(&[1; 32]).sign(signed.as_bytes());
        format!("{signed}.{}", Base64UrlUnpadded::encode_string(&signature.to_bytes()))
    }

    #[test]
    fn an_approval_is_read_and_belongs_to_its_key() {
        let text = jws(
            r#"{"alg":"EdDSA","typ":"signet-approval","kid":"carol"}"#,
            " { \"digest\" : \"sha256:00\", \"profile\":\"release\",\n\"exp\": 7, \"ticket\":\"OPS-1\" } ",
        );
        let approval = Unverified::parse(&text).unwrap();
        assert_eq!(approval.kid, "carol");
        assert!(approval.is_signed_by(&SigningKey::from_bytes(&[1; 32]).verifying_key()));
        assert!(!approval.is_signed_by(&SigningKey::from_bytes(&[2; 32]).verifying_key()));
        let (digest, profile) = ("sha256:00".into(), "release".into());
        assert_eq!(
            approval.read(),
            Some(Approval {
                digest,
                profile,
                exp: 7
            })
        );
    }

    #[test]
    fn other_headers_are_none_of_an_approval() {
        for header in [
            r#"{"alg":"none","typ":"signet-approval","kid":"carol"}"#,
            r#"{"alg":"HS256","typ":"signet-approval","kid":"carol"}"#,
            r#"{"alg":"EdDSA","typ":"JWT","kid":"carol"}"#,
            r#"{"alg":"EdDSA","kid":"carol"}"#,
            r#"{"alg":"EdDSA","typ":"signet-approval"}"#,
            r#"{"alg":"EdDSA","typ":"signet-approval","kid":"carol","crit":"exp"}"#,
            r#"{"alg":"EdDSA","typ":"signet-approval","kid":"carol","kid":"dave"}"#,
            r#"{"alg":"EdDSA","typ":"signet-approval","kid":"carol"},"#,
            "",
        ] {
            assert!(Unverified::parse(&jws(header, "{}")).is_none(), "{header}");
        }
        let good = jws(r#"{"alg":"Ed25519","typ":"signet-approval","kid":"carol"}"#, "{}");
        assert!(Unverified::parse(&good).is_some());
        for wrong in [
            good.replace('.', ""),
            format!("{good}="),
            format!("{good}.a"),
            good[..good.len() - 2].into(),
        ] {
            assert!(Unverified::parse(&wrong).is_none(), "{wrong}");
        }
        let long = jws(
            r#"{"alg":"EdDSA","typ":"signet-approval","kid":"carol"}"#,
            &" ".repeat(2048),
        );
        assert!(Unverified::parse(&long).is_none());
    }

    #[test]
    fn objects_are_flat_and_plain() {
        assert!(Object::parse(r#"{"a":"b","c":0,"d":18446744073709551615}"#).is_some());
        for wrong in [
            "{}",
            "{",
            "}",
            "[]",
            r#"{"a":1,}"#,
            r#"{"a":01}"#,
            r#"{"a":-1}"#,
            r#"{"a":1.5}"#,
            r#"{"a":1e9}"#,
            r#"{"a":18446744073709551616}"#,
            r#"{"a":"\u0062"}"#,
            r#"{"a":{}}"#,
            r#"{"a":[1]}"#,
            r#"{"a":true}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a" 1}"#,
            r#"{"a":1 "b":2}"#,
            r#"{a:1}"#,
            r#"{"a":}"#,
            "{\"a\":\"\n\"}",
            r#"{"a"}"#,
        ] {
            assert!(Object::parse(wrong).is_none(), "{wrong}");
        }
    }
}
