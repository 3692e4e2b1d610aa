//! The one binary: `millrace`.

fn main() {}
