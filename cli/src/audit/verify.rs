//! `signet audit verify`: a spool, a whole log, or a proof.

use std::path::{Path, PathBuf};

use audit::log::proof::Proof;
use audit::log::verify::Report;
use audit::note::cosign::WitnessKey;
use audit::note::{Checkpoint, VerifierKey};
use audit::record::{Event, Outcome, Record};
use authority::log_place::LogPlace;
use clap::Args;
use serde::Deserialize as _;
use serde_json::{Value, json};
use sha2::Digest as _;

use super::from::{From, Source};
use crate::failure::{Context, Failure};
use crate::output;
use crate::progress::Progress;

/// Check a spool's chains, a whole log offline, or a proof; exit code 1 and the place if something is wrong.
#[derive(Debug, Args)]
pub struct Verify {
    /// The log's verifier key, or a file with it: what `signet audit key` printed. Default: what the authority tells now.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A checkpoint that somebody keeps outside the log, as an edge does in `audit-checkpoint`: a log that was put back to
    /// before it, or forked, is found out. May be given several times.
    #[arg(long, value_name = "FILE")]
    seen: Vec<PathBuf>,
    /// A witness's verifier key, which `signet witness init` printed: the log must have grown from the last checkpoint that it
    /// cosigned, which is in the directory `cosigned` beside the log, or a --seen. With --proof: it must have cosigned the
    /// proof's checkpoint. May be given several times.
    #[arg(long, value_name = "KEY")]
    witness: Vec<WitnessKey>,
    /// Check this proof alone: what `prove` wrote, or an edge's answer that carries one (`signet mint --json` with a profile in
    /// audit mode `witness`), whose token must be the one on record then.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// With --proof: the bytes that were signed (of a DSSE envelope the PAE, of a JWT all before the last dot), which must be
    /// those on record.
    #[arg(long, value_name = "FILE", requires = "proof")]
    signed: Option<PathBuf>,
    /// Print JSON: what was checked, and every fault.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Runs the command.
    pub fn run(self, from: &From) -> Result<(), Failure> {
        if let Some(file) = &self.proof {
            return self.proof(file, &key(self.key.as_deref(), from)?);
        }
        match from.any()? {
            Source::Spool(directory) if self.key.is_none() && self.seen.is_empty() && self.witness.is_empty() => {
                self.spool(&directory)
            }
            Source::Spool(directory) => Err(Failure::new(format!(
                "`{}` is no audit log: it has no `checkpoint`",
                directory.display()
            ))),
            Source::Log(place) => {
                let key = key(self.key.as_deref(), from)?;
                let (seen, cosigned) = self.seen(&place, &key)?;
                report(&place, &key, &seen, self.json.then_some(cosigned))
            }
            Source::Api(_) => Err(Failure::new(
                "a log is verified where its files are: name its bucket, or a copy of its directory, with --dir",
            )),
        }
    }
}

/// The log's verifier key: as it was given, or as the authority tells it.
pub fn key(given: Option<&str>, from: &From) -> Result<VerifierKey, Failure> {
    let text = match given {
        None => from
            .key()
            .context(|| "no key: give it with --key, or ask the authority".to_owned())?,
        Some(file) if Path::new(file).exists() => std::fs::read_to_string(file).context(|| format!("`{file}`"))?,
        Some(key) => {
            let parsed: Result<VerifierKey, _> = key.parse();
            return parsed.map_err(|error| Failure::new(format!("{error}; there is no file of that name either")));
        }
    };
    Ok(text.trim().parse()?)
}

/// Verifies a log and prints what it holds and what is wrong with it; with `cosigned` as JSON, that included.
pub fn report(
    place: &LogPlace,
    key: &VerifierKey,
    seen: &[Checkpoint],
    cosigned: Option<Vec<Value>>,
) -> Result<(), Failure> {
    let mut progress = Progress::new("verifying", "leaves");
    let tell = |done, all| progress.tell(done, all);
    let view = place.view(Some(key)).context(|| format!("`{place}`"))?;
    let report = audit::log::verify::view(&view, seen, tell).context(|| format!("`{place}`"))?;
    drop(progress);
    let count = u64::try_from(report.faults.len())
        .unwrap_or(u64::MAX)
        .saturating_add(report.more);
    match cosigned {
        Some(cosigned) => output::json(&json!({
            "origin": report.checkpoint.origin,
            "batches": report.leaves,
            "records": report.records,
            "checkpoints_seen": seen.len(),
            "cosigned": cosigned,
            "faults": texts(&report.faults),
            "further_faults": report.more,
        }))?,
        None => print(&report, count, seen.len())?,
    }
    match count {
        0 => Ok(()),
        faults => Err(Failure::new(format!("{faults} faults in `{place}`"))),
    }
}

fn print(report: &Report, faults: u64, seen: usize) -> Result<(), Failure> {
    output::line(&format!(
        "{}: {} batches with {} records",
        report.checkpoint.origin, report.leaves, report.records
    ))?;
    for fault in &report.faults {
        output::line(&format!("fault: {fault}"))?;
    }
    match (faults, seen) {
        (0, 0) => output::line(
            "every signature, hash and chain holds; whether it was put back to an older state, only --seen and --witness show",
        ),
        (0, seen) => output::line(&format!(
            "every signature, hash and chain holds, and it grew from the checkpoints seen ({seen})"
        )),
        _ => Ok(()),
    }
}

fn texts(faults: &[impl ToString]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

impl Verify {
    /// What the log has to have grown from, and what of it witnesses cosigned.
    fn seen(&self, place: &LogPlace, key: &VerifierKey) -> Result<(Vec<Checkpoint>, Vec<Value>), Failure> {
        let (mut seen, mut notes, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for file in &self.seen {
            let place = || format!("`{}`", file.display());
            let note = std::fs::read_to_string(file).context(place)?;
            seen.push(key.checkpoint(&note).context(place)?);
            notes.push(note);
        }
        for witness in &self.witness {
            let cosigned = |directory: &Path| directory.join("../cosigned").join(audit::witness::kept(key, witness));
            let beside = place.directory().map(cosigned);
            let kept = match beside.as_ref().map(std::fs::read_to_string) {
                None => None,
                Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => None,
                Some(read) => Some(read.context(|| format!("beside `{place}`"))?),
            };
            let cosigned = notes
                .iter()
                .chain(&kept)
                .filter_map(|note| witness.checkpoint(key, note).ok());
            let Some((checkpoint, time)) = cosigned.max_by_key(|(checkpoint, _)| checkpoint.size) else {
                let beside = beside.map_or(String::new(), |beside| format!("in `{}` or ", beside.display()));
                let name = witness.name();
                return Err(Failure::new(format!(
                    "no checkpoint of this log that `{name}` cosigned is {beside}in a --seen"
                )));
            };
            let (name, time) = (witness.name(), output::time(time));
            if !self.json {
                output::line(&format!("{name} cosigned {} batches at {time}", checkpoint.size))?;
            }
            told.push(json!({ "witness": name, "batches": checkpoint.size, "time": time }));
            seen.push(checkpoint);
        }
        Ok((seen, told))
    }
}

impl Verify {
    fn proof(&self, file: &Path, key: &VerifierKey) -> Result<(), Failure> {
        let place = || format!("`{}`", file.display());
        let text = std::fs::read(file).context(place)?;
        let document: Value = serde_json::from_slice(&text).context(place)?;
        let carried = document.get("proof");
        if carried.is_none() && document.get("format").is_none() {
            let hint =
                "profiles in audit mode `witness` answer with one; of another record `signet audit prove` makes one";
            return Err(Failure::new(format!("{} carries no proof: {hint}", place())));
        }
        let proof = Proof::deserialize(carried.unwrap_or(&document)).context(place)?;
        let proven = proof.check(key).context(place)?;
        if carried.is_some() {
            of_answer(&document, &proven.record).context(place)?;
        }
        if let Some(signed) = &self.signed {
            of_bytes(signed, &proven.record)?;
        }
        let cosigned = |witness: &WitnessKey| {
            let by = || format!("{}: its checkpoint, by the witness `{}`", place(), witness.name());
            Ok((
                witness.name().to_owned(),
                witness.checkpoint(key, proof.checkpoint()).context(by)?.1,
            ))
        };
        let cosigned: Vec<_> = self.witness.iter().map(cosigned).collect::<Result<_, Failure>>()?;
        if self.json {
            let record: Value = serde_json::from_str(&proven.record.to_json())?;
            let cosigned = cosigned
                .iter()
                .map(|(name, time)| json!({ "witness": name, "time": output::time(*time) }));
            return output::json(&json!({
                "record": record,
                "origin": proven.checkpoint.origin,
                "batch": proven.leaf_index,
                "batches": proven.checkpoint.size,
                "cosigned": cosigned.collect::<Vec<_>>(),
            }));
        }
        output::line(&proven.record.to_json())?;
        output::line(&format!(
            "the record is in the log {}: batch {} of {}",
            proven.checkpoint.origin, proven.leaf_index, proven.checkpoint.size
        ))?;
        for (name, time) in cosigned {
            output::line(&format!("{name} cosigned the checkpoint at {}", output::time(time)))?;
        }
        Ok(())
    }
}

/// Whether these are the bytes that were signed.
fn of_bytes(signed: &Path, record: &Record) -> Result<(), Failure> {
    let bytes = std::fs::read(signed).context(|| format!("`{}`", signed.display()))?;
    let digest: [u8; 32] = sha2::Sha256::digest(bytes).into();
    match &record.event {
        Event::Use(used) if used.digest == Some(digest) => Ok(()),
        _ => Err(Failure::new(format!(
            "`{}` is not what was signed: its SHA-256 is not the record's",
            signed.display()
        ))),
    }
}

/// Whether the record is of this answer: its id and key, and of a token what was signed too.
fn of_answer(answer: &Value, record: &Record) -> Result<(), Failure> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let token = text("token").map(|token| token.rsplit_once('.').map_or(token, |(input, _)| input));
    let same = match &record.event {
        Event::Use(used) => {
            let digest = token.is_none_or(|input| used.digest == Some(sha2::Sha256::digest(input).into()));
            let id = text("id") == Some(used.request_id.to_string().as_str());
            used.outcome == Outcome::Signed && id && text("kid") == used.kid.as_deref() && digest
        }
        _ => false,
    };
    match same {
        true => Ok(()),
        false => Err(Failure::new(
            "the proof is of another signature's record than this answer's",
        )),
    }
}

impl Verify {
    fn spool(&self, directory: &Path) -> Result<(), Failure> {
        let report = audit::verify::directory(directory)?;
        match self.json {
            true => output::json(&of_spool(&report))?,
            false => output::line(&report.to_string())?,
        }
        match report.faults.len() {
            0 => Ok(()),
            faults => Err(Failure::new(format!("{faults} faults in `{}`", directory.display()))),
        }
    }
}

fn of_spool(report: &audit::verify::Report) -> Value {
    let chains = report.chains.iter().map(|chain| {
        json!({
            "edge": chain.edge,
            "incarnation": chain.incarnation,
            "first": chain.first,
            "last": chain.last,
            "stopped": chain.stopped,
            "unaccounted": chain.unaccounted,
        })
    });
    json!({
        "records": report.records,
        "chains": chains.collect::<Vec<_>>(),
        "faults": texts(&report.faults),
    })
}
