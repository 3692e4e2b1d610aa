//! Channels: how people are told of alerts. Events of the topic `alerts` enter; a message leaves for a webhook, an Alertmanager,
//! `PagerDuty`, a chat, a mailbox or a program. Each kind has a file with its body, a pure function, and says in one way what came
//! of it: taken, refused for ever, or not now. Nothing is decided here about who is told of what and when; nothing is kept.
//! Secrets come from files, and are in no error and no answer.

pub mod alertmanager;
pub mod chat;
pub mod command;
pub mod email;
mod http;
pub mod pagerduty;
pub mod sign;
pub mod slack;
pub mod style;
pub mod way;
pub mod webhook;

use std::time::Duration;

pub use style::Style;
pub use way::{Address, Kind, Way};

/// 500 characters of what the other side says are enough to know what it means.
const WORDS: usize = 500;

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// It never will be.
    #[error("it is refused: {0}")]
    Refused(String),
    /// It may be later.
    #[error("it is not taken now: {why}")]
    Later {
        /// What was said, or what did not come about.
        why: String,
        /// When it may be tried again.
        again: Again,
        /// No other message would be taken now either.
        all: bool,
    },
}

/// When a message that was not taken may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The other side says when.
    After(Duration),
    /// Nobody is there: an attempt costs nobody anything, and who comes back is told at once.
    Soon,
    /// Somebody said no, or worked in vain: a service counts log-ins and messages and shuts out who comes too often, and a program
    /// may do half of its work each time.
    Seldom,
}

impl Failed {
    /// The channel as a whole cannot be told anything now: nobody is there.
    fn away(why: impl std::fmt::Display) -> Self {
        Self::Later { why: why.to_string(), again: Again::Soon, all: true }
    }

    /// Somebody is there and does not take it now; `all`: nor anything else.
    fn not_now(why: String, all: bool) -> Self {
        Self::Later { why, again: Again::Seldom, all }
    }
}

/// The beginning of what was said, on one line.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(WORDS).collect()
}

#[cfg(test)]
mod tests;
