//! The guard over real servers: MySQL 9.7 and MariaDB 10.11, in instances that the hands made from the templates.
//! The guard runs as a process of its own, started as the product starts it; in place of the `millrace` program stands a
//! script that runs this test program with the one test that becomes a guard.

#![expect(clippy::unwrap_used, reason = "in a test, the panic is the report")]

mod endings;
mod guards;
mod place;
mod promises;

/// Becomes a guard if the script of [`place`] says so; else it shows that a folder without an instance is refused.
#[test]
fn become_a_guard() {
    if let Some(dir) = std::env::var_os(place::GUARD_DIR) {
        millrace_executors::guard::run(std::path::Path::new(&dir)).unwrap_or_else(|error| panic!("{error}"));
        return;
    }
    let empty = tempfile::tempdir().unwrap();
    let error = millrace_executors::guard::run(empty.path()).unwrap_err().to_string();
    assert!(error.contains("guard.toml"), "{error}");
}
