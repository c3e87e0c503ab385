//! Numbers with their unit.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// A span of time written with its unit: `250ms`, `5s`, `15m`, `1h`, `30d`. Whole milliseconds; at most 100 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// A span of time in whole seconds, written like [`Duration`]: `90s`, `15m`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(u64);

/// A size in bytes written with its unit: `512B`, `64KiB`, `16MiB`, `1GiB` (powers of 1024).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const TIME_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const LONGEST_MS: u64 = 100 * 365 * 86_400_000;

impl Duration {
    /// From milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Duration {
        Duration(std::time::Duration::from_millis(milliseconds))
    }

    /// From seconds.
    pub const fn from_secs(seconds: u64) -> Duration {
        Duration(std::time::Duration::from_secs(seconds))
    }

    /// As the standard library's type.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl Seconds {
    /// From a count of seconds.
    pub const fn new(seconds: u64) -> Seconds {
        Seconds(seconds)
    }

    /// The count of seconds.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl ByteSize {
    /// From a count of bytes.
    pub const fn new(bytes: u64) -> ByteSize {
        ByteSize(bytes)
    }

    /// The count of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The count of bytes as a size in memory, or the largest there is.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> std::time::Duration {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Duration, String> {
        let ms = measure(text, &TIME_UNITS).filter(|ms| *ms <= LONGEST_MS);
        let ms = ms.ok_or_else(|| {
            format!("`{text}` is not a time: write a whole number and one of ms, s, m, h, d, like \"5s\"")
        })?;
        Ok(Duration::from_millis(ms))
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seconds, String> {
        let ms = measure(text, &TIME_UNITS).filter(|ms| *ms <= LONGEST_MS && ms % 1_000 == 0);
        let ms = ms.ok_or_else(|| {
            format!("`{text}` is not a time in whole seconds: write a whole number and one of s, m, h, d, like \"15m\"")
        })?;
        Ok(Seconds(ms / 1_000))
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let bytes = measure(text, &SIZE_UNITS);
        let bytes = bytes.ok_or_else(|| {
            format!("`{text}` is not a size: write a whole number and one of B, KiB, MiB, GiB, like \"64KiB\"")
        })?;
        Ok(ByteSize(bytes))
    }
}

/// A whole number directly followed by a unit, in the smallest unit.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The shortest text in one unit.
fn shortest(amount: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let whole = |(_, factor): &&(&str, u64)| amount > 0 && amount.is_multiple_of(*factor);
    let (name, factor) = units
        .iter()
        .rev()
        .find(whole)
        .or(units.first())
        .copied()
        .unwrap_or(("", 1));
    write!(f, "{}{name}", amount.checked_div(factor).unwrap_or(amount))
}

macro_rules! text_form {
    ($type:ty, $expecting:literal, |$value:ident| $amount:expr, $units:expr) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $value = self;
                shortest($amount, &$units, f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

text_form!(
    Duration,
    "a time with its unit, like \"5s\"",
    |value| u64::try_from(value.0.as_millis()).unwrap_or(u64::MAX),
    TIME_UNITS
);
text_form!(
    Seconds,
    "a time with its unit, like \"15m\"",
    |value| value.0.saturating_mul(1_000),
    TIME_UNITS
);
text_form!(
    ByteSize,
    "a size with its unit, like \"64KiB\"",
    |value| value.0,
    SIZE_UNITS
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_written_back() {
        for text in ["250ms", "5s", "15m", "1h", "30d", "1500ms"] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
        }
        assert_eq!("0s".parse::<Duration>().unwrap().to_string(), "0ms");
        assert_eq!("120s".parse::<Seconds>().unwrap().get(), 120);
        for text in ["512B", "64KiB", "16MiB", "1GiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_has_no_unit_or_a_wrong_one_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "5S",
            "1.5s",
            "5sec",
            "99999999999999999999s",
            "36501d",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        assert!("1500ms".parse::<Seconds>().is_err());
        for text in ["64", "64KB", "64kib", "17179869184GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_number_says_what_is_expected() {
        let error = serde_json::from_str::<Duration>("5").unwrap_err().to_string();
        assert!(error.contains("expected a time with its unit"), "{error}");
    }
}
