//! What the simulated actors act on: the servers, the network between them, and the clients' memory of what was acknowledged.
//! Every change of roles passes here, so the safety invariants are checked here, at the moment they could break.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_schemas::cluster::Process;
use millrace_schemas::flavour::Flavour;
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::actions::{ExtraTransaction, Report, Step};

use super::server::{Content, Hold, Server, Transaction, gtid};
use crate::bus::memory::Dice;

/// As long as the guard holds a crashed server down.
const HOLD: Duration = Duration::from_secs(10);
/// Longer than the guard's longest hold would only lengthen schedules.
const HOLD_MAX: Duration = Duration::from_secs(40);

/// The servers and what clients were told.
#[derive(Debug)]
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) now: Timestamp,
    pub(super) flavour: Flavour,
    pub(super) servers: Vec<Server>,
    /// Hosts that are down until then: no guard starts anything on them.
    pub(super) host_down: Vec<Timestamp>,
    /// Every write that a client was told is safe.
    pub(super) acknowledged: BTreeSet<u32>,
    pub(super) written: u32,
    /// Who was opened in each epoch.
    opened: BTreeMap<u64, usize>,
    /// The first invariant that broke.
    pub(super) violation: Option<String>,
}

/// A step that did not work, in words.
type Trouble = String;

impl World {
    pub(super) fn new(dice: Dice, flavour: Flavour, members: usize) -> Self {
        Self {
            dice,
            now: Timestamp(1),
            flavour,
            servers: (0..members).map(|at| Server::new(at as u8 + 1, flavour)).collect(),
            host_down: vec![Timestamp::ZERO; members],
            acknowledged: BTreeSet::new(),
            written: 0,
            opened: BTreeMap::new(),
            violation: None,
        }
    }

    /// A healthy cluster: the first is open, the others follow it.
    pub(super) fn settle(&mut self) {
        for at in 0..self.servers.len() {
            self.servers[at].exists = true;
            self.servers[at].start(false);
            if at > 0 {
                self.attach(at, 0);
            }
        }
        self.servers[0].semi_sync = true;
        self.servers[0].open = true;
    }

    pub(super) fn fail(&mut self, what: &str) {
        if self.violation.is_none() {
            self.violation = Some(format!("at {} us: {what}", self.now.0));
        }
    }

    pub(super) fn promotions(&self) -> usize {
        self.opened.len()
    }

    /// True while `at` receives from its source: both run, and their histories go together.
    pub(super) fn receives(&self, at: usize) -> bool {
        let server = &self.servers[at];
        let Some(source) = server.source.map(|source| &self.servers[source]) else { return false };
        let fits = match (self.flavour, server.newest()) {
            (Flavour::MariaDb, Some(newest)) => source.has(newest) || !server.receiver,
            _ => true,
        };
        server.running && server.receiver && source.running && fits
    }

    fn acknowledgers(&self, of: usize) -> usize {
        (0..self.servers.len()).filter(|at| self.servers[*at].source == Some(of) && self.receives(*at)).count()
    }

    fn can_acknowledge(&self, at: usize) -> bool {
        let server = &self.servers[at];
        server.running && server.open && (!server.semi_sync || self.acknowledgers(at) >= 1)
    }

    /// Invariant: no two servers that can acknowledge a write.
    pub(super) fn check_writers(&mut self) {
        let writers: Vec<u8> =
            (0..self.servers.len()).filter(|at| self.can_acknowledge(*at)).map(|at| self.servers[at].number).collect();
        if writers.len() > 1 {
            self.fail(&format!("two servers can acknowledge a write: {writers:?}"));
        }
    }

    /// A client writes to any server that lets it.
    pub(super) fn client_write(&mut self, content: Content) {
        let open: Vec<usize> =
            (0..self.servers.len()).filter(|at| self.servers[*at].running && self.servers[*at].open).collect();
        if open.is_empty() {
            return;
        }
        let at = open[self.dice.below(open.len() as u64) as usize];
        self.write(at, content);
    }

    pub(super) fn write(&mut self, at: usize, content: Content) {
        let now = self.now;
        let server = &mut self.servers[at];
        let position = server.write(content);
        if content == Content::Own {
            server.pulse = now;
        }
        if server.semi_sync {
            server.waiting.push((position, content));
        } else {
            self.tell_client(content);
        }
    }

    fn tell_client(&mut self, content: Content) {
        if let Content::App(write) = content {
            self.acknowledged.insert(write);
        }
    }

    /// The network moves: one replica receives one transaction and acknowledges it, or applies some.
    pub(super) fn replicate(&mut self, at: usize) {
        if self.receives(at) {
            let source = self.servers[at].source.expect("it receives");
            let mut cursor = self.servers[at].cursor.min(self.servers[source].log.len());
            while let Some(next) = self.servers[source].log.get(cursor).copied() {
                cursor += 1;
                if !self.servers[at].has(next) {
                    self.servers[at].receive(next);
                    self.servers[at].pulse = self.servers[at].pulse.max(self.servers[source].pulse);
                    break;
                }
            }
            self.servers[at].cursor = cursor;
            // An acknowledgement may get lost; the next one covers it.
            if !self.dice.chance(50) {
                self.acknowledge(source, cursor);
            }
        }
        let server = &mut self.servers[at];
        if server.running && server.applier && !server.relay.is_empty() {
            let most = 1 + self.dice.below(4) as usize;
            server.apply(most);
        }
    }

    /// Everything before `to` in the log of `source` was received by an acknowledger; k is 1.
    fn acknowledge(&mut self, source: usize, to: usize) {
        let waiting = std::mem::take(&mut self.servers[source].waiting);
        let (done, left): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(position, _)| *position < to);
        self.servers[source].waiting = left;
        for (_, content) in done {
            self.tell_client(content);
        }
    }

    pub(super) fn crash(&mut self, at: usize) {
        let torn = self.dice.below(2) as usize;
        let (now, server) = (self.now, &mut self.servers[at]);
        if !server.running {
            return;
        }
        server.crash(torn);
        if server.hold.is_none_or(|hold| hold.epoch.is_none()) {
            server.crashes += 1;
            let wait = HOLD.saturating_mul(1 << (server.crashes - 1).min(4)).min(HOLD_MAX);
            server.hold = Some(Hold { epoch: None, lapses: Some(now + wait) });
        }
        for other in &mut self.servers {
            if other.source == Some(at) {
                other.cursor = 0;
            }
        }
    }

    /// Guards let holds lapse into a closed start.
    pub(super) fn guards(&mut self) {
        for at in 0..self.servers.len() {
            let lapsed = self.servers[at].hold.and_then(|hold| hold.lapses).is_some_and(|lapses| lapses <= self.now);
            if lapsed && self.host_down[at] <= self.now {
                self.servers[at].start(false);
            }
        }
    }

    fn attach(&mut self, at: usize, source: usize) {
        let server = &mut self.servers[at];
        server.source = Some(source);
        server.receiver = true;
        server.applier = true;
        server.cursor = 0;
    }

    /// What hands do for a step, whole or not at all.
    pub(super) fn perform(
        &mut self,
        at: usize,
        epoch: u64,
        step: &Step,
        source: Option<usize>,
    ) -> Result<Report, Trouble> {
        match step {
            Step::CreateInstance(_) => {
                self.servers[at].exists = true;
                Ok(Report::default())
            }
            Step::StartClosed { keep } => self.start_closed(at, epoch, keep.as_ref()),
            Step::Fence {} => self.fence(at, epoch),
            _ if !self.servers[at].running => Err("the server does not answer".to_owned()),
            Step::Follow { .. } => self.follow(at, source.ok_or("the source is no member")?),
            Step::StopReceiver {} => self.stop_receiver(at),
            Step::Promote { apply, .. } => self.promote(at, epoch, apply),
            Step::Open { .. } => self.open(at, epoch),
            Step::Quarantine {} => self.quarantine(at),
            Step::ReadSets {} => Ok(executed(self.servers[at].history())),
            Step::NameExtra { extra } => Ok(self.name_extra(at, extra)),
            Step::Neutralise { extra } => self.neutralise(at, extra),
            Step::CatchUp { executed } => {
                self.drain(at);
                self.holds(at, executed)
            }
        }
    }

    fn guard_promises(&mut self, at: usize, epoch: u64) -> Result<(), Trouble> {
        let server = &mut self.servers[at];
        if epoch < server.guard_promised {
            return Err(format!("epoch {epoch} is over, epoch {} was promised here", server.guard_promised));
        }
        server.guard_promised = epoch;
        Ok(())
    }

    fn start_closed(&mut self, at: usize, epoch: u64, keep: Option<&GtidSet>) -> Result<Report, Trouble> {
        self.guard_promises(at, epoch)?;
        let server = &mut self.servers[at];
        if let Some(keep) = keep {
            server.cut_tail(keep);
        }
        server.hold = None;
        server.start(keep.is_some());
        if server.open {
            return Err("the server runs and is open".to_owned());
        }
        Ok(Report { process: Some(server.process()), ..Report::default() })
    }

    fn fence(&mut self, at: usize, epoch: u64) -> Result<Report, Trouble> {
        self.guard_promises(at, epoch)?;
        self.servers[at].hold = Some(Hold { epoch: Some(epoch), lapses: None });
        if self.servers[at].running && self.dice.chance(100) {
            self.crash(at); // closing was not confirmed: it is killed
        }
        let server = &mut self.servers[at];
        let running = server.running;
        server.close();
        let process = Some(server.process());
        let executed = running.then(|| server.executed());
        Ok(Report { process, executed, ..Report::default() })
    }

    fn follow(&mut self, at: usize, source: usize) -> Result<Report, Trouble> {
        let server = &mut self.servers[at];
        if server.source.is_some() && server.applier && self.flavour == Flavour::MariaDb {
            server.apply(usize::MAX);
        } else if !server.applier {
            server.forget_relay();
        }
        self.attach(at, source);
        if self.receives(at) { Ok(Report::default()) } else { Err("it is still connecting".to_owned()) }
    }

    fn stop_receiver(&mut self, at: usize) -> Result<Report, Trouble> {
        let server = &mut self.servers[at];
        if self.flavour == Flavour::MariaDb && !server.applier && !server.relay.is_empty() {
            return Err("its applier is stopped, so what it received cannot be counted on".to_owned());
        }
        server.receiver = false;
        Ok(Report { received: Some(server.received()), executed: Some(server.executed()), ..Report::default() })
    }

    fn promote(&mut self, at: usize, epoch: u64, apply: &GtidSet) -> Result<Report, Trouble> {
        let server = &mut self.servers[at];
        if server.source.is_none() && server.open {
            return Ok(Report { already: true, executed: Some(server.executed()), ..Report::default() });
        }
        if server.applier {
            server.apply(usize::MAX);
        }
        self.holds(at, apply)?;
        let server = &mut self.servers[at];
        server.forget_relay();
        server.source = None;
        server.receiver = false;
        server.applier = false;
        self.open(at, epoch)
    }

    fn open(&mut self, at: usize, epoch: u64) -> Result<Report, Trouble> {
        let server = &mut self.servers[at];
        if server.source.is_some() {
            return Err("it still follows a source".to_owned());
        }
        if !server.open {
            server.semi_sync = true;
            server.open = true;
            self.check_opening(at, epoch);
        }
        Ok(executed(self.servers[at].executed()))
    }

    /// Invariants: one opening per epoch, and nothing acknowledged is missing from who is opened.
    fn check_opening(&mut self, at: usize, epoch: u64) {
        let first = *self.opened.entry(epoch).or_insert(at);
        if first != at {
            self.fail(&format!("epoch {epoch} opened server {} after server {}", at + 1, first + 1));
        }
        let rows = self.servers[at].rows();
        let lost: Vec<u32> = self.acknowledged.difference(&rows).copied().collect();
        if !lost.is_empty() {
            self.fail(&format!("server {} was opened in epoch {epoch} without acknowledged writes {lost:?}", at + 1));
        }
        self.check_writers();
    }

    fn quarantine(&mut self, at: usize) -> Result<Report, Trouble> {
        let server = &mut self.servers[at];
        if server.open {
            return Err("it is open: fence it first".to_owned());
        }
        if server.applier {
            server.apply(usize::MAX);
        }
        server.forget_relay();
        server.source = None;
        server.receiver = false;
        server.applier = false;
        Ok(executed(server.history()))
    }

    fn name_extra(&self, at: usize, extra: &GtidSet) -> Report {
        let server = &self.servers[at];
        let named = |one: &&Transaction| {
            let set = GtidSet::parse(self.flavour, &gtid(self.flavour, **one)).expect("a legal set");
            match self.flavour {
                Flavour::MySql => set.is_subset(extra).unwrap_or(false),
                Flavour::MariaDb => extra.subtract(&set).is_ok_and(|rest| rest.count() < extra.count()),
            }
        };
        let table = |one: &Transaction| match one.content {
            Content::App(_) => "shop.orders",
            Content::Own | Content::Empty => "millrace.heartbeat",
        };
        let transactions = server
            .log
            .iter()
            .filter(named)
            .map(|one| ExtraTransaction { gtid: gtid(self.flavour, *one), tables: vec![table(one).to_owned()] });
        Report { transactions: transactions.collect(), ..Report::default() }
    }

    fn neutralise(&mut self, at: usize, extra: &GtidSet) -> Result<Report, Trouble> {
        if self.flavour == Flavour::MariaDb {
            return Err("MariaDB cannot write an empty transaction under another server's number".to_owned());
        }
        let all: Vec<Transaction> = self.servers.iter().flat_map(|server| server.log.iter().copied()).collect();
        for one in all {
            let set = GtidSet::parse(self.flavour, &gtid(self.flavour, one)).expect("a legal set");
            if set.is_subset(extra).unwrap_or(false) && !self.servers[at].has(one) {
                self.servers[at].put(Transaction { content: Content::Empty, ..one });
            }
        }
        Ok(executed(self.servers[at].executed()))
    }

    /// Lets a replica receive and apply what its source has.
    fn drain(&mut self, at: usize) {
        for _ in 0..1_000 {
            let before = (self.servers[at].cursor, self.servers[at].relay.len());
            self.replicate(at);
            if before == (self.servers[at].cursor, self.servers[at].relay.len()) {
                break;
            }
        }
    }

    fn holds(&mut self, at: usize, wanted: &GtidSet) -> Result<Report, Trouble> {
        let has = self.servers[at].executed();
        if wanted.is_subset(&has).unwrap_or(false) {
            Ok(executed(has))
        } else {
            Err(format!("it has not applied {wanted}, only {has}"))
        }
    }

    /// What its agent sees of the process.
    pub(super) fn process(&self, at: usize) -> Process {
        self.servers[at].process()
    }
}

fn executed(set: GtidSet) -> Report {
    Report { executed: Some(set), ..Report::default() }
}
