//! The key API of `signet dev`: the account it is for, and an access key of that account's root.

use std::path::Path;

use serde_json::{Value, json};

use super::files;
use super::roles::call;
use crate::client::Target;
use crate::failure::{Context, Failure};

/// The region that printed commands name, and the ARNs that operators see. Clients may sign for any.
pub const REGION: &str = "us-east-1";

/// An access key of the account's root.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// 12 digits.
    pub account: String,
    /// `AKIA…`
    pub access_key_id: String,
    /// 40 characters.
    pub secret_access_key: String,
}

impl Credentials {
    /// The ones of the last start, if they are still good, else new ones.
    pub async fn ensure(data: &Path, admin: &Target, account: &str) -> Result<Credentials, Failure> {
        let file = data.join(format!("dev/kms-credentials-{account}.json"));
        if let Some(kept) = read(&file, account)
            && is_active(admin, &kept).await?
        {
            return Ok(kept);
        }
        let made = call(admin, "POST", "/v1/access-keys", Some(&json!({"tenant": account}))).await?;
        let text = |name: &str| made.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let credentials = Credentials {
            account: account.to_owned(),
            access_key_id: text("access_key_id"),
            secret_access_key: text("secret_access_key"),
        };
        files::private_file(&file, credentials.json().to_string().as_bytes())?;
        Ok(credentials)
    }

    /// As the JSON of `signet dev --json` has them.
    pub fn json(&self) -> Value {
        json!({
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "account": self.account,
        })
    }
}

/// The account must be a tenant's id before anything is started for it.
pub fn check_account(account: &str) -> Result<(), Failure> {
    if policies::names::is_tenant(account) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "--account takes 12 digits, `{}` has not",
        account.escape_debug()
    )))
}

fn read(file: &Path, account: &str) -> Option<Credentials> {
    let kept: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let text = |name: &str| Some(kept.get(name)?.as_str()?.to_owned());
    Some(Credentials {
        account: account.to_owned(),
        access_key_id: text("access_key_id")?,
        secret_access_key: text("secret_access_key")?,
    })
}

async fn is_active(admin: &Target, kept: &Credentials) -> Result<bool, Failure> {
    let listed = call(admin, "GET", &format!("/v1/access-keys?tenant={}", kept.account), None)
        .await
        .context(|| "access keys".to_owned())?;
    let keys = listed
        .get("access_keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(keys.into_iter().any(|key| {
        text(key, "access_key_id").as_deref() == Some(&kept.access_key_id)
            && text(key, "status").as_deref() == Some("Active")
    }))
}
