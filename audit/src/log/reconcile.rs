//! Every sequence number of every edge and process, accounted for: it has a record, or somebody said durably why it has
//! none. Pure: fed with the records of a log.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::record::{Event, Predecessor, Record};

/// The numbers of one process, from 1 on, without a hole between the spans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The edge.
    pub edge: String,
    /// Its process.
    pub incarnation: String,
    /// By their numbers.
    pub spans: Vec<Span>,
    /// How it ended.
    pub end: End,
}

/// Numbers, first and last, and what is known of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
    /// What is known.
    pub what: What,
}

/// What is known of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "said_by")]
pub enum What {
    /// Each has its record.
    Recorded,
    /// They were in a durable reservation when the process crashed: each may or may not have been a signature. The process
    /// that said so.
    Reserved(String),
    /// The edge removed their records before they were shipped, as its configuration allows. The process that said so.
    Dropped(String),
    /// Nobody says where they are.
    Unaccounted,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It closed its spool: nothing was used beyond its last record.
    Stopped,
    /// The process after it named its end.
    Succeeded,
    /// It is running, or crashed and nobody has opened its spool since.
    Open,
}

impl Account {
    /// The numbers that nobody accounts for.
    pub fn unaccounted(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.what == What::Unaccounted)
    }
}

/// What a process says of the end of another edge's, because it found that one's spool. It explains nothing: an edge answers for
/// its own numbers only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Claim {
    /// The edge that says so.
    pub by_edge: String,
    /// Its process.
    pub by: String,
    /// The edge that it speaks of.
    pub edge: String,
    /// That one's process.
    pub incarnation: String,
    /// The last number that has a record, as it says.
    pub sequence: u64,
    /// The numbers, first and last, that were reserved and have no record, as it says.
    pub reserved: Option<(u64, u64)>,
}

/// Collects records, in the order of each log; the logs of several authorities in any order, also where both have a record.
#[derive(Debug, Default)]
pub struct Ledger {
    chains: BTreeMap<(String, String), Chain>,
    claims: BTreeSet<Claim>,
}

#[derive(Debug, Default)]
struct Chain {
    /// Ranges with records, merged.
    recorded: Vec<(u64, u64)>,
    explained: Vec<((u64, u64), What)>,
    /// The last number that must have a record, as a later process says.
    told: Option<u64>,
    /// The number of its last record, where it closed its spool.
    stopped: Option<u64>,
}

impl Ledger {
    /// Takes a record.
    pub fn take(&mut self, record: &Record) {
        let chain = self.chain(&record.edge, &record.incarnation);
        let sequence = record.sequence;
        match chain
            .recorded
            .last_mut()
            .filter(|(_, last)| last.saturating_add(1) == sequence)
        {
            Some((_, last)) => *last = sequence,
            None => chain.recorded.push((sequence, sequence)),
        }
        if matches!(record.event, Event::Stopped { .. }) {
            chain.stopped = chain.stopped.max(Some(sequence));
        }
        match &record.event {
            Event::Started(started) => {
                if let Some(before) = &started.predecessor {
                    self.predecessor(before, record);
                }
            }
            Event::Dropped(dropped) => {
                let by = What::Dropped(record.incarnation.clone());
                let chain = self.chain(&record.edge, &dropped.incarnation);
                chain.explained.push((dropped.range, by));
            }
            Event::Use(_) | Event::Stopped { .. } | Event::Breaker(_) => {}
        }
    }

    fn predecessor(&mut self, before: &Predecessor, by: &Record) {
        if before.edge != by.edge {
            self.claims.insert(Claim {
                by_edge: by.edge.clone(),
                by: by.incarnation.clone(),
                edge: before.edge.clone(),
                incarnation: before.incarnation.clone(),
                sequence: before.sequence,
                reserved: before.unaccounted,
            });
            return;
        }
        let chain = self.chain(&before.edge, &before.incarnation);
        chain.told = Some(chain.told.unwrap_or(0).max(before.sequence));
        if let Some(range) = before.unaccounted {
            chain.explained.push((range, What::Reserved(by.incarnation.clone())));
        }
    }

    fn chain(&mut self, edge: &str, incarnation: &str) -> &mut Chain {
        let key = (edge.to_owned(), incarnation.to_owned());
        self.chains.entry(key).or_default()
    }

    /// What processes say of other edges' processes.
    pub fn claims(&self) -> impl Iterator<Item = &Claim> {
        self.claims.iter()
    }

    /// Every process's account, by edge.
    pub fn accounts(self) -> Vec<Account> {
        let account = |((edge, incarnation), chain): ((String, String), Chain)| Account {
            edge,
            incarnation,
            end: chain.end(),
            spans: chain.spans(),
        };
        self.chains.into_iter().map(account).collect()
    }
}

impl Chain {
    fn end(&self) -> End {
        let last = self.recorded.iter().map(|(_, last)| *last).max();
        match self.told {
            _ if self.stopped.is_some() && self.stopped >= last => End::Stopped,
            Some(_) => End::Succeeded,
            None => End::Open,
        }
    }

    /// From 1 to the last number that is recorded, told of or explained.
    fn spans(mut self) -> Vec<Span> {
        self.recorded.sort_unstable();
        self.explained.sort_by_key(|(range, _)| *range);
        let recorded = self.recorded.iter().map(|(_, last)| *last).max().unwrap_or(0);
        let explained = self.explained.iter().map(|((_, last), _)| *last).max().unwrap_or(0);
        let end = recorded.max(explained).max(self.told.unwrap_or(0));
        let (mut spans, mut next) = (Vec::new(), 1);
        let ranges = self.recorded.iter().map(|range| (*range, What::Recorded));
        let ranges: Vec<_> = ranges.collect();
        for (range, _) in ranges {
            self.fill(&mut spans, next, range.0.saturating_sub(1));
            push(&mut spans, range.0.max(next), range.1, What::Recorded);
            next = next.max(range.1.saturating_add(1));
        }
        self.fill(&mut spans, next, end);
        spans
    }

    /// Numbers without a record: by whom they are explained, or not.
    fn fill(&self, spans: &mut Vec<Span>, mut next: u64, end: u64) {
        for ((first, last), what) in &self.explained {
            let (first, last) = ((*first).max(next), (*last).min(end));
            if first > last {
                continue;
            }
            push(spans, next, first.saturating_sub(1), What::Unaccounted);
            push(spans, first, last, what.clone());
            next = last.saturating_add(1);
        }
        push(spans, next, end, What::Unaccounted);
    }
}

fn push(spans: &mut Vec<Span>, first: u64, last: u64, what: What) {
    if first > last {
        return;
    }
    if let Some(before) = spans.last_mut()
        && before.what == what
        && before.last.saturating_add(1) == first
    {
        before.last = last;
    } else {
        spans.push(Span { first, last, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{draft, record};
    use crate::record::{Dropped, Started};

    fn at(incarnation: &str, sequence: u64, event: Event) -> Record {
        Record {
            incarnation: incarnation.into(),
            sequence,
            ..record(event)
        }
    }

    /// A process before: its name, its last number, what it had reserved.
    type Before<'a> = (&'a str, u64, Option<(u64, u64)>);

    fn started(incarnation: &str, before: Option<Before<'_>>) -> Record {
        let predecessor = before.map(|(incarnation, sequence, unaccounted)| Predecessor {
            edge: "edge-1".into(),
            incarnation: incarnation.into(),
            sequence,
            hash: [0; 32],
            unaccounted,
            damaged: false,
        });
        let started = Started {
            time_ms: 1,
            predecessor,
        };
        at(incarnation, 1, Event::Started(started))
    }

    fn used(incarnation: &str, range: (u64, u64)) -> Vec<Record> {
        (range.0..=range.1)
            .map(|sequence| at(incarnation, sequence, Event::Use(draft())))
            .collect()
    }

    fn accounts(records: Vec<Vec<Record>>) -> Vec<Account> {
        let mut ledger = Ledger::default();
        records.concat().iter().for_each(|record| ledger.take(record));
        ledger.accounts()
    }

    fn span(first: u64, last: u64, what: What) -> Span {
        Span { first, last, what }
    }

    #[test]
    fn a_process_that_stopped_is_whole() {
        let stopped = at("a", 4, Event::Stopped { time_ms: 2 });
        let found = accounts(vec![vec![started("a", None)], used("a", (2, 3)), vec![stopped]]);
        assert_eq!(found[0].spans, [span(1, 4, What::Recorded)]);
        assert_eq!(found[0].end, End::Stopped);
    }

    #[test]
    fn a_crash_is_named_by_the_next_process_and_what_reached_the_log_is_recorded() {
        // The edge's disk kept 1 to 5; 6 and 7 had been shipped.
        let next = started("b", Some(("a", 5, Some((6, 100)))));
        let found = accounts(vec![vec![started("a", None)], used("a", (2, 7)), vec![next]]);
        let reserved = What::Reserved("b".into());
        assert_eq!(found[0].spans, [span(1, 7, What::Recorded), span(8, 100, reserved)]);
        assert_eq!((found[0].end, found[1].end), (End::Succeeded, End::Open));
    }

    #[test]
    fn an_edge_explains_no_other_edges_numbers() {
        let mut other = started("x", Some(("a", 4, Some((5, 100)))));
        other.edge = "edge-2".into();
        let mut ledger = Ledger::default();
        let records = [used("a", (1, 3)), used("a", (9, 9)), vec![other]].concat();
        records.iter().for_each(|record| ledger.take(record));
        let claims: Vec<_> = ledger.claims().cloned().collect();
        assert_eq!(
            (claims.len(), claims[0].by_edge.as_str(), claims[0].reserved),
            (1, "edge-2", Some((5, 100)))
        );
        let found = ledger.accounts();
        assert_eq!(
            found[0]
                .unaccounted()
                .map(|span| (span.first, span.last))
                .collect::<Vec<_>>(),
            [(4, 8)]
        );
        assert_eq!(found[0].end, End::Open);
    }

    #[test]
    fn two_logs_have_parts_of_one_process() {
        let stopped = at("a", 9, Event::Stopped { time_ms: 2 });
        let (one, two) = (used("a", (4, 8)), vec![started("a", None)]);
        // The later part first; 4 to 5 in both.
        let found = accounts(vec![one, vec![stopped], two, used("a", (2, 5))]);
        assert_eq!(found[0].spans, [span(1, 9, What::Recorded)]);
        assert_eq!(found[0].end, End::Stopped);
    }

    #[test]
    fn what_nobody_explains_is_unaccounted() {
        let next = started("b", Some(("a", 20, None)));
        let records = vec![
            vec![started("a", None)],
            used("a", (2, 3)),
            used("a", (9, 12)),
            vec![next],
        ];
        let found = accounts(records);
        let missing: Vec<_> = found[0].unaccounted().map(|span| (span.first, span.last)).collect();
        assert_eq!(missing, [(4, 8), (13, 20)]);
        // A whole process of which there is not one record.
        let found = accounts(vec![vec![started("c", Some(("b", 3, None)))]]);
        assert_eq!(found[0].spans, [span(1, 3, What::Unaccounted)]);
    }

    #[test]
    fn what_an_edge_dropped_is_named() {
        let dropped = Event::Dropped(Dropped {
            time_ms: 1,
            incarnation: "a".into(),
            range: (1, 8),
            hash: [0; 32],
        });
        let found = accounts(vec![used("a", (10, 11)), vec![at("a", 12, dropped)]]);
        let by = What::Dropped("a".into());
        let spans = [
            span(1, 8, by),
            span(9, 9, What::Unaccounted),
            span(10, 12, What::Recorded),
        ];
        assert_eq!(found[0].spans, spans);
    }
}
