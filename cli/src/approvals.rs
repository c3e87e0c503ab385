//! `signet approvals`: what waits for approval, approvers and their keys, the quorum.

mod key;
mod show;

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};
use signing::approval::Decision;

use self::show::Request;
use crate::client::AdminArgs;
use crate::failure::{Context, Failure};
use crate::output;

/// Approve what takes several people, and say who they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet approvals keygen --out ada.key
  signet approvals approvers add ada --public-key ada.key.pub --principal arn:aws:iam::000000000001:user/ada
  signet approvals approvers add bob --public-key bob.key.pub --no-principal
  signet approvals approvers list
  signet approvals approvers remove bob
  signet approvals quorum --require 2 --lifetime 24h
  signet approvals quorum
  signet approvals list
  signet approvals show apr-000000000001-5f0c…
  signet approvals approve apr-000000000001-5f0c… --key ada.key
  signet approvals reject apr-000000000001-5f0c… --key ada.key
  signet approvals quorum --tenant authority --require 2")]
pub struct Approvals {
    #[command(subcommand)]
    command: Command,
    /// Whose: a tenant's 12 digits, or `authority` for what concerns the whole service.
    #[arg(long, default_value = "000000000001", global = true)]
    tenant: String,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Requests, those that ended included, the oldest first.
    List,
    /// One request, whole. Needs no admin token, nor do `approve` and `reject`.
    Show(Id),
    /// Show a request and sign that it may be done; whoever asked then sends it again.
    Approve(Decide),
    /// Show a request and sign that it may not be done.
    Reject(Decide),
    /// Show the quorum, or set it.
    Quorum(Quorum),
    /// Who may approve.
    Approvers {
        #[command(subcommand)]
        command: Approvers,
    },
    /// Make an approver's key: the private half in FILE, the public one in FILE.pub.
    Keygen(Keygen),
}

#[derive(Debug, Subcommand)]
enum Approvers {
    /// Add somebody, by a public key of their own.
    Add(Add),
    /// List them.
    List,
    /// Remove somebody; what they approved and nobody executed counts no more.
    Remove {
        /// The approver's name.
        name: String,
    },
}

#[derive(Debug, Args)]
struct Id {
    /// `apr-…`, as the refusal named it.
    id: String,
}

#[derive(Debug, Args)]
struct Decide {
    #[command(flatten)]
    id: Id,
    /// The approver's private key (PEM, PKCS #8; Ed25519 or P-256). It does not leave this machine.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, Args)]
struct Quorum {
    /// Approvals that it takes, none of them the requester's; 0: nobody is asked.
    #[arg(long, value_name = "K")]
    require: Option<usize>,
    /// How long a request waits for them: a number and s, m, h or d, up to 30d.
    #[arg(long, value_parser = seconds, default_value = "24h", requires = "require")]
    lifetime: u64,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").required(true).args(["principal", "no_principal"]))]
struct Add {
    /// 1 to 63 of a-z 0-9 -
    name: String,
    /// The public key (PEM), as `keygen` wrote it.
    #[arg(long, value_name = "FILE")]
    public_key: PathBuf,
    /// Who this person is when asking: an ARN or operator:ID, whose requests they then cannot approve. May be repeated.
    #[arg(long, value_name = "ARN")]
    principal: Vec<String>,
    /// This person asks for nothing: has neither an access key nor the admin token.
    #[arg(long)]
    no_principal: bool,
}

#[derive(Debug, Args)]
struct Keygen {
    /// Where to write the private key; must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The kind of key.
    #[arg(long, default_value = "ed25519", value_parser = ["ed25519", "es256"])]
    algorithm: String,
}

impl Approvals {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match &self.command {
            Command::List => self.list(),
            Command::Show(id) => {
                let (answer, request) = self.fetch(id)?;
                if self.json {
                    output::json(&answer)
                } else {
                    output::text(&request.text(&answer))
                }
            }
            Command::Approve(decide) => self.decide(decide, Decision::Approve),
            Command::Reject(decide) => self.decide(decide, Decision::Reject),
            Command::Quorum(quorum) => self.quorum(quorum),
            Command::Approvers { command } => match command {
                Approvers::Add(add) => self.add(add),
                Approvers::List => self.approvers(&self.safeguards("GET", "", None)?),
                Approvers::Remove { name } => {
                    let path = format!("/approvers/{}", segment(name)?);
                    self.approvers(&self.safeguards("DELETE", &path, None)?)
                }
            },
            Command::Keygen(keygen) => {
                let kid = key::generate(&keygen.out, &keygen.algorithm)?;
                let (private, public) = (keygen.out.display(), key::public_path(&keygen.out));
                let public = public.display();
                if self.json {
                    return output::json(
                        &json!({"key": kid, "private": private.to_string(), "public": public.to_string()}),
                    );
                }
                output::line(&format!(
                    "{private}: the private key; keep it where only you read it\n{public}: for whoever adds you as an approver"
                ))
            }
        }
    }

    fn list(&self) -> Result<(), Failure> {
        let answer = self
            .admin
            .call("GET", &format!("/v1/approvals?tenant={}", segment(&self.tenant)?), None)?;
        if self.json {
            return output::json(&answer);
        }
        let listed = answer.get("approvals").and_then(Value::as_array).into_iter().flatten();
        let rows = listed.map(|approval| {
            let cell = |name: &str| approval.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            vec![
                cell("id"),
                cell("status"),
                cell("operation"),
                cell("resource"),
                cell("requester"),
                cell("expires_at"),
            ]
        });
        output::table(
            &["REQUEST", "STATUS", "OPERATION", "RESOURCE", "REQUESTER", "EXPIRES"],
            &rows.collect::<Vec<_>>(),
        )
    }

    /// A request as the authority has it, and as it was read here.
    fn fetch(&self, id: &Id) -> Result<(Value, Request), Failure> {
        let path = format!("/v1/approvals/{}", segment(&id.id)?);
        let answer = self.admin.anonymous()?.call("GET", &path, None)?;
        let request = Request::read(&answer)?;
        if request.id != id.id {
            return Err(Failure::new(
                "the authority answered with another request; nothing was signed",
            ));
        }
        Ok((answer, request))
    }

    /// Signs what is shown: the message is made here, of the very fields that are printed.
    fn decide(&self, decide: &Decide, decision: Decision) -> Result<(), Failure> {
        let key = key::read(&decide.key)?;
        let (answer, request) = self.fetch(&decide.id)?;
        if !self.json {
            output::text(&request.text(&answer))?;
        }
        let signature = key.sign(&request.statement().message(decision))?;
        let body = json!({
            "key": key.kid(),
            "decision": decision.as_str(),
            "signature": BASE64_STANDARD.encode(signature),
        });
        let path = format!("/v1/approvals/{}/decisions", segment(&decide.id.id)?);
        let answer = self.admin.anonymous()?.call("POST", &path, Some(&body))?;
        if self.json {
            return output::json(&answer);
        }
        let done = match decision {
            Decision::Approve => "approved",
            Decision::Reject => "rejected",
        };
        let status = answer.get("status").and_then(Value::as_str).unwrap_or_default();
        let next = match status {
            "approved" => format!("; {} may send it again now", request.requester),
            _ => String::new(),
        };
        output::line(&format!("\nyou {done} it; the request is {status}{next}"))
    }

    fn quorum(&self, quorum: &Quorum) -> Result<(), Failure> {
        let answer = match quorum.require {
            None => self.safeguards("GET", "", None)?,
            Some(required) => {
                let body = json!({"required": required, "lifetime_seconds": quorum.lifetime});
                self.safeguards("PUT", "/quorum", Some(&body))?
            }
        };
        if self.json {
            return output::json(&answer);
        }
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
        let have = answer.get("approvers").and_then(Value::as_array).map_or(0, Vec::len);
        let required = number("required");
        if required == 0 {
            return output::line(&format!("no quorum: nothing waits for approval ({have} approvers)"));
        }
        if usize::try_from(required).is_ok_and(|required| required >= have) {
            output::note(
                "every approver is needed: one lost key, and nothing can be approved any more, nor this be changed",
            );
        }
        let lifetime = number("lifetime_seconds");
        output::line(&format!("{required} of {have} approvers, within {lifetime} s"))
    }

    fn add(&self, add: &Add) -> Result<(), Failure> {
        let pem = std::fs::read_to_string(&add.public_key).context(|| format!("`{}`", add.public_key.display()))?;
        if pem.contains("PRIVATE KEY") {
            return Err(Failure::new(format!(
                "`{}` is a private key, which stays with the approver; give the public one (.pub)",
                add.public_key.display()
            )));
        }
        let body = json!({"public_key_pem": pem, "principals": add.principal});
        let path = format!("/approvers/{}", segment(&add.name)?);
        self.approvers(&self.safeguards("PUT", &path, Some(&body))?)
    }

    fn approvers(&self, answer: &Value) -> Result<(), Failure> {
        if self.json {
            return output::json(answer);
        }
        let approvers = answer.get("approvers").and_then(Value::as_array).into_iter().flatten();
        let rows = approvers.map(|approver| {
            let cell = |name: &str| approver.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            let principals = approver
                .get("principals")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let principals: Vec<_> = principals.filter_map(Value::as_str).collect();
            vec![cell("name"), cell("key"), principals.join(" ")]
        });
        output::table(&["APPROVER", "KEY", "PRINCIPALS"], &rows.collect::<Vec<_>>())
    }

    fn safeguards(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let path = format!("/v1/safeguards/{}{path}", segment(&self.tenant)?);
        self.admin.call(method, &path, body)
    }
}

/// A part of a path, which must not be more than one.
pub(crate) fn segment(text: &str) -> Result<&str, Failure> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Ok(text);
    }
    let shown: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    Err(Failure::new(format!(
        "`{shown}` has other characters than letters, digits and -"
    )))
}

/// `90s`, `15m`, `24h`, `7d`
fn seconds(text: &str) -> Result<u64, String> {
    let unit = |end: char| match end {
        's' => Some(1u64),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    };
    let parsed = text.char_indices().next_back().and_then(|(at, end)| {
        let number: u64 = text.get(..at)?.parse().ok()?;
        number.checked_mul(unit(end)?)
    });
    parsed.ok_or_else(|| "write a whole number and s, m, h or d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit() {
        assert_eq!((seconds("90s"), seconds("7d")), (Ok(90), Ok(604_800)));
        for bad in ["", "s", "1", "1w", "-1s", "1.5h", "99999999999999999999d", "1é"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_not_left() {
        for bad in ["", "a/b", "..", "a?b", "a b", "é"] {
            assert!(segment(bad).is_err(), "{bad}");
        }
        assert!(segment("apr-000000000001-0f").is_ok());
    }
}
