//! Verdicts and decisions, as tables: what is seen, and what follows. A small stage feeds a fold as the bus would, second by
//! second; the numbers in names are those of the failover scenarios.

mod creation;
mod decisions;
mod permits;
mod stage;
mod timing;
mod verdicts;
