//! Values with a unit, as a bundle writes them: durations, sizes and rates.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

/// A span of time, written `500ms`, `5s`, `15m`, `1h` or `7d`: a whole number and one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes, written `64KiB`, `16MiB` or `512B`: a whole number and one unit, powers of 1024 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// How often something may happen: `count` times in `period`, with up to `burst` at once.
///
/// Written `"2000/s"`, `"60/m"`, `"500/h"` (burst = count), or `{ rate = "2000/s", burst = 100 }`.
/// Bounds: count and burst 1 to 10,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many in a period.
    pub count: NonZeroU32,
    /// The period: one second, minute or hour.
    pub period: Period,
    /// How many may come at once after a pause.
    pub burst: NonZeroU32,
}

/// The period of a [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// `/s`
    Second,
    /// `/m`
    Minute,
    /// `/h`
    Hour,
}

/// The most a rate may count, and the largest burst.
pub const MAX_RATE: u32 = 10_000_000;

impl Period {
    /// The period's length.
    pub const fn as_duration(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_secs(60),
            Self::Hour => Duration::from_secs(3600),
        }
    }

    const fn letter(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }
}

impl Rate {
    /// The time after which one more may happen: the period divided by the count, at least 1 ns.
    pub fn interval(&self) -> Duration {
        let share = self
            .period
            .as_duration()
            .checked_div(self.count.get())
            .unwrap_or(Duration::from_secs(1));
        share.max(Duration::from_nanos(1))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.period.letter())
    }
}

/// Splits `15m` into the number and the unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit))
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = split(text).and_then(|(number, unit)| match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            "d" => number.checked_mul(86_400).map(Duration::from_secs),
            _ => None,
        });
        parsed.map(Span).ok_or_else(|| {
            format!("`{text}` is no duration, write a whole number and ms, s, m, h or d, for example \"15m\"")
        })
    }
}

impl std::str::FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = split(text).and_then(|(number, unit)| match unit {
            "B" => Some(number),
            "KiB" => number.checked_mul(1 << 10),
            "MiB" => number.checked_mul(1 << 20),
            "GiB" => number.checked_mul(1 << 30),
            _ => None,
        });
        parsed.map(ByteSize).ok_or_else(|| {
            format!("`{text}` is no size, write a whole number and B, KiB, MiB or GiB, for example \"16MiB\"")
        })
    }
}

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(count, unit)| {
            let period = match unit {
                "s" => Period::Second,
                "m" => Period::Minute,
                "h" => Period::Hour,
                _ => return None,
            };
            let digits = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
            let count = if digits {
                bounded(count.parse().ok()?)?
            } else {
                return None;
            };
            Some(Rate {
                count,
                period,
                burst: count,
            })
        });
        parsed.ok_or_else(|| {
            format!("`{text}` is no rate, write a count from 1 to {MAX_RATE} and /s, /m or /h, for example \"2000/s\"")
        })
    }
}

fn bounded(count: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(count).filter(|count| count.get() <= MAX_RATE)
}

macro_rules! from_text {
    ($type:ty) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(de::Error::custom)
            }
        }
    };
}
from_text!(Span);
from_text!(ByteSize);

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

struct RateVisitor;

impl<'de> Visitor<'de> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate such as \"2000/s\", or { rate = \"2000/s\", burst = 100 }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rate, A::Error> {
        let (mut rate, mut burst) = (None::<String>, None::<u32>);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "rate" => rate = Some(map.next_value()?),
                "burst" => burst = Some(map.next_value()?),
                other => return Err(de::Error::unknown_field(other, &["rate", "burst"])),
            }
        }
        let mut rate: Rate = rate
            .ok_or_else(|| de::Error::missing_field("rate"))?
            .parse()
            .map_err(de::Error::custom)?;
        if let Some(burst) = burst {
            rate.burst = bounded(burst)
                .ok_or_else(|| de::Error::custom(format!("burst must be from 1 to {MAX_RATE}, not {burst}")))?;
        }
        Ok(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_and_rates_read_as_written() {
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert_eq!("15m".parse(), Ok(Span(Duration::from_secs(900))));
        assert_eq!("7d".parse(), Ok(Span(Duration::from_secs(604_800))));
        assert_eq!("16MiB".parse(), Ok(ByteSize(16 << 20)));
        let rate: Rate = "60/m".parse().unwrap();
        assert_eq!(
            (rate.count.get(), rate.period, rate.burst.get()),
            (60, Period::Minute, 60)
        );
        assert_eq!(rate.interval(), Duration::from_secs(1));
        assert_eq!(rate.to_string(), "60/m");
    }

    #[test]
    fn bad_units_are_refused_with_an_example() {
        for text in ["", "5", "s", "-5s", "5 s", "1.5h", "5S", "18446744073709551615d", "٥s"] {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.contains("for example"), "{text}: {error}");
        }
        for text in ["16MB", "16", "KiB", "18446744073709551615KiB", "1.5MiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for text in [
            "",
            "/s",
            "10",
            "10/d",
            "0/s",
            "10000001/s",
            "-1/s",
            "+1/s",
            "10/s/s",
            "4294967296/s",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[derive(serde::Deserialize)]
    struct Holder {
        rate: Rate,
    }

    #[test]
    fn a_rate_may_be_a_table_with_a_burst() {
        let held: Holder = toml::from_str("rate = { rate = \"10/s\", burst = 3 }").unwrap();
        assert_eq!((held.rate.count.get(), held.rate.burst.get()), (10, 3));
        for bad in [
            "rate = { burst = 3 }",
            "rate = { rate = \"10/s\", burst = 0 }",
            "rate = { rate = \"10/s\", bust = 3 }",
            "rate = 10",
        ] {
            assert!(toml::from_str::<Holder>(bad).is_err(), "{bad}");
        }
    }
}
