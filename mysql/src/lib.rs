//! Connections to MySQL and MariaDB servers and their typed status; no decisions.
//! In: where a server is and who asks. Out: sessions whose every wait is bounded, and what a server says of itself as values.
//! `flavour` is the one place that knows how the two families differ. Nothing here judges what it reads, and nothing here
//! changes a server by itself: the statements that do are texts, which only the hands of the executors send.

pub mod backups;
pub mod connect;
pub mod counters;
pub mod digests;
pub mod error;
pub mod flavour;
pub mod keys;
pub mod numbers;
pub mod rows;
pub mod sessions;
pub mod settings;
pub mod slow_log;
pub mod status;
pub mod threads;

pub use connect::{Account, Address, Session, Target};
pub use error::Error;
pub use flavour::{Dialect, Version};
pub use millrace_schemas::flavour::Flavour;
pub use millrace_schemas::gtid::{self, GtidError, GtidSet};
pub use rows::Row;
