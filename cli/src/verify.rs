//! `signet verify`: asks an edge whether a token is good.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};
use signing::certificate::Certificate;
use signing::revocation::RevocationList;

use crate::client::EdgeArgs;
use crate::failure::{Context, Failure};
use crate::output;

/// Verify a token and print its claims.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet verify \"$TOKEN\" --audience https://api.example
  signet mint api --subject alice | signet verify -
  signet verify \"$TOKEN\" --revocations https://edge.example/v1/revocations --delegation-root delegation-root.pem

Exit code 1 if the token is not good.")]
pub struct Verify {
    /// The token, or - to read it from standard input.
    token: String,
    /// The audience it must carry.
    #[arg(long)]
    audience: Option<String>,
    /// A revocation list that the token's key must not be on, a file or an https URL. The edge knows what is revoked; this is
    /// for when the edge is not to be believed alone.
    #[arg(long, value_name = "FILE|URL", requires = "delegation_root")]
    revocations: Option<String>,
    /// The delegation root (PEM) that stands behind the list.
    #[arg(long, value_name = "FILE")]
    delegation_root: Option<PathBuf>,
    #[command(flatten)]
    edge: EdgeArgs,
}

impl Verify {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let token = match self.token.as_str() {
            "-" => std::io::read_to_string(std::io::stdin())?.trim().to_owned(),
            token => token.to_owned(),
        };
        let mut body = json!({"token": token});
        if let (Some(audience), Some(body)) = (&self.audience, body.as_object_mut()) {
            body.insert("audience".into(), json!(audience));
        }
        // First: a list that cannot be had must not look like a good token.
        let list = self.list()?;
        let mut answer = self.edge.target()?.call("POST", "/v1/verify", Some(&body))?;
        let kid = answer.get("kid").and_then(Value::as_str).unwrap_or_default();
        if list.is_some_and(|list| list.refuses_kid(kid)) {
            answer =
                json!({"valid": false, "code": "revoked", "detail": "the key is on the revocation list", "kid": kid});
        }
        output::json(&answer)?;
        match answer.get("valid").and_then(Value::as_bool) {
            Some(true) => Ok(()),
            _ => Err(Failure::new("the token is not valid")),
        }
    }

    /// The revocation list, verified, where one is named.
    fn list(&self) -> Result<Option<RevocationList>, Failure> {
        let (Some(from), Some(root)) = (&self.revocations, &self.delegation_root) else {
            return Ok(None);
        };
        let jws = if from.starts_with("https://") {
            self.edge.fetch(from)?
        } else {
            std::fs::read_to_string(from).context(|| format!("`{from}`"))?
        };
        let pem = std::fs::read_to_string(root).context(|| format!("`{}`", root.display()))?;
        let roots = Certificate::from_pem_chain(&pem).context(|| format!("`{}`", root.display()))?;
        let roots: Vec<_> = roots.into_iter().map(Certificate::into_der).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let list = RevocationList::verify(&jws, &roots, now).context(|| format!("`{from}`"))?;
        Ok(Some(list))
    }
}
