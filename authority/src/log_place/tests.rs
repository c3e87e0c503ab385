use audit::log::objects::{Objects, PutError};

use super::*;

/// What every storage of a log keeps to.
pub(crate) fn contract(objects: &mut dyn Objects) {
    let get = |objects: &dyn Objects, name: &str| objects.get(name).unwrap();
    assert_eq!(get(objects, "tile/0/000"), None);
    objects.put("tile/0/000", b"one").unwrap();
    objects.put("tile/0/000", b"two").unwrap();
    assert_eq!(get(objects, "tile/0/000").unwrap(), b"two", "replaced, whole");
    objects.put("tile/0/000.p/7", b"").unwrap();
    assert_eq!(get(objects, "tile/0/000.p/7").unwrap(), b"", "empty is not absent");
    let large = vec![7; (9 << 20) + 1];
    objects.create("pack/x001/000", &large).unwrap();
    assert!(get(objects, "pack/x001/000").unwrap() == large);

    objects.create("pack/001", b"a").unwrap();
    objects.create("pack/001", b"a").unwrap();
    assert!(matches!(objects.create("pack/001", b"b"), Err(PutError::Taken)));
    assert_eq!(get(objects, "pack/001").unwrap(), b"a", "created once");

    assert!(matches!(
        objects.swap("checkpoint", Some(b"0"), b"1"),
        Err(PutError::Taken)
    ));
    objects.swap("checkpoint", None, b"1").unwrap();
    assert!(matches!(objects.swap("checkpoint", None, b"2"), Err(PutError::Taken)));
    objects.swap("checkpoint", Some(b"1"), b"2").unwrap();
    objects.swap("checkpoint", Some(b"1"), b"2").unwrap();
    assert!(matches!(
        objects.swap("checkpoint", Some(b"1"), b"3"),
        Err(PutError::Taken)
    ));
    assert_eq!(get(objects, "checkpoint").unwrap(), b"2");

    let names: Vec<String> = (0..1_500).map(|n| format!("tile/0/000.p/{n}")).collect();
    objects.remove(&names).unwrap();
    objects.remove(&names).unwrap();
    assert_eq!(get(objects, "tile/0/000.p/7"), None);
    assert_eq!(get(objects, "tile/0/000").unwrap(), b"two");
    objects.remove(&[]).unwrap();
}

#[test]
fn a_directory_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let place = LogPlace::Directory(dir.path().join("log"));
    contract(place.writer().unwrap().as_mut());
    let writer = place.writer().unwrap();
    let second = place.writer().err().unwrap().to_string();
    assert!(second.contains("in use by another process"), "{second}");
    assert_eq!(writer.claim(), None, "the lock keeps others out");
}

#[test]
fn places_are_written_as_paths_and_urls() {
    let access = S3Config {
        region: Some("eu-1".into()),
        ..S3Config::default()
    };
    let parse = |text: &str| LogPlace::parse(text, &access).map(|place| place.to_string());
    assert_eq!(parse("/var/log").unwrap(), "/var/log");
    assert_eq!(parse("s3://logs/a/b/").unwrap(), "s3://logs/a/b");
    assert_eq!(parse("s3://logs").unwrap(), "s3://logs");
    assert!(parse("s3://").unwrap_err().starts_with("the bucket must"));
    assert!(parse("s3://logs//a").unwrap_err().starts_with("the prefix must"));
    let nowhere = LogPlace::parse("s3://logs/a", &S3Config::default());
    assert!(nowhere.is_ok() || nowhere.unwrap_err().contains("AWS_REGION"));
}

#[test]
fn replicas_that_share_a_store_have_a_log_each() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut config = crate::testing::config(&dir);
    config.audit.log = LogConfig::S3(S3Config {
        bucket: "logs".into(),
        prefix: "signet".into(),
        endpoint: Some("http://127.0.0.1:1".into()),
        ..S3Config::default()
    });
    assert_eq!(LogPlace::of(&config).unwrap().to_string(), "s3://logs/signet");
    let etcd = "[store]\netcd = [\"http://[::1]:1\"]\nreplica = \"b\"\n";
    #[derive(serde::Deserialize)]
    struct File {
        store: crate::config::StoreConfig,
    }
    config.store = node::config::parse::<File>("authority.toml", etcd).unwrap().store;
    assert_eq!(LogPlace::of(&config).unwrap().to_string(), "s3://logs/signet/b");
}
