//! A reader at another process. When the owner has forgotten it, or was started again, the poll that finds out says that the bus
//! is unavailable, and the next one opens it anew where it stood: manual assignments by what was read, groups by what they
//! committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::topics::Topic;

use super::line::Line;
use super::{Answer, Request};
use crate::bus::{Assignment, Error, From, Polled, Reader};

pub(super) struct HttpReader {
    line: Arc<Line>,
    assignment: Assignment,
    session: Option<Session>,
    /// What comes next in each partition, as far as it was read.
    next: HashMap<(Topic, u32), u64>,
}

struct Session {
    number: u64,
    /// The last batch that arrived.
    had: u64,
    /// What it began with, until the first poll takes it.
    first: Vec<Polled>,
}

impl HttpReader {
    pub(super) fn open(line: Arc<Line>, assignment: Assignment) -> Result<Self, Error> {
        let mut reader = Self { line, assignment, session: None, next: HashMap::new() };
        reader.session = Some(reader.begin()?);
        Ok(reader)
    }

    fn begin(&mut self) -> Result<Session, Error> {
        match self
            .line
            .ask(Request::Open { client: self.line.client, assignment: self.where_it_stood() }, Duration::ZERO)?
        {
            Answer::Opened { reader: number, items } => {
                let session = Session { number, had: 0, first: items };
                self.note(&session.first);
                Ok(session)
            }
            other => Err(self.line.unexpected(&other)),
        }
    }

    /// Each partition from where it was read to.
    fn where_it_stood(&self) -> Assignment {
        let Assignment::Manual(topics) = &self.assignment else { return self.assignment.clone() };
        let stood = |topic: Topic, from: &From| {
            let next: BTreeMap<u32, u64> =
                self.next.iter().filter(|((of, _), _)| *of == topic).map(|((_, at), next)| (*at, *next)).collect();
            if next.is_empty() { from.clone() } else { From::Offsets(next) }
        };
        Assignment::Manual(topics.iter().map(|(topic, from)| (*topic, stood(*topic, from))).collect())
    }

    fn note(&mut self, items: &[Polled]) {
        for item in items {
            match item {
                Polled::Gained { topic, partition, next } => self.next.insert((*topic, *partition), *next),
                Polled::Lost { topic, partition } => self.next.remove(&(*topic, *partition)),
                Polled::Record(record) | Polled::Refused { record, .. } => {
                    self.next.insert((record.topic, record.partition), record.offset + 1)
                }
            };
        }
    }

    fn gone(&mut self) -> Error {
        self.session = None;
        Error::Unavailable("the process that has it has forgotten this reader; it is opened again".to_owned())
    }
}

impl Reader for HttpReader {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Polled>, Error> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.begin()?,
        };
        if !session.first.is_empty() {
            let items = std::mem::take(&mut session.first);
            self.session = Some(session);
            return Ok(items);
        }
        let request = Request::Poll { reader: session.number, had: session.had, wait_ms: wait.as_millis() as u64 };
        let answer = self.line.ask(request, wait);
        // Kept when the answer was lost: the same batch is asked for again.
        let session = self.session.insert(session);
        match answer? {
            Answer::Polled { batch, items } => {
                session.had = batch;
                self.note(&items);
                Ok(items)
            }
            Answer::Gone => Err(self.gone()),
            other => Err(self.line.unexpected(&other)),
        }
    }

    fn commit(&mut self, topic: Topic, partition: u32, next: u64) -> Result<(), Error> {
        let Some(session) = &self.session else {
            return Err(Error::Unavailable("the reader is being opened again".to_owned()));
        };
        let request = Request::Commit { reader: session.number, topic, partition, next };
        match self.line.ask(request, Duration::ZERO)? {
            Answer::Done => Ok(()),
            Answer::Gone => Err(self.gone()),
            other => Err(self.line.unexpected(&other)),
        }
    }

    fn unread(&mut self) -> Result<BTreeSet<u32>, Error> {
        let mut unread = BTreeSet::new();
        let topics: BTreeSet<Topic> = self.next.keys().map(|(topic, _)| *topic).collect();
        for topic in topics {
            let ends = match self.line.ask(Request::Ends(topic), Duration::ZERO)? {
                Answer::Ends(ends) => ends,
                other => return Err(self.line.unexpected(&other)),
            };
            let held = self.next.iter().filter(|((of, _), _)| *of == topic);
            let more =
                held.filter(|((_, partition), next)| ends.get(*partition as usize).is_some_and(|end| end > *next));
            unread.extend(more.map(|((_, partition), _)| *partition));
        }
        Ok(unread)
    }
}

impl Drop for HttpReader {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            self.line.tell(Request::Close { reader: session.number });
        }
    }
}
