//! Who asks an S3 server: a file, the environment, or what the machine is given.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use zeroize::Zeroizing;

/// What is taken from the environment: who asks, never what is asked or how.
const VARIABLES: [&str; 9] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// Adds what the environment says. Without any of it the S3 client asks the machine's metadata service.
pub(super) fn from_environment(mut builder: AmazonS3Builder, env: impl Fn(&str) -> Option<String>) -> AmazonS3Builder {
    for name in VARIABLES {
        let key = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
        if let (Ok(key), Some(value)) = (key, env(name).filter(|value| !value.is_empty())) {
            builder = builder.with_config(key, value);
        }
    }
    builder
}

/// A file that is read with each request, so that what replaces it counts at once.
#[derive(Debug)]
pub(super) struct CredentialsFile(pub(super) PathBuf);

#[async_trait]
impl CredentialProvider for CredentialsFile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let read = read(&self.0).map(Arc::new);
        read.map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: error.into(),
        })
    }
}

/// The credentials in a file.
pub(super) fn read(file: &Path) -> Result<AwsCredential, String> {
    let shown = file.display();
    let failed = |error: std::io::Error| format!("`{shown}` cannot be read: {error}");
    let metadata = std::fs::metadata(file).map_err(failed)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(format!("`{shown}` can be read by others; set its mode to 0600"));
    }
    let text = Zeroizing::new(std::fs::read_to_string(file).map_err(failed)?);
    let missing = |name: &str| format!("`{shown}` has no `{name}` under [default]");
    let need = |name: &str| field(&text, name).ok_or_else(|| missing(name));
    Ok(AwsCredential {
        key_id: need("aws_access_key_id")?,
        secret_key: need("aws_secret_access_key")?,
        token: field(&text, "aws_session_token"),
    })
}

/// A field of the section `[default]`.
fn field(text: &str, name: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[default]";
        }
        let value = line.split_once('=').filter(|(key, _)| inside && key.trim() == name);
        if let Some((_, value)) = value.filter(|(_, value)| !value.trim().is_empty()) {
            return Some(value.trim().to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_the_tools_have_it_and_only_if_it_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        let write = |text: &str, mode| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        assert!(read(&file).unwrap_err().contains("cannot be read"));
        let other = "[other]\naws_access_key_id = no\n";
        write(
            &format!("{other}[default]\naws_access_key_id = AKIA\naws_secret_access_key=a/b=c\n"),
            0o600,
        );
        let found = read(&file).unwrap();
        assert_eq!((found.key_id.as_str(), found.secret_key.as_str()), ("AKIA", "a/b=c"));
        assert_eq!(found.token, None);
        assert!(!format!("{found:?}").contains("a/b=c"));
        write(&format!("[default]\naws_access_key_id=A\n{other}"), 0o600);
        assert!(read(&file).unwrap_err().contains("no `aws_secret_access_key`"));
        write("[default]\naws_access_key_id=A\naws_secret_access_key=B", 0o640);
        assert!(read(&file).unwrap_err().contains("0600"));
    }

    #[test]
    fn the_environment_says_who_asks_and_not_whom_to_ask() {
        let env = |name: &str| Some(format!("from-{name}"));
        let builder = from_environment(AmazonS3Builder::new(), env);
        let of = |key| builder.get_config_value(&key);
        assert_eq!(
            of(AmazonS3ConfigKey::AccessKeyId).as_deref(),
            Some("from-AWS_ACCESS_KEY_ID")
        );
        assert!(of(AmazonS3ConfigKey::WebIdentityTokenFile).is_some() && of(AmazonS3ConfigKey::Token).is_some());
        assert_eq!(of(AmazonS3ConfigKey::Endpoint), None);
        assert_eq!(
            VARIABLES
                .iter()
                .filter(|name| name.to_lowercase().parse::<AmazonS3ConfigKey>().is_err())
                .count(),
            0
        );
    }
}
