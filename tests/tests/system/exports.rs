//! Audit records at receivers that other people wrote: rotel, an OpenTelemetry collector, behind HAProxy as its TLS, and rsyslog.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use system_tests::pki::Pki;
use system_tests::{tool, within};

use crate::production::site::{Hsm, Process, Site, free_ports};

/// A site whose log goes to sinks, with what receivers show and believe.
struct Receivers {
    site: Site,
    pki: Pki,
    others: Pki,
    ports: [u16; 4],
}

impl Receivers {
    fn prepare() -> Receivers {
        let (pki, others) = (Pki::new(), Pki::new());
        pki.issue("server", "localhost");
        pki.issue_expired("expired", "localhost");
        pki.issue("client", "signet.internal");
        pki.issue("other-client", "other.internal");
        others.issue("client", "signet.internal");
        Receivers {
            site: Site::prepare(Hsm::Software),
            pki,
            others,
            ports: free_ports(),
        }
    }

    /// One more sink in the configuration, of TOML fields.
    fn sink(&self, kind: &str, name: &str, fields: &[(&str, String)]) {
        let mut text = std::fs::read_to_string(self.site.path("etc/authority.toml")).unwrap();
        write!(text, "\n[[export]]\nkind = \"{kind}\"\nname = \"{name}\"\n").unwrap();
        for (field, value) in fields {
            writeln!(text, "{field} = \"{value}\"").unwrap();
        }
        self.site.write("etc/authority.toml", &text);
    }

    /// What a sink that is set up well says of TLS.
    fn tls(&self) -> Vec<(&'static str, String)> {
        [
            ("ca_file", "ca.pem"),
            ("certificate_file", "client.pem"),
            ("key_file", "client.key"),
        ]
        .map(|(field, file)| (field, self.pki.file(file).display().to_string()))
        .into()
    }

    fn walk(mut self) -> Receivers {
        self.site = self.site.walked(Hsm::Software);
        self
    }

    /// The edge's id, its process and the number of each of the edge's and the authority's records so far.
    fn recorded(&self) -> BTreeSet<String> {
        let found = self
            .site
            .bash("signet audit search --url \"$SIGNET_AUTHORITY\"")
            .success();
        found.lines().map(uid).collect()
    }

    fn mint(&self) -> String {
        let minted = self.site.mint();
        assert_eq!(minted.status, 201, "{minted:?}");
        minted.json()["id"].as_str().unwrap().to_owned()
    }

    fn say(&self, sink: &str, why: &str) {
        within(90, &format!("`{sink}` is refused and said why: {why}"), || {
            let logs = self.site.logs();
            let mut lines = logs
                .lines()
                .filter(|line| line.contains("a sink takes no audit records"));
            lines.any(|line| line.contains(&format!("\"{sink}\"")) && line.contains(why))
        });
    }
}

fn uid(line: &str) -> String {
    let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    format!(
        "{}/{}/{}",
        record["edge"].as_str().unwrap(),
        record["incarnation"].as_str().unwrap(),
        record["sequence"]
    )
}

fn spawn(command: &mut Command, log: &Path) -> Process {
    let output = std::fs::File::options().create(true).append(true).open(log).unwrap();
    let program = command.get_program().to_owned();
    let child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn();
    child
        .unwrap_or_else(|error| panic!("{program:?}: {error}; `scripts/setup test` installs it"))
        .into()
}

impl Receivers {
    /// rsyslog with the certificate `server` of the CA, for clients that are `signet.internal` under it.
    fn rsyslog(&self, server: &str, port: u16) -> Process {
        let dir = self.site.path("").display().to_string();
        let file = |name: &str| self.pki.file(name).display().to_string();
        let (ca, certificate, key) = (
            file("ca.pem"),
            file(&format!("{server}.pem")),
            file(&format!("{server}.key")),
        );
        let text = format!(
            r#"global(workDirectory="{dir}" maxMessageSize="64k" defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{ca}"
       defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/name" permittedPeer=["signet.internal"])
template(name="message" type="string" string="%pri% %timestamp:::date-rfc3339% %hostname% %app-name% %procid% %msgid%%msg%\n")
ruleset(name="signet") {{ action(type="omfile" file="{dir}/{server}.out" template="message") }}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="signet")
"#
        );
        self.site.write(&format!("{server}.conf"), &text);
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.arg("-n");
        command.arg("-f").arg(self.site.path(&format!("{server}.conf")));
        command.arg("-i").arg(self.site.path(&format!("{server}.pid")));
        spawn(&mut command, &self.site.path(&format!("{server}.rsyslog")))
    }

    /// What rsyslog took: of each message the header's fields, and the record.
    fn taken(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.site.path("server.out")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let split = |line: &str| {
            let at = line.find('{').unwrap_or_else(|| panic!("no record in {line}"));
            (line[..at].to_owned(), line[at..].to_owned())
        };
        whole.lines().map(split).collect()
    }
}

#[test]
fn rsyslog_takes_every_record_over_tls_and_over_its_restarts() {
    let receivers = Receivers::prepare();
    let [port, expired, ..] = receivers.ports;
    let at = |port: u16| ("address", format!("localhost:{port}"));
    let tls = receivers.tls();
    receivers.sink("syslog", "siem", &[&[at(port)], &tls[..]].concat());
    let other_ca = ("ca_file", receivers.others.file("ca.pem").display().to_string());
    receivers.sink("syslog", "other-ca", &[&[at(port), other_ca], &tls[1..]].concat());
    let by_address = ("address", format!("127.0.0.1:{port}"));
    receivers.sink("syslog", "other-name", &[&[by_address], &tls[..]].concat());
    receivers.sink("syslog", "expired", &[&[at(expired)], &tls[..]].concat());
    receivers.sink("syslog", "anonymous", &[at(port), tls[0].clone()]);
    let of = |pki: &Pki, name: &str| {
        let file = |end: &str| pki.file(&format!("{name}.{end}")).display().to_string();
        [("certificate_file", file("pem")), ("key_file", file("key"))]
    };
    let stranger = of(&receivers.others, "client");
    receivers.sink(
        "syslog",
        "stranger",
        &[&[at(port), tls[0].clone()], &stranger[..]].concat(),
    );
    let other = of(&receivers.pki, "other-client");
    receivers.sink(
        "syslog",
        "other-client",
        &[&[at(port), tls[0].clone()], &other[..]].concat(),
    );

    let first = receivers.rsyslog("server", port);
    let _expired = receivers.rsyslog("expired", expired);
    let receivers = receivers.walk();
    let id = receivers.mint();
    within(60, "the first signature's record arrives", || {
        receivers.taken().iter().any(|(_, record)| record.contains(&id))
    });
    receivers.say("other-ca", "not under a CA that is trusted here");
    receivers.say("other-name", "not for `127.0.0.1`: reach it by a name that it has");
    receivers.say("expired", "its certificate expired at 2020-01-31");
    // It says nothing to a client that it does not take, but hangs up.
    for sink in ["anonymous", "stranger", "other-client"] {
        receivers.say(sink, "it hung up right after the handshake");
    }

    // What was written before it ended and what was recorded since are there when it is back.
    first.stop();
    let missed = receivers.mint();
    let _second = receivers.rsyslog("server", port);
    within(90, "what was recorded meanwhile arrives", || {
        receivers.taken().iter().any(|(_, record)| record.contains(&missed))
    });
    let recorded = receivers.recorded();
    within(60, "every record arrives", || {
        let taken: BTreeSet<String> = receivers.taken().iter().map(|(_, record)| uid(record)).collect();
        taken.is_superset(&recorded)
    });
    let taken = receivers.taken();
    let (header, record) = taken.iter().find(|(_, record)| record.contains(&id)).unwrap();
    let record: Value = serde_json::from_str(record).unwrap();
    let time = record["time"].as_str().unwrap();
    let host = record["edge"].as_str().unwrap();
    let process = record["incarnation"].as_str().unwrap();
    let expected = format!("110 {time} {host} signet {process} signed");
    assert!(header.starts_with(&expected), "{header}: {expected}");
}

impl Receivers {
    fn rotel(&self, grpc: u16, http: u16) -> Process {
        let agents = glob(&tool("clients/lib"), "site-packages/rotel/rotel-agent");
        let mut command = Command::new(agents);
        command.args(["start", "--exporter", "blackhole", "--debug-log", "logs"]);
        command.args(["--debug-log-verbosity", "detailed"]);
        command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")]);
        command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")]);
        command.arg("--pid-file").arg(self.site.path("rotel.pid"));
        spawn(&mut command, &self.site.path("rotel.out"))
    }

    /// HAProxy in front of the collector, for clients with a certificate under the CA.
    fn haproxy(&self, port: u16, behind: u16) -> Process {
        let (own, ca) = (self.pki.file("server.both"), self.pki.file("ca.pem"));
        let text = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\nlisten otlp\n  \
             bind 127.0.0.1:{port} ssl crt {} ca-file {} verify required\n  \
             http-request deny unless {{ req.hdr(authorization) -m str \"Bearer collector\" }}\n  \
             server rotel 127.0.0.1:{behind}\n",
            own.display(),
            ca.display()
        );
        self.site.write("haproxy.cfg", &text);
        let mut command = Command::new("/usr/sbin/haproxy");
        command.args(["-db", "-f"]).arg(self.site.path("haproxy.cfg"));
        spawn(&mut command, &self.site.path("haproxy.log"))
    }

    /// The ids of the records that the collector read.
    fn collected(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(self.site.path("rotel.out")).unwrap_or_default();
        assert!(!text.contains("Failed to decode"), "{text}");
        let ids = text
            .lines()
            .filter_map(|line| line.split_once("-> log.record.uid: Str("));
        ids.map(|(_, rest)| rest.trim_end_matches(')').to_owned()).collect()
    }
}

/// The one file below a directory whose path ends so.
fn glob(directory: &Path, end: &str) -> std::path::PathBuf {
    let below = std::fs::read_dir(directory).unwrap();
    let mut found = below
        .map(|entry| entry.unwrap().path().join(end))
        .filter(|path| path.exists());
    found.next().unwrap_or_else(|| {
        panic!(
            "no {end} in `{}`; `scripts/setup test` installs it",
            directory.display()
        )
    })
}

#[test]
fn an_opentelemetry_collector_reads_every_record_and_says_what_it_read() {
    let receivers = Receivers::prepare();
    let [grpc, http, https, _] = receivers.ports;
    let token = receivers.site.path("etc/collector.token");
    receivers.site.write("etc/collector.token", "Bearer collector\n");
    let to = ("url", format!("https://localhost:{https}/v1/logs"));
    let authorization = ("authorization_file", token.display().to_string());
    let tls = receivers.tls();
    receivers.sink(
        "otlp",
        "otel",
        &[&[to.clone(), authorization.clone()], &tls[..]].concat(),
    );
    receivers.sink("otlp", "anonymous", &[to.clone(), authorization, tls[0].clone()]);
    receivers.sink("otlp", "no-token", &[std::slice::from_ref(&to), &tls[..]].concat());
    let _haproxy = receivers.haproxy(https, http);
    let first = receivers.rotel(grpc, http);
    let receivers = receivers.walk();
    receivers.mint();
    let all = |what: &str| {
        let recorded = receivers.recorded();
        assert!(!recorded.is_empty());
        within(60, what, || receivers.collected().is_superset(&recorded));
    };
    all("the collector has every record");
    receivers.say("anonymous", "it demands a client certificate");
    receivers.say("no-token", "it answered 403");
    for read in [
        "-> service.name: Str(signet)",
        "-> event.name: Str(signed)",
        "-> signet.outcome: Str(signed)",
        "SeverityText: INFO",
    ] {
        // A record of mode `reserve` may follow its signature by a second.
        within(60, read, || {
            std::fs::read_to_string(receivers.site.path("rotel.out")).is_ok_and(|text| text.contains(read))
        });
    }

    first.kill();
    receivers.mint();
    let _second = receivers.rotel(grpc, http);
    all("the collector has what was recorded while it was gone");
}
