use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::testing::{Bench, DELEGATE, bundle};

const KEY: [u8; KEY_LEN] = [7; KEY_LEN];

fn batch(samples: u32) -> SampleBatch {
    SampleBatch {
        key: KEY.to_vec(),
        encapsulated: vec![8; KEY_LEN],
        ciphertext: vec![9; 1000],
        samples,
    }
}

/// A bundle that asks for samples, with this in its section; none for an empty one.
async fn apply(bench: &Bench, text: &str) {
    let mut files = bundle(DELEGATE);
    let manifest = files.iter_mut().find(|(path, _)| path == "bundle.toml").unwrap();
    if !text.is_empty() {
        let section = format!("\n[sampling]\nrate = 0.5\nkey = \"{}\"\n{text}\n", base64url(&KEY));
        manifest.1.extend_from_slice(section.as_bytes());
    }
    bench.publish(files, false).await.unwrap();
}

fn files(bench: &Bench) -> Vec<PathBuf> {
    let listed = fs::read_dir(bench.path().join("samples")).into_iter().flatten();
    listed.map(|entry| entry.unwrap().path()).collect()
}

fn sequences(samples: &Samples) -> Vec<u64> {
    let (page, next) = samples.page(0).unwrap();
    assert_eq!(next, None);
    page.iter().map(|kept| kept.sequence).collect()
}

#[tokio::test]
async fn nothing_is_taken_that_the_bundle_does_not_ask_for() {
    let bench = Bench::new().await;
    let samples = &bench.wired.samples;
    let unwanted = |batch: &SampleBatch| matches!(samples.take("edge-1", batch), Err(NotKept::Unwanted(_)));
    assert!(unwanted(&batch(1)), "no bundle");
    apply(&bench, "").await;
    assert!(unwanted(&batch(1)), "no sampling");
    apply(&bench, "keep = 100").await;
    assert!(
        unwanted(&SampleBatch {
            key: vec![1; KEY_LEN],
            ..batch(1)
        }),
        "another key"
    );
    let malformed = [
        batch(0),
        batch(101),
        SampleBatch {
            encapsulated: vec![8; 31],
            ..batch(1)
        },
        SampleBatch {
            ciphertext: vec![9; TAG_LEN - 1],
            ..batch(1)
        },
        SampleBatch {
            ciphertext: vec![9; MAX_BATCH + TAG_LEN + 1],
            ..batch(1)
        },
    ];
    for batch in malformed {
        assert!(
            matches!(samples.take("edge-1", &batch), Err(NotKept::Malformed)),
            "{batch:?}"
        );
    }
    assert_eq!(files(&bench).len(), 0);
    samples.take("edge-1", &batch(100)).unwrap();
    let [file] = files(&bench).try_into().unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let (page, _) = samples.page(0).unwrap();
    let [kept] = &page[..] else { panic!("{page:?}") };
    assert_eq!(
        (kept.edge.as_str(), kept.samples, kept.time),
        ("edge-1", 100, bench.now())
    );
    assert_eq!(
        (&kept.key, &kept.ciphertext),
        (&base64url(&KEY), &base64url(&[9; 1000]))
    );
}

#[tokio::test]
async fn the_newest_are_kept_as_many_and_as_long_as_the_bundle_says() {
    let bench = Bench::new().await;
    apply(&bench, "keep = 25\nmax_age = \"1h\"").await;
    let samples = &bench.wired.samples;
    for _ in 0..4 {
        samples.take("edge-1", &batch(10)).unwrap();
    }
    assert_eq!((sequences(samples), files(&bench).len()), (vec![2, 3], 2));
    bench.pass(3599);
    samples.take("edge-1", &batch(1)).unwrap();
    assert_eq!(sequences(samples), [2, 3, 4]);
    bench.pass(1);
    samples.trim();
    assert_eq!((sequences(samples), files(&bench).len()), (vec![4], 1));
    apply(&bench, "").await;
    samples.trim();
    assert_eq!(
        (sequences(samples), files(&bench).len()),
        (vec![], 0),
        "they are asked for no more"
    );
}

#[tokio::test]
async fn a_restart_finds_what_was_kept_and_not_what_was_half_written() {
    let bench = Bench::new().await;
    apply(&bench, "").await;
    apply(&bench, "keep = 1000").await;
    bench.wired.samples.take("edge-1", &batch(3)).unwrap();
    bench.wired.samples.take("edge-2", &batch(4)).unwrap();
    fs::write(bench.path().join("samples/2.new"), "{").unwrap();
    let damaged = format!("samples/2.{}.9.edge-3", bench.now());
    fs::write(bench.path().join(damaged), "{").unwrap();
    fs::write(bench.path().join("samples/README"), "somebody else's").unwrap();
    let bench = bench.restart().await;
    let samples = &bench.wired.samples;
    assert!(!bench.path().join("samples/2.new").exists());
    assert!(bench.path().join("samples/README").exists());
    samples.take("edge-1", &batch(5)).unwrap();
    let (page, _) = samples.page(0).unwrap();
    let seen: Vec<_> = page.iter().map(|kept| (kept.sequence, kept.samples)).collect();
    assert_eq!(seen, [(0, 3), (1, 4), (3, 5)], "a damaged file is left out");
}

#[tokio::test]
async fn of_two_authorities_each_keeps_and_hands_out_what_came_to_it() {
    let bench = Bench::new().await;
    apply(&bench, "keep = 25").await;
    let a = &bench.wired.samples;
    let directory = bench.path().join("samples-of-b");
    let b = Samples::open(
        directory.clone(),
        bench.wired.bundles.clone(),
        bench.parts.clock.clone(),
    );
    a.take("edge-1", &batch(10)).unwrap();
    b.take("edge-1", &batch(20)).unwrap();
    b.take("edge-2", &batch(5)).unwrap();
    let seen = |samples: &Samples| -> Vec<_> {
        let (page, _) = samples.page(0).unwrap();
        let of = |kept: &Kept| (kept.sequence, kept.edge.clone(), kept.samples);
        page.iter().map(of).collect()
    };
    assert_eq!(seen(a), [(0, "edge-1".to_owned(), 10)]);
    let both = [(0, "edge-1".to_owned(), 20), (1, "edge-2".to_owned(), 5)];
    assert_eq!(seen(&b), both, "bounds are each one's own");
    apply(&bench, "").await;
    a.trim();
    assert_eq!((seen(a).len(), seen(&b).len()), (0, 2), "each looks after its own");
    b.trim();
    assert_eq!(seen(&b), []);
    assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
}

#[tokio::test]
async fn pages_follow_each_other_and_end() {
    let bench = Bench::new().await;
    apply(&bench, "keep = 1000").await;
    let samples = &bench.wired.samples;
    let large = SampleBatch {
        ciphertext: vec![9; MAX_BATCH],
        ..batch(1)
    };
    for _ in 0..150 {
        samples.take("edge-1", &large).unwrap();
    }
    let (mut from, mut seen, mut pages) = (Some(0), Vec::new(), 0);
    while let Some(start) = from {
        let (page, next) = samples.page(start).unwrap();
        seen.extend(page.iter().map(|kept| kept.sequence));
        (from, pages) = (next, pages + 1);
    }
    assert_eq!(seen, (0..150).collect::<Vec<_>>());
    assert!((2..10).contains(&pages), "{pages}");
}
