//! The model's regular expressions, which are Java's.

use std::fmt;

use regex::Regex;

/// A pattern that a whole text must match.
pub(super) struct Pattern {
    /// As the model has it, and as errors show it.
    text: String,
    matcher: Regex,
}

impl Pattern {
    /// Compiles a pattern. Java's `\w`, `\d` and `\s` are ASCII; a match is of the whole text, anchors or not.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let ascii = [(r"\w", "A-Za-z0-9_"), (r"\s", r"\t\n\x0B\x0C\r\x20")];
        let mut pattern = text.to_owned();
        for (class, members) in ascii {
            // In the model these stand in brackets only; `\d` stands alone.
            pattern = pattern.replace(class, members);
        }
        let pattern = pattern.replace(r"\d", "[0-9]");
        let matcher = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())?;
        Ok(Self {
            text: text.to_owned(),
            matcher,
        })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.matcher.is_match(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts_in_ascii() {
        let cases: [(&str, &[&str], &[&str]); 5] = [
            (r"^[a-zA-Z0-9:/_-]+$", &["alias/a-b"], &["alias/a b", "", "a\n"]),
            (r"[\w]+", &["default", "A_9"], &["é", "a-b", " "]),
            (
                r"^([a-z]+-){2,3}\d+$",
                &["eu-central-1"],
                &["eu-1", "eu-central-١", "x eu-central-1"],
            ),
            (
                r"[\u0009\u000A\u000D\u0020-\u00FF]+",
                &["{\n\t\"é\"}"],
                &["\u{100}", "\0", ""],
            ),
            (r"^[a-zA-Z0-9:/_\s.-]+$", &["a b\tc."], &["a!b", "\u{a0}"]),
        ];
        for (pattern, good, bad) in cases {
            let compiled = Pattern::new(pattern).unwrap();
            assert!(good.iter().all(|text| compiled.matches(text)), "{pattern}");
            assert!(!bad.iter().any(|text| compiled.matches(text)), "{pattern}");
            assert_eq!(compiled.to_string(), pattern);
        }
    }
}
