//! The other clusters of the fleet, as far as they matter to this one: they ask for permits, and some give theirs back, so that
//! the simulated cluster is refused in part of the schedules. And what must hold of permits, checked against the whole log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_processors::permits::{FAILOVERS_MAX, WITHIN};
use millrace_schemas::event::Subject;
use millrace_schemas::ids::fleet;
use millrace_schemas::ids::{ClusterId, Epoch, EventId};
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::actions::{ActionKind, Order};
use millrace_schemas::topics::journal::{Command, Fact, Outcome, PermitAnswered, PermitAsked, PermitReturned};

use super::voice::{Library, Outbox, Voice, Word};
use crate::bus::memory::{Dice, MemoryBus};

/// 6 s: the others ask while the faults of the schedule come.
const WITHIN_US: u64 = 6_000_000;
/// 5 others: two more than may fail over.
const OTHERS_MAX: u64 = 5;

/// What the others say, and when.
pub(super) struct Others {
    voice: Voice,
    says: Vec<(Timestamp, Fact)>,
    outbox: Outbox,
}

impl Others {
    /// In two of five schedules one or more others want to fail over; one in three of them keeps its primary after all.
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let mut says = Vec::new();
        let count = if dice.chance(400) { 1 + dice.below(OTHERS_MAX) } else { 0 };
        for number in 0..count {
            let at = Timestamp(dice.below(WITHIN_US) as i64);
            let cluster = ClusterId::parse(format!("other{number}")).expect("a legal id");
            let permit = EventId::derive(&["permit of another", cluster.as_str()]);
            let reason = "its primary is gone".to_owned();
            says.push((
                at,
                Fact::PermitAsked(PermitAsked { permit, cluster: cluster.clone(), epoch: Epoch(1), reason }),
            ));
            if dice.chance(333) {
                let at = at + Duration::from_micros(dice.below(WITHIN_US * 2));
                let reason = "its primary is back".to_owned();
                says.push((at, Fact::PermitReturned(PermitReturned { permit, cluster, reason })));
            }
        }
        says.sort_by_key(|(at, _)| *at);
        Self { voice: Voice::new("failover.2/journal/1".to_owned()), says, outbox: Outbox::default() }
    }

    /// Says what is due.
    pub(super) fn step(&mut self, bus: &MemoryBus, now: Timestamp) {
        while self.says.first().is_some_and(|(at, _)| *at <= now) {
            let (_, fact) = self.says.remove(0);
            self.outbox.0.push_back(self.voice.say(now, Subject::cluster(fleet()), None, fact));
        }
        self.outbox.flush(bus);
    }
}

/// What the log says about permits, record by record.
#[derive(Default)]
struct Ledger {
    heard: BTreeSet<EventId>,
    /// Permits that count, with the end of their last grant: that is a fixed time after it was given.
    live: BTreeMap<EventId, Timestamp>,
    returned: BTreeSet<EventId>,
    /// Epochs of the simulated cluster that the fleet permitted.
    permitted: BTreeSet<Epoch>,
    /// An operator approved, and no failover was done since.
    approved: bool,
    refusals: usize,
}

/// Checks that never more than three permits counted at once, and that every failover had one or an operator's approval.
/// Returns how often the simulated cluster was refused.
pub(super) fn check(
    library: &mut Library,
    cluster: &ClusterId,
    journal: &[Record],
    actions: &[Record],
) -> Result<usize, String> {
    let mut fail_overs = BTreeMap::new();
    let mut decided: BTreeMap<u64, Epoch> = BTreeMap::new();
    for record in actions {
        if let Word::Order(Ok(event)) = library.read(record)
            && let Order::Action(action) = &event.payload
            && matches!(action.kind, ActionKind::FailOver(_))
        {
            fail_overs.insert(action.id, action.epoch);
            decided.insert(event.sequence.incarnation, action.epoch);
        }
    }
    let mut ledger = Ledger::default();
    for record in journal {
        if let Ok(event) = library.fact(record)
            && ledger.heard.insert(event.id)
        {
            let ours = event.subject.cluster == *cluster;
            ledger.take(&event.payload, ours, |action| fail_overs.contains_key(action))?;
        }
        // The action was decided on this record.
        if let Some(epoch) = decided.get(&record.offset)
            && !ledger.approved
            && !ledger.permitted.contains(epoch)
        {
            return Err(format!("the failover of epoch {epoch} was neither permitted nor approved"));
        }
    }
    Ok(ledger.refusals)
}

impl Ledger {
    fn take(&mut self, fact: &Fact, ours: bool, is_fail_over: impl Fn(&EventId) -> bool) -> Result<(), String> {
        match fact {
            Fact::PermitAnswered(answer) => return self.answered(answer, ours),
            Fact::PermitReturned(returned) => {
                self.live.remove(&returned.permit);
                self.returned.insert(returned.permit);
            }
            Fact::Command(Command::Approve { .. }) => self.approved = true,
            Fact::Ended(ended) if is_fail_over(&ended.action) && matches!(ended.outcome, Outcome::Done { .. }) => {
                self.approved = false;
            }
            _ => {}
        }
        Ok(())
    }

    fn answered(&mut self, answer: &PermitAnswered, ours: bool) -> Result<(), String> {
        if !answer.granted {
            self.refusals += usize::from(ours);
            return Ok(());
        }
        if ours {
            self.permitted.insert(answer.epoch);
        }
        if !self.returned.contains(&answer.permit) {
            self.live.insert(answer.permit, answer.until);
        }
        let counts = self.live.values().filter(|until| answer.until.since(**until) < WITHIN).count();
        if counts > FAILOVERS_MAX {
            return Err(format!("{counts} permits count at once: {:?}", self.live));
        }
        Ok(())
    }
}
