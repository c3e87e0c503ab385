//! `signet audit copy`: a log to another place.

use audit::log::copy::copy;
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
        let mut objects = target.writer().context(|| format!("`{target}`"))?;
        let mut progress = Progress::new("copying", "leaves");
        copy(&view, objects.as_mut(), |done, all| progress.tell(done, all))
            .context(|| format!("`{source}` to `{target}`"))?;
        drop(progress);
        drop(objects);
        let seen = [view.checkpoint().clone()];
        report(&target, &key, &seen)?;
        output::line(&format!("`{target}` has all of `{source}` under its checkpoint"))
    }
}
