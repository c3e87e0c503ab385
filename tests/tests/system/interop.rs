//! The audit log, its witnesses and another implementation of C2SP's formats and protocols (`tests/clients/c2sp.py`), on each side
//! of each of them; over TLS, whose CA is private.

use std::process::{Command, Stdio};

use serde_json::Value;
use system_tests::pki::Pki;
use system_tests::{checkout, run, tool, within};

use crate::production::site::{Hsm, Process, Site, free_ports};

fn c2sp(arguments: &[&str]) -> String {
    let python = tool("tlog/bin/python");
    let mut command = Command::new(python);
    command.arg(checkout().join("tests/clients/c2sp.py")).args(arguments);
    run(&mut command).success().trim().to_owned()
}

/// The other implementation's witness, in a directory of the site.
struct Foreign<'s> {
    site: &'s Site,
    key: String,
}

impl Foreign<'_> {
    fn new(site: &Site) -> Foreign<'_> {
        let key = command(site, &["init", "--name", "witness.example/foreign"]);
        let key = key
            .lines()
            .find(|line| line.contains("witness.example/foreign+"))
            .unwrap()
            .to_owned();
        let key = key.split_whitespace().last().unwrap().to_owned();
        Foreign { site, key }
    }

    fn trust(&self, log: &str) {
        let origin = log.split('+').next().unwrap();
        command(self.site, &["add-log", "--origin", origin, "--vkey", log]);
    }
}

fn witness(site: &Site, arguments: &[&str]) -> Command {
    let mut command = Command::new(tool("tlog/bin/aics-witness"));
    command
        .args(arguments)
        .arg("--config")
        .arg(site.path("foreign/witness.json"));
    command
}

fn command(site: &Site, arguments: &[&str]) -> String {
    std::fs::create_dir_all(site.path("foreign")).unwrap();
    run(&mut witness(site, arguments)).success()
}

fn spawn(site: &Site, command: &mut Command, name: &str) -> Process {
    let log = std::fs::File::create(site.path(&format!("{name}.log"))).unwrap();
    let output = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    output.spawn().unwrap().into()
}

/// HAProxy as a witness's TLS.
fn haproxy(site: &Site, pki: &Pki, port: u16, behind: u16) -> Process {
    let text = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\nlisten witness\n  \
         bind 127.0.0.1:{port} ssl crt {} alpn h2,http/1.1\n  server witness 127.0.0.1:{behind}\n",
        pki.file("server.both").display()
    );
    site.write("haproxy.cfg", &text);
    let file = site.path("haproxy.cfg").display().to_string();
    spawn(
        site,
        Command::new("/usr/sbin/haproxy").args(["-db", "-f", &file]),
        "haproxy",
    )
}

/// The newest checkpoint that the authority has with a witness's cosignature.
fn cosigned(site: &Site, witness: &str) -> Option<String> {
    let header = "-H \"authorization: Bearer $SIGNET_ADMIN_TOKEN\"";
    let answer = site.bash(&format!(
        "curl -sS --cacert \"$SIGNET_CA_FILE\" {header} https://localhost:9443/v1/audit/log"
    ));
    let answer: Value = serde_json::from_str(&answer.success()).unwrap();
    answer["cosigned"][witness].as_str().map(str::to_owned)
}

// R29
#[test]
fn another_witness_cosigns_the_log_and_another_reader_verifies_it() {
    let site = Site::prepare(Hsm::Software);
    let pki = Pki::new();
    pki.issue("server", "localhost");
    let [tls, plain, ..] = free_ports();
    let foreign = Foreign::new(&site);
    let (key, before) = (
        foreign.key.clone(),
        std::fs::read_to_string(site.path("etc/authority.toml")).unwrap(),
    );
    let section = format!("{before}\n[[witness]]\nurl = \"https://localhost:{tls}\"\nkey = \"{key}\"\n");
    site.write("etc/authority.toml", &section);
    let _haproxy = haproxy(&site, &pki, tls, plain);
    let mut site = site.walked(Hsm::Software);
    within(30, "it is said that the CA is not known", || {
        site.logs()
            .contains("its certificate is not under a CA that is trusted here")
    });
    let ca = pki.file("ca.pem").display().to_string();
    site.write("etc/authority.toml", &format!("{section}ca_file = \"{ca}\"\n"));
    let log = site.bash("signet audit key --url \"$SIGNET_AUTHORITY\"").success();
    let log = log.trim();
    Foreign {
        site: &site,
        key: key.clone(),
    }
    .trust(log);
    let listen = format!("127.0.0.1:{plain}");
    let _witness = spawn(&site, &mut witness(&site, &["serve", "--listen", &listen]), "foreign");
    site.authority.take().unwrap().stop();
    site.start_authority();
    within(60, "the other witness cosigns", || cosigned(&site, &key).is_some());
    for _ in 0..3 {
        assert_eq!(site.mint().status, 201);
    }
    site.bash("signet tenants create 000000000002 --name other").success();
    let verify = format!("signet audit verify --dir /var/lib/signet-authority/log --key '{log}' --witness '{key}'");
    let shown = site.bash(&verify).success();
    assert!(shown.contains("witness.example/foreign cosigned "), "{shown}");
    site.write("cosigned", &cosigned(&site, &key).unwrap());
    site.authority.take().unwrap().stop();
    let file = |name: &str| site.path(name).display().to_string();
    let read = c2sp(&[
        "monitor",
        log,
        &file("lib/signet-authority/log"),
        &file("cosigned"),
        &key,
    ]);
    assert!(read.contains(" leaves, ") && !read.starts_with("0 "), "{read}");
}

// R29
#[test]
fn another_log_is_cosigned_by_this_witness_over_tls() {
    let site = Site::prepare(Hsm::Software);
    let pki = Pki::new();
    pki.issue("server", "localhost");
    let [port, ..] = free_ports();
    let file = |name: &str| site.path(name).display().to_string();
    let (name, stored) = ("log.example/foreign", file("foreign.key"));
    let log = c2sp(&["key", &stored, name]);
    let (certificate, key) = (pki.file("server.pem"), pki.file("server.key"));
    site.write(
        "etc/witness.toml",
        &format!(
            "listen = \"127.0.0.1:{port}\"\nstate_dir = \"{}\"\nlogs = [\"{log}\"]\n[tls]\ncertificate_file = \"{}\"\nkey_file = \"{}\"\n",
            file("lib/witness"),
            certificate.display(),
            key.display()
        ),
    );
    let init = "signet witness init --config /etc/signet/witness.toml --name w.example/1";
    let witness = site.bash(init).success().trim().to_owned();
    let _running = site.spawn("witness", "witness");
    within(30, "the witness listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let url = format!("https://localhost:{port}");
    let ca = pki.file("ca.pem").display().to_string();
    assert_eq!(c2sp(&["log", &url, &ca, &witness, &stored, name]), "ok");
    let logged = std::fs::read_to_string(site.path("witness.log")).unwrap();
    assert!(
        logged.contains("a split view: the log signed another tree of 600 leaves"),
        "{logged}"
    );
}
