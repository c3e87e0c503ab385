//! `signet plugin replay`: what a new version of a rule would have said to requests that edges sampled.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use policies::rollout::Answer;
use runtime::sample::{Sample, SampleError, Told, unbatch};
use runtime::{Plugin, Request, RuleError, Verdict};

use super::changes::{Changes, Seen, plain};
use super::project::{self, Subject};
use super::runner::Runner;
use super::{bundled, samples, sampling_key};
use crate::failure::{Context, Failure};
use crate::output;
use crate::progress::Progress;

/// A call that ran out of time on a busy laptop says little about the rule: it is made so often.
const ATTEMPTS: usize = 3;
/// The exit code of `--fail-on-change` where something would change: what tells that from samples that cannot be read.
const CHANGED: u8 = 3;
/// Names of plugins that an error lists.
const MAX_NAMES: usize = 8;

/// Run sampled requests through a new version of a plugin and print what would change.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  signet plugin replay short-lived --samples today.samples --key sampling.key --bundle ./bundle
  signet plugin replay short-lived --samples today.samples --key sampling.key --against old.wasm
  signet plugin replay short-lived --samples today.samples --key sampling.key --fail-on-change

Without --against, the new version is compared with what edges decided; they saw the values that the samples have redacted.
With it, both versions are asked about the samples as they are, and with the same settings.

Exit codes: 0, or with --fail-on-change 0 where nothing would change and 3 where something would; 1 where nothing could be compared.")]
pub struct Replay {
    /// The new version: a plugin's directory, or a component's file.
    path: PathBuf,
    /// What `signet plugin samples` wrote; once for each of several authorities.
    #[arg(long, value_name = "FILE", required = true)]
    samples: Vec<PathBuf>,
    /// The private half of the sampling key, which `signet plugin sampling-key` made.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The version to compare with: a plugin's directory, or a component's file.
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// The plugin's name in the bundle. Default: the name in plugin.toml, or the file's without `.wasm`.
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// A bundle's directory: settings, tables and bounds are those of its plugin, in place of those of plugin.toml.
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// How many examples of each kind of change are shown: the newest.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1000))]
    examples: u16,
    /// End with exit code 3 if anything would change.
    #[arg(long)]
    fail_on_change: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A version of the rule, ready to be asked.
struct Version {
    runner: Runner,
    plugin: Plugin,
}

impl Replay {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut subject = Subject::find(&self.path, None)?;
        project::tell_stale(&self.path, &subject, "");
        let name = self.plugin.clone().unwrap_or_else(|| subject.name.clone());
        if let Some(bundle) = &self.bundle {
            subject = bundled::settings(subject, bundle, &name)?;
        }
        let key = sampling_key::read(&self.key)?;
        let opened = samples::open(&self.samples, &key)?;
        let (decoded, damaged) = decode(&opened.batches).context(|| samples::shown(&self.samples))?;
        if decoded.is_empty() {
            let files = samples::shown(&self.samples);
            let advice = "give a file that `signet plugin samples` wrote";
            return Err(Failure::new(format!("{files} has no samples; {advice}")));
        }
        let mut wanted = of_plugin(&decoded, &name)?;
        // Counts, and examples, are in the order in which they came.
        wanted.sort_by_key(|(sample, _)| sample.request.time);
        let new = Version::load(&subject)?;
        let old = self.old(&subject)?;
        let left_out = opened.closed.saturating_add(damaged);
        let mut changes = Changes::new(&name, old.is_some(), self.examples.into(), left_out);
        let mut progress = Progress::new("replaying", "samples");
        for (sample, told) in &wanted {
            progress.tell(changes.samples(), wanted.len() as u64);
            let before = match &old {
                Some(old) => Seen::of(answer(old.ask(&sample.request))),
                None => Seen::told(told),
            };
            changes.compare(&sample.request, &before, answer(new.ask(&sample.request)));
        }
        drop(progress);
        match self.json {
            true => output::json(&changes.json())?,
            false => output::text(&changes.text())?,
        }
        match changes.changed() {
            changed if changed > 0 && self.fail_on_change => {
                let of = changes.samples();
                Err(Failure::new(format!("{changed} of {of} answers would change")).with_code(CHANGED))
            }
            _ => Ok(()),
        }
    }

    /// The other version, with the settings of the new one: only the component differs.
    fn old(&self, subject: &Subject) -> Result<Option<Version>, Failure> {
        let Some(path) = &self.against else { return Ok(None) };
        let own = Subject::find(path, None)?;
        project::tell_stale(path, &own, "");
        let old = Subject {
            component: own.component,
            ..subject.clone()
        };
        let version = Version::load(&old).map_err(|failure| failure.after(&format!("`{}`", path.display())))?;
        Ok(Some(version))
    }
}

impl Version {
    fn load(subject: &Subject) -> Result<Version, Failure> {
        let runner = Runner::new(subject, false)?;
        let plugin = runner.load(subject, None)?;
        Ok(Version { runner, plugin })
    }

    fn ask(&self, request: &Request<'_>) -> Result<Verdict, RuleError> {
        let mut result = self.runner.ask(&self.plugin, request);
        for _ in 1..ATTEMPTS {
            match &result {
                Err(RuleError::Failed { kind, .. }) if kind.as_str() == "timeout" => {
                    result = self.runner.ask(&self.plugin, request);
                }
                _ => break,
            }
        }
        result
    }
}

/// The samples of all batches that can be read, and how many batches cannot: one edge that seals nonsense takes nobody else's away.
fn decode(batches: &[Vec<u8>]) -> Result<(Vec<Sample<'_>>, usize), SampleError> {
    let (mut decoded, mut damaged, mut last) = (Vec::new(), 0_usize, None);
    for batch in batches {
        let samples =
            unbatch(batch).and_then(|samples| samples.into_iter().map(Sample::decode).collect::<Result<Vec<_>, _>>());
        match samples {
            Ok(samples) => decoded.extend(samples),
            Err(error) => {
                damaged = damaged.saturating_add(1);
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) if decoded.is_empty() => Err(error),
        _ => Ok((decoded, damaged)),
    }
}

/// The samples that the plugin was asked about, each with what it answered.
fn of_plugin<'s, 'b>(samples: &'s [Sample<'b>], name: &str) -> Result<Vec<(&'s Sample<'b>, &'s Told)>, Failure> {
    let told = samples.iter().filter_map(|sample| {
        let answered = sample.answers.iter().find(|answered| answered.plugin == name)?;
        Some((sample, &answered.answer))
    });
    let wanted: Vec<_> = told.collect();
    if wanted.is_empty() {
        let answers = samples.iter().flat_map(|sample| &sample.answers);
        let names: BTreeSet<_> = answers.map(|answered| answered.plugin.as_str()).collect();
        let names: Vec<_> = names.into_iter().take(MAX_NAMES).map(plain).collect();
        return Err(Failure::new(format!(
            "none of {} samples is of a plugin `{name:.64}`; they are of {}; name one with --plugin",
            samples.len(),
            names.join(", ")
        )));
    }
    Ok(wanted)
}

fn answer(result: Result<Verdict, RuleError>) -> Answer {
    match result {
        Ok(verdict) => Answer::Allowed {
            cap: verdict.lifetime_cap,
            claims: verdict.claims.into_iter().collect(),
        },
        Err(RuleError::Refused { code, .. }) => Answer::Refused(code),
        Err(RuleError::Failed { kind, .. }) => Answer::Failed(kind.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::changes::tests::request;
    use super::*;
    use runtime::sample::{Answered, batch};

    fn encoded(plugin: &str) -> Vec<u8> {
        let answers = vec![Answered {
            plugin: plugin.to_owned(),
            answer: Told::Refused("late".to_owned()),
        }];
        Sample {
            request: request(7),
            answers,
        }
        .encode()
        .unwrap()
    }

    #[test]
    fn a_batch_that_cannot_be_read_takes_no_other_away() {
        let whole = batch([encoded("rule").as_slice(), &encoded("other")]);
        let nonsense = batch([encoded("rule").as_slice(), &[0xff]]);
        let later = [&[99], &whole[1..]].concat();
        let all = [nonsense.clone(), whole, later.clone()];
        let (samples, damaged) = decode(&all).unwrap();
        assert_eq!((samples.len(), damaged), (2, 2));
        assert_eq!(of_plugin(&samples, "rule").unwrap().len(), 1);
        let none = of_plugin(&samples, "rul").unwrap_err().to_string();
        assert!(
            none.contains("they are of other, rule;") && none.contains("--plugin"),
            "{none}"
        );
        assert_eq!(decode(&[nonsense]).unwrap_err(), SampleError::Damaged);
        assert_eq!(decode(&[later]).unwrap_err(), SampleError::Version);
    }
}
