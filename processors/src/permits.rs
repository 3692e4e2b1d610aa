//! Journal in, permits out: how many automatic failovers the whole fleet may make. Clusters ask under the key `fleet`, the
//! answers go to the journals of those who asked; this state alone knows the clusters of all partitions.
//! The rule: a permit counts for ten minutes from when it was last granted, and at most three count. What counts may be
//! granted again (the next attempt at the same change of primary is no second failover, and is never refused). Who kept its
//! primary gives the permit back, and whoever waits longest gets it. If that word never comes, the ten minutes pass: the
//! count errs to the safe side, and not for ever. Nothing here looks at a clock or at another key's order.

use std::time::Duration;

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::FLEET;
use millrace_schemas::ids::{ClusterId, Epoch, EventId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::journal::{Command, Fact, PermitAnswered, PermitAsked};
use serde::{Deserialize, Serialize};

use crate::fold::{Out, Processor};

/// 3 of 10 minutes: more automatic failovers than that are a fault that failing over does not mend.
pub const FAILOVERS_MAX: usize = 3;
/// How long a permit counts.
pub const WITHIN: Duration = Duration::from_mins(10);
/// 60 s to use a grant, as long as an action has: so a change of primary comes within two minutes of what is counted.
const USE_WITHIN: Duration = Duration::from_mins(1);

/// The processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Permits;

/// What is known of the fleet's permits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Those that count, the oldest first; at most [`FAILOVERS_MAX`].
    granted: Vec<Granted>,
    /// Those that were refused, in the order of their first question; at most one for each cluster.
    waiting: Vec<Waiting>,
    /// A kind of evidence that this version does not know: nothing is granted on half of what was said.
    unknown: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Granted {
    permit: EventId,
    cluster: ClusterId,
    at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Waiting {
    permit: EventId,
    cluster: ClusterId,
    epoch: Epoch,
    /// When it asks again by itself.
    until: Timestamp,
}

impl Processor for Permits {
    const NAME: &'static str = "permits";
    const VERSION: u32 = 1;
    type In = Fact;
    type State = State;

    fn keeps(cluster: &ClusterId) -> bool {
        cluster.as_str() == FLEET
    }

    fn step(&self, state: &mut State, event: &Event<Fact>, out: &mut Out<'_>) {
        let now = event.appended;
        match &event.payload {
            Fact::PermitAsked(asked) => {
                state.forget(now);
                // Whoever waits comes first; the one who asks may be among them.
                let waited = state.wait_for(asked.permit, asked.epoch);
                state.serve(event.id, now, out);
                if !(waited && state.counts(asked.permit)) {
                    state.ask(asked, event.id, now, out);
                }
            }
            Fact::PermitReturned(returned) => {
                state.granted.retain(|one| one.permit != returned.permit);
                state.waiting.retain(|one| one.permit != returned.permit);
                state.forget(now);
                state.serve(event.id, now, out);
            }
            // As for a cluster: who sets the mode has read why it was paused.
            Fact::Command(Command::SetMode { .. }) => state.unknown = None,
            _ => {}
        }
    }

    // No timers: what has lapsed is forgotten when somebody asks, and who was refused knows when to ask again.
    fn wake(&self, _: &State) -> Option<Timestamp> {
        None
    }

    fn tick(&self, _: &mut State, _: Timestamp, _: &mut Out<'_>) {}

    fn resume(&self, _: &mut State, _: Timestamp) {}

    fn unknown_evidence(&self, state: &mut State, _: &ClusterId, kind: &str, _: &mut Out<'_>) {
        state.unknown = Some(kind.to_owned());
    }
}

impl State {
    /// Drops what does not count any more, and who should have asked again and has not.
    fn forget(&mut self, now: Timestamp) {
        self.granted.retain(|one| now.since(one.at) < WITHIN);
        self.waiting.retain(|one| now.since(one.until) < USE_WITHIN);
    }

    fn counts(&self, permit: EventId) -> bool {
        self.granted.iter().any(|one| one.permit == permit)
    }

    /// Notes the epoch that a permit is waited for; false when nobody waits for it.
    fn wait_for(&mut self, permit: EventId, epoch: Epoch) -> bool {
        let place = self.waiting.iter_mut().find(|one| one.permit == permit);
        place.map(|place| place.epoch = epoch).is_some()
    }

    fn has_room(&self) -> bool {
        self.unknown.is_none() && self.granted.len() < FAILOVERS_MAX
    }

    /// Grants to those who wait, for as long as there is room.
    fn serve(&mut self, cause: EventId, now: Timestamp, out: &mut Out<'_>) {
        while self.has_room() && !self.waiting.is_empty() {
            let next = self.waiting.remove(0);
            self.grant(next.permit, &next.cluster, next.epoch, cause, now, out);
        }
    }

    fn ask(&mut self, asked: &PermitAsked, cause: EventId, now: Timestamp, out: &mut Out<'_>) {
        if self.unknown.is_none() && (self.counts(asked.permit) || self.has_room()) {
            self.grant(asked.permit, &asked.cluster, asked.epoch, cause, now, out);
            return;
        }
        let (reason, until) = self.refusal(now);
        let waiting = Waiting { permit: asked.permit, cluster: asked.cluster.clone(), epoch: asked.epoch, until };
        match self.waiting.iter_mut().find(|one| one.cluster == asked.cluster) {
            Some(place) => *place = waiting,
            None => self.waiting.push(waiting),
        }
        let refused = PermitAnswered { permit: asked.permit, epoch: asked.epoch, granted: false, reason, until };
        answer(&asked.cluster, cause, refused, out);
    }

    fn grant(
        &mut self,
        permit: EventId,
        cluster: &ClusterId,
        epoch: Epoch,
        cause: EventId,
        now: Timestamp,
        out: &mut Out<'_>,
    ) {
        self.granted.retain(|one| one.permit != permit);
        self.waiting.retain(|one| one.cluster != *cluster);
        self.granted.push(Granted { permit, cluster: cluster.clone(), at: now });
        let reason = format!("{} of {FAILOVERS_MAX} in {} minutes", self.granted.len(), WITHIN.as_secs() / 60);
        let granted = PermitAnswered { permit, epoch, granted: true, reason, until: now + USE_WITHIN };
        answer(cluster, cause, granted, out);
    }

    /// Why nothing is granted now, and when that can have changed.
    fn refusal(&self, now: Timestamp) -> (String, Timestamp) {
        if let Some(kind) = &self.unknown {
            let reason = format!(
                "the journal of the fleet holds evidence of unknown kind {kind}: upgrade, then set the mode of '{FLEET}' again"
            );
            return (reason, now + USE_WITHIN);
        }
        let who: Vec<&str> = self.granted.iter().map(|one| one.cluster.as_str()).collect();
        let minutes = WITHIN.as_secs() / 60;
        let reason = format!("{FAILOVERS_MAX} automatic failovers in {minutes} minutes already, of {}", who.join(", "));
        (reason, self.granted.first().map_or(now, |one| one.at) + WITHIN)
    }
}

fn answer(cluster: &ClusterId, cause: EventId, answer: PermitAnswered, out: &mut Out<'_>) {
    out.emit(Subject::cluster(cluster.clone()), Some(cause), Fact::PermitAnswered(answer));
}

#[cfg(test)]
mod tests;
