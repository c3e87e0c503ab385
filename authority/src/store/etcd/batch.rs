//! What a batch of transactions does to a store that was read. Pure: the state in, one etcd transaction out.
//!
//! The etcd transaction is conditional on the head alone. Every commit changes the head, so a head that is as it was read says
//! that every row is: the compares of the callers are decided here, on what was read with it, each transaction after the
//! writes of those before it.

use std::collections::HashMap;

use bytes::Bytes;

use super::super::sums::Summing;
use super::super::{Committed, Compare, StoreError, Transaction, Write};
use super::layout::{Chunks, Head, Layout, REMEMBERED, Stored, Token, Value};
use super::proto::{self, RequestOp, TxnRequest};

/// Operations under one of the operations of an etcd transaction. etcd lets a transaction have 128 of them, and those under
/// them as many as are left then: 64 times 48 are within that.
const UNDER_ONE: usize = 48;
/// Operations of one batch that begins with none: more than one transaction can have, chunks to be deleted included.
pub(super) const MAX_OPERATIONS: usize = 2500;
/// Transactions of one batch. Each may add a condition.
pub(super) const MAX_TRANSACTIONS: usize = 60;

/// A transaction whose long values are in chunks already.
#[derive(Clone, Debug, Default)]
pub(super) struct Prepared {
    pub(super) compares: Vec<Compare>,
    pub(super) writes: Vec<(String, Option<Value>)>,
    pub(super) at_least: u64,
    pub(super) summing: Option<Summing>,
    /// The stage its chunks are under, which must not have been swept.
    pub(super) stage: Option<Token>,
    /// Bytes of what it writes.
    pub(super) bytes: usize,
}

impl Prepared {
    /// Of a transaction without long values.
    #[cfg(test)]
    pub(super) fn inline(transaction: Transaction) -> Self {
        Self::new(transaction, |_, value| Value::Inline(value.into()))
    }

    /// `place` says where the value of each write (by its number) is.
    pub(super) fn new(transaction: Transaction, mut place: impl FnMut(u32, Vec<u8>) -> Value) -> Self {
        let mut prepared = Self {
            compares: transaction.compares,
            at_least: transaction.at_least,
            summing: transaction.summing,
            ..Self::default()
        };
        for (index, write) in (0_u32..).zip(transaction.writes) {
            let (path, value) = match write {
                Write::Put { path, value } => (path, Some(place(index, value))),
                Write::Delete { path } => (path, None),
            };
            let len = match &value {
                Some(Value::Inline(value)) => value.len(),
                Some(Value::Chunked(_)) | None => 0,
            };
            prepared.bytes = prepared.bytes.saturating_add(len).saturating_add(path.len());
            prepared.writes.push((path, value));
        }
        prepared
    }

    /// Operations at most.
    pub(super) fn operations(&self) -> usize {
        // A write may delete the chunks of the value before it.
        self.writes.len().saturating_mul(2).saturating_add(1)
    }

    /// The rows it is about.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let compared = self.compares.iter().map(|compare| compare.path.as_str());
        compared.chain(self.writes.iter().map(|(path, _)| path.as_str()))
    }
}

/// What was read, all at one etcd revision.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) head: Head,
    /// The head's etcd revision; 0 where there is none yet.
    pub(super) head_put: i64,
    /// How often the head has been put.
    pub(super) head_version: i64,
    /// The rows that the batch is about, as far as they are there.
    pub(super) rows: HashMap<String, Stored>,
}

/// What a batch is to do.
#[derive(Debug)]
pub(super) struct Plan {
    /// One for each transaction, once the request has succeeded.
    pub(super) outcomes: Vec<Result<u64, StoreError>>,
    /// None where nothing is written: the outcomes hold as they are.
    pub(super) request: Option<TxnRequest>,
    /// What to announce.
    pub(super) committed: Committed,
}

/// Applies the batch to the state.
pub(super) fn plan(layout: &Layout, state: &State, batch: &[Prepared], token: Token) -> Result<Plan, StoreError> {
    let mut rows: HashMap<&str, Option<&Stored>> = HashMap::new();
    rows.extend(state.rows.iter().map(|(path, row)| (path.as_str(), Some(row))));
    let mut revision = state.head.revision;
    let mut written: HashMap<&str, Option<Stored>> = HashMap::new();
    let (mut outcomes, mut stages, mut gone) = (Vec::with_capacity(batch.len()), Vec::new(), Vec::new());
    for transaction in batch {
        let current = |path: &str| match written.get(path) {
            Some(row) => row.as_ref(),
            None => rows.get(path).copied().flatten(),
        };
        let broken = |compare: &&Compare| current(&compare.path).map(|row| row.revision) != compare.revision;
        if let Some(broken) = transaction.compares.iter().find(broken) {
            let path = broken.path.clone();
            outcomes.push(Err(StoreError::Conflict { path }));
            continue;
        }
        if transaction.writes.is_empty() {
            outcomes.push(Ok(revision));
            continue;
        }
        if let Some(Err(conflict)) = transaction.summing.as_ref().map(|summing| summing.demand(revision)) {
            outcomes.push(Err(conflict));
            continue;
        }
        let Some(next) = revision.checked_add(1) else {
            outcomes.push(Err(super::client::unavailable("its revisions are used up")));
            continue;
        };
        revision = next.max(transaction.at_least);
        for (path, _) in &transaction.writes {
            gone.extend(current(path).and_then(chunks));
        }
        for (path, value) in &transaction.writes {
            let row = value.clone().map(|value| Stored { revision, value });
            written.insert(path, row);
        }
        stages.extend(transaction.stage);
        outcomes.push(Ok(revision));
    }
    let mut head = state.head.next(revision, token);
    if let Some(sums) = sums(state, batch, &written, revision)? {
        head.sums = sums;
    }
    let committed = Committed {
        before: state.head.revision,
        revision,
        paths: written.keys().map(|path| (*path).to_owned()).collect(),
    };
    let request = match written.is_empty() {
        true => None,
        false => Some(request(layout, state, &head, &written, &stages, &gone)?),
    };
    Ok(Plan {
        outcomes,
        request,
        committed,
    })
}

/// The sealed sums after the batch; none where they stay as they are. What one of its transactions begins with is of the rows
/// as they were read, or it was refused.
fn sums(
    state: &State,
    batch: &[Prepared],
    written: &HashMap<&str, Option<Stored>>,
    revision: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let at = state.head.revision;
    let all = || batch.iter().filter_map(|transaction| transaction.summing.as_ref());
    let Some(summing) = all().find(|summing| summing.begins_at(at)).or_else(|| all().next()) else {
        return Ok(None);
    };
    let Some(mut sums) = summing.before(at, &state.head.sums) else {
        return Ok(None);
    };
    for (path, row) in written {
        for row in state.rows.get(*path).into_iter().chain(row) {
            sums.toggle(&summing.key, path, (row.revision, &row.encode()?));
        }
    }
    summing.key.seal(revision, &sums).map(Some)
}

/// Whether a batch was committed, of a head that was read after it had been sent on a head put `version` times.
pub(super) fn happened(state: &State, token: &Token, version: i64) -> Option<bool> {
    if state.head.batches.contains(token) {
        return Some(true);
    }
    let since = state.head_version.saturating_sub(version);
    let remembered = i64::try_from(REMEMBERED).unwrap_or(i64::MAX);
    (0..=remembered).contains(&since).then_some(false)
}

fn request(
    layout: &Layout,
    state: &State,
    head: &Head,
    written: &HashMap<&str, Option<Stored>>,
    stages: &[Token],
    gone: &[Chunks],
) -> Result<TxnRequest, StoreError> {
    let mut operations: Vec<RequestOp> = Vec::new();
    for (path, row) in written {
        let key = layout.row(path);
        operations.push(match row {
            Some(row) => proto::put(key, row.encode()?),
            None => proto::delete(key),
        });
    }
    operations.extend(stages.iter().map(|stage| proto::delete(layout.marker(stage))));
    operations.extend(gone.iter().map(|chunks| proto::delete_between(layout.chunks(chunks))));
    let mut success = vec![proto::put(layout.head(), Bytes::from(head.encode()?))];
    while !operations.is_empty() {
        let rest = operations.split_off(operations.len().min(UNDER_ONE));
        success.push(proto::all_of(std::mem::replace(&mut operations, rest)));
    }
    let mut compare = vec![proto::last_put(layout.head(), state.head_put)];
    compare.extend(stages.iter().map(|stage| proto::exists(layout.marker(stage))));
    Ok(TxnRequest {
        compare,
        success,
        failure: Vec::new(),
    })
}

fn chunks(row: &Stored) -> Option<Chunks> {
    match row.value {
        Value::Chunked(chunks) => Some(chunks),
        Value::Inline(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MAX_OPERATIONS as MOST;

    fn state() -> State {
        let row = |revision| Stored {
            revision,
            value: Value::Inline(Bytes::from_static(b"old")),
        };
        State {
            head: Head {
                revision: 7,
                before: 6,
                batches: vec![[1; 16]],
                sums: Vec::new(),
            },
            head_put: 900,
            head_version: 7,
            rows: [("a".to_owned(), row(3)), ("b".to_owned(), row(7))].into(),
        }
    }

    fn planned(batch: &[Transaction]) -> Plan {
        let batch: Vec<_> = batch.iter().cloned().map(Prepared::inline).collect();
        plan(&Layout::new("/x"), &state(), &batch, [9; 16]).unwrap()
    }

    #[test]
    fn each_transaction_sees_those_before_it() {
        let plan = planned(&[
            Transaction::new().unchanged("a", 3).put("a", "1"),
            Transaction::new().unchanged("a", 3).put("a", "2"),
            Transaction::new().unchanged("a", 8).delete("a"),
            Transaction::new().absent("a").put("a", "3").raise_to(100),
            Transaction::new().unchanged("b", 7),
            Transaction::new().absent("b").put("c", "x"),
        ]);
        let conflict = |path: &str| Err(StoreError::Conflict { path: path.to_owned() });
        let expected = [Ok(8), conflict("a"), Ok(9), Ok(100), Ok(100), conflict("b")];
        assert_eq!(plan.outcomes, expected);
        assert_eq!((plan.committed.before, plan.committed.revision), (7, 100));
        assert_eq!(&*plan.committed.paths, ["a".to_owned()]);
        let request = plan.request.unwrap();
        assert_eq!(request.compare, [proto::last_put(Layout::new("/x").head(), 900)]);
    }

    #[test]
    fn what_writes_nothing_asks_for_nothing() {
        let plan = planned(&[
            Transaction::new().unchanged("b", 7),
            Transaction::new().absent("a").put("z", ""),
        ]);
        assert_eq!(plan.outcomes.first(), Some(&Ok(7)));
        assert!(plan.request.is_none());
    }

    #[test]
    fn the_largest_batch_is_within_what_etcd_takes() {
        let many = (0..MOST).fold(Transaction::new(), |all, n| all.put(format!("{n}"), ""));
        let mut prepared = Prepared::inline(many);
        prepared.stage = Some([3; 16]);
        assert!(prepared.operations() <= MAX_OPERATIONS);
        // All of them replace long values, and as many transactions as there may be came with a stage.
        let chunked = |n: usize| Stored {
            revision: 1,
            value: Value::Chunked(Chunks {
                stage: [4; 16],
                index: u32::try_from(n).unwrap(),
                len: 1,
            }),
        };
        let mut state = state();
        state.rows = (0..MOST).map(|n| (n.to_string(), chunked(n))).collect();
        let mut batch = vec![prepared];
        batch.extend((1..MAX_TRANSACTIONS).map(|n| {
            let mut small = Prepared::inline(Transaction::new().put(format!("s{n}"), ""));
            small.stage = Some([5; 16]);
            small
        }));
        let request = plan(&Layout::new("/x"), &state, &batch, [9; 16])
            .unwrap()
            .request
            .unwrap();
        let outer = request.success.len().max(request.compare.len());
        assert!(
            outer + UNDER_ONE <= 128,
            "{outer} operations, and {UNDER_ONE} under one"
        );
    }

    #[test]
    fn a_batch_in_doubt_is_found_or_known_not_to_be_there() {
        let mut state = state();
        assert_eq!(happened(&state, &[1; 16], 6), Some(true));
        assert_eq!(happened(&state, &[2; 16], 7), Some(false));
        state.head_version = 7 + i64::try_from(REMEMBERED).unwrap() + 1;
        assert_eq!(happened(&state, &[2; 16], 7), None, "too many since");
        state.head_version = 1;
        assert_eq!(happened(&state, &[2; 16], 7), None, "another store");
    }
}
