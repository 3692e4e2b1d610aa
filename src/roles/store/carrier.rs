//! Carries shipments: one enters; what the store refused of it leaves, once the store has all the rest. While the store is away it
//! waits. Runs beside what makes the next shipment, and knows nothing of positions.

use std::sync::atomic::{AtomicBool, Ordering};

use millrace_schemas::metrics::{Registry, STORE_FAILED};
use millrace_sinks::store::{Failed, Left, Store as Way};

use super::shipment::Shipment;
use super::{RETRY_FROM, RETRY_TO, pause};
use crate::bus::failpoint;

/// The way to a store, and how its attempts are told.
pub(super) struct Carrier<'a> {
    pub(super) name: &'a str,
    pub(super) metrics: &'a Registry,
    pub(super) stop: &'a AtomicBool,
    pub(super) way: Way,
}

/// What became of a shipment.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// The places of what the store would not have, with its words.
    pub(super) bad: Vec<(usize, String)>,
    /// So many were older than what it takes.
    pub(super) late: u64,
    /// The store was away in between: what it was given before may be gone.
    pub(super) broke: bool,
}

impl Carrier<'_> {
    /// Sends all of a shipment, for as long as it takes; none when it was to stop before.
    pub(super) fn carry(&self, shipment: &Shipment) -> Option<Carried> {
        let mut carried = Carried::default();
        for (first, lines) in shipment.requests() {
            let mut wait = RETRY_FROM;
            loop {
                let mut left = Left::default();
                match self.way.deliver(&lines, &mut left) {
                    Ok(()) => {
                        failpoint::at_step("store.sent", self.name, || {});
                        carried.late += left.late;
                        carried.bad.extend(left.bad.into_iter().map(|(at, words)| (first + at, words)));
                        break;
                    }
                    Err(failed @ (Failed::Bad(_) | Failed::Late { .. })) => {
                        unreachable!("it is halved until one line is left: {failed}")
                    }
                    Err(Failed::Away { why, after }) => {
                        self.metrics.add(&STORE_FAILED, &[self.name], 1);
                        if !std::mem::replace(&mut carried.broke, true) {
                            tracing::warn!(store = self.name, "lines are not stored yet: {why}");
                        }
                        pause(self.stop, after.unwrap_or(wait));
                        wait = (wait * 2).min(RETRY_TO);
                    }
                }
                if self.stop.load(Ordering::Relaxed) {
                    return None;
                }
            }
        }
        Some(carried)
    }
}
