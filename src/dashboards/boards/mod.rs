//! The boards. One file each, in the order of the list.

mod alerts;
mod fleet;
mod host;
mod innodb;
mod instance;
mod own;
mod replication;
mod slow;
mod statements;

use super::board::Board;

/// Ten lines can be told apart.
const TOP: u32 = 10;
/// A table of one row.
const ONE_ROW: u32 = 4;

/// All of them.
pub fn all() -> Vec<Board> {
    vec![
        fleet::board(),
        instance::board(),
        replication::board(),
        innodb::board(),
        statements::board(),
        slow::board(),
        host::board(),
        alerts::board(),
        own::board(),
    ]
}

/// Their ids, by which they lead to each other.
pub(super) mod uid {
    pub(in super::super) const FLEET: &str = "millrace-fleet";
    pub(in super::super) const INSTANCE: &str = "millrace-instance";
    pub(in super::super) const REPLICATION: &str = "millrace-replication";
    pub(in super::super) const INNODB: &str = "millrace-innodb";
    pub(in super::super) const STATEMENTS: &str = "millrace-statements";
    pub(in super::super) const SLOW: &str = "millrace-slow";
    pub(in super::super) const HOST: &str = "millrace-host";
    pub(in super::super) const ALERTS: &str = "millrace-alerts";
    pub(in super::super) const OWN: &str = "millrace-itself";
}
