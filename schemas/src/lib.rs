//! Millrace's vocabulary and its pure rules: events, topics, ids, time, GTID sets, the statement digest, sketches.
//! What enters and leaves every stage of the pipeline has its type here, once. No I/O, no clock, no randomness.
#![warn(missing_docs)]

pub mod cluster;
pub mod digest;
pub mod event;
pub mod flavour;
pub mod gtid;
pub mod ids;
pub mod marks;
pub mod metrics;
pub mod profile;
pub mod record;
pub mod sections;
pub mod signing;
pub mod sketch;
pub mod time;
pub mod topics;
