//! Tests of the binary on real servers.

mod resume;
mod site;
mod watching;
