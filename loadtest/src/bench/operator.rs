//! The operator of an edge beside `signet dev`: applies bundles, and sees when the edge has them in use.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use node::http_client::Client;
use rustls::RootCertStore;
use tokio::process::Command;

use super::{Subject, bench};
use crate::LoadError;

/// Between two questions whether a bundle is in use yet.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a bundle may take until it is.
const PATIENCE: Duration = Duration::from_secs(120);
const MAX_ANSWER: usize = 1 << 20;

/// Applies bundles, and sees when the edge has them in use.
pub(super) struct Operator {
    signet: PathBuf,
    data: PathBuf,
    bundle: PathBuf,
    client: Client,
    metrics: String,
}

impl Operator {
    /// `data` as [`super::beside::start`] had it.
    pub(super) fn new(signet: &Path, data: &Path, edge: &Subject) -> Result<Operator, LoadError> {
        let data = data.join("signet");
        Ok(Operator {
            signet: signet.to_owned(),
            bundle: data.join("bundle"),
            data,
            client: Client::new(RootCertStore::empty()).map_err(bench)?,
            metrics: format!("{}/metrics", edge.url),
        })
    }

    /// Writes a file of the bundle, applies it, and waits until the edge has it in use; how long that took.
    pub(super) async fn change(&self, file: &str, content: &[u8]) -> Result<Duration, LoadError> {
        std::fs::write(self.bundle.join(file), content).map_err(bench)?;
        let used = self.used().await?;
        let begun = Instant::now();
        self.apply().await?;
        while self.used().await? == used {
            if begun.elapsed() > PATIENCE {
                return Err(bench(format!("a bundle was not in use within {PATIENCE:?}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(begun.elapsed())
    }

    /// A file of the bundle.
    pub(super) fn read(&self, file: &str) -> Result<Vec<u8>, LoadError> {
        std::fs::read(self.bundle.join(file)).map_err(bench)
    }

    async fn apply(&self) -> Result<(), LoadError> {
        let mut command = Command::new(&self.signet);
        command.args(["bundle", "apply"]).arg(&self.bundle);
        command.arg("--data").arg(&self.data).stdin(Stdio::null());
        let output = command.output().await.map_err(bench)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(bench(format!("`signet bundle apply` failed: {}", said.trim())))
    }

    /// How many bundles the edge has taken into use.
    async fn used(&self) -> Result<u64, LoadError> {
        let (body, headers) = (bytes::Bytes::new(), HeaderMap::new());
        let asked = self
            .client
            .request(Method::GET, &self.metrics, headers, body, PATIENCE, MAX_ANSWER);
        let answer = asked.await.map_err(bench)?;
        let text = String::from_utf8_lossy(answer.body());
        count(&text).ok_or_else(|| bench("the edge's metrics do not say how many bundles it has used"))
    }
}

fn count(metrics: &str) -> Option<u64> {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("signet_edge_bundles_total{code=\"used\"} "));
    line?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_in_use_are_read_from_the_metrics() {
        let text = "# TYPE x counter\nsignet_edge_bundles_total{code=\"refused\"} 9\nsignet_edge_bundles_total{code=\"used\"} 3\n";
        assert_eq!(count(text), Some(3));
        assert_eq!(count(""), None);
    }
}
