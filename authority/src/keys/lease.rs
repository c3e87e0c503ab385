//! The tag `signet:lease`: how long an edge may sign with a key without hearing from the authority.

use node::lease::{LONGEST_MS, SHORTEST_MS};

/// A whole number and `s`, `m` or `h`, from 5s to 1h; milliseconds.
pub(super) fn parse(text: &str) -> Option<u64> {
    let unit = text.chars().next_back()?;
    let factor = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        _ => return None,
    };
    let number = text.strip_suffix(unit)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (SHORTEST_MS..=LONGEST_MS).contains(&length).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_bounded_on_both_sides() {
        assert_eq!(parse("5s"), Some(5_000));
        assert_eq!(parse("90s"), Some(90_000));
        assert_eq!(parse("2m"), Some(120_000));
        assert_eq!(parse("1h"), Some(3_600_000));
        for bad in [
            "",
            "s",
            "5",
            "4s",
            "0s",
            "61m",
            "2h",
            "+5s",
            "-5s",
            "5 s",
            "5ms",
            "1d",
            "99999999999999999999h",
            "5é",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
