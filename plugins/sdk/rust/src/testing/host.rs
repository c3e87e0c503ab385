//! What answers the imports of a rule that runs natively.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::log::Level;
use crate::{Guest, Refusal, Request, Value, Verdict, counter, lookup};

/// A host with what a test gives it: settings, tables, and counts that start at nothing.
///
/// ```
/// use signet_plugin::{Guest, Refusal, Request, Verdict, allow, counter, refuse, testing};
///
/// struct Twice;
///
/// impl Guest for Twice {
///     fn evaluate(request: Request) -> Result<Verdict, Refusal> {
///         match counter::increment(&request.caller.id, 60) {
///             Ok(1..=2) => allow(),
///             _ => refuse("too_many", "twice a minute at most"),
///         }
///     }
/// }
///
/// let mut host = testing::Host::new();
/// let request = testing::token(&[], &[]);
/// assert!(host.evaluate::<Twice>(&request).is_ok());
/// assert!(host.evaluate::<Twice>(&request).is_ok());
/// assert_eq!(host.evaluate::<Twice>(&request).unwrap_err().code, "too_many");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Host {
    settings: BTreeMap<String, Value>,
    tables: BTreeMap<String, Table>,
    /// When each use was, by key and window.
    uses: BTreeMap<(String, u32), Vec<u64>>,
    is_full: bool,
    now: u64,
    lines: Vec<(Level, String)>,
}

#[derive(Debug, Clone)]
enum Table {
    Exact(BTreeMap<String, String>),
    Prefix(Vec<(Prefix, String)>),
}

#[derive(Debug, Clone, Copy)]
struct Prefix {
    address: IpAddr,
    length: u32,
}

thread_local! {
    static CURRENT: RefCell<Option<Host>> = const { RefCell::new(None) };
}

impl Host {
    /// With nothing.
    pub fn new() -> Host {
        Host::default()
    }

    /// With a setting.
    pub fn setting(mut self, name: &str, value: Value) -> Host {
        self.settings.insert(name.into(), value);
        self
    }

    /// With a table of exact keys.
    pub fn exact(mut self, table: &str, rows: &[(&str, &str)]) -> Host {
        let rows = rows.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        self.tables.insert(table.into(), Table::Exact(rows.collect()));
        self
    }

    /// With a table of IP prefixes, such as `10.0.0.0/8`. Panics at one that is none.
    pub fn prefix(mut self, table: &str, rows: &[(&str, &str)]) -> Host {
        let rows = rows
            .iter()
            .map(|(prefix, value)| (Prefix::read(prefix), (*value).into()));
        self.tables.insert(table.into(), Table::Prefix(rows.collect()));
        self
    }

    /// With no room for the counts of further keys.
    pub fn full(mut self) -> Host {
        self.is_full = true;
        self
    }

    /// Asks a rule. Uses are counted as of the request's time, and are kept for the next call.
    pub fn evaluate<R: Guest>(&mut self, request: &Request) -> Result<Verdict, Refusal> {
        self.now = request.time;
        self.run(|| R::evaluate(request.clone()))
    }

    /// Runs what is not a whole rule.
    pub fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let own = core::mem::take(self);
        CURRENT.with(|current| current.replace(Some(own)));
        let done = work();
        *self = CURRENT.with(RefCell::take).unwrap_or_default();
        done
    }

    /// What was logged so far.
    pub fn lines(&self) -> &[(Level, String)] {
        &self.lines
    }

    pub(crate) fn get_setting(&self, name: &str) -> Option<Value> {
        self.settings.get(name).cloned()
    }

    /// Exact, where a real host takes the window before the running one as evenly used.
    pub(crate) fn increment(&mut self, key: &str, window: u32) -> Result<u32, counter::Problem> {
        if !(1..=256).contains(&key.len()) || !(1..=86_400).contains(&window) {
            return Err(counter::Problem::OutOfBounds);
        }
        let name = (key.to_owned(), window);
        if self.is_full && !self.uses.contains_key(&name) {
            return Err(counter::Problem::Full);
        }
        let uses = self.uses.entry(name).or_default();
        uses.retain(|time| time.saturating_add(window.into()) > self.now);
        uses.push(self.now);
        Ok(uses.len() as u32)
    }

    pub(crate) fn get_row(&self, table: &str, key: &str) -> Result<Option<String>, lookup::Problem> {
        match self.tables.get(table) {
            None => Err(lookup::Problem::NoSuchTable),
            Some(Table::Prefix(_)) => Err(lookup::Problem::WrongKind),
            Some(Table::Exact(rows)) => Ok(rows.get(key).cloned()),
        }
    }

    pub(crate) fn get_prefix(&self, table: &str, address: &str) -> Result<Option<String>, lookup::Problem> {
        let rows = self.tables.get(table).ok_or(lookup::Problem::NoSuchTable)?;
        let address: IpAddr = address.parse().map_err(|_| lookup::Problem::NotAnAddress)?;
        let Table::Prefix(rows) = rows else {
            return Err(lookup::Problem::WrongKind);
        };
        let holding = rows.iter().filter(|(prefix, _)| prefix.holds(address));
        let longest = holding.max_by_key(|(prefix, _)| prefix.length);
        Ok(longest.map(|(_, value)| value.clone()))
    }
}

impl Prefix {
    fn read(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').expect("a prefix, such as 10.0.0.0/8");
        let (address, length) = (
            address.parse().expect("an IP address"),
            length.parse().expect("a length"),
        );
        Prefix { address, length }
    }

    fn holds(&self, address: IpAddr) -> bool {
        let (own, other, width) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (u128::from(own.to_bits()), u128::from(other.to_bits()), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        (own ^ other).checked_shr(width - self.length).unwrap_or(0) == 0
    }
}

/// Asks the host that the rule runs on.
pub(crate) fn with_host<T>(import: &str, ask: impl FnOnce(&mut Host) -> T) -> T {
    CURRENT.with(|current| match current.borrow_mut().as_mut() {
        Some(host) => ask(host),
        None => panic!("`{import}` needs a host: run the rule with `testing::Host::evaluate` or `run`"),
    })
}

/// Keeps a line of log, where there is a host.
pub(crate) fn add_line(level: Level, message: &str) {
    CURRENT.with(|current| {
        if let Some(host) = current.borrow_mut().as_mut() {
            host.lines.push((level, message.to_owned()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, digest, misconfigured};

    #[test]
    fn settings_and_lines_are_the_tests() {
        let mut host = Host::new().setting("max", Value::Int(3));
        assert_eq!(host.run(|| config::get("max")), Some(Value::Int(3)));
        assert_eq!(host.run(|| config::get("min")), None);
        let refusal = host.run(|| misconfigured::<()>("no `min`")).unwrap_err();
        assert_eq!(refusal.code, "rule_misconfigured");
        assert!(matches!(host.lines(), [(Level::Error, line)] if line == "no `min`"));
    }

    #[test]
    fn uses_leave_the_window_one_by_one() {
        let mut host = Host::new();
        let mut at = |now| {
            host.now = now;
            host.run(|| counter::increment("a", 60)).unwrap()
        };
        assert_eq!([at(600), at(630), at(659)], [1, 2, 3]);
        assert_eq!([at(660), at(690)], [3, 3]);
        let count = |host: &mut Host, key: &str, window| host.run(|| counter::increment(key, window));
        assert_eq!(count(&mut host, "a", 61), Ok(1), "windows are apart");
        assert_eq!(count(&mut host, "", 60), Err(counter::Problem::OutOfBounds));
        assert_eq!(count(&mut host, "a", 86_401), Err(counter::Problem::OutOfBounds));
        let mut full = host.full();
        assert_eq!(count(&mut full, "b", 60), Err(counter::Problem::Full));
        assert_eq!(count(&mut full, "a", 61), Ok(2), "what is counted goes on");
    }

    #[test]
    fn tables_answer_by_key_and_by_longest_prefix() {
        let nets = [
            ("10.0.0.0/8", "office"),
            ("10.1.0.0/16", "lab"),
            ("0.0.0.0/0", "world"),
            ("2001:db8::/32", "docs"),
        ];
        let mut host = Host::new().exact("plans", &[("acme", "gold")]).prefix("nets", &nets);
        host.run(|| {
            assert_eq!(lookup::get("plans", "acme"), Ok(Some("gold".into())));
            assert_eq!(lookup::get("plans", "acm"), Ok(None));
            for (address, value) in [
                ("10.1.2.3", "lab"),
                ("10.2.2.3", "office"),
                ("9.9.9.9", "world"),
                ("2001:db8::1", "docs"),
            ] {
                assert_eq!(lookup::prefix("nets", address), Ok(Some(value.into())));
            }
            assert_eq!(lookup::prefix("nets", "::1"), Ok(None));
            assert_eq!(lookup::prefix("nets", "here"), Err(lookup::Problem::NotAnAddress));
            assert_eq!(lookup::prefix("plans", "9.9.9.9"), Err(lookup::Problem::WrongKind));
            assert_eq!(lookup::get("nets", "9.9.9.9"), Err(lookup::Problem::WrongKind));
            assert_eq!(lookup::get("none", "x"), Err(lookup::Problem::NoSuchTable));
        });
    }

    #[test]
    fn digests_are_sha_2() {
        assert_eq!(digest::sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(digest::sha384(b"abc")[..4], [0xcb, 0x00, 0x75, 0x3f]);
        assert_eq!(digest::sha512(b"abc")[..4], [0xdd, 0xaf, 0x35, 0xa1]);
    }
}
