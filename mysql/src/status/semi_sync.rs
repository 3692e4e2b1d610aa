//! Semi-synchronous replication as a server reports it, both sides. In: its variables and status. Out: [`SemiSync`].
//! A MySQL server without the plugins has neither side: everything is off then, which is the truth.

use crate::connect::Session;
use crate::counters::Counters;
use crate::error::Error;
use crate::flavour::SEMI_SYNC_TIMEOUT_MAX_MS;
use crate::settings::Variables;

/// Both sides of semi-synchronous replication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SemiSync {
    /// Whether the server has it at all.
    pub available: bool,
    /// Source side switched on.
    pub source_enabled: bool,
    /// Source side working now; off while it is enabled means that it fell back to asynchronous.
    pub source_active: bool,
    /// Replicas attached with their side on.
    pub clients: u64,
    /// Acknowledgements that each commit waits for.
    pub wait_for_count: u64,
    /// Milliseconds until it falls back.
    pub timeout_ms: u64,
    /// `AFTER_SYNC` (lossless) or `AFTER_COMMIT`.
    pub wait_point: String,
    /// Whether it goes on waiting when no replica is attached.
    pub wait_no_replica: bool,
    /// Commits that were acknowledged, since the server started.
    pub acknowledged: u64,
    /// Commits that were not, since the server started: each may be on no replica.
    pub unacknowledged: u64,
    /// Sessions that wait for an acknowledgement now.
    pub waiting: u64,
    /// Replica side switched on.
    pub replica_enabled: bool,
    /// Replica side working now: the receiver was started with it on.
    pub replica_active: bool,
}

impl SemiSync {
    /// Whether a commit can only be reported to its client after a replica has it: on, after sync, and without a way out.
    pub fn is_lossless(&self) -> bool {
        self.source_enabled
            && self.source_active
            && self.wait_point == "AFTER_SYNC"
            && self.timeout_ms >= SEMI_SYNC_TIMEOUT_MAX_MS
            && self.wait_no_replica
    }

    fn of(variables: &Variables, counters: &Counters) -> Self {
        let switch = |name| variables.switch(name).unwrap_or(false);
        let count = |name| counters.get(name).unwrap_or(0);
        let available = variables.text("rpl_semi_sync_source_enabled").is_some()
            || variables.text("rpl_semi_sync_replica_enabled").is_some();
        Self {
            available,
            source_enabled: switch("rpl_semi_sync_source_enabled"),
            source_active: count("rpl_semi_sync_source_status") == 1,
            clients: count("rpl_semi_sync_source_clients"),
            // MariaDB has no count: one acknowledgement, always.
            wait_for_count: variables
                .number("rpl_semi_sync_source_wait_for_replica_count")
                .unwrap_or(u64::from(available)),
            timeout_ms: variables.number("rpl_semi_sync_source_timeout").unwrap_or(0),
            wait_point: variables.text("rpl_semi_sync_source_wait_point").unwrap_or_default().to_owned(),
            wait_no_replica: switch("rpl_semi_sync_source_wait_no_replica"),
            acknowledged: count("rpl_semi_sync_source_yes_tx"),
            unacknowledged: count("rpl_semi_sync_source_no_tx"),
            waiting: count("rpl_semi_sync_source_wait_sessions"),
            replica_enabled: switch("rpl_semi_sync_replica_enabled"),
            replica_active: count("rpl_semi_sync_replica_status") == 1,
        }
    }
}

/// Asks a server whose `variables` were read just before.
pub async fn read(session: &mut Session, variables: &Variables) -> Result<SemiSync, Error> {
    let counters = Counters::read_semi_sync(session).await?;
    Ok(SemiSync::of(variables, &counters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_without_any_way_out_is_it_lossless() {
        let lossless = SemiSync {
            source_enabled: true,
            source_active: true,
            wait_point: "AFTER_SYNC".into(),
            timeout_ms: SEMI_SYNC_TIMEOUT_MAX_MS,
            wait_no_replica: true,
            ..SemiSync::default()
        };
        assert!(lossless.is_lossless());
        for flawed in [
            SemiSync { source_enabled: false, ..lossless.clone() },
            SemiSync { source_active: false, ..lossless.clone() },
            SemiSync { wait_point: "AFTER_COMMIT".into(), ..lossless.clone() },
            SemiSync { timeout_ms: 10_000, ..lossless.clone() },
            SemiSync { wait_no_replica: false, ..lossless.clone() },
        ] {
            assert!(!flawed.is_lossless(), "{flawed:?}");
        }
    }

    #[test]
    fn a_server_without_plugins_has_neither_side() {
        let none = SemiSync::of(&Variables::default(), &Counters::default());
        assert_eq!(none, SemiSync::default());
    }
}
