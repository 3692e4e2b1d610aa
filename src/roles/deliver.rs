//! How a role waits for the bus, and sees meanwhile that it is to stop. Appends what a processor made of its input until it is done: what
//! was decided or counted is not forgotten because the bus was away for a moment. Who is told that it is not done must not store that it were.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_schemas::record::{Bytes, NewRecord};

use crate::bus::{Error, Landed, Receipt, SharedBus, Snapshot, too_large};

/// 100 ms to 2 s between attempts while the bus is unavailable.
const RETRY_FROM: Duration = Duration::from_millis(100);
const RETRY_TO: Duration = Duration::from_secs(2);
/// 100 ms: how long a role sleeps before it sees that it is to stop.
const STOP_WITHIN: Duration = Duration::from_millis(100);

/// 8 MiB an append: with the one before it a quarter of what a producer has room for. A record that finds none there is refused,
/// and all of its append is sent again.
const APPEND_BYTES: usize = 8 << 20;

/// What is to be appended, in order. What is put is sent at once, or as soon as what was sent before has arrived: while one append
/// is on its way, the next one fills.
pub(super) struct Outbox<'a> {
    bus: &'a SharedBus,
    what: &'static str,
    stop: &'a AtomicBool,
    made: Vec<NewRecord>,
    bytes: usize,
    underway: Option<(Vec<NewRecord>, Receipt)>,
}

/// It was told to stop before everything was appended: what follows from it must not be stored.
#[derive(Debug)]
pub(super) struct Stopped;

impl<'a> Outbox<'a> {
    /// Nothing to append yet.
    pub(super) fn new(bus: &'a SharedBus, what: &'static str, stop: &'a AtomicBool) -> Self {
        Self { bus, what, stop, made: Vec::new(), bytes: 0, underway: None }
    }

    /// Takes `records` in. Waits only when what has gathered is enough for an append.
    pub(super) fn put(&mut self, records: Vec<NewRecord>) -> Result<(), Stopped> {
        for record in records {
            self.bytes += record.value.as_ref().map_or(0, Bytes::len);
            self.made.push(record);
            if self.bytes >= APPEND_BYTES {
                self.send()?;
            }
        }
        let Some((_, receipt)) = &mut self.underway else { return self.send() };
        let Some(answer) = receipt.answer() else { return Ok(()) };
        let records = self.underway.take().map_or_else(Vec::new, |(records, _)| records);
        self.arrived(&records, answer)?;
        self.send()
    }

    /// Sends what it has, once what was sent before is done.
    fn send(&mut self) -> Result<(), Stopped> {
        if self.made.is_empty() {
            return Ok(());
        }
        self.arrive()?;
        self.bytes = 0;
        let made = std::mem::take(&mut self.made);
        let receipt = self.bus.append(made.clone());
        self.underway = Some((made, receipt));
        Ok(())
    }

    /// Waits until everything is appended.
    pub(super) fn settle(&mut self) -> Result<(), Stopped> {
        self.send()?;
        self.arrive()
    }

    fn arrive(&mut self) -> Result<(), Stopped> {
        let Some((records, receipt)) = self.underway.take() else { return Ok(()) };
        self.arrived(&records, receipt.wait())
    }

    /// What was not appended is appended again.
    fn arrived(&self, records: &[NewRecord], answer: Result<Vec<Landed>, Error>) -> Result<(), Stopped> {
        match answer {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "{}: cannot be appended yet", self.what);
                until_done(self.bus, records, self.what, self.stop).then_some(()).ok_or(Stopped)
            }
        }
    }
}

/// Sleeps for `wait`, or until `stop`.
pub(super) fn pause(stop: &AtomicBool, wait: Duration) {
    let until = Instant::now() + wait;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(STOP_WITHIN.min(until.saturating_duration_since(Instant::now())));
    }
}

/// What was saved under the name of a processor, waited for while the bus is away; none when `stop` came first.
pub(super) fn loaded(bus: &SharedBus, processor: &str, stop: &AtomicBool) -> anyhow::Result<Option<Vec<Snapshot>>> {
    let mut wait = RETRY_FROM;
    loop {
        match bus.load(processor) {
            Ok(saved) => return Ok(Some(saved)),
            Err(Error::Unavailable(_)) if stop.load(Ordering::Relaxed) => return Ok(None),
            Err(error @ Error::Unavailable(_)) => {
                tracing::warn!(%error, processor, "what it saved cannot be loaded yet");
            }
            Err(error) => return Err(error).with_context(|| format!("what {processor} saved cannot be loaded")),
        }
        pause(stop, wait);
        wait = (wait * 2).min(RETRY_TO);
    }
}

/// Appends `records`, in order and in one append. False when `stop` came first; then it is not known whether they were.
/// One that no bus takes is refused alone, which the bus counts: it would be refused for ever, and the others with it.
#[must_use]
fn until_done(bus: &SharedBus, records: &[NewRecord], what: &str, stop: &AtomicBool) -> bool {
    let mut left: Vec<&NewRecord> = records.iter().collect();
    let mut wait = RETRY_FROM;
    while !left.is_empty() {
        match bus.append(left.iter().copied().cloned().collect()).wait() {
            Ok(_) => return true,
            Err(error @ Error::TooLarge { .. }) => {
                tracing::error!(%error, "{what}: a record that no bus takes is left out");
                left.retain(|record| too_large(record).is_none());
            }
            Err(error) => {
                tracing::warn!(%error, "{what}: cannot be appended yet");
                if stop.load(Ordering::Relaxed) {
                    return false;
                }
                std::thread::sleep(wait);
                wait = (wait * 2).min(RETRY_TO);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use millrace_schemas::record::{Bytes, Headers, VALUE_BYTES_MAX};
    use millrace_schemas::topics::Topic;

    use super::*;
    use crate::bus::memory::{Faults, MemoryBus};
    use crate::bus::{Assignment, Bus, Reader};

    fn record(bytes: usize) -> NewRecord {
        NewRecord {
            topic: Topic::Journal,
            partition_key: "shop".to_owned(),
            key: "shop".to_owned(),
            headers: Headers::new(),
            value: Some(Bytes::from(vec![b'x'; bytes])),
        }
    }

    /// What it says when told to append `sizes`, and how many records are in the journal then.
    fn run(world: &MemoryBus, sizes: &[usize], stop: bool) -> (bool, u64) {
        let bus: SharedBus = Arc::new(world.clone());
        let done =
            until_done(&bus, &sizes.iter().copied().map(record).collect::<Vec<_>>(), "test", &AtomicBool::new(stop));
        (done, world.end(Topic::Journal, 0).expect("a partition"))
    }

    #[test]
    fn a_bus_that_was_away_gets_it_later() {
        let world = MemoryBus::new(1, 1, Faults::default());
        world.set_away(true);
        let back = world.clone();
        let began = Instant::now();
        let returns = std::thread::spawn(move || {
            std::thread::sleep(RETRY_FROM);
            back.set_away(false);
        });
        assert_eq!(run(&world, &[1, 1], false), (true, 2));
        assert!(began.elapsed() >= RETRY_FROM, "it was away for so long");
        returns.join().expect("no panic");
    }

    #[test]
    fn who_is_to_stop_tries_once_and_is_told_that_it_is_not_done() {
        let world = MemoryBus::new(1, 1, Faults::default());
        assert_eq!(run(&world, &[1], true), (true, 1));
        world.set_away(true);
        assert_eq!(run(&world, &[1], true), (false, 1));
    }

    #[test]
    fn an_outbox_sends_in_order_what_is_enough_or_asked_for() {
        let world = MemoryBus::new(1, 1, Faults::default());
        let (bus, stop): (SharedBus, _) = (Arc::new(world.clone()), AtomicBool::new(false));
        let there = || world.end(Topic::Journal, 0).expect("a partition");
        let mut outbox = Outbox::new(&bus, "test", &stop);
        let eighth = APPEND_BYTES / 8;
        outbox.put((0..7).map(|_| record(eighth)).collect()).expect("nobody stops it");
        assert_eq!(there(), 7, "nothing is on its way");
        outbox.put((0..8).map(|_| record(eighth)).collect()).expect("nobody stops it");
        assert_eq!(there(), 15);
        outbox.settle().expect("nobody stops it");
        assert_eq!(there(), 15);
        world.set_away(true);
        outbox.put(vec![record(1)]).and_then(|()| outbox.send()).expect("it is on its way");
        stop.store(true, Ordering::Relaxed);
        assert!(outbox.settle().is_err(), "it is not done, and must not be stored as done");
    }

    type Reply = tokio::sync::oneshot::Sender<Result<Vec<Landed>, Error>>;

    /// Answers an append when the test says so.
    #[derive(Default)]
    struct Slow(Mutex<Vec<(usize, Reply)>>);

    impl Bus for Slow {
        fn append(&self, records: Vec<NewRecord>) -> Receipt {
            let (reply, receipt) = Receipt::pending();
            self.0.lock().expect("no panic").push((records.len(), reply));
            receipt
        }
        fn reader(&self, _: Assignment) -> Result<Box<dyn Reader>, Error> {
            unreachable!("it only appends")
        }
        fn partitions(&self, _: Topic) -> Result<u32, Error> {
            unreachable!("it only appends")
        }
        fn ends(&self, _: Topic) -> Result<Vec<u64>, Error> {
            unreachable!("it only appends")
        }
        fn save(&self, _: Vec<Snapshot>) -> Result<(), Error> {
            unreachable!("it only appends")
        }
        fn load(&self, _: &str) -> Result<Vec<Snapshot>, Error> {
            unreachable!("it only appends")
        }
    }

    #[test]
    fn while_one_append_is_on_its_way_the_next_gathers() {
        let slow = Arc::new(Slow::default());
        let (bus, stop): (SharedBus, _) = (slow.clone(), AtomicBool::new(false));
        let sent = || slow.0.lock().expect("no panic").iter().map(|(records, _)| *records).collect::<Vec<_>>();
        let answer = || {
            let (_, reply) = slow.0.lock().expect("no panic").pop().expect("one is on its way");
            reply.send(Ok(Vec::new())).expect("somebody waits");
        };
        let mut outbox = Outbox::new(&bus, "test", &stop);
        outbox.put(vec![record(1)]).expect("nobody stops it");
        outbox.put(vec![record(1), record(1)]).expect("nobody stops it");
        outbox.put(vec![record(1)]).expect("nobody stops it");
        assert_eq!(sent(), [1], "the others wait for its answer");
        answer();
        outbox.put(Vec::new()).expect("nobody stops it");
        assert_eq!(sent(), [3]);
        answer();
        outbox.settle().expect("nobody stops it");
        assert_eq!(sent(), [] as [usize; 0]);
    }

    #[test]
    fn what_no_bus_takes_holds_nothing_up() {
        let world = MemoryBus::new(1, 1, Faults::default());
        assert_eq!(run(&world, &[1, VALUE_BYTES_MAX + 1, 1], false), (true, 2));
        assert_eq!(run(&world, &[VALUE_BYTES_MAX + 1], false), (true, 2));
        assert_eq!(run(&world, &[], false), (true, 2));
    }
}
