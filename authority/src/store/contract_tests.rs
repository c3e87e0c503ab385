//! The contract of [`Store`], for every implementation: each gives an empty store and says how to open it anew.

use std::sync::Arc;

use super::*;

mod sums;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redb_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = Arc::new(RedbStore::open(&path).unwrap());
    keeps_the_contract(store.clone()).await;
    let (revision, rows) = (
        store.revision().await.unwrap(),
        store.scan("", None, MAX_SCAN).await.unwrap(),
    );
    Arc::into_inner(store).unwrap().close();
    let reopened = RedbStore::open(&path).unwrap();
    assert_eq!(reopened.revision().await.unwrap(), revision);
    assert_eq!(*reopened.watch().borrow(), revision);
    assert_eq!(reopened.scan("", None, MAX_SCAN).await.unwrap(), rows);
}

pub(super) async fn keeps_the_contract(store: Arc<dyn Store>) {
    starts_empty(&*store).await;
    puts_gets_and_deletes(&*store).await;
    compares(&*store).await;
    is_atomic(&*store).await;
    pages(&*store).await;
    shows_one_state(&*store).await;
    announces(&*store).await;
    tells_what_was_committed(&*store).await;
    refuses_bad_requests(&*store).await;
    sums::keeps_sums(&*store).await;
    lets_one_of_many_win(Arc::clone(&store)).await;
    loses_no_update(store).await;
}

fn conflict(path: &str) -> Result<u64, StoreError> {
    Err(StoreError::Conflict { path: path.to_owned() })
}

async fn starts_empty(store: &dyn Store) {
    assert_eq!(store.revision().await.unwrap(), 0);
    assert_eq!(*store.watch().borrow(), 0);
    assert_eq!(store.get("keys/1").await.unwrap(), None);
    assert_eq!(store.scan("", None, 10).await.unwrap(), []);
}

async fn puts_gets_and_deletes(store: &dyn Store) {
    let first = store.commit(Transaction::new().put("a/1", "one")).await.unwrap();
    assert_eq!(
        store.get("a/1").await.unwrap().unwrap(),
        Row {
            value: b"one".to_vec(),
            revision: first
        }
    );
    let second = store
        .commit(Transaction::new().put("a/1", "uno").put("a/2", vec![]))
        .await
        .unwrap();
    assert_eq!(second, first + 1);
    assert_eq!(
        store.get("a/1").await.unwrap().unwrap(),
        Row {
            value: b"uno".to_vec(),
            revision: second
        }
    );
    assert_eq!(
        store.get("a/2").await.unwrap().unwrap(),
        Row {
            value: vec![],
            revision: second
        }
    );
    let third = store
        .commit(Transaction::new().delete("a/1").delete("a/never"))
        .await
        .unwrap();
    assert_eq!((third, store.get("a/1").await.unwrap()), (second + 1, None));
    let fourth = store.commit(Transaction::new().put("a/1", "again")).await.unwrap();
    assert_eq!(store.get("a/1").await.unwrap().unwrap().revision, fourth);
    assert_eq!(store.revision().await.unwrap(), fourth);
}

async fn compares(store: &dyn Store) {
    let made = store
        .commit(Transaction::new().absent("c").put("c", "1"))
        .await
        .unwrap();
    assert_eq!(
        store.commit(Transaction::new().absent("c").put("c", "2")).await,
        conflict("c")
    );
    assert_eq!(
        store
            .commit(Transaction::new().unchanged("c", made - 1).put("c", "2"))
            .await,
        conflict("c")
    );
    assert_eq!(
        store
            .commit(Transaction::new().unchanged("never", made).put("c", "2"))
            .await,
        conflict("never")
    );
    assert_eq!(store.get("c").await.unwrap().unwrap().value, b"1");
    let changed = store
        .commit(Transaction::new().unchanged("c", made).put("c", "2"))
        .await
        .unwrap();
    assert_eq!(
        store.commit(Transaction::new().unchanged("c", made).delete("c")).await,
        conflict("c")
    );
    assert_eq!(
        store.commit(Transaction::new().unchanged("c", changed)).await,
        Ok(changed),
        "a check alone writes nothing"
    );
    assert_eq!(
        store.commit(Transaction::new().unchanged("c", made)).await,
        conflict("c")
    );
    store
        .commit(Transaction::new().unchanged("c", changed).delete("c"))
        .await
        .unwrap();
    let remade = store
        .commit(Transaction::new().absent("c").put("c", "3"))
        .await
        .unwrap();
    assert!(remade > changed, "a re-made row shows a new revision");
}

async fn is_atomic(store: &dyn Store) {
    let before = store.revision().await.unwrap();
    let transaction = Transaction::new()
        .absent("t/1")
        .absent("c")
        .put("t/1", "x")
        .put("t/2", "x")
        .delete("a/2");
    assert_eq!(store.commit(transaction).await, conflict("c"));
    assert_eq!(store.get("t/1").await.unwrap(), None);
    assert!(store.get("a/2").await.unwrap().is_some());
    assert_eq!(
        store.revision().await.unwrap(),
        before,
        "a conflict uses up no revision"
    );
}

async fn pages(store: &dyn Store) {
    let mut transaction = Transaction::new()
        .put("p", "before")
        .put("p0", "after the prefix in byte order");
    let mut expected: Vec<String> = (0..25)
        .map(|n| format!("p/{n:02}"))
        .chain(["p/é".to_owned(), "p/~".to_owned()])
        .collect();
    expected.sort();
    for path in &expected {
        transaction = transaction.put(path.as_str(), path.as_bytes());
    }
    store.commit(transaction).await.unwrap();
    for limit in [1, 7, 26, 27, 28, usize::MAX] {
        let mut paths = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = store.scan("p/", after.as_deref(), limit).await.unwrap();
            assert!(page.len() <= limit);
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            paths.extend(page.into_iter().map(|(path, row)| {
                assert_eq!(row.value, path.as_bytes());
                path
            }));
        }
        assert_eq!(paths, expected, "pages of {limit}");
    }
    let paths = |page: Vec<(String, Row)>| page.into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    assert_eq!(
        paths(store.scan("p/", Some("a"), 1).await.unwrap()),
        ["p/00"],
        "an `after` before the prefix"
    );
    assert_eq!(
        paths(store.scan("p/", Some("p/005"), 1).await.unwrap()),
        ["p/01"],
        "an `after` that is no row"
    );
    assert_eq!(
        paths(store.scan("p/", Some("q"), 9).await.unwrap()),
        [""; 0],
        "an `after` behind the prefix"
    );
    assert_eq!(paths(store.scan("p/", None, 0).await.unwrap()), [""; 0]);
    assert_eq!(paths(store.scan("nothing/", None, 9).await.unwrap()), [""; 0]);
}

async fn shows_one_state(store: &dyn Store) {
    let mut transaction = Transaction::new();
    for number in 0..9 {
        transaction = transaction.put(format!("snapshot/{number}"), vec![0; SNAPSHOT_PAGE / 4]);
    }
    store.commit(transaction).await.unwrap();
    let all = store.scan("", None, MAX_SCAN).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    let before = store.revision().await.unwrap();
    assert_eq!((snapshot.revision(), snapshot.rows()), (before, all.len() as u64));
    let (mut seen, mut pages): (Vec<(String, Row)>, _) = (Vec::new(), 0);
    loop {
        let after = seen.last().map(|(path, _)| path.clone());
        let page = snapshot.page(after.as_deref(), MAX_SCAN).await.unwrap();
        // What happens meanwhile is not seen.
        let meanwhile = Transaction::new().put("snapshot/9", "late").delete("snapshot/8");
        store.commit(meanwhile).await.unwrap();
        if page.is_empty() {
            break;
        }
        pages += 1;
        seen.extend(page);
    }
    assert_eq!(seen, all);
    assert!(pages >= 2, "a page is bounded in bytes");
    let raised = before + 1_000_000;
    let revision = store
        .commit(Transaction::new().delete("snapshot/9").raise_to(raised))
        .await;
    assert_eq!(revision, Ok(raised));
    assert_eq!(
        store.commit(Transaction::new().put("a", "b").raise_to(5)).await,
        Ok(raised + 1)
    );
    let mut clean = Transaction::new().delete("a");
    for number in 0..9 {
        clean = clean.delete(format!("snapshot/{number}"));
    }
    store.commit(clean).await.unwrap();
}

async fn announces(store: &dyn Store) {
    let mut watch = store.watch();
    watch.mark_unchanged();
    let revision = store.commit(Transaction::new().put("w", "1")).await.unwrap();
    assert_eq!(*watch.wait_for(|seen| *seen >= revision).await.unwrap(), revision);
    watch.mark_unchanged();
    store
        .commit(Transaction::new().absent("w").put("w", "2"))
        .await
        .unwrap_err();
    assert!(!watch.has_changed().unwrap(), "a conflict is no news");
}

async fn tells_what_was_committed(store: &dyn Store) {
    let mut told = store.commits();
    let mut at = store.revision().await.unwrap();
    let until = at + 10;
    for number in 0..4 {
        let transaction = Transaction::new()
            .put(format!("told/{number}"), "x")
            .delete("told/before");
        store.commit(transaction.raise_to(at + number)).await.unwrap();
        store
            .commit(
                Transaction::new()
                    .absent(format!("told/{number}"))
                    .put("told/never", ""),
            )
            .await
            .unwrap_err();
    }
    store
        .commit(Transaction::new().put("told/last", "").raise_to(until))
        .await
        .unwrap();
    let mut paths = std::collections::BTreeSet::new();
    while at < until {
        let committed = told.recv().await.unwrap();
        assert_eq!(committed.before, at, "none is left out");
        assert!(committed.revision > at);
        at = committed.revision;
        paths.extend(committed.paths.iter().cloned());
    }
    assert_eq!(at, until);
    // Whether the deletion of an absent row is told of is the store's own affair.
    paths.remove("told/before");
    let expected = ["told/0", "told/1", "told/2", "told/3", "told/last"];
    assert!(paths.iter().eq(expected), "{paths:?}");
    let clean = expected.into_iter().fold(Transaction::new(), Transaction::delete);
    store.commit(clean).await.unwrap();
}

async fn refuses_bad_requests(store: &dyn Store) {
    let long = "x".repeat(MAX_PATH_LEN + 1);
    for path in ["", "a\nb", "a\0b", &long] {
        let bad = [
            store.get(path).await.map(|_| 0),
            store.commit(Transaction::new().put(path, "x")).await,
            store.commit(Transaction::new().delete(path)).await,
            store.commit(Transaction::new().absent(path).put("fine", "x")).await,
        ];
        for outcome in bad {
            assert!(
                matches!(outcome, Err(StoreError::Invalid { .. })),
                "`{path:?}`: {outcome:?}"
            );
        }
    }
    let twice = Transaction::new().put("x", "1").delete("x");
    assert!(
        store
            .commit(twice)
            .await
            .unwrap_err()
            .to_string()
            .contains("written twice")
    );
    let mut many = Transaction::new();
    for n in 0..=MAX_OPERATIONS {
        many = many.put(format!("many/{n}"), "x");
    }
    assert!(matches!(store.commit(many).await, Err(StoreError::Invalid { .. })));
    let huge = Transaction::new().put("huge", vec![0; MAX_VALUE_LEN + 1]);
    assert!(matches!(store.commit(huge).await, Err(StoreError::Invalid { .. })));
    assert_eq!(store.get("fine").await.unwrap(), None);
}

async fn lets_one_of_many_win(store: Arc<dyn Store>) {
    let tries: Vec<_> = (0..50)
        .map(|n: u32| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store
                    .commit(Transaction::new().absent("race").put("race", n.to_string()))
                    .await
            })
        })
        .collect();
    let mut winners = 0;
    for outcome in tries {
        match outcome.await.unwrap() {
            Ok(_) => winners += 1,
            other => assert_eq!(other, conflict("race")),
        }
    }
    assert_eq!(winners, 1);
}

async fn loses_no_update(store: Arc<dyn Store>) {
    store.commit(Transaction::new().put("counter", "0")).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..10 {
                    loop {
                        let row = store.get("counter").await.unwrap().unwrap();
                        let count: u64 = String::from_utf8(row.value).unwrap().parse().unwrap();
                        let add = Transaction::new()
                            .unchanged("counter", row.revision)
                            .put("counter", (count + 1).to_string());
                        if store.commit(add).await.is_ok() {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.get("counter").await.unwrap().unwrap().value, b"80");
}
