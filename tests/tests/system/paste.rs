//! What `signet dev` prints for a person: each command is run as it stands, and does what it is said to do.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use system_tests::{Output, run, signal, signet, tool, within};
use tempfile::TempDir;

/// A `signet dev` for a person, ended when dropped.
pub struct Terminal {
    child: Child,
    dir: TempDir,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        signal(self.child.id(), rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

impl Terminal {
    /// In a directory whose name a shell would split.
    pub fn open() -> Terminal {
        let dir = TempDir::with_prefix("it's a test ").unwrap();
        let file = |name: &str| std::fs::File::create(dir.path().join(name)).unwrap();
        let child = Command::new(signet())
            .arg("dev")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(file("screen"))
            .stderr(file("log"))
            .spawn()
            .unwrap();
        Terminal { child, dir }
    }

    /// A file beside the data directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn screen(&self) -> String {
        std::fs::read_to_string(self.path("screen")).unwrap()
    }

    /// Until what is printed at the start is.
    pub fn wait(&self) -> String {
        within(60, "the commands are printed", || self.screen().contains("keys enable"));
        self.screen()
    }
}

/// The lines to paste: what follows the word, without blank lines and comments.
fn commands(screen: &str) -> Vec<String> {
    let (_, pasted) = screen.split_once("Paste these").unwrap();
    let lines = pasted.lines().skip(1);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

#[test]
fn every_printed_command_does_what_it_says() {
    let terminal = Terminal::open();
    let screen = terminal.wait();
    assert!(!screen.contains('\u{1b}'), "no colour codes in a file");
    let other = TempDir::new().unwrap();
    let mut exports = String::new();
    let path = std::env::var("PATH").unwrap();
    let mut disabled = false;
    let mut seen = Vec::new();
    for command in commands(&screen) {
        if command.starts_with("export ") {
            exports.push_str(&format!("{command}\n"));
            continue;
        }
        let paste = || {
            let mut bash = Command::new("bash");
            for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
                bash.env_remove(name);
            }
            run(bash
                .args(["-c", &format!("set -o pipefail\n{exports}{command}")])
                .env("PATH", format!("{path}:{}", tool("clients/bin").display()))
                .current_dir(other.path()))
        };
        seen.push(if disabled && command.contains("curl") {
            within(2, "the key is refused", || {
                json(&paste().stdout)["code"] == "key_disabled"
            });
            assert_eq!(json(&paste().stdout)["status"], 409);
            "409"
        } else {
            check(&command, &paste(), other.path())
        });
        disabled |= command.contains("keys disable");
    }
    let expected = [
        "token",
        "token",
        "token",
        "jwks",
        "verified",
        "file",
        "signature",
        "key",
        "Verified OK",
        "chain",
        "policy",
        "rule",
        "quota",
        "keys",
        "audit",
        "kms key",
        "kms keys",
        "kms caller",
        "kms audit",
        "disabled",
        "409",
        "enabled",
    ];
    assert_eq!(seen, expected);
}

/// What one command is to do, by what it says.
fn check(command: &str, output: &Output, dir: &Path) -> &'static str {
    let text = output.stdout.trim();
    let is = |words: &str| command.contains(words);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{command}\n{output:?}");
    assert!(
        text.is_empty() || output.stdout.ends_with('\n'),
        "the prompt comes on a line of its own: {command}"
    );
    if is("tokens/limited") {
        let answers: Vec<Value> = text.lines().map(json).collect();
        assert!(answers[..3].iter().all(|answer| answer["token"].is_string()), "{text}");
        assert_eq!(
            (&answers[3]["status"], &answers[3]["code"]),
            (&429.into(), &"quota_exceeded".into()),
            "{text}"
        );
        "quota"
    } else if is("\"root\"") {
        let problem = json(text);
        assert_eq!(
            (&problem["status"], &problem["policies"][0]),
            (&403.into(), &"no-root-subject".into()),
            "{text}"
        );
        "policy"
    } else if is("\"admin\"") {
        let problem = json(text);
        assert_eq!(
            (&problem["status"], &problem["rule"]),
            (&403.into(), &"claim-guard".into()),
            "{text}"
        );
        "rule"
    } else if is("/v1/tokens/api") {
        assert_eq!(json(text)["token"].as_str().unwrap().split('.').count(), 3, "{text}");
        "token"
    } else if is(" verify --data") {
        assert_eq!(
            (&json(text)["valid"], &json(text)["claims"]["sub"]),
            (&true.into(), &"alice".into()),
            "{text}"
        );
        "verified"
    } else if is(" mint --data") {
        assert_eq!((text.split('.').count(), text.lines().count()), (3, 1), "{text}");
        "token"
    } else if is("jwks.json") {
        assert!(json(text)["keys"].as_array().unwrap().len() >= 2, "{text}");
        "jwks"
    } else if is("echo ") {
        assert_eq!(std::fs::read_to_string(dir.join("artifact")).unwrap(), "release 1.0\n");
        "file"
    } else if is(" sign --data") {
        assert!(dir.join("artifact.sig").exists() && dir.join("artifact.pem").exists());
        "signature"
    } else if is("-pubkey") {
        "key"
    } else if is("dgst") {
        assert_eq!(text, "Verified OK");
        "Verified OK"
    } else if is("openssl verify") {
        assert_eq!(text, "artifact.pem: OK");
        "chain"
    } else if is("aws kms create-key") {
        assert_eq!(json(text)["KeyMetadata"]["KeySpec"], "ECC_NIST_P256", "{text}");
        "kms key"
    } else if is("aws kms list-keys") {
        assert!(json(text)["Keys"].as_array().unwrap().len() >= 6, "{text}");
        "kms keys"
    } else if is("aws sts") {
        assert_eq!(json(text)["Arn"], "arn:aws:iam::000000000001:root", "{text}");
        "kms caller"
    } else if is("audit tail --authority") {
        assert!(
            text.lines()
                .map(json)
                .any(|record| record["profile"] == "kms:CreateKey"),
            "{text}"
        );
        "kms audit"
    } else if is("keys list") {
        assert!(text.contains("alias/dev-api") && text.contains("Enabled"), "{text}");
        "keys"
    } else if is("audit tail") {
        assert!(
            text.lines().map(json).any(|record| record["outcome"] == "signed"),
            "{text}"
        );
        "audit"
    } else if is("keys disable") {
        assert_eq!(text, "alias/dev-api is disabled");
        "disabled"
    } else if is("keys enable") {
        assert_eq!(text, "alias/dev-api is enabled");
        "enabled"
    } else {
        panic!("nobody says what this does: {command}")
    }
}
