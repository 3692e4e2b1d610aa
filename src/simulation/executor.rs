//! An executor: folds `actions` and `journal` into its book and appends what the book says is next. Between deciding what to
//! say and saying it, it may be frozen or die: what a zombie says late must do no harm.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use millrace_executors::claims::{Book, Do};
use millrace_schemas::event::Subject;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::Order;

use super::voice::{Inbox, Library, Voice, Word};
use super::world::World;
use crate::bus::Bus as _;
use crate::bus::memory::MemoryBus;

/// As in the role: what was said and has not come back after a second is said again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// As in the role: renewals and time-outs need no finer clock.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What it stores from time to time.
#[derive(Clone, Debug, Default)]
struct Saved {
    book: Book,
    actions: u64,
    journal: u64,
}

/// An executor.
pub(super) struct Executor {
    pub(super) back_at: Timestamp,
    state: Saved,
    stored: Saved,
    stored_at: Timestamp,
    inbox: Inbox,
    looked: Timestamp,
    sent: BTreeMap<String, Timestamp>,
    planned: VecDeque<Do>,
    voice: Voice,
}

impl Executor {
    pub(super) fn new(bus: &MemoryBus, number: usize) -> Self {
        Self {
            back_at: Timestamp::ZERO,
            state: Saved::default(),
            stored: Saved::default(),
            stored_at: Timestamp::ZERO,
            inbox: inbox(bus, &Saved::default()),
            looked: Timestamp::ZERO,
            sent: BTreeMap::new(),
            planned: VecDeque::new(),
            voice: Voice::new(format!("executor/{number}")),
        }
    }

    /// Is frozen until `back_at`, then goes on as if nothing had been.
    pub(super) fn freeze(&mut self, back_at: Timestamp) {
        self.back_at = back_at;
    }

    /// Dies; is back at `back_at`, knowing only what it stored.
    pub(super) fn die(&mut self, bus: &MemoryBus, back_at: Timestamp) {
        self.back_at = back_at;
        self.state = self.stored.clone();
        self.inbox = inbox(bus, &self.state);
        self.sent.clear();
        self.planned.clear();
        self.voice.restart();
    }

    /// Does one thing.
    pub(super) fn step(&mut self, bus: &MemoryBus, library: &mut Library, world: &mut World) {
        if world.now < self.back_at {
            return;
        }
        if let Some(todo) = self.planned.pop_front() {
            self.say(bus, todo, world.now);
            return;
        }
        let mut news = false;
        while let Some(record) = self.inbox.next(bus) {
            self.fold(library, &record);
            news = true;
        }
        if !news && world.now.since(self.looked) < LOOK_EVERY {
            return;
        }
        let end = |topic| bus.end(topic, 0).unwrap_or(u64::MAX);
        if self.state.actions < end(Topic::Actions) || self.state.journal < end(Topic::Journal) {
            return;
        }
        if world.now.since(self.stored_at) > AGAIN_AFTER * 2 {
            self.stored_at = world.now;
            self.stored = self.state.clone();
        }
        self.looked = world.now;
        self.sent.retain(|_, at| world.now.since(*at) < AGAIN_AFTER);
        for todo in self.state.book.next(self.voice.name()) {
            if let Entry::Vacant(new) = self.sent.entry(todo.name()) {
                new.insert(world.now);
                self.planned.push_back(todo);
            }
        }
    }

    fn fold(&mut self, library: &mut Library, record: &millrace_schemas::record::Record) {
        match record.topic {
            Topic::Actions => self.state.actions = record.offset + 1,
            _ => self.state.journal = record.offset + 1,
        }
        match library.read(record) {
            Word::Order(Ok(event)) => self.state.book.order(&event.payload, record.appended),
            Word::Fact(Ok(event)) => self.state.book.fact(&event.subject.cluster, &event.payload, record.appended),
            Word::Order(Err(_)) | Word::Fact(Err(_)) => {}
        }
    }

    fn say(&mut self, bus: &MemoryBus, todo: Do, now: Timestamp) {
        let record = match todo {
            Do::Say(cluster, fact) => self.voice.say(now, Subject::cluster(cluster), None, fact),
            Do::Ask(cluster, request) => {
                let subject = Subject::instance(cluster, request.instance.clone());
                self.voice.say(now, subject, Some(request.action), Order::Step(Box::new(request)))
            }
        };
        drop(bus.append(vec![record])); // what does not come back is said again
    }
}

fn inbox(bus: &MemoryBus, state: &Saved) -> Inbox {
    Inbox::new(bus, &[(Topic::Actions, state.actions), (Topic::Journal, state.journal)])
}
