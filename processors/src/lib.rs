//! Processors turn facts into decisions without touching the world. Each is a fold over one ordered input: the same
//! records in the same order give the same bytes out, live, replayed or simulated. No clock, no network, no randomness.

pub mod alerts;
pub mod anomalies;
pub mod anomaly;
pub mod digests;
pub mod failover;
pub mod fold;
pub mod folds;
pub mod lateness;
pub mod permits;
pub mod profile;
pub mod refusals;
pub mod routes;
pub mod rules;
pub mod windows;

pub use fold::{Fold, Out, Processor};
pub use folds::Folds;
