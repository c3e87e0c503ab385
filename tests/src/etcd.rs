//! Three members of a real etcd on this machine, which take clients with a certificate only. They are ended by their process ids.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use crate::{run, within};
use tempfile::TempDir;

/// How many members there are.
pub const MEMBERS: usize = 3;

/// The cluster; its members are killed when it is dropped.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Option<Child>>,
    clients: Vec<String>,
    peers: Vec<String>,
    dir: TempDir,
}

impl Etcd {
    /// Starts the members.
    pub fn start() -> Etcd {
        let held: Vec<_> = (0..2 * MEMBERS)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let addresses: Vec<_> = held.iter().map(|held| held.local_addr().unwrap()).collect();
        drop(held);
        let (clients, peers) = addresses.split_at(MEMBERS);
        let mut etcd = Etcd {
            members: (0..MEMBERS).map(|_| None).collect(),
            clients: clients.iter().map(|address| format!("https://{address}")).collect(),
            peers: peers.iter().map(|address| format!("http://{address}")).collect(),
            dir: in_memory(),
        };
        etcd.certificates();
        (0..MEMBERS).for_each(|member| etcd.begin(member));
        etcd.leader();
        etcd
    }

    /// Starts a member, anew or with what it had.
    pub fn begin(&mut self, member: usize) {
        let all: Vec<_> = (0..MEMBERS).map(|n| format!("m{n}={}", self.peers[n])).collect();
        let (client, peer) = (&self.clients[member], &self.peers[member]);
        let child = Command::new("etcd")
            .args(["--name", &format!("m{member}"), "--initial-cluster", &all.join(",")])
            .args(["--listen-client-urls", client, "--advertise-client-urls", client])
            .args(["--client-cert-auth", "--trusted-ca-file"])
            .arg(self.file("ca.pem"))
            .arg("--cert-file")
            .arg(self.file("etcd.pem"))
            .arg("--key-file")
            .arg(self.file("etcd.key"))
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .args(["--auto-compaction-mode=periodic", "--auto-compaction-retention=1h"])
            .args(["--log-level", "error", "--data-dir"])
            .arg(self.dir.path().join(format!("m{member}")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.members[member] =
            Some(child.unwrap_or_else(|error| panic!("etcd: {error}; `scripts/setup test` installs it")));
    }

    /// kill -9
    pub fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Where members take clients.
    pub fn members(&self) -> impl Iterator<Item = SocketAddr> {
        let addresses = self.clients.iter().map(|url| url.trim_start_matches("https://"));
        addresses.map(|address| address.parse().unwrap())
    }

    /// What a configuration says of it.
    pub fn store(&self, replica: &str) -> String {
        let file = |name: &str| self.file(name).display().to_string();
        format!(
            "[store]\netcd = [\"{}\"]\nreplica = \"{replica}\"\nca_file = \"{}\"\ncertificate_file = \"{}\"\nkey_file = \"{}\"\n",
            self.clients.join("\", \""),
            file("ca.pem"),
            file("client.pem"),
            file("client.key")
        )
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// A CA, and certificates of the members and of their clients under it.
    fn certificates(&self) {
        let openssl = |arguments: &[&str]| {
            run(Command::new("openssl").args(arguments).current_dir(self.dir.path())).success();
        };
        let new = [
            "req",
            "-x509",
            "-days",
            "2",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ];
        openssl(
            &[
                &new[..],
                &["-subj", "/CN=etcd CA", "-keyout", "ca.key", "-out", "ca.pem"],
            ]
            .concat(),
        );
        for name in ["etcd", "client"] {
            let (key, certificate, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
            let of = ["-CA", "ca.pem", "-CAkey", "ca.key", "-subj", &subject];
            let names = [
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-addext",
                "basicConstraints=CA:FALSE",
            ];
            openssl(&[&new[..], &of, &names, &["-keyout", &key, "-out", &certificate]].concat());
        }
    }

    /// The member that leads.
    pub fn leader(&self) -> usize {
        let mut leader = None;
        within(60, "etcd has a leader", || {
            let status = run(Command::new("etcdctl")
                .env("ETCDCTL_API", "3")
                .args(["--cacert", "ca.pem", "--cert", "client.pem", "--key", "client.key"])
                .args(["--endpoints", &self.clients.join(","), "endpoint", "status"])
                .current_dir(self.dir.path()))
            .stdout;
            let leads = |line: &&str| line.split(", ").nth(4) == Some("true");
            let line = status.lines().find(leads).unwrap_or_default().to_owned();
            leader = self.clients.iter().position(|url| line.starts_with(&format!("{url},")));
            leader.is_some()
        });
        leader.unwrap()
    }
}

/// Where the machine has one, in memory: three members that wait for one disk elect leaders for ever.
fn in_memory() -> TempDir {
    TempDir::new_in("/dev/shm").unwrap_or_else(|_| TempDir::new().unwrap())
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..MEMBERS).for_each(|member| self.kill(member));
    }
}
