//! What changes between two bundles, file by file, with the lines of text files.

use std::collections::BTreeMap;

use serde::Serialize;

/// Longest text that is compared line by line; above it only the fact of the change is told.
const MAX_LINES: usize = 2000;
/// Unchanged lines shown around a change.
const CONTEXT: usize = 2;

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileChangeKind {
    /// New.
    Added,
    /// Gone.
    Removed,
    /// Other content.
    Modified,
}

/// One changed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Relative, forward slashes.
    pub path: String,
    /// What happened.
    pub change: FileChangeKind,
    /// Lines with ` `, `-` or `+` before them; none for binary and very long files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

type File = (String, Vec<u8>);

/// The changed files in order of their paths.
pub(super) fn files(old: &[File], new: &[File]) -> Vec<FileChange> {
    let index = |files: &'_ [File]| -> BTreeMap<String, Vec<u8>> { files.iter().cloned().collect() };
    let (old, new) = (index(old), index(new));
    let paths: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    for path in paths {
        let (change, before, after) = match (old.get(path), new.get(path)) {
            (None, Some(after)) => (FileChangeKind::Added, &[][..], after.as_slice()),
            (Some(before), None) => (FileChangeKind::Removed, before.as_slice(), &[][..]),
            (Some(before), Some(after)) if before != after => {
                (FileChangeKind::Modified, before.as_slice(), after.as_slice())
            }
            _ => continue,
        };
        changes.push(FileChange {
            path: path.clone(),
            change,
            diff: text(before, after),
        });
    }
    changes
}

fn text(before: &[u8], after: &[u8]) -> Option<String> {
    let (before, after) = (std::str::from_utf8(before).ok()?, std::str::from_utf8(after).ok()?);
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    if old.len().max(new.len()) > MAX_LINES || before.contains('\0') || after.contains('\0') {
        return None;
    }
    Some(render(&lines(&old, &new)))
}

/// The shortest script from `old` to `new`, by longest common subsequence after equal ends are set aside.
fn lines<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (
        old.get(start..).unwrap_or_default(),
        new.get(start..).unwrap_or_default(),
    );
    let end = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let cut = |lines: &[&'a str]| {
        lines
            .get(..lines.len().saturating_sub(end))
            .unwrap_or_default()
            .to_vec()
    };
    let (a, b) = (cut(old_rest), cut(new_rest));
    // table[i][j]: length of the longest common subsequence of a[i..] and b[j..].
    let mut table = vec![vec![0_u16; b.len().saturating_add(1)]; a.len().saturating_add(1)];
    let at = |table: &[Vec<u16>], i: usize, j: usize| table.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    for (i, left) in a.iter().enumerate().rev() {
        for (j, right) in b.iter().enumerate().rev() {
            let (down, across) = (i.saturating_add(1), j.saturating_add(1));
            let best = if left == right {
                at(&table, down, across).saturating_add(1)
            } else {
                at(&table, down, j).max(at(&table, i, across))
            };
            if let Some(cell) = table.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = best;
            }
        }
    }
    let mut script: Vec<(char, &str)> = old.iter().take(start).map(|line| (' ', *line)).collect();
    let (mut i, mut j) = (0_usize, 0_usize);
    loop {
        match (a.get(i), b.get(j)) {
            (Some(left), Some(right)) if left == right => {
                script.push((' ', left));
                (i, j) = (i.saturating_add(1), j.saturating_add(1));
            }
            (Some(left), right)
                if right.is_none() || at(&table, i.saturating_add(1), j) >= at(&table, i, j.saturating_add(1)) =>
            {
                script.push(('-', left));
                i = i.saturating_add(1);
            }
            (_, Some(right)) => {
                script.push(('+', right));
                j = j.saturating_add(1);
            }
            _ => break,
        }
    }
    script.extend(old.iter().skip(old.len().saturating_sub(end)).map(|line| (' ', *line)));
    script
}

/// Changed lines with a little context, and `…` where lines are left out.
fn render(script: &[(char, &str)]) -> String {
    let near = |at: usize| {
        let from = at.saturating_sub(CONTEXT);
        let to = at.saturating_add(CONTEXT).saturating_add(1).min(script.len());
        script
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .any(|(mark, _)| *mark != ' ')
    };
    let (mut text, mut skipped) = (String::new(), false);
    for (at, (mark, line)) in script.iter().enumerate() {
        if !near(at) {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) {
            text.push_str("…\n");
        }
        text.push(*mark);
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &str) -> File {
        (path.to_owned(), content.as_bytes().to_vec())
    }

    #[test]
    fn files_that_come_go_and_change_are_told() {
        let old = [file("a", "1\n2\n3\n"), file("b", "x\n"), file("same", "s")];
        let new = [file("a", "1\nII\n3\n"), file("c", "y\n"), file("same", "s")];
        let changes = files(&old, &new);
        let told: Vec<_> = changes
            .iter()
            .map(|change| (change.path.as_str(), change.change))
            .collect();
        let wanted = [
            ("a", FileChangeKind::Modified),
            ("b", FileChangeKind::Removed),
            ("c", FileChangeKind::Added),
        ];
        assert_eq!(told, wanted);
        assert_eq!(changes[0].diff.as_deref(), Some(" 1\n-2\n+II\n 3\n"));
        assert_eq!(changes[1].diff.as_deref(), Some("-x\n"));
        assert_eq!(changes[2].diff.as_deref(), Some("+y\n"));
    }

    #[test]
    fn binary_files_have_no_lines() {
        let changes = files(&[("p.wasm".into(), vec![0, 255])], &[("p.wasm".into(), vec![0, 254])]);
        assert_eq!(changes[0].diff, None);
    }

    #[test]
    fn far_lines_are_left_out() {
        let long: String = (0..50).map(|n| format!("{n}\n")).collect();
        let changed = long.replace("\n30\n", "\nthirty\n");
        let diff = text(long.as_bytes(), changed.as_bytes()).unwrap();
        assert_eq!(diff, "…\n 28\n 29\n-30\n+thirty\n 31\n 32\n");
    }

    proptest::proptest! {
        // What the script keeps and adds is the new text; what it keeps and removes is the old one.
        #[test]
        fn a_script_leads_from_old_to_new(old in proptest::collection::vec("[ab]", 0..12), new in proptest::collection::vec("[ab]", 0..12)) {
            let (old, new): (Vec<&str>, Vec<&str>) = (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
            let script = lines(&old, &new);
            let side = |skip: char| script.iter().filter(|(mark, _)| *mark != skip).map(|(_, line)| *line).collect::<Vec<_>>();
            proptest::prop_assert_eq!(side('+'), old);
            proptest::prop_assert_eq!(side('-'), new);
        }
    }
}
