//! Roles: what a process runs. Each wires parts of the floors below to the bus; `up` runs all of them in one process.

pub mod agent;
pub mod anomalies;
mod deliver;
pub mod execute;
mod judge;
pub mod lag;
pub mod lake;
pub mod notify;
pub mod process;
pub mod refusals;
pub mod rules;
pub mod sink;
pub mod speaker;
pub mod store;
pub mod up;
pub mod windows;
