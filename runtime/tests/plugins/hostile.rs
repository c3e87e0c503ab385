//! Every file of `tests/hostile/` says in its first line what must come of it. Whatever comes of it, the next call of
//! a good plugin is served.

use crate::support::{component, folder, load, small_host, text, token, word};
use runtime::{Plugin, PluginSource};
use std::collections::BTreeMap;

/// Calls of each component: more than the pool has slots, so that a slot that is not given back is missed.
const CALLS: usize = 10;

fn cases() -> Vec<(String, String)> {
    let mut cases: Vec<(String, String)> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "world" && name != "memory")
        .map(|name| {
            let first = text(&name).lines().next().unwrap().to_owned();
            let expected = first
                .strip_prefix(";; expect: ")
                .unwrap_or_else(|| panic!("{name}: {first}"))
                .to_owned();
            (name, expected)
        })
        .collect();
    cases.sort();
    cases
}

// R21, R22
#[tokio::test]
async fn each_denies_its_own_call_only() {
    let host = small_host();
    let good = load(&host, "good");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (name, expected) in cases() {
        let loaded = host.load(PluginSource::new(&name, component(&text(&name))));
        match (expected.strip_prefix("load:"), loaded) {
            (Some(reason), Err(error)) => {
                let error = error.to_string();
                assert!(
                    error.contains(reason.trim()),
                    "{name}: expected `{}`, got `{error}`",
                    reason.trim()
                );
                assert!(error.starts_with(&format!("plugin `{name}`: ")), "{error}");
            }
            (None, Ok(plugin)) => denies(&plugin, &name, &expected).await,
            (_, outcome) => panic!("{name}: expected {expected}, got {outcome:?}"),
        }
        let next = good.evaluate(&token(vec![], vec![])).await;
        assert!(next.is_ok(), "after {name}: {next:?}");
        *counts
            .entry(expected.split(':').next().unwrap().to_owned())
            .or_default() += 1;
    }
    println!("{counts:?}");
    for kind in ["allowed", "trap", "timeout", "memory", "bad_output", "load"] {
        assert!(
            counts.get(kind).is_some_and(|count| *count >= 2),
            "too few cases of {kind}: {counts:?}"
        );
    }
}

async fn denies(plugin: &Plugin, name: &str, expected: &str) {
    for _ in 0..CALLS {
        let outcome = plugin.evaluate(&token(vec![], vec![])).await;
        assert_eq!(word(&outcome), expected, "{name}: {outcome:?}");
    }
    let metrics = plugin.metrics();
    let ended = [
        &metrics.allowed,
        &metrics.trapped,
        &metrics.timed_out,
        &metrics.out_of_memory,
        &metrics.bad_output,
    ];
    let ended: u64 = ended
        .iter()
        .map(|counter| counter.load(std::sync::atomic::Ordering::Relaxed))
        .sum();
    assert_eq!(ended, CALLS as u64, "{name}: every call is counted once: {metrics:?}");
}

/// The same bad answer, in every address a rule can give: none may reach the host's memory.
// R21, R22
#[tokio::test]
async fn no_answer_address_harms() {
    let host = small_host();
    let rule = r#"(core module $rule
      (import "host" "memory" (memory 1))
      (func (export "evaluate") (param i32) (result i32) (i32.const {at})))"#;
    for at in [
        "0",
        "4",
        "65536",
        "131052",
        "131056",
        "131060",
        "131071",
        "131072",
        "0x7fffffff",
        "0x80000000",
        "-20",
    ] {
        let plugin = host
            .load(PluginSource::new(at, component(&rule.replace("{at}", at))))
            .unwrap();
        let outcome = plugin.evaluate(&token(vec![], vec![])).await;
        assert!(
            ["allowed", "refused", "bad_output"].contains(&word(&outcome)),
            "{at}: {outcome:?}"
        );
    }
}
