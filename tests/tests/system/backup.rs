//! Backups and restores with the real binary, boto3 before and after.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use system_tests::{Answer, Curl, Dev, Output, checkout, run, signal, signet, tool, within};
use tempfile::TempDir;

/// `kms_backup.py`, against an endpoint with the credentials of a data directory's `signet dev`.
fn boto3(info: &Value, endpoint: &str, what: &str, file: &Path) -> Vec<String> {
    let text = |pointer: &str| info.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let mut command = Command::new(tool("clients/bin").join("python"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .arg(checkout().join("tests/clients/kms_backup.py"))
        .arg(what)
        .arg(file)
        .env("AWS_ENDPOINT_URL_KMS", endpoint)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_CA_BUNDLE", text("/ca_file"))
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("AWS_ACCESS_KEY_ID", text("/kms_credentials/access_key_id"))
        .env("AWS_SECRET_ACCESS_KEY", text("/kms_credentials/secret_access_key"));
    run(&mut command).success().lines().map(str::to_owned).collect()
}

const CHECKED: [&str; 4] = ["decrypt", "sign", "mac", "alias"];

fn cli(arguments: &[&str]) -> Output {
    run(Command::new(signet()).args(arguments))
}

fn refused(output: Output, why: &str) {
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains(why), "`{why}` in {output:?}");
    assert!(
        !output.stderr.contains('\u{1b}'),
        "no colour where nobody looks: {output:?}"
    );
}

fn store(data: &Path) -> PathBuf {
    data.join("authority/store.redb")
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_lost_store_comes_back_with_its_hsm_and_its_stops() {
    let dir = TempDir::new().unwrap();
    let (data, made, backup) = (
        dir.path().join("data"),
        dir.path().join("made"),
        dir.path().join("backup"),
    );
    let dev = Dev::start_in(&data, &[]);
    assert_eq!(boto3(&dev.info, &dev.text("/kms"), "make", &made), ["make"]);
    let written = dev.cli(&["backup", "--out", &text(&backup)]);
    assert!(written.stderr.contains("without a backup key"), "{written:?}");
    written.success();
    refused(dev.cli(&["backup", "--out", &text(&backup)]), "is there already");
    let shown = cli(&["backup", "show", &text(&backup)]).success();
    assert!(shown.contains("restored by   that HSM only"), "{shown}");
    // After the backup: an operator stops a key, and an access key is made that the backup does not know.
    let kept: Value = serde_json::from_slice(&std::fs::read(&made).unwrap()).unwrap();
    let stopped = kept["token"].as_str().unwrap();
    dev.cli(&["keys", "disable", stopped]).success();
    refused(
        cli(&["restore", "--from", &text(&backup), "--data", &text(&data)]),
        "in use",
    );
    let kms = dev.info.clone();
    assert!(dev.stop().success());

    refused(
        cli(&["restore", "--from", &text(&backup), "--data", &text(&data)]),
        "needs an empty data directory",
    );
    std::fs::remove_file(store(&data)).unwrap();
    let mut altered = std::fs::read(&backup).unwrap();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let bad = dir.path().join("altered");
    std::fs::write(&bad, altered).unwrap();
    refused(
        cli(&["restore", "--from", &text(&bad), "--data", &text(&data)]),
        "altered or is incomplete",
    );
    assert!(!store(&data).exists());
    let restored = cli(&["restore", "--from", &text(&backup), "--data", &text(&data), "--json"]);
    let report: Value = serde_json::from_str(&restored.success()).unwrap();
    assert_eq!(
        (&report["same_hsm"], &report["lost"]),
        (&true.into(), &Value::Array(vec![]))
    );

    let sealed = run(Command::new(signet()).args(["dev", "--json", "--data"]).arg(&data));
    refused(sealed, "this authority is sealed: it was restored from the backup");
    let waived = [
        "restore",
        "waive",
        "--data",
        &text(&data),
        "--reason",
        "x",
        "--share",
        "/dev/null",
    ];
    refused(cli(&waived), "this is not a share of a backup key");
    let replayed = cli(&["restore", "replay", "--data", &text(&data)]).success();
    assert!(
        replayed.contains(stopped) && replayed.contains("serves at its next start"),
        "{replayed}"
    );
    refused(cli(&["restore", "replay", "--data", &text(&data)]), "is not sealed");

    let dev = Dev::start_in(&data, &[]);
    assert_eq!(boto3(&dev.info, &dev.text("/kms"), "check", &made), CHECKED);
    assert_eq!(kms["kms_credentials"], dev.info["kms_credentials"]);
    let described = dev.cli(&["keys", "describe", stopped]).success();
    assert!(described.contains("Disabled"), "{described}");
    dev.mint("api", r#"{"subject":"alice"}"#);
    let seal = dev.admin("/v1/seal").get().json();
    assert_eq!(seal["sealed"], false, "{seal}");
    assert_eq!(seal["unsealings"][0]["how"], "replayed", "{seal}");
    let verified = dev.cli(&["audit", "verify", "--authority"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// `signet authority run` on the data directory of a `signet dev`.
struct Authority {
    child: Child,
    ports: [u16; 2],
    ca: PathBuf,
}

impl Authority {
    /// Writes the configuration; `admin` and `kms` are its ports.
    fn configure(data: &Path) -> (PathBuf, [u16; 2]) {
        let held = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [admin, kms] = [0, 1].map(|at: usize| held[at].local_addr().unwrap().port());
        let file = data.join("authority.toml");
        let (hsm, dev) = (data.join("hsm"), data.join("dev"));
        let module = [
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
        ];
        let module = module.iter().find(|module| Path::new(module).exists()).unwrap();
        let config = format!(
            "trust_domain = \"dev.signet.internal\"\ndata_dir = \"{data}/authority\"\n\
             [hsm]\nkind = \"pkcs11\"\nmodule = \"{module}\"\nlabel = \"signet\"\npin_file = \"{hsm}/pin\"\n\
             environment = {{ SOFTHSM2_CONF = \"{hsm}/softhsm2.conf\" }}\n\
             [grpc]\naddress = \"127.0.0.1:0\"\nnames = [\"localhost\"]\n\
             [admin]\naddress = \"127.0.0.1:{admin}\"\ncertificate_file = \"{dev}/server.pem\"\nkey_file = \"{dev}/server.key.pem\"\n\
             [kms]\naddress = \"127.0.0.1:{kms}\"\n",
            data = data.display(),
            hsm = hsm.display(),
            dev = dev.display(),
        );
        std::fs::write(&file, config).unwrap();
        (file, [admin, kms])
    }

    fn start(config: &Path, ports: [u16; 2], data: &Path) -> Self {
        let log = std::fs::File::create(data.join("authority.log")).unwrap();
        let child = Command::new(signet())
            .args(["authority", "run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let authority = Self {
            child,
            ports,
            ca: data.join("dev/ca.pem"),
        };
        within(30, "the authority answers", || {
            authority.get("/livez", "").status == 200
        });
        authority
    }

    fn curl(&self, path: &str, token: &str) -> Curl {
        Curl::new(&format!("https://localhost:{}{path}", self.ports[0]))
            .arg("--cacert")
            .arg(&text(&self.ca))
            .bearer(token)
    }

    fn get(&self, path: &str, token: &str) -> Answer {
        self.curl(path, token).get()
    }

    fn kms(&self) -> String {
        format!("https://localhost:{}", self.ports[1])
    }

    fn stop(mut self) {
        signal(self.child.id(), rustix::process::Signal::TERM);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn three_of_five_shares_restore_into_another_token_and_open_it() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (data, new, made, backup) = (path("data"), path("new"), path("made"), path("backup"));
    let dev = Dev::start_in(&data, &[]);
    assert_eq!(boto3(&dev.info, &dev.text("/kms"), "make", &made), ["make"]);
    let init = [
        "backup",
        "keys",
        "init",
        "--shares",
        "5",
        "--threshold",
        "3",
        "--out",
        &text(&path("shares")),
    ];
    dev.cli(&init).success();
    let mut shares: Vec<_> = std::fs::read_dir(path("shares"))
        .unwrap()
        .map(|entry| text(&entry.unwrap().path()))
        .collect();
    shares.sort();
    assert_eq!(shares.len(), 5);
    let bad = dev.cli(&[
        "backup",
        "keys",
        "init",
        "--shares",
        "2",
        "--threshold",
        "3",
        "--out",
        &text(&path("none")),
    ]);
    refused(bad, "3 of 2 is not that");
    dev.cli(&["backup", "--out", &text(&backup), "--json"]).success();
    let info = dev.info.clone();
    assert!(dev.stop().success());

    // Another machine: what `signet dev` keeps for its user, and a token that does not exist yet.
    std::fs::create_dir(&new).unwrap();
    let copied = run(Command::new("cp").arg("-r").arg(data.join("dev")).arg(&new));
    assert_eq!(copied.code, 0, "{copied:?}");
    let restore = |given: &[usize]| {
        let mut command = Command::new(signet());
        command.args(["restore", "--from", &text(&backup), "--data", &text(&new), "--json"]);
        for at in given {
            command.arg("--share").arg(&shares[*at]);
        }
        run(&mut command)
    };
    refused(restore(&[]), "give 3 of the 5 shares");
    refused(restore(&[0, 4]), "3 different shares of the backup key");
    refused(restore(&[1, 1, 2]), "share 2 was given twice");
    let report: Value = serde_json::from_str(&restore(&[4, 0, 2]).success()).unwrap();
    assert_eq!(report["same_hsm"], false, "{report}");
    let kept: Value = serde_json::from_slice(&std::fs::read(&made).unwrap()).unwrap();
    let lost = report["lost"].as_array().unwrap();
    let token = lost.iter().find(|lost| lost["key"] == kept["token"]).unwrap();
    assert!(token["to_do"].as_str().unwrap().contains("make a new key"), "{token}");
    assert!(lost.iter().any(|lost| lost["what"] == "roots") && lost.iter().any(|lost| lost["what"] == "key_ca"));

    let (config, ports) = Authority::configure(&new);
    let admin_token = std::fs::read_to_string(new.join("dev/admin-token")).unwrap();
    let authority = Authority::start(&config, ports, &new);
    let ready = authority.get("/readyz", "");
    assert_eq!(
        (ready.status, ready.json()["status"].as_str()),
        (503, Some("sealed")),
        "{ready:?}"
    );
    assert_eq!(boto3(&info, &authority.kms(), "sealed", &made), ["sealed"]);
    let verb = authority
        .curl("/v1/keys/ListKeys?tenant=000000000001", &admin_token)
        .post("{}");
    assert_eq!((verb.status, verb.problem().as_str()), (503, "sealed"), "{verb:?}");
    let old_token = info["admin_token"].as_str().unwrap();
    assert_eq!(
        authority.get("/v1/seal", old_token).status,
        401,
        "the admin token of before"
    );
    let seal = authority.get("/v1/seal", &admin_token).json();
    assert_eq!(
        (&seal["sealed"], &seal["why"]["reason"]),
        (&true.into(), &"restored".into()),
        "{seal}"
    );
    let waive = |given: &[usize]| {
        let mut command = Command::new(signet());
        command
            .args(["restore", "waive", "--reason", "the spool burnt", "--config"])
            .arg(&config);
        for at in given {
            command.arg("--share").arg(&shares[*at]);
        }
        run(&mut command)
    };
    refused(waive(&[0, 1, 2]), "stop the authority");
    authority.stop();
    refused(waive(&[0, 1]), "3 different shares");
    waive(&[3, 1, 0]).success();

    let authority = Authority::start(&config, ports, &new);
    assert_eq!(authority.get("/readyz", "").status, 200);
    assert_eq!(boto3(&info, &authority.kms(), "check", &made), CHECKED);
    authority.stop();
    let audit = new.join("authority/audit");
    let records = cli(&["audit", "tail", "--dir", &text(&audit)]).success();
    let waivers = records.lines().filter(|line| line.contains("restore:Waive"));
    assert_eq!(
        waivers.map(|line| line.contains("performed")).collect::<Vec<_>>(),
        [false, true]
    );
}

// R29, R36
#[test]
fn a_store_that_was_put_back_is_told_and_a_killed_one_is_not() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let dev = Dev::start_in(&data, &[]);
    dev.mint("api", r#"{"subject":"alice"}"#);
    assert!(dev.stop().success());
    let older = std::fs::read(store(&data)).unwrap();
    let create = ["keys", "create", "--spec", "HMAC_256", "--usage", "GENERATE_VERIFY_MAC"];
    let dev = Dev::start_in(&data, &[]);
    dev.cli(&create).success();
    dev.kill();
    let dev = Dev::start_in(&data, &[]);
    dev.cli(&create).success();
    assert!(dev.stop().success());
    let newest = std::fs::read(store(&data)).unwrap();

    std::fs::write(store(&data), older).unwrap();
    let sealed = run(Command::new(signet()).args(["dev", "--json", "--data"]).arg(&data));
    assert!(sealed.stderr.contains("has seen revision"), "{sealed:?}");
    refused(sealed, "this authority is sealed: its store is at revision");
    std::fs::write(store(&data), newest).unwrap();
    let dev = Dev::start_in(&data, &[]);
    dev.mint("api", r#"{"subject":"alice"}"#);
}
