//! The authorities' token: SoftHSM2 behind the module `tests/clients/pkcs11_shim.c`, whose signing fails on command.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::site;
use crate::{checkout, run};

/// A token in a directory of its own.
#[derive(Debug)]
pub struct Token {
    dir: PathBuf,
}

const PIN: &str = "12345678";

impl Token {
    /// Makes a token labelled `chaos`.
    pub fn make(dir: &Path) -> Token {
        let here = dir.display();
        std::fs::create_dir(dir.join("tokens")).unwrap();
        let text = format!("directories.tokendir = {here}/tokens\nobjectstore.backend = file\n");
        let conf = site::write(dir, "softhsm2.conf", &text);
        site::write(dir, "pin", PIN);
        let label = [
            "--init-token",
            "--free",
            "--label",
            "chaos",
            "--so-pin",
            PIN,
            "--pin",
            PIN,
        ];
        let mut command = Command::new("softhsm2-util");
        run(command.args(label).env("SOFTHSM2_CONF", conf)).success();
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-o"])
            .arg(dir.join("pkcs11_shim.so"));
        let source = checkout().join("tests/clients/pkcs11_shim.c");
        run(compiler.arg(source).arg("-ldl")).success();
        let token = Token { dir: dir.to_owned() };
        token.set("ok");
        token
    }

    /// `[hsm]` of a configuration.
    pub fn config(&self) -> String {
        let here = self.dir.display();
        format!(
            r#"kind = "pkcs11"
module = "{here}/pkcs11_shim.so"
label = "chaos"
pin_file = "{here}/pin"
deadline = "1s"
[hsm.environment]
SOFTHSM2_CONF = "{here}/softhsm2.conf"
SHIM_MODULE = "/usr/lib/softhsm/libsofthsm2.so"
SHIM_CONTROL = "{here}/token-control"
"#
        )
    }

    /// What the module does from now on: one of the words of its source.
    pub fn set(&self, mode: &str) {
        // Never half a word: the module reads it with each call.
        let aside = site::write(&self.dir, "token-control.new", mode);
        std::fs::rename(aside, self.dir.join("token-control")).unwrap();
    }
}
