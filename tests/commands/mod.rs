//! The commands of the program as a user runs them, most of them against real servers.

mod alerts;
mod anomaly;
mod backtest;
mod dead;
mod decode;
mod digest;
mod doctor;
mod fingerprint;
mod key;
mod metrics;
mod rules;
mod slowlog;
mod topology;
mod world;
