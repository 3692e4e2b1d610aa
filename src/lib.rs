//! Floor 3: the only place that knows all the others. Roles wire collectors, processors, executors and sinks to the bus;
//! the command line and the console show what comes out.

pub mod backtest;
pub mod bus;
pub mod cli;
pub mod config;
pub mod console;
pub mod dashboards;
pub mod demo;
pub mod journal;
pub mod program;
pub mod roles;
pub mod simulation;
pub mod trust;
