//! `signet rollout`: a new version of one rule, compared on live traffic, then for a part of the callers, then for all.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, Subcommand};
use policies::rollout::{Steps, Thresholds, percent};
use serde_json::{Value, json};

use crate::bundle::demanding;
use crate::client::AdminArgs;
use crate::failure::{Context, Failure};
use crate::oci::{Reference, RegistryArgs};
use crate::{output, plugin};

mod status;

/// Roll a new version of a plugin out to every edge in steps, watch it, and take it back at once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet rollout plan claim-guard --file new.wasm       what would happen, and every mistake
  signet rollout start claim-guard --file new.wasm      evaluated beside the current version, never enforced
  signet rollout start claim-guard --from oci://ghcr.io/acme/claim-guard:1.1 --key plugins.pub
  signet rollout status claim-guard                     calls, differences with samples, times, edges
  signet rollout promote claim-guard                    the next step: for 1% of the callers, then more, then for all
  signet rollout promote claim-guard --percent 25
  signet rollout promote claim-guard --percent 100 --untried    though no request has been judged by it
  signet rollout abort claim-guard --reason \"refuses too much\"

A caller always gets the same version, and stays with it as the percentage grows. A version that fails too often or takes
too long is given up without being asked, by each edge at once and then everywhere; `status` says why.")]
pub struct Rollout {
    #[command(subcommand)]
    command: Command,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a new version and tell what would happen; changes nothing.
    Plan(New),
    /// Begin with the first step.
    Start(New),
    /// How far rollouts are, and what edges see.
    Status {
        /// One plugin's only.
        plugin: Option<String>,
    },
    /// Go one step on; the last one makes the new version the bundle's.
    Promote {
        /// The plugin's name in the bundle.
        plugin: String,
        /// Go to this percentage of callers, 1 to 100, rather than to the next step.
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..=100))]
        percent: Option<u8>,
        /// Take the last step though no edge has reported a call of the new version.
        #[arg(long)]
        untried: bool,
    },
    /// Go back to the current version, everywhere and at once.
    Abort {
        /// The plugin's name in the bundle.
        plugin: String,
        /// Why, for the record and whoever asks: up to 256 characters.
        #[arg(long, default_value = "")]
        reason: String,
    },
}

#[derive(Debug, Args)]
struct New {
    /// The plugin's name in the bundle.
    plugin: String,
    /// The new version: a component, as `signet plugin build` writes it.
    #[arg(long, value_name = "FILE.wasm", required_unless_present = "from")]
    file: Option<PathBuf>,
    /// The new version in a registry or directory, as `signet plugin pull` takes it.
    #[arg(long, value_name = "REF", conflicts_with = "file", requires = "key")]
    from: Option<Reference>,
    /// The public key (PEM) that must have signed it.
    #[arg(long, value_name = "FILE", requires = "from")]
    key: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
    /// The steps: `shadow` or nothing, then growing percentages of callers, 100% last.
    #[arg(long, default_value = "shadow,1%,10%,50%,100%", value_parser = Steps::parse)]
    steps: Steps,
    /// Give it up when more of its calls fail (trap, time-out, nothing valid), 0% to 100%.
    #[arg(long, default_value = "1%", value_name = "PERCENT", value_parser = hundredths)]
    max_failures: u32,
    /// Give it up when more than one call in a hundred takes longer, waits included: 1us to 1s.
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = micros)]
    max_p99: u64,
    /// The fewest calls that these shares are taken of.
    #[arg(long, default_value_t = Thresholds::default().min_calls, value_name = "N")]
    min_calls: u64,
}

impl Rollout {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let (admin, is_json) = (&self.admin, self.json);
        match &self.command {
            Command::Plan(new) => {
                let plan = new.send(admin, true)?;
                shown(is_json, &plan, || format!("{}not started\n", plan_text(&plan)))
            }
            Command::Start(new) => {
                let plan = new.send(admin, false)?;
                shown(is_json, &plan, || format!("{}{}\n", plan_text(&plan), begun(&plan)))
            }
            Command::Status { plugin } => {
                let answer = admin.call("GET", "/v1/rollouts", None)?;
                let rollouts = status::of(&answer, plugin.as_deref())?;
                shown(is_json, &json!({ "rollouts": rollouts }), || status::text(&rollouts))
            }
            Command::Promote {
                plugin,
                percent,
                untried,
            } => {
                let path = path(plugin, "/promote")?;
                if !untried {
                    tell_untried(admin, plugin, *percent);
                }
                let body = demanding(json!({ "percent": percent }), "untried", *untried);
                let rollout = admin.call("POST", &path, Some(&body))?;
                shown(is_json, &rollout, || promoted(&rollout))
            }
            Command::Abort { plugin, reason } => {
                let body = json!({ "reason": reason });
                let rollout = admin.call("POST", &path(plugin, "/abort")?, Some(&body))?;
                shown(is_json, &rollout, || {
                    format!("{plugin}: aborted; each edge goes back to the current version as it hears of it\n")
                })
            }
        }
    }
}

impl New {
    fn send(&self, admin: &AdminArgs, dry_run: bool) -> Result<Value, Failure> {
        let component = self.component()?;
        let thresholds = Thresholds {
            max_failures: self.max_failures,
            max_p99_us: self.max_p99,
            min_calls: self.min_calls,
        };
        thresholds.check()?;
        let body = json!({
            "component_base64": BASE64_STANDARD.encode(component),
            "steps": self.steps,
            "thresholds": thresholds,
        });
        let query = if dry_run { "?dry_run=true" } else { "" };
        admin.call("PUT", &path(&self.plugin, query)?, Some(&body))
    }

    fn component(&self) -> Result<Vec<u8>, Failure> {
        match (&self.file, &self.from, &self.key) {
            (Some(file), _, _) if file.is_dir() => Err(Failure::new(format!(
                "`{}` is a directory; give the built component in it, NAME.wasm",
                file.display()
            ))),
            (Some(file), _, _) => {
                let content = std::fs::read(file).context(|| format!("`{}`", file.display()))?;
                // The authority would say it of the bundle's file, in whose place it is tried.
                match content.starts_with(b"\0asm") {
                    true => Ok(content),
                    false => Err(Failure::new(format!(
                        "`{}` is no WebAssembly file; give the built component: `signet plugin build` makes one",
                        file.display()
                    ))),
                }
            }
            (None, Some(from), Some(key)) => Ok(plugin::signed(&self.registry, from, key)?.wasm),
            _ => Err(Failure::new(
                "no new version; name one with --file, or with --from and --key",
            )),
        }
    }
}

/// A version that has judged nothing has not failed either: each step with it is commented on, where it can be known, and the last one
/// refused by the authority.
fn tell_untried(admin: &AdminArgs, plugin: &str, percent: Option<u8>) {
    let Ok(answer) = admin.call("GET", "/v1/rollouts", None) else {
        return;
    };
    let found = status::of(&answer, Some(plugin)).unwrap_or_default();
    let is_untried = |rollout: &&Value| status::calls(rollout) == 0;
    let next = found
        .iter()
        .find(is_untried)
        .and_then(|rollout| rollout.get("next")?.as_u64());
    if next.is_some_and(|next| percent.map_or(next, u64::from) != 100) {
        output::note(&format!(
            "this authority has heard of no call of the new version of `{plugin}`"
        ));
    }
}

fn shown(is_json: bool, answer: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
    match is_json {
        true => output::json(answer),
        false => output::text(&text()),
    }
}

/// The path of a plugin's rollout; a name that a plugin cannot have asks nobody.
fn path(plugin: &str, rest: &str) -> Result<String, Failure> {
    match policies::names::is_name(plugin) {
        true => Ok(format!("/v1/rollouts/{plugin}{rest}")),
        false => Err(Failure::new(format!(
            "`{plugin:.64}` cannot name a plugin; `signet bundle show` lists the bundle's files"
        ))),
    }
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("-")
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// Enough of a digest to tell versions apart.
fn short<'a>(rollout: &'a Value, name: &str) -> &'a str {
    let digest = word(rollout, name);
    digest.get(..12).unwrap_or(digest)
}

fn plan_text(plan: &Value) -> String {
    let profiles = plan.get("profiles").and_then(Value::as_array).into_iter().flatten();
    let profiles: Vec<_> = profiles.filter_map(Value::as_str).collect();
    let judges = match profiles.as_slice() {
        [] => "no profile: none lists it".to_owned(),
        names => names.join(", "),
    };
    let part = |name: &str| plan.get(name).cloned().unwrap_or_default();
    let steps = serde_json::from_value::<Steps>(part("steps")).map(|steps| steps.to_string());
    let thresholds = serde_json::from_value::<Thresholds>(part("thresholds")).unwrap_or_default();
    format!(
        "plugin    {} ({})\ncurrent   {}\nnew       {}, {} bytes, loads\njudges    {judges}\nsteps     {}\ngives up  when more than {} of its calls \
         fail, or more than 1% take longer than {}, of at least {} calls\n",
        word(plan, "plugin"),
        word(plan, "file"),
        short(plan, "current_sha256"),
        short(plan, "candidate_sha256"),
        number(plan, "bytes"),
        steps.unwrap_or_default(),
        percent(thresholds.max_failures),
        status::time(thresholds.max_p99_us),
        thresholds.min_calls,
    )
}

fn begun(plan: &Value) -> String {
    let (plugin, stage) = (word(plan, "plugin"), word(plan, "stage"));
    format!("started: {stage}; `signet rollout status {plugin}` shows what edges see")
}

fn promoted(rollout: &Value) -> String {
    let (plugin, stage) = (word(rollout, "plugin"), word(rollout, "stage"));
    match stage {
        "enforced" => format!(
            "{plugin}: enforced; copy the new version to {} in the bundle's directory, or name it as its source: a bundle \
             with the old version is refused\n",
            word(rollout, "file")
        ),
        stage => format!("{plugin}: {stage}\n"),
    }
}

/// Reads `1%` or `0.25%` as hundredths of a percent.
fn hundredths(text: &str) -> Result<u32, String> {
    let read = || {
        let (whole, rest) = match text.strip_suffix('%')?.split_once('.') {
            Some((whole, rest)) if (1..=2).contains(&rest.len()) => (whole, format!("{rest:0<2}")),
            Some(_) => return None,
            None => (text.strip_suffix('%')?, "00".to_owned()),
        };
        let digits = [whole, &rest]
            .into_iter()
            .all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let value: u32 = digits.then(|| format!("{whole}{rest}").parse().ok())??;
        (!whole.is_empty() && value <= 10_000).then_some(value)
    };
    read().ok_or_else(|| "write a percentage from 0% to 100%, such as 0.5%".to_owned())
}

/// Reads `500us`, `3ms` or `1s` as microseconds.
fn micros(text: &str) -> Result<u64, String> {
    let units = [("us", 1_u64), ("ms", 1_000), ("s", 1_000_000)];
    let read = |(unit, factor): (&str, u64)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(factor);
    let most = u64::try_from(Duration::from_secs(1).as_micros()).unwrap_or(u64::MAX);
    let found = units
        .into_iter()
        .find_map(read)
        .filter(|micros| (1..=most).contains(micros));
    found.ok_or_else(|| "write a time from 1us to 1s, such as 3ms".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_as_people_write_them() {
        assert_eq!(
            ["1%", "0.5%", "0.05%", "100%"].map(hundredths),
            [Ok(100), Ok(50), Ok(5), Ok(10_000)]
        );
        for wrong in ["1", "", "%", "-1%", "101%", "0.005%", "1.%", ".5%", "+1%"] {
            assert!(hundredths(wrong).is_err(), "{wrong}");
        }
        assert_eq!(["3ms", "500us", "1s"].map(micros), [Ok(3_000), Ok(500), Ok(1_000_000)]);
        for wrong in ["3", "0ms", "2s", "1m", "ms", "-1ms"] {
            assert!(micros(wrong).is_err(), "{wrong}");
        }
    }
}
