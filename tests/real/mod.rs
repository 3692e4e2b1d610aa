//! Tests of the binary on real servers.

mod memory;
mod operator;
mod resume;
mod site;
mod watching;
