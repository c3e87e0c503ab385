//! The floors of ARCHITECTURE.md, read from the workspace's metadata.

use std::collections::{BTreeMap, BTreeSet};

/// What each crate of ours may import of ours.
const FLOORS: &[(&str, &[&str])] = &[
    ("signing", &[]),
    ("node", &[]),
    ("policies", &["signing"]),
    ("runtime", &["signing"]),
    ("audit", &["signing"]),
    ("authority", &["signing", "node", "policies", "runtime", "audit"]),
    ("edge", &["signing", "node", "policies", "runtime", "audit"]),
    ("loadtest", &["signing", "node"]),
    (
        "signet",
        &[
            "signing",
            "node",
            "policies",
            "runtime",
            "audit",
            "authority",
            "edge",
            "loadtest",
        ],
    ),
    ("system-tests", &["signing", "loadtest"]),
];

/// Libraries that only one crate of ours may name.
const OWNERS: &[(&str, &str)] = &[
    ("wasmtime", "runtime"),
    ("cedar-policy", "policies"),
    ("cryptoki", "authority"),
    ("redb", "authority"),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = system_tests::checkout().join("Cargo.toml");
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .unwrap();
    let names = |package: &cargo_metadata::Package| {
        package
            .dependencies
            .iter()
            .map(|dependency| dependency.name.to_string())
            .collect()
    };
    metadata
        .packages
        .iter()
        .map(|package| (package.name.to_string(), names(package)))
        .collect()
}

#[test]
fn imports_run_one_way() {
    let floors: BTreeMap<_, BTreeSet<&str>> = FLOORS
        .iter()
        .map(|(name, below)| (*name, below.iter().copied().collect()))
        .collect();
    let actual = dependencies();
    assert_eq!(
        actual.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        floors.keys().copied().collect()
    );
    for (name, dependencies) in &actual {
        for dependency in dependencies
            .iter()
            .filter(|dependency| floors.contains_key(dependency.as_str()))
        {
            assert!(
                floors[name.as_str()].contains(dependency.as_str()),
                "`{name}` must not import `{dependency}`"
            );
        }
    }
}

#[test]
fn big_libraries_have_one_owner() {
    let actual = dependencies();
    for (library, owner) in OWNERS {
        let named_by: Vec<_> = actual
            .iter()
            .filter(|(_, all)| all.contains(*library))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(named_by, [*owner], "only `{owner}` names `{library}`");
    }
}
