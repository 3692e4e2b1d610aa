//! What a fleet has to stand, on brokers of its own: who is killed, what is away, what is forged or cannot be read.

mod books;
mod fleet;
mod keys;
mod kills;
mod network;
mod outages;
mod poison;
mod returning;
mod secured;
mod storms;
mod trusted;

use std::time::Duration;

/// How much is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// How often a role is killed.
    pub(crate) kills: usize,
    /// How long something is away.
    pub(crate) away: Duration,
}

/// `MILLRACE_PROVE` set: the whole proof; else what fits into every test run.
pub(crate) fn asked(minutes: Duration) -> Asked {
    if std::env::var_os("MILLRACE_PROVE").is_some() {
        Asked { kills: 100, away: minutes }
    } else {
        Asked { kills: 10, away: Duration::from_secs(10) }
    }
}
