//! Runbooks as transcripts: an action and scripted answers in, the steps and the end out. One golden file per runbook shows
//! the way that it should go and, for every step of it, what follows when that step fails once and when it times out once.
//! `MILLRACE_GOLDEN=write cargo test -p millrace-executors` renews them.

mod golden;
mod rules;
mod script;
