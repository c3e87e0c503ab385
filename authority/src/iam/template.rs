//! Values that hold wildcards and policy variables, filled in from the request.

use std::borrow::Cow;
use std::str::Chars;

use super::context::Facts;
use super::known::{Key, folded};
use super::pattern::{self, Token, matches};
use crate::names::shown;

/// The language's version: `2008-10-17` has no variables, there `${…}` is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V2008,
    V2012,
}

/// What `*` and `?` are in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wildcards {
    Meant,
    Text,
}

/// A value of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Token(Token),
    /// `${key}` or `${key, 'otherwise'}`.
    Variable {
        key: Key,
        otherwise: Option<String>,
    },
}

impl Template {
    pub(super) fn parse(text: &str, version: Version, wildcards: Wildcards) -> Result<Self, String> {
        let mut parts = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if version == Version::V2012
                && let Some(behind) = rest.strip_prefix("${")
            {
                let (name, behind) = behind
                    .split_once('}')
                    .ok_or_else(|| format!("`{}` has `${{` without `}}`", shown(text)))?;
                parts.push(variable(name)?);
                rest = behind;
                continue;
            }
            let token = match c {
                '*' if wildcards == Wildcards::Meant => Token::Any,
                '?' if wildcards == Wildcards::Meant => Token::One,
                c => Token::Char(c),
            };
            parts.push(Part::Token(token));
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
        Ok(Self { parts })
    }

    /// The pattern for this request; none when a variable has no value in it, and no default.
    pub(super) fn tokens(&self, facts: &Facts<'_>) -> Option<Vec<Token>> {
        let mut tokens = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            match part {
                Part::Token(token) => tokens.push(*token),
                // What a variable brings along is text: its stars are no wildcards.
                Part::Variable { key, otherwise } => {
                    let value = resolve(key, otherwise.as_deref(), facts)?;
                    tokens.extend(value.chars().map(Token::Char));
                }
            }
        }
        Some(tokens)
    }

    /// Whether the whole text fits; none as in [`Self::tokens`].
    pub(super) fn fits(&self, text: &str, facts: &Facts<'_>) -> Option<bool> {
        let tokens = self.tokens_up_to(text.chars().count(), facts)?;
        Some(tokens.is_some_and(|tokens| matches(&tokens, text)))
    }

    /// The pattern, unless nothing of so few characters fits it; none as in [`Self::tokens`]. Variables can make a pattern
    /// thousands of times longer than any text: such a one is not even written out.
    fn tokens_up_to(&self, most: usize, facts: &Facts<'_>) -> Option<Option<Vec<Token>>> {
        match self.least(facts)? > most {
            true => Some(None),
            false => self.tokens(facts).map(Some),
        }
    }

    /// The fewest characters that fit; none as in [`Self::tokens`].
    fn least(&self, facts: &Facts<'_>) -> Option<usize> {
        self.parts.iter().try_fold(0_usize, |sum, part| {
            let more = match part {
                Part::Token(Token::Any | Token::AnyWithin) => 0,
                Part::Token(_) => 1,
                Part::Variable { key, otherwise } => resolve(key, otherwise.as_deref(), facts)?.chars().count(),
            };
            Some(sum.saturating_add(more))
        })
    }

    /// Whether it is this text, of a template without wildcards; none as in [`Self::tokens`].
    pub(super) fn is(&self, text: &str, facts: &Facts<'_>) -> Option<bool> {
        self.compares(text.chars(), char::to_string, facts)
    }

    /// The same in any case.
    pub(super) fn is_folded(&self, text: &str, facts: &Facts<'_>) -> Option<bool> {
        let text = folded(text);
        self.compares(text.chars(), |c| folded(&c.to_string()), facts)
    }

    /// Part by part, up to the first difference: no more than the text's length is ever compared, whatever variables bring.
    fn compares(&self, mut text: Chars<'_>, seen: fn(&char) -> String, facts: &Facts<'_>) -> Option<bool> {
        let mut same = |c: char| seen(&c).chars().all(|own| text.next() == Some(own));
        for part in &self.parts {
            let is_same = match part {
                Part::Token(Token::Char(c)) => same(*c),
                Part::Token(_) => false,
                Part::Variable { key, otherwise } => resolve(key, otherwise.as_deref(), facts)?.chars().all(&mut same),
            };
            if !is_same {
                return Some(false);
            }
        }
        Some(text.next().is_none())
    }

    /// Splits at the first colons that the policy's author wrote, into at most `most` pieces.
    fn split(&self, most: usize) -> Vec<Self> {
        let colon = |part: &Part| *part == Part::Token(Token::Char(':'));
        let pieces = self.parts.splitn(most, colon);
        pieces.map(|parts| Self { parts: parts.to_vec() }).collect()
    }

    fn has_variables(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Variable { .. }))
    }
}

/// What stands between `${` and `}`.
fn variable(text: &str) -> Result<Part, String> {
    match text {
        "*" => return Ok(Part::Token(Token::Char('*'))),
        "?" => return Ok(Part::Token(Token::Char('?'))),
        "$" => return Ok(Part::Token(Token::Char('$'))),
        _ => {}
    }
    let (name, otherwise) = match text.strip_suffix('\'').and_then(|text| text.split_once(", '")) {
        Some((name, otherwise)) => (name, Some(otherwise.to_owned())),
        None => (text, None),
    };
    if name.contains(',') {
        return Err(format!("`{}`: a default is written `${{key, 'text'}}`", shown(text)));
    }
    let key = Key::parse(name)?;
    if key.many {
        return Err(format!(
            "`{}` may have several values, so it is no variable",
            shown(name)
        ));
    }
    Ok(Part::Variable { key, otherwise })
}

fn resolve<'a>(key: &Key, otherwise: Option<&'a str>, facts: &'a Facts<'_>) -> Option<Cow<'a, str>> {
    let values = facts.get(&key.name);
    match values.as_ref() {
        [] => otherwise.map(Cow::Borrowed),
        [value] => Some(Cow::Owned(value.text().into_owned())),
        // Two names that differ in case only: which of them is meant cannot be known.
        _ => None,
    }
}

/// An ARN in an ARN operator: six parts, each compared with its counterpart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArnPattern(Vec<Template>);

/// Parts of an ARN: `arn`, partition, service, region, account, resource.
const ARN_PARTS: usize = 6;

impl ArnPattern {
    pub(super) fn parse(text: &str, version: Version) -> Result<Self, String> {
        let whole = Template::parse(text, version, Wildcards::Meant)?;
        let parts = whole.split(ARN_PARTS);
        let alone = matches!(whole.parts.as_slice(), [Part::Variable { .. }]);
        if parts.len() != ARN_PARTS && !alone {
            return Err(format!(
                "`{}` is no ARN of six parts between colons; `StringLike` compares any text",
                shown(text)
            ));
        }
        Ok(Self(parts))
    }

    /// Whether the ARN fits; text that is no ARN never does. None when a variable has no value.
    pub(super) fn fits(&self, text: &str, facts: &Facts<'_>) -> Option<bool> {
        let parts: Vec<&str> = text.splitn(ARN_PARTS, ':').collect();
        if let [alone] = self.0.as_slice() {
            return Some(parts.len() == ARN_PARTS && alone.fits(text, facts)?);
        }
        let mut fits = parts.len() == self.0.len();
        for (own, part) in self.0.iter().zip(parts) {
            fits &= own.fits(part, facts)?;
        }
        Some(fits)
    }
}

/// A value of `Resource` or `NotResource`.
///
/// Wildcards stay between the colons they stand between, save a `*` that ends such a part: it "can expand to match beyond
/// the colon boundaries" (IAM User Guide, `Resource`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResourcePattern(Template);

impl ResourcePattern {
    pub(super) fn parse(text: &str, version: Version) -> Result<Self, String> {
        let mut whole = Template::parse(text, version, Wildcards::Meant)?;
        let parts = whole.split(ARN_PARTS);
        if text != "*" && !(text.starts_with("arn:") && (parts.len() == ARN_PARTS || text.ends_with('*'))) {
            return Err(format!(
                "the resource `{}` is neither `*`, which is this key, nor an ARN",
                shown(text)
            ));
        }
        if parts
            .iter()
            .take(ARN_PARTS.saturating_sub(1))
            .any(Template::has_variables)
        {
            return Err(format!(
                "the resource `{}` has a variable before its fifth colon; variables stand behind it",
                shown(text)
            ));
        }
        let ends: Vec<bool> = whole
            .parts
            .iter()
            .skip(1)
            .map(|next| matches!(next, Part::Token(Token::Char(':'))))
            .chain([true])
            .collect();
        for (part, ends) in whole.parts.iter_mut().zip(ends) {
            match part {
                Part::Token(token @ Token::Any) if !ends => *token = Token::AnyWithin,
                Part::Token(token @ Token::One) => *token = Token::OneWithin,
                _ => {}
            }
        }
        Ok(Self(whole))
    }

    /// Whether it is `*`: this key, whichever it is.
    pub(super) fn is_any(&self) -> bool {
        matches!(self.0.parts.as_slice(), [Part::Token(Token::Any)])
    }

    /// Whether the resource fits; none when a variable has no value.
    pub(super) fn fits(&self, resource: &str, facts: &Facts<'_>) -> Option<bool> {
        self.0.fits(resource, facts)
    }
}

/// A value of `Action` or `NotAction`, in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ActionPattern(Vec<Token>);

impl ActionPattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let folded = text.to_ascii_lowercase();
        let name = folded.strip_prefix("kms:").unwrap_or_default();
        let fits = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'*' || b == b'?');
        if folded != "*" && !fits {
            return Err(format!(
                "`{}` is no action of KMS: it is `kms:` and a name, where `*` and `?` are wildcards, or `*`",
                shown(text)
            ));
        }
        Ok(Self(pattern::wild(&folded)))
    }

    /// `action` in lower case.
    pub(super) fn fits(&self, action: &str) -> bool {
        matches(&self.0, action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::{Caller, Context, Request};

    fn with_facts<T>(value: &str, ask: impl FnOnce(&Facts<'_>) -> T) -> T {
        let caller = Caller::new("arn:aws:iam::111122223333:user/Ada", None).unwrap();
        let context = Context::new().encryption_context([("k", value)]);
        let request = Request {
            action: "kms:Encrypt",
            resource: "arn:aws:kms:local:111122223333:key/a",
            caller: &caller,
            account: "111122223333",
            context: &context,
        };
        ask(&Facts { request: &request })
    }

    fn template(text: &str, wildcards: Wildcards) -> Template {
        Template::parse(text, Version::V2012, wildcards).unwrap()
    }

    #[test]
    fn a_part_takes_no_more_memory_than_is_said() {
        assert!(
            size_of::<Part>() <= crate::iam::MEMORY_PER_BYTE,
            "{}",
            size_of::<Part>()
        );
    }

    const VARIABLE: &str = "${kms:EncryptionContext:k}";

    #[test]
    fn equality_is_that_of_the_text_written_out() {
        for (pattern, text, is, is_folded) in [
            (format!("a-{VARIABLE}-z"), "a-Val-z", true, true),
            (format!("a-{VARIABLE}-z"), "A-vAL-Z", false, true),
            (format!("a-{VARIABLE}-z"), "a-Val-", false, false),
            (format!("a-{VARIABLE}"), "a-Val-z", false, false),
            (format!("{VARIABLE}{VARIABLE}"), "ValVal", true, true),
            ("${aws:username}".to_owned(), "Ada", true, true),
            ("*?".to_owned(), "*?", true, true),
            ("*?".to_owned(), "ab", false, false),
            ("\u{130}".to_owned(), "i\u{307}", false, true),
            (String::new(), "", true, true),
        ] {
            with_facts("Val", |facts| {
                let own = template(&pattern, Wildcards::Text);
                let both = (own.is(text, facts), own.is_folded(text, facts));
                assert_eq!(both, (Some(is), Some(is_folded)), "{pattern} {text}");
            });
        }
        let unset = template("${kms:EncryptionContext:none}", Wildcards::Text);
        assert_eq!(with_facts("Val", |facts| unset.is("", facts)), None);
    }

    // R37
    #[test]
    fn a_pattern_longer_than_the_text_is_not_written_out() {
        let own = template(&format!("{VARIABLE}*?").repeat(1000), Wildcards::Meant);
        with_facts(&"v".repeat(8000), |facts| {
            assert_eq!(own.least(facts), Some(8_001_000));
            assert_eq!(own.tokens_up_to(8_000_999, facts), Some(None));
            assert_eq!(own.fits("v", facts), Some(false));
        });
        let own = template(&format!("{VARIABLE}*?"), Wildcards::Meant);
        with_facts("ab", |facts| {
            let written = |most| own.tokens_up_to(most, facts).unwrap().is_some();
            assert_eq!((own.least(facts), written(2), written(3)), (Some(3), false, true));
            let fits = ["ab", "abc", "abcd", "ab*"].map(|text| own.fits(text, facts));
            assert_eq!(fits, [Some(false), Some(true), Some(true), Some(true)]);
        });
    }
}
