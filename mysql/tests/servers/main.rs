//! The client against real servers: MySQL 9.7 and MariaDB 10.11, started from the templates that `make servers` leaves.
//! Every test runs on both unless it is about what only one of them has.
#![expect(clippy::unwrap_used, reason = "in a test, the panic is the report")]

mod digests;
mod faults;
mod gtid;
mod statements;
mod status;
