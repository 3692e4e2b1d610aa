//! Tests of the binary on real servers.

mod operator;
mod resume;
mod site;
mod watching;
