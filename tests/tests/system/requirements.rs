//! `docs/reference/security-requirements.md` lists which test proves which requirement: read from the marks `// R7` in
//! the code, so that it cannot drift. Rewrite it with `UPDATE_GOLDEN=1 cargo nextest run -p system-tests requirements`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use system_tests::checkout;

/// What this version claims to close.
const CLOSED: &[u32] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,
    36, 38, 39,
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "node_modules", "signet-data"].contains(&name.as_str()) {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// The requirements of a mark: a comment that begins with one, `// R7`, `// R1 R2: …`, `// R5, R6`.
fn marks(line: &str) -> Vec<u32> {
    let Some(text) = line.trim().strip_prefix("// R") else {
        return Vec::new();
    };
    let words = text
        .split([' ', ',', ':', '.', ';', ')', '('])
        .filter(|word| !word.is_empty());
    let mut found = Vec::new();
    for (index, word) in words.enumerate() {
        let number = if index == 0 {
            word
        } else {
            word.strip_prefix('R').unwrap_or("x")
        };
        match number.parse() {
            Ok(number) => found.push(number),
            Err(_) => break,
        }
    }
    found
}

fn function(line: &str) -> Option<&str> {
    let rest = line
        .trim()
        .trim_start_matches("pub ")
        .trim_start_matches("async ")
        .strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

/// The test that a mark belongs to: the function below it, or the one it stands in.
fn test_of(lines: &[&str], mark: usize) -> Option<String> {
    let skipped =
        |line: &&str| line.trim().starts_with("//") || line.trim().starts_with("#[") || line.trim().is_empty();
    let below = (mark..lines.len()).find(|at| !skipped(&lines[*at]))?;
    let at = match function(lines[below]) {
        Some(_) => below,
        None => (0..mark).rev().find(|at| function(lines[*at]).is_some())?,
    };
    let attributes = lines[..at].iter().rev().take(6).take_while(|line| skipped(line));
    let is_test = attributes
        .into_iter()
        .any(|line| line.contains("test") && line.trim().starts_with("#["));
    is_test.then(|| function(lines[at]).unwrap().to_owned())
}

fn proven() -> BTreeMap<u32, BTreeSet<String>> {
    let root = checkout();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut proven: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        for (at, line) in lines.iter().enumerate() {
            for requirement in marks(line) {
                if let Some(test) = test_of(&lines, at) {
                    proven
                        .entry(requirement)
                        .or_default()
                        .insert(format!("`{name}` {test}"));
                }
            }
        }
    }
    proven
}

fn page(proven: &BTreeMap<u32, BTreeSet<String>>) -> String {
    let mut page = String::from(
        "# Which test proves which requirement\n\n\
         Made from the marks `// R7` in the code; the numbers are those of the project's list of security and reliability\n\
         requirements. What has no row is not proven yet.\n\n| requirement | tests |\n| --- | --- |\n",
    );
    for (requirement, tests) in proven {
        let tests: Vec<_> = tests.iter().cloned().collect();
        page.push_str(&format!("| R{requirement} | {} |\n", tests.join("<br>")));
    }
    page
}

#[test]
fn the_page_is_true() {
    let path = checkout().join("docs/reference/security-requirements.md");
    let proven = proven();
    let page = page(&proven);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let unproven: Vec<_> = CLOSED
        .iter()
        .filter(|requirement| !proven.contains_key(requirement))
        .collect();
    assert!(unproven.is_empty(), "no test is marked with these: {unproven:?}");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "the page is not that of the code's marks: rewrite it, see this file's first lines"
    );
}

#[test]
fn marks_are_read_as_written() {
    assert_eq!(marks("    // R7"), [7]);
    assert_eq!(marks("// R1 R2 R3: what a token says"), [1, 2, 3]);
    assert_eq!(marks("// R5, R6. And more"), [5, 6]);
    assert_eq!(marks("// Rates are not requirements"), Vec::<u32>::new());
    assert_eq!(marks("/// R7"), Vec::<u32>::new());
}
