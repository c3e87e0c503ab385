//! The compilers of guests: where they are, and how one that is missing is installed. Nothing is installed here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Context, Failure};

/// Debian's compiler, and its sources of std.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library";

/// A compiler's command line, so far.
#[derive(Debug)]
pub struct Tool {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
}

impl Tool {
    fn new(program: impl Into<PathBuf>) -> Tool {
        Tool {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// More arguments.
    pub fn arguments(mut self, arguments: &[&str]) -> Tool {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    /// One more variable of its environment.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Tool {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Runs it in `dir`. What it says goes to standard error, as it says it.
    pub fn run(self, dir: &Path) -> Result<(), Failure> {
        let program = self.program.display().to_string();
        let status = Command::new(&self.program)
            .args(self.arguments)
            .envs(self.environment)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .context(|| format!("`{program}`"))?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!(
                "`{program}` ended with {status}; what it said is above"
            )))
        }
    }
}

/// `zig`, or the one that comes as a Python package.
pub fn zig() -> Result<Tool, Failure> {
    if let Some(zig) = find("zig") {
        return Ok(Tool::new(zig));
    }
    let python = find("python3").filter(|python| works(python, &["-c", "import ziglang"]));
    python
        .map(|python| Tool::new(python).arguments(&["-m", "ziglang"]))
        .ok_or_else(|| missing("zig", "pip install ziglang"))
}

/// `clang` with `wasm-ld`, or Zig's C compiler.
pub fn c() -> Result<Tool, Failure> {
    if let (Some(clang), Some(_)) = (find("clang"), find("wasm-ld")) {
        return Ok(Tool::new(clang).arguments(&["--target=wasm32-unknown-unknown"]));
    }
    let zig = zig().map_err(|_| {
        missing(
            "C compiler for Wasm",
            "apt-get install clang lld, or pip install ziglang",
        )
    })?;
    Ok(zig.arguments(&["cc", "-target", "wasm32-freestanding"]))
}

/// A program that npm installs: of the directory or one above it, else the one on the path.
pub fn npm(dir: &Path, program: &str) -> Result<Tool, Failure> {
    let own = dir.ancestors().map(|dir| dir.join("node_modules/.bin").join(program));
    let mut candidates = own.filter(|path| path.exists()).chain(find(program));
    if find("node").is_none() {
        return Err(missing("node", "apt-get install nodejs npm"));
    }
    candidates
        .next()
        .map(Tool::new)
        .ok_or_else(|| missing(program, "npm install (in the plugin's directory)"))
}

/// `componentize-py` of the directory's `.venv`, else the one on the path.
pub fn componentize_py(dir: &Path) -> Result<Tool, Failure> {
    let own = dir.join(".venv/bin/componentize-py");
    let mut candidates = Some(own)
        .filter(|path| path.is_file())
        .into_iter()
        .chain(find("componentize-py"));
    let install = "python3 -m venv .venv && .venv/bin/pip install componentize-py (in the plugin's directory)";
    candidates
        .next()
        .map(Tool::new)
        .ok_or_else(|| missing("componentize-py", install))
}

/// `cargo`, with a compiler that has or can build std for wasm32-unknown-unknown.
pub fn cargo(dir: &Path) -> Result<Tool, Failure> {
    let rustup = "install rustup (https://rustup.rs), then rustup target add wasm32-unknown-unknown";
    let cargo = find("cargo").ok_or_else(|| missing("cargo", rustup))?;
    let rustc = find("rustc").ok_or_else(|| missing("rustc", rustup))?;
    let ask = |arguments: &[&str]| ask(&rustc, arguments, dir).map(|text| PathBuf::from(text.trim()));
    let libraries = ask(&["--print", "target-libdir", "--target", "wasm32-unknown-unknown"]);
    if libraries.is_some_and(|path| path.exists()) {
        return Ok(Tool::new(cargo));
    }
    let install = "rustup target add wasm32-unknown-unknown, or on Debian apt-get install rustc-web rust-web-src";
    if !Path::new(DEBIAN_RUSTC).exists() || !Path::new(DEBIAN_SOURCES).exists() {
        return Err(missing("Rust for wasm32-unknown-unknown", install));
    }
    let own = ask(&["--print", "sysroot"]).zip(ask(&["--print", "host-tuple"]));
    let own = own.map(|(sysroot, host)| sysroot.join("lib/rustlib").join(host).join("bin/rust-lld"));
    let linker = own.filter(|path| path.exists()).or_else(|| find("wasm-ld"));
    let linker = linker.ok_or_else(|| missing("linker for Wasm", "apt-get install lld"))?;
    Ok(Tool::new(cargo)
        .env("RUSTC", DEBIAN_RUSTC)
        // Debian's compiler is a release; building its own std with it needs what is otherwise for nightly only.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker))
}

fn missing(what: &str, install: &str) -> Failure {
    Failure::new(format!("no {what} on this machine; to install it: {install}"))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|dir| dir.join(program));
    candidates.find(|candidate| candidate.is_file())
}

fn works(program: &Path, arguments: &[&str]) -> bool {
    ask(program, arguments, Path::new(".")).is_some()
}

/// What a program prints; nothing if it fails.
fn ask(program: &Path, arguments: &[&str], dir: &Path) -> Option<String> {
    let mut command = Command::new(program);
    let output = command
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
