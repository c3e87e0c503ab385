//! `signet keys reencrypt`: a list of blobs moved under a key's current version, one `ReEncrypt` each, through the key API.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::files::{LineError, Sink};
use self::line::{Destination, Item};
use self::list::Lines;
use crate::client::key_api::{CallError, KeyApi, KeyApiArgs};
use crate::client::{AdminArgs, runtime};
use crate::failure::{Context, Failure};
use crate::output;

mod files;
mod line;
mod list;

/// Lines that are written and made durable together.
const BATCH: usize = 256;
/// The answer to a request that was only to be tried, and would have been done.
const TRIED: &str = "DryRunOperationException";

/// Move blobs under a key's current version, one a line, in order.
///
/// A line is a blob in base64, or an object {"id": …, "ciphertext": BASE64, "context": {…}}. The line that takes its place
/// has another ciphertext and is otherwise the same. A blob that is under the key's current version already stays as it is,
/// and so does one that fails: to try those again, run the output as the next list.
#[derive(Debug, Args)]
pub struct Reencrypt {
    /// The list; `-` reads standard input.
    file: PathBuf,
    /// The key to be under: id, ARN, alias or alias ARN. To finish a rotation, the key that the blobs are under.
    #[arg(long, value_name = "KEY")]
    to: String,
    /// The encryption context of lines that have none of their own; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,
    /// Where the lines go, instead of standard output; made durable as they are written.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where lines that failed are named, as objects with `line`, `id` and `error` [default: OUT.errors].
    #[arg(long, value_name = "FILE", requires = "out")]
    errors: Option<PathBuf>,
    /// Go on behind the last whole line of --out, where a run before ended early.
    #[arg(long, requires = "out")]
    resume: bool,
    /// Have each request checked, and nothing re-encrypted.
    #[arg(long, conflicts_with_all = ["out", "resume"])]
    dry_run: bool,
    /// Requests at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    concurrency: u8,
    #[command(flatten)]
    key_api: KeyApiArgs,
}

/// What happened to lines.
#[derive(Clone, Debug, Default)]
struct Counts {
    read: u64,
    moved: u64,
    kept: u64,
    blank: u64,
    failed: u64,
}

/// What happened to one line.
enum Outcome {
    Moved(String),
    Kept,
    Blank,
    Failed {
        id: Option<Value>,
        error: String,
    },
    /// Nothing would be done for any line.
    Ended(String),
}

/// A run under way.
struct Run {
    api: Arc<KeyApi>,
    to: Arc<Destination>,
    context: Arc<BTreeMap<String, String>>,
    dry_run: bool,
    concurrency: usize,
}

impl Reencrypt {
    /// Runs the command.
    pub fn run(&self, admin: &AdminArgs, as_json: bool) -> Result<(), Failure> {
        if as_json && self.out.is_none() && !self.dry_run {
            return Err(Failure::new(
                "--json prints a summary on standard output: name a file for the lines with --out",
            ));
        }
        let mut list = Lines::open(&self.file)?;
        let (api, runtime) = (self.key_api.open(admin)?, runtime()?);
        // Before any file is made: a key that is not there leaves nothing behind.
        let mut to = runtime.block_on(destination(&api, &self.to))?;
        let context: BTreeMap<String, String> = self.context.iter().cloned().collect();
        to.version = runtime.block_on(current_version(&api, &to, &context))?;
        let mut sink = match &self.out {
            Some(out) => Sink::open(out, &self.errors_file(out), self.resume)?,
            None => Sink::standard(),
        };
        let (mut counts, done, failed_before) = (Counts::default(), sink.done, sink.failed_before);
        list.skip(done)?;
        let run = Run {
            api: Arc::new(api),
            to: Arc::new(to),
            context: Arc::new(context),
            dry_run: self.dry_run,
            concurrency: usize::from(self.concurrency),
        };
        let ended = runtime.block_on(run.all(&mut list, &mut sink, &mut counts));
        list.progress.clear();
        let (ended, to) = (ended?, run.to);
        let failed = counts.failed.saturating_add(failed_before);
        sink.close(failed)?;
        self.report(&counts, &to, (done, failed_before), as_json)?;
        let resume = if self.out.is_some() {
            "; --resume goes on from here"
        } else {
            ""
        };
        match ended {
            Some(why) => Err(Failure::new(format!("ended early: {why}{resume}"))),
            None if failed > 0 => Err(Failure::new(self.failed(failed))),
            None => Ok(()),
        }
    }

    fn errors_file(&self, out: &Path) -> PathBuf {
        self.errors.clone().unwrap_or_else(|| {
            let mut name = out.as_os_str().to_owned();
            name.push(".errors");
            name.into()
        })
    }

    fn failed(&self, failed: u64) -> String {
        let lines = if failed == 1 { "line" } else { "lines" };
        match &self.out {
            Some(out) => format!(
                "{failed} {lines} failed and stayed as they were: see `{}`",
                self.errors_file(out).display()
            ),
            None => format!("{failed} {lines} failed"),
        }
    }

    fn report(&self, counts: &Counts, to: &Destination, before: (u64, u64), as_json: bool) -> Result<(), Failure> {
        let Counts {
            read,
            moved,
            kept,
            blank,
            failed,
        } = counts;
        let (resumed_after, failed_before) = before;
        if as_json {
            return output::json(&json!({
                "to": to.arn, "version": to.version, "dry_run": self.dry_run, "lines": read, "reencrypted": moved,
                "kept": kept, "blank": blank, "failed": failed, "resumed_after": resumed_after,
                "failed_before": failed_before,
            }));
        }
        let verb = if self.dry_run {
            "would be re-encrypted"
        } else {
            "re-encrypted"
        };
        let mut text =
            format!("{read} lines: {moved} {verb}, {kept} under the current version already, {failed} failed");
        if resumed_after > 0 {
            text.push_str(&format!(
                "; {resumed_after} lines were done before, of which {failed_before} failed"
            ));
        }
        match self.out.is_some() || self.dry_run {
            true => output::line(&text),
            false => {
                output::note(&text);
                Ok(())
            }
        }
    }
}

impl Run {
    /// All lines, batch by batch; why it ended early, if it did.
    async fn all(&self, list: &mut Lines, sink: &mut Sink, counts: &mut Counts) -> Result<Option<String>, Failure> {
        let mut number = sink.done;
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Some(line) = list.next()?
            {
                batch.push(line);
            }
            if batch.is_empty() {
                return Ok(None);
            }
            let outcomes = self.batch(&batch, list, counts).await?;
            let (mut results, mut errors, mut ended) = (Vec::new(), Vec::new(), None);
            for (line, outcome) in batch.into_iter().zip(outcomes) {
                number = number.saturating_add(1);
                counts.add(&outcome);
                let result = match outcome {
                    Outcome::Ended(why) => {
                        ended = Some(why);
                        break;
                    }
                    Outcome::Failed { id, error } => {
                        errors.push(LineError {
                            line: number,
                            id,
                            error,
                        });
                        line
                    }
                    Outcome::Moved(text) => text.into_bytes(),
                    Outcome::Kept | Outcome::Blank => line,
                };
                results.push(result);
            }
            if self.dry_run {
                results.clear();
            }
            if !sink.write(&results, &errors)? {
                return Ok(None);
            }
            if ended.is_some() {
                return Ok(ended);
            }
        }
    }

    /// The outcomes of a batch in its order; up to the first line at which it ended.
    async fn batch(&self, batch: &[Vec<u8>], list: &mut Lines, counts: &Counts) -> Result<Vec<Outcome>, Failure> {
        let mut waiting = batch.iter().cloned().enumerate();
        let mut tasks = JoinSet::new();
        let mut outcomes = BTreeMap::new();
        let (mut ended, mut seen) = (false, counts.clone());
        loop {
            while !ended
                && tasks.len() < self.concurrency
                && let Some((at, line)) = waiting.next()
            {
                let (api, to, context) = (self.api.clone(), self.to.clone(), self.context.clone());
                let dry_run = self.dry_run;
                tasks.spawn(async move { (at, one(&api, &to, &context, &line, dry_run).await) });
            }
            let Some(joined) = tasks.join_next().await else { break };
            let (at, outcome) = joined?;
            ended |= matches!(outcome, Outcome::Ended(_));
            seen.add(&outcome);
            outcomes.insert(at, outcome);
            list.progress.show(&seen);
        }
        // Behind a line that nothing was done for, later ones may have been done: they are done again.
        let whole = outcomes
            .into_iter()
            .enumerate()
            .take_while(|(place, (at, _))| place == at);
        Ok(whole.map(|(_, (_, outcome))| outcome).collect())
    }
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        let count = match outcome {
            Outcome::Moved(_) => &mut self.moved,
            Outcome::Kept => &mut self.kept,
            Outcome::Blank => &mut self.blank,
            Outcome::Failed { .. } => &mut self.failed,
            Outcome::Ended(_) => return,
        };
        *count = count.saturating_add(1);
        self.read = self.read.saturating_add(1);
    }
}

/// One line.
async fn one(
    api: &KeyApi,
    to: &Destination,
    context: &BTreeMap<String, String>,
    line: &[u8],
    dry_run: bool,
) -> Outcome {
    let item = match Item::parse(line, context) {
        Ok(Some(item)) => item,
        Ok(None) => return Outcome::Blank,
        Err(error) => return Outcome::Failed { id: None, error },
    };
    if item.is_done(to) {
        return Outcome::Kept;
    }
    match api.call("ReEncrypt", &item.request(to, dry_run)).await {
        Ok(answer) => match answer.get("CiphertextBlob").and_then(Value::as_str) {
            Some(ciphertext) => Outcome::Moved(item.with(ciphertext)),
            None => Outcome::Ended("the key API's answer has no `CiphertextBlob`".to_owned()),
        },
        Err(CallError::Refused { code, .. }) if dry_run && code == TRIED => Outcome::Moved(String::new()),
        Err(error @ CallError::Unanswered(_)) => Outcome::Ended(error.to_string()),
        Err(error) if error.is_of_credentials() => Outcome::Ended(error.to_string()),
        Err(error) => Outcome::Failed {
            id: item.id().cloned(),
            error: explained(&error),
        },
    }
}

/// The service says nothing of why a blob does not open.
fn explained(error: &CallError) -> String {
    match error {
        CallError::Refused { code, message } if message.is_empty() && code == "InvalidCiphertextException" => {
            format!("{code}: altered, no blob of this account and region, or of another encryption context")
        }
        other => other.to_string(),
    }
}

/// The key that the blobs shall be under. Its current version is not known yet: the service's answer has no number of it.
async fn destination(api: &KeyApi, key: &str) -> Result<Destination, Failure> {
    let answer = api.once("DescribeKey", &json!({ "KeyId": key })).await;
    let answer = answer.context(|| format!("the key `{}`", key.escape_debug()))?;
    let metadata = answer.get("KeyMetadata").cloned().unwrap_or_default();
    let text = |name: &str| {
        metadata
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if text("KeySpec") != "SYMMETRIC_DEFAULT" {
        let (arn, spec) = (text("Arn"), text("KeySpec"));
        return Err(Failure::new(format!(
            "{arn} is a key of {spec}: blobs are re-encrypted to symmetric encryption keys"
        )));
    }
    Ok(Destination {
        arn: text("Arn"),
        id: text("KeyId"),
        account: text("AWSAccountId"),
        version: None,
    })
}

/// The key's current version: the one that a blob made now names. Without the right to make one, none: then blobs that are
/// under it already are re-encrypted like the others, which does no harm.
async fn current_version(
    api: &KeyApi,
    to: &Destination,
    context: &BTreeMap<String, String>,
) -> Result<Option<u32>, Failure> {
    let one_byte = json!({ "KeyId": to.arn, "Plaintext": "AA==", "EncryptionContext": context });
    match api.call("Encrypt", &one_byte).await {
        Ok(answer) => {
            let blob = answer.get("CiphertextBlob").and_then(Value::as_str);
            Ok(blob.and_then(|blob| to.version_of(blob)))
        }
        Err(error @ CallError::Refused { .. }) if !error.is_of_credentials() => {
            output::note(&format!(
                "blobs that are under the current version already are not skipped: Encrypt, which says what version it is, was \
                 refused: {error}"
            ));
            Ok(None)
        }
        Err(error) => Err(Failure::new(error.to_string())),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("an encryption context is written KEY=VALUE".to_owned()),
    }
}
