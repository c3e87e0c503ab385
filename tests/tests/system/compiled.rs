//! Plugins compiled by the authority for its edges, with both as processes of their own.

use std::process::Command;
use std::time::{Duration, Instant};

use system_tests::{checkout, run, signet, within};

use crate::large_plugin::{component, hostile};
use crate::production::site::{Hsm, Site};

/// An authority, and an edge whose configuration says who compiles.
fn site(compile: &str) -> Site {
    let site = Site::prepare(Hsm::Software);
    compiled_by(&site, compile);
    site.walked(Hsm::Software)
}

fn compiled_by(site: &Site, compile: &str) {
    let edge = std::fs::read_to_string(site.path("etc/edge.toml")).unwrap();
    let (before, _) = edge.split_once("\n[plugins]").unwrap_or((&edge, ""));
    site.write(
        "etc/edge.toml",
        &format!("{before}\n[plugins]\ncompile = \"{compile}\"\n"),
    );
}

fn metrics(site: &Site) -> String {
    String::from_utf8(site.get("/metrics").body).unwrap()
}

/// How many plugins were loaded from code of that source.
fn artifacts(site: &Site, source: &str) -> u64 {
    let name = format!("signet_edge_plugin_artifacts_total{{source=\"{source}\"}} ");
    let text = metrics(site);
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix(&name).map(str::to_owned));
    count.map_or(0, |count| count.parse().unwrap())
}

/// Puts a component into the bundle as the rule of the profile `api`, and applies it.
fn with_rule(site: &Site, component: &[u8]) {
    let dir = site.path("bundle/plugins");
    if !dir.exists() {
        std::fs::create_dir(&dir).unwrap();
        for (name, more) in [
            (
                "bundle/bundle.toml",
                "[[plugins]]\nname = \"rule\"\nfile = \"plugins/rule.wasm\"\nmax_size = \"32MiB\"\ndeadline = \"100ms\"\n",
            ),
            ("bundle/profiles/api.toml", "plugins = [\"rule\"]\n"),
        ] {
            let before = std::fs::read_to_string(site.path(name)).unwrap();
            site.write(name, &format!("{before}\n{more}"));
        }
    }
    std::fs::write(dir.join("rule.wasm"), component).unwrap();
    site.bash("signet bundle apply ./bundle").success();
}

/// The example that reads cases of its own: it allows what its settings do not speak of.
fn example() -> Vec<u8> {
    std::fs::read(checkout().join("plugins/examples/claim-guard/claim-guard.wasm")).unwrap()
}

/// Starts the edge and waits until it is ready; how long that took.
fn restart(site: &mut Site) -> Duration {
    site.edge.take().unwrap().stop();
    let begun = Instant::now();
    site.start_edge();
    within(240, "the edge is ready", || site.get("/readyz").status == 200);
    begun.elapsed()
}

// R20
#[test]
fn an_edge_that_compiles_nothing_runs_what_its_authority_compiled() {
    let mut site = site("authority");
    with_rule(&site, &component(&hostile("good"), 20_000, 12 << 20));
    within(120, "the rule judges", || {
        site.mint();
        metrics(&site).contains("signet_edge_plugin_calls_total{plugin=\"rule\",outcome=\"allowed\"}")
            && artifacts(&site, "authority") == 1
    });
    assert_eq!((artifacts(&site, "local"), artifacts(&site, "refused")), (0, 0));
    let edges = site.bash("signet edges list").success();
    assert!(edges.contains("PLUGINS FOR") && edges.contains("x86-64-v"), "{edges}");
    assert!(!edges.contains("another version"), "{edges}");

    // Its own start, and one that compiles 12 MiB itself: printed, not judged.
    println!("ready with the authority's code after {:?}", restart(&mut site));
    assert_eq!(artifacts(&site, "authority"), 1);
    compiled_by(&site, "local");
    println!("ready with code of its own after {:?}", restart(&mut site));
    assert_eq!((artifacts(&site, "authority"), artifacts(&site, "local")), (0, 1));

    // What the authority keeps it does not make again, and what was touched there it does not send.
    compiled_by(&site, "authority");
    site.authority.take().unwrap().stop();
    let kept: Vec<_> = std::fs::read_dir(site.path("lib/signet-authority/artifacts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [file] = kept.as_slice() else { panic!("{kept:?}") };
    let mut content = std::fs::read(file).unwrap();
    *content.last_mut().unwrap() ^= 1;
    std::fs::write(file, &content).unwrap();
    site.start_authority();
    restart(&mut site);
    assert_eq!((artifacts(&site, "authority"), artifacts(&site, "refused")), (1, 0));
    assert!(site.logs().contains("a compiled plugin is not used"), "{}", site.logs());
    assert_eq!(site.mint().status, 201);
}

#[test]
fn an_edge_may_compile_by_itself_and_says_who_did() {
    let site = site("local");
    with_rule(&site, &example());
    within(60, "the rule is loaded", || artifacts(&site, "local") == 1);
    assert_eq!(artifacts(&site, "authority"), 0);
    compiled_by(&site, "edge");
    let refused = run(Command::new(signet())
        .args(["edge", "run", "--config"])
        .arg(site.path("etc/edge.toml")));
    assert_eq!(refused.code, 1, "{refused:?}");
    for word in ["plugins.compile", "any", "authority", "local"] {
        assert!(refused.stderr.contains(word), "{word}: {refused:?}");
    }
}
