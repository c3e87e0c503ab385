//! What to do about serde's messages.

/// Splits serde's message into what is wrong and what to do about it.
pub(super) fn explain(message: &str) -> (String, Option<String>) {
    let Some((wrong, expected)) = message.split_once(", expected ") else {
        return (message.to_owned(), None);
    };
    let is_name = wrong.starts_with("unknown field `") || wrong.starts_with("unknown variant `");
    let Some(given) = is_name.then(|| quoted(wrong).next()).flatten() else {
        return (message.to_owned(), None);
    };
    let known: Vec<&str> = quoted(expected).collect();
    let hint = match nearest(given, &known) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "remove it".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    };
    (wrong.to_owned(), Some(hint))
}

/// The texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The closest of the known names, if it is close: at most a third of the letters differ.
fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let allowed = (given.len() / 3).clamp(1, 3);
    let closest = known.iter().map(|name| (distance(given, name), *name)).min()?;
    (closest.0 <= allowed).then_some(closest.1)
}

/// Levenshtein distance in bytes.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.bytes().enumerate() {
        let mut diagonal = index;
        let mut previous = index.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = previous;
        }
        for (b, cell) in right.bytes().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(a != b));
            diagonal = *cell;
            previous = replaced.min(previous.saturating_add(1)).min(cell.saturating_add(1));
            *cell = previous;
        }
    }
    row.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn the_nearest_name_is_named_and_a_far_one_is_not() {
        let (wrong, hint) = explain("unknown field `lifetme`, expected one of `lifetime`, `tenant`");
        assert_eq!(
            (wrong.as_str(), hint.as_deref()),
            ("unknown field `lifetme`", Some("did you mean `lifetime`?"))
        );
        let (_, hint) = explain("unknown field `zzz`, expected `lifetime` or `tenant`");
        assert_eq!(hint.as_deref(), Some("known here: lifetime, tenant"));
        let (wrong, hint) = explain("unknown field `x`, expected nothing at all");
        assert_eq!(
            (wrong.as_str(), hint.as_deref()),
            ("unknown field `x`", Some("remove it"))
        );
    }

    #[test]
    fn other_messages_stay_whole() {
        let text = "invalid type: integer `7`, expected a string";
        assert_eq!(explain(text), (text.to_owned(), None));
    }
}
