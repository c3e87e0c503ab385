//! A store in etcd that cannot be reached for a reason that TLS has: the operator is told which, and what to do.

use std::process::{Command, Stdio};

use system_tests::Output;
use system_tests::pki::Pki;

use crate::production::site::{Hsm, Process, Site, free_ports};

/// An etcd of one member with a certificate of a CA for `localhost`, which takes clients of that CA only.
struct Member {
    _process: Process,
    url: String,
}

impl Member {
    fn start(pki: &Pki, certificate: &str, dir: &std::path::Path) -> Member {
        let [client, peer, ..] = free_ports();
        let (url, peer) = (
            format!("https://localhost:{client}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let listen = format!("https://127.0.0.1:{client}");
        let child = Command::new("etcd")
            .args(["--name", "m", "--initial-cluster", &format!("m={peer}")])
            .args(["--listen-client-urls", &listen, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg("--client-cert-auth")
            .arg("--trusted-ca-file")
            .arg(pki.file("ca.pem"))
            .arg("--cert-file")
            .arg(pki.file(&format!("{certificate}.pem")))
            .arg("--key-file")
            .arg(pki.file(&format!("{certificate}.key")))
            .arg("--data-dir")
            .arg(dir.join(certificate))
            .args(["--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| panic!("etcd: {error}; `scripts/setup test` installs it"));
        Member {
            _process: child.into(),
            url,
        }
    }
}

/// What `signet authority init` says with a store of these settings.
fn init(site: &Site, name: &str, store: &str) -> Output {
    let text = std::fs::read_to_string(site.path("etc/authority.toml")).unwrap();
    let text = text.replace("store = \"redb\"\n", "").replacen(
        "\n[hsm]",
        &format!("\n[store]\nreplica = \"a\"\n{store}\n[hsm]"),
        1,
    );
    site.write(&format!("etc/{name}.toml"), &text);
    site.bash(&format!("signet authority init --config /etc/signet/{name}.toml"))
}

#[test]
fn each_way_in_which_etcd_and_tls_do_not_fit_is_named_with_what_to_do() {
    let (pki, others) = (Pki::new(), Pki::new());
    pki.issue("server", "localhost");
    pki.issue_expired("expired", "localhost");
    pki.issue("client", "signet");
    let site = Site::prepare(Hsm::SoftHsm);
    let member = Member::start(&pki, "server", &site.path("lib"));
    let expired = Member::start(&pki, "expired", &site.path("lib"));
    let by_address = member.url.replace("localhost", "127.0.0.1");
    let store = |url: &str, ca: &Pki, client: Option<(&Pki, &str)>| {
        let mut text = format!("etcd = [\"{url}\"]\nca_file = \"{}\"\n", ca.file("ca.pem").display());
        if let Some((of, name)) = client {
            for (field, end) in [("certificate_file", "pem"), ("key_file", "key")] {
                let file = of.file(&format!("{name}.{end}"));
                text += &format!("{field} = \"{}\"\n", file.display());
            }
        }
        text
    };
    let own = Some((&pki, "client"));
    let cases = [
        (
            "ca",
            store(&member.url, &others, own),
            "its certificate is not under a CA that is trusted here",
        ),
        (
            "name",
            store(&by_address, &pki, own),
            "its certificate is for DnsName(\"localhost\"), not for `127.0.0.1`",
        ),
        (
            "expired",
            store(&expired.url, &pki, own),
            "its certificate expired at 2020-01-31",
        ),
        (
            "anonymous",
            store(&member.url, &pki, None),
            "it demands a client certificate: give a certificate file",
        ),
        (
            "plain",
            store(&member.url.replace("https", "http"), &pki, own),
            "etcd at `http://localhost",
        ),
    ];
    // Each takes as long as a cluster may take to elect a leader.
    std::thread::scope(|scope| {
        let (site, member) = (&site, &member);
        let asked = cases.map(|(name, store, why)| (name, why, scope.spawn(move || init(site, name, &store))));
        for (name, why, asked) in asked {
            let output = asked.join().unwrap();
            assert_eq!(output.code, 1, "{name}: {output:?}");
            assert!(output.stderr.contains(why), "{name}: {output:?}");
            assert!(
                output.stderr.contains("etcd at `http"),
                "{name}: {output:?} {}",
                member.url
            );
            println!("{name}: {}", output.stderr.trim());
        }
    });
    // With what is right it gets as far as the token, of which there is none here.
    let right = init(&site, "right", &store(&member.url, &pki, own));
    assert!(right.code == 1 && !right.stderr.contains("etcd"), "{right:?}");
    assert!(right.stderr.contains("token"), "{right:?}");
}
