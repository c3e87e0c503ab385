//! Prefixes of IP addresses: rows sorted by network, each with the next wider one that holds it.
//!
//! Prefixes are apart or one holds the other. So the last row whose network is not above an address is the longest match,
//! or within it: from there, a few steps outwards find it.

use super::{Fault, Line, Piece};
use std::net::{IpAddr, Ipv4Addr};

#[derive(Debug)]
pub(super) struct Row {
    network: u128,
    /// 0 to 128. An IPv4 prefix is 96 longer than written: it is kept as the mapped IPv6 one.
    length: u8,
    /// The row of the next wider prefix, or [`NONE`].
    outer: u32,
    value: Piece,
}

const NONE: u32 = u32::MAX;

impl Row {
    fn holds(&self, address: u128) -> bool {
        address & mask(self.length) == self.network
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX
        .checked_shl(128u32.saturating_sub(u32::from(length)))
        .unwrap_or(0)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address),
    }
}

pub(super) fn index(text: &[u8], lines: Vec<Line>) -> Result<Vec<Row>, Fault> {
    let mut rows = Vec::with_capacity(lines.len());
    for line in lines {
        let key = String::from_utf8_lossy(line.key.of(text)).into_owned();
        let (network, length) = parse(&key).map_err(|message| (line.number, message))?;
        rows.push((network, length, line));
    }
    rows.sort_by_key(|(network, length, _)| (*network, *length));
    let mut sorted: Vec<Row> = Vec::with_capacity(rows.len());
    let mut before: Option<(u128, u8, usize)> = None;
    for (network, length, line) in rows {
        if let Some((_, _, first)) = before.filter(|(n, l, _)| (*n, *l) == (network, length)) {
            return Err((line.number, format!("the prefix of line {first} again")));
        }
        before = Some((network, length, line.number));
        let last = u32::try_from(sorted.len()).ok().and_then(|count| count.checked_sub(1));
        let outer = holding(&sorted, last.unwrap_or(NONE), network);
        sorted.push(Row {
            network,
            length,
            outer,
            value: line.value,
        });
    }
    Ok(sorted)
}

/// The row that holds `address`, from the row `at` outwards.
fn holding(rows: &[Row], mut at: u32, address: u128) -> u32 {
    while let Some(row) = rows.get(at as usize) {
        if row.holds(address) {
            return at;
        }
        at = row.outer;
    }
    NONE
}

pub(super) fn find(rows: &[Row], address: IpAddr) -> Option<Piece> {
    let address = number(address);
    let after = rows.partition_point(|row| row.network <= address);
    let last = u32::try_from(after.checked_sub(1)?).ok()?;
    rows.get(holding(rows, last, address) as usize).map(|row| row.value)
}

/// `192.0.2.0/24`, `2001:db8::/32`, or one address.
fn parse(text: &str) -> Result<(u128, u8), String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let wrong = || "not an IP prefix; write one such as 192.0.2.0/24 or 2001:db8::/32".to_owned();
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let (most, added) = match address {
        IpAddr::V4(_) => (32, 96),
        IpAddr::V6(_) => (128, 0),
    };
    let length: u8 = length.map_or(Ok(most), |length| length.parse().map_err(|_| wrong()))?;
    if length > most {
        return Err(format!("a prefix longer than {most} bits"));
    }
    let (network, length) = (number(address), length.saturating_add(added));
    let first = network & mask(length);
    if first != network {
        let first = match address {
            IpAddr::V4(_) => Ipv4Addr::from(u32::try_from(first & u128::from(u32::MAX)).unwrap_or(0)).to_string(),
            IpAddr::V6(_) => std::net::Ipv6Addr::from(first).to_string(),
        };
        return Err(format!("bits are set behind the prefix; its network begins at {first}"));
    }
    Ok((network, length))
}
