//! The published bundle: validated whole (files, policies, plugins, keys), stored, and only then in force.
//!
//! A bundle with any fault is refused and the one before stays in force, here and at every edge (R31). Validation takes the
//! CPU for as long as plugins compile, so it runs on a blocking thread, one at a time.

use std::sync::Arc;

use arc_swap::ArcSwap;
use policies::{Bundle, Engine};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::approvals::Approved;
use crate::artifacts::Artifacts;
use crate::clock::Clock;
use crate::fault::Fault;
use crate::halts::Floor;
use crate::keys::KeySettings;
use crate::paths;
use crate::rollout;
use crate::sealed::{Change, Stamp, Vault};

pub use self::check::{Finding, Invalid, plugin_source};
pub use self::diff::{FileChange, FileChangeKind};
pub(crate) use self::trust::oidc_rule;
pub use self::wide::Applicant;

mod check;
mod diff;
mod trust;
mod wide;

/// Most files in a bundle, most bytes in one, most bytes in all: what a transaction and an edge's message hold.
const MAX_FILES: usize = 400;
const MAX_FILE_BYTES: usize = policies::bundle::MAX_PLUGIN_BYTES;
/// Bytes of a file in one row of the store.
pub(crate) const PIECE: usize = 15 << 20;
/// Most bytes in a bundle.
pub const MAX_BYTES: usize = 40 << 20;
/// Tries to read a bundle while another is being published.
const TRIES: usize = 4;

/// A bundle as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// SHA-256, hex, of `policies::bundle::digest`.
    pub digest: String,
    /// Sorted by path.
    pub files: Vec<(String, Vec<u8>)>,
}

/// Which bundle is published: its files are in rows of their own, under its digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Current {
    digest: String,
    paths: Vec<String>,
    /// In how many rows each file is, where one is in several; none at all where each is in one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pieces: Vec<usize>,
    published_at: u64,
}

impl Current {
    /// The rows of the files, by file.
    fn rows(&self) -> impl Iterator<Item = (&String, impl Iterator<Item = String>)> {
        self.paths.iter().enumerate().map(move |(index, path)| {
            let pieces = self.pieces.get(index).copied().unwrap_or(1);
            let row = move |piece| paths::bundle_file(&self.digest, index, piece);
            (path, (0..pieces).map(row))
        })
    }
}

/// What is in force at the authority.
#[derive(Debug)]
pub struct InForce {
    /// None before the first bundle: the built-in policies alone.
    pub published: Option<Published>,
    /// The parsed content.
    pub bundle: Bundle,
    /// The policies.
    pub engine: Engine,
}

/// What applying did, or would do.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Digest of the new bundle.
    pub digest: String,
    /// False for a dry run, and when nothing changed.
    pub applied: bool,
    /// The store's revision, where something was applied.
    pub revision: Option<u64>,
    /// File by file, against what is in force.
    pub changes: Vec<FileChange>,
    /// What is odd, but no fault.
    pub warnings: Vec<Finding>,
    /// New rules that trust a whole organisation, which takes approval (R7).
    pub wide_trust: Vec<String>,
    /// What allowed them, for the record: `approval:ID` or `signet:override`.
    pub approved_by: Option<String>,
}

/// The bundle, and the way to a new one.
#[derive(Debug)]
pub struct Bundles {
    vault: Arc<Vault>,
    artifacts: Arc<Artifacts>,
    clock: Clock,
    settings: KeySettings,
    in_force: ArcSwap<InForce>,
    /// One validation and publication at a time.
    publishing: Mutex<()>,
}

impl Bundles {
    /// Takes up what is stored. A stored bundle that does not validate any more (a newer program is stricter) is not in
    /// force: the built-in policies are, and the log says so.
    pub async fn open(
        vault: Arc<Vault>,
        artifacts: Arc<Artifacts>,
        clock: Clock,
        settings: KeySettings,
    ) -> Result<Self, Fault> {
        let in_force = ArcSwap::from_pointee(nothing()?);
        let bundles = Self {
            vault,
            artifacts,
            clock,
            settings,
            in_force,
            publishing: Mutex::new(()),
        };
        bundles.reload().await?;
        Ok(bundles)
    }

    /// What is in force now.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// Takes up what another process has published; keeps what is in force where that does not validate.
    pub async fn reload(&self) -> Result<(), Fault> {
        // What this process is publishing is taken up by whoever publishes it.
        let _one_at_a_time = self.publishing.lock().await;
        let Some(published) = load(&self.vault).await? else {
            return Ok(());
        };
        if self
            .in_force()
            .published
            .as_ref()
            .is_some_and(|old| old.digest == published.digest)
        {
            return Ok(());
        }
        match self.validate(published.files.clone()).await? {
            Ok((bundle, engine)) => {
                self.in_force.store(Arc::new(InForce {
                    published: Some(published),
                    bundle,
                    engine,
                }));
            }
            Err(invalid) => tracing::error!(
                digest = published.digest,
                fault = invalid.findings.first().map(ToString::to_string),
                "the stored bundle does not validate with this version of signet; apply a new one"
            ),
        }
        Ok(())
    }

    /// Validates `files` and, unless it is a dry run, publishes them: durable when answered, and on its way to every edge.
    /// The inner error lists every fault found; then nothing has changed.
    ///
    /// # Errors
    /// [`Fault::Denied`] where it trusts a whole organisation and that was not approved (R7), `conflict` where it changes a plugin
    /// under rollout, or has the version of one that a rollout has replaced.
    pub async fn apply(
        &self,
        mut files: Vec<(String, Vec<u8>)>,
        dry_run: bool,
        applicant: &Applicant<'_>,
    ) -> Result<Result<Outcome, Invalid>, Fault> {
        files.sort();
        if let Some(invalid) = check::bounds(&files) {
            return Ok(Err(invalid));
        }
        let _one_at_a_time = self.publishing.lock().await;
        let (bundle, engine) = match self.validate(files.clone()).await? {
            Ok(valid) => valid,
            Err(invalid) => return Ok(Err(invalid)),
        };
        let before = self.in_force();
        rollout::demand_untouched(&self.vault, &bundle).await?;
        if !applicant.take_back {
            rollout::demand_kept(&self.vault, &before.bundle, &bundle).await?;
        }
        let mut warnings = check::warnings(&bundle, &engine, &files);
        warnings.extend(match check::keys(&self.vault, &bundle, &self.settings).await? {
            Ok(warnings) => warnings,
            Err(invalid) => return Ok(Err(invalid)),
        });
        let old = before
            .published
            .as_ref()
            .map(|published| published.files.as_slice())
            .unwrap_or_default();
        let changes = diff::files(old, &files);
        let digest = bundle.digest.clone();
        let mut outcome = Outcome {
            digest: digest.clone(),
            applied: false,
            revision: None,
            changes,
            warnings,
            wide_trust: wide::rules(&before.bundle, &bundle),
            approved_by: None,
        };
        let published = before.published.as_ref();
        let unchanged = published.is_some_and(|published| published.digest == digest);
        if dry_run || unchanged && !applicant.fence {
            return Ok(Ok(outcome));
        }
        let approved = applicant.demand(&digest, &outcome.wide_trust).await?;
        let revision = self
            .publish((&bundle, &files), approved.as_ref(), applicant.fence, None)
            .await?;
        let published = Some(Published {
            digest: digest.clone(),
            files,
        });
        self.in_force.store(Arc::new(InForce {
            published,
            bundle,
            engine,
        }));
        tracing::info!(digest, revision, "bundle published");
        outcome.applied = true;
        outcome.approved_by = approved.map(|approved| match approved.id() {
            Some(id) => format!("approval:{id}"),
            None => crate::keys::OVERRIDE.to_owned(),
        });
        outcome.revision = Some(revision);
        Ok(Ok(outcome))
    }

    /// Everything that can be wrong with these files, as [`Bundles::apply`] finds it. The inner error lists it.
    pub(crate) async fn check(&self, files: &[(String, Vec<u8>)]) -> Result<Result<Bundle, Invalid>, Fault> {
        if let Some(invalid) = check::bounds(files) {
            return Ok(Err(invalid));
        }
        let (bundle, _) = match self.validate(files.to_vec()).await? {
            Ok(valid) => valid,
            Err(invalid) => return Ok(Err(invalid)),
        };
        Ok(check::keys(&self.vault, &bundle, &self.settings).await?.map(|_| bundle))
    }

    /// Puts `files` in force, in which the new version of a plugin replaces the old one of the bundle `base`; its rollout is over in
    /// the same transaction. The inner error lists what is wrong with the bundle now.
    pub(crate) async fn enforce(
        &self,
        files: Vec<(String, Vec<u8>)>,
        done: &rollout::Enforced<'_>,
    ) -> Result<Result<u64, Invalid>, Fault> {
        let _one_at_a_time = self.publishing.lock().await;
        let (bundle, engine) = match self.validate(files.clone()).await? {
            Ok(valid) => valid,
            Err(invalid) => return Ok(Err(invalid)),
        };
        if let Err(invalid) = check::keys(&self.vault, &bundle, &self.settings).await? {
            return Ok(Err(invalid));
        }
        let revision = self.publish((&bundle, &files), None, false, Some(done)).await?;
        let digest = bundle.digest.clone();
        tracing::info!(digest, revision, "bundle published by a rollout");
        let published = Some(Published { digest, files });
        self.in_force.store(Arc::new(InForce {
            published,
            bundle,
            engine,
        }));
        Ok(Ok(revision))
    }

    /// Which bundle is published, by its digest, and what a change beside it is conditional on.
    pub(crate) async fn current(&self) -> Result<Option<(String, Stamp)>, Fault> {
        let held = self.vault.get::<Current>(paths::BUNDLE).await?;
        Ok(held.map(|held| (held.value.digest, held.stamp)))
    }

    async fn validate(&self, files: Vec<(String, Vec<u8>)>) -> Result<Result<(Bundle, Engine), Invalid>, Fault> {
        let artifacts = self.artifacts.clone();
        let checked = tokio::task::spawn_blocking(move || check::content(&files, &artifacts)).await;
        checked.map_err(|error| Fault::internal(format!("validating a bundle failed: {error}")))
    }

    /// Stores the files and makes them current, in one transaction that deletes the files of the one before.
    async fn publish(
        &self,
        (bundle, files): (&Bundle, &[(String, Vec<u8>)]),
        approved: Option<&Approved>,
        fence: bool,
        enforced: Option<&rollout::Enforced<'_>>,
    ) -> Result<u64, Fault> {
        let digest = bundle.digest.as_str();
        let attempt = || async {
            let before = self.vault.get::<Current>(paths::BUNDLE).await?;
            if let Some(enforced) = enforced {
                enforced.demand_base(before.as_ref().map(|before| before.value.digest.as_str()))?;
            }
            let paths = files.iter().map(|(path, _)| path.clone()).collect();
            // An empty file has a row as well.
            let pieces: Vec<usize> = files
                .iter()
                .map(|(_, content)| content.len().div_ceil(PIECE).max(1))
                .collect();
            let current = Current {
                digest: digest.to_owned(),
                paths,
                pieces: if pieces.iter().all(|pieces| *pieces == 1) {
                    Vec::new()
                } else {
                    pieces
                },
                published_at: self.clock.now(),
            };
            let change = match approved {
                Some(approved) => approved.spend(Change::new()),
                None => Change::new(),
            };
            let change = rollout::beside(change, &self.vault, bundle, enforced).await?;
            let mut change = change.set(paths::BUNDLE, &current, before.as_ref().map(|before| before.stamp));
            if fence {
                let floor = self.vault.get::<Floor>(paths::FLOOR).await?;
                let at = self.clock.now();
                change = change.set(paths::FLOOR, &Floor { at }, floor.map(|floor| floor.stamp));
            }
            for ((_, rows), (_, content)) in current.rows().zip(files) {
                // The last row of a file, or its only one, may be empty.
                let mut pieces = content.chunks(PIECE);
                for row in rows {
                    change = change.overwrite_bytes(row, pieces.next().unwrap_or_default());
                }
            }
            if let Some(before) = before.filter(|before| before.value.digest != digest) {
                for row in before.value.rows().flat_map(|(_, rows)| rows) {
                    change = change.delete(row);
                }
            }
            self.vault.commit(change).await
        };
        self.vault.retry(attempt).await
    }
}

/// The published bundle; none before the first.
pub async fn load(vault: &Vault) -> Result<Option<Published>, Fault> {
    'again: for _ in 0..TRIES {
        let Some(current) = vault.get::<Current>(paths::BUNDLE).await? else {
            return Ok(None);
        };
        let current = current.value;
        let mut files = Vec::with_capacity(current.paths.len());
        for (path, rows) in current.rows() {
            let mut content = Vec::new();
            for row in rows {
                // A missing row: the next bundle was published since the list of files was read.
                let Some(piece) = vault.get_secret(&row).await? else {
                    continue 'again;
                };
                content.extend_from_slice(piece.expose());
            }
            files.push((path.clone(), content));
        }
        let digest = current.digest;
        if policies::bundle::digest(&files) != digest {
            return Err(Fault::Corrupt {
                detail: format!("the files of bundle {digest} have another digest"),
            });
        }
        return Ok(Some(Published { digest, files }));
    }
    Err(Fault::Corrupt {
        detail: "files of the published bundle are missing".into(),
    })
}

fn nothing() -> Result<InForce, Fault> {
    let engine = Engine::builtin().map_err(|errors| Fault::internal(format!("the built-in policies: {errors:?}")))?;
    Ok(InForce {
        published: None,
        bundle: Bundle::empty(),
        engine,
    })
}

#[cfg(test)]
mod tests;
