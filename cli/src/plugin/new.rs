//! `signet plugin new`: a directory with a rule that builds, passes its cases, and is made to be changed.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use policies::names;

use super::component::WIT;
use super::document::shortened;
use super::manifest::{Language, World};
use crate::failure::{Context, Failure};
use crate::output;

/// Make a directory with a rule, its cases and a README.
#[derive(Debug, Args)]
pub struct New {
    /// 1 to 63 of a-z, 0-9 and -, starting with a letter.
    name: String,
    /// The language to write it in.
    #[arg(long)]
    lang: Language,
    /// The directory. Default: NAME.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// A file of a template, `{{name}}` and the like still in it.
type File = (&'static str, &'static str);

macro_rules! file {
    ($path:literal, $source:literal) => {
        ($path, include_str!(concat!("../../../plugins/", $source)))
    };
}

/// In every template: one rule in each language, so one set of cases.
const COMMON: [File; 8] = [
    file!("plugin.toml", "templates/plugin.toml"),
    file!(".gitignore", "templates/gitignore"),
    file!("cases/a-token-is-capped.toml", "templates/cases/a-token-is-capped.toml"),
    file!(
        "cases/a-token-needs-a-subject.toml",
        "templates/cases/a-token-needs-a-subject.toml"
    ),
    file!(
        "cases/an-artifact-is-refused.toml",
        "templates/cases/an-artifact-is-refused.toml"
    ),
    file!(
        "cases/a-wrong-setting-is-refused.toml",
        "templates/cases/a-wrong-setting-is-refused.toml"
    ),
    file!(
        "cases/no-setting-is-refused.toml",
        "templates/cases/no-setting-is-refused.toml"
    ),
    file!(
        "cases/a-large-setting-is-refused.toml",
        "templates/cases/a-large-setting-is-refused.toml"
    ),
];

/// The SDK comes along, in the folders that its own sources expect: a plugin needs no checkout of Signet.
const RUST: [File; 11] = [
    file!("README.md", "templates/rust/README.md"),
    file!("Cargo.toml", "templates/rust/Cargo.toml.in"),
    file!("Cargo.lock", "Cargo.lock"),
    file!("src/lib.rs", "templates/rust/src/lib.rs"),
    file!("vendor/signet-plugin/Cargo.toml", "sdk/rust/Cargo.toml"),
    file!("vendor/signet-plugin/src/lib.rs", "sdk/rust/src/lib.rs"),
    file!("vendor/signet-plugin/src/allocator.rs", "sdk/rust/src/allocator.rs"),
    file!("vendor/signet-plugin/src/batch.rs", "sdk/rust/src/batch.rs"),
    file!("vendor/signet-plugin/src/imports.rs", "sdk/rust/src/imports.rs"),
    file!("vendor/signet-plugin/src/testing.rs", "sdk/rust/src/testing.rs"),
    file!(
        "vendor/signet-plugin/src/testing/host.rs",
        "sdk/rust/src/testing/host.rs"
    ),
];

const C: [File; 3] = [
    file!("README.md", "templates/c/README.md"),
    file!("rule.c", "templates/c/rule.c"),
    file!("signet_rule.h", "sdk/c/signet_rule.h"),
];

const ZIG: [File; 3] = [
    file!("README.md", "templates/zig/README.md"),
    file!("rule.zig", "templates/zig/rule.zig"),
    file!("signet.zig", "sdk/zig/signet.zig"),
];

const ASSEMBLYSCRIPT: [File; 5] = [
    file!("README.md", "templates/assemblyscript/README.md"),
    file!("package.json", "templates/assemblyscript/package.json"),
    file!("tsconfig.json", "templates/assemblyscript/tsconfig.json"),
    file!("rule.ts", "templates/assemblyscript/rule.ts"),
    file!("signet.ts", "sdk/assemblyscript/signet.ts"),
];

const JS: [File; 4] = [
    file!("README.md", "templates/js/README.md"),
    file!("jsconfig.json", "templates/js/jsconfig.json"),
    file!("rule.js", "templates/js/rule.js"),
    file!("signet.d.ts", "sdk/js/signet.d.ts"),
];

/// The stubs lie where type checkers look for them; the compiler makes the modules themselves.
const PYTHON: [File; 11] = [
    file!("README.md", "templates/python/README.md"),
    file!("requirements.txt", "templates/python/requirements.txt"),
    file!("rule.py", "templates/python/rule.py"),
    file!(
        "typings/componentize_py_types.pyi",
        "sdk/python/componentize_py_types.pyi"
    ),
    file!("typings/wit_world/__init__.pyi", "sdk/python/wit_world/__init__.pyi"),
    file!(
        "typings/wit_world/imports/types.pyi",
        "sdk/python/wit_world/imports/types.pyi"
    ),
    file!(
        "typings/wit_world/imports/config.pyi",
        "sdk/python/wit_world/imports/config.pyi"
    ),
    file!(
        "typings/wit_world/imports/log.pyi",
        "sdk/python/wit_world/imports/log.pyi"
    ),
    file!(
        "typings/wit_world/imports/counter.pyi",
        "sdk/python/wit_world/imports/counter.pyi"
    ),
    file!(
        "typings/wit_world/imports/lookup.pyi",
        "sdk/python/wit_world/imports/lookup.pyi"
    ),
    file!(
        "typings/wit_world/imports/digest.pyi",
        "sdk/python/wit_world/imports/digest.pyi"
    ),
];

const WAT: [File; 2] = [
    file!("README.md", "templates/wat/README.md"),
    file!("rule.wat", "templates/wat/rule.wat"),
];

impl New {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let name = &self.name;
        if !names::is_name(name) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(Failure::new(format!(
                "`{}` cannot name a plugin; use 1 to 63 of a-z, 0-9 and -, starting with a letter",
                shortened(name)
            )));
        }
        let dir = self.dir.clone().unwrap_or_else(|| PathBuf::from(name));
        if dir.exists() {
            let dir = dir.display();
            return Err(Failure::new(format!(
                "`{dir}` exists; name another directory with --dir"
            )));
        }
        let own: &[File] = match self.lang {
            Language::Rust => &RUST,
            Language::C => &C,
            Language::Js => &JS,
            Language::Python => &PYTHON,
            Language::Zig => &ZIG,
            Language::AssemblyScript => &ASSEMBLYSCRIPT,
            Language::Wat => &WAT,
        };
        for (path, text) in COMMON.iter().chain(own) {
            self.write(&dir, path, text)?;
        }
        if self.lang == Language::Rust {
            for (path, text) in WIT {
                self.write(&dir, &format!("wit/{path}"), text)?;
            }
        }
        let dir = dir.display();
        output::text(&format!(
            "made {dir}; next:\n  signet plugin build {dir}\n  signet plugin test {dir}\n"
        ))
    }

    fn write(&self, dir: &Path, path: &str, text: &str) -> Result<(), Failure> {
        let lang = self.lang.to_possible_value();
        let lang = lang.as_ref().map_or("", |value| value.get_name());
        // Its interpreter starts anew with each call.
        let (deadline, memory) = match self.lang {
            Language::Python => ("100ms", "32MiB"),
            _ => ("5ms", "16MiB"),
        };
        let text = text
            .replace("{{name}}", &self.name)
            .replace("{{lang}}", lang)
            .replace("{{world}}", World::NEWEST.name())
            .replace("{{deadline}}", deadline)
            .replace("{{memory}}", memory);
        let path = dir.join(path);
        let parent = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(parent).context(|| format!("`{}`", parent.display()))?;
        std::fs::write(&path, text).context(|| format!("`{}`", path.display()))
    }
}
