//! Every topic once: its name, how it is placed and kept, and in one module each the values it carries.

pub mod actions;
pub mod alerts;
pub mod batch;
pub mod digests;
pub mod examples;
pub mod inventory;
pub mod journal;
pub mod queries;
pub mod routes;
pub mod samples;
pub mod slow_queries;
pub mod windows;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The topics of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Every fact that a decision about a cluster can rest on, in one order.
    Journal,
    /// Per-second rows by digest, Arrow.
    Queries,
    /// Single slow statements.
    SlowQueries,
    /// Numbers of instances, their hosts and their replication, every 10 s.
    Samples,
    /// What a digest is.
    Digests,
    /// 10 s, 1 min and 1 h windows, Arrow.
    Windows,
    /// Hosts, instances and what they hold.
    Inventory,
    /// What is to be done, and the step requests.
    Actions,
    /// Findings for people.
    Alerts,
    /// Who is the primary: service discovery.
    Routes,
    /// What could not be read, unchanged.
    Dead,
}

/// How long a topic keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Records older than this go.
    For(Duration),
    /// The newest record per key stays.
    Compacted,
}

const DAY: Duration = Duration::from_hours(24);

impl Topic {
    /// All of them, in the order of the data flow.
    pub const ALL: [Self; 11] = [
        Self::Journal,
        Self::Queries,
        Self::SlowQueries,
        Self::Samples,
        Self::Digests,
        Self::Windows,
        Self::Inventory,
        Self::Actions,
        Self::Alerts,
        Self::Routes,
        Self::Dead,
    ];

    /// The name, without the configurable prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Queries => "queries",
            Self::SlowQueries => "slow-queries",
            Self::Samples => "samples",
            Self::Digests => "digests",
            Self::Windows => "windows",
            Self::Inventory => "inventory",
            Self::Actions => "actions",
            Self::Alerts => "alerts",
            Self::Routes => "routes",
            Self::Dead => "dead",
        }
    }

    /// How long records stay. Seven days of journal outlast a long week-end; the archive keeps the rest. Actions are
    /// kept 400 days: a year's audit with slack.
    pub const fn retention(self) -> Retention {
        match self {
            Self::Journal | Self::SlowQueries | Self::Windows => Retention::For(DAY.saturating_mul(7)),
            Self::Queries | Self::Samples => Retention::For(DAY.saturating_mul(3)),
            Self::Actions => Retention::For(DAY.saturating_mul(400)),
            Self::Alerts => Retention::For(DAY.saturating_mul(30)),
            Self::Dead => Retention::For(DAY.saturating_mul(14)),
            Self::Digests | Self::Inventory | Self::Routes => Retention::Compacted,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Topic {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|topic| topic.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|topic| topic.name()).collect();
            format!("'{text}' is not a topic: {} are there", names.join(", "))
        })
    }
}
