//! The authority's side: who may hold a lease, until when at most, and who has acknowledged what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::bound;

/// Processes of one edge that may hold leases at once. One is usual; one more for each restart within a lease.
const MOST_PROCESSES: usize = 64;
/// Stops whose first sight is remembered, where other authorities grant as well.
const MOST_SEEN: usize = 4_096;

/// One process of an edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// The edge's id.
    pub edge: Arc<str>,
    /// The process, 128 bits in hex.
    pub incarnation: Arc<str>,
}

/// Whose leases a stop is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// These keys; none: all.
    pub keys: Option<BTreeSet<String>>,
    /// This edge; none: all.
    pub edge: Option<String>,
    /// The longest lease of those keys, milliseconds.
    pub longest_ms: u64,
}

/// Somebody who may still sign with what was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The edge; none: one that another authority granted a lease.
    pub edge: Option<String>,
    /// Its process; none: one that was granted a lease before this authority started.
    pub incarnation: Option<String>,
    /// When that is over, whoever acknowledges: milliseconds on the authority's CLOCK_BOOTTIME.
    pub until: u64,
}

#[derive(Debug, Default)]
struct Held {
    acknowledged: u64,
    /// By key: when the last lease has ended.
    ends: HashMap<Arc<str>, u64>,
}

/// All leases that may run.
#[derive(Debug)]
pub struct Grants {
    holders: BTreeMap<Holder, Held>,
    /// When this process began to grant, and the edges there were: what was granted to them before is not known.
    began: u64,
    earlier: BTreeSet<String>,
    /// Other processes grant on the same store: what they grant is not known, so that only time fences.
    shared: bool,
    seen: BTreeMap<u64, u64>,
}

impl Grants {
    /// Begins to grant at `now`. `earlier` are the edges that may hold leases of an authority that was there before.
    pub fn new(now: u64, earlier: BTreeSet<String>, shared: bool) -> Self {
        Self {
            holders: BTreeMap::new(),
            began: now,
            earlier,
            shared,
            seen: BTreeMap::new(),
        }
    }

    /// Notes that leases of these keys (with their lengths, milliseconds) may be granted for a renewal that came by `now`.
    /// Only then may it be read whether the keys may sign. False where this edge has too many processes: grant nothing.
    ///
    /// `acknowledged` is the newest revision that the process has acknowledged.
    #[must_use]
    pub fn begin(&mut self, holder: &Holder, acknowledged: u64, keys: &[(Arc<str>, u64)], now: u64) -> bool {
        if !self.holders.contains_key(holder) {
            self.sweep(now);
            let others = self.holders.keys().filter(|other| other.edge == holder.edge).count();
            if others >= MOST_PROCESSES {
                return false;
            }
        }
        let held = self.holders.entry(holder.clone()).or_default();
        held.acknowledged = held.acknowledged.max(acknowledged);
        for (key, lease_ms) in keys {
            let end = now.saturating_add(bound(*lease_ms));
            let known = held.ends.entry(key.clone()).or_default();
            *known = end.max(*known);
        }
        true
    }

    /// Takes note that a process acts by this revision.
    pub fn acknowledge(&mut self, holder: &Holder, revision: u64) {
        if let Some(held) = self.holders.get_mut(holder) {
            held.acknowledged = held.acknowledged.max(revision);
        }
    }

    /// Who may still sign at `now` with what was stopped by the commit that made `revision`; that commit has been made. When
    /// nobody is left, it is fenced, for as long as nothing is started again.
    pub fn awaited(&mut self, scope: &Scope, revision: u64, now: u64) -> Vec<Awaited> {
        let mut awaited: Vec<_> = self
            .holders
            .iter()
            .filter(|(holder, held)| held.acknowledged < revision && scope.is_of(&holder.edge))
            .filter_map(|(holder, held)| {
                let ends = held.ends.iter().filter(|(key, _)| scope.has(key)).map(|(_, end)| *end);
                let until = ends.max().filter(|until| *until > now)?;
                Some(Awaited {
                    edge: Some(holder.edge.to_string()),
                    incarnation: Some(holder.incarnation.to_string()),
                    until,
                })
            })
            .collect();
        let before = self.began.saturating_add(bound(scope.longest_ms));
        if before > now {
            let edges = self.earlier.iter().filter(|edge| scope.is_of(edge));
            awaited.extend(edges.map(|edge| Awaited {
                edge: Some(edge.clone()),
                incarnation: None,
                until: before,
            }));
        }
        awaited.extend(self.others(scope, revision, now));
        awaited
    }

    /// What other authorities may have granted before the commit: reckoned from when this one first heard of it.
    fn others(&mut self, scope: &Scope, revision: u64, now: u64) -> Option<Awaited> {
        if !self.shared {
            return None;
        }
        if self.seen.len() >= MOST_SEEN && !self.seen.contains_key(&revision) {
            self.seen.pop_first();
        }
        let seen = *self.seen.entry(revision).or_insert(now);
        let until = seen.saturating_add(bound(scope.longest_ms));
        (until > now).then_some(Awaited {
            edge: None,
            incarnation: None,
            until,
        })
    }

    /// Forgets what has ended; answers how many leases run.
    pub fn sweep(&mut self, now: u64) -> usize {
        self.holders.retain(|_, held| {
            held.ends.retain(|_, end| *end > now);
            !held.ends.is_empty()
        });
        if self.began.saturating_add(bound(super::LONGEST_MS)) <= now {
            self.earlier.clear();
        }
        self.holders.values().map(|held| held.ends.len()).sum()
    }
}

impl Scope {
    fn is_of(&self, edge: &str) -> bool {
        self.edge.as_deref().is_none_or(|only| only == edge)
    }

    fn has(&self, key: &str) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(edge: &str, incarnation: &str) -> Holder {
        Holder {
            edge: edge.into(),
            incarnation: incarnation.into(),
        }
    }

    fn key(id: &str) -> Scope {
        Scope {
            keys: Some(BTreeSet::from([id.to_owned()])),
            edge: None,
            longest_ms: 5_000,
        }
    }

    fn granting(shared: bool) -> Grants {
        Grants::new(0, BTreeSet::new(), shared)
    }

    // R35
    #[test]
    fn a_stop_is_fenced_when_all_have_acknowledged_or_run_out() {
        let mut grants = granting(false);
        let keys = [("k".into(), 5_000), ("other".into(), 60_000)];
        assert!(grants.begin(&holder("a", "1"), 0, &keys, 1_000));
        assert!(grants.begin(&holder("b", "1"), 0, &keys, 2_000));
        assert!(grants.begin(&holder("c", "1"), 9, &keys, 2_000), "it acts by 9 already");
        let awaited = grants.awaited(&key("k"), 9, 3_000);
        let until: Vec<_> = awaited.iter().map(|one| (one.edge.as_deref(), one.until)).collect();
        assert_eq!(until, [(Some("a"), 6_352), (Some("b"), 7_352)]);
        grants.acknowledge(&holder("b", "1"), 8);
        assert_eq!(grants.awaited(&key("k"), 9, 3_000).len(), 2, "8 is not 9");
        grants.acknowledge(&holder("b", "1"), 9);
        assert_eq!(grants.awaited(&key("k"), 9, 6_351).len(), 1);
        assert_eq!(grants.awaited(&key("k"), 9, 6_352), []);
        let edge = Scope {
            keys: None,
            edge: Some("a".into()),
            longest_ms: 60_000,
        };
        assert_eq!(grants.awaited(&edge, 9, 6_352)[0].until, 62_463, "its other key's");
        assert_eq!(grants.awaited(&key("nobody-has-it"), 9, 0), []);
    }

    #[test]
    fn another_process_of_an_edge_answers_for_itself_alone() {
        let mut grants = granting(false);
        assert!(grants.begin(&holder("a", "frozen"), 0, &[("k".into(), 5_000)], 0));
        assert!(grants.begin(&holder("a", "new"), 4, &[("k".into(), 5_000)], 1_000));
        let awaited = grants.awaited(&key("k"), 4, 2_000);
        assert_eq!(awaited[0].incarnation.as_deref(), Some("frozen"));
        assert_eq!(awaited.len(), 1);
    }

    #[test]
    fn after_a_restart_the_wait_starts_anew_for_edges_that_were_there() {
        let mut grants = Grants::new(100_000, BTreeSet::from(["a".to_owned()]), false);
        assert!(grants.begin(&holder("a", "1"), 9, &[("k".into(), 5_000)], 101_000));
        let awaited = grants.awaited(&key("k"), 9, 101_000);
        assert_eq!((awaited[0].incarnation.as_ref(), awaited[0].until), (None, 105_352));
        assert_eq!(grants.awaited(&key("k"), 9, 105_352), []);
    }

    #[test]
    fn where_others_grant_too_only_time_fences() {
        let mut grants = granting(true);
        assert_eq!(grants.awaited(&key("k"), 9, 1_000)[0].until, 6_352);
        assert_eq!(grants.awaited(&key("k"), 9, 6_351).len(), 1);
        assert_eq!(grants.awaited(&key("k"), 9, 6_352), []);
    }

    #[test]
    fn what_has_ended_is_forgotten_and_processes_are_bounded() {
        let mut grants = granting(false);
        for process in 0..MOST_PROCESSES {
            assert!(grants.begin(&holder("a", &process.to_string()), 0, &[("k".into(), 5_000)], 0));
        }
        assert!(!grants.begin(&holder("a", "one-more"), 0, &[("k".into(), 5_000)], 0));
        assert!(grants.begin(&holder("b", "1"), 0, &[("k".into(), 60_000)], 0));
        assert!(grants.begin(&holder("a", "one-more"), 0, &[("k".into(), 5_000)], 5_352));
        assert_eq!(grants.sweep(5_352), 2);
    }
}
