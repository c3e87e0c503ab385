//! The whole system, from the outside: `signet dev` as a child process, and clients that other people wrote.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

#[path = "system/approvals.rs"]
mod approvals;
#[path = "system/architecture.rs"]
mod architecture;
#[path = "system/audit.rs"]
mod audit;
#[path = "system/away.rs"]
mod away;
#[path = "system/backup.rs"]
mod backup;
#[path = "system/batch_rules.rs"]
mod batch_rules;
#[path = "system/batches.rs"]
mod batches;
#[path = "system/callers.rs"]
mod callers;
#[path = "system/chaos.rs"]
mod chaos;
#[path = "system/cli.rs"]
mod cli;
#[path = "system/clients.rs"]
mod clients;
#[path = "system/cluster.rs"]
mod cluster;
#[path = "system/compiled.rs"]
mod compiled;
#[path = "system/custody.rs"]
mod custody;
#[path = "system/etcd_tls.rs"]
mod etcd_tls;
#[path = "system/example_rules.rs"]
mod example_rules;
#[path = "system/example_rules_at_an_edge.rs"]
mod example_rules_at_an_edge;
#[path = "system/exports.rs"]
mod exports;
#[path = "system/failing_rule.rs"]
mod failing_rule;
#[path = "system/fleets.rs"]
mod fleets;
#[path = "system/haproxy.rs"]
mod haproxy;
#[path = "system/hardening.rs"]
mod hardening;
#[path = "system/hostile_registries.rs"]
mod hostile_registries;
#[path = "system/hsm_faults.rs"]
mod hsm_faults;
#[path = "system/interop.rs"]
mod interop;
#[path = "system/interpreted_rules.rs"]
mod interpreted_rules;
#[path = "system/isolated_rules.rs"]
mod isolated_rules;
#[path = "system/javascript_rules.rs"]
mod javascript_rules;
#[path = "system/judge.rs"]
mod judge;
#[path = "system/kept_keys.rs"]
mod kept_keys;
#[path = "system/kms.rs"]
mod kms;
#[path = "system/large_plugin.rs"]
mod large_plugin;
#[path = "system/leases.rs"]
mod leases;
#[path = "system/lifecycle.rs"]
mod lifecycle;
#[path = "system/log_in_a_bucket.rs"]
mod log_in_a_bucket;
#[path = "system/paste.rs"]
mod paste;
#[path = "system/plugin.rs"]
mod plugin;
#[path = "system/plugin_guide.rs"]
mod plugin_guide;
#[path = "system/plugin_languages.rs"]
mod plugin_languages;
#[path = "system/production.rs"]
mod production;
#[path = "system/proofs.rs"]
mod proofs;
#[path = "system/refusals.rs"]
mod refusals;
#[path = "system/registries.rs"]
mod registries;
#[path = "system/replayed_rules.rs"]
mod replayed_rules;
#[path = "system/replicas.rs"]
mod replicas;
#[path = "system/reports.rs"]
mod reports;
#[path = "system/requirements.rs"]
mod requirements;
#[path = "system/rollouts.rs"]
mod rollouts;
#[path = "system/secrets.rs"]
mod secrets;
#[path = "system/witness.rs"]
mod witness;
