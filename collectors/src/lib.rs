//! What watches: wire capture, slow logs, servers, hosts, heartbeats; writes facts, changes nothing.
pub mod authority;
pub mod backups;
pub mod host;
pub mod log_in;
pub mod numbers;
pub mod performance_schema;
pub mod process;
pub mod pulse;
pub mod rows;
pub mod server;
pub mod slow_log;
pub mod statements;
pub mod wire;
