//! Two authorities over three members of etcd, with one token and one edge: what one does the other has done, and any one of them
//! may die.

use std::time::Instant;

use system_tests::{Output, within};

use crate::production::site::{Hsm, Process, Site, free_ports};
use system_tests::etcd::Etcd;

/// The guide's site with its store in etcd, and what a second authority needs.
struct Pair {
    etcd: Etcd,
    site: Site,
    b: Option<Process>,
    /// The admin ports of a and b.
    admin: [u16; 2],
}

impl Pair {
    fn walk() -> Pair {
        let etcd = Etcd::start();
        let site = Site::prepare(Hsm::SoftHsm);
        let [grpc, admin, kms] = site.authority_ports();
        let [b_grpc, b_admin, b_kms, _] = free_ports();
        let read = |name: &str| std::fs::read_to_string(site.path(name)).unwrap();
        let plain = read("etc/authority.toml");
        site.write("etc/plain.toml", &plain);
        let shared = |text: &str, replica: &str| {
            let store = format!("{}\n[hsm]", etcd.store(replica));
            text.replace("store = \"redb\"\n", "")
                .replacen("\n[hsm]", &format!("\n{store}"), 1)
        };
        let a = shared(&plain, "a").replace("lib/signet-authority", "lib/authority-a");
        let b = shared(&plain, "b")
            .replace("lib/signet-authority", "lib/authority-b")
            .replace(&format!(":{grpc}"), &format!(":{b_grpc}"))
            .replace(&format!(":{admin}"), &format!(":{b_admin}"))
            .replace(&format!(":{kms}"), &format!(":{b_kms}"));
        site.write("etc/authority.toml", &a);
        site.write("etc/b.toml", &b);
        let edge = read("etc/edge.toml");
        let one = format!("authority = \"https://localhost:{grpc}\"");
        assert!(edge.contains(&one), "{edge}");
        let both = format!("authority = [\"https://localhost:{grpc}\", \"https://localhost:{b_grpc}\"]");
        site.write("etc/edge.toml", &edge.replace(&one, &both));
        let mut pair = Pair {
            etcd,
            site: site.walked(Hsm::SoftHsm),
            b: None,
            admin: [admin, b_admin],
        };
        pair.start_b();
        pair
    }

    fn start_b(&mut self) {
        self.b = Some(self.site.spawn("authority", "b"));
        let port = self.admin[1];
        within(30, "the second authority listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    /// A command of `signet`, at authority 0 or 1.
    fn at(&self, authority: usize, command: &str) -> Output {
        let port = self.admin[authority];
        self.site
            .bash(&format!("SIGNET_AUTHORITY=https://localhost:{port} signet {command}"))
    }

    fn mints(&self, status: u16) -> bool {
        self.site.mint().status == status
    }

    fn logs(&self) -> String {
        let b = std::fs::read_to_string(self.site.path("b.log")).unwrap_or_default();
        format!("{}\nb:\n{b}", self.site.logs())
    }
}

// R35, R36
#[test]
fn two_authorities_over_three_members_are_one() {
    let mut pair = Pair::walk();
    what_one_did_the_other_has_done(&pair);
    a_name_that_is_taken_stops_nobody(&pair);
    an_edge_goes_on_when_its_authority_dies(&mut pair);
    the_leader_of_etcd_may_die(&mut pair);
    a_new_admin_token_counts_everywhere(&pair);
    goes_back_to_a_directory(&mut pair);
}

fn what_one_did_the_other_has_done(pair: &Pair) {
    for (number, (here, there)) in [(0, 1), (1, 0), (0, 1)].into_iter().enumerate() {
        let alias = format!("alias/raw-{number}");
        let create = format!("keys create --spec ECC_NIST_P256 --usage SIGN_VERIFY --alias {alias}");
        pair.at(here, &create).success();
        let sign = format!("keys sign {alias} --message aGVsbG8=");
        pair.at(there, &sign).success();
        pair.at(there, &format!("keys disable {alias}")).success();
        let refused = pair.at(here, &sign);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.stderr.contains("disabled"), "{refused:?}");
    }
    let twice = pair.at(1, "authority init --config ./etc/b.toml");
    assert!(twice.stderr.contains("is initialised"), "{twice:?}");
    // Each has an anchor and records of its own, which say whose they are.
    for replica in ["a", "b"] {
        let dir = format!("lib/authority-{replica}");
        assert!(pair.site.path(&format!("{dir}/anchor")).exists());
        let verified = pair.site.bash(&format!("signet audit verify --dir ./{dir}/audit"));
        assert_eq!(verified.code, 0, "{verified:?}");
        assert!(
            verified.stdout.contains(&format!("authority-{replica}")),
            "{verified:?}"
        );
    }
}

/// A copied file whose `replica` was left as it was, on an empty disk.
fn a_name_that_is_taken_stops_nobody(pair: &Pair) {
    let b = std::fs::read_to_string(pair.site.path("etc/b.toml")).unwrap();
    pair.site
        .write("etc/twin.toml", &b.replace("lib/authority-b", "lib/authority-twin"));
    let twin = pair.site.bash("signet authority run --config ./etc/twin.toml");
    assert_eq!(twin.code, 1, "{twin:?}");
    assert!(
        twin.stderr.contains("another process may run under this name"),
        "{twin:?}"
    );
    for authority in [0, 1] {
        pair.at(authority, "keys list").success();
    }
    assert!(pair.mints(201), "{}", pair.logs());
}

/// Whichever it followed before: each of the two dies once.
fn an_edge_goes_on_when_its_authority_dies(pair: &mut Pair) {
    for (dies, lives) in [(0, 1), (1, 0)] {
        let process = if dies == 0 {
            pair.site.authority.take()
        } else {
            pair.b.take()
        };
        process.unwrap().kill();
        let begun = Instant::now();
        assert!(pair.mints(201), "{}", pair.logs());
        pair.at(lives, "keys disable alias/api").success();
        within(20, "the edge follows the other authority", || pair.mints(409));
        eprintln!("authority killed -> the edge follows the other: {:?}", begun.elapsed());
        pair.at(lives, "keys enable alias/api").success();
        within(5, "the key signs again", || pair.mints(201));
        if dies == 0 {
            pair.site.start_authority();
        } else {
            pair.start_b();
        }
    }
    // Each has a log of its own: what the edge has seen of one is no alarm at the other, nor what it brought there.
    let logs = pair.logs();
    for alarm in ["audit log's name", "another audit log than", "were passed over"] {
        assert!(!logs.contains(alarm), "{alarm}: {logs}");
    }
}

fn the_leader_of_etcd_may_die(pair: &mut Pair) {
    let create = |pair: &Pair, at: usize, alias: &str| {
        pair.at(
            at,
            &format!("keys create --spec ECC_NIST_P256 --usage SIGN_VERIFY --alias {alias}"),
        )
    };
    let leader = pair.etcd.leader();
    create(pair, 0, "alias/before").success();
    pair.etcd.kill(leader);
    let begun = Instant::now();
    // It is waited for, not refused.
    create(pair, 1, "alias/during").success();
    eprintln!(
        "etcd's leader killed -> an authority has committed: {:?}",
        begun.elapsed()
    );
    create(pair, 0, "alias/after").success();
    assert!(pair.mints(201), "{}", pair.logs());
    pair.etcd.begin(leader);
    let keys = pair.at(0, "keys list").success();
    for alias in ["alias/before", "alias/during", "alias/after", "alias/raw-2"] {
        assert!(keys.contains(alias), "{alias}: {keys}");
    }
}

fn a_new_admin_token_counts_everywhere(pair: &Pair) {
    let token = pair
        .site
        .bash("signet authority reset-admin-token --config ./etc/b.toml")
        .success();
    for authority in [0, 1] {
        let port = pair.admin[authority];
        let with = format!(
            "SIGNET_ADMIN_TOKEN={} SIGNET_AUTHORITY=https://localhost:{port} signet keys list",
            token.trim()
        );
        within(5, "the new token counts", || pair.site.bash(&with).code == 0);
        assert_ne!(pair.at(authority, "keys list").code, 0, "the old one does not");
    }
    std::fs::write(pair.site.path("etc/admin/admin-token"), token.trim()).unwrap();
}

fn goes_back_to_a_directory(pair: &mut Pair) {
    let copy = "signet store copy --from ./etc/authority.toml --to ./etc/plain.toml";
    pair.site.authority.take().unwrap().stop();
    pair.b.take().unwrap().stop();
    let anchor = std::fs::read(pair.site.path("lib/authority-a/anchor")).unwrap();
    let plain = std::fs::read_to_string(pair.site.path("etc/plain.toml")).unwrap();
    pair.site.write(
        "etc/shared.toml",
        &plain.replace("lib/signet-authority", "lib/authority-a"),
    );
    let shared = pair.site.bash(&copy.replace("plain.toml", "shared.toml"));
    assert_eq!(shared.code, 1, "{shared:?}");
    assert!(shared.stderr.contains("a data_dir of its own"), "{shared:?}");
    assert!(!pair.site.path("lib/authority-a/store.redb").exists());
    assert_eq!(std::fs::read(pair.site.path("lib/authority-a/anchor")).unwrap(), anchor);
    let copied = pair.site.bash(copy).success();
    assert!(copied.starts_with("copied and verified "), "{copied}");
    let full = pair.site.bash(copy);
    assert!(full.stderr.contains("has something in it already"), "{full:?}");
    // The same authority, on one disk: the edge follows it, and what was made in the cluster is there.
    pair.site.write("etc/authority.toml", &plain);
    pair.site.start_authority();
    let token = "SIGNET_ADMIN_TOKEN=$(cat ./etc/admin/admin-token)";
    let keys = pair.site.bash(&format!("{token} signet keys list")).success();
    assert!(keys.contains("alias/during"), "{keys}");
    pair.site
        .bash(&format!("{token} signet keys disable alias/api"))
        .success();
    let begun = Instant::now();
    while !pair.mints(409) {
        assert!(
            begun.elapsed().as_secs() < 30,
            "the edge does not follow the copy: {:?}\n{}",
            pair.site.mint(),
            pair.logs()
        );
    }
}
