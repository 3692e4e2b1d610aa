//! Tests of the binary on real servers.

mod credentials;
mod exit;
mod operator;
mod resume;
mod site;
mod watching;
