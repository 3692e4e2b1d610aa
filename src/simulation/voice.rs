//! How simulated actors speak and read: numbered as real speakers number, appended until the bus says so, and read through a
//! library that parses each record once for everybody, so that ten thousand schedules stay cheap.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use millrace_schemas::event::{Event, Payload, Subject, Unreadable};
use millrace_schemas::ids::EventId;
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::Order;
use millrace_schemas::topics::journal::Fact;

use crate::bus::memory::MemoryBus;
use crate::bus::{Assignment, Bus as _, From, Polled, Reader};

/// An actor's name, incarnation and counters.
#[derive(Debug)]
pub(super) struct Voice {
    source: String,
    incarnation: u64,
    counters: BTreeMap<Topic, u64>,
}

impl Voice {
    pub(super) fn new(source: String) -> Self {
        Self { source, incarnation: 1, counters: BTreeMap::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.source
    }

    /// A restart: the counters begin again under a higher incarnation.
    pub(super) fn restart(&mut self) {
        self.incarnation += 1;
        self.counters.clear();
    }

    pub(super) fn say<P: Payload>(
        &mut self,
        at: Timestamp,
        subject: Subject,
        cause: Option<EventId>,
        payload: P,
    ) -> NewRecord {
        let counter = self.counters.entry(P::TOPIC).or_insert(0);
        let sequence = Sequence { incarnation: self.incarnation, counter: *counter };
        *counter += 1;
        let number = format!("{}-{}", sequence.incarnation, sequence.counter);
        let id = EventId::derive(&[&self.source, P::TOPIC.name(), &number]);
        Event { id, source: self.source.clone(), sequence, at, appended: Timestamp::ZERO, subject, cause, payload }
            .to_record()
    }
}

/// What waits to be appended, in order; what the bus did not confirm is appended again.
#[derive(Debug, Default)]
pub(super) struct Outbox(pub(super) VecDeque<NewRecord>);

impl Outbox {
    /// Appends until the bus refuses; true when nothing is left.
    pub(super) fn flush(&mut self, bus: &MemoryBus) -> bool {
        while let Some(record) = self.0.front() {
            if bus.append(vec![record.clone()]).wait().is_err() {
                return false;
            }
            self.0.pop_front();
        }
        true
    }
}

/// Records that a reader got and its actor has not looked at yet.
pub(super) struct Inbox {
    reader: Box<dyn Reader>,
    /// The next offset of each topic that it reads.
    topics: BTreeMap<Topic, u64>,
    records: VecDeque<Record>,
}

impl Inbox {
    /// Reads these topics, each from its offset on.
    pub(super) fn new(bus: &MemoryBus, topics: &[(Topic, u64)]) -> Self {
        let from = topics.iter().map(|(topic, next)| (*topic, From::Offset(*next))).collect();
        let reader = bus.reader(Assignment::Manual(from)).expect("the memory bus always gives a reader");
        Self { reader, topics: topics.iter().copied().collect(), records: VecDeque::new() }
    }

    /// The next record; polls when none is at hand and the topics have grown, for most looks find nothing.
    pub(super) fn next(&mut self, bus: &MemoryBus) -> Option<Record> {
        if self.records.is_empty()
            && self.topics.iter().any(|(topic, next)| bus.end(*topic, 0).is_ok_and(|end| end > *next))
        {
            let polled = self.reader.poll(Duration::ZERO).unwrap_or_default();
            self.records.extend(polled.into_iter().filter_map(|item| match item {
                Polled::Record(record) => Some(record),
                Polled::Gained { .. } | Polled::Lost { .. } | Polled::Refused { .. } => None,
            }));
        }
        let record = self.records.pop_front()?;
        self.topics.insert(record.topic, record.offset + 1);
        Some(record)
    }
}

/// What a record says.
#[derive(Debug)]
pub(super) enum Word {
    Order(Result<Event<Order>, Unreadable>),
    Fact(Result<Event<Fact>, Unreadable>),
}

/// Every record of `actions` and `journal`, parsed once.
#[derive(Debug, Default)]
pub(super) struct Library {
    words: BTreeMap<(Topic, u64), Word>,
}

impl Library {
    pub(super) fn read(&mut self, record: &Record) -> &Word {
        self.words.entry((record.topic, record.offset)).or_insert_with(|| match record.topic {
            Topic::Actions => Word::Order(Event::from_record(record)),
            _ => Word::Fact(Event::from_record(record)),
        })
    }

    /// A record of the journal.
    pub(super) fn fact(&mut self, record: &Record) -> &Result<Event<Fact>, Unreadable> {
        match self.read(record) {
            Word::Fact(fact) => fact,
            Word::Order(_) => unreachable!("an order was read where facts are"),
        }
    }
}
