//! `signet plugin build`: source in, component out, by the recipe of the plugin's language.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::manifest::{Language, Manifest};
use super::toolchain::{self, Tool};
use super::{component, entry, exports, javascript, runner};
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

/// What was written.
#[derive(Debug)]
struct Built {
    path: PathBuf,
    bytes: usize,
    digest: String,
}

impl Build {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let Built { path, bytes, digest } = built(&self.dir)?;
        if self.json {
            output::json(&json!({"file": path, "bytes": bytes, "sha256": digest}))
        } else {
            output::line(&format!("{}: {bytes} bytes, sha256 {digest}", path.display()))
        }
    }
}

/// Builds the plugin of a directory. Nothing goes to standard output.
pub fn build(dir: &Path) -> Result<(), Failure> {
    built(dir).map(drop)
}

fn built(given: &Path) -> Result<Built, Failure> {
    let manifest = Manifest::read(given)?;
    let dir = std::fs::canonicalize(given)?;
    std::fs::create_dir_all(dir.join("target")).context(|| format!("`{}`", dir.display()))?;
    let module = match manifest.lang {
        Language::Wat => wat::parse_file(source(&dir, "rule.wat")?)?,
        Language::Rust => rust(&dir, &manifest.name)?,
        Language::Zig => compiled(&dir, "rule.zig", zig)?,
        Language::C => compiled(&dir, "rule.c", c)?,
        Language::AssemblyScript => {
            let mut module = compiled(&dir, "rule.ts", assemblyscript)?;
            // In AssemblyScript no name has a hyphen.
            exports::rename(&mut module, "evaluate_batch", "evaluate-batch");
            module
        }
        Language::Js => source(&dir, javascript::FILE).and_then(|_| javascript::build(&dir, &manifest))?,
        Language::Python => python(&dir, &manifest)?,
    };
    let wasm = component::encode(module, manifest.world).map_err(|misfit| misfit.told(manifest.lang))?;
    let (bytes, digest) = (wasm.len(), component::digest(&wasm));
    let path = given.join(format!("{}.wasm", manifest.name));
    manifest.check_size(&path, bytes)?;
    // An edge would say the same, later.
    let host = runner::host()?;
    let source = runner::granted(&manifest.name, wasm.clone());
    progress::during("compiling, as an edge would", || host.load(source))?;
    std::fs::write(&path, wasm).context(|| format!("`{}`", path.display()))?;
    Ok(Built { path, bytes, digest })
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

/// A compiler's command line, from a directory, the file in it and where to write.
type Recipe = fn(&Path, &str, &Path) -> Result<Tool, Failure>;

/// Runs a compiler that takes one file and writes a core module.
fn compiled(dir: &Path, file: &str, tool: Recipe) -> Result<Vec<u8>, Failure> {
    source(dir, file)?;
    let out = dir.join("target/rule.wasm");
    tool(dir, file, &out)?.run(dir)?;
    std::fs::read(&out).context(|| format!("`{}`", out.display()))
}

fn zig(dir: &Path, file: &str, out: &Path) -> Result<Tool, Failure> {
    let zig = toolchain::zig(dir)?;
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

fn c(dir: &Path, file: &str, out: &Path) -> Result<Tool, Failure> {
    let stack = format!("-Wl,-z,stack-size={STACK}");
    let common = [
        "-Os",
        "-std=c11",
        "-Wall",
        // A path without an answer would have some answer.
        "-Werror=return-type",
        "-ffreestanding",
        "-nostdlib",
        "-mbulk-memory",
        "-Wl,--no-entry",
        "-Wl,--strip-all",
    ];
    let c = toolchain::c(dir)?.arguments(&common);
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

/// Its compiler puts an interpreter and one file into a component of the world it is given.
fn python(dir: &Path, manifest: &Manifest) -> Result<Vec<u8>, Failure> {
    source(dir, "rule.py")?;
    let file = entry::write(dir, manifest)?;
    let wit = dir.join("target/wit");
    for (path, text) in component::world_of(&manifest.imports, manifest.world.is_batch())? {
        let path = wit.join(path);
        let parent = path.parent().unwrap_or(&wit);
        std::fs::create_dir_all(parent).context(|| format!("`{}`", parent.display()))?;
        std::fs::write(&path, text).context(|| format!("`{}`", path.display()))?;
    }
    compiled(dir, file, componentize_py)
}

fn componentize_py(dir: &Path, file: &str, out: &Path) -> Result<Tool, Failure> {
    let module = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
    let arguments = [
        "--quiet",
        "-d",
        "target/wit",
        "-w",
        "rule",
        "componentize",
        "--stub-wasi",
        "-p",
        ".",
        "-p",
        "target",
        &module,
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
