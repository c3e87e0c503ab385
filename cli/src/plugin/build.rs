//! `signet plugin build`: source in, component out, by the recipe of the plugin's language.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::project::{Language, Manifest};
use super::toolchain::{self, Tool};
use super::{component, runner};
use crate::failure::{Context, Failure};
use crate::{output, progress};

/// Build a plugin into NAME.wasm, with the compiler of its language; what is missing is named, never installed.
#[derive(Debug, Args)]
pub struct Build {
    /// The plugin's directory, with plugin.toml in it.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The guest's stack, in bytes: small, so that a call touches little memory.
const STACK: &str = "32768";

impl Build {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let manifest = Manifest::read(&self.dir)?;
        let dir = std::fs::canonicalize(&self.dir)?;
        std::fs::create_dir_all(dir.join("target")).context(|| format!("`{}`", dir.display()))?;
        let module = match manifest.lang {
            Language::Wat => wat::parse_file(source(&dir, "rule.wat")?)?,
            Language::Rust => rust(&dir, &manifest.name)?,
            Language::Zig => compiled(&dir, "rule.zig", zig)?,
            Language::C => compiled(&dir, "rule.c", c)?,
            Language::AssemblyScript => compiled(&dir, "rule.ts", assemblyscript)?,
            Language::Js => interpreted(&dir, "rule.js", &manifest, js)?,
            Language::Python => interpreted(&dir, "rule.py", &manifest, python)?,
        };
        let wasm = component::encode(module, manifest.world)?;
        let (bytes, digest) = (wasm.len(), component::digest(&wasm));
        let path = self.dir.join(format!("{}.wasm", manifest.name));
        // An edge would say the same, later.
        let host = runner::host()?;
        let source = runner::granted(&manifest.name, wasm.clone());
        progress::during("compiling, as an edge would", || host.load(source))?;
        std::fs::write(&path, wasm).context(|| format!("`{}`", path.display()))?;
        if self.json {
            output::json(&json!({"file": path, "bytes": bytes, "sha256": digest}))
        } else {
            output::line(&format!("{}: {bytes} bytes, sha256 {digest}", path.display()))
        }
    }
}

fn source(dir: &Path, file: &str) -> Result<PathBuf, Failure> {
    let path = dir.join(file);
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::new(format!(
        "`{}` does not exist; the rule is written there",
        path.display()
    )))
}

/// Runs a compiler that takes one file and writes a core module.
fn compiled(dir: &Path, file: &str, tool: fn(&Path, &str, &Path) -> Result<Tool, Failure>) -> Result<Vec<u8>, Failure> {
    source(dir, file)?;
    let out = dir.join("target/rule.wasm");
    tool(dir, file, &out)?.run(dir)?;
    std::fs::read(&out).context(|| format!("`{}`", out.display()))
}

fn zig(_: &Path, file: &str, out: &Path) -> Result<Tool, Failure> {
    let zig = toolchain::zig()?;
    let arguments = [
        "build-exe",
        file,
        "-target",
        "wasm32-freestanding",
        "-OReleaseSmall",
        "-fno-entry",
        "-rdynamic",
    ];
    let zig = zig.arguments(&arguments).arguments(&["--stack", STACK]);
    Ok(zig.arguments(&[&format!("-femit-bin={}", out.display())]))
}

fn c(_: &Path, file: &str, out: &Path) -> Result<Tool, Failure> {
    let stack = format!("-Wl,-z,stack-size={STACK}");
    let common = [
        "-Os",
        "-std=c11",
        "-Wall",
        "-ffreestanding",
        "-nostdlib",
        "-mbulk-memory",
        "-Wl,--no-entry",
        "-Wl,--strip-all",
    ];
    let c = toolchain::c()?.arguments(&common);
    Ok(c.arguments(&[&stack, file, "-o", &out.display().to_string()]))
}

fn assemblyscript(dir: &Path, file: &str, out: &Path) -> Result<Tool, Failure> {
    let asc = toolchain::npm(dir, "asc")?;
    let arguments = [
        file,
        "--runtime",
        "stub",
        "--use",
        "abort=",
        "-Osize",
        "--noAssert",
        "-o",
    ];
    Ok(asc.arguments(&arguments).arguments(&[&out.display().to_string()]))
}

/// Runs a compiler that puts an interpreter and one file into a component of the world it is given.
fn interpreted(
    dir: &Path,
    file: &str,
    manifest: &Manifest,
    tool: fn(&Path, &str, &Path) -> Result<Tool, Failure>,
) -> Result<Vec<u8>, Failure> {
    let wit = dir.join("target/wit");
    for (path, text) in component::world_of(&manifest.imports()) {
        let path = wit.join(path);
        let parent = path.parent().unwrap_or(&wit);
        std::fs::create_dir_all(parent).context(|| format!("`{}`", parent.display()))?;
        std::fs::write(&path, text).context(|| format!("`{}`", path.display()))?;
    }
    compiled(dir, file, tool)
}

fn js(dir: &Path, file: &str, out: &Path) -> Result<Tool, Failure> {
    let componentize = toolchain::npm(dir, "componentize-js")?;
    let out = out.display().to_string();
    let arguments = [file, "--wit", "target/wit", "--world-name", "rule", "--out", &out];
    // The features that would import WASI.
    let without = ["--disable", "stdio", "random", "clocks", "http", "fetch-event"];
    Ok(componentize.arguments(&arguments).arguments(&without))
}

fn python(dir: &Path, file: &str, out: &Path) -> Result<Tool, Failure> {
    let module = file.trim_end_matches(".py");
    let arguments = [
        "--quiet",
        "-d",
        "target/wit",
        "-w",
        "rule",
        "componentize",
        "--stub-wasi",
        module,
        "-o",
    ];
    let componentize = toolchain::componentize_py(dir)?.arguments(&arguments);
    Ok(componentize.arguments(&[&out.display().to_string()]))
}

fn rust(dir: &Path, name: &str) -> Result<Vec<u8>, Failure> {
    source(dir, "Cargo.toml")?;
    let target = dir.join("target");
    let flags = format!(
        "-Clink-arg=-zstack-size={STACK} --remap-path-prefix={}=/plugin",
        dir.display()
    );
    let cargo = toolchain::cargo(dir)?
        .env("RUSTFLAGS", &flags)
        .env("CARGO_INCREMENTAL", "0")
        .arguments(&[
            "build",
            "--quiet",
            "--release",
            "--lib",
            "--target",
            "wasm32-unknown-unknown",
        ])
        .arguments(&["--target-dir", &target.display().to_string()]);
    cargo.run(dir)?;
    let file = format!("wasm32-unknown-unknown/release/{}.wasm", name.replace('-', "_"));
    let out = target.join(file);
    std::fs::read(&out).context(|| {
        let hint = "the package in Cargo.toml has the name of plugin.toml, and `crate-type = [\"cdylib\"]`";
        format!("`{}` ({hint})", out.display())
    })
}
