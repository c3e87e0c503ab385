//! Hostile components, each with the refusal that must come of it: those written by hand in `tests/hostile/`, where the first
//! line says so, and those that the modules here generate, of one honest rule and one lie. Whatever comes of one, the next
//! call of a good plugin is served.

#[path = "hostile/answers.rs"]
mod answers;
#[path = "hostile/code.rs"]
mod code;
#[path = "hostile/giants.rs"]
mod giants;
#[path = "hostile/random.rs"]
mod random;
#[path = "hostile/worlds.rs"]
mod worlds;

use crate::support::{component, folder, load, small_host, text, token, word};
use runtime::{Host, Plugin, PluginSource};
use std::collections::{BTreeMap, BTreeSet};

/// A hostile component.
struct Case {
    name: String,
    wasm: Vec<u8>,
    /// The kind of failure that each call ends in, or `load: ` and a part of why it cannot be loaded.
    expected: String,
}

impl Case {
    /// Of a rule, a memory, both, or a whole component, as text.
    fn new(name: impl Into<String>, text: &str, expected: impl Into<String>) -> Case {
        Case {
            name: name.into(),
            wasm: component(text),
            expected: expected.into(),
        }
    }
}

/// Those of `tests/hostile/` that harm nobody but themselves, and so have a verdict: one is honest, one lives with less memory
/// than it asked for, one fills all that it may have, and one scribbles over the request that it was given.
const HARMLESS: [&str; 4] = ["allocator-overlaps", "fill-once", "good", "grow-and-live-with-it"];

fn written() -> Vec<Case> {
    let mut cases: Vec<Case> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "world" && name != "memory")
        .map(|name| {
            let text = text(&name);
            let first = text.lines().next().unwrap();
            let expected = first
                .strip_prefix(";; expect: ")
                .unwrap_or_else(|| panic!("{name}: {first}"));
            assert_eq!(expected == "allowed", HARMLESS.contains(&name.as_str()), "{name}");
            Case::new(&name, &text, expected)
        })
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

/// Loads and calls each, and a good plugin after each. More calls than the pool has slots, so that a slot that is not given
/// back is missed.
async fn judge(cases: &[Case], calls: usize) {
    judge_on(&small_host(), false, cases, calls).await;
}

async fn judge_on(host: &Host, isolated: bool, cases: &[Case], calls: usize) {
    let good = load(host, "good");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in cases {
        if let Err(error) = comes_out_as_expected(host, isolated, case, calls).await {
            wrong.push(format!("{}: expected {}, got {error}", case.name, case.expected));
        }
        let next = good.evaluate(&token(vec![], vec![])).await;
        assert!(next.is_ok(), "after {}: {next:?}", case.name);
        let kind = case.expected.split(':').next().unwrap();
        *counts.entry(kind).or_default() += 1;
    }
    println!("{counts:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn comes_out_as_expected(host: &Host, isolated: bool, case: &Case, calls: usize) -> Result<(), String> {
    let mut source = PluginSource::new(&case.name, case.wasm.clone());
    source.isolated = isolated;
    source.imports = runtime::grantable().map(str::to_owned).collect();
    match (case.expected.strip_prefix("load: "), host.load(source)) {
        (Some(reason), Err(error)) => {
            let error = error.to_string();
            let ours = error.contains(reason) && error.starts_with(&format!("plugin `{}`: ", case.name));
            if ours { Ok(()) } else { Err(error) }
        }
        (None, Ok(plugin)) => denies(&plugin, case, calls).await,
        (_, outcome) => Err(format!("{outcome:?}")),
    }
}

async fn denies(plugin: &Plugin, case: &Case, calls: usize) -> Result<(), String> {
    for _ in 0..calls {
        let outcome = plugin.evaluate(&token(vec![], vec![])).await;
        if word(&outcome) != case.expected {
            return Err(format!("{outcome:?}"));
        }
    }
    let metrics = plugin.metrics();
    let ended = [
        &metrics.allowed,
        &metrics.trapped,
        &metrics.timed_out,
        &metrics.out_of_memory,
        &metrics.bad_output,
    ];
    let ended = ended
        .iter()
        .map(|counter| counter.load(std::sync::atomic::Ordering::Relaxed));
    let ended = ended.sum::<u64>();
    assert_eq!(
        ended, calls as u64,
        "{}: every call is counted once: {metrics:?}",
        case.name
    );
    Ok(())
}

// R21, R22
#[test]
fn there_are_200_hostile_components_and_each_has_a_clear_refusal() {
    let families = [
        written(),
        answers::cases(),
        code::cases(),
        worlds::cases(),
        giants::cases(),
    ];
    let cases = families.iter().flatten();
    let refused: Vec<&Case> = cases.filter(|case| case.expected != "allowed").collect();
    for case in &refused {
        let kinds = ["trap", "timeout", "memory", "bad_output"];
        let reason = case.expected.strip_prefix("load: ");
        let clear = reason.map_or(kinds.contains(&case.expected.as_str()), |reason| reason.len() > 8);
        assert!(clear, "{}: {}", case.name, case.expected);
    }
    let names: BTreeSet<&str> = refused.iter().map(|case| case.name.as_str()).collect();
    let components: BTreeSet<&[u8]> = refused.iter().map(|case| case.wasm.as_slice()).collect();
    println!("{} names, {} components", names.len(), components.len());
    assert_eq!(names.len(), refused.len(), "two of one name");
    assert!(components.len() >= 200, "{}", components.len());
}

// R21, R22
#[tokio::test]
async fn each_that_was_written_denies_its_own_call_only() {
    judge(&written(), 10).await;
}

/// The same in processes of their own: nothing of it ends a worker, and each is refused in the same words.
// R21, R22
#[tokio::test]
async fn each_that_was_written_denies_its_own_call_only_in_a_worker() {
    judge_on(&crate::workers::host(1), true, &written(), 3).await;
}

// R21, R22
#[tokio::test]
async fn no_answer_harms() {
    judge(&answers::cases(), 2).await;
}

/// What the answers lie about is well-formed without the lie.
#[tokio::test]
async fn the_answers_that_are_lied_about_are_honest() {
    let host = small_host();
    for (name, text, expected) in answers::honest() {
        let plugin = host.load(PluginSource::new(&name, component(&text))).unwrap();
        let outcome = plugin.evaluate(&token(vec![], vec![])).await;
        assert_eq!(word(&outcome), expected, "{name}: {outcome:?}");
    }
}

// R21, R22
#[tokio::test]
async fn no_code_harms() {
    judge(&code::cases(), 5).await;
}

// R20, R22
#[tokio::test]
async fn nothing_but_the_world_is_loaded() {
    judge(&worlds::cases(), 1).await;
}

// R20, R22
#[tokio::test]
async fn giants_and_bombs_are_refused() {
    judge(&giants::cases(), 2).await;
}

/// Whatever a random rule does: an error of loading, or an outcome, and a neighbour that is served.
// R21, R22
#[tokio::test]
async fn random_rules_harm_nobody() {
    random::run().await;
}
