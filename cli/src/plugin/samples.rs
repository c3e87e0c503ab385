//! `signet plugin samples`: what edges sampled, from the authority into a file, sealed as it is; and that file read again.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use authority::samples::Kept;
use clap::Args;
use node::handover::Sealed;
use node::sampling;
use serde::Deserialize;
use serde_json::json;
use signing::encoding::from_base64url;
use signing::key::Secret;

use super::sampling_key::write_new;
use crate::client::AdminArgs;
use crate::failure::{Context, Failure};
use crate::output;
use crate::progress::Progress;

/// Most bytes of a file of samples: more than an authority keeps.
const MAX_FILE: usize = 1 << 30;

/// Fetch the samples of requests that the authority keeps, sealed, for `signet plugin replay`.
#[derive(Debug, Args)]
pub struct Samples {
    /// A new file for them, one batch a line.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// A page of the authority's.
#[derive(Debug, Deserialize)]
struct Page {
    batches: Vec<Kept>,
    next: Option<u64>,
}

impl Samples {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        if self.out.exists() {
            let out = self.out.display();
            return Err(Failure::new(format!("`{out}` is there already; name a new file")));
        }
        let mut progress = Progress::new("fetching", "samples");
        let (mut text, mut batches, mut samples, mut from) = (String::new(), 0_u64, 0_u64, Some(0));
        while let Some(start) = from {
            let page = self.admin.call("GET", &format!("/v1/samples?from={start}"), None)?;
            let page: Page = serde_json::from_value(page)?;
            for batch in &page.batches {
                text.push_str(&serde_json::to_string(batch)?);
                text.push('\n');
                if text.len() > MAX_FILE {
                    return Err(Failure::new(
                        "the authority sends more than 1 GiB of samples, and keeps 256 MiB",
                    ));
                }
                batches = batches.saturating_add(1);
                samples = samples.saturating_add(batch.samples.into());
            }
            progress.say(&format!("fetching: {samples} samples"));
            // It grows with each page, or this would never end.
            from = page.next.filter(|next| *next > start);
        }
        drop(progress);
        if batches == 0 {
            return Err(Failure::new(
                "the authority keeps no samples; a bundle with [sampling] makes edges take some, and it keeps them as long as that says",
            ));
        }
        write_new(&self.out, text.as_bytes())?;
        match self.json {
            true => output::json(&json!({"file": self.out, "samples": samples, "batches": batches})),
            false => output::line(&format!(
                "{samples} samples, sealed, in `{}`; `signet plugin replay` opens them with the sampling key",
                self.out.display()
            )),
        }
    }
}

/// A file of samples, opened.
#[derive(Debug)]
pub struct Opened {
    /// The batches that opened.
    pub batches: Vec<Vec<u8>>,
    /// Batches that did not: sealed to another key, or damaged.
    pub closed: usize,
}

/// Opens files of [`Samples`], of one authority or several. A batch that was fetched twice is there once.
pub fn open(paths: &[PathBuf], key: &Secret) -> Result<Opened, Failure> {
    let mut opened = Opened {
        batches: Vec::new(),
        closed: 0,
    };
    let (mut seen, mut sealed_to) = (HashSet::new(), None);
    for kept in paths
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>, _>>()?
        .concat()
    {
        // Fresh for each batch.
        if !seen.insert(kept.encapsulated.clone()) {
            continue;
        }
        match unseal(&kept, key) {
            Some(batch) => opened.batches.push(batch),
            None => {
                opened.closed = opened.closed.saturating_add(1);
                sealed_to = Some(kept.key);
            }
        }
    }
    match sealed_to {
        Some(key) if opened.batches.is_empty() => Err(Failure::new(format!(
            "{}: none of its batches opens with this key; the last one is sealed to `{key:.64}`",
            shown(paths)
        ))),
        _ => Ok(opened),
    }
}

/// Files, for people.
pub fn shown(paths: &[PathBuf]) -> String {
    let names = paths.iter().map(|path| format!("`{}`", path.display()));
    names.collect::<Vec<_>>().join(", ")
}

fn read(path: &Path) -> Result<Vec<Kept>, Failure> {
    let file = std::fs::File::open(path).context(|| format!("`{}`", path.display()))?;
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    let mut batches = Vec::new();
    for (index, line) in BufReader::new(file.take(most)).lines().enumerate() {
        let at = || format!("{}:{}", path.display(), index.saturating_add(1));
        let line = line.context(at)?;
        let kept = serde_json::from_str(&line).map_err(|error| {
            Failure::new(format!(
                "{}: no samples ({error}); give a file that `signet plugin samples` wrote",
                at()
            ))
        })?;
        batches.push(kept);
    }
    Ok(batches)
}

fn unseal(kept: &Kept, key: &Secret) -> Option<Vec<u8>> {
    let sealed = Sealed {
        encapsulated: from_base64url(&kept.encapsulated)?,
        ciphertext: from_base64url(&kept.ciphertext)?,
    };
    sampling::open(key.expose(), &kept.edge, &sealed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use signing::encoding::base64url;

    fn line(public: &[u8], edge: &str, batch: &[u8]) -> String {
        let sealed = sampling::seal(&public.try_into().unwrap(), edge, batch).unwrap();
        let kept = Kept {
            sequence: 1,
            edge: edge.to_owned(),
            time: 7,
            samples: 1,
            key: base64url(public),
            encapsulated: base64url(&sealed.encapsulated),
            ciphertext: base64url(&sealed.ciphertext),
        };
        serde_json::to_string(&kept).unwrap() + "\n"
    }

    fn opened(content: &str, key: &[u8]) -> Result<Opened, String> {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("samples");
        std::fs::write(&path, content).unwrap();
        open(&[path], &Secret::new(key.to_vec())).map_err(|failure| failure.to_string())
    }

    #[test]
    fn what_opens_is_told_from_what_does_not() {
        let (public, private) = sampling::generate().unwrap();
        let (other, _) = sampling::generate().unwrap();
        let own = line(&public, "edge-1", b"one");
        let both = own.clone() + &line(&other, "edge-1", b"two");
        let opened_both = opened(&both, &private).unwrap();
        assert_eq!((opened_both.batches, opened_both.closed), (vec![b"one".to_vec()], 1));
        let none = opened(&line(&other, "edge-1", b"two"), &private).unwrap_err();
        assert!(
            none.contains("none of its batches opens") && none.contains(&base64url(&other)),
            "{none}"
        );
        // As another edge's it is not believed.
        let moved = opened(&own.replace("edge-1", "edge-2"), &private).unwrap_err();
        assert!(moved.contains("none of its batches opens"), "{moved}");
        let twice = opened(&own.repeat(2), &private).unwrap();
        assert_eq!((twice.batches.len(), twice.closed), (1, 0));
        let junk = opened(&(own + "junk\n"), &private).unwrap_err();
        assert!(
            junk.contains("samples:2: no samples") && junk.contains("signet plugin samples"),
            "{junk}"
        );
    }

    /// Each numbers and keeps its own: the same number at both is two batches, and what an edge sent to both is one.
    #[test]
    fn what_two_authorities_keep_is_opened_together() {
        let (public, private) = sampling::generate().unwrap();
        let (a, b) = (line(&public, "edge-1", b"a"), line(&public, "edge-1", b"b"));
        let dir = tempfile::TempDir::new().unwrap();
        let paths = ["of-a", "of-b"].map(|name| dir.path().join(name));
        std::fs::write(&paths[0], &a).unwrap();
        std::fs::write(&paths[1], b + &a).unwrap();
        let key = Secret::new(private.to_vec());
        let opened = open(&paths, &key).unwrap();
        assert_eq!((opened.batches, opened.closed), (vec![b"a".to_vec(), b"b".to_vec()], 0));
        std::fs::write(&paths[1], "junk\n").unwrap();
        let junk = open(&paths, &key).unwrap_err().to_string();
        assert!(junk.contains("of-b:1: no samples"), "{junk}");
    }
}
