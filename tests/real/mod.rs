//! Tests of the binary on real servers.

mod away;
mod counters;
mod credentials;
mod exit;
mod masking;
mod memory;
mod operator;
mod resume;
pub(crate) mod site;
mod slow_log;
mod watching;
