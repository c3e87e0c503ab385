//! What edges report about rollouts: kept in memory, by edge. An edge tells all of it again on each new stream, so that nothing is
//! lost for long when this process ends.

use std::collections::{BTreeMap, HashMap};

use policies::rollout::{Figures, MAX_FIGURES};

/// What one edge has reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfEdge {
    /// Its id.
    pub edge: String,
    /// Calls of the new version.
    pub calls: u64,
    /// Why it uses the new version no more, by itself.
    pub stopped: Option<String>,
}

/// All that was reported, by rollout and edge.
#[derive(Debug, Default)]
pub(super) struct Heard(HashMap<String, BTreeMap<String, Reported>>);

#[derive(Debug, Default)]
struct Reported {
    incarnation: String,
    now: Figures,
    /// Of the edge's processes before this one.
    before: Figures,
}

/// The figures of a report; none where they are not what an edge sends.
pub(super) fn read(text: &[u8]) -> Option<Figures> {
    let figures: Figures = serde_json::from_slice(text.get(..text.len().min(MAX_FIGURES))?).ok()?;
    figures.is_bounded().then_some(figures)
}

impl Heard {
    /// Replaces what a process of an edge has reported before.
    pub(super) fn take(&mut self, id: &str, edge: &str, incarnation: &str, figures: Figures) {
        let reported = self
            .0
            .entry(id.to_owned())
            .or_default()
            .entry(edge.to_owned())
            .or_default();
        if reported.incarnation != incarnation {
            reported.before.add(&std::mem::take(&mut reported.now));
            incarnation.clone_into(&mut reported.incarnation);
        }
        reported.now = figures;
    }

    /// Forgets the rollouts that `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| keep(id));
    }

    /// Of all edges together.
    pub(super) fn total(&self, id: &str) -> Figures {
        let mut total = Figures::default();
        for reported in self.0.get(id).into_iter().flat_map(BTreeMap::values) {
            total.add(&reported.before);
            total.add(&reported.now);
        }
        total
    }

    /// Edge by edge, in the order of their ids.
    pub(super) fn edges(&self, id: &str) -> Vec<OfEdge> {
        let edges = self.0.get(id).into_iter().flatten();
        let of = |(edge, reported): (&String, &Reported)| OfEdge {
            edge: edge.clone(),
            calls: reported
                .before
                .candidate
                .total()
                .saturating_add(reported.now.candidate.total()),
            stopped: reported.now.stopped.clone(),
        };
        edges.map(of).collect()
    }
}
