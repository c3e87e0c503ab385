use std::fmt;

use serde::{Deserialize, Serialize};

const MULTI_REGION_PREFIX: &str = "mrk-";

/// The id of a key: a UUID, or `mrk-` and 32 hex digits for a multi-Region key, whose id is the same in every Region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyId {
    /// `1234abcd-12ab-34cd-56ef-1234567890ab`.
    SingleRegion(uuid::Uuid),
    /// `mrk-1234abcd12ab34cd56ef1234567890ab`.
    MultiRegion(uuid::Uuid),
}

impl KeyId {
    /// Bytes of the binary form: the kind and 128 bits.
    pub(super) const LEN: usize = 17;

    /// Reads an id in lowercase, exactly as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        let id = match text.strip_prefix(MULTI_REGION_PREFIX) {
            Some(digits) if digits.len() == 32 => Self::MultiRegion(uuid::Uuid::try_parse(digits).ok()?),
            Some(_) => return None,
            None => Self::SingleRegion(uuid::Uuid::try_parse(text).ok()?),
        };
        // The UUID's own reader takes other spellings of the same 128 bits, too.
        (id.to_string() == text).then_some(id)
    }

    /// Whether the key is a multi-Region key.
    pub fn is_multi_region(&self) -> bool {
        matches!(self, Self::MultiRegion(_))
    }

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let (kind, id) = match self {
            Self::SingleRegion(id) => (0, id),
            Self::MultiRegion(id) => (1, id),
        };
        let mut bytes = [kind; Self::LEN];
        for (to, from) in bytes.iter_mut().skip(1).zip(id.as_bytes()) {
            *to = *from;
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        let id = uuid::Uuid::from_slice(id).ok()?;
        match kind {
            0 => Some(Self::SingleRegion(id)),
            1 => Some(Self::MultiRegion(id)),
            _ => None,
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SingleRegion(id) => write!(f, "{}", id.hyphenated()),
            Self::MultiRegion(id) => write!(f, "{MULTI_REGION_PREFIX}{}", id.simple()),
        }
    }
}

impl TryFrom<String> for KeyId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a key id is a UUID, or `mrk-` and 32 lowercase hex digits")
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> String {
        id.to_string()
    }
}
