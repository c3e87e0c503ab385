//! Which batches of samples are kept, and which are too many: by what is known of them without what is in them.
//!
//! No edge has a right to more than another. What is too much goes from the edge that has the most, its oldest first; so one that sends
//! without end, whatever it says of its batches, pushes out its own and never those of others who have less.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use policies::bundle::Sampling;

/// Most bytes and most files of all, whatever the bundle says.
const MAX_BYTES: u64 = 256 << 20;
const MAX_FILES: u64 = 20_000;

/// A batch that is kept. Later ones have higher sequences.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    /// When it came, Unix seconds.
    pub(super) time: u64,
    pub(super) samples: u32,
    /// Of its file.
    pub(super) bytes: u64,
    pub(super) edge: String,
}

impl Entry {
    /// The name of its file.
    pub(super) fn name(&self) -> String {
        format!("{}.{}.{}.{}", self.sequence, self.time, self.samples, self.edge)
    }

    /// From the name of a file; none for any other file.
    pub(super) fn of(name: &str, bytes: u64) -> Option<Entry> {
        let mut parts = name.splitn(4, '.');
        let entry = Entry {
            sequence: parts.next()?.parse().ok()?,
            time: parts.next()?.parse().ok()?,
            samples: parts.next()?.parse().ok()?,
            bytes,
            edge: parts.next()?.to_owned(),
        };
        // By its name it is found again.
        (entry.name() == name).then_some(entry)
    }
}

/// All that are kept.
#[derive(Debug, Default)]
pub(super) struct Held {
    shares: BTreeMap<String, Share>,
    next: u64,
}

/// Those of one edge, the oldest first.
#[derive(Debug, Default)]
struct Share {
    entries: VecDeque<Entry>,
    amount: Amount,
}

/// How much that is, by each of what is bounded.
#[derive(Debug, Default, Clone, Copy)]
struct Amount {
    samples: u64,
    bytes: u64,
    files: u64,
}

impl Held {
    /// The sequence of the batch that comes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Another one; of one edge they come in the order of their sequences.
    pub(super) fn put(&mut self, entry: Entry) {
        self.next = self.next.max(entry.sequence.saturating_add(1));
        self.shares.entry(entry.edge.clone()).or_default().put(entry);
    }

    /// From this sequence on, in order.
    pub(super) fn since(&self, sequence: u64) -> Vec<Entry> {
        let all = self.shares.values().flat_map(|share| &share.entries);
        let mut entries: Vec<_> = all.filter(|entry| entry.sequence >= sequence).cloned().collect();
        entries.sort_unstable();
        entries
    }

    /// Takes out what is too old or too much; everything, where none is asked for.
    pub(super) fn surplus(&mut self, now: u64, sampling: Option<&Sampling>) -> Vec<Entry> {
        let (keep, age) = sampling.map_or((0, 0), |asked| (asked.keep.into(), asked.max_age.as_secs()));
        let mut surplus = Vec::new();
        let is_old = |entry: &Entry| entry.time.saturating_add(age) <= now;
        for share in self.shares.values_mut() {
            while share.entries.front().is_some_and(is_old) {
                surplus.extend(share.take_oldest());
            }
        }
        let samples: fn(&Amount) -> u64 = |amount| amount.samples;
        let bytes: fn(&Amount) -> u64 = |amount| amount.bytes;
        let files: fn(&Amount) -> u64 = |amount| amount.files;
        for (most, measure) in [(keep, samples), (MAX_BYTES, bytes), (MAX_FILES, files)] {
            while self.total(measure) > most {
                let Some(entry) = self.take_from_the_largest(measure) else {
                    break;
                };
                surplus.push(entry);
            }
        }
        self.shares.retain(|_, share| !share.entries.is_empty());
        surplus
    }

    fn total(&self, measure: fn(&Amount) -> u64) -> u64 {
        let amounts = self.shares.values().map(|share| measure(&share.amount));
        amounts.fold(0, u64::saturating_add)
    }

    /// The oldest of who has the most beside its newest batch: that one would else be the first to go of an edge that comes
    /// with a large one. Of several with as much, the oldest of all.
    fn take_from_the_largest(&mut self, measure: fn(&Amount) -> u64) -> Option<Entry> {
        let shares = self.shares.values_mut().filter(|share| !share.entries.is_empty());
        let largest = shares.max_by_key(|share| {
            let oldest = share.entries.front().map(|oldest| oldest.sequence);
            (measure(&share.beside_newest()), Reverse(oldest))
        });
        largest.and_then(Share::take_oldest)
    }
}

impl Share {
    fn put(&mut self, entry: Entry) {
        let of = Amount::of(&entry);
        self.amount = Amount {
            samples: self.amount.samples.saturating_add(of.samples),
            bytes: self.amount.bytes.saturating_add(of.bytes),
            files: self.amount.files.saturating_add(of.files),
        };
        self.entries.push_back(entry);
    }

    fn take_oldest(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.amount = self.amount.without(&entry);
        Some(entry)
    }

    fn beside_newest(&self) -> Amount {
        let newest = self.entries.back();
        newest.map_or(self.amount, |newest| self.amount.without(newest))
    }
}

impl Amount {
    fn of(entry: &Entry) -> Amount {
        Amount {
            samples: entry.samples.into(),
            bytes: entry.bytes,
            files: 1,
        }
    }

    fn without(self, entry: &Entry) -> Amount {
        let of = Amount::of(entry);
        Amount {
            samples: self.samples.saturating_sub(of.samples),
            bytes: self.bytes.saturating_sub(of.bytes),
            files: self.files.saturating_sub(of.files),
        }
    }
}

#[cfg(test)]
mod tests {
    use signing::encoding::base64url;

    use super::*;

    const NOW: u64 = 1_000;

    fn sampling(keep: u32) -> Sampling {
        let key = base64url(&[7; 32]);
        let text = format!("[sampling]\nrate = 0.5\nkeep = {keep}\nkey = \"{key}\"");
        let parsed = policies::Bundle::parse(&[("bundle.toml".into(), text.into_bytes())]).unwrap();
        (*parsed.sampling.unwrap()).clone()
    }

    /// Batches that come one after the other, and what is kept of them.
    struct Site {
        held: Held,
        sampling: Sampling,
    }

    impl Site {
        fn new(keep: u32) -> Site {
            Site {
                held: Held::default(),
                sampling: sampling(keep),
            }
        }

        fn take(&mut self, edge: &str, samples: u32, bytes: u64) {
            self.held.put(Entry {
                sequence: self.held.next(),
                time: NOW,
                samples,
                bytes,
                edge: edge.into(),
            });
            self.held.surplus(NOW, Some(&self.sampling));
        }

        /// Batches and samples of this edge.
        fn has(&self, edge: &str) -> (usize, u64) {
            let all = self.held.since(0);
            let own: Vec<_> = all.iter().filter(|entry| entry.edge == edge).collect();
            (own.len(), own.iter().map(|entry| u64::from(entry.samples)).sum())
        }
    }

    #[test]
    fn a_batch_is_found_by_the_name_of_its_file() {
        let mut site = Site::new(100);
        site.take("edge-1", 7, 99);
        let [entry] = &site.held.since(0)[..] else { panic!() };
        assert_eq!(entry.name(), "0.1000.7.edge-1");
        assert_eq!(Entry::of(&entry.name(), 99).as_ref(), Some(entry));
        for other in [
            "",
            "0.new",
            "0.1000.7",
            "00.1000.7.edge-1",
            "+0.1000.7.e",
            "x.1000.7.e",
            "README",
        ] {
            assert_eq!(Entry::of(other, 99), None, "{other}");
        }
    }

    // R37
    #[test]
    fn an_edge_that_sends_without_end_pushes_out_its_own_only() {
        // Many samples, many bytes, many files: what is said of the samples may be a lie.
        for (samples, bytes) in [(256, 1), (1, 64 << 10), (1, 1)] {
            let mut site = Site::new(100_000);
            for _ in 0..30 {
                site.take("edge-1", 10, 64 << 10);
                site.take("edge-2", 100, 900);
            }
            for _ in 0..30_000 {
                site.take("broken-into", samples, bytes);
            }
            assert_eq!((site.has("edge-1"), site.has("edge-2")), ((30, 300), (30, 3000)));
            let (batches, has) = site.has("broken-into");
            assert!(has <= 100_000 && (300..20_000).contains(&batches), "{batches} {has}");
            let bytes: u64 = site.held.since(0).iter().map(|entry| entry.bytes).sum();
            assert!(bytes <= MAX_BYTES);
        }
    }

    #[test]
    fn a_full_directory_is_shared_by_all_who_send() {
        let mut site = Site::new(1_000);
        for _ in 0..200 {
            site.take("first", 10, 1);
        }
        assert_eq!(site.has("first"), (100, 1_000));
        for _ in 0..200 {
            site.take("second", 10, 1);
        }
        assert_eq!((site.has("first").1, site.has("second").1), (500, 500));
        // One that comes late, with larger batches than anybody, is let in.
        site.take("third", 200, 1);
        assert_eq!(
            (site.has("first").1, site.has("second").1, site.has("third").1),
            (400, 400, 200)
        );
    }

    #[test]
    fn where_each_has_one_batch_the_oldest_goes() {
        let mut site = Site::new(3);
        for edge in ["d", "a", "c", "b"] {
            site.take(edge, 1, 1);
        }
        let kept: Vec<_> = site.held.since(0).into_iter().map(|entry| entry.edge).collect();
        assert_eq!(kept, ["a", "c", "b"]);
        assert_eq!(site.held.since(3).len(), 1);
        assert_eq!(site.held.surplus(NOW, None).len(), 3, "none is asked for");
        assert_eq!(site.held.next(), 4);
    }
}
