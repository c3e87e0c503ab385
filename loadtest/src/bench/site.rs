//! An authority with a software HSM, and edges, as processes of their own in a directory that goes with them, set up by the
//! commands that an operator would give.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::admin::Admin;
use super::bench;
use super::process::Server;
use crate::LoadError;

pub(super) mod files;
pub(super) mod ports;

/// How long an authority or an edge may take until it works.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions whether something works yet.
const PAUSE: Duration = Duration::from_millis(1);
/// The alias of the key that the profiles sign with.
pub(super) const ALIAS: &str = "alias/bench";

/// Running processes, ended when dropped.
pub(super) struct Site {
    signet: PathBuf,
    grpc: u16,
    out: PathBuf,
    /// Its process.
    pub(super) authority: Server,
    /// Its admin API.
    pub(super) admin: Admin,
    /// Real ones.
    pub(super) edges: Vec<Edge>,
    /// Dropped last: what writes into it is gone by then.
    dir: TempDir,
}

/// An edge's process.
pub(super) struct Edge {
    pub(super) server: Server,
    config: PathBuf,
    /// Of its listener in the clear.
    pub(super) url: String,
}

impl Site {
    /// Starts an authority that takes so many connections from edges, with a tenant and nothing else.
    pub(super) async fn start(signet: &Path, connections: usize) -> Result<Site, LoadError> {
        let dir = tempfile::tempdir().map_err(bench)?;
        let ports = ports::free(2)?;
        let [grpc, admin] = *ports.as_slice() else {
            return Err(bench("there are not enough free ports"));
        };
        files::authority(dir.path(), grpc, admin, connections)?;
        let out = dir.path().join("admin");
        let mut init = Command::new(signet);
        init.args(["authority", "init", "--config"]);
        succeed(init.arg(dir.path().join(files::AUTHORITY)).arg("--out").arg(&out))?;
        let mut site = Site {
            signet: signet.to_owned(),
            grpc,
            authority: run(signet, "authority", &dir.path().join(files::AUTHORITY))?,
            admin: Admin::new(admin, &out)?,
            edges: Vec::new(),
            out,
            dir,
        };
        site.wait_for_authority().await?;
        site.admin.create_tenant().await?;
        Ok(site)
    }

    /// Starts so many edges with a bundle of a profile for each mode ([`files::RESERVE`] and those after it) of one key with
    /// such a lease; answers the key's id and a caller's token. They may not be ready yet.
    pub(super) async fn add_edges(&mut self, edges: usize, lease_seconds: u64) -> Result<(String, String), LoadError> {
        let key = self.admin.create_key(lease_seconds, Some(ALIAS)).await?;
        let token = files::bundle(&self.dir.path().join("bundle"))?;
        let bundle = self.dir.path().join("bundle");
        let mut apply = Command::new(&self.signet);
        apply.args(["bundle", "apply"]).arg(bundle);
        apply.args(["--authority", self.admin.origin(), "--admin-token-file"]);
        apply.arg(self.out.join("admin-token"));
        succeed(apply.arg("--ca-file").arg(self.node_root()))?;
        for number in 0..edges {
            self.add_edge(number).await?;
        }
        Ok((key, token))
    }

    async fn add_edge(&mut self, number: usize) -> Result<(), LoadError> {
        let name = format!("edge-{number}");
        let ports = ports::free(2)?;
        let [https, http] = *ports.as_slice() else {
            return Err(bench("there are not enough free ports"));
        };
        let config = files::edge(self.dir.path(), &name, self.grpc, (https, http))?;
        let join = self.dir.path().join(format!("{name}.join.json"));
        let token = self.admin.join_token(&name).await?;
        files::private(&join, &token.to_string())?;
        let mut command = Command::new(&self.signet);
        command.args(["edge", "join", "--config"]).arg(&config);
        succeed(command.arg("--join").arg(&join))?;
        self.edges.push(Edge {
            server: run(&self.signet, "edge", &config)?,
            config,
            url: format!("http://127.0.0.1:{http}"),
        });
        Ok(())
    }

    /// Until its admin API answers.
    pub(super) async fn wait_for_authority(&mut self) -> Result<(), LoadError> {
        let begun = Instant::now();
        while !self.admin.answers().await {
            self.authority.is_running()?;
            if begun.elapsed() > PATIENCE {
                return Err(bench(format!("the authority did not answer within {PATIENCE:?}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// kill -9 of the authority, and a new process; when that was started.
    pub(super) fn restart_authority(&mut self) -> Result<Instant, LoadError> {
        self.authority.kill();
        let begun = Instant::now();
        self.authority = run(&self.signet, "authority", &self.dir.path().join(files::AUTHORITY))?;
        Ok(begun)
    }

    /// kill -9 of an edge, and a new process; when that was started.
    pub(super) fn restart_edge(&mut self, number: usize) -> Result<Instant, LoadError> {
        let edge = self
            .edges
            .get_mut(number)
            .ok_or_else(|| bench("there is no such edge"))?;
        edge.server.kill();
        let begun = Instant::now();
        edge.server = run(&self.signet, "edge", &edge.config)?;
        Ok(begun)
    }

    /// The certificate that edges' connections end in, PEM.
    pub(super) fn node_root(&self) -> PathBuf {
        self.out.join("node-root.pem")
    }

    /// Where edges reach the authority.
    pub(super) fn grpc(&self) -> String {
        format!("https://localhost:{}", self.grpc)
    }
}

/// Starts an authority or an edge; it may not be ready yet.
pub(super) fn run(signet: &Path, role: &'static str, config: &Path) -> Result<Server, LoadError> {
    let mut command = Command::new(signet);
    command.args([role, "run", "--config"]).arg(config);
    Server::spawn(&mut command, role)
}

/// Runs a command to its end; answers what it printed.
pub(super) fn succeed(command: &mut Command) -> Result<Vec<u8>, LoadError> {
    let output = command.output();
    let output = output.map_err(|error| {
        let program = command.get_program().to_string_lossy();
        bench(format!(
            "`{program}` cannot be started: {error}; build it, or say with --signet where it is"
        ))
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let arguments: Vec<_> = command.get_args().take(2).map(|word| word.to_string_lossy()).collect();
    Err(bench(format!(
        "`signet {}` failed: {}",
        arguments.join(" "),
        said.trim()
    )))
}
