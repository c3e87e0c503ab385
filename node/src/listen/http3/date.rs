//! The `Date` field, written once a second.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

/// RFC 9110, section 5.6.7.
const IMF_FIXDATE: StaticFormatDescription =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

static LAST: Mutex<Option<(u64, HeaderValue)>> = Mutex::new(None);

/// Now, as the field's value.
pub(super) fn now() -> Option<HeaderValue> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match &*last {
        Some((at, value)) if *at == seconds => Some(value.clone()),
        _ => {
            let value = written(seconds)?;
            *last = Some((seconds, value.clone()));
            Some(value)
        }
    }
}

fn written(seconds: u64) -> Option<HeaderValue> {
    let time = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    HeaderValue::try_from(time.format(IMF_FIXDATE).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_example() {
        assert_eq!(written(784_111_777).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(now().unwrap().to_str().unwrap().ends_with(" GMT"));
    }
}
