//! `signet verify`: asks an edge whether a token is good.

use clap::Args;
use serde_json::{Value, json};

use crate::client::EdgeArgs;
use crate::failure::Failure;
use crate::output;

/// Verify a token and print its claims.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet verify \"$TOKEN\" --audience https://api.example
  signet mint api --subject alice | signet verify -

Exit code 1 if the token is not good.")]
pub struct Verify {
    /// The token, or - to read it from standard input.
    token: String,
    /// The audience it must carry.
    #[arg(long)]
    audience: Option<String>,
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
        let answer = self.edge.target()?.call("POST", "/v1/verify", Some(&body))?;
        output::json(&answer)?;
        match answer.get("valid").and_then(Value::as_bool) {
            Some(true) => Ok(()),
            _ => Err(Failure::new("the token is not valid")),
        }
    }
}
