//! Free ports on loopback.

use std::net::{Ipv4Addr, TcpListener};

use signing::key::random_bytes;

use super::bench;
use crate::LoadError;

/// Below the ones that Linux gives to whoever asks for any: a process that is started again finds its own still free, however
/// many connections were made meanwhile.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// So many, all held until all are found.
pub(in crate::bench) fn free(count: usize) -> Result<Vec<u16>, LoadError> {
    let mut held = Vec::new();
    for _ in 0..256 {
        if held.len() == count {
            break;
        }
        let random = u16::from_be_bytes(random_bytes().map_err(bench)?);
        let width = RANGE.end.saturating_sub(RANGE.start);
        let port = RANGE.start.saturating_add(random.checked_rem(width).unwrap_or(0));
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    }
    let ports = held
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()));
    ports.collect::<Result<_, _>>().map_err(bench)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different_and_free() {
        let ports = free(4).unwrap();
        let different: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!((ports.len(), different.len()), (4, 4));
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }
}
