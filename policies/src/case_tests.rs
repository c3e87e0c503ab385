//! Runs the folders under `policies/cases/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::bundle::{Bundle, dir};
use crate::engine::Engine;
use crate::testing;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn base() -> (Bundle, Engine) {
    let bundle = Bundle::parse(&dir::read(&cases().join("bundle")).unwrap()).unwrap();
    let engine = Engine::new(&bundle).unwrap();
    (bundle, engine)
}

// R6 R39
#[test]
fn decisions_come_out_as_written() {
    let (bundle, engine) = base();
    let report = testing::run_cases(&bundle, &engine, &cases().join("decisions"));
    assert!(report.passed(), "{report}");
    assert!(report.cases.len() >= 50, "only {} cases were found", report.cases.len());
}

/// Every error of the bundle that the folder's files make of the base one.
fn faults_of(folder: &Path) -> String {
    let mut files: BTreeMap<String, Vec<u8>> = dir::read(&cases().join("bundle")).unwrap().into_iter().collect();
    let own = dir::files(folder)
        .unwrap()
        .into_iter()
        .filter(|(path, _)| path != "expected.txt");
    files.extend(own);
    let files: Vec<_> = files.into_iter().collect();
    let lines: Vec<String> = match Bundle::parse(&files) {
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
        Ok(bundle) => match Engine::new(&bundle) {
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
            Ok(_) => Vec::new(),
        },
    };
    lines.iter().map(|line| format!("{line}\n")).collect()
}

// R7 R38
#[test]
fn bad_bundles_are_refused_with_place_and_hint() {
    let mut folders: Vec<PathBuf> = fs::read_dir(cases().join("refused"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    let mut wrong = String::new();
    for folder in &folders {
        let found = faults_of(folder);
        let expected = fs::read_to_string(folder.join("expected.txt")).unwrap();
        if found != expected || found.is_empty() {
            wrong += &format!("== {}\n-- expected\n{expected}-- found\n{found}", folder.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(folders.len() >= 50, "only {} cases were found", folders.len());
}

/// The blocks of a page that are written in `language`.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(cases().join("../../docs/reference").join(page)).unwrap();
    let fence = format!("```{language}\n");
    text.split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_reference_pages_hold_what_works() {
    let mut files: BTreeMap<String, Vec<u8>> = dir::read(&cases().join("bundle")).unwrap().into_iter().collect();
    files.retain(|path, _| !path.starts_with("profiles/") && !path.starts_with("policies/"));
    for block in blocks("bundle.md", "toml") {
        let path = block.lines().next().unwrap().trim_start_matches("# ").to_owned();
        files.insert(path, block.into_bytes());
    }
    for (number, block) in blocks("policies.md", "cedar")
        .into_iter()
        .filter(|block| block.contains("@id"))
        .enumerate()
    {
        files.insert(format!("policies/block-{number}.cedar"), block.into_bytes());
    }
    let bundle = Bundle::parse(&files.into_iter().collect::<Vec<_>>()).unwrap();
    assert_eq!((bundle.profiles.len(), bundle.policies.len()), (1, 4));
    let engine = Engine::new(&bundle).unwrap();
    let json = blocks("policies.md", "json");
    let request = testing::CaseRequest::parse(json[0].as_bytes()).unwrap();
    let explanation = request.explain(&bundle, &engine).unwrap();
    let expected: testing::Outcome = serde_json::from_str(&json[1]).unwrap();
    assert_eq!(
        (explanation.outcome.code.clone(), explanation.outcome.policies.clone()),
        (expected.code, expected.policies)
    );
    let page = fs::read_to_string(cases().join("../../docs/reference/policies.md")).unwrap();
    assert!(page.contains(&format!("```\n{explanation}\n```")), "{explanation}");
}

#[test]
fn the_reference_page_names_every_action() {
    let page = fs::read_to_string(cases().join("../../docs/reference/policies.md")).unwrap();
    for action in crate::schema::PARSED.actions() {
        let name = <_ as AsRef<str>>::as_ref(action.id()).to_owned();
        assert!(
            page.contains(&format!("`{name}`")) || page.contains(&format!("\"{name}\"`")),
            "{name}"
        );
    }
}
