//! Why a record is not believed. Each reason has a label for counters and a sentence for people; nothing of what an unknown
//! writer wrote is in the sentence unless it was cut and checked.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Why a record is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// Nobody signed it.
    #[error("it is not signed")]
    Unsigned,
    /// Signed by a key that nobody enrolled.
    #[error("its key {0} is not in the roster")]
    UnknownKey(String),
    /// The signature is not that key's over what stands here.
    #[error("its signature is not of key {0} over this: it was changed, or copied from another topic or cluster")]
    Forged(String),
    /// The key was revoked before the record was appended.
    #[error("its key {key} was revoked at {at}")]
    Revoked {
        /// The key.
        key: String,
        /// From this append time on.
        at: Timestamp,
    },
    /// The key is another's: not this source, not this kind, not about this.
    #[error("key {key} may not say it: {why}")]
    NotAllowed {
        /// The key.
        key: String,
        /// What it may not.
        why: String,
    },
    /// It came after its time.
    #[error("it came at {appended}, and was good until {until}: late, or a copy of an old one")]
    Expired {
        /// When it was appended.
        appended: Timestamp,
        /// The end of its time.
        until: Timestamp,
    },
    /// It says a time that has not come.
    #[error("it says that it was said at {said}, and came at {appended}: set the clock of who said it")]
    Ahead {
        /// When it was appended.
        appended: Timestamp,
        /// What it says.
        said: Timestamp,
    },
    /// It lies where nothing about its cluster may lie.
    #[error("it lies in partition {found}, and what is said of its cluster belongs in {expected}: a copy")]
    Misplaced {
        /// Where it lies.
        found: u32,
        /// Where it belongs.
        expected: u32,
    },
    /// The same words were had before.
    #[error("{source_name} said it before: a copy")]
    Replayed {
        /// Who said it.
        source_name: String,
    },
}

impl Refusal {
    /// The label of counters.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::UnknownKey(_) => "unknown-key",
            Self::Forged(_) => "forged",
            Self::Revoked { .. } => "revoked",
            Self::NotAllowed { .. } => "not-allowed",
            Self::Expired { .. } => "expired",
            Self::Ahead { .. } => "ahead",
            Self::Misplaced { .. } => "misplaced",
            Self::Replayed { .. } => "replayed",
        }
    }
}
