//! `[plugins.config]` of the bundle: who may approve, with which key, and for how long.

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::VerifyingKey;
use signet_plugin::Value;

/// A day.
const DEFAULT_MAX_SECONDS: u64 = 86_400;

/// Somebody who may approve.
#[derive(Debug)]
pub struct Approver {
    /// As an approval's `kid` says it, and as the requester's name is compared with it.
    pub name: String,
    /// Ed25519 (RFC 8032).
    pub key: VerifyingKey,
}

/// The settings.
#[derive(Debug)]
pub struct Settings {
    /// At least one; names and keys are each there once.
    pub approvers: Vec<Approver>,
    /// How far ahead an approval's `exp` may lie, in seconds.
    pub max_seconds: u64,
    /// The caller's attribute that names who asks. None: the caller's subject.
    pub requester: Option<String>,
}

impl Settings {
    /// Reads them; an unusable one is an error, since a guard that guesses is none.
    pub fn read(get: impl Fn(&str) -> Option<Value>) -> Result<Settings, String> {
        let max_seconds = match get("max_seconds") {
            None => DEFAULT_MAX_SECONDS,
            Some(Value::Int(seconds @ 1..=31_536_000)) => seconds as u64,
            Some(_) => return Err("`max_seconds` must be a whole number of seconds, 1 to 31536000".into()),
        };
        let requester = match get("requester") {
            None => None,
            Some(Value::Text(name)) if !name.is_empty() => Some(name),
            Some(_) => return Err("`requester` must be the name of an attribute".into()),
        };
        let Some(Value::Texts(entries)) = get("approvers") else {
            return Err("`approvers` must be a list of NAME=KEY".into());
        };
        Ok(Settings {
            approvers: approvers(&entries)?,
            max_seconds,
            requester,
        })
    }
}

fn approvers(entries: &[String]) -> Result<Vec<Approver>, String> {
    let mut approvers: Vec<Approver> = Vec::new();
    for entry in entries {
        let Some(approver) = Approver::parse(entry) else {
            let form = "NAME=KEY, with an Ed25519 public key of 32 bytes in base64url";
            return Err(format!("an entry of `approvers` is not {form}"));
        };
        // One key under two names would let its holder approve what they asked for themselves.
        let is_taken = |other: &Approver| other.is_called(&approver.name) || other.key == approver.key;
        if approvers.iter().any(is_taken) {
            return Err("`approvers` has a name or a key twice".into());
        }
        approvers.push(approver);
    }
    if approvers.is_empty() {
        return Err("`approvers` must have at least one NAME=KEY".into());
    }
    Ok(approvers)
}

impl Approver {
    fn parse(entry: &str) -> Option<Approver> {
        let (name, key) = entry.split_once('=')?;
        let key = Base64UrlUnpadded::decode_vec(key).ok()?;
        let key = VerifyingKey::from_bytes(&key.try_into().ok()?).ok()?;
        // Anybody can make a signature that a key of small order verifies.
        (!name.is_empty() && !key.is_weak()).then(|| Approver { name: name.into(), key })
    }

    /// Whether this is the approver's name. Accounts of code hosts do not tell upper from lower case.
    pub fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;

    fn entry(name: &str, seed: u8) -> String {
        let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
        format!("{name}={}", Base64UrlUnpadded::encode_string(key.as_bytes()))
    }

    fn read(entries: Vec<String>) -> Result<Settings, String> {
        Settings::read(|name| (name == "approvers").then(|| Value::Texts(entries.clone())))
    }

    #[test]
    fn approvers_are_each_somebody_else() {
        let settings = read(vec![entry("carol", 1), entry("dave", 2)]).unwrap();
        assert_eq!((settings.approvers.len(), settings.max_seconds), (2, 86_400));
        assert!(read(vec![]).is_err());
        for second in [entry("Carol", 2), entry("dave", 1)] {
            assert!(read(vec![entry("carol", 1), second]).unwrap_err().contains("twice"));
        }
    }

    #[test]
    fn keys_must_be_keys() {
        let point_of_order_one = format!("carol=AQ{}", "A".repeat(41));
        let too_short = entry("carol", 1)[..40].to_owned();
        for wrong in [
            "carol",
            "=",
            &entry("", 1),
            "carol=AAAA",
            &too_short,
            &point_of_order_one,
        ] {
            assert!(read(vec![wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        let with = |name: &'static str, value: Value| {
            Settings::read(move |asked| match asked {
                "approvers" if name != "approvers" => Some(Value::Texts(vec![entry("carol", 1)])),
                _ => (asked == name).then(|| value.clone()),
            })
        };
        for (name, value) in [
            ("max_seconds", Value::Int(0)),
            ("max_seconds", Value::Text("1d".into())),
            ("requester", Value::Text(String::new())),
            ("requester", Value::Boolean(true)),
            ("approvers", Value::Text("carol".into())),
        ] {
            assert!(
                with(name, value.clone()).unwrap_err().contains(name),
                "{name} {value:?}"
            );
        }
        assert_eq!(with("max_seconds", Value::Int(60)).unwrap().max_seconds, 60);
        assert!(Settings::read(|_| None).is_err());
    }
}
