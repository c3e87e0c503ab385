use std::path::Path;
use std::sync::atomic::Ordering;

use signing::compiled::EndorsementError;

use super::*;
use crate::testing::Bench;

const GUARD: &[u8] = include_bytes!("../../../deploy/dev/bundle/plugins/claim-guard.wasm");
const BRANCH: &[u8] = include_bytes!("../../../deploy/dev/bundle/plugins/protected-artifact.wasm");
const DAY: u64 = 86_400;

fn own() -> Target {
    Target::of_this_machine().unwrap()
}

fn files(bench: &Bench) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(bench.path().join("artifacts"));
    listed
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn believed(bench: &Bench, compiled: &Compiled) -> Result<u64, EndorsementError> {
    let root = bench.wired.issuer.roots().nodes.der();
    let believed = compiled.endorsement.verify(&[root], "example.org", bench.now())?;
    Artifact::endorsed(compiled.artifact.code().to_vec(), &believed, &sha256(GUARD), &own()).unwrap();
    Ok(believed.not_after())
}

// R20
#[tokio::test]
async fn a_component_is_compiled_once_and_endorsed() {
    let bench = Bench::new().await;
    let artifacts = &bench.wired.artifacts;
    let first = artifacts.get(GUARD, &own()).unwrap();
    believed(&bench, &first).unwrap();
    assert!(Arc::ptr_eq(&first, &artifacts.get(GUARD, &own()).unwrap()));
    let (endorsement, code) = (first.endorsement.clone(), first.artifact.code().to_vec());
    drop(first);
    let [file] = files(&bench).try_into().unwrap();
    let again = artifacts.get(GUARD, &own()).unwrap();
    assert_eq!(
        (&again.endorsement, again.artifact.code()),
        (&endorsement, &*code),
        "as it was kept"
    );
    drop(again);
    // After a restart another key endorses, under the same root.
    let bench = bench.restart().await;
    let kept = bench.wired.artifacts.get(GUARD, &own()).unwrap();
    assert_eq!((&kept.endorsement, files(&bench)), (&endorsement, vec![file]));
    let other = bench.wired.artifacts.get(BRANCH, &own()).unwrap();
    assert_ne!(other.endorsement.certificate, endorsement.certificate);
    assert_eq!(files(&bench).len(), 2);
}

// R20
#[tokio::test]
async fn what_the_directory_holds_counts_for_no_more_than_its_endorsement() {
    let bench = Bench::new().await;
    let artifacts = &bench.wired.artifacts;
    let good = artifacts.get(GUARD, &own()).unwrap().endorsement.statement.clone();
    let [file] = files(&bench).try_into().unwrap();
    drop(artifacts.get(BRANCH, &own()).unwrap());
    let other = files(&bench).into_iter().find(|path| *path != file).unwrap();
    let stranger = Bench::new().await;
    drop(stranger.wired.artifacts.get(GUARD, &own()).unwrap());
    let [foreign] = files(&stranger).try_into().unwrap();
    let content = std::fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut content = content.clone();
        content[at] ^= 1;
        content
    };
    for (what, wrong) in [
        ("other code", flipped(content.len() - 1)),
        ("other endorsement", flipped(200)),
        ("cut", content[..content.len() - 1].to_vec()),
        ("longer", [&*content, b"x"].concat()),
        ("nothing", Vec::new()),
        ("rubbish", vec![b'x'; 100_000]),
        ("another component's", std::fs::read(&other).unwrap()),
        ("another authority's", std::fs::read(&foreign).unwrap()),
    ] {
        std::fs::write(&file, wrong).unwrap();
        let compiled = artifacts.get(GUARD, &own()).unwrap();
        believed(&bench, &compiled).unwrap();
        assert_eq!(compiled.endorsement.statement, good, "{what}: made again, the same");
        drop(compiled);
        let kept = std::fs::read(&file).unwrap();
        assert_eq!(kept.len(), content.len(), "{what}: and kept");
    }
}

#[tokio::test]
async fn an_endorsement_is_made_anew_before_it_ends() {
    let bench = Bench::new().await;
    let artifacts = bench.wired.artifacts.clone();
    let first = believed(&bench, &artifacts.get(GUARD, &own()).unwrap()).unwrap();
    assert_eq!(first, bench.now() + 30 * DAY);
    bench.hand.fetch_add(14 * DAY, Ordering::SeqCst);
    artifacts
        .signers
        .renew(&artifacts.issuer, &artifacts.clock)
        .await
        .unwrap();
    assert_eq!(believed(&bench, &artifacts.get(GUARD, &own()).unwrap()).unwrap(), first);
    bench.pass(9 * DAY);
    artifacts
        .signers
        .renew(&artifacts.issuer, &artifacts.clock)
        .await
        .unwrap();
    let later = believed(&bench, &artifacts.get(GUARD, &own()).unwrap()).unwrap();
    assert_eq!(later, bench.now() + 30 * DAY);
    // One that has ended is compiled again: nobody believes it.
    bench.pass(40 * DAY);
    artifacts
        .signers
        .renew(&artifacts.issuer, &artifacts.clock)
        .await
        .unwrap();
    let last = believed(&bench, &artifacts.get(GUARD, &own()).unwrap()).unwrap();
    assert_eq!(last, bench.now() + 30 * DAY);
}

// R20
#[tokio::test]
async fn what_does_not_compile_is_told_and_the_directory_is_bounded() {
    let bench = Bench::new().await;
    let artifacts = &bench.wired.artifacts;
    let wrong = artifacts.get(b"\0asm\x0d\0\x01\0rubbish", &own()).unwrap_err();
    assert!(matches!(wrong, LoadFailure::Malformed(_)), "{wrong}");
    assert!(files(&bench).is_empty());
    drop(artifacts.get(GUARD, &own()).unwrap());
    let directory = bench.path().join("artifacts");
    let old = |path: &Path| {
        let file = std::fs::File::create(path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    };
    (0..2_100).for_each(|number| old(&directory.join(format!("{number:04}"))));
    drop(artifacts.get(BRANCH, &own()).unwrap());
    let left = files(&bench);
    assert!(left.len() <= 2_000, "{}", left.len());
    let code = left.iter().filter(|path| path.to_string_lossy().contains("x86-64"));
    assert_eq!(code.count(), 2, "what was used last stays");
}

#[tokio::test]
async fn a_machine_with_less_gets_code_of_its_own() {
    let bench = Bench::new().await;
    let artifacts = &bench.wired.artifacts;
    let statement = |level: &str| {
        let target = Target::all().iter().find(|target| target.name() == level).unwrap();
        artifacts.get(GUARD, target).unwrap().endorsement.statement.clone()
    };
    let (small, large) = (statement("x86-64-v1"), statement("x86-64-v3"));
    assert_eq!(small.component, large.component);
    assert_ne!(
        (small.compatibility, small.artifact),
        (large.compatibility, large.artifact)
    );
    assert_eq!(files(&bench).len(), 2);
}
