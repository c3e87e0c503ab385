//! When a request was signed, and whether that is now.

use std::borrow::Cow;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::SigV4Error;

/// Seconds that the client's clock may be off, either way, both ends included (the service's bound).
pub(super) const WINDOW: u64 = 300;

/// ISO 8601 basic format, in UTC and whole seconds.
const ISO_BASIC: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
/// IMF-fixdate, the only form that RFC 9110 section 5.6.7 lets a sender make.
const IMF_FIXDATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// A moment, with the text that the signature covers.
pub(super) struct Stamp<'a> {
    /// Unix seconds.
    pub unix: u64,
    /// ISO 8601 basic: `20150830T123600Z`.
    pub text: Cow<'a, str>,
}

impl<'a> Stamp<'a> {
    /// The value of `X-Amz-Date`.
    pub fn iso(text: &'a str) -> Option<Self> {
        Some(Self {
            unix: parse(text, ISO_BASIC)?,
            text: Cow::Borrowed(text),
        })
    }

    /// The value of `Date`.
    pub fn http(text: &str) -> Option<Self> {
        let unix = parse(text, IMF_FIXDATE)?;
        Some(Self {
            unix,
            text: Cow::Owned(iso_basic(unix)),
        })
    }

    /// `YYYYMMDD`.
    pub fn day(&self) -> &str {
        self.text.split_once('T').map_or("", |(day, _)| day)
    }

    /// Refuses a moment more than [`WINDOW`] from `now` (Unix seconds).
    pub fn check(&self, now: u64) -> Result<(), SigV4Error> {
        let (earliest, latest) = (now.saturating_sub(WINDOW), now.saturating_add(WINDOW));
        let (text, minutes) = (&self.text, WINDOW / 60);
        let now = iso_basic(now);
        if self.unix < earliest {
            let earliest = iso_basic(earliest);
            return Err(SigV4Error::invalid(format!(
                "Signature expired: {text} is now earlier than {earliest} ({now} - {minutes} min.)"
            )));
        }
        if self.unix > latest {
            let latest = iso_basic(latest);
            return Err(SigV4Error::invalid(format!(
                "Signature not yet current: {text} is still later than {latest} ({now} + {minutes} min.)"
            )));
        }
        Ok(())
    }
}

/// The moment in Unix seconds, if `text` is the one text that it has in this form.
fn parse(text: &str, form: &[BorrowedFormatItem<'_>]) -> Option<u64> {
    let moment = PrimitiveDateTime::parse(text, form).ok()?;
    if moment.format(form).ok()? != text {
        return None;
    }
    u64::try_from(moment.assume_utc().unix_timestamp()).ok()
}

/// Unix seconds as [`ISO_BASIC`]; the number itself past the year 9999.
pub(super) fn iso_basic(unix: u64) -> String {
    i64::try_from(unix)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|moment| moment.format(ISO_BASIC).ok())
        .unwrap_or_else(|| unix.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_440_938_160;

    #[test]
    fn both_forms_name_one_moment() {
        let iso = Stamp::iso("20150830T123600Z").unwrap();
        let http = Stamp::http("Sun, 30 Aug 2015 12:36:00 GMT").unwrap();
        assert_eq!((iso.unix, http.unix), (NOON, NOON));
        assert_eq!((iso.text.as_ref(), http.day()), (http.text.as_ref(), "20150830"));
    }

    #[test]
    fn a_moment_has_one_text() {
        for bad in [
            "",
            "20150830",
            "20150830T123600",
            "20150830T123600z",
            "20150830t123600Z",
            "20150830T1236Z",
            "20150830T123600Z ",
            " 20150830T123600Z",
            "20150830T123600+0000",
            "2015-08-30T12:36:00Z",
            "+20150830T123600Z",
            "-20150830T123600Z",
            "20150230T123600Z",
            "20151330T123600Z",
            "20150830T243600Z",
            "20150830T123660Z",
            "19691231T235959Z",
            "1440938160",
        ] {
            assert!(Stamp::iso(bad).is_none(), "`{bad}`");
        }
        for bad in [
            "",
            "Mon, 30 Aug 2015 12:36:00 GMT",
            "sun, 30 aug 2015 12:36:00 gmt",
            "Sun, 30 Aug 2015 12:36:00 UTC",
            "Sun, 30 Aug 2015 12:36:00 +0000",
            "Sunday, 30-Aug-15 12:36:00 GMT",
            "Sun Aug 30 12:36:00 2015",
            "Sun, 3 Aug 2015 12:36:00 GMT",
            "20150830T123600Z",
        ] {
            assert!(Stamp::http(bad).is_none(), "`{bad}`");
        }
    }

    #[test]
    fn five_minutes_either_way_are_taken_and_a_second_more_is_not() {
        let stamp = Stamp::iso("20150830T123600Z").unwrap();
        for now in [NOON - WINDOW, NOON, NOON + WINDOW] {
            assert!(stamp.check(now).is_ok(), "{now}");
        }
        assert_eq!(
            stamp.check(NOON + WINDOW + 1).unwrap_err().to_string(),
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"
        );
        assert_eq!(
            stamp.check(NOON - WINDOW - 1).unwrap_err().to_string(),
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)"
        );
        assert!(stamp.check(0).is_err() && stamp.check(u64::MAX).is_err());
    }
}
