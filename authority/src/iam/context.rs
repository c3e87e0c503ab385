//! What is known of a request, by condition key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Request;
use super::known::{folded, is_known};
use super::value;

/// One value of a condition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, ARNs and account ids among it.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Seconds since 1970, written as a date.
    Time(i64),
    /// An address, IPv4 or IPv6.
    Address(IpAddr),
}

impl Value {
    /// As string operators and variables see it.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Flag(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Time(seconds) => Cow::Owned(
                OffsetDateTime::from_unix_timestamp(*seconds)
                    .ok()
                    .and_then(|time| time.format(&Rfc3339).ok())
                    .unwrap_or_else(|| seconds.to_string()),
            ),
            Self::Address(address) => Cow::Owned(address.to_canonical().to_string()),
        }
    }

    /// As numeric operators see it, in billionths.
    pub(super) fn decimal(&self) -> Option<i128> {
        match self {
            Self::Text(text) => value::decimal(text),
            Self::Number(number) | Self::Time(number) => Some(value::whole(*number)),
            Self::Flag(_) | Self::Address(_) => None,
        }
    }

    /// As date operators see it, in billionths of seconds since 1970.
    pub(super) fn instant(&self) -> Option<i128> {
        match self {
            Self::Text(text) => value::instant(text),
            other => other.decimal(),
        }
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(*flag),
            Self::Text(text) => flag(text),
            _ => None,
        }
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// `true` or `false`, in any case.
pub(super) fn flag(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else {
        text.eq_ignore_ascii_case("false").then_some(false)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

/// The values of condition keys in one request. Names are as AWS writes them and compare in any case; what is not put in is
/// absent. A name that is no condition key could match nothing: debug builds panic on it.
///
/// A key that gets a value twice has both: where the key is one of a single value, as for two encryption context keys that
/// differ in case only, an `Allow` then needs every value to satisfy a condition and a `Deny` any of them. The caller
/// bounds the values; deciding takes at most one step a byte of the document and byte of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    values: BTreeMap<String, Vec<Value>>,
}

impl Context {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one value more for the key.
    #[must_use]
    pub fn with(self, key: &str, value: impl Into<Value>) -> Self {
        self.with_all(key, [value])
    }

    /// With these values more for the key; without any, the key stays absent.
    #[must_use]
    pub fn with_all<V: Into<Value>>(mut self, key: &str, values: impl IntoIterator<Item = V>) -> Self {
        debug_assert!(is_known(key), "{key} is no condition key");
        let mut values = values.into_iter().map(Into::into).peekable();
        if values.peek().is_some() {
            self.values.entry(folded(key)).or_default().extend(values);
        }
        self
    }

    /// With `aws:CurrentTime` and `aws:EpochTime`, of seconds since 1970.
    #[must_use]
    pub fn at(self, seconds: i64) -> Self {
        self.with("aws:CurrentTime", Value::Time(seconds))
            .with("aws:EpochTime", seconds)
    }

    /// With `kms:EncryptionContext:KEY` for each pair, and `kms:EncryptionContextKeys`.
    #[must_use]
    pub fn encryption_context<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        for (key, value) in pairs {
            self = self
                .with(&format!("kms:EncryptionContext:{key}"), value)
                .with("kms:EncryptionContextKeys", key);
        }
        self
    }
}

/// A request as conditions see it: its context, and what follows from the caller and the key, which a context cannot say
/// otherwise.
pub(super) struct Facts<'a> {
    pub request: &'a Request<'a>,
}

impl Facts<'_> {
    /// The values of a key, none when it is absent. `name` in lower case.
    pub(super) fn get(&self, name: &str) -> Cow<'_, [Value]> {
        let caller = &self.request.caller;
        let derived = match name {
            "aws:principalarn" => Some(caller.entity().into()),
            "aws:principalaccount" | "kms:calleraccount" => Some(caller.account().into()),
            "aws:principaltype" => Some(caller.kind().into()),
            "aws:principalisawsservice" => Some(false.into()),
            "aws:username" => return Cow::Owned(caller.user_name().map(Value::from).into_iter().collect()),
            "aws:resourceaccount" => Some(self.request.account.into()),
            _ => None,
        };
        match derived {
            Some(value) => Cow::Owned(vec![value]),
            None => Cow::Borrowed(self.request.context.values.get(name).map_or(&[], Vec::as_slice)),
        }
    }
}
