//! A component as large as an interpreter with its program: taken where the bundle says so, compiled in a process of its own,
//! and nobody waits for it.

use std::process::Command;
use std::time::Instant;

use system_tests::{Dev, checkout, run, within};

/// A component around a rule's text, made larger by so many functions, which compiling takes a while, and by a section of so
/// many bytes that nothing reads.
pub(crate) fn component(rule: &str, functions: usize, bytes: usize) -> Vec<u8> {
    let functions = "(func (param i64) (result i64) (i64.mul (local.get 0) (local.get 0)))".repeat(functions);
    let rule = rule.replace("(core module $rule", &format!("(core module $rule {functions}"));
    let text = hostile("world")
        .replace("{{memory}}", &hostile("memory"))
        .replace("{{rule}}", &rule);
    let mut wasm = wat::parse_str(text).unwrap();
    // A custom section (core specification, 5.5.3): its size, and a name of one letter.
    wasm.push(0);
    let mut size = bytes;
    while size >= 0x80 {
        wasm.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
        size >>= 7;
    }
    wasm.push(u8::try_from(size).unwrap());
    wasm.extend_from_slice(&[1, b'x']);
    wasm.resize(wasm.len() + bytes - 2, 7);
    wasm
}

/// The text of a rule, or of what is around one, of the hostile ones.
pub(crate) fn hostile(name: &str) -> String {
    std::fs::read_to_string(checkout().join(format!("runtime/tests/hostile/{name}.wat"))).unwrap()
}

// R20 R31
#[test]
fn an_edge_answers_while_it_loads_a_large_component() {
    let dev = Dev::start();
    let bundle = dev.data().join("large");
    run(Command::new("cp").arg("-r").arg(dev.data().join("bundle")).arg(&bundle)).success();
    std::fs::write(
        bundle.join("plugins/claim-guard.wasm"),
        component(&hostile("unreachable"), 20_000, 28 << 20),
    )
    .unwrap();
    let path = bundle.to_str().unwrap().to_owned();
    let refused = dev.cli(&["bundle", "apply", &path]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("max_size = \"29MiB\""), "{refused:?}");

    let manifest = bundle.join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let file = "file = \"plugins/claim-guard.wasm\"\n";
    assert!(text.contains(file));
    std::fs::write(&manifest, text.replace(file, &format!("{file}max_size = \"29MiB\"\n"))).unwrap();
    let (began, mut times) = (Instant::now(), Vec::new());
    let mut ask = || {
        let asked = Instant::now();
        dev.mint("session", "{}");
        times.push(asked.elapsed());
    };
    std::thread::scope(|scope| {
        let apply = scope.spawn(|| dev.cli(&["bundle", "apply", &path]));
        while !apply.is_finished() {
            ask();
        }
        apply.join().unwrap().success();
    });
    within(120, "the large rule is in force", || {
        ask();
        dev.curl("/v1/tokens/api").post("{}").status == 503
    });
    let (took, slowest) = (began.elapsed(), times.iter().max().unwrap());
    println!(
        "{} requests were answered in {took:?}, the slowest in {slowest:?}",
        times.len()
    );
    // Whatever kept an edge from answering while it compiles or loads would make one request as long as that.
    assert!(times.len() >= 10 && *slowest < took / 4, "{times:?} of {took:?}");
    assert_eq!(dev.curl("/v1/tokens/api").post("{}").problem(), "rule_failed");
}
