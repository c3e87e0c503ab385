//! `signet mint`: a token from an edge.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::client::{EdgeArgs, describe, runtime};
use crate::failure::Failure;
use crate::output;

/// Mint a token and print it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet mint api --subject alice
  signet mint api --subject alice --claim scope=read --claim level:=3 --lifetime 300
  signet mint --http3 session --subject bob --json

A claim NAME=TEXT is a text, NAME:=JSON is any JSON value.")]
pub struct Mint {
    /// The profile to mint with.
    profile: String,
    /// `sub`
    #[arg(long, short)]
    subject: Option<String>,
    /// `aud`; may be given several times. The profile's default if absent.
    #[arg(long, short)]
    audience: Vec<String>,
    /// A further claim, NAME=TEXT or NAME:=JSON; may be given several times.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = parse_claim)]
    claim: Vec<(String, Value)>,
    /// Seconds; the profile's default if absent.
    #[arg(long, short)]
    lifetime: Option<u32>,
    /// Speak HTTP/3 (QUIC).
    #[arg(long)]
    http3: bool,
    /// Print the whole answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    edge: EdgeArgs,
}

impl Mint {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (target, path) = (self.edge.target()?, format!("/v1/tokens/{}", self.profile));
        let body = self.body();
        let (status, answer) = runtime()?.block_on(async {
            if self.http3 {
                target.send_http3("POST", &path, Some(&body)).await
            } else {
                target.send("POST", &path, Some(&body)).await
            }
        })?;
        match (status, answer.get("token").and_then(Value::as_str)) {
            (201, Some(_)) if self.json => output::json(&answer),
            (201, Some(token)) => output::line(token),
            _ => Err(Failure::new(describe(status, &answer))),
        }
    }

    fn body(&self) -> Value {
        let mut body = Map::new();
        if let Some(subject) = &self.subject {
            body.insert("subject".into(), json!(subject));
        }
        match self.audience.as_slice() {
            [] => {}
            [one] => {
                body.insert("audience".into(), json!(one));
            }
            several => {
                body.insert("audience".into(), json!(several));
            }
        }
        if let Some(lifetime) = self.lifetime {
            body.insert("lifetime".into(), json!(lifetime));
        }
        if !self.claim.is_empty() {
            body.insert("claims".into(), Value::Object(self.claim.iter().cloned().collect()));
        }
        Value::Object(body)
    }
}

fn parse_claim(text: &str) -> Result<(String, Value), String> {
    let malformed = || "a claim is NAME=TEXT or NAME:=JSON".to_owned();
    let (name, value) = text.split_once('=').ok_or_else(malformed)?;
    match name.strip_suffix(':') {
        Some(name) if !name.is_empty() => {
            let value = serde_json::from_str(value);
            Ok((
                name.to_owned(),
                value.map_err(|error| format!("the value of `{name}` is not JSON: {error}"))?,
            ))
        }
        None if !name.is_empty() => Ok((name.to_owned(), json!(value))),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_texts_or_json() {
        assert_eq!(
            parse_claim("scope=read write").unwrap(),
            ("scope".into(), json!("read write"))
        );
        assert_eq!(parse_claim("level:=3").unwrap(), ("level".into(), json!(3)));
        assert_eq!(parse_claim("eq=a=b").unwrap(), ("eq".into(), json!("a=b")));
        for bad in ["scope", "=x", ":=1", "level:=three"] {
            assert!(parse_claim(bad).is_err(), "{bad}");
        }
    }
}
