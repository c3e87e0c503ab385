//! One authority, or two over etcd, and two edges as processes of their own, with relays on every way between them, set up by the
//! commands an operator would give.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use super::datagrams::Datagrams;
use super::disk::Disk;
use super::operator::Cli;
use super::plan::Machine;
use super::process::Process;
use super::proxy::{Proxy, Weather};
use super::shim;
use super::site::{self, Backing, KEYS, Ports, local};
use super::token::Token;
use crate::etcd::{Etcd, MEMBERS};
use crate::{Curl, run, signet, within};

/// How many edges there are.
pub const EDGES: usize = 2;
/// The shortest lease there is, so that fences are short.
const LEASE: &str = "5s";

/// Where authorities keep their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// One authority with a file of its own.
    File,
    /// Two authorities over three members of etcd.
    Etcd,
}

impl Store {
    /// How many authorities there are on it.
    pub fn authorities(self) -> usize {
        match self {
            Store::File => 1,
            Store::Etcd => 2,
        }
    }
}

/// Running processes, ended when dropped.
#[derive(Debug)]
pub struct Fleet {
    ports: Ports,
    /// In order of their numbers.
    pub authorities: Vec<Process>,
    /// In order of their numbers.
    pub edges: Vec<Process>,
    /// Under each process's directory by the directory's name, where this process may mount.
    pub disks: Vec<(String, Disk)>,
    /// From each edge to each authority.
    pub links: Vec<Vec<Proxy>>,
    /// From each authority to each member of etcd.
    pub stores: Vec<Vec<Proxy>>,
    /// From callers over QUIC to each edge.
    pub seas: Vec<Datagrams>,
    /// The authorities' token, where they have one.
    pub token: Option<Token>,
    etcd: Option<Mutex<Etcd>>,
    caller: String,
    /// Dropped last: what is mounted in it is gone by then.
    dir: TempDir,
}

impl Fleet {
    /// Sets everything up and waits until every edge can sign for every profile.
    pub fn start(store: Store, seed: u64) -> Fleet {
        let dir = TempDir::new().unwrap();
        let (ports, library) = (Ports::find(store.authorities(), EDGES), shim::build(dir.path()));
        site::write_certificate(dir.path());
        let caller = site::write_bundle(dir.path());
        let etcd = (store == Store::Etcd).then(Etcd::start);
        let mut fleet = Fleet {
            ports,
            authorities: Vec::new(),
            edges: Vec::new(),
            disks: Vec::new(),
            links: Vec::new(),
            stores: Vec::new(),
            seas: Vec::new(),
            token: (store == Store::Etcd).then(|| Token::make(dir.path())),
            etcd: None,
            caller,
            dir,
        };
        let backing = fleet.backing(etcd.as_ref());
        fleet.etcd = etcd.map(Mutex::new);
        for number in 0..store.authorities() {
            fleet.start_authority(number, &backing, &library);
        }
        let cli = fleet.operator();
        let tenant = ["tenants", "create", "000000000001", "--name", "acme"];
        cli.run(&tenant).success();
        for key in &KEYS {
            let kind = ["--family", key.family, "--delegation", key.delegation, "--lease", LEASE];
            let named = ["keys", "create", "--alias", key.alias, "--spec", "ECC_NIST_P256"];
            cli.run(&[&named[..], &kind].concat()).success();
        }
        for number in 0..EDGES {
            fleet.start_edge(&cli, number, &library, seed);
        }
        let bundle = fleet.path("bundle").display().to_string();
        cli.run(&["bundle", "apply", &bundle]).success();
        for number in 0..EDGES {
            within(60, "the edge is ready", || fleet.readiness(number) == 200);
        }
        fleet
    }

    /// Several authorities share an etcd, and a token of SoftHSM2: the software HSM is of one process.
    fn backing(&mut self, etcd: Option<&Etcd>) -> Backing {
        let here = self.dir.path().display();
        let (Some(etcd), Some(token)) = (etcd, &self.token) else {
            let secret = site::write(self.dir.path(), "passphrase", "correct horse battery\n");
            let file = format!("kind = \"software\"\nfile = \"{here}/authority-hsm\"\n");
            return Backing {
                hsm: format!("{file}passphrase_file = \"{}\"\n", secret.display()),
                stores: Vec::new(),
            };
        };
        let hsm = token.config();
        let replicas = ["a", "b"].map(|replica| {
            let ways: Vec<_> = etcd.members().map(Proxy::to).collect();
            let text = etcd.store(replica);
            let relayed = etcd.members().zip(&ways).fold(text, |text, (member, way)| {
                text.replace(&format!("{member}\""), &format!("{}\"", way.address))
            });
            self.stores.push(ways);
            relayed
        });
        Backing {
            hsm,
            stores: replicas.into(),
        }
    }

    fn start_authority(&mut self, number: usize, backing: &Backing, library: &Path) {
        self.mount(site::authority(number));
        let config = site::write_authority(self.dir.path(), number, &self.ports, backing);
        if number == 0 {
            let mut init = Command::new(signet());
            init.args(["authority", "init", "--config"]).arg(&config);
            run(init.arg("--out").arg(self.path("admin"))).success();
        }
        self.authorities.push(Process::start("authority", config, library));
        self.wait_for_authority(number);
    }

    fn start_edge(&mut self, cli: &Cli, number: usize, library: &Path, seed: u64) {
        let name = site::edge(number);
        self.mount(name.clone());
        let grpc = self.ports.authorities.iter().map(|(grpc, _)| local(*grpc));
        let links: Vec<_> = grpc.map(Proxy::to).collect();
        let addresses: Vec<_> = links.iter().map(|link| link.address).collect();
        let config = site::write_edge(self.dir.path(), number, &self.ports, &addresses);
        let token = cli.run(&["edges", "token", &name]).success();
        let join = site::write(self.dir.path(), &format!("join{number}.json"), &token);
        let mut command = Command::new(signet());
        command.args(["edge", "join", "--config"]).arg(&config);
        run(command.arg("--join").arg(join)).success();
        let https = local(self.ports.edges[number].1);
        let seed = seed.wrapping_add(u64::try_from(number).unwrap());
        self.seas.push(Datagrams::to(https, seed));
        self.links.push(links);
        self.edges.push(Process::start("edge", config, library));
    }

    fn mount(&mut self, name: String) {
        let at = self.path(&name);
        self.disks.extend(Disk::mount(&at).map(|disk| (name, disk)));
    }

    /// The disk of a process, if it has one of its own.
    pub fn disk(&self, name: &str) -> Option<&Disk> {
        self.disks.iter().find(|(of, _)| of == name).map(|(_, disk)| disk)
    }

    /// Every process of ours.
    pub fn processes(&self) -> impl Iterator<Item = (Machine, &Process)> {
        let authorities = self.authorities.iter().enumerate();
        let authorities = authorities.map(|(number, process)| (Machine::Authority(number), process));
        let edges = self.edges.iter().enumerate();
        authorities.chain(edges.map(|(number, process)| (Machine::Edge(number), process)))
    }

    /// A file or directory of the fleet.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The operator's command line, at every authority.
    pub fn operator(&self) -> Cli {
        let urls = self.ports.authorities.iter();
        let urls = urls.map(|(_, admin)| format!("https://localhost:{admin}"));
        Cli::new(urls.collect(), self.path("admin"))
    }

    /// Where an edge's callers connect in the clear.
    pub fn http(&self, edge: usize) -> std::net::SocketAddr {
        local(self.ports.edges[edge].0)
    }

    /// The certificate that callers trust, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.path("tls.pem")
    }

    /// The callers' token.
    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// The members of etcd, which nobody else kills or starts meanwhile; none where the store is a file.
    pub fn etcd(&self) -> Option<MutexGuard<'_, Etcd>> {
        let etcd = self.etcd.as_ref()?;
        Some(etcd.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every way is good again.
    pub fn heal(&self) {
        let relays = self.links.iter().chain(&self.stores).flatten();
        relays.for_each(|relay| relay.set(Weather::default()));
        self.seas
            .iter()
            .for_each(|sea| sea.set(super::datagrams::Sea::default()));
    }

    /// kill -9 of everything; how many that were.
    pub fn kill_everything(&self) -> usize {
        for (_, process) in self.processes() {
            process.hold().kill();
        }
        let members = self.etcd().map_or(0, |mut etcd| {
            (0..MEMBERS).for_each(|member| etcd.kill(member));
            MEMBERS
        });
        self.authorities.len() + self.edges.len() + members
    }

    /// Starts everything and waits until it works.
    pub fn start_everything(&self) {
        if let Some(mut etcd) = self.etcd() {
            (0..MEMBERS).for_each(|member| etcd.begin(member));
            etcd.leader();
        }
        self.processes().for_each(|(_, process)| process.hold().start());
        (0..self.authorities.len()).for_each(|number| self.wait_for_authority(number));
        for number in 0..EDGES {
            within(60, "the edge answers again", || self.readiness(number) != 0);
        }
    }

    fn wait_for_authority(&self, number: usize) {
        let admin = self.ports.authorities[number].1;
        within(60, "the authority listens", || TcpStream::connect(local(admin)).is_ok());
    }

    fn readiness(&self, edge: usize) -> u16 {
        Curl::new(&format!("http://{}/readyz", self.http(edge))).get().status
    }

    /// Leaves the directory where it is, with a copy of what lies on disks of the run, and says where.
    pub fn keep(&mut self) {
        for (name, _) in &self.disks {
            let state = self.path(name);
            let mut copy = Command::new("cp");
            run(copy.arg("-r").arg(&state).arg(state.with_extension("kept"))).success();
        }
        self.dir.disable_cleanup(true);
        eprintln!("the fleet's files stay in `{}`", self.dir.path().display());
    }
}
