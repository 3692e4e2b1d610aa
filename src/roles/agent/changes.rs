//! What becomes of a server's process between heartbeats. In: what its guard says, as often as it changes. Out: the changes that
//! are told at once, so few that the journal of a cluster keeps its limit of 50 records a second; the others are counted, and
//! the next heartbeat, a second later at most, restates what holds by then. A heartbeat is never held back by them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millrace_executors::guard::{GuardClient, State};
use millrace_schemas::cluster::Process;
use millrace_schemas::ids::{ClusterId, InstanceId};
use millrace_schemas::metrics::{JOURNAL_COALESCED, Registry};
use tokio::sync::watch;
use tokio::time::Instant;

use super::process_fact;

/// 3 in any second: an exit, the hold that follows it, and a start. With its heartbeat a member then costs 4 records a second at
/// most, and a cluster of nine leaves 14 of its 50 to claims, renewals, results and ticks.
const TOLD_PER_SECOND_MAX: usize = 3;

/// A change that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) process: Process,
    /// When the process was seen to end, if that is the change.
    pub(super) exited_boot_us: Option<u64>,
}

/// The changes of one instance's process.
pub(super) struct Changes {
    states: Option<watch::Receiver<Option<State>>>,
    /// What was last heard, told or not.
    heard: Process,
    budget: Budget,
    metrics: Arc<Registry>,
    labels: [String; 2],
}

impl Changes {
    pub(super) fn new(metrics: Arc<Registry>, cluster: &ClusterId, instance: &InstanceId) -> Self {
        let labels = [cluster.to_string(), instance.to_string()];
        Self { states: None, heard: Process::Unknown, budget: Budget::default(), metrics, labels }
    }

    /// Listens to `guard` from now on.
    pub(super) fn follow(&mut self, guard: Option<&GuardClient>) {
        self.states = guard.map(GuardClient::states);
    }

    /// Resolves with the next change that is to be told at once; never without a guard. It may be dropped while it waits.
    pub(super) async fn next(&mut self) -> Change {
        loop {
            let Some(states) = &mut self.states else { return std::future::pending().await };
            if states.changed().await.is_err() {
                return std::future::pending().await;
            }
            let (heard, exited_boot_us) = {
                let state = states.borrow_and_update();
                let exit = state.as_ref().and_then(|state| state.last_exit.as_ref());
                (process_fact(state.as_ref()), exit.map(|exit| exit.at_boot_us))
            };
            if heard == self.heard {
                continue;
            }
            self.heard = heard.clone();
            if heard == Process::Unknown {
                continue; // a guard that does not answer says nothing of its server; the heartbeat tells that it is not known
            }
            if self.budget.take(Instant::now()) {
                let ended = matches!(heard, Process::Exited { .. });
                return Change { process: heard, exited_boot_us: exited_boot_us.filter(|_| ended) };
            }
            let [cluster, instance] = &self.labels;
            self.metrics.add(&JOURNAL_COALESCED, &[cluster, instance], 1);
        }
    }
}

/// When the last changes were told, the oldest first.
#[derive(Debug, Default)]
struct Budget(VecDeque<Instant>);

impl Budget {
    /// Whether one more may be told at `now`; it then counts as told.
    fn take(&mut self, now: Instant) -> bool {
        while self.0.front().is_some_and(|told| now.duration_since(*told) >= Duration::from_secs(1)) {
            self.0.pop_front();
        }
        let may = self.0.len() < TOLD_PER_SECOND_MAX;
        if may {
            self.0.push_back(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use millrace_executors::guard::{Exit, ExitCause};

    use super::*;

    #[test]
    fn any_second_holds_three() {
        let start = Instant::now();
        let check = |at_ms: &[u64], expected: &[bool]| {
            let mut budget = Budget::default();
            let told: Vec<bool> = at_ms.iter().map(|ms| budget.take(start + Duration::from_millis(*ms))).collect();
            assert_eq!(told, expected, "{at_ms:?}");
        };
        check(&[0, 1, 2], &[true, true, true]);
        check(&[0, 1, 2, 3, 999], &[true, true, true, false, false]);
        // What was refused does not count: the second begins with what was told.
        check(&[0, 400, 900, 950, 1_000, 1_100, 1_400], &[true, true, true, false, true, false, true]);
        check(&[0, 5_000, 10_000, 15_000], &[true; 4]);
    }

    fn exited(code: i32) -> State {
        let exit = Exit {
            pid: 1,
            code: Some(code),
            signal: None,
            cause: ExitCause::Crash,
            at_boot_us: 1,
            at_wall_us: 1,
            error: None,
        };
        State { last_exit: Some(exit), ..State::default() }
    }

    /// Whatever a flapping server does, little of it is told, all the rest is counted, and the last word stays known.
    #[tokio::test]
    async fn a_flapping_server_is_told_a_few_times_a_second_and_counted() {
        const FLAPS: i32 = 500;
        let metrics = Arc::new(Registry::default());
        let cluster = ClusterId::parse("shop").expect("legal");
        let instance = InstanceId::parse("db1").expect("legal");
        let mut changes = Changes::new(Arc::clone(&metrics), &cluster, &instance);
        let (flap, states) = watch::channel(None);
        changes.states = Some(states);
        let began = Instant::now();
        let mut told = 0;
        for code in 0..FLAPS {
            flap.send_replace(Some(exited(code)));
            // Polled once: what is not told at once is not told.
            tokio::select! {
                biased;
                _ = changes.next() => told += 1,
                () = std::future::ready(()) => {}
            }
        }
        let seconds = began.elapsed().as_secs() + 1;
        assert!(told >= 3 && told <= 3 * seconds, "{told} of {FLAPS} were told in {seconds} s");
        let counted = metrics.get(&JOURNAL_COALESCED, &["shop", "db1"]);
        assert_eq!(counted as u64 + told, u64::from(FLAPS.unsigned_abs()));
        assert_eq!(changes.heard, process_fact(Some(&exited(FLAPS - 1))));
    }
}
