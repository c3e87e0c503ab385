//! Support for the whole-system tests: the real binary, real clients, nothing shared between two tests.
//!
//! Everything here panics when something is wrong: it is for tests only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub mod chaos;
pub mod etcd;
pub mod pki;
pub mod registry;
pub mod s3;

/// A running `signet dev`, ended when dropped.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    /// What it printed with `--json`.
    pub info: Value,
    data: PathBuf,
    _dir: Option<TempDir>,
}

/// The binary under test: beside this one, or one directory up from a test, where cargo puts it.
pub fn signet() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let beside = this.with_file_name("signet");
    let path = match beside.exists() {
        true => beside,
        false => this.ancestors().nth(2).unwrap().join("signet"),
    };
    assert!(
        path.exists(),
        "`{}` is not there: run `cargo build --workspace --bins --tests` first, as `make test` does",
        path.display()
    );
    path
}

/// The checkout's root.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A tool that `make test` installs into `.tools/`.
pub fn tool(path: &str) -> PathBuf {
    let tool = checkout().join(".tools").join(path);
    assert!(
        tool.exists(),
        "`{}` is not there: `scripts/setup test` installs it",
        tool.display()
    );
    tool
}

impl Dev {
    /// Starts with a data directory of its own and waits until it is ready.
    pub fn start() -> Dev {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("data");
        let mut dev = Dev::start_in(&data, &[]);
        dev._dir = Some(dir);
        dev
    }

    /// Starts in a data directory that outlives it.
    pub fn start_in(data: &Path, arguments: &[&str]) -> Dev {
        let mut command = Command::new(signet());
        command.args(["dev", "--json", "--data"]).arg(data).args(arguments);
        command
            .env_remove("RUST_LOG")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(data.with_extension("log"))
            .unwrap();
        let mut child = command.stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let info = serde_json::from_str(&line).unwrap_or_else(|error| {
            let _ = child.kill();
            let _ = child.wait();
            let log = std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
            panic!("signet dev printed `{line}`: {error}\n{log}")
        });
        Dev {
            child,
            info,
            data: data.to_owned(),
            _dir: None,
        }
    }

    /// A text of the JSON, by pointer: `/edge/https`.
    pub fn text(&self, pointer: &str) -> String {
        let value = self
            .info
            .pointer(pointer)
            .unwrap_or_else(|| panic!("no {pointer} in {}", self.info));
        value
            .as_str()
            .unwrap_or_else(|| panic!("{pointer} is not a text in {}", self.info))
            .to_owned()
    }

    /// The caller's token.
    pub fn token(&self) -> String {
        self.text("/token")
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `curl` against the edge's TLS listener, with the caller's token.
    pub fn curl(&self, path: &str) -> Curl {
        Curl::new(&format!("{}{path}", self.text("/edge/https")))
            .arg("--cacert")
            .arg(&self.text("/ca_file"))
            .bearer(&self.token())
    }

    /// `curl` without credentials.
    pub fn anonymous(&self, path: &str) -> Curl {
        Curl::new(&format!("{}{path}", self.text("/edge/https")))
            .arg("--cacert")
            .arg(&self.text("/ca_file"))
    }

    /// `curl` against the authority's admin API, with the admin token.
    pub fn admin(&self, path: &str) -> Curl {
        let url = format!("{}{path}", self.text("/authority/admin"));
        Curl::new(&url)
            .arg("--cacert")
            .arg(&self.text("/ca_file"))
            .bearer(&self.text("/admin_token"))
    }

    /// `signet ARGUMENTS`, pointed at this data directory.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        run(Command::new(signet()).args(arguments).arg("--data").arg(&self.data))
    }

    /// Mints with a profile and returns the token.
    pub fn mint(&self, profile: &str, body: &str) -> String {
        let answer = self.curl(&format!("/v1/tokens/{profile}")).post(body);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(mut self) -> std::process::ExitStatus {
        signal(self.pid(), rustix::process::Signal::TERM);
        wait(&mut self.child)
    }

    /// Ctrl-C in a terminal, which reaches every process of the group; waits for the end and returns the log.
    pub fn interrupt(mut self) -> (std::process::ExitStatus, String) {
        let group = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
        let status = wait(&mut self.child);
        (status, self.log())
    }

    /// kill -9, as a power cut of the process.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.pid(), rustix::process::Signal::TERM);
            wait(&mut self.child);
        }
    }
}

fn wait(child: &mut Child) -> std::process::ExitStatus {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("signet did not stop within 30 s of SIGTERM");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to a process that the test started.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Tries until it holds, at most `seconds`: for what is promised to happen within a time.
pub fn within(seconds: u64, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < end, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One curl command.
#[derive(Debug)]
pub struct Curl {
    arguments: Vec<String>,
}

/// What curl received.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status; 0 if there was no answer.
    pub status: u16,
    /// `1.1`, `2`.
    pub version: String,
    /// The header section, as text.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
    /// curl's exit code.
    pub exit: i32,
}

impl Curl {
    /// A request to a URL.
    pub fn new(url: &str) -> Curl {
        Curl {
            arguments: vec!["-sS".into(), "--max-time".into(), "30".into(), url.into()],
        }
    }

    /// One more argument.
    pub fn arg(mut self, argument: &str) -> Curl {
        self.arguments.push(argument.into());
        self
    }

    /// A header field.
    pub fn header(self, field: &str) -> Curl {
        self.arg("-H").arg(field)
    }

    /// A bearer token.
    pub fn bearer(self, token: &str) -> Curl {
        self.header(&format!("Authorization: Bearer {token}"))
    }

    /// POST with a JSON body.
    pub fn post(self, body: &str) -> Answer {
        self.header("Content-Type: application/json").send_body("POST", body)
    }

    /// PUT with a JSON body.
    pub fn put(self, body: &str) -> Answer {
        self.header("Content-Type: application/json").send_body("PUT", body)
    }

    /// Any method with a body, which curl reads from its standard input.
    pub fn send_body(self, method: &str, body: &str) -> Answer {
        self.arg("-X")
            .arg(method)
            .arg("--data-binary")
            .arg("@-")
            .run(body.as_bytes())
    }

    /// GET, or what the arguments say.
    pub fn get(self) -> Answer {
        self.run(b"")
    }

    fn run(self, input: &[u8]) -> Answer {
        let dir = TempDir::new().unwrap();
        let (head, body) = (dir.path().join("head"), dir.path().join("body"));
        let mut child = Command::new("curl")
            .args(&self.arguments)
            .args(["-w", "%{http_code} %{http_version}"])
            .arg("-D")
            .arg(&head)
            .arg("-o")
            .arg(&body)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let written = String::from_utf8_lossy(&output.stdout).into_owned();
        let (status, version) = written.split_once(' ').unwrap_or(("0", ""));
        Answer {
            status: status.parse().unwrap_or(0),
            version: version.to_owned(),
            head: String::from_utf8_lossy(&std::fs::read(&head).unwrap_or_default()).into_owned(),
            body: std::fs::read(&body).unwrap_or_default(),
            exit: output.status.code().unwrap_or(-1),
        }
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The `code` of a problem document, which must have the right media type and status.
    pub fn problem(&self) -> String {
        assert!(
            self.head
                .to_ascii_lowercase()
                .contains("content-type: application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["request_id"].is_string(), "{self:?}");
        problem["code"].as_str().unwrap().to_owned()
    }

    /// A header field's value.
    pub fn field(&self, name: &str) -> Option<String> {
        let name = format!("{}:", name.to_ascii_lowercase());
        let line = self
            .head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with(&name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    }
}

/// What a command did.
#[derive(Debug)]
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output of a command that must have succeeded.
    pub fn success(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a client script of `tests/clients/` with Python and its packages.
pub fn python(script: &str, arguments: &[&str]) -> String {
    run(Command::new(tool("clients/bin/python"))
        .arg(checkout().join("tests/clients").join(script))
        .args(arguments))
    .success()
}

/// Reads what is there of a stream until it ends.
pub fn read_all(mut stream: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}
