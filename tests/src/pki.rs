//! A CA as openssl makes one, with certificates of servers and clients under it.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::run;

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
/// When a certificate is made that has expired since.
const LONG_AGO: &str = "2020-01-01 00:00:00";

/// The CA, in a directory of its own: `ca.pem`, and `NAME.pem`, `NAME.key` and both in `NAME.both` of what it issued.
#[derive(Debug)]
pub struct Pki(TempDir);

impl Pki {
    /// A new CA, which is good for 30 days.
    pub fn new() -> Pki {
        let pki = Pki(TempDir::new().unwrap());
        let files = [
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-subj",
            "/CN=test CA",
            "-days",
            "30",
        ];
        pki.openssl(None, &[&["req", "-x509"], &NEW_KEY[..], &files].concat());
        pki
    }

    /// A certificate for a DNS name, good for 30 days.
    pub fn issue(&self, name: &str, host: &str) {
        self.issue_at(None, name, host);
    }

    /// A certificate for a DNS name that expired years ago.
    pub fn issue_expired(&self, name: &str, host: &str) {
        self.issue_at(Some(LONG_AGO), name, host);
    }

    /// The path of a file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn issue_at(&self, time: Option<&str>, name: &str, host: &str) {
        let (key, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let (subject, names) = (format!("/CN={host}"), format!("subjectAltName=DNS:{host}"));
        let asked = ["-subj", &subject, "-addext", &names, "-keyout", &key, "-out", &request];
        self.openssl(None, &[&["req"], &NEW_KEY[..], &asked].concat());
        let ca = ["x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "30"];
        let made = ["-copy_extensions", "copy", "-in", &request, "-out", &certificate];
        self.openssl(time, &[&ca[..], &made].concat());
        let read = |file: &str| std::fs::read_to_string(self.file(file)).unwrap();
        std::fs::write(self.file(&format!("{name}.both")), read(&certificate) + &read(&key)).unwrap();
    }

    fn openssl(&self, time: Option<&str>, arguments: &[&str]) {
        let mut command = match time {
            Some(time) => {
                let mut command = Command::new("faketime");
                command.args([time, "openssl"]);
                command
            }
            None => Command::new("openssl"),
        };
        run(command.args(arguments).current_dir(self.0.path())).success();
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}
