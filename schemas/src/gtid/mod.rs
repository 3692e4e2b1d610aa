//! GTID sets.
