//! The disk of a running authority's store fails, and is good again: nobody has to restart it.

use system_tests::chaos::process::Process;
use system_tests::chaos::shim::{self, Condition};
use system_tests::{Output, within};

use crate::production::site::{Hsm, Site};

fn make_key(site: &Site, alias: &str) -> Output {
    site.bash(&format!(
        "signet keys create --spec ECC_NIST_P256 --usage SIGN_VERIFY --alias alias/{alias}"
    ))
}

// R30
#[test]
fn a_store_that_failed_a_write_is_written_again_without_a_restart() {
    let mut site = Site::walk(Hsm::Software);
    site.authority.take().unwrap().stop();
    let library = shim::build(&site.path(""));
    let process = Process::start("authority", site.path("etc/authority.toml"), &library);
    let log = || std::fs::read_to_string(site.path("etc/authority.log")).unwrap();
    within(60, "the authority serves", || make_key(&site, "before").code == 0);

    process
        .control
        .set_disk(Condition::Failing, &site.path("lib/signet-authority/store.redb"));
    let refused = make_key(&site, "refused");
    assert!(
        refused.code == 1 && refused.stderr.contains("unavailable"),
        "{refused:?}\n{}",
        log()
    );
    // The disk seems to be good, and what lies on it is not yet: it goes on trying.
    within(60, "it starts anew", || {
        log().contains("the authority cannot start yet")
    });
    process.control.set_disk(Condition::Good, &site.path("lib"));
    within(60, "the store is written again", || make_key(&site, "after").code == 0);
    assert!(!process.hold().has_ended(), "{}", log());
    let listed = site.bash("signet keys list").success();
    assert!(
        listed.contains("alias/before") && listed.contains("alias/after"),
        "{listed}"
    );
    within(60, "edges sign", || site.mint().status == 201);
}

// R30
#[test]
fn a_sync_that_fails_ends_the_authority() {
    let mut site = Site::walk(Hsm::Software);
    site.authority.take().unwrap().stop();
    let library = shim::build(&site.path(""));
    let parts = [
        ("store.redb", "the store's disk could not flush"),
        ("log", "the process ends"),
    ];
    for (part, says) in parts {
        let process = Process::start("authority", site.path("etc/authority.toml"), &library);
        let log = || std::fs::read_to_string(site.path("etc/authority.log")).unwrap();
        let name = part.trim_end_matches(".redb");
        within(60, "the authority serves", || {
            make_key(&site, &format!("before-{name}")).code == 0
        });
        let at = site.path("lib/signet-authority").join(part);
        process.control.set_disk(Condition::Losing, &at);
        let made = make_key(&site, &format!("meanwhile-{name}"));
        within(60, "the authority ends", || process.hold().has_ended());
        assert!(log().contains(says), "{}", log());
        process.control.set_disk(Condition::Good, &at);
        process.hold().start();
        within(60, "it serves again", || {
            make_key(&site, &format!("after-{name}")).code == 0
        });
        // What was acknowledged was durable before.
        let listed = site.bash("signet keys list").success();
        let is_there = listed.contains(&format!("alias/meanwhile-{name}"));
        assert!(is_there || made.code != 0, "{made:?}\n{listed}");
        assert!(listed.contains(&format!("alias/before-{name}")), "{listed}");
    }
}
