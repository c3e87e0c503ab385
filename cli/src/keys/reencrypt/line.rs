//! A line of the list: what it asks for, and the line that takes its place. Pure.

use std::collections::BTreeMap;

use authority::crypto::blob::Header;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

/// The key that blobs shall be under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Its ARN.
    pub arn: String,
    /// Its id.
    pub id: String,
    /// The account that it is of.
    pub account: String,
    /// The number of its current version; none where it could not be learned.
    pub version: Option<u32>,
}

impl Destination {
    /// The version of this key that a blob is under, by what the blob itself says; none where it is another key's.
    pub fn version_of(&self, ciphertext: &str) -> Option<u32> {
        let blob = BASE64_STANDARD.decode(ciphertext).ok()?;
        let header = Header::parse(&blob).ok()?;
        let is_its = header.key_id.to_string() == self.id && header.tenant.as_str() == self.account;
        is_its.then_some(header.version)
    }
}

/// One blob of the list.
#[derive(Debug, PartialEq)]
pub struct Item {
    /// The blob, base64.
    ciphertext: String,
    /// Its encryption context.
    context: BTreeMap<String, String>,
    /// The object that it came in; none where the line was the blob alone.
    object: Option<Map<String, Value>>,
}

impl Item {
    /// Reads a line; none where it is blank. `context` is for blobs whose line has none.
    pub fn parse(line: &[u8], context: &BTreeMap<String, String>) -> Result<Option<Item>, String> {
        let text = std::str::from_utf8(line)
            .map_err(|_| "the line is not UTF-8".to_owned())?
            .trim();
        if text.is_empty() {
            return Ok(None);
        }
        if !text.starts_with('{') {
            return Ok(Some(Item {
                ciphertext: text.to_owned(),
                context: context.clone(),
                object: None,
            }));
        }
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let ciphertext = object.get("ciphertext").and_then(Value::as_str);
        let ciphertext = ciphertext.ok_or("the object has no text `ciphertext`")?.to_owned();
        let context = match object.get("context") {
            None | Some(Value::Null) => context.clone(),
            Some(own) => {
                serde_json::from_value(own.clone()).map_err(|_| "`context` is not an object of texts".to_owned())?
            }
        };
        Ok(Some(Item {
            ciphertext,
            context,
            object: Some(object),
        }))
    }

    /// Whether it is under the destination's current version already, by what the blob itself says.
    pub fn is_done(&self, to: &Destination) -> bool {
        to.version.is_some() && to.version_of(&self.ciphertext) == to.version
    }

    /// The `ReEncrypt` that moves it; its context stays.
    pub fn request(&self, to: &Destination, dry_run: bool) -> Value {
        let mut request = json!({
            "CiphertextBlob": self.ciphertext,
            "DestinationKeyId": to.arn,
            "SourceEncryptionContext": self.context,
            "DestinationEncryptionContext": self.context,
        });
        if let (true, Some(members)) = (dry_run, request.as_object_mut()) {
            members.insert("DryRun".to_owned(), json!(true));
        }
        request
    }

    /// The line with another ciphertext in it: all else of it stays.
    pub fn with(self, ciphertext: &str) -> String {
        match self.object {
            None => ciphertext.to_owned(),
            Some(mut object) => {
                object.insert("ciphertext".to_owned(), json!(ciphertext));
                Value::Object(object).to_string()
            }
        }
    }

    /// The `id` that its line gave it.
    pub fn id(&self) -> Option<&Value> {
        self.object.as_ref()?.get("id")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn both_forms_of_a_line_keep_what_is_around_the_ciphertext() {
        let default = context(&[("app", "web")]);
        let plain = Item::parse(b" QUJD \r\n", &default).unwrap().unwrap();
        assert_eq!((plain.id(), &plain.context), (None, &default));
        assert_eq!(plain.with("REVG"), "REVG");
        let line = br#"{"id": 7, "ciphertext": "QUJD", "context": {"a": "b"}, "note": null}"#;
        let object = Item::parse(line, &default).unwrap().unwrap();
        assert_eq!(
            (object.id(), &object.context),
            (Some(&json!(7)), &context(&[("a", "b")]))
        );
        let out: Value = serde_json::from_str(&object.with("REVG")).unwrap();
        assert_eq!(
            out,
            json!({"id": 7, "ciphertext": "REVG", "context": {"a": "b"}, "note": null})
        );
        let without = Item::parse(br#"{"ciphertext": "QUJD"}"#, &default).unwrap().unwrap();
        assert_eq!(without.context, default);
        let none = Item::parse(br#"{"ciphertext": "QUJD", "context": {}}"#, &default)
            .unwrap()
            .unwrap();
        assert_eq!(none.context, context(&[]));
        assert_eq!(Item::parse(b" \t\r\n", &default), Ok(None));
    }

    #[test]
    fn what_is_no_line_says_why() {
        for (line, why) in [
            (&b"\xff"[..], "UTF-8"),
            (b"{", "EOF"),
            (br#"{"id": 1}"#, "`ciphertext`"),
            (br#"{"ciphertext": 1}"#, "`ciphertext`"),
            (br#"{"ciphertext": "QUJD", "context": {"a": 1}}"#, "`context`"),
            (br#"{"ciphertext": "QUJD", "context": []}"#, "`context`"),
        ] {
            let error = Item::parse(line, &context(&[])).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_blob_is_done_when_its_header_names_the_current_version() {
        let to = |version: Option<u32>, account: &str| Destination {
            arn: String::new(),
            id: "1234abcd-12ab-34cd-56ef-1234567890ab".to_owned(),
            account: account.to_owned(),
            version,
        };
        let mut blob = vec![0x53, 0];
        blob.extend([
            0x12, 0x34, 0xab, 0xcd, 0x12, 0xab, 0x34, 0xcd, 0x56, 0xef, 0x12, 0x34, 0x56, 0x78, 0x90, 0xab,
        ]);
        blob.extend([0, 0, 0, 3]);
        blob.extend(b"000000000001");
        blob.extend([7; 32 + 32 + 16 + 1]);
        let item = |bytes: &[u8]| Item {
            ciphertext: BASE64_STANDARD.encode(bytes),
            context: BTreeMap::new(),
            object: None,
        };
        assert!(item(&blob).is_done(&to(Some(3), "000000000001")));
        assert!(!item(&blob).is_done(&to(Some(4), "000000000001")));
        assert!(!item(&blob).is_done(&to(None, "000000000001")));
        // A blob made now says which version is current.
        let version_of = |account: &str| to(None, account).version_of(&item(&blob).ciphertext);
        assert_eq!(
            (version_of("000000000001"), version_of("000000000002")),
            (Some(3), None)
        );
        assert!(!item(b"").is_done(&to(None, "000000000001")));
        assert!(!item(&blob).is_done(&to(Some(3), "000000000002")));
        assert!(!item(&blob[..40]).is_done(&to(Some(3), "000000000001")));
        assert!(!item(b"").is_done(&to(Some(3), "000000000001")));
    }
}
