//! The sums over all rows: each commit keeps them, or they do not open any more.

use super::*;
use crate::store::sums::Kept;

/// How the rows differ from the sums that are kept; none where no sums open.
async fn differing(store: &dyn Store, key: &Arc<SumKey>) -> Option<Vec<String>> {
    let summed = store.snapshot().await.unwrap().sums(key).await.unwrap();
    match summed.kept {
        Kept::Sums(kept) => Some(summed.found.differing(&kept)),
        Kept::Never | Kept::Unreadable => None,
    }
}

async fn begun(store: &dyn Store, key: &Arc<SumKey>) -> Summing {
    let snapshot = store.snapshot().await.unwrap();
    let found = snapshot.sums(key).await.unwrap().found;
    let begin = Some((snapshot.revision(), found));
    Summing {
        key: key.clone(),
        begin,
    }
}

// R29
pub(super) async fn keeps_sums(store: &dyn Store) {
    let secret = signing::key::Secret::new(vec![3; 32]);
    let key = Arc::new(SumKey::derive(&secret).unwrap());
    let go_on = Some(Summing {
        key: key.clone(),
        begin: None,
    });
    store
        .commit(Transaction::new().put("sums/1", "one").summed(go_on.clone()))
        .await
        .unwrap();
    assert_eq!(differing(store, &key).await, None, "none were begun with");
    let stale = begun(store, &key).await;
    let begin = begun(store, &key).await;
    store
        .commit(Transaction::new().put("sums/2", "two").summed(Some(begin)))
        .await
        .unwrap();
    assert_eq!(differing(store, &key).await, Some(vec![]));
    let refused = store
        .commit(Transaction::new().put("sums/2", "2").summed(Some(stale)))
        .await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    let long = vec![7; 3 << 20];
    for transaction in [
        Transaction::new()
            .put("sums/1", "uno")
            .delete("sums/2")
            .delete("sums/none")
            .put("kind/x", ""),
        Transaction::new().put("sums/long", long.clone()).put("sums/2", "dos"),
        Transaction::new()
            .put("sums/long", [&long[..], b"er"].concat())
            .raise_to(store.revision().await.unwrap() + 50),
        Transaction::new().absent("sums/long").put("sums/1", "not done"),
        Transaction::new().delete("sums/long").delete("kind/x"),
    ] {
        let _ = store.commit(transaction.summed(go_on.clone())).await;
        assert_eq!(differing(store, &key).await, Some(vec![]));
    }
    let many = (0..100).map(|number| {
        store.commit(
            Transaction::new()
                .put(format!("many/{}", number % 9), "x")
                .summed(go_on.clone()),
        )
    });
    for done in many.collect::<Vec<_>>() {
        done.await.unwrap();
    }
    assert_eq!(differing(store, &key).await, Some(vec![]));
    // A commit that does not keep them leaves sums that do not open, and no later one mends that.
    store.commit(Transaction::new().put("sums/1", "other")).await.unwrap();
    store
        .commit(Transaction::new().put("sums/1", "again").summed(go_on))
        .await
        .unwrap();
    assert_eq!(differing(store, &key).await, None);
    let begin = begun(store, &key).await;
    store
        .commit(Transaction::new().delete("sums/1").summed(Some(begin)))
        .await
        .unwrap();
    assert_eq!(differing(store, &key).await, Some(vec![]));
}
