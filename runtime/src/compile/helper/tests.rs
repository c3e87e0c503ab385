//! The child is this test binary, started again with a variable that turns one test into the compiler.

use super::*;
use std::time::Instant;

const IS_CHILD: &str = "SIGNET_TEST_COMPILER";

/// No test of its own: the child.
#[test]
fn the_compiler() {
    if std::env::var_os(IS_CHILD).is_some() {
        run_compiler().unwrap();
        std::process::exit(0);
    }
}

pub(crate) fn shell(script: &str) -> Compiler {
    Compiler::Process {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
    }
}

pub(crate) fn own() -> Compiler {
    let program = std::env::current_exe().unwrap();
    let test = "compile::helper::tests::the_compiler";
    shell(&format!(
        "{IS_CHILD}=1 exec '{}' --exact {test} --nocapture --quiet",
        program.display()
    ))
}

fn compile_with(compiler: &Compiler, wasm: &[u8], bounds: Bounds) -> Result<Vec<u8>, Unmade> {
    let Compiler::Process { program, arguments } = compiler else {
        panic!("no process")
    };
    compile((program, arguments), (wasm, Level::of_this_machine()), bounds)
}

fn bounds(time: Duration) -> Bounds {
    Bounds::new(time, 0)
}

const LONG: Duration = Duration::from_secs(120);

fn failure(made: Result<Vec<u8>, Unmade>) -> Unmade {
    made.expect_err("nothing is made")
}

#[test]
fn a_child_compiles_for_the_engine_of_a_host() {
    let wasm = wat::parse_str("(component (core module (func (export \"f\"))))").unwrap();
    let artifact = compile_with(&own(), &wasm, bounds(LONG)).ok().unwrap();
    let host = crate::Host::new(crate::Settings::default()).unwrap();
    let artifact = crate::Artifact::of_own_child(artifact, [0; 32]);
    artifact.load(&host.0.engine).unwrap();
    let refused = failure(compile_with(&own(), b"\0asm\x0d\0\x01\0rubbish", bounds(LONG)));
    assert!(
        matches!(&refused, Unmade::Refused(why) if !why.is_empty()),
        "{refused:?}"
    );
}

// R20
#[test]
fn a_child_that_takes_too_long_is_killed() {
    let folder = std::env::temp_dir().join(format!("signet-compiler-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("pid");
    // It tells its id, and then neither reads nor ends.
    let hanging = shell(&format!("echo $$ > '{}'; exec sleep 1000", file.display()));
    let (begun, wasm) = (Instant::now(), vec![0; 4 << 20]);
    let mut time = Duration::from_millis(200);
    let pid = loop {
        assert_eq!(failure(compile_with(&hanging, &wasm, bounds(time))), Unmade::TooSlow);
        match std::fs::read_to_string(&file).unwrap_or_default().trim() {
            "" => time = time.saturating_mul(2),
            pid => break pid.to_owned(),
        }
    };
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}")).exists(),
        "it has ended, and nobody waits for it"
    );
    println!("given up after {:?}", begun.elapsed());
}

// R20
#[test]
fn a_child_is_bounded_in_memory_and_processor_time() {
    let functions =
        "(func (param i64) (result i64) local.get 0 local.get 0 i64.mul local.get 0 i64.add)".repeat(60_000);
    let wasm = wat::parse_str(format!("(component (core module {functions}))")).unwrap();
    let starved = Bounds {
        memory: 24 << 20,
        ..bounds(LONG)
    };
    let ended = failure(compile_with(&own(), &wasm, starved));
    assert!(
        matches!(&ended, Unmade::Failed(why) if why.contains("24 MiB")),
        "{ended:?}"
    );
    // The clock on the wall is not what ends it: a second of the processor is.
    let brief = Bounds {
        processor: 1,
        ..bounds(LONG)
    };
    assert_eq!(failure(compile_with(&own(), &wasm, brief)), Unmade::TooSlow);
}

// R20
#[test]
fn what_a_child_answers_is_bounded_and_read_whole_or_not_at_all() {
    let says = |script: &str, most: usize| {
        let bounds = Bounds {
            artifact: most,
            ..bounds(LONG)
        };
        failure(compile_with(&shell(script), b"component", bounds))
    };
    let preamble = "printf '\\nsignet-artifact/1\\n\\001\\0\\0\\0\\0\\0\\0\\0\\005";
    assert!(matches!(says("echo nonsense >&2; exit 7", 100), Unmade::Failed(why) if why.contains("nonsense")));
    assert!(
        matches!(says("exec cat", 100), Unmade::Failed(_)),
        "what it is given is no answer"
    );
    let cut = format!("{preamble}abcd'");
    assert!(matches!(says(&cut, 100), Unmade::Failed(_)), "four bytes of five");
    let long = format!("{preamble}abcde'");
    let refused = says(&long, 4);
    assert!(
        matches!(&refused, Unmade::Failed(why) if why.contains("more than 4")),
        "{refused:?}"
    );
    assert!(
        matches!(says("exec cat /dev/zero", 1 << 20), Unmade::Failed(_)),
        "it is not read without end"
    );
    let missing = Compiler::Process {
        program: "/nonexistent/signet".into(),
        arguments: Vec::new(),
    };
    let missing = failure(compile_with(&missing, b"", bounds(LONG)));
    assert!(
        matches!(&missing, Unmade::Failed(why) if why.contains("/nonexistent/signet")),
        "{missing:?}"
    );
}

// R20
#[test]
fn a_child_gets_nothing_of_our_environment() {
    // The test runner's variables are in ours.
    assert!(std::env::vars().count() > 2);
    let told = failure(compile_with(
        &shell("env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= | wc -l >&2"),
        b"",
        bounds(LONG),
    ));
    assert!(matches!(&told, Unmade::Failed(why) if why.ends_with(": 0")), "{told:?}");
}
