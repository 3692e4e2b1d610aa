//! Performs the steps asked of this host. The position in `actions` moves only after a result is appended, so an agent that
//! was killed performs the step again, and each step looks first whether it is done.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::EventId;
use millrace_schemas::metrics::STEPS;
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::{Order, StepOutcome, StepRequest, StepResult};
use millrace_schemas::topics::journal::Fact;

use super::Agent;
use crate::bus::{Assignment, Polled, Reader};
use crate::roles::lag::Lag;

/// 200 ms: how long the reader sleeps at most before it sees that the agent stops.
const WAIT: Duration = Duration::from_millis(200);
/// 500 ms between attempts to append a result while the bus is away.
const AGAIN: Duration = Duration::from_millis(500);

/// Steps that were taken up, by action and number, until their deadlines: a copy is not performed, nor is one that its executor
/// asked for twice. After its deadline none is performed at all.
type Taken = HashMap<(EventId, u32), Timestamp>;
/// Partitions and offsets of steps that are being performed, with when they were appended.
type Underway = Arc<Mutex<BTreeMap<(u32, u64), Timestamp>>>;

pub(super) fn run(agent: Arc<Agent>, lag: Lag) {
    let runtime = tokio::runtime::Handle::current();
    let follow = move || {
        while !*agent.stop.borrow() {
            let name = format!("agent-{}", agent.host);
            match agent.bus.reader(Assignment::Own { name, topics: vec![Topic::Actions] }) {
                Ok(reader) => return follow(&agent, reader, &lag, &runtime),
                Err(error) => tracing::warn!(%error, "steps cannot be read yet"),
            }
            std::thread::sleep(AGAIN);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("steps".to_owned()).spawn(follow) {
        tracing::error!(%error, "no thread for steps: this host performs none");
    }
}

fn follow(agent: &Arc<Agent>, mut reader: Box<dyn Reader>, lag: &Lag, runtime: &tokio::runtime::Handle) {
    let underway: Underway = Arc::default();
    let mut taken = Taken::new();
    let mut positions: BTreeMap<u32, Position> = BTreeMap::new();
    while !*agent.stop.borrow() {
        let polled = match reader.poll(WAIT) {
            Ok(polled) => polled,
            Err(error) => {
                tracing::warn!(%error, "steps cannot be read");
                std::thread::sleep(AGAIN);
                continue;
            }
        };
        for item in polled {
            match item {
                Polled::Record(record) => {
                    positions.entry(record.partition).or_default().read(&record);
                    take(agent, &record, &mut taken, &underway, runtime);
                }
                // Read, and not performed.
                Polled::Refused { record, .. } => positions.entry(record.partition).or_default().read(&record),
                Polled::Gained { partition, next, .. } => {
                    positions.insert(partition, Position { next, committed: next, appended: Timestamp::ZERO });
                    lag.note(&item);
                }
                Polled::Lost { .. } => lag.note(&item),
            }
        }
        for (partition, position) in &mut positions {
            let (done, since) = position.done(*partition, &underway);
            if done > position.committed {
                lag.reached(Topic::Actions, *partition, done, since);
            }
            if done > position.committed && reader.commit(Topic::Actions, *partition, done).is_ok() {
                position.committed = done;
            }
        }
    }
}

/// How far a partition was read, and how far everything was performed.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    next: u64,
    committed: u64,
    /// When the last one that was read was appended.
    appended: Timestamp,
}

impl Position {
    fn read(&mut self, record: &Record) {
        self.next = record.offset + 1;
        self.appended = record.appended;
    }

    /// The first that is not done, and when it was appended; else the one to be read next, and when the last one was.
    fn done(self, partition: u32, underway: &Underway) -> (u64, Timestamp) {
        let underway = underway.lock().unwrap_or_else(PoisonError::into_inner);
        let first = underway.range((partition, 0)..=(partition, u64::MAX)).next();
        first.map_or((self.next, self.appended), |((_, offset), appended)| (*offset, *appended))
    }
}

fn take(agent: &Arc<Agent>, record: &Record, taken: &mut Taken, underway: &Underway, runtime: &tokio::runtime::Handle) {
    let Ok(Event { payload: Order::Step(request), subject, .. }) = Event::<Order>::from_record(record) else { return };
    if request.host != agent.host {
        return;
    }
    agent.learn(record.appended);
    if !is_new(taken, &request, record.appended) {
        agent.metrics.add(&STEPS, &[request.step.name(), "repeated"], 1);
        return;
    }
    let place = (record.partition, record.offset);
    underway.lock().unwrap_or_else(PoisonError::into_inner).insert(place, record.appended);
    let (agent, underway) = (Arc::clone(agent), Arc::clone(underway));
    runtime.spawn(async move {
        perform(&agent, subject, *request).await;
        underway.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
    });
}

/// True for a step that was not taken up before; it now is.
fn is_new(taken: &mut Taken, request: &StepRequest, now: Timestamp) -> bool {
    taken.retain(|_, deadline| now <= *deadline);
    taken.insert((request.action, request.number), request.deadline).is_none()
}

async fn perform(agent: &Agent, subject: Subject, request: StepRequest) {
    let Some(hands) = &agent.hands else { return };
    let left = request.deadline.since(agent.bus_now());
    let result = if left.is_zero() { late(&request) } else { hands.perform(&subject.cluster, &request, left).await };
    let outcome = match &result.outcome {
        StepOutcome::Done(_) => "done",
        StepOutcome::Refused { .. } => "refused",
        StepOutcome::Failed { .. } | StepOutcome::TimedOut {} => "failed",
    };
    agent.metrics.add(&STEPS, &[&result.step, outcome], 1);
    tracing::info!(instance = %result.instance, step = %result.step, epoch = %result.epoch, outcome, took_ms = result.took_us / 1_000, "step performed");
    crate::bus::failpoint::at_step("step.performed", &result.step, || {});
    let fact = Fact::StepDone(Box::new(result));
    while let Err(error) = agent.speaker.say(subject.clone(), Some(request.action), fact.clone()).await {
        tracing::warn!(%error, "a result could not be appended yet");
        tokio::time::sleep(AGAIN).await;
    }
}

/// A step whose time is over is not begun: its executor has called it timed out, and what it would open may be closed again.
fn late(request: &StepRequest) -> StepResult {
    let reason = "its deadline had passed before it was begun".to_owned();
    request.result(StepOutcome::Refused { reason }, 0)
}

#[cfg(test)]
mod tests {
    use millrace_schemas::ids::Epoch;
    use millrace_schemas::topics::actions::{Check, Step};

    use super::*;

    #[test]
    fn a_step_is_taken_up_once_until_its_deadline() {
        let request = |action: u128, number: u32| StepRequest {
            action: EventId(action),
            epoch: Epoch(1),
            number,
            host: "h1".parse().expect("legal"),
            instance: "db1".parse().expect("legal"),
            deadline: Timestamp(100),
            step: Step::Fence {},
            until: Check::IsFenced,
        };
        let mut taken = Taken::new();
        let mut check = |action, number, now, expected| {
            assert_eq!(
                is_new(&mut taken, &request(action, number), Timestamp(now)),
                expected,
                "{action} {number} {now}"
            );
        };
        check(1, 0, 10, true);
        check(1, 0, 11, false);
        check(1, 1, 12, true);
        check(2, 0, 13, true);
        check(1, 0, 100, false);
        check(1, 0, 101, true); // late by now, which is said, and not performed
        assert_eq!(taken.len(), 1, "nothing is kept for ever");
    }
}
