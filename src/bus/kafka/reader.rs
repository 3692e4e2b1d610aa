//! Reading: an assignment in, records and changes of the share out. Manual assignments and owners are given all partitions at
//! once; members of a group what the group gives them. While no broker answers every poll says so: silence would be mistaken for
//! a fleet in which nothing happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use millrace_schemas::metrics::BUS_UNREADABLE;
use millrace_schemas::record::{Bytes, Headers, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Change, Told};
use super::ends::Edge;
use super::unreadable::{end_of_unreadable, is_unreadable};
use super::{ASK_WITHIN, LIFE_WITHIN, Shared, is_away};
use crate::bus::{Assignment, Error, From, Polled, Reader};

/// 500 records a poll, as the local bus gives: several topics share a reader fairly.
const POLL_RECORDS_MAX: usize = 500;
/// 512 KiB of values a poll: they are copies of what waits in the library, and so few are still in the core's cache when they are
/// worked through, in memory that the poll before has just given back.
const POLL_BYTES_MAX: usize = 512 << 10;
/// 1 ms: without any wait the library hands out a single event, and that may be a line of its log.
const LEAST_WAIT: Duration = Duration::from_millis(1);
/// 5 s between looks whether every partition moves that has more to read; one that stood at two of them is sought again.
const MOVES_EVERY: Duration = Duration::from_secs(5);
/// One that was sought in vain so often is read by a client that is made anew: after a pause of its broker the library has been seen
/// (2.12.1) to ask for a partition no more, for as long as one looked, while the broker answered every other question.
const SOUGHT_MAX: u32 = 2;
/// 10 s: as long as a lost connection may be without an answer.
const TOLD_ONCE_IN: Duration = Duration::from_secs(10);
/// 500 ms between looks whether a broker answers again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) struct KafkaReader {
    bus: Arc<Shared>,
    consumer: BaseConsumer<Told>,
    /// Topics by their names on the brokers.
    topics: BTreeMap<String, Topic>,
    /// What comes next in each partition that is held.
    next: BTreeMap<(Topic, u32), u64>,
    /// The newest append time of each: a broker whose clock was set back does not turn time back.
    newest: BTreeMap<(Topic, u32), Timestamp>,
    /// Changes that were not told yet.
    changes: VecDeque<Change>,
    /// A record that came while they could not be told.
    early: VecDeque<Record>,
    /// Under which name it commits.
    group: Option<String>,
    /// The group gives it partitions; otherwise it has those that it was opened with.
    shares: bool,
    /// How often partitions that do not move were sought.
    sought: BTreeMap<(Topic, u32), u32>,
    /// Since when no broker answers, and when it was last looked.
    away: Option<(Error, Instant)>,
    /// Where each partition stood when it was last looked whether all of them move, and whether it had more to read then.
    stood: BTreeMap<(Topic, u32), (u64, bool)>,
    /// When it was last told that no broker answers.
    told: Option<Instant>,
    looked: Instant,
}

impl KafkaReader {
    pub(super) fn open(bus: Arc<Shared>, assignment: Assignment) -> Result<Self, Error> {
        let group = match &assignment {
            Assignment::Manual(_) => None,
            Assignment::Group { group: name, .. } | Assignment::Own { name, .. } => Some(name.clone()),
        };
        let shares = matches!(assignment, Assignment::Group { .. });
        bus.partitions(Topic::Journal.name())?; // not a step on a wrong set-up
        let consumer = bus.client.consumer(group.as_deref())?;
        let topics = assignment.topics().into_iter().map(|topic| (bus.client.topic(topic.name()), topic)).collect();
        let mut reader = Self {
            bus,
            consumer,
            topics,
            next: BTreeMap::new(),
            newest: BTreeMap::new(),
            changes: VecDeque::new(),
            early: VecDeque::new(),
            group,
            shares,
            sought: BTreeMap::new(),
            away: None,
            stood: BTreeMap::new(),
            told: None,
            looked: Instant::now(),
        };
        match assignment {
            Assignment::Manual(topics) => reader.assign(&topics)?,
            Assignment::Own { topics, .. } => reader.take_own(&topics)?,
            Assignment::Group { .. } => reader.subscribe(&reader.consumer)?,
        }
        Ok(reader)
    }

    fn subscribe(&self, consumer: &BaseConsumer<Told>) -> Result<(), Error> {
        let names: Vec<&str> = self.topics.keys().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| self.bus.client.explain(&error))
    }

    fn assign(&mut self, topics: &[(Topic, From)]) -> Result<(), Error> {
        for (topic, from) in topics {
            for (partition, (low, high)) in (0..).zip(self.bus.ranges(topic.name())?) {
                let next = from.offset_of(partition).map_or(high, |offset| offset.clamp(low, high));
                self.next.insert((*topic, partition), next);
            }
        }
        self.begin()
    }

    fn take_own(&mut self, topics: &[Topic]) -> Result<(), Error> {
        for topic in topics {
            let name = self.bus.client.topic(topic.name());
            let places =
                (0..self.bus.partitions(topic.name())?).map(|at| (name.clone(), at as i32)).collect::<Vec<_>>();
            let committed = self.committed(&places)?;
            self.next.extend(committed);
        }
        self.begin()
    }

    /// Assigns what `next` says, and tells it.
    fn begin(&mut self) -> Result<(), Error> {
        self.assign_next(&self.consumer)?;
        self.changes.push_back(Change::Gained(self.held()));
        Ok(())
    }

    /// The partitions that are held, by the names of their topics on the brokers.
    fn held(&self) -> Vec<(String, i32)> {
        self.next.keys().map(|(topic, at)| (self.bus.client.topic(topic.name()), *at as i32)).collect()
    }

    fn assign_next(&self, consumer: &BaseConsumer<Told>) -> Result<(), Error> {
        let explain = |error| self.bus.client.explain(&error);
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in &self.next {
            let name = self.bus.client.topic(topic.name());
            list.add_partition_offset(&name, *partition as i32, Offset::Offset(*next as i64)).map_err(explain)?;
        }
        consumer.assign(&list).map_err(explain)
    }

    /// Goes on with a client that is made anew, where the last one stood. A member gives its partitions back, and joins again.
    fn renew(&mut self) -> Result<(), Error> {
        let consumer = self.bus.client.consumer(self.group.as_deref())?;
        if self.shares {
            self.subscribe(&consumer)?;
            self.changes.push_back(Change::Lost(self.held()));
        } else {
            self.assign_next(&consumer)?;
        }
        let last = std::mem::replace(&mut self.consumer, consumer);
        // It says good-bye to its group, and waits for the answer.
        std::thread::spawn(move || drop(last));
        self.sought.clear();
        self.stood.clear();
        Ok(())
    }

    /// Asks over a connection of its own: the consumer's own one may have been lost in an outage, and is found again only by a
    /// consumer that is polled, which must wait for this answer.
    fn asked_for_commits(&self, list: TopicPartitionList) -> Result<TopicPartitionList, Error> {
        let asks = self.bus.client.consumer(self.group.as_deref())?;
        asks.committed_offsets(list, ASK_WITHIN).map_err(|error| {
            // Who may not use the group is only told that nobody answers; the refusal waits in the queue.
            let waiting = std::iter::from_fn(|| asks.poll(LEAST_WAIT)).filter_map(Result::err);
            let refused = waiting.map(|error| self.bus.client.explain(&error));
            let mut refused = refused.filter(|error| matches!(error, Error::Refused { .. }));
            refused.next().unwrap_or_else(|| self.bus.client.explain(&error))
        })
    }

    /// Where each of these goes on: what was committed, or the oldest that is kept.
    fn committed(&self, places: &[(String, i32)]) -> Result<BTreeMap<(Topic, u32), u64>, Error> {
        let mut list = TopicPartitionList::new();
        for (name, partition) in places {
            list.add_partition(name, *partition);
        }
        let found = self.asked_for_commits(list)?;
        let mut ranges = BTreeMap::new();
        for topic in self.topics.values() {
            ranges.insert(*topic, self.bus.ranges(topic.name())?);
        }
        let mut next = BTreeMap::new();
        for one in found.elements() {
            one.error().map_err(|error| self.bus.client.explain(&error))?;
            let (Some(topic), partition) = (self.topics.get(one.topic()), one.partition() as u32) else { continue };
            let (low, high) = ranges[topic].get(partition as usize).copied().unwrap_or_default();
            let committed = if let Offset::Offset(offset) = one.offset() { offset.max(0) as u64 } else { low };
            next.insert((*topic, partition), committed.clamp(low, high));
        }
        Ok(next)
    }

    /// Tells what came and went; where that cannot be asked now, the rest is told later.
    fn tell_changes(&mut self, out: &mut Vec<Polled>) -> Result<(), Error> {
        self.changes.extend(self.consumer.context().changes.lock().unwrap_or_else(PoisonError::into_inner).drain(..));
        while let Some(change) = self.changes.front().cloned() {
            match change {
                Change::Gained(places) => {
                    let unknown: Vec<_> =
                        places.iter().filter(|place| !self.next.contains_key(&self.at(place))).cloned().collect();
                    if !unknown.is_empty() {
                        let committed = self.committed(&unknown)?;
                        self.next.extend(committed);
                    }
                    for place in &places {
                        let (topic, partition) = self.at(place);
                        let next = self.next.get(&(topic, partition)).copied().unwrap_or(0);
                        out.push(Polled::Gained { topic, partition, next });
                    }
                }
                Change::Lost(places) => {
                    for place in &places {
                        let (topic, partition) = self.at(place);
                        self.next.remove(&(topic, partition));
                        out.push(Polled::Lost { topic, partition });
                    }
                }
            }
            self.changes.pop_front();
        }
        Ok(())
    }

    fn at(&self, (name, partition): &(String, i32)) -> (Topic, u32) {
        let topic = self.topics.get(name).copied().expect("only these topics were asked for");
        (topic, *partition as u32)
    }

    /// While no broker answers: looks from time to time, and says so until one does.
    fn look(&mut self) -> Result<(), Error> {
        let Some((error, looked)) = &mut self.away else { return Ok(()) };
        let error = error.clone();
        if looked.elapsed() >= LOOK_EVERY {
            let answer = self.bus.reach();
            if answer.is_ok() {
                self.away = None;
                return Ok(());
            }
            *looked = Instant::now();
        }
        Err(error)
    }

    fn failed(&mut self, error: &KafkaError) -> Result<(), Error> {
        if is_away(error) {
            // Connections come back one after the other: an outage is told once, and not again while a broker answers.
            if self.told.is_some_and(|at| at.elapsed() < TOLD_ONCE_IN) && self.bus.reach().is_ok() {
                return Ok(());
            }
            self.told = Some(Instant::now());
            // It has just been found out: the next look comes with the next poll.
            let long_ago = Instant::now().checked_sub(LOOK_EVERY).unwrap_or_else(Instant::now);
            let error = self.bus.client.explain(error);
            self.away.get_or_insert((error.clone(), long_ago));
            return Err(error);
        }
        match error.rdkafka_error_code() {
            None | Some(Code::PartitionEOF | Code::AutoOffsetReset | Code::OffsetOutOfRange) => Ok(()),
            // The library looks for the coordinator of a group also for who commits nothing, and needs none.
            Some(Code::GroupAuthorizationFailed) if self.group.is_none() => Ok(()),
            _ if is_unreadable(error) => self.pass_over(error),
            _ => Err(self.bus.client.explain(error)),
        }
    }
}

impl Reader for KafkaReader {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Polled>, Error> {
        let mut out = Vec::new();
        match self.gather(wait, &mut out) {
            Err(error) if out.is_empty() => Err(error),
            // What has come is handed on first; an error that stays comes again.
            _ => Ok(out),
        }
    }

    fn commit(&mut self, topic: Topic, partition: u32, next: u64) -> Result<(), Error> {
        if self.group.is_none() || !self.next.contains_key(&(topic, partition)) {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        let name = self.bus.client.topic(topic.name());
        let added = list.add_partition_offset(&name, partition as i32, Offset::Offset(next as i64));
        added
            .and_then(|()| self.consumer.commit(&list, CommitMode::Sync))
            .map_err(|error| self.bus.client.explain(&error))
    }

    fn unread(&mut self) -> Result<BTreeSet<u32>, Error> {
        let mut unread = BTreeSet::new();
        for topic in self.topics.values() {
            let held = self.next.range((*topic, 0)..=(*topic, u32::MAX));
            let ends = self.bus.edges(topic.name(), Edge::End, ASK_WITHIN)?;
            let end = |partition: u32| ends.get(partition as usize).copied().unwrap_or(0);
            let more: Vec<(u32, u64)> =
                held.map(|((_, at), next)| (*at, *next)).filter(|(at, next)| end(*at) > *next).collect();
            if more.is_empty() {
                continue;
            }
            // What is not kept any more will not come.
            let first = self.bus.edges(topic.name(), Edge::First, ASK_WITHIN)?;
            let is_kept = |at: u32| first.get(at as usize).is_some_and(|first| end(at) > *first);
            unread.extend(more.into_iter().map(|(at, _)| at).filter(|at| is_kept(*at)));
        }
        Ok(unread)
    }
}

impl KafkaReader {
    /// What has come, also where it ends by an error.
    fn gather(&mut self, wait: Duration, out: &mut Vec<Polled>) -> Result<(), Error> {
        self.hand_on(out)?;
        if self.away.is_some() {
            // The consumer finds its way back only while it is polled.
            let polled =
                self.consumer.poll(wait.min(LOOK_EVERY)).map(|one| one.map(|message| taken(&self.topics, &message)));
            match polled {
                Some(Ok(taken)) => {
                    self.away = None;
                    self.early.extend(taken);
                    self.hand_on(out)?;
                }
                Some(Err(error)) if !is_away(&error) => self.failed(&error)?,
                _ => {}
            }
            self.look()?;
        }
        let mut wait = if out.is_empty() { wait.max(LEAST_WAIT) } else { Duration::ZERO };
        let mut bytes = 0;
        while out.len() < POLL_RECORDS_MAX && bytes < POLL_BYTES_MAX {
            let polled = self.consumer.poll(wait).map(|one| one.map(|message| taken(&self.topics, &message)));
            match polled {
                None => break,
                Some(Ok(taken)) => {
                    let value = taken.as_ref().and_then(|record| record.value.as_ref());
                    bytes += value.map_or(0, Bytes::len);
                    self.early.extend(taken);
                    self.hand_on(out)?;
                }
                Some(Err(error)) => self.failed(&error)?,
            }
            if !out.is_empty() {
                wait = Duration::ZERO;
            }
        }
        if self.looked.elapsed() >= MOVES_EVERY {
            self.looked = Instant::now();
            self.look_whether_all_move();
        }
        self.hand_on(out)
    }

    /// A fetch can be lost in a change of leader or a pause of the broker, and nothing says so: a partition that has more to read
    /// and gives nothing is sought again where it stands.
    fn look_whether_all_move(&mut self) {
        let places: Vec<((Topic, u32), u64)> = self.next.iter().map(|(place, next)| (*place, *next)).collect();
        // Who moves needs no question to the brokers.
        let stands = |(place, next): &&((Topic, u32), u64)| self.stood.get(place).is_some_and(|(at, _)| at == next);
        let standing: BTreeSet<Topic> = places.iter().filter(stands).map(|((topic, _), _)| *topic).collect();
        let ask = |topic: Topic| Some((topic, self.bus.edges(topic.name(), Edge::End, LIFE_WITHIN).ok()?));
        let ends: BTreeMap<Topic, Vec<u64>> = standing.into_iter().filter_map(ask).collect();
        for (place, next) in places {
            let (topic, partition) = place;
            let stood = self.stood.get(&place).copied();
            let end = ends.get(&topic).and_then(|ends| ends.get(partition as usize));
            let more = stood.is_some_and(|(before, _)| before == next) && end.is_some_and(|end| *end > next);
            self.stood.insert(place, (next, more));
            if !more {
                self.sought.remove(&place);
            }
            if more && stood.is_some_and(|(_, more)| more) {
                *self.sought.entry(place).or_default() += 1;
                tracing::warn!(%topic, partition, next, "nothing comes though there is more to read: it is sought again");
                let name = self.bus.client.topic(topic.name());
                if let Err(error) = self.consumer.seek(&name, partition as i32, Offset::Offset(next as i64), ASK_WITHIN)
                {
                    tracing::warn!(%topic, partition, %error, "it cannot be sought");
                }
            }
        }
        self.stood.retain(|place, _| self.next.contains_key(place));
        if self.sought.values().any(|times| *times > SOUGHT_MAX) {
            tracing::warn!("a reader is made anew, since it was sought in vain");
            if let Err(error) = self.renew() {
                tracing::warn!(%error, "it cannot be made anew yet");
            }
        }
    }

    /// The library does not say which batch it could not unpack: whichever is next and cannot be read is passed over, counted.
    fn pass_over(&mut self, error: &KafkaError) -> Result<(), Error> {
        let places: Vec<((Topic, u32), u64)> = self.next.iter().map(|(place, next)| (*place, *next)).collect();
        for ((topic, partition), next) in places {
            let Some(after) = end_of_unreadable(&self.bus, topic.name(), partition, next)? else { continue };
            tracing::error!(%topic, partition, from = next, to = after, %error, "records that cannot be unpacked are passed over");
            self.bus.metrics.add(&BUS_UNREADABLE, &[topic.name()], after - next);
            let name = self.bus.client.topic(topic.name());
            let sought = self.consumer.seek(&name, partition as i32, Offset::Offset(after as i64), ASK_WITHIN);
            sought.map_err(|error| self.bus.client.explain(&error))?;
            self.next.insert((topic, partition), after);
        }
        Ok(())
    }

    /// Hands on what came: of a partition that was gained a reader must hear before it gets a record, so that nothing is handed on
    /// while that cannot be told.
    fn hand_on(&mut self, out: &mut Vec<Polled>) -> Result<(), Error> {
        self.tell_changes(out)?;
        for mut record in self.early.drain(..) {
            let place = (record.topic, record.partition);
            // One that was lost meanwhile is read by who has it now.
            let Some(next) = self.next.get_mut(&place) else { continue };
            *next = record.offset + 1;
            let newest = self.newest.entry(place).or_insert(record.appended);
            *newest = (*newest).max(record.appended);
            record.appended = *newest;
            out.push(Polled::Record(record));
        }
        Ok(())
    }
}

/// A message as a record.
fn taken(topics: &BTreeMap<String, Topic>, message: &BorrowedMessage<'_>) -> Option<Record> {
    let topic = *topics.get(message.topic())?;
    let mut headers = Headers::new();
    for header in message.headers().into_iter().flat_map(|all| all.iter()) {
        headers.insert(header.key.to_owned(), String::from_utf8_lossy(header.value.unwrap_or_default()).into_owned());
    }
    Some(Record {
        topic,
        partition: message.partition() as u32,
        offset: message.offset() as u64,
        appended: Timestamp(message.timestamp().to_millis().unwrap_or(0).saturating_mul(1_000)),
        key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
        headers,
        value: message.payload().map(Bytes::copy_from_slice),
    })
}
