//! A component cut short, and one with flipped bits: refused when loaded, or bounded when called.

use crate::support::{component, example, load, small_host, text, token};
use runtime::{LoadFailure, PluginSource};

/// Mutated components that a run tries. Each is compiled, so this is what the test costs.
const MUTANTS: u64 = 200;

// R20, R22
#[tokio::test]
async fn a_truncated_component_is_refused() {
    let host = small_host();
    let whole = component(&text("good"));
    let mut loaded = 0;
    for length in 0..whole.len() {
        match (
            length,
            host.load(PluginSource::new("cut", whole[..length].to_vec()))
                .map_err(|error| error.reason),
        ) {
            (0..4, Err(LoadFailure::NotWasm)) => {}
            // Cut at the end of a section, what is left is a component without its export.
            (4.., Err(LoadFailure::Malformed(_) | LoadFailure::WrongWorld(_))) => {}
            // The last section holds names for people: cut before it, the component is whole.
            (_, Ok(plugin)) => {
                loaded += 1;
                assert!(plugin.evaluate(&token(vec![], vec![])).await.is_ok());
            }
            (_, Err(reason)) => panic!("{length} of {} bytes: {reason}", whole.len()),
        }
    }
    assert!(loaded <= 1, "{loaded}");
    assert!(load(&host, "good").evaluate(&token(vec![], vec![])).await.is_ok());
}

// R20
#[test]
fn a_truncated_example_is_refused() {
    let whole = example("claim-guard");
    let host = small_host();
    for part in 1..40 {
        let length = whole.len() * part / 40;
        let error = host
            .load(PluginSource::new("cut", whole[..length].to_vec()))
            .unwrap_err();
        assert!(
            matches!(error.reason, LoadFailure::Malformed(_) | LoadFailure::WrongWorld(_)),
            "{length}: {error}"
        );
    }
}

// R22
#[tokio::test]
async fn flipped_bits_harm_nobody() {
    let host = small_host();
    let good = load(&host, "good");
    let whole = component(&text("loop-with-calls").replace("(br $again)", "(br_if $again (i64.eqz (local.get $n)))"));
    // The core modules: nearly any change to the types around them is refused when loaded.
    let code = whole.windows(8).position(|bytes| bytes == b"\0asm\x01\0\0\0").unwrap();
    let (mut loaded, mut random) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    for mutant in 0..MUTANTS {
        let mut wasm = whole.clone();
        for _ in 0..=mutant % 3 {
            // xorshift64: the same mutants in every run.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = code + random as usize % (wasm.len() - code);
            wasm[at] ^= 1 << (random >> 61);
        }
        if let Ok(plugin) = host.load(PluginSource::new(format!("mutant {mutant}"), wasm)) {
            loaded += 1;
            // Any outcome will do, so long as there is one.
            let _ = plugin.evaluate(&token(vec![], vec![])).await;
        }
        if mutant % 20 == 0 {
            assert!(
                good.evaluate(&token(vec![], vec![])).await.is_ok(),
                "after mutant {mutant}"
            );
        }
    }
    println!("{loaded} of {MUTANTS} mutants could be loaded");
    assert!(good.evaluate(&token(vec![], vec![])).await.is_ok());
}
