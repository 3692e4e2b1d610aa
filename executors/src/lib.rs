//! Executors carry decisions out and write down what happened. Runbooks and claims are pure folds; the hands and the guard
//! are the only code of Millrace that changes roles, settings, files or processes of a server.

pub mod claims;
pub mod guard;
pub mod hands;
pub mod promises;
pub mod runbooks;
