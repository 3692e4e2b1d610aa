//! Millrace's vocabulary and its pure rules: events, topics, ids, time, GTID sets, the statement digest, sketches.
//! What enters and leaves every stage of the pipeline has its type here, once. No I/O, no clock, no randomness.

pub mod digest;
pub mod gtid;
pub mod sketch;
