//! R27 with a real token that fails: SoftHSM2 behind a module that errs, hangs, crashes or lies on command, under a real authority.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use system_tests::{Output, checkout, run, signal, within};

use crate::hardening::worker;
use crate::kept_keys::notary;
use crate::production::site::{Hsm, Site};

/// The longest that anything may take: the authority's own bound on a call, and a slow machine's surplus.
const BOUND: Duration = Duration::from_secs(25);

/// An authority on the faulty module, with an edge that has its keys.
struct Faulty {
    site: Site,
    enrolled: usize,
}

impl Faulty {
    fn start() -> Faulty {
        let mut site = Site::walk(Hsm::SoftHsm);
        drop(site.authority.take());
        let shim = site.path("shim.so").display().to_string();
        let build = ["-shared", "-fPIC", "-o", &shim];
        let source = checkout().join("tests/clients/pkcs11_shim.c");
        run(Command::new("cc").args(build).arg(source).arg("-ldl")).success();
        let text = std::fs::read_to_string(site.path("etc/authority.toml")).unwrap();
        let module = text
            .lines()
            .find(|line| line.starts_with("module = "))
            .unwrap()
            .to_owned();
        let real = module.split('"').nth(1).unwrap();
        let control = site.path("control").display().to_string();
        let faulty = text
            .replace(&module, &format!("module = \"{shim}\""))
            .replace("deadline = \"5s\"", "deadline = \"1s\"")
            .replace(
                "environment = { ",
                &format!("environment = {{ SHIM_MODULE = \"{real}\", SHIM_CONTROL = \"{control}\", "),
            );
        assert!(faulty.contains("SHIM_MODULE") && faulty.contains("\"1s\""), "{faulty}");
        site.write("etc/authority.toml", &faulty);
        let edge = std::fs::read_to_string(site.path("etc/edge.toml")).unwrap();
        site.write("etc/joining.toml", &edge.replace("lib/signet-edge", "lib/joining"));
        let mut faulty = Faulty { site, enrolled: 0 };
        faulty.set("ok");
        faulty.site.start_authority();
        faulty.succeeds();
        faulty
    }

    /// What the module does from now on.
    fn set(&self, mode: &str) {
        self.site.write("control", mode);
    }

    /// Lets another edge in, for which the root in the token signs; and how long that took.
    fn enroll(&self) -> (Output, Duration) {
        let began = Instant::now();
        let output = self
            .site
            .bash("signet edge join --config /etc/signet/joining.toml --join joining.json");
        (output, began.elapsed())
    }

    /// With a token of its own, which a failed try does not use up.
    fn token(&mut self) {
        self.enrolled += 1;
        let token = format!("signet edges token edge-{} > joining.json", self.enrolled);
        self.site.bash(&token).success();
    }

    fn succeeds(&mut self) {
        self.token();
        within(30, "the token is used again", || self.enroll().0.code == 0);
    }

    fn fails(&mut self, mode: &str, logged: &str) {
        self.token();
        self.set(mode);
        let (output, took) = self.enroll();
        assert_eq!(output.code, 1, "{mode}: {output:?}");
        assert!(
            output.stderr.contains("unavailable") || output.stderr.contains("busy"),
            "{mode}: {output:?}"
        );
        assert!(took < BOUND, "{mode} took {took:?}");
        assert!(self.site.logs().contains(logged), "{mode}: {}", self.site.logs());
        // What is delegated already does not depend on it.
        assert_eq!(self.site.mint().status, 201, "{mode}");
        self.set("ok");
        within(30, "it is over", || self.enroll().0.code == 0);
    }

    fn worker(&self) -> u32 {
        worker(self.site.authority.as_ref().unwrap().pid()).unwrap()
    }
}

// R27
#[test]
fn a_token_that_errs_hangs_crashes_or_lies_is_survived() {
    let mut faulty = Faulty::start();
    faulty.fails("error", "DeviceError");
    faulty.fails("hang", "did not answer within 1s");
    faulty.fails("crash", "signal: 6");
    faulty.fails("wrong", "hsm made a wrong signature");
    faulty.fails("silent", "hsm made a wrong signature");
    faulty.fails("session", "SessionHandleInvalid");
}

// R27
#[test]
fn a_token_that_is_removed_or_has_another_pin_is_survived() {
    let mut faulty = Faulty::start();
    faulty.token();
    let (tokens, away) = (faulty.site.path("tokens"), faulty.site.path("away"));
    std::fs::rename(&tokens, &away).unwrap();
    std::fs::create_dir(&tokens).unwrap();
    signal(faulty.worker(), Signal::KILL);
    let (output, took) = faulty.enroll();
    assert!(output.code == 1 && took < BOUND, "{took:?} {output:?}");
    assert!(
        faulty.site.logs().contains("no token is labelled"),
        "{}",
        faulty.site.logs()
    );
    assert_eq!(faulty.site.mint().status, 201);
    std::fs::remove_dir_all(&tokens).unwrap();
    std::fs::rename(&away, &tokens).unwrap();
    within(30, "the token is back", || faulty.enroll().0.code == 0);

    // A PIN that is refused is tried once: tokens lock. The authority says so, and works again when it is started anew.
    faulty.token();
    faulty.site.write("etc/hsm.pin", "99999999\n");
    signal(faulty.worker(), Signal::KILL);
    within(30, "it is said", || faulty.site.logs().contains("hsm refused the pin"));
    let (output, took) = faulty.enroll();
    assert!(output.code == 1 && took < BOUND, "{took:?} {output:?}");
    assert_eq!(faulty.site.mint().status, 201);
    faulty.site.write("etc/hsm.pin", "12345678\n");
    drop(faulty.site.authority.take());
    faulty.site.start_authority();
    within(30, "it works again", || faulty.enroll().0.code == 0);
}

// R27
#[test]
fn a_token_that_hangs_keeps_who_waits_for_its_signature_for_a_bounded_time() {
    let faulty = Faulty::start();
    let site = &faulty.site;
    notary(site);
    let sign = || site.sign("notary", r#"{"message": "ZmlybXdhcmU="}"#);
    within(30, "the authority signs for the edge", || sign().status == 201);
    faulty.set("hang");
    let began = Instant::now();
    let refused = sign();
    let took = began.elapsed();
    assert!(took < BOUND, "{took:?}");
    assert_eq!((refused.status, refused.problem()), (503, "key_unavailable".to_owned()));
    assert_eq!(refused.field("retry-after").as_deref(), Some("1"));
    assert_eq!(site.mint().status, 201, "what is delegated does not depend on it");
    faulty.set("ok");
    within(30, "it signs again", || sign().status == 201);
    let search =
        "signet audit search --url \"$SIGNET_AUTHORITY\" --edge authority --profile edges:SignInHsm --outcome refused";
    within(30, "the refusal is on record, and who asked", || {
        let found = site.bash(search).success();
        found.contains("for:oidc:https://ci.example.org#repo:acme/shop")
    });
}
