//! The compilers of guests: where they are, and how one that is missing is installed. Nothing is installed here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Context, Failure};
use crate::output;

/// Debian's compiler, and its sources of std.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library";

/// A compiler's command line, so far.
#[derive(Debug)]
pub struct Tool {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    /// Said before it runs.
    note: Option<&'static str>,
}

impl Tool {
    fn new(program: impl Into<PathBuf>) -> Tool {
        Tool {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            note: None,
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
        if let Some(note) = self.note {
            output::note(note);
        }
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

/// Zig as a Python package of the directory's `.venv`, else `zig` or that package on the path.
pub fn zig(dir: &Path) -> Result<Tool, Failure> {
    let has_package = |python: &PathBuf| works(python, &["-c", "import ziglang"]);
    let package = |python: PathBuf| Tool::new(python).arguments(&["-m", "ziglang"]);
    let own = Some(dir.join(".venv/bin/python")).filter(|python| python.is_file() && has_package(python));
    let python = || find("python3").filter(has_package).map(package);
    own.map(package)
        .or_else(|| find("zig").map(Tool::new))
        .or_else(python)
        .ok_or_else(|| missing("zig", ZIG))
}

const ZIG: &str = "python3 -m venv .venv && .venv/bin/pip install ziglang (in the plugin's directory)";

/// `clang` with `wasm-ld`, or Zig's C compiler.
pub fn c(dir: &Path) -> Result<Tool, Failure> {
    if let (Some(clang), Some(_)) = (find("clang"), find("wasm-ld")) {
        return Ok(Tool::new(clang).arguments(&["--target=wasm32-unknown-unknown"]));
    }
    let install = || format!("apt-get install clang lld, or {ZIG}");
    let zig = zig(dir).map_err(|_| missing("C compiler for Wasm", &install()))?;
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
    let mut cargo = Tool::new(cargo);
    cargo.note = (!is_std_built(dir)).then_some(BUILDS_STD);
    Ok(cargo
        .env("RUSTC", DEBIAN_RUSTC)
        // Debian's compiler is a release; building its own std with it needs what is otherwise for nightly only.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker))
}

/// It takes minutes, in which cargo says nothing.
const BUILDS_STD: &str = "builds the standard library for Wasm once for this directory, which takes minutes; `rustup target add wasm32-unknown-unknown` avoids it";

/// Whether an earlier build has left it.
fn is_std_built(dir: &Path) -> bool {
    let built = std::fs::read_dir(dir.join("target/wasm32-unknown-unknown/release/deps"));
    let mut names = built.into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.any(|name| {
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn std_is_built_once_for_a_directory() {
        let dir = tempfile::TempDir::new().unwrap();
        assert!(!is_std_built(dir.path()));
        let deps = dir.path().join("target/wasm32-unknown-unknown/release/deps");
        std::fs::create_dir_all(&deps).unwrap();
        std::fs::write(deps.join("libcore-1.rlib"), "").unwrap();
        assert!(!is_std_built(dir.path()));
        std::fs::write(deps.join("libstd-1.rlib"), "").unwrap();
        assert!(is_std_built(dir.path()));
    }
}
