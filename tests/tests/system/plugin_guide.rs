//! The guides about rules in `docs/guides/`, as a newcomer would go through them: each command as it stands, and the output that
//! is shown.

use std::process::Command;

use system_tests::{Output, checkout, run, signet, within};

use crate::paste::Terminal;

const RULE: &str = include_str!("../../../plugins/templates/js/rule.js");

/// Each block of commands, with the lines that the block of text behind it shows.
fn steps(guide: &str) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    let mut rest = guide;
    while let Some((_, block)) = rest.split_once("\n```") {
        let (block, after) = block.split_once("\n```\n").unwrap();
        let (language, content) = block.split_once('\n').unwrap();
        match language {
            "bash" => steps.push((content.to_owned(), Vec::new())),
            "text" => steps.last_mut().unwrap().1.extend(content.lines().map(str::to_owned)),
            // What is shown of the rule that the guide makes.
            "js" => assert!(RULE.contains(content), "{content}"),
            other => panic!("a block of `{other}`"),
        }
        // The line feed that the next block begins behind.
        rest = &rest[rest.len() - after.len() - 1..];
    }
    steps
}

#[test]
fn the_guide_leads_from_nothing_to_a_rule_that_is_enforced() {
    walk("write-a-rule.md");
}

#[test]
fn the_guide_takes_a_new_version_to_all_callers_and_back() {
    walk("roll-out-a-rule.md");
}

fn walk(guide: &str) {
    let guide = std::fs::read_to_string(checkout().join("docs/guides").join(guide)).unwrap();
    let steps = steps(&guide);
    let shown: usize = steps.iter().map(|(_, shown)| shown.len()).sum();
    assert!(steps.len() > 8 && shown > 8, "{steps:?}");
    assert_eq!(steps[0], ("signet dev".to_owned(), Vec::new()));
    let terminal = Terminal::open();
    terminal.wait();
    let path = format!(
        "{}:{}",
        signet().parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let bash = |script: &str| -> Output {
        let mut bash = Command::new("bash");
        run(bash
            .args(["-ec", script])
            .env("PATH", &path)
            .current_dir(terminal.path("")))
    };
    for (script, shown) in &steps[1..] {
        let mut last = None;
        let mut shows = || {
            let output = bash(script);
            let all = format!("{}{}", output.stdout, output.stderr);
            let right = shown.iter().all(|line| all.contains(line));
            last = Some(output);
            right
        };
        // What asks an edge or its spool may come before the edge has the bundle, or the disk the record.
        if script.starts_with("signet mint") || script.starts_with("signet audit") {
            within(10, &format!("`{script}` shows {shown:?}"), shows);
        } else {
            assert!(shows(), "`{script}` does not show {shown:?}: {last:?}");
            assert_eq!(last.unwrap().code, 0, "{script}");
        }
    }
}
