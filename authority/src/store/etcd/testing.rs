//! Three members of etcd on this machine, from Debian's package, in a directory of their own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use node::channel::{self, Peer};
use tempfile::TempDir;

use super::EtcdSettings;
use crate::config::EtcdConfig;

pub(crate) const MEMBERS: usize = 3;

/// A cluster, ended when dropped; in memory where the machine has such a directory, for three members that wait for one
/// disk elect leaders for ever.
pub(crate) struct Cluster {
    members: Vec<Option<Child>>,
    ports: Vec<(u16, u16)>,
    dir: TempDir,
}

impl Cluster {
    /// Starts the members; who connects waits until they have a leader.
    pub(crate) fn start() -> Self {
        let held: Vec<TcpListener> = (0..2 * MEMBERS)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let port = |index: usize| held[index].local_addr().unwrap().port();
        let ports = (0..MEMBERS)
            .map(|index| (port(2 * index), port(2 * index + 1)))
            .collect();
        let mut cluster = Self {
            members: (0..MEMBERS).map(|_| None).collect(),
            ports,
            dir: TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap()),
        };
        drop(held);
        (0..MEMBERS).for_each(|index| cluster.begin(index));
        cluster
    }

    /// Starts a member, anew or with what it had.
    pub(crate) fn begin(&mut self, index: usize) {
        let peers: Vec<String> = (0..MEMBERS)
            .map(|index| format!("m{index}=http://127.0.0.1:{}", self.ports[index].1))
            .collect();
        let (client, peer) = self.ports[index];
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let child = Command::new("etcd")
            .args(["--name", &format!("m{index}"), "--initial-cluster", &peers.join(",")])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster-state", "new", "--log-level", "error", "--data-dir"])
            .arg(self.data(index))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("etcd: {error}; `scripts/setup test` installs it"));
        self.members[index] = Some(child);
    }

    /// kill -9
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.members[index].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// All members, under a prefix.
    pub(crate) fn settings(&self, prefix: &str) -> EtcdSettings {
        let members = self.ports.iter();
        EtcdSettings {
            members: members
                .map(|(client, _)| Peer::parse(&format!("http://127.0.0.1:{client}")).unwrap())
                .collect(),
            tls: Arc::new(channel::tls([], None).unwrap()),
            prefix: prefix.to_owned(),
        }
    }

    /// As a configuration names it.
    pub(crate) fn config(&self, prefix: &str, replica: &str) -> EtcdConfig {
        EtcdConfig {
            etcd: self
                .ports
                .iter()
                .map(|(client, _)| format!("http://127.0.0.1:{client}"))
                .collect(),
            replica: replica.to_owned(),
            ca_file: None,
            certificate_file: None,
            key_file: None,
            prefix: prefix.to_owned(),
        }
    }

    /// The member that a line of `etcdctl` is about.
    pub(crate) fn index_of(&self, line: &str) -> Option<usize> {
        let named = |(client, _): &(u16, u16)| line.starts_with(&format!("http://127.0.0.1:{client},"));
        self.ports.iter().position(named)
    }

    /// `etcdctl` against all members.
    pub(crate) fn etcdctl(&self, arguments: &[&str]) -> String {
        let urls: Vec<String> = self
            .ports
            .iter()
            .map(|(client, _)| format!("http://127.0.0.1:{client}"))
            .collect();
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &urls.join(",")])
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("etcdctl: {error}; `scripts/setup test` installs it"));
        String::from_utf8(output.stdout).unwrap()
    }

    fn data(&self, index: usize) -> std::path::PathBuf {
        Path::new(self.dir.path()).join(format!("m{index}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..MEMBERS).for_each(|index| self.kill(index));
    }
}
