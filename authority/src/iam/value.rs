//! Numbers, times and networks as policies write them.

use std::net::IpAddr;

use time::{Date, Month};

/// Decimal places kept.
const PLACES: usize = 9;
/// 10^[`PLACES`].
const UNIT: i128 = 1_000_000_000;
/// Digits before the point.
const MAX_WHOLE: usize = 18;

/// A decimal number, in billionths: exact, for up to 18 digits before the point and 9 behind it.
pub(super) fn decimal(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    if !is_digits(whole, MAX_WHOLE) || !is_digits(part, PLACES) {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let part: i128 = format!("{part:0<PLACES$}").parse().ok()?;
    let size = whole.checked_mul(UNIT)?.checked_add(part)?;
    if negative { size.checked_neg() } else { Some(size) }
}

/// Whole units, in billionths.
pub(super) fn whole(units: i64) -> i128 {
    i128::from(units).saturating_mul(UNIT)
}

/// A time in billionths of seconds since 1970: seconds, or one of the forms of the W3C's note on dates and times (the year
/// alone, the month, the day, or the day and time with `Z` or an offset). Four digits alone are a year.
pub(super) fn instant(text: &str) -> Option<i128> {
    if !is_exactly(text, 4)
        && let Some(seconds) = decimal(text)
    {
        return Some(seconds);
    }
    let (day, clock) = match text.split_once('T') {
        Some((day, clock)) => (day, Some(clock)),
        None => (text, None),
    };
    let mut fields = day.split('-');
    let year = field(fields.next()?, 4)?;
    let month = fields.next().map(|text| field(text, 2));
    let date = fields.next().map(|text| field(text, 2));
    if fields.next().is_some() || (clock.is_some() && date.is_none()) {
        return None;
    }
    let or_first = |given: Option<Option<u16>>| given.unwrap_or(Some(1)).and_then(|number| u8::try_from(number).ok());
    let month = Month::try_from(or_first(month)?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, or_first(date)?).ok()?;
    let midnight = whole(date.midnight().assume_utc().unix_timestamp());
    match clock {
        Some(clock) => midnight.checked_add(of_day(clock)?),
        None => Some(midnight),
    }
}

/// `hh:mm`, `hh:mm:ss` or `hh:mm:ss.s…`, and the offset that has to follow: since midnight UTC.
fn of_day(clock: &str) -> Option<i128> {
    let (local, offset) = if let Some(local) = clock.strip_suffix('Z') {
        (local, 0)
    } else {
        let sign = clock.rfind(['+', '-'])?;
        let (local, offset) = clock.split_at_checked(sign)?;
        let (hours, minutes) = offset.get(1..)?.split_once(':')?;
        let seconds = seconds(up_to(hours, 23)?, up_to(minutes, 59)?);
        (
            local,
            if offset.starts_with('+') {
                seconds
            } else {
                seconds.saturating_neg()
            },
        )
    };
    let mut fields = local.split(':');
    let minutes = seconds(up_to(fields.next()?, 23)?, up_to(fields.next()?, 59)?);
    let rest = match fields.next() {
        Some(text) => {
            up_to(text.split('.').next()?, 59)?;
            decimal(text)?
        }
        None => 0,
    };
    if fields.next().is_some() {
        return None;
    }
    whole(minutes).checked_add(rest)?.checked_sub(whole(offset))
}

fn seconds(hours: u16, minutes: u16) -> i64 {
    i64::from(hours)
        .saturating_mul(3600)
        .saturating_add(i64::from(minutes).saturating_mul(60))
}

fn up_to(text: &str, most: u16) -> Option<u16> {
    field(text, 2).filter(|number| *number <= most)
}

fn field(text: &str, digits: usize) -> Option<u16> {
    is_exactly(text, digits).then(|| text.parse().ok())?
}

fn is_exactly(text: &str, digits: usize) -> bool {
    text.len() == digits && is_digits(text, digits)
}

fn is_digits(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// A network in CIDR form, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Bits behind the prefix are ignored, as IAM does. An IPv4 network inside `::ffff:0:0/96` is that IPv4 network.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = bits(address);
        let prefix = match prefix {
            Some(prefix) => Some(prefix)
                .filter(|text| is_digits(text, 3))
                .and_then(|text| text.parse().ok())
                .filter(|prefix| *prefix <= width)?,
            None => width,
        };
        let canonical = address.to_canonical();
        match prefix.checked_sub(width.saturating_sub(bits(canonical))) {
            Some(prefix) => Some(Self {
                address: canonical,
                prefix,
            }),
            None => Some(Self { address, prefix }),
        }
    }

    /// IPv4 addresses that came over an IPv6 socket count as IPv4.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => self.covers(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => self.covers(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }

    fn covers(&self, own: u128, other: u128, bits: u32) -> bool {
        let differ = own ^ other;
        differ.checked_shr(bits.saturating_sub(self.prefix)).unwrap_or(0) == 0
    }
}

fn bits(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        assert_eq!(decimal("10"), Some(10 * UNIT));
        assert_eq!(decimal("-0.5"), Some(-UNIT / 2));
        assert_eq!(decimal("1546257599.0"), decimal("+1546257599"));
        assert_eq!(
            decimal("0.1").unwrap() + decimal("0.2").unwrap(),
            decimal("0.3").unwrap()
        );
        for bad in [
            "",
            "-",
            ".5",
            "5.",
            "1e3",
            "0x1",
            "1 ",
            "١",
            "1.0.0",
            "--1",
            "1234567890123456789",
            "0.1234567890",
        ] {
            assert_eq!(decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_form_of_a_date_names_its_first_instant() {
        for (text, seconds) in [
            ("2020", 1_577_836_800),
            ("2020-02", 1_580_515_200),
            ("2020-02-29", 1_582_934_400),
            ("2020-02-29T12:30Z", 1_582_979_400),
            ("2020-02-29T12:30:01Z", 1_582_979_401),
            ("2020-02-29T12:30:01+01:00", 1_582_975_801),
            ("2020-02-29T12:30:01-00:30", 1_582_981_201),
            ("1582979401", 1_582_979_401),
            ("12345", 12_345),
            ("-1", -1),
            ("1969-12-31T23:59:59Z", -1),
        ] {
            assert_eq!(instant(text), Some(whole(seconds)), "{text}");
        }
        assert_eq!(instant("1970-01-01T00:00:00.25Z"), Some(UNIT / 4));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for bad in [
            "",
            "20200229T123001Z",
            "2020-13",
            "2020-02-30",
            "2021-02-29",
            "2020-1-1",
            "2020-02-29T12:30",
            "2020-02-29T12Z",
            "2020-02T12:30Z",
            "2020-02-29T24:00Z",
            "2020-02-29T12:60Z",
            "2020-02-29T12:30:60Z",
            "2020-02-29T12:30:01.Z",
            "2020-02-29T12:30:01+24:00",
            "2020-02-29T12:30:01+0100",
            "2020-02-29t12:30:01z",
            "2020-02-29 12:30:01Z",
            "2020-02-29-01",
            "2020-02-29T12:30:01:01Z",
            "2020-*",
        ] {
            assert_eq!(instant(bad), None, "{bad}");
        }
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("203.0.113.0/24", "203.0.113.255", "203.0.114.0"),
            ("203.0.113.77/24", "203.0.113.1", "203.0.112.255"),
            ("203.0.113.5", "203.0.113.5", "203.0.113.4"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            (
                "2001:DB8:1234:5678::/64",
                "2001:db8:1234:5678:ffff::",
                "2001:db8:1234:5679::",
            ),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
        for bad in [
            "",
            "203.0.113",
            "203.0.113.0/33",
            "::/129",
            "203.0.113.0/",
            "203.0.113.0/-1",
            "203.0.113.0/+8",
            "203.0.113.*",
        ] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
