//! An authority whose audit log is moved from its directory to a bucket of a real S3 server: the way to it stalls and breaks, a
//! second authority is configured alike, and somebody who may write the bucket changes what is there.

use system_tests::chaos::proxy::Weather;
use system_tests::s3::{BUCKET, S3, VARIABLES};
use system_tests::{Output, within};

use crate::production::site::{Hsm, Process, Site, free_ports};

/// Longer than a request to the server may take, with what is tried again.
const PATIENCE: u64 = 120;

struct Moved {
    server: S3,
    site: Site,
    key: String,
}

impl Moved {
    /// The guide's site, its log copied to the bucket, and its authority started on it.
    fn new() -> Moved {
        let server = S3::start();
        let mut site = Site::walk(Hsm::Software);
        let key = site.bash("signet audit key --url \"$SIGNET_AUTHORITY\"").success();
        site.authority.take().unwrap().stop();
        site.bash("cp /var/lib/signet-authority/log/checkpoint before")
            .success();
        let key = key.trim().to_owned();
        let mut moved = Moved { server, site, key };
        let key = &moved.key;
        let copied = moved.audit(&format!(
            "copy /var/lib/signet-authority/log s3://{BUCKET}/signet --key '{key}'"
        ));
        assert!(copied.stdout.contains("has all of"), "{copied:?}");
        assert_eq!(copied.code, 0);
        moved.configure();
        moved.site.start_authority();
        moved
    }

    fn configure(&self) {
        let [id, secret, region] = VARIABLES.map(|(_, value)| value);
        let file = self.site.path("etc/s3-credentials");
        let credentials = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
        self.site.write("etc/s3-credentials", &credentials);
        self.site.bash("chmod 600 etc/s3-credentials").success();
        let text = std::fs::read_to_string(self.site.path("etc/authority.toml")).unwrap();
        let section = format!(
            "\n[audit.log.s3]\nbucket = \"{BUCKET}\"\nprefix = \"signet\"\nregion = \"{region}\"\nendpoint = \"{}\"\ncredentials_file = \"{}\"\n",
            self.server.endpoint(),
            file.display()
        );
        self.site.write("etc/authority.toml", &(text + &section));
    }

    /// `signet audit COMMAND` with the way to the bucket in the environment.
    fn audit(&self, command: &str) -> Output {
        let exports: String = VARIABLES
            .iter()
            .map(|(name, value)| format!("export {name}={value}\n"))
            .collect();
        let endpoint = self.server.endpoint();
        self.site.bash(&format!(
            "{exports}export AWS_ENDPOINT_URL_S3={endpoint}\nsignet audit {command}"
        ))
    }

    fn verify(&self, options: &str) -> Output {
        let key = &self.key;
        self.audit(&format!("verify --dir s3://{BUCKET}/signet --key '{key}' {options}"))
    }

    /// Mints a token and answers its id.
    fn mint(&self) -> String {
        let answer = self.site.mint();
        assert_eq!(answer.status, 201, "{}", self.site.logs());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    fn is_in_the_bucket(&self, id: &str) -> bool {
        let found = self.audit(&format!("search --dir s3://{BUCKET}/signet --request {id}"));
        found.code == 0 && found.stdout.contains(id)
    }

    /// A number of the authority's metrics.
    fn metric(&self, name: &str) -> u64 {
        let page = "curl -sS --cacert \"$SIGNET_CA_FILE\" https://localhost:9443/metrics";
        let page = self.site.bash(page).success();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(&format!("signet_authority_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }
}

#[test]
fn a_log_moves_to_a_bucket_and_outlives_its_server_s_faults_and_a_second_writer() {
    let mut moved = Moved::new();
    let id = moved.mint();
    within(PATIENCE, "the record is in the bucket", || moved.is_in_the_bucket(&id));
    let whole = moved.verify("--seen before");
    assert!(whole.code == 0 && whole.stdout.contains("grew from"), "{whole:?}");
    is_read_as_a_directory_is(&moved, &id);
    signing_goes_on_while_the_server_is_away(&moved);
    a_start_waits_for_the_server(&mut moved);
    a_second_writer_takes_over_and_the_log_stays_one(&mut moved);
    what_was_changed_in_the_bucket_is_found(&moved);
}

fn is_read_as_a_directory_is(moved: &Moved, id: &str) {
    let place = format!("--dir s3://{BUCKET}/signet");
    let tail = moved.audit(&format!("tail {place}")).success();
    assert!(tail.contains(id));
    moved.audit(&format!("reconcile {place}")).success();
    let key = &moved.key;
    moved
        .audit(&format!("prove {place} --request {id} --out proof.json"))
        .success();
    moved
        .audit(&format!("verify --proof proof.json --key '{key}'"))
        .success();
    // And by the authority.
    moved
        .audit(&format!(
            "prove --url \"$SIGNET_AUTHORITY\" --request {id} --out again.json"
        ))
        .success();
}

fn signing_goes_on_while_the_server_is_away(moved: &Moved) {
    // First nothing arrives, and what was sent arrives late; then answers are lost, with their connections.
    for (up_stalled, down_stalled) in [(true, false), (false, true)] {
        assert_eq!(moved.metric("audit_log_unwritten_seconds"), 0);
        moved.server.set(Weather {
            up_stalled,
            down_stalled,
            ..Weather::default()
        });
        let id = moved.mint();
        within(PATIENCE, "it is said that the log cannot be written", || {
            if down_stalled {
                moved.server.cut();
            }
            moved.metric("audit_log_unwritten_seconds") > 0
        });
        let ready = "curl -sS --cacert \"$SIGNET_CA_FILE\" https://localhost:9443/readyz";
        let ready = moved.site.bash(ready).success();
        assert!(ready.contains("unwritten_seconds"), "{ready}");
        moved.mint();
        moved.server.set(Weather::default());
        within(PATIENCE, "the log is written again", || {
            moved.metric("audit_log_unwritten_seconds") == 0 && moved.is_in_the_bucket(&id)
        });
    }
    assert_eq!(moved.metric("audit_log_broken"), 0, "{}", moved.site.logs());
    let whole = moved.verify("");
    assert_eq!(whole.code, 0, "{whole:?}");
}

/// It does not know its log before: until then it listens nowhere, and says what it waits for.
fn a_start_waits_for_the_server(moved: &mut Moved) {
    moved.site.authority.take().unwrap().stop();
    moved.server.set(Weather {
        up_stalled: true,
        ..Weather::default()
    });
    let waiting = moved.site.spawn("authority", "authority");
    let said = "the authority cannot start yet";
    within(PATIENCE, "it is said what is waited for", || {
        moved.site.logs().contains(said)
    });
    let [_, admin, _] = moved.site.authority_ports();
    let listens = || std::net::TcpStream::connect(("127.0.0.1", admin)).is_ok();
    assert!(!listens());
    moved.server.set(Weather::default());
    moved.server.cut();
    within(PATIENCE, "the authority listens", listens);
    moved.site.authority = Some(waiting);
    let id = moved.mint();
    within(PATIENCE, "the record is in the bucket", || moved.is_in_the_bucket(&id));
}

/// Another authority with the same keys and the same configuration, as of a machine that was copied.
fn a_second_writer_takes_over_and_the_log_stays_one(moved: &mut Moved) {
    let site = &mut moved.site;
    site.authority.take().unwrap().kill();
    site.bash("cp -r /var/lib/signet-authority /var/lib/copied").success();
    let text = std::fs::read_to_string(site.path("etc/authority.toml")).unwrap();
    let ports = site.authority_ports().into_iter().zip(free_ports());
    let copied = ports.fold(
        text.replace("lib/signet-authority", "lib/copied"),
        |text, (old, new)| text.replace(&format!(":{old}\""), &format!(":{new}\"")),
    );
    site.write("etc/copied.toml", &copied);
    site.start_authority();
    let id = moved.mint();
    within(PATIENCE, "the first one writes", || moved.is_in_the_bucket(&id));
    let second: Process = moved.site.spawn("authority", "copied");
    let log = moved.site.path("copied.log");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    within(PATIENCE, "the second one has the log", || {
        moved.mint();
        moved.site.logs().contains("the audit log has another writer")
    });
    assert_eq!(moved.metric("audit_log_broken"), 1, "{}", said());
    let names = moved.server.names();
    assert!(names.iter().all(|name| name.starts_with("signet/")), "{names:?}");
    let whole = moved.verify("--seen before");
    assert_eq!(whole.code, 0, "{whole:?}\n{}", said());
    second.stop();
    moved.site.authority.take().unwrap().stop();
    assert!(!said().contains("was not closed as it should be"), "{}", said());
    let whole = moved.verify("--seen before");
    assert_eq!(whole.code, 0, "{whole:?}");
}

fn what_was_changed_in_the_bucket_is_found(moved: &Moved) {
    let local = |name: &str| moved.site.path(name).display().to_string();
    let object = |name: &str| format!("s3://{BUCKET}/{name}");
    let copy = |from: &str, to: &str| moved.server.aws(&["s3", "cp", from, to]).success();
    let names = moved.server.names();
    let packs: Vec<_> = names.iter().filter(|name| name.starts_with("signet/pack/")).collect();
    let (whole, changed) = (local("whole"), local("changed"));
    copy(&object(packs[0]), &whole);
    let mut bytes = std::fs::read(&whole).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&changed, bytes).unwrap();
    copy(&changed, &object(packs[0]));
    let found = moved.verify("");
    assert!(
        found.code == 1 && found.stdout.contains("fault: the records of leaf"),
        "{found:?}"
    );
    moved.server.aws(&["s3", "rm", &object(packs[0])]).success();
    let found = moved.verify("");
    assert!(found.code == 1 && found.stdout.contains("are missing"), "{found:?}");
    copy(&whole, &object(packs[0]));
    assert_eq!(moved.verify("").code, 0);
    // Put back to what it was before it was moved: in order by itself, and found by who has seen more.
    copy(&object("signet/checkpoint"), &local("newest"));
    copy(&local("before"), &object("signet/checkpoint"));
    let found = moved.verify("--seen newest");
    assert!(found.code == 1 && found.stdout.contains("rolled back"), "{found:?}");
}
