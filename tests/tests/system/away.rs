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
