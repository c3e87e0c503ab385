//! `[[export]]` sections: where audit records go besides the log. Nothing but this file names a sink: no API can (R33).

use std::path::PathBuf;

use audit::export::Body;
use node::config::Seconds;
use serde::Deserialize;

use super::DAY;

/// Sinks at most.
const MOST: usize = 16;

/// One sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ExportConfig {
    /// Lines at the end of a file.
    File(FileExport),
    /// RFC 5424 over TCP, in TLS but on a loopback address.
    Syslog(SyslogExport),
    /// Splunk's HTTP event collector, or what speaks like it.
    Collector(HttpExport),
    /// OpenTelemetry logs, OTLP over HTTP in JSON.
    Otlp(HttpExport),
}

/// A file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileExport {
    /// Names the sink in metrics, logs and records: 1 to 32 of `a-z 0-9 -`, once.
    pub name: String,
    /// Opened anew for each batch, so that it may be renamed away at any time.
    pub path: PathBuf,
    /// `json`, `cef` or `ocsf`. Default `json`.
    #[serde(default)]
    pub body: Body,
    /// See [`ExportConfig::max_lag`].
    #[serde(default = "one_week")]
    pub max_lag: Seconds,
}

/// A syslog server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogExport {
    /// As of a file.
    pub name: String,
    /// `HOST:PORT`.
    pub address: String,
    /// Without TLS, which is for a loopback address only. Default false.
    #[serde(default)]
    pub plain: bool,
    /// CA certificates, PEM, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The client certificate that is shown where it is asked for, PEM with its chain, and its private key: both or neither. Read
    /// again when they change, for the next connection.
    pub certificate_file: Option<PathBuf>,
    /// See `certificate_file`.
    pub key_file: Option<PathBuf>,
    /// As of a file.
    #[serde(default)]
    pub body: Body,
    /// See [`ExportConfig::max_lag`].
    #[serde(default = "one_week")]
    pub max_lag: Seconds,
}

/// A server that takes batches by POST.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpExport {
    /// As of a file.
    pub name: String,
    /// The whole URL, such as `https://splunk.internal:8088/services/collector/event` or `https://otel.internal:4318/v1/logs`.
    /// `http://` is for a loopback address only.
    pub url: String,
    /// A file with the value of the `Authorization` field, such as `Splunk TOKEN`; read for each batch.
    pub authorization_file: Option<PathBuf>,
    /// CA certificates, PEM, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The client certificate that is shown where it is asked for, PEM with its chain, and its private key: both or neither. Read
    /// again when they change, for the next connection.
    pub certificate_file: Option<PathBuf>,
    /// See `certificate_file`.
    pub key_file: Option<PathBuf>,
    /// See [`ExportConfig::max_lag`].
    #[serde(default = "one_week")]
    pub max_lag: Seconds,
}

impl ExportConfig {
    /// The sink's name.
    pub fn name(&self) -> &str {
        match self {
            ExportConfig::File(file) => &file.name,
            ExportConfig::Syslog(syslog) => &syslog.name,
            ExportConfig::Collector(http) | ExportConfig::Otlp(http) => &http.name,
        }
    }

    /// How far a sink that is down may fall behind, 1 min to 365 days, default 7 days: older records are passed over, which
    /// is counted and put on record. Too short, and an outage leaves a hole in the SIEM; the log has everything either way.
    pub fn max_lag(&self) -> Seconds {
        match self {
            ExportConfig::File(file) => file.max_lag,
            ExportConfig::Syslog(syslog) => syslog.max_lag,
            ExportConfig::Collector(http) | ExportConfig::Otlp(http) => http.max_lag,
        }
    }

    fn refusal(&self) -> Option<String> {
        let name = self.name();
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&name.len()) || !name.bytes().all(allowed) {
            return Some(format!("the name `{name}` has not 1 to 32 of a-z 0-9 -"));
        }
        if !(60..=365 * DAY).contains(&self.max_lag().get()) {
            return Some(format!("`{name}`: `max_lag` must be 1m to 365d"));
        }
        let (certificate, key) = match self {
            ExportConfig::File(_) => (&None, &None),
            ExportConfig::Syslog(syslog) => (&syslog.certificate_file, &syslog.key_file),
            ExportConfig::Collector(http) | ExportConfig::Otlp(http) => (&http.certificate_file, &http.key_file),
        };
        if certificate.is_some() != key.is_some() {
            return Some(format!(
                "`{name}`: `certificate_file` and `key_file` go together: give both or neither"
            ));
        }
        let loopback = match self {
            ExportConfig::File(_) => true,
            ExportConfig::Syslog(syslog) => !syslog.plain || is_loopback(&syslog.address),
            ExportConfig::Collector(http) | ExportConfig::Otlp(http) => match http.url.split_once("://") {
                Some(("https", _)) => true,
                Some(("http", rest)) => is_loopback(rest.split('/').next().unwrap_or_default()),
                _ => {
                    return Some(format!(
                        "`{name}`: `url` must begin with https:// (or http:// on a loopback address)"
                    ));
                }
            },
        };
        (!loopback).then(|| format!("`{name}` must use TLS: what is not encrypted stays on this machine"))
    }
}

/// The first sink that cannot be, and why.
pub(super) fn check(exports: &[ExportConfig]) -> Result<(), (&'static str, String)> {
    if exports.len() > MOST {
        return Err(("export", format!("has at most {MOST} sections")));
    }
    let mut names = std::collections::HashSet::new();
    for export in exports {
        if let Some(why) = export.refusal() {
            return Err(("export", why));
        }
        if !names.insert(export.name()) {
            return Err(("export", format!("has the name `{}` twice", export.name())));
        }
    }
    Ok(())
}

pub(super) fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn one_week() -> Seconds {
    Seconds::new(7 * DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ExportConfig>, String> {
        #[derive(Deserialize)]
        struct File {
            export: Vec<ExportConfig>,
        }
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        let file: File = node::config::load(&path).map_err(|error| error.to_string())?;
        check(&file.export).map_err(|(field, why)| format!("{field}: {why}"))?;
        Ok(file.export)
    }

    #[test]
    fn good_sinks_are_taken_and_have_their_defaults() {
        let sinks = read(
            r#"
[[export]]
kind = "file"
name = "disk"
path = "/var/log/signet.jsonl"
[[export]]
kind = "syslog"
name = "siem"
address = "siem.internal:6514"
body = "cef"
max_lag = "1d"
[[export]]
kind = "otlp"
name = "otel"
url = "http://[::1]:4318/v1/logs"
"#,
        );
        let sinks = sinks.unwrap();
        assert_eq!(sinks[0].max_lag().get(), 7 * DAY);
        assert_eq!(sinks[1].max_lag().get(), DAY);
        assert_eq!(sinks[2].name(), "otel");
    }

    #[test]
    fn wrong_ones_are_refused_by_name_and_reason() {
        let cases = [
            ("kind = \"paper\"\nname = \"a\"", "export"),
            ("kind = \"file\"\nname = \"a\"", "path"),
            ("kind = \"file\"\nname = \"a\"\npath = \"/x\"\nurl = \"y\"", "url"),
            ("kind = \"file\"\nname = \"A b\"\npath = \"/x\"", "`A b`"),
            (
                "kind = \"file\"\nname = \"a\"\npath = \"/x\"\nmax_lag = \"1s\"",
                "max_lag",
            ),
            (
                "kind = \"syslog\"\nname = \"a\"\naddress = \"siem:514\"\nplain = true",
                "must use TLS",
            ),
            (
                "kind = \"collector\"\nname = \"a\"\nurl = \"http://splunk/x\"",
                "must use TLS",
            ),
            (
                "kind = \"syslog\"\nname = \"a\"\naddress = \"siem:6514\"\nkey_file = \"k\"",
                "go together",
            ),
            (
                "kind = \"otlp\"\nname = \"a\"\nurl = \"https://otel/x\"\ncertificate_file = \"c\"",
                "go together",
            ),
            (
                "kind = \"collector\"\nname = \"a\"\nurl = \"ftp://splunk/x\"",
                "https://",
            ),
        ];
        for (text, why) in cases {
            let error = read(&format!("[[export]]\n{text}\n")).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
        let twice = "[[export]]\nkind = \"file\"\nname = \"a\"\npath = \"/x\"\n".repeat(2);
        assert!(read(&twice).unwrap_err().contains("twice"));
    }
}
