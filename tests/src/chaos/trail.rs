//! What a fleet left on disk and in its store: records of signatures, chains of records, states of keys.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use super::check::{End, Records, Violation};
use super::fleet::{EDGES, Fleet};
use super::plan::Machine;
use super::process::Ended;
use super::site;
use crate::{run, signet};

impl Fleet {
    /// What is on record, by edge.
    pub fn records(&self) -> Vec<Records> {
        (0..EDGES).map(|edge| self.records_of(edge)).collect()
    }

    /// In the edge's own spool, or in an authority's log, which has what the spool has let go of.
    fn records_of(&self, edge: usize) -> Records {
        let mut records = Records::default();
        let mut reserved = HashMap::new();
        let name = site::edge(edge);
        for dir in [self.spool(&name)].into_iter().chain(self.logs()) {
            let lines = run(Command::new(signet()).args(["audit", "tail", "--dir"]).arg(dir)).success();
            let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            for record in lines.filter(|record| record["edge"] == name.as_str()) {
                if record["outcome"] == "signed" {
                    let id = record["request_id"].as_str().unwrap().to_owned();
                    records.signed.insert(id, record["time_ms"].as_u64().unwrap());
                }
                let range = record.pointer("/predecessor/unaccounted").and_then(Value::as_array);
                if let Some([first, last]) = range.map(Vec::as_slice) {
                    let width = last.as_u64().unwrap() - first.as_u64().unwrap() + 1;
                    reserved.insert(record["incarnation"].as_str().unwrap().to_owned(), width);
                }
            }
        }
        records.reserved = reserved.values().sum();
        records
    }

    fn logs(&self) -> impl Iterator<Item = PathBuf> {
        let numbers = 0..self.authorities.len();
        numbers.map(|number| self.path(&site::authority(number)).join("log"))
    }

    fn spool(&self, name: &str) -> PathBuf {
        self.path(name).join("audit")
    }

    /// What `signet audit verify` says against a spool, or against an authority's log.
    pub fn broken_chains(&self) -> Vec<Violation> {
        let authorities = || (0..self.authorities.len()).map(site::authority);
        let spools = (0..EDGES).map(site::edge).chain(authorities());
        let mut checks: Vec<_> = spools
            .map(|of| {
                let mut command = Command::new(signet());
                command.args(["audit", "verify", "--dir"]).arg(self.spool(&of));
                (of, command)
            })
            .collect();
        let cli = self.operator();
        for (number, dir) in self.logs().enumerate() {
            let key = cli.audit(number, &["key"]).success();
            let mut log = Command::new(signet());
            log.args(["audit", "verify", "--key", key.trim(), "--dir"]).arg(dir);
            checks.push((format!("the log of {}", site::authority(number)), log));
        }
        let broken = checks.into_iter().filter_map(|(of, mut command)| {
            let verified = run(&mut command);
            (verified.code != 0).then(|| Violation::BrokenChain {
                of,
                said: verified.stdout + &verified.stderr,
            })
        });
        broken.collect()
    }

    /// Every end of a process, on the clock of a run.
    pub fn ends(&self, begun: Instant) -> Vec<End> {
        let ends = self.processes().flat_map(|(machine, process)| {
            let on_clock = move |ended: Ended| End {
                machine,
                seen: ended.seen.saturating_duration_since(begun),
                found: ended.found.saturating_duration_since(begun),
                how: ended.how,
            };
            process.ends().into_iter().map(on_clock)
        });
        ends.collect()
    }

    /// What every process said.
    pub fn said(&self) -> Vec<(Machine, String)> {
        self.processes()
            .map(|(machine, process)| (machine, process.log()))
            .collect()
    }

    /// The state of every key, by id and by alias.
    pub fn keys(&self) -> HashMap<String, String> {
        let list = self.operator().run(&["keys", "list", "--json"]).success();
        let list: Value = serde_json::from_str(&list).unwrap();
        let mut states = HashMap::new();
        for key in list["keys"].as_array().unwrap() {
            let state = key["KeyState"].as_str().unwrap();
            let aliases = key["Signet"]["Aliases"].as_array().unwrap().iter();
            for name in aliases.chain([&key["KeyId"]]) {
                states.insert(name.as_str().unwrap().to_owned(), state.to_owned());
            }
        }
        states
    }
}
