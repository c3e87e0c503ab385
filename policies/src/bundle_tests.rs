//! Bundles as a whole: their digest, their bounds, and how a folder is read.

use std::path::Path;

use super::*;
use crate::profile::AuditMode;

fn sample() -> Vec<File> {
    dir::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/bundle")).unwrap()
}

#[test]
fn a_bundle_reads_as_written() {
    let bundle = Bundle::parse(&sample()).unwrap();
    assert_eq!(bundle.limits.per_caller.unwrap().burst.get(), 200);
    assert_eq!(bundle.limits.per_tenant, None);
    let oidc = &bundle.callers.oidc[0];
    assert_eq!(oidc.attributes["team"], "team");
    assert!(matches!(&oidc.keys, TrustedKeys::Inline(text) if text.contains("\"keys\"")));
    assert_eq!(bundle.callers.spiffe[0].path, SubjectPin::Prefix("/ci/".to_owned()));
    let session = bundle.profile("session").unwrap();
    assert_eq!(
        (session.issuer(), session.token().unwrap().default_lifetime),
        (Some("web"), 300)
    );
    assert_eq!(bundle.issuer("other").unwrap().jwks_cache.as_secs(), 900);
    let plugin = bundle.plugin("claim-guard").unwrap();
    assert_eq!((plugin.deadline.as_millis(), plugin.memory), (5, 16 << 20));
    assert_eq!(plugin.config["editor_max_seconds"], ConfigValue::Int(600));
    assert_eq!(plugin.config["plan"], ConfigValue::Text("free".to_owned()));
    let role = bundle.role("000000000001", "ci").unwrap();
    assert_eq!(
        (role.arn().as_str(), role.max_session.as_secs()),
        ("arn:aws:iam::000000000001:role/ci", 7200)
    );
    assert!(role.trusts("https://ci.example", "repo:acme/web") && !role.trusts("https://ci.example", "repo:other/web"));
    assert!(!role.trusts("https://other.example", "repo:acme/web"));
    assert!(bundle.role("000000000002", "ci").is_none());
    let names: Vec<_> = bundle.profiles.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["firmware", "open", "other-session", "release", "session"]);
    assert_eq!(session.audit, AuditMode::Reserve);
    assert_eq!(bundle.profile("release").unwrap().audit, AuditMode::Commit);
}

#[test]
fn a_plugin_reads_no_dates_and_nothing_that_is_mixed() {
    let parse = |value: &str| {
        let text = format!("[[plugins]]\nname = \"a\"\nfile = \"plugins/a.wasm\"\n[plugins.config]\nv = {value}\n");
        let files = [
            ("bundle.toml".to_owned(), text.into_bytes()),
            ("plugins/a.wasm".to_owned(), b"\0asm".to_vec()),
        ];
        Bundle::parse(&files).map(|bundle| bundle.plugins[0].config["v"].clone())
    };
    for (value, read) in [
        ("true", ConfigValue::Bool(true)),
        ("-3", ConfigValue::Int(-3)),
        ("1.5", ConfigValue::Float(1.5)),
        ("\"2026-01-01\"", ConfigValue::Text("2026-01-01".to_owned())),
        ("[\"x\"]", ConfigValue::Texts(vec!["x".to_owned()])),
    ] {
        assert_eq!(parse(value).unwrap(), read);
    }
    for value in [
        "2026-01-01",
        "12:30:00",
        "[2026-01-01]",
        "[1]",
        "[\"x\", 1]",
        "{ a = 1 }",
    ] {
        let errors = parse(value).unwrap_err();
        assert_eq!(
            (errors[0].line, errors[0].field.as_str()),
            (Some(5), "plugins[0].config.v"),
            "{value}"
        );
    }
}

#[test]
fn a_component_or_table_that_no_plugin_names_is_found() {
    let mut files = sample();
    assert_eq!(Bundle::parse(&files).unwrap().unnamed(&files), []);
    for path in ["plugins/other.wasm", "plugins/old.csv"] {
        files.push((path.to_owned(), b"\0asm".to_vec()));
    }
    let unnamed = Bundle::parse(&files).unwrap().unnamed(&files);
    let found: Vec<_> = unnamed.iter().map(|odd| odd.file.as_str()).collect();
    assert_eq!(found, ["plugins/other.wasm", "plugins/old.csv"]);
}

#[test]
fn a_plugin_has_the_imports_and_tables_that_the_bundle_gives_it() {
    let parse = |entry: &str| {
        let head = "[[plugins]]\nname = \"rate\"\nfile = \"plugins/rate.wasm\"\n";
        Bundle::parse(&[
            ("bundle.toml".to_owned(), format!("{head}{entry}").into_bytes()),
            ("plugins/rate.wasm".to_owned(), b"\0asm".to_vec()),
            ("plugins/nets.csv".to_owned(), b"10.0.0.0/8,lab\n".to_vec()),
        ])
        .map(|bundle| bundle.plugin("rate").unwrap().clone())
        .map_err(|errors| errors[0].to_string())
    };
    assert_eq!(parse("").unwrap().imports, ["log", "config"]);
    let table = |kind: &str, file: &str| format!("[plugins.tables.nets]\nfile = \"{file}\"\nkind = \"{kind}\"\n");
    let given = parse(&format!(
        "imports = [\"counter\", \"lookup\"]\n{}",
        table("prefix", "plugins/nets.csv")
    ))
    .unwrap();
    assert_eq!(given.imports, ["counter", "lookup"]);
    let nets = &given.tables["nets"];
    assert!(nets.by_prefix && &*nets.text == b"10.0.0.0/8,lab\n");
    assert!(!parse(&table("exact", "plugins/nets.csv")).unwrap().tables["nets"].by_prefix);
    for (entry, says) in [
        ("imports = [\"exec\"]\n".to_owned(), "the host has no interface `exec`"),
        (table("exact", "plugins/gone.csv"), "has no table `plugins/gone.csv`"),
        (table("exact", "plugins/rate.wasm"), "has no table `plugins/rate.wasm`"),
        (table("regex", "plugins/nets.csv"), "regex"),
        ("isolation = \"container\"\n".to_owned(), "`shared` or `process`"),
    ] {
        let error = parse(&entry).unwrap_err();
        assert!(error.starts_with("bundle.toml") && error.contains(says), "{error}");
    }
}

#[test]
fn so_many_plugins_may_have_processes_of_their_own() {
    let bundle = |count: usize| {
        let entry =
            |number| format!("[[plugins]]\nname = \"p{number}\"\nfile = \"plugins/p.wasm\"\nisolation = \"process\"\n");
        let manifest = (0..count).map(entry).collect::<String>();
        Bundle::parse(&[
            ("bundle.toml".to_owned(), manifest.into_bytes()),
            ("plugins/p.wasm".to_owned(), b"\0asm".to_vec()),
        ])
    };
    let most = bundle(MAX_ISOLATED).unwrap();
    assert!(most.plugins.iter().all(|plugin| plugin.isolation == Isolation::Process));
    let error = bundle(MAX_ISOLATED + 1).unwrap_err()[0].to_string();
    assert!(
        error.contains("17 plugins have isolation = \"process\", at most 16 may"),
        "{error}"
    );
}

// R20
#[test]
fn a_component_beyond_the_usual_size_is_taken_where_the_bundle_says_so() {
    let parse = |entry: &str, size: usize| {
        let manifest = format!("[[plugins]]\nname = \"js\"\nfile = \"plugins/js.wasm\"\n{entry}");
        let mut wasm = b"\0asm".to_vec();
        wasm.resize(size, 0);
        let files = [
            ("bundle.toml".to_owned(), manifest.into_bytes()),
            ("plugins/js.wasm".to_owned(), wasm),
        ];
        Bundle::parse(&files)
            .map(|bundle| bundle.plugin("js").unwrap().max_size)
            .map_err(|errors| errors[0].to_string())
    };
    assert_eq!(parse("", 4 << 20), Ok(4 << 20));
    let refused = parse("", (12 << 20) + 1).unwrap_err();
    assert!(
        refused.starts_with("bundle.toml")
            && refused.contains("12582913 bytes")
            && refused.contains("max_size = \"13MiB\""),
        "{refused}"
    );
    assert_eq!(parse("max_size = \"13MiB\"", (12 << 20) + 1), Ok(13 << 20));
    assert_eq!(parse("max_size = \"32MiB\"", 32 << 20), Ok(32 << 20));
    for entry in ["max_size = \"0B\"", "max_size = \"33MiB\""] {
        assert!(parse(entry, 4).unwrap_err().contains("up to 32MiB"), "{entry}");
    }
}

#[test]
fn a_profile_says_how_durable_its_records_are() {
    let audit = |mode: &str| {
        let mut files = sample();
        let session = files
            .iter_mut()
            .find(|(path, _)| path == "profiles/session.toml")
            .unwrap();
        session.1.splice(0..0, format!("audit = \"{mode}\"\n").into_bytes());
        Bundle::parse(&files).map(|bundle| bundle.profile("session").unwrap().audit)
    };
    assert_eq!(audit("commit").unwrap(), AuditMode::Commit);
    assert_eq!(audit("reserve").unwrap(), AuditMode::Reserve);
    assert_eq!(audit("witness").unwrap(), AuditMode::Witness);
    let errors = audit("witnessed").unwrap_err();
    let text = errors[0].to_string();
    assert!(
        text.contains("profiles/session.toml") && text.contains("`witness`"),
        "{text}"
    );
}

#[test]
fn the_digest_is_of_the_content_and_not_of_its_order() {
    let files = sample();
    let mut turned = files.clone();
    turned.reverse();
    assert_eq!(digest(&files), digest(&turned));
    assert_eq!(digest(&files), Bundle::parse(&turned).unwrap().digest);
    turned[0].1.push(b' ');
    assert_ne!(digest(&files), digest(&turned));
    // What moves from a path into a content changes the digest.
    let file = |path: &str, content: &[u8]| (path.to_owned(), content.to_vec());
    assert_ne!(digest(&[file("ab", b"c")]), digest(&[file("a", b"bc")]));
    assert_eq!(digest(&[]).len(), 64);
}

#[test]
fn an_empty_bundle_file_is_a_bundle_and_none_is_not() {
    assert!(Bundle::parse(&[("bundle.toml".to_owned(), Vec::new())]).is_ok());
    let errors = Bundle::parse(&[]).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "bundle.toml: the file is missing (a bundle needs one, it may be empty)"
    );
}

// R31
#[test]
fn sizes_numbers_and_paths_are_bounded() {
    let whole = |extra: Vec<File>| {
        let files: Vec<File> = std::iter::once(("bundle.toml".to_owned(), Vec::new()))
            .chain(extra)
            .collect();
        Bundle::parse(&files)
    };
    let file = |path: &str, size: usize| (path.to_owned(), vec![b' '; size]);
    assert!(whole(vec![file("policies/a.cedar", MAX_TEXT_BYTES)]).is_ok());
    assert!(whole(vec![file("policies/a.cedar", MAX_TEXT_BYTES + 1)]).is_err());
    assert!(whole((0..MAX_FILES).map(|n| file(&format!("trust/{n}"), 0)).collect()).is_err());
    assert!(whole(vec![file("trust/a", 0), file("trust/a", 1)]).is_err());
    for path in [
        "",
        "/etc/passwd",
        "trust/../x",
        "trust/a/b",
        "trust/.hidden",
        "policies/a.cedar/b",
        "profiles/.toml",
        "a\0",
    ] {
        assert!(whole(vec![file(path, 0)]).is_err(), "{path}");
    }
    let errors = whole(vec![("policies/a.cedar".to_owned(), vec![0xff])]).unwrap_err();
    assert!(errors[0].to_string().contains("not UTF-8"), "{}", errors[0]);
}

#[test]
fn a_folder_is_read_without_what_people_keep_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    };
    for path in [
        "bundle.toml",
        "README.md",
        ".git/config",
        "cases/a/request.json",
        "policies/a.cedar",
        "policies/x.md",
    ] {
        put(path);
    }
    let paths: Vec<String> = dir::read(folder.path())
        .unwrap()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(paths, ["bundle.toml", "policies/a.cedar"]);
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("trust.pem")).unwrap();
    assert!(dir::read(folder.path()).unwrap_err().to_string().contains("is a link"));
    assert!(dir::read(&folder.path().join("none")).is_err());
}

/// Whoever names the wrong folder, such as the one above, sends nobody his keys.
#[test]
fn what_is_no_file_of_a_bundle_is_named_and_not_read() {
    let folder = tempfile::TempDir::new().unwrap();
    let put = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("dev/ca.key.pem", "a secret");
    put("bundle/bundle.toml", "");
    let error = dir::read(folder.path()).unwrap_err().to_string();
    let expected = format!(
        "bundle.toml: there is none in `{}` (is this the bundle's folder? it has one, which may be empty)",
        folder.path().display()
    );
    assert_eq!(error, expected);
    put("bundle.toml", "");
    put("trust/ca.pem", "known");
    let files = dir::read(folder.path()).unwrap();
    let read = |path: &str| files.iter().find(|(found, _)| found == path).unwrap().1.clone();
    assert_eq!(
        (read("dev/ca.key.pem"), read("trust/ca.pem")),
        (vec![], b"known".to_vec())
    );
    let errors = Bundle::parse(&files).unwrap_err();
    let named = |path: &str| {
        errors
            .iter()
            .any(|error| error.to_string().starts_with(&format!("{path}: ")))
    };
    assert!(named("dev/ca.key.pem") && named("bundle/bundle.toml"), "{errors:?}");
}
