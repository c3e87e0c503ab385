//! `signet audit copy`: a log to another place.

use audit::log::copy::copy;
use authority::log_place::LogPlace;
use clap::Args;

use super::from::From;
use super::verify::{key, report};
use crate::failure::{Context, Failure};
use crate::output;
use crate::progress::Progress;

/// Copy a log to another directory or bucket, and check it there: to move it (stop its authority first), or to keep a copy, which
/// copying again completes.
#[derive(Debug, Args)]
pub struct Copy {
    /// The directory of the log, or s3://BUCKET/PREFIX.
    #[arg(value_name = "FROM")]
    source: String,
    /// Where to: the same. Nothing, or an older copy of this log.
    #[arg(value_name = "TO")]
    target: String,
    /// The log's verifier key, or a file with it: what `signet audit key` printed. Default: what the authority tells now.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

impl Copy {
    /// Runs the command.
    pub fn run(self, from: &From) -> Result<(), Failure> {
        let key = key(self.key.as_deref(), from)?;
        let (source, target) = (from.place(&self.source)?, from.place(&self.target)?);
        let view = source.view(Some(&key)).context(|| format!("`{source}`"))?;
        demand_free(&target)?;
        let mut objects = target.writer().context(|| format!("`{target}`"))?;
        let mut progress = Progress::new("copying", "leaves");
        copy(&view, objects.as_mut(), |done, all| progress.tell(done, all))
            .context(|| format!("`{source}` to `{target}`"))?;
        drop(progress);
        drop(objects);
        let seen = [view.checkpoint().clone()];
        report(&target, &key, &seen, None)?;
        output::line(&format!("`{target}` has all of `{source}` under its checkpoint"))
    }
}

/// What a log's directory has, what a copy that was interrupted left, and what a new file system has.
const OF_A_LOG: [&str; 7] = ["checkpoint", "chains", "lock", "new", "pack", "tile", "lost+found"];

/// Refuses a directory with other things in it: a log among them is nothing that anybody meant.
fn demand_free(target: &LogPlace) -> Result<(), Failure> {
    let Some(directory) = target.directory().filter(|directory| directory.exists()) else {
        return Ok(());
    };
    let place = || format!("`{target}`");
    for entry in std::fs::read_dir(directory).context(place)? {
        let name = entry.context(place)?.file_name();
        if !OF_A_LOG.iter().any(|known| name == *known) {
            let name = name.display();
            return Err(Failure::new(format!(
                "{}: it has a `{name}`, which is of no log; name a directory for the copy",
                place()
            )));
        }
    }
    Ok(())
}
