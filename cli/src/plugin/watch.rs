//! `signet plugin test --watch`: what has changed, and whether the component has to be built again for it.

use std::path::Path;
use std::time::Duration;

use super::project::{self, State, Subject, sources, with_time};
use super::{build, case};
use crate::failure::Failure;
use crate::output;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(200);

/// Runs `once` now and after each change, for ever. After a change of a source of the directory `path`, and where what is built is
/// older or not there yet, it builds first; a component's file by itself is built by others.
pub fn watch(path: &Path, cases: Option<&Path>, once: impl Fn() -> Result<(), Failure>) -> ! {
    let mut is_stale = path.is_dir() && is_stale(path, cases);
    loop {
        // Seen before it is built and tested: what changes meanwhile is a change.
        let seen_sources = sources(path);
        let built = if is_stale { build::build(path) } else { Ok(()) };
        // As long as the sources do not build, an older component would be tested.
        is_stale = built.is_err();
        let seen = tested(path, cases);
        if let Err(failure) = built.and_then(|()| once()) {
            output::note(&failure.to_string());
        }
        output::note("waiting for a change; end with ctrl-c");
        while sources(path) == seen_sources && tested(path, cases) == seen {
            std::thread::sleep(EVERY);
        }
        is_stale |= sources(path) != seen_sources;
    }
}

/// Whether the component of a directory is not there, or older than a source.
fn is_stale(path: &Path, cases: Option<&Path>) -> bool {
    let is_older = |subject: Subject| project::newer(path, &subject).is_some();
    project::component(path).is_err() || Subject::find(path, cases).is_ok_and(is_older)
}

/// The component, what it is given, and the cases.
fn tested(path: &Path, cases: Option<&Path>) -> State {
    let Ok(subject) = Subject::find(path, cases) else {
        return State::new();
    };
    let mut paths = case::paths(&subject.cases).unwrap_or_default();
    paths.extend([subject.manifest(), subject.component]);
    paths.into_iter().map(with_time).collect()
}
