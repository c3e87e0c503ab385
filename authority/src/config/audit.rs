//! `[audit]`: where the audit log is.

use std::path::PathBuf;

use serde::Deserialize;

use super::export::is_loopback;

/// Bytes of a prefix at most: what the log's own names add stays below S3's 1,024.
const MAX_PREFIX: usize = 512;

/// The audit log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Where it is: `"directory"` (default) is `DATA_DIR/log`; `{ s3 = { … } }` a bucket. Another place is another log, unless the
    /// log was copied there first (`signet audit copy`).
    pub log: LogConfig,
}

/// Where the log is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogConfig {
    /// `DATA_DIR/log`.
    #[default]
    Directory,
    /// A bucket with the S3 protocol.
    S3(S3Config),
}

/// A place in a bucket. Credentials are never written here: they are in `credentials_file`, or come from where the process runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The bucket's name, 3 to 63 of a-z 0-9 - and dots.
    pub bucket: String,
    /// What the log's names begin with, at most 512 of a-z A-Z 0-9 / - _ . Of an authority whose store others share its replica's
    /// name is put behind it, so that they may all have one configuration. Default: nothing. Two logs never share one.
    #[serde(default)]
    pub prefix: String,
    /// The server, `https://HOST[:PORT]`, asked in path style. Default: AWS's of the region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for. Default: AWS_REGION, then AWS_DEFAULT_REGION; `us-east-1` where there is an
    /// `endpoint`.
    pub region: Option<String>,
    /// A file as the AWS tools have it, with `aws_access_key_id` and `aws_secret_access_key` under `[default]`, that nobody but its
    /// owner may read; read again with each request. Default: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, then a web
    /// identity (AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN), the container's or the machine's role.
    pub credentials_file: Option<PathBuf>,
    /// CA certificates, PEM, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Let `endpoint` be `http://` elsewhere than on a loopback address. Default false: whoever is on the way reads every record,
    /// and can make the authority believe what is not there.
    #[serde(default)]
    pub allow_http: bool,
}

impl AuditConfig {
    /// The first field that is out of its bounds, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        match &self.log {
            LogConfig::Directory => Ok(()),
            LogConfig::S3(s3) => s3.check(),
        }
    }
}

impl S3Config {
    /// The first field that is out of its bounds, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let of_bucket = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(of_bucket) || self.bucket.contains("..") {
            return Err(("audit.log.s3.bucket", "must have 3 to 63 of a-z 0-9 - and dots".into()));
        }
        let of_prefix = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
        let parts = || self.prefix.split('/');
        let is_path = self.prefix.is_empty() || parts().all(|part| !matches!(part, "" | "." | ".."));
        if self.prefix.len() > MAX_PREFIX || !self.prefix.bytes().all(of_prefix) || !is_path {
            let message = format!("must have at most {MAX_PREFIX} of a-z A-Z 0-9 - _ . in parts with / between them");
            return Err(("audit.log.s3.prefix", message));
        }
        let of_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if let Some(region) = &self.region
            && (region.is_empty() || region.len() > 32 || !region.bytes().all(of_region))
        {
            return Err(("audit.log.s3.region", "must have 1 to 32 of a-z 0-9 -".into()));
        }
        self.endpoint
            .as_deref()
            .map_or(Ok(()), |endpoint| self.check_endpoint(endpoint))
    }

    fn check_endpoint(&self, endpoint: &str) -> Result<(), (&'static str, String)> {
        let wrong = |message: &str| Err(("audit.log.s3.endpoint", message.to_owned()));
        let (is_tls, host) = match endpoint.split_once("://") {
            Some(("https", host)) => (true, host),
            Some(("http", host)) => (false, host),
            _ => return wrong("must be https://HOST[:PORT]"),
        };
        let host = host.trim_end_matches('/');
        if host.is_empty() || host.contains(['/', '?', '#', '@']) {
            return wrong("must be https://HOST[:PORT], without a path or a password");
        }
        match is_tls || self.allow_http || is_loopback(host) {
            true => Ok(()),
            false => wrong("must be https:// (or http:// on a loopback address, or with `allow_http`)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(log: &str) -> Result<LogConfig, String> {
        let parsed: AuditConfig =
            node::config::parse("authority.toml", &format!("log = {log}")).map_err(|error| error.to_string())?;
        let checked = parsed.check();
        checked.map_err(|(field, message)| format!("{field}: {message}"))?;
        Ok(parsed.log)
    }

    #[test]
    fn a_log_is_a_directory_or_in_a_bucket() {
        assert!(matches!(parse("\"directory\""), Ok(LogConfig::Directory)));
        let LogConfig::S3(s3) =
            parse("{ s3 = { bucket = \"audit-logs\", prefix = \"signet/prod\", region = \"eu-1\" } }").unwrap()
        else {
            panic!()
        };
        assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("audit-logs", "signet/prod"));
        for endpoint in [
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
            "https://minio.example:9000/",
        ] {
            parse(&format!(
                "{{ s3 = {{ bucket = \"logs\", endpoint = \"{endpoint}\" }} }}"
            ))
            .unwrap();
        }
        parse("{ s3 = { bucket = \"logs\", endpoint = \"http://minio:9000\", allow_http = true } }").unwrap();
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let cases = [
            ("\"s3\"", "s3"),
            ("{ s3 = { } }", "bucket"),
            ("{ gcs = { bucket = \"logs\" } }", "gcs"),
            ("{ s3 = { bucket = \"Logs\" } }", "audit.log.s3.bucket"),
            ("{ s3 = { bucket = \"logs/a\" } }", "audit.log.s3.bucket"),
            ("{ s3 = { bucket = \"logs\", prefix = \"/a\" } }", "audit.log.s3.prefix"),
            (
                "{ s3 = { bucket = \"logs\", prefix = \"a/../b\" } }",
                "audit.log.s3.prefix",
            ),
            (
                "{ s3 = { bucket = \"logs\", prefix = \"a b\" } }",
                "audit.log.s3.prefix",
            ),
            ("{ s3 = { bucket = \"logs\", region = \"EU\" } }", "audit.log.s3.region"),
            (
                "{ s3 = { bucket = \"logs\", endpoint = \"minio:9000\" } }",
                "audit.log.s3.endpoint",
            ),
            (
                "{ s3 = { bucket = \"logs\", endpoint = \"http://minio:9000\" } }",
                "allow_http",
            ),
            (
                "{ s3 = { bucket = \"logs\", endpoint = \"https://a:b@c\" } }",
                "audit.log.s3.endpoint",
            ),
            (
                "{ s3 = { bucket = \"logs\", secret_access_key = \"x\" } }",
                "secret_access_key",
            ),
        ];
        for (log, named) in cases {
            let error = parse(log).unwrap_err();
            assert!(error.contains(named), "`{log}` gave: {error}");
        }
    }
}
