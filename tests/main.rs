//! The integration tests of the root package, one binary: what the tree must look like, what every bus must do, that a replay
//! decides as the live system did, that the journal stays small, what becomes of facts that cannot be read, ten thousand simulated
//! schedules, that our digests are the servers' own, what holds on a real Kafka, that
//! real stores have each number once, that dashboards show them, and that people are told of alerts.

#![allow(clippy::print_stdout)] // a test says what it counted

mod architecture;
mod budget;
mod bus;
mod channels;
mod commands;
mod dashboards;
mod deploy;
mod digests;
mod fleets;
mod real;
mod real_kafka;
mod replay;
mod signatures;
mod simulation;
mod stores;
mod unreadable;
