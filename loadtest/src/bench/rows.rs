//! What took turns in one run, a line each.

use std::fmt;

use serde::Serialize;

use super::Measured;

/// The figures of each.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rows {
    /// What is compared.
    pub what: &'static str,
    /// Each with its name.
    pub rows: Vec<(&'static str, Measured)>,
    /// Whether the servers had one core and the client another.
    pub pinned: bool,
    /// Connections, each with one request in flight.
    pub connections: u16,
}

impl fmt::Display for Rows {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.rows.first().map_or(0, |(_, measured)| measured.rounds.len());
        let place = if self.pinned {
            "servers on one core"
        } else {
            "not pinned"
        };
        let (what, connections) = (self.what, self.connections);
        write!(
            out,
            "{what}, medians of {rounds} rounds each, {connections} connections, HTTP/1.1, {place}\n{:<28}{:>16}{:>10}{:>10}{:>14}",
            "", "CPU µs/request", "p50 µs", "p99 µs", "requests/s"
        )?;
        for (name, measured) in &self.rows {
            write!(out, "\n{name:<28}{}", measured.median)?;
        }
        Ok(())
    }
}
