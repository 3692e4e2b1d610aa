//! Tests of the binary on real servers.

mod away;
mod memory;
mod operator;
mod resume;
mod site;
mod watching;
