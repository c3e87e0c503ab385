//! Text against patterns with wildcards, in time that grows with the product of the two lengths and never faster.

/// One place of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// This character.
    Char(char),
    /// `?`: any one character.
    One,
    /// `*`: any characters, or none.
    Any,
    /// `?` that takes no colon.
    OneWithin,
    /// `*` that takes no colons.
    AnyWithin,
}

impl Token {
    pub(super) fn repeats(self) -> bool {
        matches!(self, Self::Any | Self::AnyWithin)
    }

    fn takes(self, c: char) -> bool {
        match self {
            Self::Char(own) => own == c,
            Self::One | Self::Any => true,
            Self::OneWithin | Self::AnyWithin => c != ':',
        }
    }
}

/// A pattern of `*`, `?` and characters that stand for themselves.
pub(super) fn wild(text: &str) -> Vec<Token> {
    text.chars()
        .map(|c| match c {
            '*' => Token::Any,
            '?' => Token::One,
            c => Token::Char(c),
        })
        .collect()
}

/// Whether the whole text fits the whole pattern.
///
/// All the places that the pattern could be at are kept side by side, so no pattern makes this go back: it takes at most
/// one step a token and character.
pub(super) fn matches(tokens: &[Token], text: &str) -> bool {
    let mut here = start(tokens);
    let mut next = Vec::with_capacity(here.len());
    for c in text.chars() {
        step(tokens, &here, c, &mut next);
        if !next.contains(&true) {
            return false;
        }
        std::mem::swap(&mut here, &mut next);
    }
    here.last().copied().unwrap_or(false)
}

/// Before the first character: the first place, and those behind stars that may be empty. One entry a token, one for the end.
fn start(tokens: &[Token]) -> Vec<bool> {
    let mut open = true;
    let mut places = Vec::with_capacity(tokens.len().saturating_add(1));
    for token in tokens {
        places.push(open);
        open = open && token.repeats();
    }
    places.push(open);
    places
}

fn step(tokens: &[Token], here: &[bool], c: char, next: &mut Vec<bool>) {
    next.clear();
    let mut arrived = false;
    for (token, &open) in tokens.iter().zip(here) {
        let taken = open && token.takes(c);
        let stays = token.repeats();
        let now = arrived || (taken && stays);
        next.push(now);
        arrived = if stays { now } else { taken };
    }
    next.push(arrived);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the definition, at any cost.
    fn naive(tokens: &[Token], text: &[char]) -> bool {
        let Some((token, rest)) = tokens.split_first() else {
            return text.is_empty();
        };
        let one = text.split_first().filter(|(c, _)| token.takes(**c));
        if token.repeats() {
            naive(rest, text) || one.is_some_and(|(_, behind)| naive(tokens, behind))
        } else {
            one.is_some_and(|(_, behind)| naive(rest, behind))
        }
    }

    fn token() -> impl Strategy<Value = Token> {
        prop_oneof![
            Just(Token::Char('a')),
            Just(Token::Char('b')),
            Just(Token::Char(':')),
            Just(Token::One),
            Just(Token::Any),
            Just(Token::OneWithin),
            Just(Token::AnyWithin),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

        #[test]
        fn matching_is_what_the_definition_says(tokens in proptest::collection::vec(token(), 0..8), text in "[ab:]{0,9}") {
            let chars: Vec<char> = text.chars().collect();
            prop_assert_eq!(matches(&tokens, &text), naive(&tokens, &chars));
        }
    }

    #[test]
    fn every_short_pattern_against_every_short_text() {
        let words = |letters: &[char], most: usize| {
            let mut all = vec![String::new()];
            let mut last = all.clone();
            for _ in 0..most {
                last = last
                    .iter()
                    .flat_map(|word| letters.iter().map(move |letter| format!("{word}{letter}")))
                    .collect();
                all.extend(last.iter().cloned());
            }
            all
        };
        let texts = words(&['a', 'b'], 4);
        for pattern in words(&['a', 'b', '*', '?'], 4) {
            let tokens = wild(&pattern);
            for text in &texts {
                let chars: Vec<char> = text.chars().collect();
                assert_eq!(matches(&tokens, text), naive(&tokens, &chars), "{pattern} {text}");
            }
        }
    }

    // A matcher that goes back would need longer than the universe is old.
    #[test]
    fn many_stars_do_not_blow_up() {
        let tokens = wild(&"*a".repeat(200));
        let text = "a".repeat(199);
        assert!(!matches(&tokens, &format!("{text}b")));
        assert!(matches(&tokens, &format!("{text}a")));
    }

    #[test]
    fn only_stars_and_question_marks_are_special() {
        assert!(matches(&wild("a[b].c\\"), "a[b].c\\"));
        assert!(!matches(&wild("[ab]"), "a"));
        assert!(matches(&wild("?"), "é") && matches(&wild("*"), ""));
    }
}
