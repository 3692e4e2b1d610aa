//! Tests of the binary on real servers.

mod anomalies;
pub(crate) mod authority;
mod away;
mod backups;
mod beside;
mod counters;
mod credentials;
mod exit;
mod interrupted;
mod masking;
mod memory;
mod numbers;
mod operator;
mod resume;
mod rotation;
mod rules;
mod sampled;
mod shown;
pub(crate) mod site;
mod slow_log;
mod slow_stored;
mod slow_table;
mod sources;
mod watching;
