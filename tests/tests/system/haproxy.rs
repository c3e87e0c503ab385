//! The real HAProxy with the guide's configuration.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use system_tests::{Curl, Dev, checkout, within};

/// Debian's package puts it where only root has it on the PATH.
const HAPROXY: &str = "/usr/sbin/haproxy";

fn configuration(dev: &Dev, port: u16) -> String {
    let keys = dev.data().join("dev/jwks");
    std::fs::read_to_string(checkout().join("docs/guides/haproxy.cfg"))
        .unwrap()
        .replace("https://localhost:8443", &dev.text("/edge/https"))
        .replace("127.0.0.1:10001", &format!("127.0.0.1:{port}"))
        .replace("signet-data/dev/jwks", &keys.display().to_string())
}

#[test]
fn haproxy_lets_verified_tokens_through_and_no_others() {
    let dev = Dev::start();
    let keys = dev.data().join("dev/jwks").display().to_string();
    dev.cli(&["jwks", "pem", "dev", "--algorithm", "ES256", "--dir", &keys])
        .success();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = dev.data().join("haproxy.cfg");
    std::fs::write(&file, configuration(&dev, port)).unwrap();
    let log = std::fs::File::create(dev.data().join("haproxy.log")).unwrap();
    let mut haproxy = Command::new(HAPROXY)
        .args(["-db", "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{HAPROXY}: {error}; `scripts/setup test` installs it"));
    let checks = std::panic::catch_unwind(|| tokens(&dev, &format!("http://127.0.0.1:{port}/")));
    haproxy.kill().unwrap();
    haproxy.wait().unwrap();
    if let Err(panic) = checks {
        eprintln!(
            "{}",
            std::fs::read_to_string(dev.data().join("haproxy.log")).unwrap_or_default()
        );
        std::panic::resume_unwind(panic);
    }
}

fn tokens(dev: &Dev, url: &str) {
    let status = |token: &str| Curl::new(url).bearer(token).get().status;
    let mint = |more: Value| {
        let mut body = json!({"subject": "alice"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        dev.mint("api", &body.to_string())
    };
    let good = mint(json!({}));
    within(30, "haproxy answers 200 to a good token", || status(&good) == 200);
    assert_eq!(Curl::new(url).bearer(&good).get().body, b"verified alice\n");
    assert_eq!(Curl::new(url).get().status, 401);
    assert_eq!(status("not.a.token"), 401);

    let forged = format!("{}{}", &good[..good.len() - 6], "AAAAAA");
    assert_eq!(status(&forged), 401);
    // Another issuer's key, another algorithm: the EdDSA key of the same issuer, and the HMAC one.
    for profile in ["session", "cdn"] {
        let other = dev.mint(profile, r#"{"subject":"alice","audience":"https://api.example"}"#);
        assert_eq!(status(&other), 401, "{profile}");
    }
    assert_eq!(status(&dev.token()), 401);
    assert_eq!(status(&mint(json!({"audience": "https://other.example"}))), 403);

    let short = mint(json!({"lifetime": 1}));
    within(10, "haproxy refuses the expired token", || status(&short) == 401);
    assert_eq!(status(&good), 200);
}

#[test]
fn the_keys_are_as_many_files_as_the_configuration_names() {
    let dev = Dev::start();
    let dir = dev.data().join("keys");
    let write = |more: &[&str]| {
        let dir = dir.display().to_string();
        let mut arguments = vec!["jwks", "pem", "dev", "--algorithm", "ES256", "--dir", &dir];
        arguments.extend(more);
        dev.cli(&arguments)
    };
    write(&[]).success();
    let pem = |number: u8| std::fs::read_to_string(dir.join(format!("{number}.pem"))).unwrap();
    assert_ne!(pem(1), pem(2), "the current and the next version");
    assert_eq!(pem(2), pem(3), "the last fills the rest");
    let few = write(&["--files", "1"]);
    assert_eq!(few.code, 1, "{few:?}");
    assert!(few.stderr.contains("2 such keys"), "{few:?}");
    let none = dev.cli(&["jwks", "pem", "dev", "--algorithm", "ES384"]);
    assert_eq!(none.code, 1, "{none:?}");
}
